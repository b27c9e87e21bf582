"""Stage two alone: any folder of posed views to splats and meshes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spinmeround.configs import preset
from spinmeround.geometry import select
from spinmeround.io import read_views
from spinmeround.io.views.read import files_of_views
from spinmeround.pipelines.outputs import OutputOptions, PathLike, as_paths, check_inputs_stay
from spinmeround.pipelines.resume import ResumeStore, load_correction
from spinmeround.pipelines.run import Cancel, Run, finish_run, never, prepare_run, run_stage_two
from spinmeround.pipelines.settings import RunSettings
from spinmeround.pipelines.stage_two import measure_held_out
from spinmeround.recon.cameras.capture import WorldNormalisation, check_visibility, normalise_world
from spinmeround.recon.cameras.motion import describe_motion, interpolate_camera_motion
from spinmeround.recon.cameras.silhouettes import find_wrong_masks
from spinmeround.runtime.stages import Stages, Watch, unwatched
from spinmeround.types import Reconstruction, Views

log = logging.getLogger(__name__)


def fit_views(
    folder: PathLike,
    *,
    out: PathLike | Iterable[PathLike] = (),
    settings: RunSettings | None = None,
    outputs: OutputOptions | None = None,
    watch: Watch = unwatched,
    cancel: Cancel = never,
) -> Reconstruction:
    """Fit a head to a folder of posed pictures, with masks and, where there are any, normals.

    Views of another world are turned upright, moved and scaled to that of a head first, and the report says how. Views
    the folder holds out are not fitted but measured. Cameras that turn out to be off are moved, and the report says
    which and how far: without normals, those whose outlines contradict each other are refined first, and held-out ones
    move as their neighbours did; then the surface turns back single ones. Where the views show a face, a ``.glb`` holds
    an avatar.

    A run that was stopped goes on from its last finished stage when it is asked for again in the same way: what it had
    made waits in a hidden folder beside the first output.

    Args:
        folder: what ``spmr-views``, nerfstudio, instant-ngp or COLMAP writes; docs/FOLDERS.md has the details.
        settings: everything that changes the result; those of photos and priors have no part in it.

    Other arguments, and what is raised, are those of ``spinmeround.reconstruct``.
    """
    source = Path(folder)
    run = prepare_run(settings or RunSettings(), as_paths(out), outputs or OutputOptions(), with_prior=False)
    inputs = files_of_views(source, skip_missing=run.settings.capture.skip_missing)
    check_inputs_stay(inputs, run.outputs.files)
    stages = Stages(["folder", *run.planned_stages()], expected_s=preset(run.settings.quality).seconds, cancel=cancel)
    store = run.open_store(inputs)
    with watch(stages), store:
        read = _read(source, run.settings, stages)
        views, held_out = read.views, read.held_out
        given, refined = views.cameras, _refine_cameras(views, run, store, stages)
        outcome = run_stage_two(run, refined, store, stages)
        if held_out is not None and refined is not views:
            held_out = interpolate_camera_motion(held_out, given, outcome.built.views.cameras)
        measured = None if held_out is None else measure_held_out(outcome.built, held_out, stages)
    report: dict[str, Any] = {
        "views": {
            "folder": str(source),
            "count": len(views),
            **({"left_out": list(read.left_out)} if read.left_out else {}),
            "with_normals": bool(views.normals_world.any()),
            **({} if read.normalisation is None else read.normalisation.report),
            **describe_motion(given, outcome.built.views),
        },
        **outcome.report,
        "held_out": measured,
    }
    return finish_run(run, outcome, store, stages, report=report, licences=None)


@dataclass(frozen=True)
class _Folder:
    """What a folder of views holds, in the world of a head; ``left_out`` names the views with a wrong mask."""

    views: Views
    held_out: Views | None
    normalisation: WorldNormalisation | None
    left_out: tuple[str, ...]


def _read(source: Path, settings: RunSettings, stages: Stages) -> _Folder:
    """Read the views and those held out, and bring both to the world of a head."""
    capture = settings.capture
    with stages("folder"):
        views, held_out = read_views(
            source,
            size_px=capture.view_size_px or preset(settings.quality).view_size_px,
            normal_frame=capture.normal_frame,
            skip_missing=capture.skip_missing,
            check=check_visibility,
        )
        normalisation = normalise_world(views)
        if normalisation is not None:
            views = normalisation.apply(views)
            held_out = None if held_out is None else normalisation.apply(held_out)
        wrong = [] if views.exact_cameras else find_wrong_masks(views.cameras, views.alpha)
    names = tuple(views.names[index] for index in wrong)
    if wrong:
        log.warning("left out, as their masks miss most of the head that the others agree on: %s", ", ".join(names))
        views = _without(views, wrong)
    if held_out is not None:
        stages.add("held out")
    return _Folder(views, held_out, normalisation, names)


def _without(views: Views, wrong: Sequence[int]) -> Views:
    """Return the views but the wrong ones, in the same memory: the later ones move up."""
    kept = [index for index in range(len(views)) if index not in wrong]
    for place, index in enumerate(kept):
        for pictures in (views.rgb, views.normals_world, views.alpha, views.weight):
            if place != index:
                pictures[place] = pictures[index]
    names = tuple(views.names[index] for index in kept)
    return replace(views.part(slice(len(kept))), cameras=select(views.cameras, kept), names=names)


def _refine_cameras(views: Views, run: Run, store: ResumeStore, stages: Stages) -> Views:
    """Refine the cameras where that was asked for, or where there are no normals to place the surface."""
    trust = run.settings.capture.cameras
    if trust == "keep" or (trust == "auto" and (views.exact_cameras or views.normals_world.any())):
        return views
    stages.add("cameras")
    with stages("cameras") as progress:
        correction = store.get_or_make(
            "cameras",
            lambda: run.backends.refine_cameras(views, seed=run.settings.seed, progress=progress),
            load_correction,
        )
    return views if correction is None else correction.apply(views)
