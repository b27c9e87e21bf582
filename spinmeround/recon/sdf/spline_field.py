"""A signed distance field: quadratic B-splines on a grid of coefficients, and its conversion from and to meshes.

Every coefficient acts within one and a half cells, so value and gradient at a point are sums over 27 of them. Both are
linear in the coefficients, so that residuals of normals need no second derivatives.
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

_TANGENT_PLANE_CELLS = 0.7
"""Nearer to a vertex than this, in cells, a grid point's distance is that to the vertex' tangent plane."""
_MIN_SAMPLE_CELLS, _MAX_SAMPLE_CELLS = 0.01, 4.0
"""Magnitudes that values are clipped to before marching cubes, in cells. A value of 0 would put a vertex on a grid
point and make faces without area."""
_MAX_STEP_CELLS = 0.5
"""Longest Newton step onto the zero set, in cells."""
_MIN_SQUARED_SLOPE = 0.1
"""Least squared length of the gradient that a Newton step divides by; that of an exact distance is 1."""
UNKNOWN_BAND_CELLS = 2.5
"""Coefficients may change where the field is nearer to zero than this, in cells."""
BORDER_NODES = 3
"""Layers of nodes at each side of the grid whose coefficients never change."""


@dataclass(frozen=True)
class SplineField:
    """A scalar field over a box.

    Attributes:
        coefficients: one per node.
        origin: world position of the first node.
        cell: distance between neighbouring nodes, head units.
    """

    coefficients: Float[np.ndarray, "x y z"]
    origin: Float[np.ndarray, "3"]
    cell: float

    def value_and_gradient(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
        """Return value and gradient (per head unit) at world points; outside the box, those at its border."""
        out = np.empty((len(points), 4))
        _evaluate(self.coefficients, (points - self.origin) / self.cell, out)
        out[:, 1:] /= self.cell
        return out

    def refined(self) -> SplineField:
        """Return the same field on a grid of half the cell (Chaikin's subdivision on each axis)."""
        finer = self.coefficients
        for axis in range(3):
            finer = _subdivide(finer, axis)
        return SplineField(np.ascontiguousarray(finer), self.origin + self.cell / 4, self.cell / 2)

    def node_values(self) -> Float[np.ndarray, "x y z"]:
        """Return the field's values at the nodes."""
        values = self.coefficients
        for axis in range(3):
            padded = np.pad(values, [(int(a == axis),) * 2 for a in range(3)], mode="edge")
            inner = np.moveaxis(padded, axis, 0)
            values = np.moveaxis((inner[:-2] + 6 * inner[1:-1] + inner[2:]) / 8, 0, axis)
        return values


def _subdivide(values: Float[np.ndarray, "x y z"], axis: int) -> Float[np.ndarray, "x2 y2 z2"]:
    inner = np.moveaxis(values, axis, 0)
    out = np.empty((2 * len(inner) - 2, *inner.shape[1:]))
    out[0::2] = 0.75 * inner[:-1] + 0.25 * inner[1:]
    out[1::2] = 0.25 * inner[:-1] + 0.75 * inner[1:]
    return np.moveaxis(out, 0, axis)


def fit_spline(samples: Float[np.ndarray, "x y z"], origin: Float[np.ndarray, "3"], cell: float) -> SplineField:
    """Return a field whose values at the nodes are nearly ``samples``: one step of residual correction."""
    start = SplineField(samples.astype(np.float64), origin, cell)
    return SplineField(2 * start.coefficients - start.node_values(), origin, cell)


def signed_distance(
    mesh: Mesh, shape: tuple[int, int, int], origin: Float[np.ndarray, "3"], cell: float
) -> Float[np.ndarray, "x y z"]:
    """Return the signed distance of grid points from a mesh, head units, negative inside.

    It is the distance to the nearest vertex, or to that vertex' tangent plane where the vertex is near.
    """
    points = origin + cell * np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    used = np.unique(mesh.faces)
    vertices, normals = mesh.vertices[used], vertex_normals(mesh.vertices, mesh.faces)[used]
    distance, nearest = cKDTree(vertices).query(points)
    above = ((points - vertices[nearest]) * normals[nearest]).sum(1)
    return np.where(distance < _TANGENT_PLANE_CELLS * cell, above, np.copysign(distance, above)).reshape(shape)


def zero_surface(field: SplineField, *, floor_y: float | None) -> Mesh:
    """Extract the zero set by marching cubes: its largest component, cut flat at ``floor_y`` if given.

    The field is negative inside; the mesh is closed and counter-clockwise seen from outside. Its vertices lie on edges
    of the grid; ``project_to_zero_set`` moves them onto the zero set proper.
    """
    samples = field.node_values()
    if floor_y is not None:
        heights = field.origin[1] + field.cell * np.arange(samples.shape[1])
        samples = np.maximum(samples, (floor_y - heights)[None, :, None])
    samples = largest_solid(samples)
    magnitudes = np.clip(np.abs(samples), _MIN_SAMPLE_CELLS * field.cell, _MAX_SAMPLE_CELLS * field.cell)
    samples = np.copysign(magnitudes, samples)
    vertices, faces, _, _ = marching_cubes(samples.astype(np.float32), 0.0)
    return Mesh(vertices * field.cell + field.origin, faces.astype(np.int64))


def project_to_zero_set(
    field: SplineField, points: Float[np.ndarray, "n 3"], *, steps: int = 2
) -> Float[np.ndarray, "n 3"]:
    """Move points along the gradient onto the zero set by Newton steps of at most half a cell per axis."""
    moved = points
    for _ in range(steps):
        sampled = field.value_and_gradient(moved)
        gradient = sampled[:, 1:]
        step = sampled[:, :1] * gradient / np.maximum((gradient**2).sum(1, keepdims=True), _MIN_SQUARED_SLOPE)
        moved = moved - np.clip(step, -_MAX_STEP_CELLS * field.cell, _MAX_STEP_CELLS * field.cell)
    return moved


@numba.njit(cache=True, inline="always")
def spline_taps(position, size, weights, slopes):
    """Return the first of three nodes along one axis, clamped to the grid; write their weights and the derivatives."""
    position = min(max(position, 0.5), size - 1.5)
    nearest = min(max(int(np.floor(position + 0.5)), 1), size - 2)
    d = position - nearest
    weights[0], weights[1], weights[2] = 0.5 * (0.5 - d) ** 2, 0.75 - d * d, 0.5 * (0.5 + d) ** 2
    slopes[0], slopes[1], slopes[2] = d - 0.5, -2 * d, d + 0.5
    return nearest - 1


@numba.njit(parallel=True, cache=True)
def _evaluate(coefficients, positions, out):
    sx, sy, sz = coefficients.shape
    chunk = 4096  # points that one thread evaluates at a time
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
