"""One step of a splat fit: which picture comes next, and the parameters that descend on its loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.splats.position_regulariser import Tether
from spinmeround.types import Cameras, Splats, Views

_RATES = MappingProxyType(
    {"means": 0.15, "log_scales": 2e-2, "quats": 4e-3, "logits": 3e-2, "colours": 3.5e-2, "highlights": 1e-2}
)
"""Adam's step at the start, in widths of a pixel, natural logs, quaternion parts, logits and SH coefficients."""
_OF_COLOUR = ("colours", "highlights")

_LONGEST_OVER_SHORTEST = 5.0
_LARGEST_OVER_START = 6.0
_FLATTER_THAN_START = 1 / 3
_CROP_MARGIN_PX = 12


@contextmanager
def one_torch_thread() -> Iterator[None]:
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
class Picture:
    """One view, cut to its head: most of a picture is background that needs no drawing."""

    camera: Cameras
    rgb: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    normals_world: Float[Tensor, "h w 3"]
    weight: Float[Tensor, "h w"]

    @staticmethod
    def of(views: Views, index: int) -> Picture:
        """The part of a view that shows its head, and a margin."""
        rows, columns = (_span(views.alpha[index] > 0.02, axis) for axis in (1, 0))
        intrinsics_px = views.cameras.intrinsics_px[[index]].copy()
        intrinsics_px[0, :2, 2] -= (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        planes = (views.rgb, views.alpha, views.normals_world, views.weight)
        return Picture(
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


def turns(count: int, iterations: int, source: np.random.Generator) -> Iterator[int]:
    """View after view, each once before any comes again."""
    order: list[int] = []
    for _ in range(iterations):
        order = order or source.permutation(count).tolist()
        yield order.pop()


@dataclass(frozen=True)
class Pace:
    """How far a step goes, as shares of the usual rates.

    Attributes:
        first: at the first step.
        last: at the last one; rates fall exponentially from one to the other.
        geometry: beside that, of all but colours.
        averaged: share of the steps, the last of them, whose mean is the result. Steps that stay large go on looking
            around, and the mean is without their noise (Polyak and Juditsky, Acceleration of Stochastic Approximation
            by Averaging, 1992).
    """

    first: float = 1.0
    last: float = 0.1
    geometry: float = 1.0
    averaged: float = 0.0


USUAL_PACE = Pace()


class Descent:
    """The unbounded parameters behind a set of splats, and their optimiser."""

    def __init__(
        self,
        start: Splats,
        pixel_width: float,
        *,
        tethered: bool = True,
        narrowest: float = 0.0,
        told_apart: Float[Tensor, "k k"] | None = None,
        pace: Pace = USUAL_PACE,
    ) -> None:
        """Starts from splats that lie flat on a surface.

        Args:
            pixel_width: width of a pixel at the head, head units.
            tethered: whether that surface is to be believed.
            narrowest: least standard deviation along a splat's disc, head units.
            told_apart: projects highlights onto what the views tell of them; all of them by default.
            pace: how far steps go, and which of them count.
        """
        self._told_apart = told_apart
        self._pace = pace
        self._tether = Tether(start) if tethered else None
        self._parameters = {
            "means": start.means.clone(),
            "log_scales": start.scales.log(),
            "quats": start.quats_wxyz.clone(),
            "logits": torch.logit(start.opacities),
            "colours": start.sh[:, :1].clone(),
            "highlights": start.sh[:, 1:].clone(),
        }
        self._mean: dict[str, Tensor] = {}
        self._averaged = 0
        unit = {"means": pixel_width}
        groups = [
            {
                "params": [values.requires_grad_()],
                "start": _RATES[name] * unit.get(name, 1.0) * (1.0 if name in _OF_COLOUR else pace.geometry),
            }
            for name, values in self._parameters.items()
        ]
        # Few steps: the second moment must forget the start fast, hence 0.99 and not 0.999.
        self._adam = torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self._smallest = np.log(narrowest) if narrowest > 0 else -np.inf
        flatness = float((start.scales.min(dim=1).values / start.scales.max(dim=1).values).median())
        self._flattest = np.log(_FLATTER_THAN_START * flatness)
        self._largest = float(start.scales.max(dim=1).values.median().log()) + np.log(_LARGEST_OVER_START)

    def splats(self) -> Splats:
        """The splats of this moment, differentiable in the parameters."""
        return _natural(self._parameters)

    @torch.no_grad()
    def settled(self) -> Splats:
        """What the steps came to: the mean over those the pace averages, or else the splats of this moment."""
        return _natural(self._mean or self._parameters)

    def step(self, loss: Float[Tensor, ""], share_done: float) -> None:
        """One step of Adam, then the rules of shape."""
        self._adam.zero_grad()
        loss.backward()
        rate = self._pace.first * (self._pace.last / self._pace.first) ** share_done
        for group in self._adam.param_groups:
            group["lr"] = group["start"] * rate
        self._adam.step()
        if self._tether is not None:
            self._tether.pull(self._parameters["means"])
        self._hold_shapes()
        self._hold_highlights()
        if share_done >= 1 - self._pace.averaged:
            self._take_into_mean()

    @torch.no_grad()
    def _take_into_mean(self) -> None:
        self._averaged += 1
        if not self._mean:
            self._mean = {name: values.clone() for name, values in self._parameters.items()}
        for name, values in self._parameters.items():
            self._mean[name] += (values - self._mean[name]) / self._averaged

    @torch.no_grad()
    def _hold_shapes(self) -> None:
        """Third axis the shortest, so that normals keep their meaning; the others within a ratio and a size."""
        log_scales = self._parameters["log_scales"]
        in_plane = log_scales[:, :2]
        in_plane.clamp_(self._smallest, max(self._smallest, self._largest))
        longest = in_plane.max(dim=1, keepdim=True).values
        torch.maximum(in_plane, longest - np.log(_LONGEST_OVER_SHORTEST), out=in_plane)
        shortest = in_plane.min(dim=1).values
        thickness = log_scales[:, 2]
        torch.clamp(thickness, longest[:, 0] + self._flattest, shortest, out=thickness)

    @torch.no_grad()
    def _hold_highlights(self) -> None:
        """Adam steps as far where the gradient is next to nothing, so that what no view tells would run away."""
        if self._told_apart is not None:
            highlights = self._parameters["highlights"]
            highlights.copy_(torch.einsum("kj,njc->nkc", self._told_apart, highlights))

    @torch.no_grad()
    def hide(self, which: np.ndarray) -> None:
        """Makes splats so transparent that they are not drawn any more; the last step removes them."""
        self._parameters["logits"][torch.from_numpy(which)] = -10.0


def _natural(parameters: Mapping[str, Tensor]) -> Splats:
    p = parameters
    sh = torch.cat([p["colours"], p["highlights"]], dim=1)
    return Splats(p["means"], p["log_scales"].exp(), p["quats"], torch.sigmoid(p["logits"]), sh)
