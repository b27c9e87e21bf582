"""Stage two alone: any folder of posed views to splats and meshes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spinmeround.configs import Quality, preset
from spinmeround.io import read_views
from spinmeround.io.formats import Kind
from spinmeround.io.views.normal_frames import NormalFrame
from spinmeround.io.views.read import files_of_views
from spinmeround.pipelines import animation, stage_two
from spinmeround.pipelines import report as reports
from spinmeround.pipelines.avatars import RigOptions, bakes_normal_map, check_vrm, make_avatar, reason_against
from spinmeround.pipelines.backends import CameraTrust, SurfaceKind, rooms_of
from spinmeround.pipelines.choices import Choice, Device, choose_device
from spinmeround.pipelines.mesh_levels import MeshLevels
from spinmeround.pipelines.outputs import PathLike, as_path, as_paths, check_inputs_stay, check_outputs
from spinmeround.pipelines.resume import Unfinished
from spinmeround.recon.cameras.capture import check_visibility, normalise_world
from spinmeround.recon.cameras.motion import describe_motion, interpolate_camera_motion
from spinmeround.runtime.stages import Stages, Watch, check_memory, unwatched
from spinmeround.types import Reconstruction


def fit_views(
    folder: PathLike,
    *,
    out: PathLike | Iterable[PathLike] = (),
    quality: Quality = "standard",
    seed: int = 0,
    device: Device = "auto",
    ply: Kind = "splats",
    height_m: float | None = None,
    report: PathLike | None = None,
    preview: PathLike | None = None,
    turntable: PathLike | None = None,
    normal_frame: NormalFrame | None = None,
    cameras: CameraTrust = "auto",
    surface: SurfaceKind = "mesh",
    rig: RigOptions | None = None,
    expression: Mapping[str, float] | None = None,
    animate: PathLike | None = None,
    levels: MeshLevels | None = None,
    size_px: int | None = None,
    splats: int | None = None,
    normal_map: bool = False,
    watch: Watch = unwatched,
) -> Reconstruction:
    """A folder of posed pictures, with masks and, where there are any, normals, to a head.

    Views of another world are turned upright, moved and scaled to that of a head first, and the report says how. Views
    the folder holds out are not fitted but measured. Cameras that turn out to be off are moved, and the report says
    which and how far: without normals, those whose outlines contradict each other are registered to each other first,
    and held-out ones move as their neighbours did; then the surface turns back single ones.

    A run that was stopped goes on from its last finished stage when it is asked for again in the same way: what it had
    made waits in a hidden folder beside the first output.

    Args:
        folder: what ``spmr-views``, nerfstudio, instant-ngp or COLMAP writes; docs/FOLDERS.md has the details.
        normal_frame: the frame of the normals, whatever the folder says.
        cameras: ``keep`` leaves them where the folder has them, ``register`` registers them in any case.
        surface: ``neural`` learns a signed distance in place of a mesh: some minutes more, for normals that are poor.
        size_px: longer side the pictures are read at; by default the quality's.
        levels: how many faces a mesh has, and which coarser ones are written beside it.

    Where the views show a face, a ``.glb`` holds an avatar.

    Other arguments, and what is raised, are those of ``spinmeround.reconstruct``.
    """
    source = Path(folder)
    levels = levels or MeshLevels()
    lods = levels.files(as_paths(out), ply=ply)
    outputs = check_outputs(
        (*as_paths(out), *lods),
        ply=ply,
        report=as_path(report),
        preview=as_path(preview),
        turntable=as_path(turntable),
        height_m=height_m,
    )
    moving = rig or RigOptions()
    against = reason_against(moving, keep_expression=False)
    if against is None and levels != MeshLevels():
        against = "--faces and --lods are for plain meshes"
    check_vrm(outputs, against)
    baked = normal_map and bakes_normal_map(outputs)
    asked = animation.prepare(expression, as_path(animate), outputs, against=against)
    check_inputs_stay(files_of_views(source), outputs.files)
    choices = {"device": choose_device(device), "quality": Choice(quality, quality, "asked for")}
    check_memory(quality, splats=splats)
    settings = preset(quality)
    unfinished = Unfinished(outputs, quality, choices["device"].took, cameras, f"{splats}", surface, f"{baked}")
    rooms = unfinished.resumable(rooms_of(quality, choices["device"].took, cameras, splats, surface, baked))
    wanted = stage_two.Wanted.by(outputs, levels=levels)
    stages = Stages(["folder", *stage_two.planned(wanted, outputs)], expected_s=settings.seconds)
    with watch(stages), unfinished:
        with stages("folder"):
            views, held_out = read_views(
                source, size_px=size_px or settings.view_size_px, normal_frame=normal_frame, check=check_visibility
            )
            placed = normalise_world(views)
            if placed is not None:
                views, held_out = placed.apply(views), None if held_out is None else placed.apply(held_out)
        if held_out is not None:
            stages.also("held out")
        given, registered = views.cameras, None
        if cameras == "register" or (cameras == "auto" and not views.normals_world.any()):
            stages.also("cameras")
            with stages("cameras") as progress:
                registered = rooms.register_cameras(views, seed, progress)
            if registered is not None:
                views = registered.apply(views)
        built = stage_two.build(views, wanted, rooms, stages, seed=seed, levels=levels)
        avatar, rigged = make_avatar(None, built, outputs, moving, rooms, stages, against=against, normal_map=baked)
        files = stage_two.write(outputs, stages, built, avatar=avatar, asked=asked, height_m=height_m, lods=lods)
        if held_out is not None and registered is not None:
            held_out = interpolate_camera_motion(held_out, given, built.views.cameras)
        measured = None if held_out is None else stage_two.compare(built, held_out, stages)
    told: dict[str, Any] = {
        **reports.common(choices, seed=seed, records=stages.records),
        "views": {
            "folder": str(source),
            "count": len(views),
            "with_normals": bool(views.normals_world.any()),
            **({} if placed is None else placed.report),
            **describe_motion(given, built.views),
        },
        **stage_two.describe(built),
        **rigged,
        **(asked.described() if avatar is not None else {}),
        "held_out": measured,
        "resumed": unfinished.resumed,
        "files": [str(path) for path in files],
        "licences": reports.licences(None),
    }
    if outputs.report is not None:
        reports.write_report(outputs.report, told)
        files = (*files, outputs.report)
    return Reconstruction(built.views, built.splats, built.mesh or built.whole, told, files, avatar)
