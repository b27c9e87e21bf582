"""Stage two, appearance: fits splats to posed views by gradient descent, starting on a surface."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.errors import FitError
from spinmeround.protocols import Rasterizer
from spinmeround.recon.splats.initialisation import (
    outline_shell,
    pixel_width,
    splats_on_surface,
    stray_splats,
    superposed,
)
from spinmeround.recon.splats.losses import structural_dissimilarity, weighted_l1, weighted_squares
from spinmeround.recon.splats.optimizer import USUAL_PACE, Descent, Pace, Picture, one_torch_thread, turns
from spinmeround.recon.splats.sh_observability import told_apart
from spinmeround.recon.splats.view_interpolation import joined, look_between
from spinmeround.recon.view_scaling import shrink_views
from spinmeround.types import Mesh, Splats, Views

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Course:
    """How a fit treats its views: what a unit of each loss weighs, and what splats may do.

    Attributes:
        l1: of the colours' absolute errors. They settle on the median of what views say, sharp, right or wrong.
        squares: of the colours' squared errors. They settle on the mean.
        see_through: of the mean of 4 o (1 - o): a splat is to be there or not, or the head looks hollow from new sides.
        tethered: whether the start surface is to be believed.
        flatness: a splat's thickness over its width, at the start. Thin ones show sharper outlines, where they are seen
            edge-on, but have to lie right.
        narrowest_px: least standard deviation of a splat along its disc.
        tolerated: share of the views that may be wrong about an outline.
    """

    l1: float = 0.8
    squares: float = 0.0
    ssim: float = 0.2
    outline: float = 0.2
    outline_squares: float = 0.0
    normals: float = 0.05
    see_through: float = 0.002
    tethered: bool = True
    flatness: float = 0.06
    narrowest_px: float = 0.0
    tolerated: float = 0.0


_WITH_NORMALS = _Course()
_BY_COLOUR = _Course(normals=0.0, tethered=False, flatness=0.15, tolerated=0.1)
"""Views without normals rarely agree on outlines."""
_BY_MAJORITY = replace(
    _BY_COLOUR, l1=0.3, squares=3.5, ssim=0.1, outline=0.0, outline_squares=1.0, see_through=0.0, narrowest_px=1.5
)
"""Views that contradict each other: where a sharp edge would be somewhere else in the next view, a soft one is best."""

_MIN_OPACITY = 0.02
_MOST_WITHOUT_NORMALS = 80_000
_MOST_OF_DISSENTING_VIEWS = 12_000
"""More would show what single views made up."""
_DRAFTS = 2
"""Fits of dissenting views that share the splats. What views leave open each of them settles by chance, and the mean of
two is nearer to the next view than either."""
_FAIR_CONTRADICTION = 0.3
"""See ``between.Between``."""
_VIEWS_FOR_HIGHLIGHTS = 16
_COARSE_PX = 192
"""What dissenting views have in common is hardly finer, and it takes many steps, which are cheap at this size."""
_DRAFTING = Pace(last=0.3, geometry=2.0, averaged=0.3)
"""No surface says where these splats belong: they have far to go, and what one picture asks for is mostly noise."""
_FINISHING = Pace(first=0.15)
"""What small pictures show is learnt; larger steps would forget it for the last few pictures seen."""


@dataclass(frozen=True)
class SplatSettings:
    """How much work a fit does.

    Attributes:
        count: splats to start with; a few are pruned.
        iterations: steps of one view each. Below about five a view, colours stay soft.
        sh_degree: 0 gives a splat one colour from all sides; 1 to 3 need views that show highlights move.
    """

    count: int = 50_000
    iterations: int = 250
    sh_degree: Literal[0, 1, 2, 3] = 0


SPLAT_PRESETS: Mapping[Literal["draft", "standard", "high"], SplatSettings] = MappingProxyType(
    {
        "draft": SplatSettings(count=60_000, iterations=100),
        "standard": SplatSettings(count=200_000, iterations=260),
        "high": SplatSettings(count=400_000, iterations=400),
    }
)


@final
class GaussianFitter:
    """``SplatFitter``: Adam on the photometric loss of 3D Gaussian Splatting, with silhouettes and normals beside it.

    The loss of a step is 0.8 L1 + 0.2 (1 - SSIM) on colour (Kerbl et al. 2023), both over one random background so
    that colour and coverage cannot stand in for each other, plus L1 on alpha and, where the views have them, on
    normals. ``views.weight`` scales all of it pixel by pixel, so a view trusted more wins where views disagree.

    Splats stay flat, no needles and not much larger than they began; what ends up outside a silhouette, or all but
    transparent, is removed. Deterministic for a seed.
    """

    def __init__(
        self,
        rasterizer: Rasterizer,
        settings: SplatSettings = SPLAT_PRESETS["standard"],
        *,
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        """Chooses how to draw and how much work to do.

        Args:
            progress: called with the share of the work done, in [0, 1], and what is being done.
        """
        self._rasterizer = rasterizer
        self._settings = settings
        self._progress = progress or (lambda share, doing: None)

    def fit(self, views: Views, surface: Mesh, *, seed: int) -> Splats:
        """Fits splats to views, starting on a surface in the same world frame.

        Views without normals (all 0) are fitted by colour and silhouette alone. No surface is to be believed then: the
        fit starts on what the outlines leave, down to the pictures' lower border, with fewer splats that are free to
        move, and takes more steps. Where neighbours contradict each other it looks for what most views say: fewer and
        softer splats, whose colours follow the view, fitted to pictures half way between neighbours as well; small
        pictures first, by several fits that are superposed.

        Returns:
            Detached float32 tensors on the CPU, unit quaternions.

        Raises:
            FitError: no view sees the surface, the optimisation diverged, or nothing was left of the splats.
        """
        source = np.random.default_rng(seed)
        self._progress(0.0, "laying splats on the surface")
        course, settings, lessons = _planned(views, self._settings)
        base = surface if course.tethered else outline_shell(views)
        lay = partial(
            splats_on_surface,
            views,
            base,
            count=settings.count // lessons[0].fits,
            sh_degree=settings.sh_degree,
            flatness=course.flatness,
            source=source,
        )
        width = pixel_width(views, base.vertices)
        supported = told_apart(views.cameras, settings.sh_degree) if settings.sh_degree else None
        descent = partial(
            Descent,
            pixel_width=pixel_width(lessons[0].views, base.vertices),
            tethered=course.tethered,
            narrowest=course.narrowest_px * width,
            told_apart=supported,
        )
        learn = partial(self._learnt, views=views, course=course, source=source, stepped=self._counter(lessons))
        with one_torch_thread():
            first, *later = lessons
            splats = superposed([learn(descent(lay(), pace=first.pace), first) for _ in range(first.fits)])
            for lesson in later:
                splats = learn(descent(splats, pace=lesson.pace), lesson)
        return splats

    def _counter(self, lessons: Sequence[_Lesson]) -> Callable[[], None]:
        """To be called after each step."""
        steps, done = sum(lesson.fits * lesson.steps for lesson in lessons), itertools.count(1)

        def stepped() -> None:
            step = next(done)
            self._progress(step / steps, f"fitting splats, step {step} of {steps}")

        return stepped

    def _learnt(
        self,
        descent: Descent,
        lesson: _Lesson,
        *,
        views: Views,
        course: _Course,
        source: np.random.Generator,
        stepped: Callable[[], None],
    ) -> Splats:
        """One fit; ``views`` say what is outside."""
        tolerated = round(course.tolerated * len(views))
        for step, index in enumerate(turns(len(lesson.views), lesson.steps, source)):
            loss = self._loss(descent.splats(), Picture.of(lesson.views, index), source, course)
            descent.step(loss, step / lesson.steps)
            if step == lesson.steps // 2:
                descent.hide(stray_splats(descent.splats().means.detach().numpy(), views, tolerated=tolerated))
            stepped()
        return _kept(descent.settled(), views, tolerated)

    def _loss(
        self, splats: Splats, picture: Picture, source: np.random.Generator, course: _Course
    ) -> Float[Tensor, ""]:
        background = torch.from_numpy(source.random(3, np.float32))
        drawn = self._rasterizer.render(splats, picture.camera)
        alpha, covered = drawn.alpha[0][..., None], picture.alpha[..., None]
        prediction = drawn.rgb[0] + (1 - alpha) * background
        target = torch.lerp(background.expand_as(picture.rgb), picture.rgb, covered)
        loss = course.l1 * weighted_l1(prediction, target, picture.weight)
        loss = loss + course.ssim * structural_dissimilarity(prediction, target, picture.weight)
        if course.squares:
            loss = loss + course.squares * weighted_squares(prediction, target, picture.weight)
        if course.outline:
            loss = loss + course.outline * weighted_l1(alpha, covered, picture.weight)
        if course.outline_squares:
            loss = loss + course.outline_squares * weighted_squares(alpha, covered, picture.weight)
        if course.normals:
            normals = picture.normals_world * covered
            loss = loss + course.normals * weighted_l1(drawn.normals_world[0], normals, picture.weight)
        return loss + course.see_through * (4 * splats.opacities * (1 - splats.opacities)).mean()


@dataclass(frozen=True)
class _Lesson:
    """Views shown to a fit for a number of steps.

    Attributes:
        fits: that learn from them, each on its own; the next lesson begins with all of them, superposed.
    """

    views: Views
    steps: int
    pace: Pace = USUAL_PACE
    fits: int = 1


def _planned(views: Views, settings: SplatSettings) -> tuple[_Course, SplatSettings, list[_Lesson]]:
    """The course, the work, and what is shown to the fit. Highlights go as far as that many views tell them."""
    if views.normals_world.any():
        return _WITH_NORMALS, settings, [_Lesson(views, settings.iterations)]
    work = replace(settings, count=min(settings.count, _MOST_WITHOUT_NORMALS), iterations=3 * settings.iterations)
    if settings.sh_degree == 0 and len(views) >= _VIEWS_FOR_HIGHLIGHTS:
        work = replace(work, sh_degree=1)
    between = look_between(views)
    if between is None or between.contradiction < _FAIR_CONTRADICTION:
        return _BY_COLOUR, work, [_Lesson(views, work.iterations)]
    _log.info("neighbouring views contradict each other: %d pictures between them join the fit", len(between.views))
    count, shown = min(settings.count, _MOST_OF_DISSENTING_VIEWS), joined(views, between.views)
    coarse = _Lesson(shrink_views(shown, _COARSE_PX), 5 * settings.iterations, _DRAFTING, _DRAFTS)
    fine = _Lesson(shown, settings.iterations, _FINISHING)
    return _BY_MAJORITY, replace(settings, count=count, sh_degree=3), [coarse, fine]


@torch.no_grad()
def _kept(splats: Splats, views: Views, tolerated: int) -> Splats:
    """Without what cannot be seen and what floats outside; unit quaternions."""
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    if not all(bool(torch.isfinite(field).all()) for field in fields):
        raise FitError("the splat fit diverged (values became infinite): are the views' cameras in head units?")
    stray = torch.from_numpy(stray_splats(splats.means.numpy(), views, tolerated=tolerated))
    kept = (splats.opacities > _MIN_OPACITY) & ~stray
    _log.info("kept %d of %d splats; %d lay outside a silhouette", int(kept.sum()), len(kept), int(stray.sum()))
    if not kept.any():
        raise FitError("no splat was left inside the silhouettes: do the views' cameras and masks belong together?")
    means, scales, quats, opacities, sh = (field[kept].clone() for field in fields)
    return Splats(means, scales, torch.nn.functional.normalize(quats, dim=1), opacities, sh)
