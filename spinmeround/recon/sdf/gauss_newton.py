"""One Gauss-Newton step of a spline field: residuals of its value and gradient, smoothness, and a sparse solver.

Each sample adds one to four rows to a linear least-squares problem in the coefficients near the zero set. The normal
equations have at most 125 entries a row: the 5 x 5 x 5 nodes around each node, kept as a dense block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float, Int32, Integer

from spinmeround.recon.sdf.spline_field import BORDER_NODES, UNKNOWN_BAND_CELLS, SplineField, spline_taps

_SLAB = 8
"""Layers of nodes that one thread fills; samples of every other slab touch no node in common."""
_CHUNK = 4096
"""Rows that one thread multiplies at a time; fixed, so that sums do not depend on the number of threads."""
_BLOCK = 125
"""Entries of a row of the normal equations, one for each of the 5 x 5 x 5 nodes around its own."""
_CENTRE = 62
"""The diagonal's place among them."""


@dataclass(frozen=True)
class LeastSquaresTerms:
    """Weighted residuals of a field's value and gradient at sample points.

    Attributes:
        points: world.
        target_gradient: per head unit.
        gradient_weight: inverse variance; 0 where the gradient has no residual.
        target_value: head units.
        value_weight: inverse variance of the value in cells; 0 where the value has no residual.
        along_target_only: true where only the gradient's component along ``target_gradient``, there a unit vector, has
            a residual.
    """

    points: Float[np.ndarray, "n 3"]
    target_gradient: Float[np.ndarray, "n 3"]
    gradient_weight: Float[np.ndarray, "n"]
    target_value: Float[np.ndarray, "n"]
    value_weight: Float[np.ndarray, "n"]
    along_target_only: Bool[np.ndarray, "n"]

    @classmethod
    def of_gradients(
        cls,
        points: Float[np.ndarray, "n 3"],
        target: Float[np.ndarray, "n 3"],
        *,
        weight: Float[np.ndarray, "n"],
        along_target_only: bool = False,
    ) -> LeastSquaresTerms:
        """Return residuals of the gradient alone."""
        zero = np.zeros(len(points))
        return cls(points, target, weight, zero, zero, np.full(len(points), along_target_only))

    @classmethod
    def of_values(
        cls, points: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n"], *, weight: Float[np.ndarray, "n"]
    ) -> LeastSquaresTerms:
        """Return residuals of the value alone."""
        return cls(
            points, np.zeros_like(points), np.zeros(len(points)), target, weight, np.zeros(len(points), dtype=bool)
        )


