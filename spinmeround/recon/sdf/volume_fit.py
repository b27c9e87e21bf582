"""The neural surface by volume rendering, on any torch device: every pixel's opacity, normal and colour at once.

Signed distance and colours are learnt together, on one spline grid, by Gauss-Newton steps. A step's linear system is
never written down: conjugate gradients multiply with it by pushing changes of the coefficients forwards through the
rendering and what comes out backwards. What the pixels are worth is found as in ``neural_wishes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from spinmeround.geometry import camera_centres
from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.evidence.view_sampling import masked_view
from spinmeround.recon.sdf.pixel_samples import camera_rays
from spinmeround.recon.sdf.residuals import (
    FAIR_OUTLINE_PX,
    LEAST_OUTLINE_NOISE_PX,
    ROBUST_NOISES,
    SURE_NORMAL_RAD,
    Pixels,
    SlowErrors,
    weighed_normals,
)
from spinmeround.recon.sdf.spline_field import SplineField
from spinmeround.recon.sdf.volume_rendering import FIRMNESS, node_rows, places, shares, taps
from spinmeround.types import Views

_RIM_PX, _OUTLINE_PX = 3.0, 1.5
_LEAST_FRONTAL = 0.35
_SOLID = 0.5
_CHUNK, _MOST_RAYS = 1 << 14, 1 << 20
"""A ray takes some 4 kB, most of it the weights of its samples' nodes."""
_LEAST_COLOUR_NOISE = 0.01
_COLOUR_HOLD = 1e-3
_ITERATIONS, _TOLERANCE = 60, 1e-3
_SIGMA_PER_MEDIAN = 1.48


@dataclass(frozen=True)
class Shots:
    """What the views show on one level, a row a pixel.

    Attributes:
        view, row, column: which pixels.
        start, ray: of their rays, world; unit length.
        width: of a pixel, against the distance along its ray.
        normal, normal_trust: world, unit where trust is not 0.
        colour, colour_trust: sRGB.
        outline_px: signed distance to the mask's outline, positive inside, good within three pixels.
    """

    view: Integer[np.ndarray, "n"]
    row: Integer[np.ndarray, "n"]
    column: Integer[np.ndarray, "n"]
    start: Float[np.ndarray, "n 3"]
    ray: Float[np.ndarray, "n 3"]
    width: Float[np.ndarray, "n"]
    normal: Float[np.ndarray, "n 3"]
    normal_trust: Float[np.ndarray, "n"]
    colour: Float[np.ndarray, "n 3"]
    colour_trust: Float[np.ndarray, "n"]
    outline_px: Float[np.ndarray, "n"]


