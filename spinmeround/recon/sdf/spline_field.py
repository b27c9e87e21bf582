"""The encoding of the neural surface: a signed distance as quadratic B-splines on a grid of learnt coefficients.

Every coefficient acts within one and a half cells, so value and gradient at a point are sums over 27 of them, and both
are linear in what is learnt: losses on normals need no second derivative of anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from spinmeround.geometry import vertex_normals
from spinmeround.recon.hull import largest_solid
from spinmeround.types import Mesh

_TANGENT_CELLS = 0.7


@dataclass(frozen=True)
class SplineField:
    """A scalar field over a box.

    Attributes:
        coefficients: one per node.
        low: world position of the first node.
        cell: distance of neighbouring nodes, head units.
    """

    coefficients: Float[np.ndarray, "x y z"]
    low: Float[np.ndarray, "3"]
    cell: float

    def at(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
        """Value and gradient (per head unit) at world points; beyond the box the border's."""
        out = np.empty((len(points), 4))
        _evaluate(self.coefficients, (points - self.low) / self.cell, out)
        out[:, 1:] /= self.cell
        return out

    def halved(self) -> SplineField:
        """The same field on a grid of half the cell (Chaikin's rule on each axis)."""
        finer = self.coefficients
        for axis in range(3):
            finer = _halved(finer, axis)
        return SplineField(np.ascontiguousarray(finer), self.low + self.cell / 4, self.cell / 2)

    def sampled(self) -> Float[np.ndarray, "x y z"]:
        """Values at the nodes."""
        values = self.coefficients
        for axis in range(3):
            padded = np.pad(values, [(int(a == axis),) * 2 for a in range(3)], mode="edge")
            inner = np.moveaxis(padded, axis, 0)
            values = np.moveaxis((inner[:-2] + 6 * inner[1:-1] + inner[2:]) / 8, 0, axis)
        return values


def spline_weights(offset: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3"]:
    """Weights of the three nearest nodes; ``offset`` from the nearest, in cells, in [-0.5, 0.5]."""
    return np.stack([0.5 * (0.5 - offset) ** 2, 0.75 - offset**2, 0.5 * (0.5 + offset) ** 2], axis=-1)


def _halved(values: Float[np.ndarray, "x y z"], axis: int) -> Float[np.ndarray, "x2 y2 z2"]:
    inner = np.moveaxis(values, axis, 0)
    out = np.empty((2 * len(inner) - 2, *inner.shape[1:]))
    out[0::2] = 0.75 * inner[:-1] + 0.25 * inner[1:]
    out[1::2] = 0.25 * inner[:-1] + 0.75 * inner[1:]
    return np.moveaxis(out, 0, axis)


def fitted_to(samples: Float[np.ndarray, "x y z"], low: Float[np.ndarray, "3"], cell: float) -> SplineField:
    """The field whose values at the nodes are nearly ``samples`` (one sharpening step)."""
    start = SplineField(samples.astype(np.float64), low, cell)
    return SplineField(2 * start.coefficients - start.sampled(), low, cell)


def signed_distance(
    mesh: Mesh, shape: tuple[int, int, int], low: Float[np.ndarray, "3"], cell: float
) -> Float[np.ndarray, "x y z"]:
    """Distance of grid points from the nearest vertex' tangent plane, or from a vertex that is far; negative inside."""
    points = low + cell * np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    used = np.unique(mesh.faces)
    vertices, normals = mesh.vertices[used], vertex_normals(mesh.vertices, mesh.faces)[used]
    distance, nearest = cKDTree(vertices).query(points)
    above = ((points - vertices[nearest]) * normals[nearest]).sum(1)
    return np.where(distance < _TANGENT_CELLS * cell, above, np.copysign(distance, above)).reshape(shape)


def zero_surface(field: SplineField, *, floor_y: float | None) -> Mesh:
    """Marching cubes of the zero set, its vertices moved onto it; cut flat at ``floor_y``, largest part only.

    The field is negative inside; the mesh is closed and counter-clockwise seen from outside.
    """
    samples = field.sampled()
    if floor_y is not None:
        heights = field.low[1] + field.cell * np.arange(samples.shape[1])
        samples = np.maximum(samples, (floor_y - heights)[None, :, None])
    samples = largest_solid(samples)
    # Off zero by a hundredth of a cell: marching cubes through a grid point would make faces without area.
    samples = np.copysign(np.clip(np.abs(samples), 0.01 * field.cell, 4 * field.cell), samples)
    vertices, faces, _, _ = marching_cubes(samples.astype(np.float32), 0.0)
    return Mesh(vertices * field.cell + field.low, faces.astype(np.int64))


def onto_zero(field: SplineField, points: Float[np.ndarray, "n 3"], *, steps: int = 2) -> Float[np.ndarray, "n 3"]:
    """Points moved along the gradient onto the zero set, at most a cell in all."""
    moved = points
    for _ in range(steps):
        found = field.at(moved)
        gradient = found[:, 1:]
        step = found[:, :1] * gradient / np.maximum((gradient**2).sum(1, keepdims=True), 0.1)
        moved = moved - np.clip(step, -0.5 * field.cell, 0.5 * field.cell)
    return moved


@numba.njit(cache=True, inline="always")
def spline_taps(position, size, weights, slopes):
    """First of three nodes along one axis, clamped to the grid, their weights and the weights' derivatives."""
    position = min(max(position, 0.5), size - 1.5)
    nearest = min(max(int(np.floor(position + 0.5)), 1), size - 2)
    d = position - nearest
    weights[0], weights[1], weights[2] = 0.5 * (0.5 - d) ** 2, 0.75 - d * d, 0.5 * (0.5 + d) ** 2
    slopes[0], slopes[1], slopes[2] = d - 0.5, -2 * d, d + 0.5
    return nearest - 1


@numba.njit(parallel=True, cache=True)
def _evaluate(coefficients, positions, out):
    sx, sy, sz = coefficients.shape
    chunk = 4096
    for start in numba.prange((positions.shape[0] + chunk - 1) // chunk):
        w, d = np.empty((3, 3)), np.empty((3, 3))
        for n in range(start * chunk, min((start + 1) * chunk, positions.shape[0])):
            x = spline_taps(positions[n, 0], sx, w[0], d[0])
            y = spline_taps(positions[n, 1], sy, w[1], d[1])
            z = spline_taps(positions[n, 2], sz, w[2], d[2])
            value = gx = gy = gz = 0.0
            for i in range(3):
                for j in range(3):
                    line = slope = 0.0
                    for k in range(3):
                        c = coefficients[x + i, y + j, z + k]
                        line += w[2, k] * c
                        slope += d[2, k] * c
                    value += w[0, i] * w[1, j] * line
                    gx += d[0, i] * w[1, j] * line
                    gy += w[0, i] * d[1, j] * line
                    gz += w[0, i] * w[1, j] * slope
            out[n, 0], out[n, 1], out[n, 2], out[n, 3] = value, gx, gy, gz
