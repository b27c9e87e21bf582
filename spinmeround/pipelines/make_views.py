"""Stage one alone: photos to a folder of posed views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spinmeround.configs import Quality, preset
from spinmeround.errors import InputError
from spinmeround.io import write_views
from spinmeround.orbits import FOCAL_WIDTHS
from spinmeround.pipelines import report as reports
from spinmeround.pipelines import stage_one
from spinmeround.pipelines.backends import rooms_of
from spinmeround.pipelines.choices import Device, Prior, choose
from spinmeround.pipelines.diffusion_options import DiffusionOptions, directions_of
from spinmeround.pipelines.outputs import PathLike, as_path, as_paths, check_outputs
from spinmeround.pipelines.stage_one import Direction
from spinmeround.runtime.stages import Stage, Stages, Watch, check_memory, unwatched
from spinmeround.types import Views


def make_views(
    photos: PathLike | Iterable[PathLike],
    *,
    out: PathLike | None = None,
    directions: Sequence[Direction] | None = None,
    rig: str | None = None,
    quality: Quality = "standard",
    prior: Prior = "auto",
    seed: int = 0,
    device: Device = "auto",
    face: int | None = None,
    keep_expression: bool = False,
    report: PathLike | None = None,
    diffusion: DiffusionOptions | None = None,
    watch: Watch = unwatched,
) -> Views:
    """One to several photos of one person to RGB, world normals and masks from all sides.

    Args:
        out: folder to write, in the layout of nerfstudio's ``transforms.json``.
        directions: azimuth and elevation of each camera, degrees; azimuth 0 faces the subject and grows toward the
            subject's left.
        rig: a named rig instead, by default that of the quality. The photos' own cameras then come first.

    Other arguments, and what is raised, are those of ``spinmeround.reconstruct``.
    """
    photos = as_paths(photos)
    stage_one.check_photos(photos)
    if directions is not None and rig is not None:
        raise InputError("directions and a rig were both given; give one of them")
    outputs = check_outputs((), views=as_path(out), report=as_path(report), inputs=photos)
    options = diffusion or DiffusionOptions()
    if options.views is not None and (directions is not None or rig is not None):
        raise InputError("a number of views and directions or a rig were both given; give one of them")
    if directions is not None:
        stage_one.check_directions(directions)
    named = None if rig is None else stage_one.rig_directions(rig)
    choices = choose(prior=prior, device=device, quality=quality, options=options)
    took = choices["prior"].took
    check_memory(quality)
    settings = preset(quality)
    rooms = rooms_of(quality, choices["device"].took)
    planned: list[Stage] = [*stage_one.planned(took), *(["files"] if outputs.views else [])]
    expected_s = stage_one.expected_seconds(took, quality, options, choices["device"].took)
    stages = Stages(planned, expected_s=expected_s)
    with watch(stages):
        sightings = stage_one.meet(photos, rooms, stages, face=face)
        if took == "diffusion":
            around = directions or named or directions_of(options, quality)
            seen = stage_one.look_with_diffusion(
                sightings, rooms, stages, options=options, directions=around, own_cameras=directions is None, seed=seed
            )
        else:
            seen = stage_one.look_with_template(
                sightings,
                rooms,
                stages,
                directions=directions or named or stage_one.rig_directions(settings.rig),
                own_cameras=directions is None,
                size_px=settings.view_size_px,
                focal_widths=FOCAL_WIDTHS,
                keep_expression=keep_expression,
                seed=seed,
            )
        views = seen.views
        if outputs.views is not None:
            with stages("files"):
                write_views(outputs.views, views)
    if outputs.report is not None:
        told: dict[str, Any] = {
            **reports.common(choices, seed=seed, records=stages.records),
            "photos": stage_one.describe(sightings),
            **seen.report,
            "views": {"count": len(views), "size_px": views.cameras.width_px},
            "files": [str(outputs.views)] if outputs.views else [],
            "licences": reports.licences(took, recognised=options.identity is None),
        }
        reports.write_report(outputs.report, told)
    return views
