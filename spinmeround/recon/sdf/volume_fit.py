"""Fit a signed distance by volume rendering, on any torch device: opacity, normal and colour of all pixels at once.

Signed distance and colours are estimated together, on one spline grid, by Gauss-Newton steps. A step's matrix is never
formed: conjugate gradients multiply with J^T W J, by a forward (jvp) and a backward (vjp) pass through the rendering.
Residuals are weighed as in ``residuals``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spinmeround.recon.sdf.pixel_samples import PixelIndices, PixelSamples
from spinmeround.recon.sdf.residuals import (
    LowFrequencyBias,
    Regularisation,
    ResidualSettings,
    median_noise,
    weigh_normals,
)
from spinmeround.recon.sdf.spline_field import SplineField
from spinmeround.recon.sdf.volume_rendering import (
    LOGISTIC_SCALE,
    active_nodes,
    compositing_weights,
    sample_rays,
    spline_basis,
)

_OPAQUE = 0.5
"""Pixels of less opacity than this have no residual of normal and colour."""
_CHUNK = 1 << 14
"""Rays that are rendered at a time; one takes some 4 kB, most of it the basis at its samples."""


@dataclass(frozen=True)
class VolumeSettings:
    """Sampling, colours and solver of the fit by volume rendering.

    Attributes:
        max_rays: of all views together, for the sake of memory.
        margin_px: pixels up to this far outside the masks are rendered.
        min_frontal_cosine: colours seen more obliquely have no residual.
        min_colour_noise: pictures are not believed to be better than this, sRGB.
        colour_damping: weight of the change of a node's colour, for nodes that no pixel sees.
        max_iterations: of conjugate gradients.
        tolerance: preconditioned norm of the residual, relative to the first, at which they stop.
    """

    max_rays: int = 1 << 20
    margin_px: float = 3.0
    min_frontal_cosine: float = 0.35
    min_colour_noise: float = 0.01
    colour_damping: float = 1e-3
    max_iterations: int = 60
    tolerance: float = 1e-3


def volume_rendering_step(
    field: SplineField,
    samples: PixelSamples,
    normal_bias: LowFrequencyBias,
    colour_bias: LowFrequencyBias,
    device: torch.device,
    *,
    regularisation: Regularisation,
    settings: VolumeSettings,
) -> tuple[SplineField, float]:
    """Return the field after one Gauss-Newton step, and the noise of the normals in radians.

    Args:
        normal_bias, colour_bias: updated with these pixels.
    """
    problem = VolumeProblem(samples, field, device, regularisation, settings)
    noise_rad = problem.weigh_residuals(normal_bias, colour_bias)
    change = problem.solve()
    coefficients = field.coefficients.copy()
    coefficients[tuple(problem.active.nodes.cpu().numpy().T)] += field.cell * change[:, 0].double().cpu().numpy()
    return SplineField(coefficients, field.origin, field.cell), noise_rad


@dataclass(frozen=True)
class _RayChunk:
    """The samples of some of the rays.

    Attributes:
        span: which rays.
        used: which of their samples are used.
        slot: flat indices of the used samples among all.
        row, basis: of the used samples, see ``spline_basis``.
    """

    span: slice
    used: Bool[Tensor, "n s"]
    slot: Int64[Tensor, "m"]
    row: Int64[Tensor, "m 27"]
    basis: Float[Tensor, "m 27 4"]

    def gather(self, table: Float[Tensor, "k 4"]) -> Float[Tensor, "n s 7"]:
        """Return value, gradient and colour at the samples, 0 at those that are not used."""
        interpolated = torch.bmm(self.basis.mT, torch.nn.functional.embedding(self.row, table))
        out = table.new_zeros(self.used.numel(), 7)
        out.index_copy_(0, self.slot, torch.cat([interpolated[:, :, 0], interpolated[:, 0, 1:]], dim=1))
        return out.view(*self.used.shape, 7)

    def scatter(self, cotangent: Float[Tensor, "n s 7"], total: Float[Tensor, "k 4"]) -> None:
        """Add the transpose of ``gather`` to ``total``."""
        self._scatter(self.basis, cotangent, total)

    def scatter_diagonal(self, weight: Float[Tensor, "n s 7"], total: Float[Tensor, "k 4"]) -> None:
        """Add the diagonal of the quadratic form with these weights at the samples to ``total``."""
        self._scatter(self.basis**2, weight, total)

    def _scatter(
        self, basis: Float[Tensor, "m 27 4"], cotangent: Float[Tensor, "n s 7"], total: Float[Tensor, "k 4"]
    ) -> None:
        value, slope, colour = cotangent.reshape(-1, 7)[self.slot].split([1, 3, 3], dim=1)
        each = basis[..., :1] * torch.cat([value, colour], dim=1)[:, None]
        each[..., 0] += torch.bmm(basis[..., 1:], slope[..., None])[..., 0]
        total.index_add_(0, self.row.reshape(-1), each.reshape(-1, 4))


def _composite(sampled: Float[Tensor, "n s 7"], used: Bool[Tensor, "n s"]) -> Float[Tensor, "n 7"]:
    """Return opacity, normal and colour of rays; the latter two are divided by opacity, or by 1/2 where it is less."""
    opacity, weight = compositing_weights(sampled[..., 0], used)
    mean = (weight[..., None] * sampled[..., 1:]).sum(1) / opacity.clamp(min=_OPAQUE)[:, None]
    return torch.cat([opacity[:, None], mean], dim=1)


def _composite_vjp(
    sampled: Float[Tensor, "n s 7"], used: Bool[Tensor, "n s"], cotangent: Float[Tensor, "n 7"]
) -> Float[Tensor, "n s 7"]:
    """Return the transposed derivative of ``_composite`` times cotangents of the rays."""
    leaf = sampled.detach().requires_grad_()
    (pulled_back,) = torch.autograd.grad(_composite(leaf, used), leaf, cotangent)
    return pulled_back


def _unit_gradients(sampled: Float[Tensor, "n s 7"]) -> tuple[Float[Tensor, "n s 3"], Float[Tensor, "n s"]]:
    """Return unit gradients and the gradients' lengths."""
    length = sampled[..., 1:4].norm(dim=-1)
    return sampled[..., 1:4] / length.clamp(min=1e-6)[..., None], length


