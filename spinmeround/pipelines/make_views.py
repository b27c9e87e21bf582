"""Stage one alone: photos to a folder of posed views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spinmeround.configs import Quality, preset
from spinmeround.errors import InputError
from spinmeround.io import write_views
from spinmeround.pipelines import report as reports
from spinmeround.pipelines import stage_one
from spinmeround.pipelines.choices import Choice, Device, Prior, choose_device, choose_prior
from spinmeround.pipelines.outputs import PathLike, as_path, as_paths, check_outputs
from spinmeround.pipelines.rooms import rooms_of
from spinmeround.pipelines.stage_one import Direction
from spinmeround.pipelines.stages import Stage, Stages, Watch, check_memory, unwatched
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
    outputs = check_outputs((), views=as_path(out), report=as_path(report), photos=photos)
    check_memory(quality)
    settings = preset(quality)
    around = tuple(directions) if directions is not None else stage_one.rig_directions(rig or settings.rig)
    stage_one.check_directions(around)
    choices = {
        "prior": choose_prior(prior),
        "device": choose_device(device),
        "quality": Choice(quality, quality, "asked for"),
    }
    rooms = rooms_of(quality, choices["device"].took)
    planned: list[Stage] = ["photo", "portrait", "head", "views", *(["files"] if outputs.views else [])]
    stages = Stages(planned, expected_s=settings.seconds)
    with watch(stages):
        sightings = stage_one.meet(photos, rooms, stages, face=face)
        head = stage_one.fit(sightings, rooms, stages, seed=seed)
        with stages("views"):
            cameras, names = stage_one.cameras_around(
                around,
                size_px=settings.view_size_px,
                photo_cameras=() if directions is not None else head.photo_cameras,
            )
            views = head.render(cameras, keep_expression=keep_expression, names=names)
        if outputs.views is not None:
            with stages("files"):
                write_views(outputs.views, views)
    if outputs.report is not None:
        told: dict[str, Any] = {
            **reports.common(choices, seed=seed, records=stages.records),
            "photos": stage_one.describe(sightings),
            "head": head.report,
            "texture": stage_one.shares(head),
            "views": {"count": len(views), "size_px": settings.view_size_px},
            "files": [str(outputs.views)] if outputs.views else [],
            "licences": reports.licences(template=True),
        }
        reports.write_report(outputs.report, told)
    return views
