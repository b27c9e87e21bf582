"""What the parameters of the head model cannot say: a smooth personal displacement, from what the fit left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float, Integer

LIMIT = 0.015
"""No vertex moves further than this, head units (6 mm)."""

_STIFFNESS = 3e5
_REST = 0.02
_MIRROR = 0.012


@dataclass(frozen=True)
class LeftOver:
    """Linearised pixel errors of surface points in one photo.

    Attributes:
        corners: vertices of the face that holds each point.
        barycentric: weights of those vertices.
        rows: whitened change of the pixel by a displacement of the point in the world.
        error: whitened error to be removed.
    """

    corners: Integer[np.ndarray, "m 3"]
    barycentric: Float[np.ndarray, "m 3"]
    rows: Float[np.ndarray, "m 2 3"]
    error: Float[np.ndarray, "m 2"]


def personal_offsets(
    faces: Integer[np.ndarray, "f 3"],
    mirror: Integer[np.ndarray, "n"],
    movable: Bool[np.ndarray, "n"],
    left_over: Sequence[LeftOver],
) -> Float[np.ndarray, "n 3"]:
    """Displacement with the least bending that explains the left-over errors of all photos at once.

    Minimises the squared errors plus the squared Laplacian (Botsch & Sorkine 2008, thin-plate energy on a mesh) plus a
    pull to zero and to left-right symmetry; vertices that are not ``movable`` stay. Nothing is observed along the line
    of sight, so there the displacement stays zero unless a second photo says otherwise.

    Returns:
        World frame, neutral head; no vertex moves by more than ``LIMIT``.
    """
    count = len(mirror)
    kept = np.flatnonzero(movable)
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    bending = _bilaplacian(faces, count)[kept][:, kept]
    quiet = _STIFFNESS * bending + sp.identity(len(kept)) / _REST**2
    both = kept[(place[mirror[kept]] >= 0) & (mirror[kept] != kept)]
    swap = sp.csr_matrix((np.ones(len(both)), (place[both], place[mirror[both]])), (len(kept), len(kept)))
    paired = sp.diags(np.asarray(swap.sum(1)).ravel())
    blocks = [quiet + (paired - sign * swap) / _MIRROR**2 for sign in (-1, 1, 1)]
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


def _bilaplacian(faces: Integer[np.ndarray, "f 3"], count: int) -> sp.csr_matrix:
    """Square of the random-walk Laplacian, symmetric, free of scale."""
    a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = sp.csr_matrix((np.ones(len(a)), (a, b)), (count, count))
    edges = ((edges + edges.T) > 0).astype(np.float64)
    degree = np.maximum(np.asarray(edges.sum(1)).ravel(), 1)
    laplacian = sp.identity(count) - sp.diags(1 / degree) @ edges
    return (laplacian.T @ laplacian).tocsr()


def _observations(
    left_over: Sequence[LeftOver], place: Integer[np.ndarray, "n"], size: int
) -> tuple[sp.csr_matrix, Float[np.ndarray, "r"]]:
    """Sparse design matrix over (x of all, y of all, z of all) and the errors it should explain."""
    rows, columns, values, target, first = [], [], [], [], 0
    for photo in left_over:
        count = len(photo.corners)
        index = place[photo.corners]
        row = first + np.arange(2 * count).reshape(count, 2)
        entry = photo.rows[:, :, None, :] * photo.barycentric[:, None, :, None]
        column = index[:, None, :, None] + size * np.arange(3)
        present = np.broadcast_to(index[:, None, :, None] >= 0, entry.shape)
        rows.append(np.broadcast_to(row[:, :, None, None], entry.shape)[present])
        columns.append(np.broadcast_to(column, entry.shape)[present])
        values.append(entry[present])
        target.append(photo.error.ravel())
        first += 2 * count
    flat = [np.concatenate(part) for part in (values, rows, columns)]
    return sp.csr_matrix((flat[0], (flat[1], flat[2])), (first, 3 * size)), np.concatenate(target)
