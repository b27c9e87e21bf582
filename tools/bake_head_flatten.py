"""Head bake: parametrisation of a disc-like piece of surface without folded triangles.

A convex embedding (Tutte 1963) gives a start without folds. From there the symmetric Dirichlet energy is minimised by
reweighted least squares with a line search that never inverts a triangle ("Scalable Locally Injective Mappings",
Rabinovich et al. 2017). Holes and slits are filled by fans of triangles. A fan's rest shape is its current shape, with
a least height: it keeps a border from crossing or touching itself and otherwise adds no energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Float, Int

FILL_WEIGHT = 0.02
FILL_HEIGHT = 0.02
"""Least rest height of a fan's triangles, in the plane: holes and slits stay open by a few pixels."""


@dataclass(frozen=True)
class Patch:
    """A disc of triangles with its holes filled.

    Attributes:
        triangles: of the surface first, then of the fills.
        solid: how many belong to the surface.
        outer: the outer border, counter-clockwise.
        count: number of vertices, the fills' centres last.
    """

    triangles: Int[np.ndarray, "t 3"]
    solid: int
    outer: Int[np.ndarray, "b"]
    count: int


def triangulated(quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "t 3"]:
    """Return two triangles per quad: the first of every quad, then the second."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def border_loops(triangles: Int[np.ndarray, "t 3"]) -> list[Int[np.ndarray, "b"]]:
    """Return the closed borders in the direction of the triangles' edges, longest first."""
    edges = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    present = {(a, b) for a, b in edges.tolist()}
    following = {a: b for a, b in present if (b, a) not in present}
    loops = []
    while following:
        start = min(following)
        loop = [start]
        while (step := following.pop(loop[-1])) != start:
            loop.append(step)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def fill(triangles: Int[np.ndarray, "t 3"], count: int) -> Patch:
    """Close every border but the longest by a fan about a new vertex."""
    outer, *holes = border_loops(triangles)
    fans = [np.stack([np.roll(h, -1), h, np.full(len(h), count + i)], axis=1) for i, h in enumerate(holes)]
    return Patch(np.concatenate([triangles, *fans]), len(triangles), outer, count + len(holes))


