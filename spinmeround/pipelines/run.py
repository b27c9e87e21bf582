"""What all runs share: everything that can be refused is refused first, and the end is the same for all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from spinmeround.errors import PoorResultError
from spinmeround.pipelines import report as reports
from spinmeround.pipelines.animation import Animation, load_animation
from spinmeround.pipelines.avatars import (
    NoAvatar,
    bakes_normal_map,
    check_avatar_only,
    find_obstacle,
    make_avatar,
    wants_avatar,
)
from spinmeround.pipelines.backends import Backends, build_backends
from spinmeround.pipelines.choices import Choice, resolve
from spinmeround.pipelines.outputs import OutputOptions, Outputs, check_hair_source, check_outputs
from spinmeround.pipelines.resume import ResumeStore
from spinmeround.pipelines.settings import RunSettings, run_key
from spinmeround.pipelines.stage_two import (
    FileScales,
    RequestedResults,
    StageTwoResult,
    describe_results,
    draw_results,
    fit_results,
    grow_hair,
    write_results,
)
from spinmeround.protocols import PaintedHead, RiggableHead
from spinmeround.runtime.stages import Stages, check_memory
from spinmeround.types import Avatar, Licence, Reconstruction, Views

if TYPE_CHECKING:
    from spinmeround.inspection.quality import Quality

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run whose settings, places and parts were all checked before any work.

    Attributes:
        settings: resolved: no ``auto`` is left where a choice was made.
        choices: what was left open and what was selected, by name.
        no_avatar: why there will be no avatar, if that is known.
        offers: protocols of the head that stage one is known to fit.
    """

    settings: RunSettings
    choices: Mapping[str, Choice]
    outputs: Outputs
    animation: Animation
    no_avatar: NoAvatar | None
    backends: Backends
    offers: Collection[type] = ()

    @property
    def needs_views(self) -> bool:
        """Whether anything is made from views, even if stage one fits a head that can move."""
        has_avatar = self.no_avatar is None
        requested = RequestedResults.by_outputs(self.outputs, self.settings.mesh, has_avatar=has_avatar)
        return requested.any or self.outputs.views is not None

    def planned_stages(self) -> list[str]:
        """Return the stages after stage one, as far as they are known beforehand."""
        rigged = self.no_avatar is None and RiggableHead in self.offers
        requested = RequestedResults.by_outputs(self.outputs, self.settings.mesh, has_avatar=rigged)
        painted = requested.splats and PaintedHead in self.offers and self.backends.starts_on_painted_surface
        avatar = ["avatar"] if self.no_avatar is None and wants_avatar(self.outputs) else []
        return [*replace(requested, painted_start=painted).stages(self.outputs), *avatar]

    def open_store(self, inputs: Sequence[Path]) -> ResumeStore:
        """Open what waits of an earlier run with the same settings and the same bytes of inputs."""
        return ResumeStore(self.outputs, key=run_key(self.settings, inputs))


@dataclass(frozen=True)
class StageTwoOutcome:
    """What the second half of a run made and wrote.

    Attributes:
        report: its part of the report.
        metres_per_unit: of the files.
    """

    built: StageTwoResult
    avatar: Avatar | None
    files: tuple[Path, ...]
    report: dict[str, Any]
    metres_per_unit: float


def prepare_run(
    settings: RunSettings,
    out: Sequence[Path],
    options: OutputOptions,
    *,
    inputs: Sequence[Path] = (),
    with_prior: bool,
) -> Run:
    """Check settings and places, and find the parts.

    Args:
        inputs: what is read, and so must stay.
        with_prior: whether stage one runs too.

    Raises:
        SpinMeRoundError: whatever cannot be had or written; nothing was begun.
    """
    outputs = check_outputs(out, options, settings, inputs=inputs)
    settings, choices = resolve(settings, with_prior=with_prior)
    check_hair_source(outputs, settings, with_prior=with_prior)
    no_avatar = find_obstacle(settings)
    check_avatar_only(outputs, no_avatar)
    if settings.mesh.normal_map and not bakes_normal_map(outputs):
        settings = replace(settings, mesh=replace(settings.mesh, normal_map=False))
    animation = load_animation(settings.avatar, outputs, no_avatar=no_avatar)
    backends = build_backends(settings)
    # The prior is built now, to say what is missing before any stage.
    offers = getattr(backends.prior, "offers", ()) if with_prior else ()
    run = Run(settings, choices, outputs, animation, no_avatar, backends, offers)
    check_memory(settings.quality, fits_surface="surface" in run.planned_stages(), splats=settings.splats)
    return run


