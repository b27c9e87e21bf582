"""Stage two, appearance: fit splats to posed views by gradient descent, starting on a surface."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.configs import QUALITIES, Quality, preset
from spinmeround.errors import FitError
from spinmeround.protocols import Rasterizer
from spinmeround.recon.splats.initialisation import (
    merge_fits,
    open_visual_hull,
    outside_silhouettes,
    pixel_width,
    select_splats,
    splats_on_surface,
)
from spinmeround.recon.splats.losses import structural_dissimilarity, weighted_l1, weighted_squared_error
from spinmeround.recon.splats.optimizer import (
    DEFAULT_SCHEDULE,
    LearningRateSchedule,
    SplatOptimizer,
    ViewCrop,
    one_torch_thread,
    view_order,
)
from spinmeround.recon.splats.painted_initialisation import splats_on_painted_surface
from spinmeround.recon.splats.sh_observability import observable_sh_projector
from spinmeround.recon.splats.view_interpolation import concatenate_views, interpolate_views
from spinmeround.recon.view_scaling import shrink_views
from spinmeround.types import Mesh, PaintedSurface, Progress, Splats, Views, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss.

    Attributes:
        l1: of the colours' absolute errors. Where views disagree, they settle on the median: sharp, right or wrong.
        squared: of the colours' squared errors. Where views disagree, they settle on the mean.
        ssim: of 1 - SSIM of the colours.
        silhouette_l1: of alpha's absolute errors.
        silhouette_squared: of alpha's squared errors.
        normals: of the normals' absolute errors.
        binary_opacity: of the mean of 4 o (1 - o). It drives opacities to 0 or 1: with half-transparent splats the head
            looks hollow from new sides.
    """

    l1: float = 0.8
    squared: float = 0.0
    ssim: float = 0.2
    silhouette_l1: float = 0.2
    silhouette_squared: float = 0.0
    normals: float = 0.05
    binary_opacity: float = 0.002


@dataclass(frozen=True)
class FitStrategy:
    """How a fit treats its views: the loss, and the constraints on the splats.

    Attributes:
        loss: weights of the loss.
        regularise_positions: start on the given surface and stay near it. Otherwise start on the visual hull.
        flatness: a splat's thickness over its width, at the start. Thin ones show sharper silhouettes, where they are
            seen edge-on, but have to lie right.
        min_scale_px: least standard deviation of a splat along its disc.
        outlier_fraction: of the views, which may be wrong about a silhouette.
    """

    loss: LossWeights = field(default_factory=LossWeights)
    regularise_positions: bool = True
    flatness: float = 0.06
    min_scale_px: float = 0.0
    outlier_fraction: float = 0.0


_WITH_NORMALS = FitStrategy()
_WITHOUT_NORMALS = FitStrategy(
    LossWeights(normals=0.0), regularise_positions=False, flatness=0.15, outlier_fraction=0.1
)
"""Views without normals rarely agree on silhouettes."""
_INCONSISTENT = replace(
    _WITHOUT_NORMALS,
    loss=LossWeights(
        l1=0.3,
        squared=3.5,
        ssim=0.1,
        silhouette_l1=0.0,
        silhouette_squared=1.0,
        normals=0.0,
        binary_opacity=0.0,
    ),
    min_scale_px=1.5,
)
"""Views that contradict each other: a sharp edge would lie elsewhere in the next view, so a soft one is best."""


@dataclass(frozen=True)
class ViewsWithoutNormalsSettings:
    """The work of a fit to views without normals.

    Attributes:
        max_splats: more would overfit single views.
        iterations_factor: more steps than with normals, as splats start farther from where they belong.
        min_views_for_sh: from so many views on, colours get harmonics of degree 1.
    """

    max_splats: int = 80_000
    iterations_factor: int = 3
    min_views_for_sh: int = 16


_COARSE_SCHEDULE = LearningRateSchedule(last=0.3, geometry=2.0, averaged_fraction=0.3)
"""No surface says where these splats belong: they have far to go, and a single picture's gradient is mostly noise."""
_FINE_SCHEDULE = LearningRateSchedule(first=0.15)
"""Small steps: larger ones would overwrite what the coarse phase learnt with the last few pictures."""