def embed_convex(patch: Patch, border_uv: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, "n 2"]:
    """Return Tutte's embedding with uniform weights; ``border_uv`` is convex and in the order of ``patch.outer``."""
    ends = np.stack([patch.triangles, np.roll(patch.triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    adjacency = sp.csr_matrix((np.ones(len(ends)), ends.T), shape=(patch.count, patch.count))
    adjacency = ((adjacency + adjacency.T) > 0).astype(float)
    laplacian = sp.csr_matrix(sp.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)
    inner = np.setdiff1d(np.arange(patch.count), patch.outer)
    uv = np.zeros((patch.count, 2))
    uv[patch.outer] = border_uv
    right = -laplacian[inner][:, patch.outer] @ border_uv
    uv[inner] = spla.splu(sp.csc_matrix(laplacian[inner][:, inner])).solve(right)
    return uv


def relax(
    patch: Patch,
    rest: Float[np.ndarray, "t 3 3"],
    uv: Float[np.ndarray, "n 2"],
    *,
    fixed_u: Int[np.ndarray, "k"] | None = None,
    iterations: int = 60,
) -> Float[np.ndarray, "n 2"]:
    """Minimise the symmetric Dirichlet energy of the surface's triangles.

    Args:
        patch: the disc.
        rest: corners of the surface's triangles at the size they should have in the plane.
        uv: a start without folds, of any scale.
        fixed_u: vertices that keep their first coordinate.
    """
    solid = patch.triangles[: patch.solid]
    uv = uv * np.sqrt(_areas_3d(rest).sum() / _signed_areas(uv, solid).sum())
    free = np.ones(2 * patch.count, bool)
    free[fixed_u if fixed_u is not None else []] = False
    flat_rest = _lay_flat(rest)
    for _ in range(iterations):
        local = np.concatenate([flat_rest, _kept_open(uv[patch.triangles[patch.solid :]])])
        gradient = _gradients(local)
        weight = _areas_2d(local)
        weight[patch.solid :] = FILL_WEIGHT * weight[: patch.solid].mean()
        step = _proxy_step(patch, uv, gradient, weight, free)
        longest = min(1.0, 0.9 * _first_flip(patch, uv, step))
        energy = _energy(patch, uv, gradient, weight)
        while _energy(patch, uv + longest * step, gradient, weight) > energy and longest > 1e-6:
            longest *= 0.6
        uv = uv + longest * step
    return uv


def unfold(uv: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, "n 2"]:
    """Move the corners of the few triangles that subdivision folded to the mean of their neighbours.

    Raises:
        RuntimeError: folds remain.
    """
    ends = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    adjacency = sp.csr_matrix((np.ones(len(ends)), ends.T), shape=(len(uv), len(uv)))
    adjacency = ((adjacency + adjacency.T) > 0).astype(float)
    mean = sp.csr_matrix(sp.diags(1 / np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)) @ adjacency)
    uv = uv.copy()
    for _ in range(100):
        folded = np.unique(triangles[_signed_areas(uv, triangles) <= 1e-12])
        if len(folded) == 0:
            return uv
        uv[folded] = (mean @ uv)[folded]
    raise RuntimeError(f"{len(folded)} texture vertices stay folded after 100 rounds")


def _areas_3d(corners: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t"]:
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def _areas_2d(corners: Float[np.ndarray, "t 3 2"]) -> Float[np.ndarray, "t"]:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def _signed_areas(uv: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, "t"]:
    return _areas_2d(uv[triangles])


def _lay_flat(corners: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t 3 2"]:
    """Return each triangle in its own plane; the height of slivers is raised to 0.05 of their base."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(a, axis=1)
    along = (a * b).sum(1) / length
    height = np.maximum(np.linalg.norm(np.cross(a, b), axis=1) / length, 0.05 * length)
    flat = np.zeros((len(corners), 3, 2))
    flat[:, 1, 0], flat[:, 2, 0], flat[:, 2, 1] = length, along, height
    return flat


def _kept_open(corners: Float[np.ndarray, "t 3 2"]) -> Float[np.ndarray, "t 3 2"]:
    """Return the fans' triangles in their own planes, at least ``FILL_HEIGHT`` high over their border edge."""
    base = corners[:, 1] - corners[:, 0]
    length = np.linalg.norm(base, axis=1)
    along = (base * (corners[:, 2] - corners[:, 0])).sum(1) / length
    flat = np.zeros_like(corners)
    flat[:, 1, 0], flat[:, 2, 0] = length, along
    flat[:, 2, 1] = np.maximum(2 * _areas_2d(corners) / length, FILL_HEIGHT)
    return flat


def _gradients(flat: Float[np.ndarray, "t 3 2"]) -> Float[np.ndarray, "t 3 2"]:
    """Return the gradient of each corner's hat function."""
    opposite = np.roll(flat, -2, axis=1) - np.roll(flat, -1, axis=1)
    turned = np.stack([-opposite[..., 1], opposite[..., 0]], axis=-1)
    return turned / (2 * _areas_2d(flat))[:, None, None]


def _jacobians(patch: Patch, uv: Float[np.ndarray, "n 2"], gradient: Float[np.ndarray, "t 3 2"]):
    return np.einsum("tci,tcj->tij", uv[patch.triangles], gradient)


def _energy(patch: Patch, uv, gradient, weight) -> float:
    jacobian = _jacobians(patch, uv, gradient)
    determinant = np.linalg.det(jacobian)
    if determinant.min() <= 0:
        return np.inf
    square = (jacobian**2).sum((1, 2))
    return float((weight * square * (1 + determinant**-2)).sum())


def _proxy_step(patch: Patch, uv, gradient, weight, free) -> Float[np.ndarray, "n 2"]:
    """Return the step to the minimiser of the reweighted quadratic proxy of the energy at ``uv``."""
    u, sigma, vt = np.linalg.svd(_jacobians(patch, uv, gradient))
    away = np.where(np.abs(sigma - 1) < 1e-6, 1 + 1e-6, sigma)
    stiffness = np.sqrt(np.maximum((away - away**-3) / (away - 1), 1e-9))
    w = np.einsum("tij,tj,tkj->tik", u, stiffness, u) * np.sqrt(weight)[:, None, None]
    target = np.einsum("tij,tjk->tik", w, u @ vt)
    triangles, count = patch.triangles, patch.count
    # Row (t, i, k): sum over corners c and coordinates j of w[t,i,j] * gradient[t,c,k] * uv[c, j].
    values = np.einsum("tij,tck->tikcj", w, gradient)
    rows = np.broadcast_to(np.arange(len(triangles) * 4).reshape(-1, 2, 2, 1, 1), values.shape)
    columns = np.broadcast_to(triangles[:, None, None, :, None] + count * np.arange(2), values.shape)
    matrix = sp.csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), shape=(rows.max() + 1, 2 * count))
    residual = target.ravel() - matrix @ uv.T.ravel()
    matrix = matrix[:, free]
    normal = sp.csc_matrix(matrix.T @ matrix)
    normal = normal + 1e-9 * normal.diagonal().mean() * sp.identity(normal.shape[0], format="csc")
    step = np.zeros(2 * count)
    step[free] = spla.splu(normal).solve(matrix.T @ residual)
    return step.reshape(2, count).T


def _first_flip(patch: Patch, uv, step) -> float:
    """Return the smallest positive step length at which some triangle's area is zero."""
    at, by = uv[patch.triangles], step[patch.triangles]
    a, b, da, db = (x[:, k] - x[:, 0] for x, k in ((at, 1), (at, 2), (by, 1), (by, 2)))

    def cross(p, q):
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    c2, c1, c0 = cross(da, db), cross(a, db) + cross(da, b), cross(a, b)
    root = np.sqrt(np.maximum(c1**2 - 4 * c2 * c0, 0))
    q = -(c1 + np.where(c1 >= 0, root, -root)) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        candidates = np.stack([q / c2, c0 / q])
    real = (c1**2 - 4 * c2 * c0) >= 0
    good = np.isfinite(candidates) & (candidates > 0) & real
    return float(np.where(good, candidates, np.inf).min())