def concatenate_terms(*parts: LeastSquaresTerms) -> LeastSquaresTerms:
    """Concatenate terms in the order given."""
    names = ("points", "target_gradient", "gradient_weight", "target_value", "value_weight", "along_target_only")
    return LeastSquaresTerms(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def number_unknowns(field: SplineField) -> Int32[np.ndarray, "x y z"]:
    """Number the coefficients near the zero set, which are the unknowns of a step; all others get -1."""
    near: Bool[np.ndarray, "x y z"] = np.abs(field.node_values()) < UNKNOWN_BAND_CELLS * field.cell
    for axis in range(3):
        layers = np.moveaxis(near, axis, 0)
        layers[:BORDER_NODES] = layers[-BORDER_NODES:] = False
    unknown = np.full(near.shape, -1, np.int32)
    unknown[near] = np.arange(near.sum())
    return unknown


def gauss_newton_step(
    field: SplineField,
    unknown: Int32[np.ndarray, "x y z"],
    terms: LeastSquaresTerms,
    *,
    smoothness: float,
    damping: float,
    max_iterations: int = 100,
    tolerance: float = 1e-5,
) -> SplineField:
    """Return the field that minimises the terms, smoothness and damping; exact, since all are linear in it.

    Args:
        unknown: number of each coefficient that may change, -1 for all others; none within two nodes of the border.
        smoothness: weight of second differences along the axes, in cells.
        damping: weight of the change itself, in cells.
        max_iterations: of conjugate gradients.
        tolerance: preconditioned norm of the residual, relative to the first, at which they stop.
    """
    matrix, right = normal_equations(field, unknown, terms, smoothness=smoothness, damping=damping)
    nodes = np.argwhere(unknown >= 0)
    change = _conjugate_gradients(matrix, right, unknown, nodes, max_iterations, tolerance)
    coefficients = field.coefficients.copy()
    coefficients[tuple(nodes.T)] += change * field.cell
    return SplineField(coefficients, field.origin, field.cell)


def normal_equations(
    field: SplineField,
    unknown: Int32[np.ndarray, "x y z"],
    terms: LeastSquaresTerms,
    *,
    smoothness: float,
    damping: float,
) -> tuple[Float[np.ndarray, "m 125"], Float[np.ndarray, "m"]]:
    """Return matrix and right side for changes in cells; the matrix' columns are the 5 x 5 x 5 nodes around each."""
    count = int(unknown.max()) + 1
    matrix, right = np.zeros((count, _BLOCK), np.float32), np.zeros(count)
    matrix[:, _CENTRE] = damping
    positions = (terms.points - field.origin) / field.cell
    current = field.value_and_gradient(terms.points)
    slab = np.clip(positions[:, 0] + 0.5, 0, unknown.shape[0] - 1).astype(np.int64) // _SLAB
    order = np.argsort(slab, kind="stable")
    bounds = np.searchsorted(slab[order], np.arange(unknown.shape[0] // _SLAB + 2))
    _add_samples(
        unknown, positions, order, bounds, terms.target_gradient, terms.along_target_only, current[:, 1:],
        terms.gradient_weight, (terms.target_value - current[:, 0]) / field.cell, terms.value_weight, matrix, right,
    )  # fmt: skip
    _add_smoothness(unknown, field.coefficients / field.cell, smoothness, matrix, right)
    return matrix, right


@numba.njit(parallel=True, cache=True)
def _add_samples(
    unknown, positions, order, bounds, target, along_target_only, gradient, gradient_weight, value_residual,
    value_weight, matrix, right,
):  # fmt: skip
    """Add J^T W J to ``matrix`` and J^T W r to ``right``; slabs of equal parity are filled in parallel."""
    slabs = bounds.shape[0] - 1
    for parity in range(2):
        for half in numba.prange((slabs + 1 - parity) // 2):
            w, d = np.empty((3, 3)), np.empty((3, 3))
            row, basis = np.empty(27, np.int64), np.empty((27, 4))
            slab = 2 * half + parity
            for s in range(bounds[slab], bounds[slab + 1]):
                n = order[s]
                a, b = gradient_weight[n], value_weight[n]
                if a == 0 and b == 0:
                    continue
                r0, r1, r2 = target[n, 0] - gradient[n, 0], target[n, 1] - gradient[n, 1], target[n, 2] - gradient[n, 2]
                if along_target_only[n]:
                    r0 = r0 * target[n, 0] + r1 * target[n, 1] + r2 * target[n, 2]
                    r1 = r2 = 0.0
                x = spline_taps(positions[n, 0], unknown.shape[0], w[0], d[0])
                y = spline_taps(positions[n, 1], unknown.shape[1], w[1], d[1])
                z = spline_taps(positions[n, 2], unknown.shape[2], w[2], d[2])
                for t in range(27):
                    i, j, k = t // 9, t // 3 % 3, t % 3
                    row[t] = unknown[x + i, y + j, z + k]
                    basis[t, 0] = d[0, i] * w[1, j] * w[2, k]
                    basis[t, 1] = w[0, i] * d[1, j] * w[2, k]
                    basis[t, 2] = w[0, i] * w[1, j] * d[2, k]
                    basis[t, 3] = w[0, i] * w[1, j] * w[2, k]
                    if along_target_only[n]:
                        basis[t, 0] = (
                            target[n, 0] * basis[t, 0] + target[n, 1] * basis[t, 1] + target[n, 2] * basis[t, 2]
                        )
                        basis[t, 1] = basis[t, 2] = 0.0
                for t in range(27):
                    if row[t] < 0:
                        continue
                    jx, jy, jz, jv = a * basis[t, 0], a * basis[t, 1], a * basis[t, 2], b * basis[t, 3]
                    right[row[t]] += jx * r0 + jy * r1 + jz * r2 + jv * value_residual[n]
                    first = _CENTRE - (t // 9 * 25 + t // 3 % 3 * 5 + t % 3)
                    for u in range(27):
                        matrix[row[t], first + u // 9 * 25 + u // 3 % 3 * 5 + u % 3] += (
                            jx * basis[u, 0] + jy * basis[u, 1] + jz * basis[u, 2] + jv * basis[u, 3]
                        )


@numba.njit(cache=True)
def _add_smoothness(unknown, coefficients, smoothness, matrix, right):
    """Add the squares of second differences along the axes, centred at each unknown node."""
    stride = np.array([25, 5, 1])
    factor = np.array([1.0, -2.0, 1.0])
    sx, sy, sz = unknown.shape
    for x in range(1, sx - 1):
        for y in range(1, sy - 1):
            for z in range(1, sz - 1):
                if unknown[x, y, z] < 0:
                    continue
                for axis in range(3):
                    ex, ey, ez = int(axis == 0), int(axis == 1), int(axis == 2)
                    second = (
                        coefficients[x - ex, y - ey, z - ez]
                        - 2 * coefficients[x, y, z]
                        + coefficients[x + ex, y + ey, z + ez]
                    )
                    for a in range(3):
                        row = unknown[x + (a - 1) * ex, y + (a - 1) * ey, z + (a - 1) * ez]
                        if row < 0:
                            continue
                        right[row] -= smoothness * factor[a] * second
                        for b in range(3):
                            matrix[row, _CENTRE + (b - a) * stride[axis]] += smoothness * factor[a] * factor[b]


@numba.njit(parallel=True, cache=True)
def _multiply(matrix, unknown, nodes, x, out, partial):
    """Write ``matrix x`` to ``out`` and x · out of each chunk to ``partial``: their sum is the same for any threads."""
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
                        other = unknown[a, b, c]
                        if other >= 0:
                            value += matrix[n, column] * x[other]
                        column += 1
            out[n] = value
            total += x[n] * value
        partial[chunk] = total


def _conjugate_gradients(
    matrix: Float[np.ndarray, "m 125"],
    right: Float[np.ndarray, "m"],
    unknown: Int32[np.ndarray, "x y z"],
    nodes: Integer[np.ndarray, "m 3"],
    max_iterations: int,
    tolerance: float,
) -> Float[np.ndarray, "m"]:
    """Solve by conjugate gradients with Jacobi's preconditioner (Shewchuk 1994, section B3).

    ``scipy.sparse.linalg.cg`` with ``_multiply`` as a LinearOperator takes 1.75 times as long (35 000 unknowns, 100
    steps, two busy cores), stops at another norm and differs by 7e-11 of the largest change, so files would differ.
    """
    diagonal = matrix[:, _CENTRE].astype(np.float64)
    x, residual, product = np.zeros_like(right), right.copy(), np.empty_like(right)
    partial = np.empty((len(right) + _CHUNK - 1) // _CHUNK)
    direction = residual / diagonal
    energy = float(residual @ direction)
    goal = energy * tolerance * tolerance
    for _ in range(max_iterations):
        if energy <= goal or energy == 0:
            break
        _multiply(matrix, unknown, nodes, direction, product, partial)
        step = energy / float(partial.sum())
        x += step * direction
        residual -= step * product
        scaled = residual / diagonal
        next_energy = float(residual @ scaled)
        direction = scaled + (next_energy / energy) * direction
        energy = next_energy
    return x