@dataclass(frozen=True)
class InconsistentViewsSettings:
    """The work of a fit to views that contradict each other: a coarse phase of several fits, then a fine one.

    Attributes:
        min_inconsistency: from which views are treated so, see ``InterpolatedViews``.
        max_splats: more would show what single views made up.
        sh_degree: of both phases.
        coarse_px: longer side of the pictures in the coarse phase. What such views have in common is hardly finer, and
            it takes many steps, which are cheap at this size.
        coarse_iterations_factor: steps of the coarse phase, over those of the fine one.
        coarse_fits: independent fits that divide the splats among them. Each settles at random what views leave open,
            and the mean of two is nearer to the next view than either.
        coarse_schedule: of the coarse phase.
        fine_schedule: of the fine phase.
    """

    min_inconsistency: float = 0.3
    max_splats: int = 12_000
    sh_degree: Literal[0, 1, 2, 3] = 3
    coarse_px: int = 192
    coarse_iterations_factor: int = 5
    coarse_fits: int = 2
    coarse_schedule: LearningRateSchedule = _COARSE_SCHEDULE
    fine_schedule: LearningRateSchedule = _FINE_SCHEDULE


_WITHOUT_NORMALS_WORK = ViewsWithoutNormalsSettings()
_INCONSISTENT_WORK = InconsistentViewsSettings()
_POLISH_SCHEDULE = LearningRateSchedule(first=0.6, sizes=3.0, averaged_fraction=0.3)
"""Discs on a grid know their places and colours, not how far they must reach for the surface to be closed. They are so
near to the optimum that full steps would leave it."""
_POLISH_LOSS = LossWeights(normals=0.0, binary_opacity=0.0)
"""Normals and opacities are right from the start."""
_MIN_OPACITY = 0.02
"""Fainter splats are pruned at the end."""


@dataclass(frozen=True)
class SplatSettings:
    """How much work a fit does.

    Attributes:
        count: splats to start with; a few are pruned.
        iterations: steps of one view each. Below about five a view, colours stay soft.
        polish_iterations: the same where splats start on what the views were drawn from: colours, places and sizes are
            nearly right then.
        sh_degree: 0 gives a splat one colour from all sides; 1 to 3 need views that show highlights move.
    """

    count: int = 50_000
    iterations: int = 250
    polish_iterations: int = 40
    sh_degree: Literal[0, 1, 2, 3] = 0


SPLAT_PRESETS: Mapping[Quality, SplatSettings] = MappingProxyType(
    {q: SplatSettings(**preset(q).splats) for q in QUALITIES}
)


