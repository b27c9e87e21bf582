"""One Gauss-Newton step of a spline field: what samples ask of its value and gradient, smoothness, and their solution.

Each sample is a row or three of a sparse linear least-squares problem in the coefficients near the surface. The normal
equations have at most 125 entries a row, kept as one dense block per node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float, Int32

from spinmeround.recon.sdf.spline_field import SplineField, spline_taps

_SLAB = 8
"""Layers of nodes that one thread fills; samples of every other slab touch no node in common."""
_CHUNK = 4096


@dataclass(frozen=True)
class Wishes:
    """What samples ask of the field.

    Attributes:
        points: world.
        gradient: asked for, per head unit.
        gradient_weight: inverse variance; 0 where nothing is asked of the gradient.
        value: asked for, head units.
        value_weight: inverse variance of the value in cells; 0 where nothing is asked of it.
        along: of the gradient only the component along the one asked for, a unit vector, counts.
    """

    points: Float[np.ndarray, "n 3"]
    gradient: Float[np.ndarray, "n 3"]
    gradient_weight: Float[np.ndarray, "n"]
    value: Float[np.ndarray, "n"]
    value_weight: Float[np.ndarray, "n"]
    along: Bool[np.ndarray, "n"]


def joined(*parts: Wishes) -> Wishes:
    """All of them."""
    fields = ("points", "gradient", "gradient_weight", "value", "value_weight", "along")
    return Wishes(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def improved(
    field: SplineField,
    free: Int32[np.ndarray, "x y z"],
    wishes: Wishes,
    *,
    smoothness: float,
    inertia: float,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> SplineField:
    """The field nearest to what is asked of it.

    Args:
        free: number of each coefficient that may change, -1 for all others; none within two nodes of the box's border.
        smoothness: weight of second differences along the axes, in cells.
        inertia: weight of the change itself, in cells.
        iterations: at most so many conjugate-gradient steps.
        tolerance: relative residual at which they stop.
    """
    matrix, right = normal_equations(field, free, wishes, smoothness=smoothness, inertia=inertia)
    nodes = np.argwhere(free >= 0)
    change = _conjugate_gradients(matrix, right, free, nodes, iterations, tolerance)
    coefficients = field.coefficients.copy()
    coefficients[tuple(nodes.T)] += change * field.cell
    return SplineField(coefficients, field.low, field.cell)


def normal_equations(
    field: SplineField, free: Int32[np.ndarray, "x y z"], wishes: Wishes, *, smoothness: float, inertia: float
) -> tuple[Float[np.ndarray, "m 125"], Float[np.ndarray, "m"]]:
    """Left and right side for changes in cells; columns of the left run over the 5 x 5 x 5 nodes around each."""
    count = int(free.max()) + 1
    matrix, right = np.zeros((count, 125), np.float32), np.zeros(count)
    matrix[:, 62] = inertia
    positions = (wishes.points - field.low) / field.cell
    now = field.at(wishes.points)
    slab = np.clip(positions[:, 0] + 0.5, 0, free.shape[0] - 1).astype(np.int64) // _SLAB
    order = np.argsort(slab, kind="stable")
    bounds = np.searchsorted(slab[order], np.arange(free.shape[0] // _SLAB + 2))
    _add_samples(
        free, positions, order, bounds, wishes.gradient, wishes.along, now[:, 1:], wishes.gradient_weight,
        (wishes.value - now[:, 0]) / field.cell, wishes.value_weight, matrix, right,
    )  # fmt: skip
    _add_smoothness(free, field.coefficients / field.cell, smoothness, matrix, right)
    return matrix, right


@numba.njit(parallel=True, cache=True)
def _add_samples(free, positions, order, bounds, slope, along, now, slope_weight, gap, weight, matrix, right):
    slabs = bounds.shape[0] - 1
    for parity in range(2):
        for half in numba.prange((slabs + 1 - parity) // 2):
            w, d = np.empty((3, 3)), np.empty((3, 3))
            row, basis = np.empty(27, np.int64), np.empty((27, 4))
            slab = 2 * half + parity
            for s in range(bounds[slab], bounds[slab + 1]):
                n = order[s]
                a, b = slope_weight[n], weight[n]
                if a == 0 and b == 0:
                    continue
                gap0, gap1, gap2 = slope[n, 0] - now[n, 0], slope[n, 1] - now[n, 1], slope[n, 2] - now[n, 2]
                if along[n]:
                    gap0 = gap0 * slope[n, 0] + gap1 * slope[n, 1] + gap2 * slope[n, 2]
                    gap1 = gap2 = 0.0
                x = spline_taps(positions[n, 0], free.shape[0], w[0], d[0])
                y = spline_taps(positions[n, 1], free.shape[1], w[1], d[1])
                z = spline_taps(positions[n, 2], free.shape[2], w[2], d[2])
                for t in range(27):
                    i, j, k = t // 9, t // 3 % 3, t % 3
                    row[t] = free[x + i, y + j, z + k]
                    basis[t, 0] = d[0, i] * w[1, j] * w[2, k]
                    basis[t, 1] = w[0, i] * d[1, j] * w[2, k]
                    basis[t, 2] = w[0, i] * w[1, j] * d[2, k]
                    basis[t, 3] = w[0, i] * w[1, j] * w[2, k]
                    if along[n]:
                        basis[t, 0] = slope[n, 0] * basis[t, 0] + slope[n, 1] * basis[t, 1] + slope[n, 2] * basis[t, 2]
                        basis[t, 1] = basis[t, 2] = 0.0
                for t in range(27):
                    if row[t] < 0:
                        continue
                    p, q, r, v = a * basis[t, 0], a * basis[t, 1], a * basis[t, 2], b * basis[t, 3]
                    right[row[t]] += p * gap0 + q * gap1 + r * gap2 + v * gap[n]
                    own = 62 - (t // 9 * 25 + t // 3 % 3 * 5 + t % 3)
                    for u in range(27):
                        matrix[row[t], own + u // 9 * 25 + u // 3 % 3 * 5 + u % 3] += (
                            p * basis[u, 0] + q * basis[u, 1] + r * basis[u, 2] + v * basis[u, 3]
                        )


@numba.njit(cache=True)
def _add_smoothness(free, coefficients, smoothness, matrix, right):
    stride = np.array([25, 5, 1])
    factor = np.array([1.0, -2.0, 1.0])
    sx, sy, sz = free.shape
    for x in range(1, sx - 1):
        for y in range(1, sy - 1):
            for z in range(1, sz - 1):
                if free[x, y, z] < 0:
                    continue
                for axis in range(3):
                    ex, ey, ez = int(axis == 0), int(axis == 1), int(axis == 2)
                    bend = (
                        coefficients[x - ex, y - ey, z - ez]
                        - 2 * coefficients[x, y, z]
                        + coefficients[x + ex, y + ey, z + ez]
                    )
                    for a in range(3):
                        row = free[x + (a - 1) * ex, y + (a - 1) * ey, z + (a - 1) * ez]
                        if row < 0:
                            continue
                        right[row] -= smoothness * factor[a] * bend
                        for b in range(3):
                            matrix[row, 62 + (b - a) * stride[axis]] += smoothness * factor[a] * factor[b]


@numba.njit(parallel=True, cache=True)
def _multiply(matrix, free, nodes, x, out, partial):
    """``out = matrix x``; ``partial`` gets x · out of each chunk, so that their sum does not depend on the threads."""
    count = nodes.shape[0]
    for chunk in numba.prange(partial.shape[0]):
        total = 0.0
        for n in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, count)):
            i, j, k = nodes[n, 0], nodes[n, 1], nodes[n, 2]
            value = 0.0
            column = 0
            for a in range(i - 2, i + 3):
                for b in range(j - 2, j + 3):
                    for c in range(k - 2, k + 3):
                        other = free[a, b, c]
                        if other >= 0:
                            value += matrix[n, column] * x[other]
                        column += 1
            out[n] = value
            total += x[n] * value
        partial[chunk] = total


def _conjugate_gradients(
    matrix: Float[np.ndarray, "m 125"],
    right: Float[np.ndarray, "m"],
    free: Int32[np.ndarray, "x y z"],
    nodes: np.ndarray,
    iterations: int,
    tolerance: float,
) -> Float[np.ndarray, "m"]:
    """Jacobi-preconditioned."""
    diagonal = matrix[:, 62].astype(np.float64)
    x, residual, image = np.zeros_like(right), right.copy(), np.empty_like(right)
    partial = np.empty((len(right) + _CHUNK - 1) // _CHUNK)
    direction = residual / diagonal
    energy = float(residual @ direction)
    goal = energy * tolerance * tolerance
    for _ in range(iterations):
        if energy <= goal or energy == 0:
            break
        _multiply(matrix, free, nodes, direction, image, partial)
        step = energy / float(partial.sum())
        x += step * direction
        residual -= step * image
        scaled = residual / diagonal
        fresh = float(residual @ scaled)
        direction = scaled + (fresh / energy) * direction
        energy = fresh
    return x
