"""The main job, as a short composition: photos, portraits, a head, views, a surface, splats or a mesh, files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from spinmeround.configs import Quality, preset
from spinmeround.io.formats import Kind
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS
from spinmeround.pipelines import animation, stage_one, stage_two
from spinmeround.pipelines import report as reports
from spinmeround.pipelines.avatars import Riggable, RigOptions, bakes_normal_map, check_vrm, make_avatar, reason_against
from spinmeround.pipelines.backends import rooms_of
from spinmeround.pipelines.choices import Device, Prior, choose
from spinmeround.pipelines.diffusion_options import DiffusionOptions, directions_of
from spinmeround.pipelines.outputs import PathLike, as_path, as_paths, check_outputs
from spinmeround.pipelines.resume import Unfinished
from spinmeround.recon.cameras.motion import describe_motion
from spinmeround.runtime.stages import Stages, Watch, check_memory, unwatched
from spinmeround.types import Reconstruction

log = logging.getLogger(__name__)


def reconstruct(
    photos: PathLike | Iterable[PathLike],
    *,
    out: PathLike | Iterable[PathLike] = (),
    quality: Quality = "standard",
    prior: Prior = "auto",
    seed: int = 0,
    device: Device = "auto",
    ply: Kind = "splats",
    face: int | None = None,
    keep_expression: bool = False,
    height_m: float | None = None,
    views_out: PathLike | None = None,
    report: PathLike | None = None,
    preview: PathLike | None = None,
    turntable: PathLike | None = None,
    diffusion: DiffusionOptions | None = None,
    rig: RigOptions | None = None,
    expression: Mapping[str, float] | None = None,
    animate: PathLike | None = None,
    splats: int | None = None,
    normal_map: bool = False,
    watch: Watch = unwatched,
) -> Reconstruction:
    """One to several photos of one person to a 3D head.

    A run that was stopped goes on from its last finished stage when it is asked for again in the same way: what it had
    made waits in a hidden folder beside the first output.

    Args:
        photos: files; more than one must show the same person.
        out: files to write. ``.ply .spz .splat`` hold splats, ``.obj`` a mesh, ``.glb .vrm .usdz`` an avatar. With
            none, splats, mesh and avatar are all made and only returned.
        prior: what the unseen sides come from; ``auto`` says what it takes and why.
        seed: the same photos and seed give the same bytes on the same machine.
        ply: what a ``.ply`` holds.
        face: which face to take where a photo has several, 1 for the largest; by default the largest.
        keep_expression: keep the expression of the first photo; by default the face comes out neutral.
        height_m: height of the head in metres, for formats that have a unit; by default 0.23.
        views_out: folder for the views of stage one.
        report, preview, turntable: a JSON file, a PNG contact sheet, an MP4 video.
        diffusion: how the diffusion model is run, where that prior is taken.
        rig: how the avatar is made that a ``.glb`` or ``.vrm`` holds; with ``keep_expression``, or where no view shows
            a face, a ``.glb`` holds the mesh.
        expression: shown by the avatar in the preview: numbers in [0, 1] by ARKit's names or VRM's presets.
        animate: a CSV of Live Link Face, baked into the avatar's ``.glb``.
        splats: how many at most; by default the quality's number.
        normal_map: whether meshes and avatars carry the normals of the finest surface there is.
        watch: shows the stages while they run.

    Returns:
        the views, what was made of them in the world frame and head units, and what ``report`` holds.

    Raises:
        InputError: a photo that cannot be read or has no usable face, an unknown expression, an unusable clip.
        OutputError: a place that cannot be written; nothing was begun.
        WeightsError: a model file that is absent and cannot be fetched.
        MissingDependencyError: a prior or device this machine or version does not have.
        ResourceError: memory or disk ran out.
        FitError: no head fits the photos.
    """
    photos = as_paths(photos)
    stage_one.check_photos(photos)
    outputs = check_outputs(
        as_paths(out),
        ply=ply,
        views=as_path(views_out),
        report=as_path(report),
        preview=as_path(preview),
        turntable=as_path(turntable),
        inputs=photos,
        height_m=height_m,
    )
    options = diffusion or DiffusionOptions()
    choices = choose(prior=prior, device=device, quality=quality, options=options)
    took = choices["prior"].took
    moving = rig or RigOptions()
    against = reason_against(moving, keep_expression=keep_expression)
    check_vrm(outputs, against)
    baked = normal_map and bakes_normal_map(outputs)
    asked = animation.prepare(expression, as_path(animate), outputs, against=against)
    check_memory(quality, splats=splats)
    settings = preset(quality)
    unfinished = Unfinished(outputs, quality, choices["device"].took, f"{splats}", f"{baked}")
    rooms = unfinished.resumable(rooms_of(quality, choices["device"].took, "auto", splats, "mesh", baked))
    stages = Stages(
        [*stage_one.planned(took), *stage_two.planned(stage_two.Wanted.by(outputs), outputs)],
        expected_s=stage_one.expected_seconds(took, quality, options, choices["device"].took),
    )
    with watch(stages), unfinished:
        sightings = stage_one.meet(photos, rooms, stages, face=face)
        if took == "diffusion":
            around = directions_of(options, quality)
            seen = stage_one.look_with_diffusion(
                sightings, rooms, stages, options=options, directions=around, own_cameras=True, seed=seed
            )
        else:
            seen = stage_one.look_with_template(
                sightings,
                rooms,
                stages,
                directions=stage_one.rig_directions(settings.rig),
                own_cameras=True,
                size_px=settings.view_size_px,
                focal_widths=WHOLE_FOCAL_WIDTHS,
                keep_expression=keep_expression,
                seed=seed,
            )
        wanted = stage_two.Wanted.by(outputs, avatar=against is None and isinstance(seen.head, Riggable))
        needed = stage_two.planned(wanted, outputs)
        for stage in stages.planned:
            if stage in ("surface", "texture") and stage not in needed:
                stages.leave_out(stage)
        built = stage_two.build(seen.views, wanted, rooms, stages, seed=seed)
        avatar, rigged = make_avatar(
            seen.head, built, outputs, moving, rooms, stages, against=against, normal_map=baked
        )
        crops = [sighting.portrait.rgb for sighting in sightings]
        files = stage_two.write(outputs, stages, built, photos=crops, height_m=height_m, avatar=avatar, asked=asked)
    told: dict[str, Any] = {
        **reports.common(choices, seed=seed, records=stages.records),
        "photos": stage_one.describe(sightings),
        **seen.report,
        **describe_motion(seen.views.cameras, built.views),
        **stage_two.describe(built),
        **rigged,
        **(asked.described() if avatar is not None else {}),
        "resumed": unfinished.resumed,
        "files": [str(path) for path in files],
        "licences": reports.licences(took, recognised=options.identity is None),
    }
    if outputs.report is not None:
        reports.write_report(outputs.report, told)
        files = (*files, outputs.report)
    return Reconstruction(built.views, built.splats, built.mesh or built.whole, told, files, avatar)