def shots_of(views: Views, level: NormalPyramidLevel) -> Shots:
    """Pixels inside the masks and just outside: all, or as many as memory holds well."""
    eyes, parts = camera_centres(level.cameras), []
    every = 1 + sum(np.count_nonzero(plane > -_RIM_PX) for plane in level.contour_px) // _MOST_RAYS
    for view, outline_px in enumerate(level.contour_px):
        row, column = (index[::every] for index in np.nonzero(outline_px > -_RIM_PX))
        rays = camera_rays(level.cameras, view)[row, column]
        length = np.linalg.norm(rays, axis=1)
        rgb, _, trust = masked_view(views, level, view)
        normal = level.normals[view, row, column].astype(np.float64)
        size = np.linalg.norm(normal, axis=1)
        focal_px = level.cameras.intrinsics_px[view, [0, 1], [0, 1]].mean()
        parts.append(
            (
                np.full(len(row), view), row, column, np.broadcast_to(eyes[view], rays.shape), rays / length[:, None],
                1 / (length * focal_px), normal / np.maximum(size, 1e-9)[:, None], level.trust[view, row, column],
                rgb[row, column], trust[row, column], outline_px[row, column],
            )
        )  # fmt: skip
    return Shots(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def volume_step(
    field: SplineField,
    shots: Shots,
    normal_errors: SlowErrors,
    colour_errors: SlowErrors,
    device: torch.device,
    *,
    smoothness: float,
    eikonal: float,
    inertia: float,
) -> tuple[SplineField, float]:
    """The field after one Gauss-Newton step, and the noise of the normals in radians.

    Args:
        normal_errors, colour_errors: go on being learnt.
        smoothness: weight of second differences along the axes, in cells.
        eikonal: weight of gradients' lengths, a node.
        inertia: weight of the change itself, in cells.
    """
    now = VolumeProblem(shots, field, device, smoothness, eikonal, inertia)
    noise_rad = now.weigh(normal_errors, colour_errors)
    change = now.solved()
    coefficients = field.coefficients.copy()
    coefficients[tuple(now.rows.nodes.cpu().numpy().T)] += field.cell * change[:, 0].double().cpu().numpy()
    return SplineField(coefficients, field.low, field.cell), noise_rad


@dataclass(frozen=True)
class _Chunk:
    """Some rays' samples.

    Attributes:
        span: which rays.
        used: which of their samples there are.
        slot: the places of those among all.
        row, basis: of those, see ``taps``.
    """

    span: slice
    used: Bool[Tensor, "n s"]
    slot: Int64[Tensor, "m"]
    row: Int64[Tensor, "m 27"]
    basis: Float[Tensor, "m 27 4"]

    def read(self, table: Float[Tensor, "k 4"]) -> Float[Tensor, "n s 7"]:
        """Value, gradient and colour at the samples, 0 at those that are not used."""
        found = torch.bmm(self.basis.mT, torch.nn.functional.embedding(self.row, table))
        out = table.new_zeros(self.used.numel(), 7)
        out.index_copy_(0, self.slot, torch.cat([found[:, :, 0], found[:, 0, 1:]], dim=1))
        return out.view(*self.used.shape, 7)

    def spread(self, asked: Float[Tensor, "n s 7"], total: Float[Tensor, "k 4"]) -> None:
        """The transpose of ``read``, added to ``total``."""
        self._spread(self.basis, asked, total)

    def spread_squares(self, weight: Float[Tensor, "n s 7"], total: Float[Tensor, "k 4"]) -> None:
        """The diagonal of a quadratic form that has these weights at the samples, added to ``total``."""
        self._spread(self.basis**2, weight, total)

    def _spread(
        self, basis: Float[Tensor, "m 27 4"], asked: Float[Tensor, "n s 7"], total: Float[Tensor, "k 4"]
    ) -> None:
        value, slope, colour = asked.reshape(-1, 7)[self.slot].split([1, 3, 3], dim=1)
        each = basis[..., :1] * torch.cat([value, colour], dim=1)[:, None]
        each[..., 0] += torch.bmm(basis[..., 1:], slope[..., None])[..., 0]
        total.index_add_(0, self.row.reshape(-1), each.reshape(-1, 4))


def _shown(sampled: Float[Tensor, "n s 7"], used: Bool[Tensor, "n s"]) -> Float[Tensor, "n 7"]:
    """Opacity, normal and colour of rays; the latter two as if the ray were opaque."""
    opacity, share = shares(sampled[..., 0], used)
    seen = (share[..., None] * sampled[..., 1:]).sum(1) / opacity.clamp(min=_SOLID)[:, None]
    return torch.cat([opacity[:, None], seen], dim=1)


def _pushed_back(
    sampled: Float[Tensor, "n s 7"], used: Bool[Tensor, "n s"], asked: Float[Tensor, "n 7"]
) -> Float[Tensor, "n s 7"]:
    """What is asked of rays, asked of their samples: the transpose of the derivative of ``_shown``."""
    leaf = sampled.detach().requires_grad_()
    (back,) = torch.autograd.grad(_shown(leaf, used), leaf, asked)
    return back


def _lengthwise(sampled: Float[Tensor, "n s 7"]) -> tuple[Float[Tensor, "n s 3"], Float[Tensor, "n s"]]:
    """Unit gradients and the gradients' lengths."""
    length = sampled[..., 1:4].norm(dim=-1)
    return sampled[..., 1:4] / length.clamp(min=1e-6)[..., None], length


class VolumeProblem:
    """One linearisation: places along the rays, what is rendered from there, and what each pixel is worth."""

    def __init__(
        self, shots: Shots, field: SplineField, device: torch.device, smoothness: float, eikonal: float, inertia: float
    ) -> None:
        self.shots, self.rows = shots, node_rows(field, device)
        self.chunks = list(self._sampled(field))
        self.smoothness, self.inertia = smoothness, inertia
        self.eikonal = eikonal * float(self.rows.free.sum()) / sum(len(chunk.row) for chunk in self.chunks)
        coefficients = self._sent(field.coefficients / field.cell)[tuple(self.rows.nodes.T)]
        self.table = torch.cat([coefficients[:, None], coefficients.new_zeros(len(coefficients), 3)], dim=1)
        self.near = self._neighbours()
        self._paint()

    def rendered(self, table: Float[Tensor, "k 4"]) -> Float[Tensor, "n 7"]:
        """Opacity, normal and colour of all pixels."""
        return torch.cat([_shown(chunk.read(table), chunk.used) for chunk in self.chunks])

    def weigh(self, normal_errors: SlowErrors, colour_errors: SlowErrors) -> float:
        """Finds what pixels ask for and what they are worth, from what they show now; returns the normals' noise."""
        shots = self.shots
        shown = self.rendered(self.table)
        opacity, gradient, colour = np.split(shown.cpu().numpy().astype(np.float64), [1, 4], axis=1)
        at = (shots.view, shots.row, shots.column)
        solid = opacity[:, 0] > _SOLID
        votes = weighed_normals(
            at, gradient, shots.normal, -shots.ray, np.where(solid, shots.normal_trust, 0.0), normal_errors
        )
        frontal = np.maximum(-(gradient * shots.ray).sum(1), 0.0)
        trust = shots.colour_trust * solid * (frontal > _LEAST_FRONTAL)
        wanted_colour, colour_weight = _weighed_colours(at, colour, shots.colour, trust, colour_errors)
        # A pixel on the outline is half covered; how far off it is follows from how much.
        far = self.far.amax(1).cpu().numpy()
        size = shots.width * np.where(far > 0, far, np.median(far[far > 0]))
        per_px = 4 * FIRMNESS / size
        wanted = 1 / (1 + np.exp(-shots.outline_px / per_px * 4))
        off_px = (opacity[:, 0] - wanted) * per_px
        noise_px = max(_median_noise(off_px[np.abs(shots.outline_px) < _OUTLINE_PX]), LEAST_OUTLINE_NOISE_PX)
        outline_weight = (SURE_NORMAL_RAD / noise_px) ** 2 / (1 + (noise_px / FAIR_OUTLINE_PX) ** 2)
        outline_weight /= (1 + (off_px / (ROBUST_NOISES * noise_px)) ** 2) ** 2
        self.wanted = self._sent(np.concatenate([wanted[:, None], votes.normals, wanted_colour], axis=1))
        weight = np.stack([outline_weight * per_px**2, votes.weight, colour_weight], axis=1)
        self.weight = self._sent(weight).repeat_interleave(torch.tensor([1, 3, 3], device=self.table.device), dim=1)
        return votes.noise_rad

    def solved(self) -> Float[Tensor, "k 4"]:
        """The change of the table that the pixels ask for, by conjugate gradients."""
        free = torch.cat([self.rows.free[:, None], torch.ones_like(self.table[:, 1:])], dim=1)
        right, diagonal = self.right()
        right *= free
        change, residual = torch.zeros_like(right), right
        direction = scaled = residual / diagonal
        energy = float((residual * scaled).sum())
        goal = energy * _TOLERANCE**2
        for _ in range(_ITERATIONS):
            if energy <= goal:
                break
            image = self.times(direction) * free
            step = energy / float((direction * image).sum())
            change = change + step * direction
            residual = residual - step * image
            scaled = residual / diagonal
            fresh = float((residual * scaled).sum())
            direction = scaled + fresh / energy * direction
            energy = fresh
        return change

    def _sent(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.rows.row.device, torch.float32)

    def _sampled(self, field: SplineField) -> Iterator[_Chunk]:
        start, ray = self._sent((self.shots.start - field.low) / field.cell), self._sent(self.shots.ray)
        self.far, used = places(self.rows.values, start, ray)
        for first in range(0, len(start), _CHUNK):
            span = slice(first, first + _CHUNK)
            points = start[span, None] + self.far[span, :, None] * ray[span, None]
            slot = used[span].flatten().nonzero()[:, 0]
            yield _Chunk(span, used[span], slot, *taps(self.rows, points.reshape(-1, 3)[slot]))

    def _neighbours(self) -> list[tuple[Int64[Tensor, "k"], Int64[Tensor, "k"]]]:
        """Rows of the nodes before and after along each axis; the node itself for both where one has none."""
        own = torch.arange(len(self.table), device=self.table.device)
        pairs = []
        for axis in range(3):
            before, after = (torch.roll(self.rows.row, turn, axis)[tuple(self.rows.nodes.T)].long() for turn in (1, -1))
            both = (before >= 0) & (after >= 0)
            pairs.append((torch.where(both, before, own), torch.where(both, after, own)))
        return pairs

    def _paint(self) -> None:
        """Colours of the nodes: the mean of what the pixels show that see them."""
        colour, trust = self._sent(self.shots.colour), self._sent(self.shots.colour_trust)
        total = torch.zeros_like(self.table)
        for chunk in self.chunks:
            share = shares(chunk.read(self.table)[..., 0], chunk.used)[1] * trust[chunk.span, None]
            lit = share[..., None] * colour[chunk.span, None]
            chunk.spread(torch.cat([share[..., None], torch.zeros_like(lit), lit], dim=-1), total)
        self.table[:, 1:] = total[:, 1:] / total[:, :1].clamp(min=1e-6)

    def right(self) -> tuple[Float[Tensor, "k 4"], Float[Tensor, "k 4"]]:
        """Right side, and about the diagonal of the left one."""
        right, diagonal = torch.zeros_like(self.table), torch.zeros_like(self.table)
        for chunk in self.chunks:
            sampled, weight = chunk.read(self.table), self.weight[chunk.span]
            shown = _shown(sampled, chunk.used)
            asked = _pushed_back(sampled, chunk.used, weight * (self.wanted[chunk.span] - shown))
            unit, length = _lengthwise(sampled)
            asked[..., 1:4] += self.eikonal * (1 - length)[..., None] * unit
            chunk.spread(asked, right)
            share = shares(sampled[..., 0], chunk.used)[1]
            chunk.spread_squares(share[..., None] * weight[:, None], diagonal)
        right[:, 0] -= self._stiff(self.table[:, 0])
        diagonal[:, 0] += 18 * self.smoothness + self.inertia
        diagonal[:, 1:] += _COLOUR_HOLD
        return right, diagonal

    def times(self, change: Float[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """The left side of the normal equations times a change of the table."""
        out = torch.zeros_like(change)
        for chunk in self.chunks:
            sampled, moved = chunk.read(self.table), chunk.read(change)
            differs = torch.func.jvp(partial(_shown, used=chunk.used), (sampled,), (moved,))[1]
            asked = _pushed_back(sampled, chunk.used, self.weight[chunk.span] * differs)
            unit, _ = _lengthwise(sampled)
            asked[..., 1:4] += self.eikonal * (unit * moved[..., 1:4]).sum(-1, keepdim=True) * unit
            chunk.spread(asked, out)
        out[:, 0] += self._stiff(change[:, 0]) + self.inertia * change[:, 0]
        out[:, 1:] += _COLOUR_HOLD * change[:, 1:]
        return out

    def _stiff(self, values: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
        """Second differences along the axes, taken twice, times their weight."""
        out = torch.zeros_like(values)
        for before, after in self.near:
            bend = self.smoothness * self.rows.free * (values[before] - 2 * values + values[after])
            out.index_add_(0, before, bend).index_add_(0, after, bend).sub_(2 * bend)
        return out


def _median_noise(off: Float[np.ndarray, "n"]) -> float:
    return float(_SIGMA_PER_MEDIAN * np.median(np.abs(off))) if len(off) else 0.0


def _weighed_colours(
    at: Pixels,
    now: Float[np.ndarray, "n 3"],
    shown: Float[np.ndarray, "n 3"],
    trust: Float[np.ndarray, "n"],
    errors: SlowErrors,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Colours to ask for, less each view's slow errors, and their weights."""
    noise = _median_noise((shown - now)[trust > 0].ravel())
    limit = ROBUST_NOISES * max(noise, _LEAST_COLOUR_NOISE)
    weight = trust / (1 + ((shown - now) ** 2).mean(1) / limit**2) ** 2
    wanted = shown - errors.learnt(at, shown - now, weight, noise)
    rest = max(_median_noise((wanted - now)[trust > 0].ravel()), _LEAST_COLOUR_NOISE)
    return wanted, weight * (SURE_NORMAL_RAD / rest) ** 2