class VolumeProblem:
    """The least-squares problem of one Gauss-Newton step, linearised at a field.

    The unknowns are a table with a row for each active node: the coefficient in cells, and a colour.

    Attributes:
        table: the current unknowns.
        targets, weights: opacity, normal and colour that each pixel should show, and their weights; set by
            ``weigh_residuals``.
    """

    def __init__(
        self,
        samples: PixelSamples,
        field: SplineField,
        device: torch.device,
        regularisation: Regularisation,
        settings: VolumeSettings,
    ) -> None:
        self.samples, self.settings = samples, settings
        self.active = active_nodes(field, device)
        self.chunks = list(self._sample_chunks(field))
        self.smoothness, self.damping = regularisation.smoothness, regularisation.damping
        n_samples = sum(len(chunk.row) for chunk in self.chunks)
        self.eikonal = regularisation.eikonal * float(self.active.unknown.sum()) / n_samples
        coefficients = self._to_device(field.coefficients / field.cell)[tuple(self.active.nodes.T)]
        self.table = torch.cat([coefficients[:, None], coefficients.new_zeros(len(coefficients), 3)], dim=1)
        self.axis_neighbours = self._find_axis_neighbours()
        self._initialise_colours()

    def render(self, table: Float[Tensor, "k 4"]) -> Float[Tensor, "n 7"]:
        """Return opacity, normal and colour of all pixels."""
        return torch.cat([_composite(chunk.gather(table), chunk.used) for chunk in self.chunks])

    def weigh_residuals(self, normal_bias: LowFrequencyBias, colour_bias: LowFrequencyBias) -> float:
        """Set targets and weights of the pixels from the current rendering; return the noise of normals in radians."""
        samples, limits = self.samples, normal_bias.settings
        rendered = self.render(self.table).cpu().numpy().astype(np.float64)
        opacity, gradient, colour = np.split(rendered, [1, 4], axis=1)
        pixels = (samples.view, samples.row, samples.column)
        opaque = opacity[:, 0] > _OPAQUE
        normal_trust = np.where(opaque, samples.normal_trust, 0.0)
        normals = weigh_normals(pixels, gradient, samples.normal, -samples.direction, normal_trust, normal_bias)
        frontal = np.maximum(-(gradient * samples.direction).sum(1), 0.0)
        trust = samples.colour_trust * opaque * (frontal > self.settings.min_frontal_cosine)
        target_colour, colour_weight = _weigh_colours(
            pixels, colour, samples.colour, trust, colour_bias, self.settings.min_colour_noise
        )
        target_opacity, opacity_weight = self._weigh_opacity(opacity[:, 0], limits)
        self.targets = self._to_device(
            np.concatenate([target_opacity[:, None], normals.normals, target_colour], axis=1)
        )
        weights = self._to_device(np.stack([opacity_weight, normals.weight, colour_weight], axis=1))
        self.weights = weights.repeat_interleave(torch.tensor([1, 3, 3], device=self.table.device), dim=1)
        return normals.noise_rad

    def _weigh_opacity(
        self, opacity: Float[np.ndarray, "n"], limits: ResidualSettings
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Return target opacities and their weights, from signed distances to the silhouettes.

        A pixel on the silhouette is half covered. Around opacity 1 / 2 the logistic function has slope 1 / 4 per scale,
        which turns a difference of opacity into one in pixels.
        """
        depth = self.distances.amax(1).cpu().numpy()
        pixel_cells = self.samples.width * np.where(depth > 0, depth, np.median(depth[depth > 0]))
        px_per_opacity = 4 * LOGISTIC_SCALE / pixel_cells
        target = 1 / (1 + np.exp(-self.samples.silhouette_px / px_per_opacity * 4))
        residual_px = (opacity - target) * px_per_opacity
        on_silhouette = np.abs(self.samples.silhouette_px) < limits.silhouette_band_px
        noise_px = max(median_noise(residual_px[on_silhouette]), limits.min_silhouette_noise_px)
        weight = (limits.normal_noise_rad / noise_px) ** 2 / (
            1 + (noise_px / limits.correlated_silhouette_noise_px) ** 2
        )
        weight /= (1 + (residual_px / (limits.outlier_sigmas * noise_px)) ** 2) ** 2
        return target, weight * px_per_opacity**2

    def solve(self) -> Float[Tensor, "k 4"]:
        """Return the change of the table that minimises the residuals, by preconditioned conjugate gradients."""
        unknown = torch.cat([self.active.unknown[:, None], torch.ones_like(self.table[:, 1:])], dim=1)
        right, diagonal = self.right_hand_side()
        right *= unknown
        change, residual = torch.zeros_like(right), right
        direction = scaled = residual / diagonal
        energy = float((residual * scaled).sum())
        goal = energy * self.settings.tolerance**2
        for _ in range(self.settings.max_iterations):
            if energy <= goal:
                break
            product = self.multiply(direction) * unknown
            step = energy / float((direction * product).sum())
            change = change + step * direction
            residual = residual - step * product
            scaled = residual / diagonal
            next_energy = float((residual * scaled).sum())
            direction = scaled + next_energy / energy * direction
            energy = next_energy
        return change

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.active.row.device, torch.float32)

    def _sample_chunks(self, field: SplineField) -> Iterator[_RayChunk]:
        """Sample all rays and set ``distances`` of the samples along them, in cells."""
        origin = self._to_device((self.samples.origin - field.origin) / field.cell)
        direction = self._to_device(self.samples.direction)
        self.distances, used = sample_rays(self.active.values, origin, direction)
        for first in range(0, len(origin), _CHUNK):
            span = slice(first, first + _CHUNK)
            points = origin[span, None] + self.distances[span, :, None] * direction[span, None]
            slot = used[span].flatten().nonzero()[:, 0]
            yield _RayChunk(span, used[span], slot, *spline_basis(self.active, points.reshape(-1, 3)[slot]))

    def _find_axis_neighbours(self) -> list[tuple[Int64[Tensor, "k"], Int64[Tensor, "k"]]]:
        """Return rows of the nodes before and after along each axis; both the node's own where one is not active."""
        own = torch.arange(len(self.table), device=self.table.device)
        pairs = []
        for axis in range(3):
            before, after = (
                torch.roll(self.active.row, shift, axis)[tuple(self.active.nodes.T)].long() for shift in (1, -1)
            )
            both = (before >= 0) & (after >= 0)
            pairs.append((torch.where(both, before, own), torch.where(both, after, own)))
        return pairs

    def _initialise_colours(self) -> None:
        """Set each node's colour to the mean of the pixels that see it."""
        colour, trust = self._to_device(self.samples.colour), self._to_device(self.samples.colour_trust)
        total = torch.zeros_like(self.table)
        for chunk in self.chunks:
            weight = compositing_weights(chunk.gather(self.table)[..., 0], chunk.used)[1] * trust[chunk.span, None]
            weighted = weight[..., None] * colour[chunk.span, None]
            chunk.scatter(torch.cat([weight[..., None], torch.zeros_like(weighted), weighted], dim=-1), total)
        self.table[:, 1:] = total[:, 1:] / total[:, :1].clamp(min=1e-6)

    def right_hand_side(self) -> tuple[Float[Tensor, "k 4"], Float[Tensor, "k 4"]]:
        """Return the right side J^T W r, and an approximate diagonal of the matrix, for preconditioning."""
        right, diagonal = torch.zeros_like(self.table), torch.zeros_like(self.table)
        for chunk in self.chunks:
            sampled, weight = chunk.gather(self.table), self.weights[chunk.span]
            rendered = _composite(sampled, chunk.used)
            cotangent = _composite_vjp(sampled, chunk.used, weight * (self.targets[chunk.span] - rendered))
            unit, length = _unit_gradients(sampled)
            cotangent[..., 1:4] += self.eikonal * (1 - length)[..., None] * unit
            chunk.scatter(cotangent, right)
            sample_weight = compositing_weights(sampled[..., 0], chunk.used)[1]
            chunk.scatter_diagonal(sample_weight[..., None] * weight[:, None], diagonal)
        right[:, 0] -= self._multiply_smoothness(self.table[:, 0])
        diagonal[:, 0] += 18 * self.smoothness + self.damping  # 1 + 4 + 1 for each axis
        diagonal[:, 1:] += self.settings.colour_damping
        return right, diagonal

    def multiply(self, change: Float[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """Return the matrix of the normal equations times a change of the table."""
        out = torch.zeros_like(change)
        for chunk in self.chunks:
            sampled, tangent = chunk.gather(self.table), chunk.gather(change)
            rendered = torch.func.jvp(partial(_composite, used=chunk.used), (sampled,), (tangent,))[1]
            cotangent = _composite_vjp(sampled, chunk.used, self.weights[chunk.span] * rendered)
            unit, _ = _unit_gradients(sampled)
            cotangent[..., 1:4] += self.eikonal * (unit * tangent[..., 1:4]).sum(-1, keepdim=True) * unit
            chunk.scatter(cotangent, out)
        out[:, 0] += self._multiply_smoothness(change[:, 0]) + self.damping * change[:, 0]
        out[:, 1:] += self.settings.colour_damping * change[:, 1:]
        return out

    def _multiply_smoothness(self, values: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
        """Return D^T W D times values, where D takes second differences along the axes."""
        out = torch.zeros_like(values)
        for before, after in self.axis_neighbours:
            second = self.smoothness * self.active.unknown * (values[before] - 2 * values + values[after])
            out.index_add_(0, before, second).index_add_(0, after, second).sub_(2 * second)
        return out


def _weigh_colours(
    pixels: PixelIndices,
    rendered: Float[np.ndarray, "n 3"],
    seen: Float[np.ndarray, "n 3"],
    trust: Float[np.ndarray, "n"],
    bias: LowFrequencyBias,
    min_noise: float,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return target colours, less each view's low-frequency bias, and their weights."""
    noise = median_noise((seen - rendered)[trust > 0].ravel())
    limit = bias.settings.outlier_sigmas * max(noise, min_noise)
    weight = trust / (1 + ((seen - rendered) ** 2).mean(1) / limit**2) ** 2
    target = seen - bias.update(pixels, seen - rendered, weight, noise)
    noise_left = max(median_noise((target - rendered)[trust > 0].ravel()), min_noise)
    return target, weight * (bias.settings.normal_noise_rad / noise_left) ** 2