def refuse_poor(
    run: Run, quality: Quality, stages: Stages, *, report: Mapping[str, Any], licences: Sequence[Licence]
) -> None:
    """End a run whose result would be poor, if that is to be an error; the report is written all the same.

    Raises:
        PoorResultError: and nothing but the report was written.
    """
    if quality.verdict != "poor" or not run.outputs.strict:
        return
    if run.outputs.report is not None:
        whole = {
            **reports.common(run.choices, seed=run.settings.seed, records=stages.records),
            **report,
            "files": [],
            "licences": reports.licences(licences),
        }
        reports.write_report(run.outputs.report, whole)
    raise PoorResultError(
        f"the head would be poor, and was not made: {'; '.join(quality.reasons)}; use a better photo, add others "
        "of the same person, or be less strict to get what there is",
        settings=("strict",),
    )


def run_stage_two(
    run: Run,
    views: Views,
    store: ResumeStore,
    stages: Stages,
    *,
    head: object | None = None,
    crops: Sequence[Float[np.ndarray, "_ _ 3"]] = (),
) -> StageTwoOutcome:
    """Fit what the outputs need, make the avatar, write and draw everything but the report.

    Args:
        head: what stage one fitted, if it did.
        crops: photos for the contact sheet.
    """
    rigged_already = run.no_avatar is None and isinstance(head, RiggableHead)
    requested = RequestedResults.by_outputs(run.outputs, run.settings.mesh, has_avatar=rigged_already)
    requested = requested.known_of(head, run.backends)
    needed = requested.stages(run.outputs)
    for stage in stages.planned:
        if stage in ("surface", "texture") and stage not in needed:
            stages.leave_out(stage)
    if requested.painted_start:
        stages.expect("splats", like="polish")
    built = fit_results(views, requested, run.backends, store, stages, head=head)
    made = make_avatar(head, built, run.outputs, run.backends, stages, no_avatar=run.no_avatar)
    avatar = made.avatar
    clip, expression = run.animation.clip, run.animation.expression
    hair, hair_report = grow_hair(head, run.outputs, stages)
    scales = FileScales.of(built, avatar, made.world_per_unit, height_m=run.settings.height_m)
    files = write_results(run.outputs, stages, built, avatar=avatar, clip=clip, hair=hair, scales=scales)
    files += draw_results(run.outputs, stages, built, photos=crops, avatar=avatar, expression=expression)
    for path in files:
        log.info("wrote %s", path)
    animation_report = run.animation.described() if avatar is not None else {}
    report = {**describe_results(built), **made.report, **animation_report, **hair_report}
    return StageTwoOutcome(built, avatar, files, report, scales.world)


def finish_run(
    run: Run,
    outcome: StageTwoOutcome,
    store: ResumeStore,
    stages: Stages,
    *,
    report: Mapping[str, Any],
    licences: Sequence[Licence] | None,
) -> Reconstruction:
    """Write the report and return everything the run made.

    Args:
        report: what the run has to say between its choices and its files.
        licences: of the models stage one stood on; None if only stage two ran.
    """
    whole = {
        **reports.common(run.choices, seed=run.settings.seed, records=stages.records),
        **report,
        "resumed": store.resumed,
        "files": [str(path) for path in outcome.files],
        "licences": reports.licences(licences),
    }
    files = outcome.files
    if run.outputs.report is not None:
        reports.write_report(run.outputs.report, whole)
        files = (*files, run.outputs.report)
    built = outcome.built
    return Reconstruction(built.views, built.splats, built.mesh or built.whole_surface, whole, files, outcome.avatar)


Cancel = Callable[[], bool]
"""Asked between steps of a run, from the thread that runs it: true ends the run with ``CancelledError``."""


def never() -> bool:
    """Never cancel."""
    return False
