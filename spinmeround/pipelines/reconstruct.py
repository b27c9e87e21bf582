"""The main job, as a short composition: photos, portraits, a head, views, a surface, splats or a mesh, files."""

from __future__ import annotations

from collections.abc import Iterable

from spinmeround.configs import preset
from spinmeround.pipelines import report as reports
from spinmeround.pipelines.choices import warn_of_substitutes
from spinmeround.pipelines.outputs import OutputOptions, PathLike, as_paths
from spinmeround.pipelines.portraits import (
    PORTRAIT_STAGES,
    check_photos,
    describe_photo_camera,
    describe_photos,
    load_portraits,
)
from spinmeround.pipelines.resume import load_prior_result
from spinmeround.pipelines.run import Cancel, finish_run, never, prepare_run, refuse_poor, run_stage_two
from spinmeround.pipelines.settings import RunSettings
from spinmeround.recon.cameras.motion import describe_motion
from spinmeround.runtime.stages import Stages, Watch, unwatched
from spinmeround.types import Reconstruction, ViewRequest


def reconstruct(
    photos: PathLike | Iterable[PathLike],
    *,
    out: PathLike | Iterable[PathLike] = (),
    settings: RunSettings | None = None,
    outputs: OutputOptions | None = None,
    watch: Watch = unwatched,
    cancel: Cancel = never,
) -> Reconstruction:
    """Turn one to several photos of one person into a 3D head.

    A run that was stopped goes on from its last finished stage when it is asked for again in the same way.

    Args:
        photos: files; more than one must show the same person.
        out: files to write, see ``spinmeround.io.formats``; with none, all results are made and only returned.
        settings: everything that changes the result; by default standard quality with the template prior.
        outputs: what is written beside the results: views, report, preview, turntable.
        watch: shows the stages while they run.
        cancel: asked between steps; once it returns true the run ends with ``CancelledError`` and leaves nothing.

    Returns:
        The views, what was made of them in the world frame and head units, and what the report holds.

    Raises:
        InputError: a photo without a usable face, an unknown part or expression, an unusable clip.
        OutputError: a place that cannot be written; nothing was begun.
        WeightsError, MissingDependencyError: something that the settings need is not on this machine.
        ResourceError: memory or disk ran out.
        FitError: no head fits the photos.
        PoorResultError: the head would be poor, and ``outputs.strict`` makes that an error.
    """
    check_photos(photos := as_paths(photos))
    run = prepare_run(
        settings or RunSettings(), as_paths(out), outputs or OutputOptions(), inputs=photos, with_prior=True
    )
    prior, request = run.backends.prior, ViewRequest(optional=not run.needs_views)
    seconds = {**preset(run.settings.quality).seconds, **(prior_seconds := prior.planned_stages(request))}
    planned = [*PORTRAIT_STAGES, *prior_seconds, *run.planned_stages()]
    stages, store = Stages(planned, expected_s=seconds, cancel=cancel), run.open_store(photos)
    with watch(stages), store:
        loaded = load_portraits(photos, run.backends, stages)
        warn_of_substitutes(run.choices)
        portraits = [each.portrait for each in loaded]
        first = store.get_or_make(
            "views",
            lambda: prior.generate(portraits, request, seed=run.settings.seed, stages=stages),
            load_prior_result,
            keep=lambda result: result.head is None,
        )
        quality = reports.judge(loaded, first)
        known = {"photos": describe_photos(loaded), "quality": quality.described(), **first.report}
        refuse_poor(run, quality, stages, report=known, licences=run.backends.stage_one_licences)
        outcome = run_stage_two(run, first.views, store, stages, head=first.head, crops=[p.rgb for p in portraits])
    known["photo_camera"] = describe_photo_camera(first.head, loaded, metres_per_unit=outcome.metres_per_unit)
    report = {**known, **describe_motion(first.views.cameras, outcome.built.views), **outcome.report}
    made = finish_run(run, outcome, store, stages, report=report, licences=run.backends.stage_one_licences)
    reports.announce(quality)
    return made
