"""Optimiser of a splat fit: the order of the views, their crops, learning rates, and the parameters of the splats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.splats.position_regulariser import PositionRegulariser
from spinmeround.types import Cameras, Splats, Views

_LEARNING_RATES = MappingProxyType(
    {"means": 0.15, "log_scales": 2e-2, "quats": 4e-3, "logits": 3e-2, "sh_0": 3.5e-2, "sh_rest": 1e-2}
)
"""Of Adam at the start, in widths of a pixel, natural logs, quaternion components, logits and SH coefficients."""
_COLOUR_PARAMETERS = ("sh_0", "sh_rest")
_SIZE_PARAMETERS = ("log_scales", "logits")
_ADAM_BETAS = (0.9, 0.99)
"""The usual second one, 0.999, remembers the start for too long: a fit has few steps."""
_ADAM_EPSILON = 1e-15
_HIDDEN_LOGIT = -10.0
"""An opacity under 1/255, which rasterisers do not draw."""

_COVERED_ALPHA = 0.02
"""Pixels of at least this alpha belong to the head when a view is cropped."""
_CROP_MARGIN_PX = 12


@dataclass(frozen=True)
class ShapeLimits:
    """Limits of a splat's standard deviations.

    Attributes:
        in_plane_ratio: largest ratio of the two axes along the disc, or that at the start: no needles but strands.
        largest_over_start: largest axis, over the median of the largest axes at the start, or that at the start.
        flatness_over_start: least thickness over width, over that at the start.
    """

    in_plane_ratio: float = 5.0
    largest_over_start: float = 6.0
    flatness_over_start: float = 1 / 3


_SHAPE_LIMITS = ShapeLimits()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Restrict torch to one thread: its operations here are so small that more threads would spin, waiting.

    The rasteriser has threads of its own and is not affected.
    """
    # The first parallel kernel of a process starts numba's threads, and OpenMP's count is set for torch as well: a run
    # that was resumed behind the stages that use such kernels would sum in another order. So they are started here.
    numba.get_num_threads()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class ViewCrop:
    """One view, cropped to its head: most of a picture is background that need not be rendered."""

    camera: Cameras
    rgb: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    normals_world: Float[Tensor, "h w 3"]
    weight: Float[Tensor, "h w"]

    @staticmethod
    def of(views: Views, index: int) -> ViewCrop:
        """Crop a view to its silhouette and a margin; the camera's principal point moves along."""
        rows, columns = (_span(views.alpha[index] > _COVERED_ALPHA, axis) for axis in (1, 0))
        intrinsics_px = views.cameras.intrinsics_px[[index]].copy()
        intrinsics_px[0, :2, 2] -= (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        planes = (views.rgb, views.alpha, views.normals_world, views.weight)
        return ViewCrop(
            Cameras(views.cameras.camera_from_world[[index]], intrinsics_px, *size),
            *(torch.from_numpy(np.ascontiguousarray(plane[index, rows, columns], np.float32)) for plane in planes),
        )


def _span(covered: np.ndarray, axis: int) -> slice:
    """Return the rows or columns that are covered, and a margin for splats that stray; all if none is covered."""
    used = np.flatnonzero(covered.any(axis=axis))
    length = covered.shape[1 - axis]
    if len(used) == 0:
        return slice(0, length)
    return slice(max(0, int(used[0]) - _CROP_MARGIN_PX), min(length, int(used[-1]) + 1 + _CROP_MARGIN_PX))


def view_order(count: int, iterations: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield indices of views in random order, each once before any is repeated."""
    order: list[int] = []
    for _ in range(iterations):
        order = order or rng.permutation(count).tolist()
        yield order.pop()


@dataclass(frozen=True)
class LearningRateSchedule:
    """Learning rates over a fit, as factors of the default ones. They fall exponentially from ``first`` to ``last``.

    Attributes:
        first: factor at the first step.
        last: factor at the last step.
        geometry: further factor of all parameters but colours.
        sizes: further factor of scales and opacities.
        averaged_fraction: fraction of the steps, the last of them, whose mean is the result. Large steps keep
            fluctuating about the optimum, and the mean is free of that noise (Polyak and Juditsky, Acceleration of
            Stochastic Approximation by Averaging, 1992). 0 takes the last step alone.
    """

    first: float = 1.0
    last: float = 0.1
    geometry: float = 1.0
    sizes: float = 1.0
    averaged_fraction: float = 0.0


DEFAULT_SCHEDULE = LearningRateSchedule()


class SplatOptimizer:
    """The unconstrained parameters of a set of splats, and Adam on them."""

    def __init__(
        self,
        start: Splats,
        pixel_width: float,
        *,
        regularise_positions: bool = True,
        min_scale: float = 0.0,
        sh_projector: Float[Tensor, "k k"] | None = None,
        schedule: LearningRateSchedule = DEFAULT_SCHEDULE,
    ) -> None:
        """Start from splats that lie flat on a surface.

        Args:
            pixel_width: width of a pixel at the head, head units.
            regularise_positions: hold splats near the surface they start on, see ``PositionRegulariser``.
            min_scale: least standard deviation along a splat's disc, head units.
            sh_projector: projects SH above the constant one onto what the views observe; None leaves them free.
            schedule: learning rates, and which steps are averaged.
        """
        self._sh_projector = sh_projector
        self._schedule = schedule
        self._regulariser = PositionRegulariser(start) if regularise_positions else None
        self._parameters = {
            "means": start.means.clone(),
            "log_scales": start.scales.log(),
            "quats": start.quats_wxyz.clone(),
            "logits": torch.logit(start.opacities),
            "sh_0": start.sh[:, :1].clone(),
            "sh_rest": start.sh[:, 1:].clone(),
        }
        self._average: dict[str, Tensor] = {}
        self._n_averaged = 0
        unit = {"means": pixel_width}
        rates = {
            name: _LEARNING_RATES[name]
            * unit.get(name, 1.0)
            * (1.0 if name in _COLOUR_PARAMETERS else schedule.geometry)
            * (schedule.sizes if name in _SIZE_PARAMETERS else 1.0)
            for name in self._parameters
        }
        self._adam = _Adam([(values.requires_grad_(), rates[name]) for name, values in self._parameters.items()])
        self._min_log_scale = np.log(min_scale) if min_scale > 0 else -np.inf
        flatness = float((start.scales.min(dim=1).values / start.scales.max(dim=1).values).median())
        self._min_log_flatness = np.log(_SHAPE_LIMITS.flatness_over_start * flatness)
        longest = start.scales.max(dim=1, keepdim=True).values
        # A strand may stay as long and thin as it began.
        self._max_log_scale = torch.maximum(
            longest.median().log() + np.log(_SHAPE_LIMITS.largest_over_start), longest.log()
        ).clamp(min=self._min_log_scale)
        ratio = longest / start.scales[:, :2].min(dim=1, keepdim=True).values
        self._max_log_ratio = ratio.clamp(min=_SHAPE_LIMITS.in_plane_ratio).log()

    def splats(self) -> Splats:
        """Return the present splats, differentiable in the parameters."""
        return _to_splats(self._parameters)

    @torch.no_grad()
    def result(self) -> Splats:
        """Return the mean over the steps that the schedule averages, or else the present splats."""
        return _to_splats(self._average or self._parameters)

    def step(self, loss: Float[Tensor, ""], fraction_done: float) -> None:
        """Take one step of Adam, then apply the position regulariser and the constraints."""
        loss.backward()
        self._adam.step(self._schedule.first * (self._schedule.last / self._schedule.first) ** fraction_done)
        if self._regulariser is not None:
            self._regulariser.apply(self._parameters["means"])
        self._clamp_shapes()
        self._project_sh()
        if fraction_done >= 1 - self._schedule.averaged_fraction:
            self._update_average()

    @torch.no_grad()
    def _update_average(self) -> None:
        self._n_averaged += 1
        if not self._average:
            self._average = {name: values.clone() for name, values in self._parameters.items()}
        for name, values in self._parameters.items():
            self._average[name] += (values - self._average[name]) / self._n_averaged

    @torch.no_grad()
    def _clamp_shapes(self) -> None:
        """Keep the third axis the shortest, so that it stays the normal, and the others within ``ShapeLimits``."""
        log_scales = self._parameters["log_scales"]
        in_plane = log_scales[:, :2]
        in_plane.clamp_(min=self._min_log_scale)
        torch.minimum(in_plane, self._max_log_scale, out=in_plane)
        longest = in_plane.max(dim=1, keepdim=True).values
        torch.maximum(in_plane, longest - self._max_log_ratio, out=in_plane)
        shortest = in_plane.min(dim=1).values
        thickness = log_scales[:, 2]
        torch.clamp(thickness, longest[:, 0] + self._min_log_flatness, shortest, out=thickness)

    @torch.no_grad()
    def _project_sh(self) -> None:
        """Remove what no view observes: Adam's steps are as long where the gradient is almost 0, so it would grow."""
        if self._sh_projector is not None:
            sh = self._parameters["sh_rest"]
            sh.copy_(torch.einsum("kj,njc->nkc", self._sh_projector, sh))

    @torch.no_grad()
    def hide(self, which: np.ndarray) -> None:
        """Make splats so transparent that they are not drawn any more; the end of the fit prunes them."""
        self._parameters["logits"][torch.from_numpy(which)] = _HIDDEN_LOGIT


class _Adam:
    """Adam (Kingma and Ba, 2015). That of ``torch.optim`` takes a second to import, as long as many steps."""

    def __init__(self, parameters: Sequence[tuple[Tensor, float]]) -> None:
        """Take the parameters, each with its learning rate."""
        self._parameters = [(values, rate) for values, rate in parameters if values.numel()]
        self._moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v, _ in self._parameters]
        self._n_steps = 0

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Take one step along the gradients, with all learning rates times ``factor``, and drop the gradients."""
        self._n_steps += 1
        first, second = _ADAM_BETAS
        unbiased, unbiased_root = 1 - first**self._n_steps, (1 - second**self._n_steps) ** 0.5
        for (values, rate), (mean, square) in zip(self._parameters, self._moments, strict=True):
            if values.grad is None:  # it takes no part in the loss
                continue
            mean.lerp_(values.grad, 1 - first)
            square.mul_(second).addcmul_(values.grad, values.grad, value=1 - second)
            step = -factor * rate * unbiased_root / unbiased
            values.addcdiv_(mean, square.sqrt().add_(_ADAM_EPSILON), value=step)
            values.grad = None


def _to_splats(parameters: Mapping[str, Tensor]) -> Splats:
    p = parameters
    sh = torch.cat([p["sh_0"], p["sh_rest"]], dim=1)
    return Splats(p["means"], p["log_scales"].exp(), p["quats"], torch.sigmoid(p["logits"]), sh)
