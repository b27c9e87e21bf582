"""Stage one alone: photos to a folder of posed views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spinmeround.configs import preset
from spinmeround.errors import InputError
from spinmeround.io import write_views
from spinmeround.pipelines import report as reports
from spinmeround.pipelines.choices import warn_of_substitutes
from spinmeround.pipelines.outputs import OutputOptions, PathLike, as_paths
from spinmeround.pipelines.portraits import PORTRAIT_STAGES, check_photos, describe_photos, load_portraits
from spinmeround.pipelines.priors.directions import Direction, check_directions, orbit_directions
from spinmeround.pipelines.run import Cancel, never, prepare_run, refuse_poor
from spinmeround.pipelines.settings import RunSettings
from spinmeround.runtime.stages import Stages, Watch, unwatched
from spinmeround.types import ViewRequest, Views


def make_views(
    photos: PathLike | Iterable[PathLike],
    *,
    settings: RunSettings | None = None,
    outputs: OutputOptions | None = None,
    directions: Sequence[Direction] | None = None,
    orbit: str | None = None,
    watch: Watch = unwatched,
    cancel: Cancel = never,
) -> Views:
    """Turn one to several photos of one person into RGB, world normals and masks from all sides.

    Args:
        outputs: ``views`` is the folder to write, in the layout of nerfstudio's ``transforms.json``; ``report`` and
            ``strict`` count, too.
        directions: azimuth and elevation of each camera, degrees; azimuth 0 faces the subject and grows toward the
            subject's left.
        orbit: a named camera orbit instead, by default that of the quality. The photos' own cameras then come first.

    Other arguments, and what is raised, are those of ``spinmeround.reconstruct``.
    """
    photos = as_paths(photos)
    check_photos(photos)
    run = prepare_run(settings or RunSettings(), (), outputs or OutputOptions(), inputs=photos, with_prior=True)
    request = _request(directions, orbit)
    prior = run.backends.prior
    prior_stages = prior.planned_stages(request)
    planned = [*PORTRAIT_STAGES, *prior_stages, *(["files"] if run.outputs.views else [])]
    seconds = dict(preset(run.settings.quality).seconds) | dict(prior_stages)
    stages = Stages(planned, expected_s=seconds, cancel=cancel)
    with watch(stages):
        loaded = load_portraits(photos, run.backends, stages)
        warn_of_substitutes(run.choices)
        portraits = [each.portrait for each in loaded]
        result = prior.generate(portraits, request, seed=run.settings.seed, stages=stages)
        views, quality = result.views, reports.judge(loaded, result)
        known = {"photos": describe_photos(loaded), "quality": quality.described(), **result.report}
        refuse_poor(run, quality, stages, report=known, licences=run.backends.stage_one_licences)
        if run.outputs.views is not None:
            with stages("files"):
                write_views(run.outputs.views, views)
    if run.outputs.report is not None:
        report = {
            **reports.common(run.choices, seed=run.settings.seed, records=stages.records),
            **known,
            "views": {"count": len(views), "size_px": views.cameras.width_px},
            "files": [str(run.outputs.views)] if run.outputs.views else [],
            "licences": reports.licences(run.backends.stage_one_licences),
        }
        reports.write_report(run.outputs.report, report)
    reports.announce(quality)
    return views


def _request(directions: Sequence[Direction] | None, orbit: str | None) -> ViewRequest:
    """Check where views are asked from.

    Raises:
        InputError: both directions and an orbit, an unknown orbit, or cameras that cannot stand there.
    """
    if directions is not None and orbit is not None:
        raise InputError("directions and an orbit were both given; give one of them")
    if directions is not None:
        check_directions(directions)
        return ViewRequest(tuple(directions), photo_cameras=False, whole_head=False)
    return ViewRequest(None if orbit is None else orbit_directions(orbit), whole_head=False)
