"""What the parameters of the head model cannot say: a smooth personal displacement, from what the fit left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float, Integer
from scipy.spatial import cKDTree

_TOUCHING = 0.004
_CLOSED_SIGMA = 0.0003

LIMIT = 0.015
"""No vertex moves further than this, head units (6 mm)."""


@dataclass(frozen=True)
class Elasticity:
    """How willing the surface is to move beyond what the model's parameters can say.

    Attributes:
        stiffness: price of bending.
        rest: standard deviation of a displacement around zero, head units.
        mirror: standard deviation of a displacement around its mirror image, head units.
    """

    stiffness: float
    rest: float
    mirror: float


@dataclass(frozen=True)
class LeftOver:
    """Linear statements about the displacement of surface points, for instance pixel errors in one photo.

    Attributes:
        corners: three vertices for each point.
        barycentric: their weights.
        rows: whitened change of what is observed by a displacement of the point in the world.
        error: whitened error to be removed.
    """

    corners: Integer[np.ndarray, "m 3"]
    barycentric: Float[np.ndarray, "m 3"]
    rows: Float[np.ndarray, "m r 3"]
    error: Float[np.ndarray, "m r"]


def smooth_displacement(
    links: sp.csr_matrix,
    mirror: Integer[np.ndarray, "n"],
    movable: Bool[np.ndarray, "n"],
    left_over: Sequence[LeftOver],
    elasticity: Elasticity,
) -> Float[np.ndarray, "n 3"]:
    """Displacement with the least bending that explains the left-over errors of all photos at once.

    Minimises the squared errors plus the squared Laplacian (Botsch & Sorkine 2008, thin-plate energy on a mesh) plus a
    pull to zero and to left-right symmetry; vertices that are not ``movable`` stay. Nothing is observed along the line
    of sight, so there the displacement stays zero unless a second photo says otherwise.

    Args:
        links: 1 between vertices that ought to move alike, for instance ``surface_edges``.

    Returns:
        World frame; no vertex moves by more than ``LIMIT``.
    """
    count = len(mirror)
    kept = np.flatnonzero(movable)
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    bending = _bilaplacian(links)[kept][:, kept]
    quiet = elasticity.stiffness * bending + sp.identity(len(kept)) / elasticity.rest**2
    both = kept[(place[mirror[kept]] >= 0) & (mirror[kept] != kept)]
    swap = sp.csr_matrix((np.ones(len(both)), (place[both], place[mirror[both]])), (len(kept), len(kept)))
    paired = sp.diags(np.asarray(swap.sum(1)).ravel())
    blocks = [quiet + (paired - sign * swap) / elasticity.mirror**2 for sign in (-1, 1, 1)]
    design, target = _observations(left_over, place, len(kept))
    system = (sp.block_diag(blocks) + design.T @ design).tocsc()
    factor = spla.splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0)
    solution = factor.solve(design.T @ target)
    offsets = np.zeros((count, 3))
    offsets[kept] = solution.reshape(3, -1).T
    length = np.linalg.norm(offsets, axis=1, keepdims=True)
    return offsets * (LIMIT * np.tanh(length / LIMIT) / np.maximum(length, 1e-12))


def follow_nearest(
    vertices: Float[np.ndarray, "n 3"],
    offsets: Float[np.ndarray, "n 3"],
    rigid: Bool[np.ndarray, "n"],
    guides: Bool[np.ndarray, "n"],
    *,
    count: int,
) -> Float[np.ndarray, "3"]:
    """Mean displacement of the ``count`` guiding vertices nearest to a part that must move as one piece."""
    centre = vertices[rigid].mean(0)
    index = np.flatnonzero(guides)
    nearest = index[np.argsort(np.linalg.norm(vertices[index] - centre, axis=1), kind="stable")[:count]]
    return offsets[nearest].mean(0)


def surface_edges(faces: Integer[np.ndarray, "f 3"], count: int) -> sp.csr_matrix:
    """1 between vertices that share an edge."""
    a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = sp.csr_matrix((np.ones(len(a)), (a, b)), (count, count))
    return ((edges + edges.T) > 0).astype(np.float64)


def touching_pairs(
    vertices: Float[np.ndarray, "n 3"], edges: sp.csr_matrix, skin: Bool[np.ndarray, "n"]
) -> Integer[np.ndarray, "p 2"]:
    """Skin that touches without being joined: both lips of a closed mouth."""
    index = np.flatnonzero(skin & (np.asarray(edges.sum(1)).ravel() > 0))
    pairs = index[cKDTree(vertices[index]).query_pairs(_TOUCHING, output_type="ndarray")].reshape(-1, 2)
    near = (edges + edges @ edges).tocsr()
    return pairs[np.asarray(near[pairs[:, 0], pairs[:, 1]]).ravel() == 0]


def kept_closed(
    pairs: Integer[np.ndarray, "p 2"], mean: Float[np.ndarray, "n 3"], fitted: Float[np.ndarray, "n 3"]
) -> LeftOver:
    """The wish that touching pairs lie to each other as they do on the mean head."""
    corners = np.column_stack([pairs, pairs[:, 1]])
    weights = np.tile([1.0, -1.0, 0.0], (len(pairs), 1))
    apart = (fitted - mean)[pairs[:, 1]] - (fitted - mean)[pairs[:, 0]]
    rows = np.broadcast_to(np.eye(3) / _CLOSED_SIGMA, (len(pairs), 3, 3))
    return LeftOver(corners, weights, rows, apart / _CLOSED_SIGMA)


def _bilaplacian(links: sp.csr_matrix) -> sp.csr_matrix:
    """Square of the random-walk Laplacian, symmetric, free of scale."""
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    laplacian = sp.identity(links.shape[0]) - sp.diags(1 / degree) @ links
    return (laplacian.T @ laplacian).tocsr()


def _observations(
    left_over: Sequence[LeftOver], place: Integer[np.ndarray, "n"], size: int
) -> tuple[sp.csr_matrix, Float[np.ndarray, "r"]]:
    """Sparse design matrix over (x of all, y of all, z of all) and the errors it should explain."""
    rows, columns, values, target, first = [], [], [], [], 0
    for photo in left_over:
        count, seen = photo.error.shape
        index = place[photo.corners]
        row = first + np.arange(count * seen).reshape(count, seen)
        entry = photo.rows[:, :, None, :] * photo.barycentric[:, None, :, None]
        column = index[:, None, :, None] + size * np.arange(3)
        present = np.broadcast_to(index[:, None, :, None] >= 0, entry.shape)
        rows.append(np.broadcast_to(row[:, :, None, None], entry.shape)[present])
        columns.append(np.broadcast_to(column, entry.shape)[present])
        values.append(entry[present])
        target.append(photo.error.ravel())
        first += count * seen
    flat = [np.concatenate(part) for part in (values, rows, columns)]
    return sp.csr_matrix((flat[0], (flat[1], flat[2])), (first, 3 * size)), np.concatenate(target)
