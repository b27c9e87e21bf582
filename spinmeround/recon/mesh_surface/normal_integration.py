"""Integration of normals on a mesh: one sparse linear least-squares problem per step.

The unknowns are one displacement per vertex along a given direction. A face has its target normal n when n is
perpendicular to its edges, n · ((x_i + d_i m_i) - (x_j + d_j m_j)) = 0, which is linear in d. After Nehab
et al., "Efficiently Combining Positions and Normals for Precise 3D Geometry" (2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Integer

_DAMPING = 1e-3
"""Weight of a zero displacement at every vertex; it keeps the system positive definite."""


@dataclass(frozen=True)
class IntegrationTargets:
    """What the displacements should achieve.

    Attributes:
        normals: unit normals of the faces.
        face_weight: of these.
        steps: displacements asked for at single vertices, head units.
        step_weight: of these against a face's weight; 0 for none.
    """

    normals: Float[np.ndarray, "f 3"]
    face_weight: Float[np.ndarray, "f"]
    steps: Float[np.ndarray, "v"]
    step_weight: Float[np.ndarray, "v"]


def integrate_normals(
    vertices: Float[np.ndarray, "v 3"],
    directions: Float[np.ndarray, "v 3"],
    ring: tuple[Integer[np.ndarray, "f 3"], Integer[np.ndarray, "h"], Integer[np.ndarray, "v"]],
    targets: IntegrationTargets,
    *,
    stiffness: float,
    iterations: int = 150,
    tolerance: float = 1e-4,
) -> Float[np.ndarray, "v"]:
    """Solve for the displacements along ``directions``.

    Args:
        ring: faces, half-edge twins and one leaving half-edge per vertex (see ``remesh``).
        stiffness: weight of the difference between neighbours' displacements, which moves unseen parts with seen ones.
        iterations: at most so many conjugate-gradient steps.
        tolerance: relative residual at which they stop.
    """
    faces, twin, leaving = ring
    offsets = np.zeros(len(vertices) + 1, np.int64)
    np.cumsum(np.bincount(faces.ravel(), minlength=len(vertices)), out=offsets[1:])
    columns, values = np.empty(offsets[-1], np.int64), np.zeros(offsets[-1])
    diagonal, right = targets.step_weight + _DAMPING, targets.step_weight * targets.steps
    _assemble(
        vertices, directions, faces, twin, leaving, targets.normals, targets.face_weight, stiffness,
        offsets, columns, values, diagonal, right,
    )  # fmt: skip
    return _conjugate_gradients(offsets, columns, values, diagonal, right, iterations, tolerance)


@numba.njit(parallel=True, cache=True)
def _assemble(
    vertices, directions, faces, twin, leaving, targets, weights, stiffness, offsets, columns, values, diagonal, right
):
    """Fill in the rows of the normal equations; row v walks once around v, each face adds its two edges at v."""
    for v in numba.prange(vertices.shape[0]):
        start, stop = offsets[v], offsets[v + 1]
        slot = start
        h = leaving[v]
        while slot < stop:
            f, k = h // 3, h % 3
            q, r = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            after = slot + 1 if slot + 1 < stop else start
            columns[slot] = q
            w = weights[f]
            along_v = along_q = along_r = edge_q = edge_r = 0.0
            for c in range(3):
                t = targets[f, c]
                along_v += t * directions[v, c]
                along_q += t * directions[q, c]
                along_r += t * directions[r, c]
                edge_q += t * (vertices[v, c] - vertices[q, c])
                edge_r += t * (vertices[v, c] - vertices[r, c])
            diagonal[v] += 2 * w * along_v * along_v + stiffness
            values[slot] -= w * along_v * along_q + stiffness
            values[after] -= w * along_v * along_r
            right[v] -= w * along_v * (edge_q + edge_r)
            h = twin[3 * f + (k + 2) % 3]
            slot += 1


@numba.njit(cache=True)
def _conjugate_gradients(offsets, columns, values, diagonal, right, iterations, tolerance):
    """Solve by Jacobi-preconditioned conjugate gradients.

    On one thread: threads would spend more time at barriers than in these thousands of short loops.
    """
    n = right.shape[0]
    x, image = np.zeros(n), np.zeros(n)
    residual = right.copy()
    direction = residual / diagonal
    energy = 0.0
    for i in range(n):
        energy += residual[i] * direction[i]
    goal = energy * tolerance * tolerance
    for _ in range(iterations):
        if energy <= goal or energy == 0:
            break
        curvature = 0.0
        for i in range(n):
            value = diagonal[i] * direction[i]
            for slot in range(offsets[i], offsets[i + 1]):
                value += values[slot] * direction[columns[slot]]
            image[i] = value
            curvature += value * direction[i]
        step = energy / curvature
        fresh = 0.0
        for i in range(n):
            x[i] += step * direction[i]
            residual[i] -= step * image[i]
            fresh += residual[i] * residual[i] / diagonal[i]
        ratio = fresh / energy
        energy = fresh
        for i in range(n):
            direction[i] = residual[i] / diagonal[i] + ratio * direction[i]
    return x
