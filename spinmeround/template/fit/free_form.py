"""Free-form displacement of the head model: smooth, fitted to the residuals that the model's parameters leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Integer
from scipy.spatial import cKDTree

from spinmeround.numerics import factorised
from spinmeround.template.fit.settings import Elasticity, FreeFormSettings

_SETTINGS = FreeFormSettings()


@dataclass(frozen=True)
class LinearResiduals:
    """Linearised residuals that the displacement of surface points should remove, e.g. pixel errors in one photo.

    Attributes:
        corners: three vertices for each point.
        barycentric: their weights.
        jacobian: whitened change of the residuals by a displacement of the point, world frame.
        target: whitened change that would remove the residuals.
    """

    corners: Integer[np.ndarray, "m 3"]
    barycentric: Float[np.ndarray, "m 3"]
    jacobian: Float[np.ndarray, "m r 3"]
    target: Float[np.ndarray, "m r"]


def smooth_displacement(
    links: sp.csr_matrix,
    mirror: Integer[np.ndarray, "n"],
    movable: Bool[np.ndarray, "n"],
    residuals: Sequence[LinearResiduals],
    elasticity: Elasticity,
) -> Float[np.ndarray, "n 3"]:
    """Return the displacement with the least bending that removes the residuals of all photos at once.

    Minimise the squared residuals plus the squared Laplacian (Botsch & Sorkine 2008, thin-plate energy on a mesh) plus
    priors of a zero and of a symmetric displacement; vertices that are not ``movable`` stay. A photo constrains nothing
    along its line of sight, so there the displacement stays zero unless a second photo constrains it.

    Args:
        links: adjacency matrix, 1 between vertices that should move alike, for instance ``surface_edges``.

    Returns:
        World frame; no vertex moves by more than ``FreeFormSettings.max_length``.
    """
    count = len(mirror)
    kept = np.flatnonzero(movable)
    column = np.full(count, -1)
    column[kept] = np.arange(len(kept))
    bending = _bilaplacian(links)[kept][:, kept]
    regulariser = elasticity.stiffness * bending + sp.identity(len(kept)) / elasticity.rest_sigma**2
    both = kept[(column[mirror[kept]] >= 0) & (mirror[kept] != kept)]
    swap = sp.csr_matrix((np.ones(len(both)), (column[both], column[mirror[both]])), (len(kept), len(kept)))
    paired = sp.diags(np.asarray(swap.sum(1)).ravel())
    # A mirrored displacement has the opposite sign along x, the same along y and z.
    blocks = [regulariser + (paired - sign * swap) / elasticity.mirror_sigma**2 for sign in (-1, 1, 1)]
    design, target = _design(residuals, column, len(kept))
    solution = factorised(sp.block_diag(blocks) + design.T @ design).solve(design.T @ target)
    offsets = np.zeros((count, 3))
    offsets[kept] = solution.reshape(3, -1).T
    length = np.linalg.norm(offsets, axis=1, keepdims=True)
    limit = _SETTINGS.max_length
    return offsets * (limit * np.tanh(length / limit) / np.maximum(length, 1e-12))


def follow_nearest(
    vertices: Float[np.ndarray, "n 3"],
    offsets: Float[np.ndarray, "n 3"],
    rigid: Bool[np.ndarray, "n"],
    guides: Bool[np.ndarray, "n"],
    *,
    count: int,
) -> Float[np.ndarray, "3"]:
    """Return the mean displacement of the ``count`` guide vertices nearest to a part that must move rigidly."""
    centre = vertices[rigid].mean(0)
    index = np.flatnonzero(guides)
    nearest = index[np.argsort(np.linalg.norm(vertices[index] - centre, axis=1), kind="stable")[:count]]
    return offsets[nearest].mean(0)


def surface_edges(faces: Integer[np.ndarray, "f 3"], count: int) -> sp.csr_matrix:
    """Return the adjacency matrix of a mesh: 1 between vertices that share an edge."""
    a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = sp.csr_matrix((np.ones(len(a)), (a, b)), (count, count))
    return ((edges + edges.T) > 0).astype(np.float64)


def touching_pairs(
    vertices: Float[np.ndarray, "n 3"], edges: sp.csr_matrix, skin: Bool[np.ndarray, "n"]
) -> Integer[np.ndarray, "p 2"]:
    """Return pairs of skin vertices that touch but are not joined by edges, as the lips of a closed mouth do."""
    index = np.flatnonzero(skin & (np.asarray(edges.sum(1)).ravel() > 0))
    pairs = index[cKDTree(vertices[index]).query_pairs(_SETTINGS.touching, output_type="ndarray")].reshape(-1, 2)
    near = (edges + edges @ edges).tocsr()
    return pairs[np.asarray(near[pairs[:, 0], pairs[:, 1]]).ravel() == 0]


def closure_residuals(
    pairs: Integer[np.ndarray, "p 2"], mean: Float[np.ndarray, "n 3"], fitted: Float[np.ndarray, "n 3"]
) -> LinearResiduals:
    """Return residuals that are 0 when touching vertices lie to each other as they do on the mean head."""
    corners = np.column_stack([pairs, pairs[:, 1]])
    weights = np.tile([1.0, -1.0, 0.0], (len(pairs), 1))
    apart = (fitted - mean)[pairs[:, 1]] - (fitted - mean)[pairs[:, 0]]
    sigma = _SETTINGS.closed_sigma
    jacobian = np.broadcast_to(np.eye(3) / sigma, (len(pairs), 3, 3))
    return LinearResiduals(corners, weights, jacobian, apart / sigma)


def _bilaplacian(links: sp.csr_matrix) -> sp.csr_matrix:
    """Return the square of the random-walk Laplacian, symmetric, independent of scale."""
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    laplacian = sp.identity(links.shape[0]) - sp.diags(1 / degree) @ links
    return (laplacian.T @ laplacian).tocsr()


def _design(
    residuals: Sequence[LinearResiduals], column_of: Integer[np.ndarray, "n"], size: int
) -> tuple[sp.csr_matrix, Float[np.ndarray, "r"]]:
    """Return the sparse design matrix over (x of all, y of all, z of all) and the targets.

    Args:
        column_of: column of each vertex, -1 for vertices that do not move.
        size: number of vertices that move.
    """
    rows, columns, values, target, first = [], [], [], [], 0
    for term in residuals:
        count, per_point = term.target.shape
        index = column_of[term.corners]
        row = first + np.arange(count * per_point).reshape(count, per_point)
        entry = term.jacobian[:, :, None, :] * term.barycentric[:, None, :, None]
        column = index[:, None, :, None] + size * np.arange(3)
        present = np.broadcast_to(index[:, None, :, None] >= 0, entry.shape)
        rows.append(np.broadcast_to(row[:, :, None, None], entry.shape)[present])
        columns.append(np.broadcast_to(column, entry.shape)[present])
        values.append(entry[present])
        target.append(term.target.ravel())
        first += count * per_point
    flat = [np.concatenate(part) for part in (values, rows, columns)]
    return sp.csr_matrix((flat[0], (flat[1], flat[2])), (first, 3 * size)), np.concatenate(target)
