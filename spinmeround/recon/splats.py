"""Stage two, appearance: fits splats to posed views by gradient descent, starting on a surface."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from spinmeround.recon.splat_start import pixel_width, splats_on_surface, stray_splats, z_axes
from spinmeround.types import Cameras, Mesh, Splats, Views

_log = logging.getLogger(__name__)

_L1, _SSIM, _ALPHA, _NORMALS = 0.8, 0.2, 0.2, 0.05
"""What a unit of each loss weighs."""
_SEE_THROUGH = 0.002
"""Weight of the mean of 4 o (1 - o): a splat should be there or not, or the head looks hollow from new sides."""

_RATES = MappingProxyType(
    {"means": 0.15, "log_scales": 2e-2, "quats": 4e-3, "logits": 3e-2, "colours": 3.5e-2, "highlights": 2e-3}
)
"""Adam's step at the start, in widths of a pixel, natural logs, quaternion parts, logits and SH coefficients."""
_LAST_RATE = 0.1
"""Share of a rate that is left at the last step; it falls exponentially."""

_TETHER = 0.02
"""Share of a splat's distance from the start surface, along its normal, that each step takes back."""

_LONGEST_OVER_SHORTEST = 5.0
_LARGEST_OVER_START = 6.0
_FLATTEST = 0.05
_MIN_OPACITY = 0.02
_CROP_MARGIN_PX = 12


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

        Views without normals (all 0) are fitted by colour and silhouette alone.

        Returns:
            Detached float32 tensors on the CPU, unit quaternions.

        Raises:
            FitError: no view sees the surface, the optimisation diverged, or nothing was left of the splats.
        """
        settings = self._settings
        source = np.random.default_rng(seed)
        self._progress(0.0, "laying splats on the surface")
        start = splats_on_surface(views, surface, count=settings.count, sh_degree=settings.sh_degree, source=source)
        descent = _Descent(start, pixel_width(views, surface.vertices))
        has_normals = bool(np.any(views.normals_world))
        steps = settings.iterations
        with _one_torch_thread():
            for step, index in enumerate(_turns(len(views), steps, source)):
                loss = self._loss(descent.splats(), _Picture.of(views, index), source, has_normals=has_normals)
                descent.step(loss, step / steps)
                if step == steps // 2:
                    descent.hide(stray_splats(descent.splats().means.detach().numpy(), views))
                self._progress((step + 1) / steps, f"fitting splats, step {step + 1} of {steps}")
        return _kept(descent.splats(), views)

    def _loss(
        self, splats: Splats, picture: _Picture, source: np.random.Generator, *, has_normals: bool
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


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Torch's own operations here are too small to share: its threads would mostly wait, spinning, for each other.

    The rasteriser has threads of its own and is not concerned.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Picture:
    """One view, cut to its head: most of a picture is background that needs no drawing."""

    camera: Cameras
    rgb: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    normals_world: Float[Tensor, "h w 3"]
    weight: Float[Tensor, "h w"]

    @staticmethod
    def of(views: Views, index: int) -> _Picture:
        rows, columns = (_span(views.alpha[index] > 0.02, axis) for axis in (1, 0))
        intrinsics_px = views.cameras.intrinsics_px[[index]].copy()
        intrinsics_px[0, :2, 2] -= (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        planes = (views.rgb, views.alpha, views.normals_world, views.weight)
        return _Picture(
            Cameras(views.cameras.camera_from_world[[index]], intrinsics_px, *size),
            *(torch.from_numpy(np.ascontiguousarray(plane[index, rows, columns], np.float32)) for plane in planes),
        )


def _span(covered: np.ndarray, axis: int) -> slice:
    """The rows or columns that hold anything, and a margin for what strays; all of them when none does."""
    used = np.flatnonzero(covered.any(axis=axis))
    length = covered.shape[1 - axis]
    if len(used) == 0:
        return slice(0, length)
    return slice(max(0, int(used[0]) - _CROP_MARGIN_PX), min(length, int(used[-1]) + 1 + _CROP_MARGIN_PX))


def _turns(count: int, iterations: int, source: np.random.Generator) -> Iterator[int]:
    """View after view, each once before any comes again."""
    order: list[int] = []
    for _ in range(iterations):
        order = order or source.permutation(count).tolist()
        yield order.pop()


class _Descent:
    """The unbounded parameters behind a set of splats, and their optimiser."""

    def __init__(self, start: Splats, pixel_width: float) -> None:
        self._parameters = {
            "means": start.means.clone(),
            "log_scales": start.scales.log(),
            "quats": start.quats_wxyz.clone(),
            "logits": torch.logit(start.opacities),
            "colours": start.sh[:, :1].clone(),
            "highlights": start.sh[:, 1:].clone(),
        }
        unit = {"means": pixel_width}
        groups = [
            {"params": [values.requires_grad_()], "start": _RATES[name] * unit.get(name, 1.0)}
            for name, values in self._parameters.items()
        ]
        # Few steps: the second moment must forget the start fast, hence 0.99 and not 0.999.
        self._adam = torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self._start_means, self._start_normals = start.means, z_axes(start.quats_wxyz)
        self._largest = float(start.scales.max(dim=1).values.median().log()) + np.log(_LARGEST_OVER_START)

    def splats(self) -> Splats:
        """The splats of this moment, differentiable in the parameters."""
        p = self._parameters
        sh = torch.cat([p["colours"], p["highlights"]], dim=1)
        return Splats(p["means"], p["log_scales"].exp(), p["quats"], torch.sigmoid(p["logits"]), sh)

    def step(self, loss: Float[Tensor, ""], share_done: float) -> None:
        """One step of Adam, then the rules of shape."""
        self._adam.zero_grad()
        loss.backward()
        for group in self._adam.param_groups:
            group["lr"] = group["start"] * _LAST_RATE**share_done
        self._adam.step()
        self._pull_to_surface()
        self._hold_shapes()

    @torch.no_grad()
    def _pull_to_surface(self) -> None:
        """Along the normal, views hardly hold a splat: it would wander, and at outlines the outermost ones count.

        A constant pull still moves a splat by several pixels, which a start surface may need; noise does not add up.
        """
        means = self._parameters["means"]
        height = ((means - self._start_means) * self._start_normals).sum(dim=1, keepdim=True)
        means -= _TETHER * height * self._start_normals

    @torch.no_grad()
    def _hold_shapes(self) -> None:
        """Third axis the shortest, so that normals keep their meaning; the others within a ratio and a size."""
        log_scales = self._parameters["log_scales"]
        in_plane = log_scales[:, :2]
        in_plane.clamp_(max=self._largest)
        longest = in_plane.max(dim=1, keepdim=True).values
        torch.maximum(in_plane, longest - np.log(_LONGEST_OVER_SHORTEST), out=in_plane)
        shortest = in_plane.min(dim=1).values
        thickness = log_scales[:, 2]
        torch.clamp(thickness, longest[:, 0] + np.log(_FLATTEST), shortest, out=thickness)

    @torch.no_grad()
    def hide(self, which: np.ndarray) -> None:
        """Makes splats so transparent that they are not drawn any more; the last step removes them."""
        self._parameters["logits"][torch.from_numpy(which)] = -10.0


@torch.no_grad()
def _kept(splats: Splats, views: Views) -> Splats:
    """Without what cannot be seen and what floats outside; unit quaternions."""
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    if not all(bool(torch.isfinite(field).all()) for field in fields):
        raise FitError("the splat fit diverged (values became infinite): are the views' cameras in head units?")
    stray = torch.from_numpy(stray_splats(splats.means.numpy(), views))
    kept = (splats.opacities > _MIN_OPACITY) & ~stray
    _log.info("kept %d of %d splats; %d lay outside a silhouette", int(kept.sum()), len(kept), int(stray.sum()))
    if not kept.any():
        raise FitError("no splat was left inside the silhouettes: do the views' cameras and masks belong together?")
    means, scales, quats, opacities, sh = (field[kept].clone() for field in fields)
    return Splats(means, scales, torch.nn.functional.normalize(quats, dim=1), opacities, sh)