@final
class GaussianFitter:
    """``SplatFitter``: Adam on the photometric loss of 3D Gaussian Splatting, with silhouettes and normals beside it.

    The loss of a step is 0.8 L1 + 0.2 (1 - SSIM) on colour (Kerbl et al. 2023), both over one random background so
    that colour and coverage cannot stand in for each other, plus L1 on alpha and, where the views have them, on
    normals. ``views.weight`` multiplies all terms pixel by pixel, so that where views disagree the one of larger weight
    wins.

    Splats stay flat, without needles, and not much larger than they began. Those that end up outside a silhouette, or
    almost transparent, are pruned. Deterministic for a seed.
    """

    def __init__(self, rasterizer: Rasterizer, settings: SplatSettings = SPLAT_PRESETS["standard"]) -> None:
        """Choose the rasteriser and the amount of work."""
        self.rasterizer = rasterizer
        self.settings = settings

    def fit(self, views: Views, surface: Mesh, *, seed: int, progress: Progress = no_progress) -> Splats:
        """Fit splats to views, starting on a surface in the same world frame.

        Views without normals (all 0) are fitted by colour and silhouette alone. The surface is not used then: the fit
        starts on the visual hull, continued down to the pictures' lower border, with fewer splats that are free to
        move, and takes more steps. If neighbouring views contradict each other, the fit looks for what most views have
        in common: fewer and softer splats with view-dependent colours, fitted also to pictures interpolated half way
        between neighbours; small pictures first, by several independent fits that are merged.

        Args:
            progress: called with the fraction done.

        Returns:
            Detached float32 tensors on the CPU, unit quaternions.

        Raises:
            FitError: no view sees the surface, the optimisation diverged, or no splat was left.
        """
        rng = np.random.default_rng(seed)
        progress(0.0, "laying splats on the surface")
        strategy, settings, phases = _plan(views, self.settings)
        base = surface if strategy.regularise_positions else open_visual_hull(views)
        width = pixel_width(views, base.vertices)
        initialise = partial(
            splats_on_surface,
            views,
            base,
            count=settings.count // phases[0].fits,
            sh_degree=settings.sh_degree,
            flatness=strategy.flatness,
            rng=rng,
        )
        sh_projector = observable_sh_projector(views.cameras, settings.sh_degree) if settings.sh_degree else None
        optimizer = partial(
            SplatOptimizer,
            pixel_width=pixel_width(phases[0].views, base.vertices),
            regularise_positions=strategy.regularise_positions,
            min_scale=strategy.min_scale_px * width,
            sh_projector=sh_projector,
        )
        train = partial(self._train, views=views, strategy=strategy, rng=rng, on_step=_step_counter(phases, progress))
        with one_torch_thread():
            first, *later = phases
            splats = merge_fits(
                [train(optimizer(initialise(), schedule=first.schedule), first) for _ in range(first.fits)]
            )
            for phase in later:
                splats = train(optimizer(splats, schedule=phase.schedule), phase)
        return splats

    def fit_painted(
        self, views: Views, painted: PaintedSurface, *, seed: int, progress: Progress = no_progress
    ) -> Splats:
        """Fit splats that start on what the views were drawn from, which takes a small part of the steps.

        A step draws the splats that its view sees, and no others.

        Raises:
            FitError: no view sees the surface, or the optimisation diverged.
        """
        settings, rng = self.settings, np.random.default_rng(seed)
        progress(0.0, "laying splats on what the views show")
        start, seen = splats_on_painted_surface(views, painted, count=settings.count, sh_degree=settings.sh_degree)
        chosen = [torch.from_numpy(each) for each in seen]
        phase = TrainingPhase(views, settings.polish_iterations, _POLISH_SCHEDULE)
        on_step = _step_counter([phase], progress)
        with one_torch_thread():
            optimizer = SplatOptimizer(
                start,
                pixel_width(views, painted.mesh.vertices),
                schedule=phase.schedule,
                sh_projector=observable_sh_projector(views.cameras, settings.sh_degree) if settings.sh_degree else None,
            )
            for step, index in enumerate(view_order(len(views), phase.steps, rng)):
                visible = select_splats(optimizer.splats(), chosen[index])
                optimizer.step(self._loss(visible, ViewCrop.of(views, index), rng, _POLISH_LOSS), step / phase.steps)
                on_step()
            return _prune(optimizer.result(), views, 0)

    def _train(
        self,
        optimizer: SplatOptimizer,
        phase: TrainingPhase,
        *,
        views: Views,
        strategy: FitStrategy,
        rng: np.random.Generator,
        on_step: Callable[[], None],
    ) -> Splats:
        """Run one fit of a phase, and prune by the silhouettes of ``views``."""
        max_outlier_views = round(strategy.outlier_fraction * len(views))
        for step, index in enumerate(view_order(len(phase.views), phase.steps, rng)):
            loss = self._loss(optimizer.splats(), ViewCrop.of(phase.views, index), rng, strategy.loss)
            optimizer.step(loss, step / phase.steps)
            if step == phase.steps // 2:
                means = optimizer.splats().means.detach().numpy()
                optimizer.hide(outside_silhouettes(means, views, max_outlier_views=max_outlier_views))
            on_step()
        return _prune(optimizer.result(), views, max_outlier_views)

    def _loss(
        self, splats: Splats, picture: ViewCrop, rng: np.random.Generator, weights: LossWeights
    ) -> Float[Tensor, ""]:
        background = torch.from_numpy(rng.random(3, np.float32))
        rendering = self.rasterizer.render(splats, picture.camera)
        alpha, target_alpha = rendering.alpha[0][..., None], picture.alpha[..., None]
        prediction = rendering.rgb[0] + (1 - alpha) * background
        target = torch.lerp(background.expand_as(picture.rgb), picture.rgb, target_alpha)
        loss = weights.l1 * weighted_l1(prediction, target, picture.weight)
        loss = loss + weights.ssim * structural_dissimilarity(prediction, target, picture.weight)
        if weights.squared:
            loss = loss + weights.squared * weighted_squared_error(prediction, target, picture.weight)
        if weights.silhouette_l1:
            loss = loss + weights.silhouette_l1 * weighted_l1(alpha, target_alpha, picture.weight)
        if weights.silhouette_squared:
            loss = loss + weights.silhouette_squared * weighted_squared_error(alpha, target_alpha, picture.weight)
        if weights.normals:
            target_normals = picture.normals_world * target_alpha
            loss = loss + weights.normals * weighted_l1(rendering.normals_world[0], target_normals, picture.weight)
        return loss + weights.binary_opacity * (4 * splats.opacities * (1 - splats.opacities)).mean()


