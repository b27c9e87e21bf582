"""Head bake: adaptive Catmull-Clark subdivision of quads as one sparse matrix (Catmull and Clark 1978).

The cage is made of quads, hence Catmull-Clark and not Loop; the result is triangles. Positions and texture coordinates
of the same faces are subdivided by the same code, so that their triangles match corner by corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int


@dataclass(frozen=True)
class Refined:
    """One step of subdivision.

    Attributes:
        matrix: new vertices from old ones; vertex points first, then edge points, then face points.
        slots: per quad its four vertex points, the points of the four edges that follow them, and its face point.
    """

    matrix: sp.csr_matrix
    slots: Int[np.ndarray, "q 9"]

    @property
    def quads(self) -> Int[np.ndarray, "4q 4"]:
        """The four children of each quad, in the order of its corners."""
        children = [self.slots[:, [k, 4 + k, 8, 4 + (k - 1) % 4]] for k in range(4)]
        return np.stack(children, axis=1).reshape(-1, 4)


def catmull_clark(quads: Int[np.ndarray, "q 4"], count: int) -> Refined:
    """Subdivide once; borders become cubic B-splines, unused vertices stay."""
    edge_ends = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, edge_of_corner = np.unique(np.sort(edge_ends, axis=1), axis=0, return_inverse=True)
    edge_of_corner = edge_of_corner.reshape(-1, 4)
    quad_index = np.arange(len(quads))
    face_point = _rows(np.repeat(quad_index, 4), quads.ravel(), 0.25, (len(quads), count))

    faces_at_edge = np.bincount(edge_of_corner.ravel(), minlength=len(edges))
    inner = (faces_at_edge == 2).astype(float)
    edge_index = np.arange(len(edges))
    ends = _rows(np.repeat(edge_index, 2), edges.ravel(), 0.5, (len(edges), count))
    faces_mean = _rows(edge_of_corner.ravel(), np.repeat(quad_index, 4), 0.5, (len(edges), len(quads)))
    edge_point = sp.diags(1 - inner / 2) @ ends + sp.diags(inner / 2) @ (faces_mean @ face_point)

    vertex_point = _vertex_points(quads, edges, faces_at_edge, ends, face_point, count)
    slots = np.concatenate([quads, count + edge_of_corner, (count + len(edges) + quad_index)[:, None]], axis=1)
    return Refined(sp.csr_matrix(sp.vstack([vertex_point, edge_point, face_point])), slots)


def _vertex_points(quads, edges, faces_at_edge, ends, face_point, count) -> sp.spmatrix:
    valence = np.bincount(edges.ravel(), minlength=count).astype(float)
    border_edges = edges[faces_at_edge == 1]
    on_border = np.isin(np.arange(count), border_edges)
    used = np.isin(np.arange(count), quads)
    smooth = used & ~on_border
    safe = np.maximum(valence, 1)
    quad_mean = _rows(quads.ravel(), np.repeat(np.arange(len(quads)), 4), 1.0, (count, len(quads)))
    edge_mean = _rows(edges.ravel(), np.repeat(np.arange(len(edges)), 2), 1.0, (count, len(edges)))
    inside = sp.diags(smooth / safe**2) @ (quad_mean @ face_point + 2 * (edge_mean @ ends))
    inside = inside + sp.diags(smooth * (valence - 3) / safe)
    along = _rows(border_edges.ravel(), border_edges[:, ::-1].ravel(), 0.125, (count, count))
    border = sp.diags(on_border.astype(float)) @ (along + 0.75 * sp.identity(count))
    return inside + border + sp.diags((~used).astype(float))


def _rows(row, column, value: float, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.full(len(row), value), (row, column)), shape=shape)


@dataclass(frozen=True)
class Topology:
    """Triangles of an adaptive subdivision, shared by positions and texture coordinates.

    Attributes:
        triangles_quad: the quad, after one split of all, that each triangle lies in.
        triangles_slots: its corners as slots of that quad (see ``Refined``).
        source_quad: the quad of the cage it lies in.
    """

    triangles_quad: Int[np.ndarray, "t"]
    triangles_slots: Int[np.ndarray, "t 3"]
    source_quad: Int[np.ndarray, "t"]


def plan(quads: Int[np.ndarray, "q 4"], count: int, finer: Bool[np.ndarray, "q"]) -> Topology:
    """Split every quad once, those marked ``finer`` twice, without T-junctions between them."""
    first = catmull_clark(quads, count)
    split = np.repeat(finer, 4)
    second = catmull_clark(first.quads, first.matrix.shape[0])
    edge_split = np.zeros(second.matrix.shape[0], bool)
    edge_split[second.slots[split][:, 4:8].ravel()] = True
    flags = edge_split[second.slots[:, 4:8]]
    code = flags @ [1, 2, 4, 8]
    code[split] = 16
    quad, slots = [], []
    for value in range(17):
        here = np.flatnonzero(code == value)
        for triangle in _pattern(value):
            quad.append(here)
            slots.append(np.broadcast_to(triangle, (len(here), 3)))
    quad, slots = np.concatenate(quad), np.concatenate(slots)
    order = np.argsort(quad, kind="stable")
    return Topology(quad[order], slots[order], quad[order] // 4)


def _pattern(code: int) -> list[tuple[int, int, int]]:
    """Return the triangles of a quad for a bit mask of its split edges; 16 is the fully refined quad."""
    if code == 16:
        return [t for k in range(4) for t in ((k, 4 + k, 8), (k, 8, 4 + (k - 1) % 4))]
    if code == 0:
        return [(0, 1, 2), (0, 2, 3)]
    ring = [slot for k in range(4) for slot in ((k, 4 + k) if code >> k & 1 else (k,))]
    start = next(i for i, slot in enumerate(ring) if slot >= 4)
    ring = ring[start:] + ring[:start]
    return [(ring[0], ring[i], ring[i + 1]) for i in range(1, len(ring) - 1)]


def refine(
    quads: Int[np.ndarray, "q 4"], count: int, topology: Topology
) -> tuple[sp.csr_matrix, Int[np.ndarray, "t 3"]]:
    """Return the matrix of the planned subdivision for one set of indices, and its triangles, without unused rows."""
    first = catmull_clark(quads, count)
    second = catmull_clark(first.quads, first.matrix.shape[0])
    triangles = second.slots[topology.triangles_quad[:, None], topology.triangles_slots]
    used, compact = np.unique(triangles, return_inverse=True)
    matrix = sp.csr_matrix((second.matrix @ first.matrix)[used])
    matrix.sum_duplicates()
    return matrix, compact.reshape(-1, 3)
