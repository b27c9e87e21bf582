"""Stage two, appearance: fits splats to posed views by gradient descent, starting on a surface."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.errors import FitError
from spinmeround.protocols import Rasterizer
from spinmeround.recon.losses import structural_dissimilarity, weighted_l1
from spinmeround.recon.splat_start import outline_shell, pixel_width, splats_on_surface, stray_splats
from spinmeround.recon.splat_steps import Descent, Picture, one_torch_thread, turns
from spinmeround.types import Mesh, Splats, Views

_log = logging.getLogger(__name__)

_L1, _SSIM, _ALPHA, _NORMALS = 0.8, 0.2, 0.2, 0.05
"""What a unit of each loss weighs."""
_SEE_THROUGH = 0.002
"""Weight of the mean of 4 o (1 - o): a splat should be there or not, or the head looks hollow from new sides."""

_MIN_OPACITY = 0.02
_MOST_WITHOUT_NORMALS = 80_000
_VIEWS_FOR_HIGHLIGHTS = 16
_DISSENTING_SHARE = 0.1
"""Views without normals rarely agree on outlines: so many of them may be wrong."""


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
        "standard": SplatSettings(count=240_000, iterations=300),
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
        move, and takes more steps.

        Returns:
            Detached float32 tensors on the CPU, unit quaternions.

        Raises:
            FitError: no view sees the surface, the optimisation diverged, or nothing was left of the splats.
        """
        has_normals = bool(np.any(views.normals_world))
        settings = self._settings if has_normals else _for_colour_alone(self._settings, len(views))
        source = np.random.default_rng(seed)
        self._progress(0.0, "laying splats on the surface")
        base = surface if has_normals else outline_shell(views)
        start = splats_on_surface(views, base, count=settings.count, sh_degree=settings.sh_degree, source=source)
        descent = Descent(start, pixel_width(views, base.vertices), tethered=has_normals)
        steps, tolerated = settings.iterations, 0 if has_normals else round(_DISSENTING_SHARE * len(views))
        with one_torch_thread():
            for step, index in enumerate(turns(len(views), steps, source)):
                loss = self._loss(descent.splats(), Picture.of(views, index), source, has_normals=has_normals)
                descent.step(loss, step / steps)
                if step == steps // 2:
                    descent.hide(stray_splats(descent.splats().means.detach().numpy(), views, tolerated=tolerated))
                self._progress((step + 1) / steps, f"fitting splats, step {step + 1} of {steps}")
        return _kept(descent.splats(), views, tolerated)

    def _loss(
        self, splats: Splats, picture: Picture, source: np.random.Generator, *, has_normals: bool
    ) -> Float[Tensor, ""]:
        background = torch.from_numpy(source.random(3, np.float32))
        drawn = self._rasterizer.render(splats, picture.camera)
        alpha = drawn.alpha[0]
        prediction = drawn.rgb[0] + (1 - alpha)[..., None] * background
        target = torch.lerp(background.expand_as(picture.rgb), picture.rgb, picture.alpha[..., None])
        loss = _L1 * weighted_l1(prediction, target, picture.weight)
        loss = loss + _SSIM * structural_dissimilarity(prediction, target, picture.weight)
        loss = loss + _ALPHA * weighted_l1(alpha[..., None], picture.alpha[..., None], picture.weight)
        if has_normals:
            normals = picture.normals_world * picture.alpha[..., None]
            loss = loss + _NORMALS * weighted_l1(drawn.normals_world[0], normals, picture.weight)
        return loss + _SEE_THROUGH * (4 * splats.opacities * (1 - splats.opacities)).mean()


def _for_colour_alone(settings: SplatSettings, views: int) -> SplatSettings:
    """Splats that have to find their place: fewer, and more steps. Highlights as far as that many views tell them."""
    return SplatSettings(
        count=min(settings.count, _MOST_WITHOUT_NORMALS),
        iterations=3 * settings.iterations,
        sh_degree=max(settings.sh_degree, 1 if views >= _VIEWS_FOR_HIGHLIGHTS else 0),
    )


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