@dataclass(frozen=True)
class TrainingPhase:
    """A number of steps on a set of views.

    Attributes:
        steps: of one view each.
        fits: independent ones; the next phase starts from all of them, merged.
    """

    views: Views
    steps: int
    schedule: LearningRateSchedule = DEFAULT_SCHEDULE
    fits: int = 1


def _plan(views: Views, settings: SplatSettings) -> tuple[FitStrategy, SplatSettings, list[TrainingPhase]]:
    """Choose the strategy, the settings and the phases by what the views have and how consistent they are."""
    if views.normals_world.any():
        return _WITH_NORMALS, settings, [TrainingPhase(views, settings.iterations)]
    count = min(settings.count, _WITHOUT_NORMALS_WORK.max_splats)
    iterations = _WITHOUT_NORMALS_WORK.iterations_factor * settings.iterations
    work = replace(settings, count=count, iterations=iterations)
    if settings.sh_degree == 0 and len(views) >= _WITHOUT_NORMALS_WORK.min_views_for_sh:
        work = replace(work, sh_degree=1)
    between = interpolate_views(views)
    if between is None or between.inconsistency < _INCONSISTENT_WORK.min_inconsistency:
        return _WITHOUT_NORMALS, work, [TrainingPhase(views, work.iterations)]
    log.info("neighbouring views contradict each other: %d pictures between them join the fit", len(between.views))
    return _plan_inconsistent(concatenate_views(views, between.views), settings)


def _plan_inconsistent(views: Views, settings: SplatSettings) -> tuple[FitStrategy, SplatSettings, list[TrainingPhase]]:
    """Plan the fit to views that contradict each other, ``views`` being these and the interpolated ones."""
    work = _INCONSISTENT_WORK
    coarse = TrainingPhase(
        shrink_views(views, work.coarse_px),
        work.coarse_iterations_factor * settings.iterations,
        work.coarse_schedule,
        work.coarse_fits,
    )
    fine = TrainingPhase(views, settings.iterations, work.fine_schedule)
    settings = replace(settings, count=min(settings.count, work.max_splats), sh_degree=work.sh_degree)
    return _INCONSISTENT, settings, [coarse, fine]


def _step_counter(phases: Sequence[TrainingPhase], progress: Progress) -> Callable[[], None]:
    """Return a function to be called after each step, which reports the progress of all phases."""
    steps, done = sum(phase.fits * phase.steps for phase in phases), itertools.count(1)

    def on_step() -> None:
        step = next(done)
        progress(step / steps, f"fitting splats, step {step} of {steps}")

    return on_step


@torch.no_grad()
def _prune(splats: Splats, views: Views, max_outlier_views: int) -> Splats:
    """Remove splats that are too faint to see or outside the silhouettes, and normalise the quaternions."""
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    if not all(bool(torch.isfinite(values).all()) for values in fields):
        raise FitError("the splat fit diverged (values became infinite): are the views' cameras in head units?")
    outside = torch.from_numpy(outside_silhouettes(splats.means.numpy(), views, max_outlier_views=max_outlier_views))
    kept = (splats.opacities > _MIN_OPACITY) & ~outside
    log.info("kept %d of %d splats; %d lay outside a silhouette", int(kept.sum()), len(kept), int(outside.sum()))
    if not kept.any():
        raise FitError("no splat was left inside the silhouettes: do the views' cameras and masks belong together?")
    means, scales, quats, opacities, sh = (values[kept].clone() for values in fields)
    return Splats(means, scales, torch.nn.functional.normalize(quats, dim=1), opacities, sh)
