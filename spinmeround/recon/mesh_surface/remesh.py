"""Isotropic remeshing of closed manifold meshes: split long edges, collapse short ones, even out valences, relax.

The incremental scheme of Botsch and Kobbelt, "A Remeshing Approach to Multiresolution Modeling" (SGP 2004), on a corner
table: half-edge ``h = 3 f + k`` runs from corner k of face f to the next, ``twin[h]`` is the same edge seen from the
other face, and ``leaving[v]`` is any half-edge that starts at v. Sequential in a fixed order, hence deterministic.

        a                      a
      / | \\                  / \\
     /  |  \\     flip       /   \\      h runs u -> v, its face has apex a,
    u --h-> v   <----->    u     v     the twin's face has apex b
     \\  |  /                \\   /
        b                      b
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float, Integer

from spinmeround.errors import FitError
from spinmeround.types import Mesh

_LONG, _SHORT = 4 / 3, 4 / 5
"""Edges above and below these multiples of the target length are split and collapsed (Botsch and Kobbelt)."""
_MIN_COSINE = 0.5
"""Between face normals: edges across a sharper crease are not flipped, and no collapse may turn a face further."""
_RELAXATION_RATE, _RELAXATIONS = 0.5, 2
"""Tangential smoothing: fraction of the way to the neighbours' centroid, and how often in each round."""


def remesh(mesh: Mesh, edge_length: float, *, rounds: int = 2) -> Mesh:
    """Return a mesh of nearly equilateral triangles; topology, closedness and orientation stay.

    Args:
        mesh: closed manifold.
        edge_length: target, in the unit of the vertices.
        rounds: passes of split, collapse, flip, relax.

    Raises:
        FitError: the mesh is open or not manifold.
    """
    vertices, faces = np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)
    for _ in range(rounds):
        vertices, faces = _split_all(vertices, faces, _LONG * edge_length)
        _, twin, leaving = half_edge_ring(faces, len(vertices))
        _collapse_short(vertices, faces, twin, leaving, _SHORT * edge_length, _LONG * edge_length)
        vertices, faces = _compacted(vertices, faces)
        _, twin, leaving = half_edge_ring(faces, len(vertices))
        _equalise_valences(vertices, faces, twin, leaving)
        for _ in range(_RELAXATIONS):
            vertices = _relaxed(vertices, faces, twin, leaving, _RELAXATION_RATE)
    return Mesh(vertices, faces)


def half_edge_twins(faces: Integer[np.ndarray, "f 3"]) -> Integer[np.ndarray, "h"]:
    """Return for every half-edge the one that runs the other way.

    Raises:
        FitError: an edge does not have exactly two faces that run along it in opposite directions.
    """
    offsets = np.zeros(int(faces.max()) + 2, np.int64)
    np.cumsum(np.bincount(faces.ravel()), out=offsets[1:])
    twin = np.empty(faces.size, np.int64)
    if not _pair(np.ascontiguousarray(faces, np.int64), offsets, twin):
        raise FitError(
            "the surface is not a closed manifold: some edge does not join exactly two faces; repair it first"
        )
    return twin


def half_edge_ring(
    faces: Integer[np.ndarray, "f 3"], count: int
) -> tuple[Integer[np.ndarray, "f 3"], Integer[np.ndarray, "h"], Integer[np.ndarray, "v"]]:
    """Return faces, twins and one leaving half-edge for each of ``count`` vertices: what walks around vertices need.

    Raises:
        FitError: the mesh is open or not manifold.
    """
    faces = np.ascontiguousarray(faces, np.int64)
    return faces, half_edge_twins(faces), _leaving(faces, count)


def _leaving(faces: Integer[np.ndarray, "f 3"], count: int) -> Integer[np.ndarray, "v"]:
    leaving = np.full(count, -1, np.int64)
    leaving[faces.ravel()] = np.arange(faces.size)
    return leaving


def _compacted(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mesh without dead faces (marked -1) and unused vertices, neighbours stored near each other.

    Faces follow a Morton curve, vertices the faces: without that order, cache misses take longer than the arithmetic.
    """
    faces = faces[faces[:, 0] >= 0]
    centre = vertices[faces[:, 0]]
    low, high = centre.min(0), centre.max(0)
    grid = ((centre - low) / (high - low).max() * 1023).astype(np.int64)
    code = np.zeros(len(faces), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + axis)
    faces = faces[np.argsort(code, kind="stable")]
    used, first = np.unique(faces.ravel(), return_index=True)
    order = used[np.argsort(first)]
    renamed = np.empty(len(vertices), np.int64)
    renamed[order] = np.arange(len(order))
    return vertices[order], renamed[faces]


def _split_all(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], longest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Halve edges above ``longest``, longest class first, until none is left; arrays grow as needed."""
    lengths = np.linalg.norm(vertices[faces] - vertices[faces[:, [1, 2, 0]]], axis=2)
    limit = max(longest, float(lengths.max()) / 1.5)
    used_v, used_f, twin = len(vertices), len(faces), half_edge_twins(faces)
    while True:
        if 2 * used_f > len(faces):
            vertices, faces = _grown(vertices, 4 * used_v), _grown(faces, 4 * used_f)
            twin = _grown(twin, 12 * used_f)
        before = used_f
        used_v, used_f = _split_long(vertices, faces, twin, used_v, used_f, limit)
        if used_f == before:
            if limit == longest:
                return vertices[:used_v], faces[:used_f]
            limit = max(longest, limit / 1.5)


def _grown(array: np.ndarray, length: int) -> np.ndarray:
    out = np.full((length, *array.shape[1:]), -1, array.dtype)
    out[: len(array)] = array
    return out


@numba.njit(cache=True, inline="always")
def _next(h):
    return h + 1 if h % 3 < 2 else h - 2


@numba.njit(cache=True, inline="always")
def _previous(h):
    return h - 1 if h % 3 > 0 else h + 2


@numba.njit(cache=True)
def _pair(faces, offsets, twin):
    """Fill ``twin`` from lists of the half-edges that leave each vertex; false if an edge is open or used twice."""
    filled = offsets[:-1].copy()
    leaving = np.empty(twin.shape[0], np.int64)
    for h in range(twin.shape[0]):
        u = faces[h // 3, h % 3]
        leaving[filled[u]] = h
        filled[u] += 1
    for h in range(twin.shape[0]):
        u, n = faces[h // 3, h % 3], _next(h)
        v = faces[n // 3, n % 3]
        found = 0
        for slot in range(offsets[v], offsets[v + 1]):
            n = _next(leaving[slot])
            if faces[n // 3, n % 3] == u:
                twin[h] = leaving[slot]
                found += 1
        if found != 1:
            return False
    return True


@numba.njit(cache=True)
def _split_long(vertices, faces, twin, used_v, used_f, longest):
    """Split each edge u-v above ``longest`` at its middle m; faces (u v a), (v u b) become four."""
    limit = longest * longest
    last = 3 * used_f
    for h in range(last):
        t = twin[h]
        u, v = faces[h // 3, h % 3], faces[t // 3, t % 3]
        if h > t and t < last:
            continue
        squared = 0.0
        for k in range(3):
            squared += (vertices[u, k] - vertices[v, k]) ** 2
        if squared <= limit:
            continue
        if used_f + 2 > faces.shape[0] or used_v + 1 > vertices.shape[0]:
            break
        m = used_v
        used_v += 1
        for k in range(3):
            vertices[m, k] = 0.5 * (vertices[u, k] + vertices[v, k])
        hn, tp = _next(h), _previous(t)
        a, b = faces[_previous(h) // 3, _previous(h) % 3], faces[tp // 3, tp % 3]
        outer_va, outer_bv = twin[hn], twin[tp]
        # h keeps u -> m, its face becomes (u m a); t becomes m -> u with face (m u b).
        f, g = used_f, used_f + 1
        used_f += 2
        faces[hn // 3, hn % 3] = m
        faces[t // 3, t % 3] = m
        faces[f, 0], faces[f, 1], faces[f, 2] = m, v, a
        faces[g, 0], faces[g, 1], faces[g, 2] = v, m, b
        twin[3 * f], twin[3 * g] = 3 * g, 3 * f
        twin[3 * f + 1], twin[outer_va] = outer_va, 3 * f + 1
        twin[3 * f + 2], twin[hn] = hn, 3 * f + 2
        twin[3 * g + 1], twin[tp] = tp, 3 * g + 1
        twin[3 * g + 2], twin[outer_bv] = outer_bv, 3 * g + 2
    return used_v, used_f


@numba.njit(cache=True)
def _valence(twin, leaving, v):
    count = 0
    h = leaving[v]
    while True:
        count += 1
        h = twin[_previous(h)]
        if h == leaving[v]:
            return count


@numba.njit(cache=True)
def _are_neighbours(faces, twin, leaving, u, v):
    h = leaving[u]
    while True:
        n = _next(h)
        if faces[n // 3, n % 3] == v:
            return True
        h = twin[_previous(h)]
        if h == leaving[u]:
            return False


@numba.njit(cache=True)
def _normal(p, q, r):
    ax, ay, az = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    bx, by, bz = r[0] - p[0], r[1] - p[1], r[2] - p[2]
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@numba.njit(cache=True)
def _cosine(m, n):
    scale = np.sqrt((m[0] ** 2 + m[1] ** 2 + m[2] ** 2) * (n[0] ** 2 + n[1] ** 2 + n[2] ** 2))
    return (m[0] * n[0] + m[1] * n[1] + m[2] * n[2]) / scale if scale > 0 else -1.0


@numba.njit(cache=True)
def _may_move(vertices, faces, twin, leaving, v, other, target, longest):
    """Check that v can go to ``target`` without a long edge or a turned face; faces that hold ``other`` vanish."""
    h = leaving[v]
    while True:
        n, p = _next(h), _previous(h)
        q, r = faces[n // 3, n % 3], faces[p // 3, p % 3]
        if q != other:
            length = 0.0
            for k in range(3):
                length += (vertices[q, k] - target[k]) ** 2
            if length > longest * longest:
                return False
            if r != other:
                before = _normal(vertices[v], vertices[q], vertices[r])
                if _cosine(before, _normal(target, vertices[q], vertices[r])) < _MIN_COSINE:
                    return False
        h = twin[p]
        if h == leaving[v]:
            return True


@numba.njit(cache=True)
def _common_neighbours(faces, twin, leaving, u, v):
    count = 0
    h = leaving[u]
    while True:
        n = _next(h)
        if _are_neighbours(faces, twin, leaving, v, faces[n // 3, n % 3]):
            count += 1
        h = twin[_previous(h)]
        if h == leaving[u]:
            return count


@numba.njit(cache=True)
def _collapse_short(vertices, faces, twin, leaving, shortest, longest):
    """Merge the ends of edges below ``shortest`` in their middle where the link condition holds."""
    target = np.empty(3)
    for h in range(3 * faces.shape[0]):
        if faces[h // 3, 0] < 0:
            continue
        t = twin[h]
        u, v = faces[h // 3, h % 3], faces[t // 3, t % 3]
        squared = 0.0
        for k in range(3):
            target[k] = 0.5 * (vertices[u, k] + vertices[v, k])
            squared += (vertices[u, k] - vertices[v, k]) ** 2
        if squared >= shortest * shortest:
            continue
        hn, hp, tn, tp = _next(h), _previous(h), _next(t), _previous(t)
        a, b = faces[hp // 3, hp % 3], faces[tp // 3, tp % 3]
        if _valence(twin, leaving, a) <= 3 or _valence(twin, leaving, b) <= 3:
            continue
        if _common_neighbours(faces, twin, leaving, u, v) != 2:
            continue
        if not _may_move(vertices, faces, twin, leaving, u, v, target, longest):
            continue
        if not _may_move(vertices, faces, twin, leaving, v, u, target, longest):
            continue
        out = leaving[v]
        start = out
        while True:
            step = twin[_previous(out)]
            faces[out // 3, out % 3] = u
            out = step
            if out == start:
                break
        vertices[u] = target
        # The two faces vanish; their outer neighbours become each other's.
        va, au, ub, bv = twin[hn], twin[hp], twin[tn], twin[tp]
        twin[va], twin[au] = au, va
        twin[ub], twin[bv] = bv, ub
        leaving[u], leaving[a], leaving[b] = au, va, ub
        faces[h // 3, :] = -1
        faces[t // 3, :] = -1


@numba.njit(cache=True)
def _equalise_valences(vertices, faces, twin, leaving):
    """Flip edges where that brings the four valences nearer to six and turns no face."""
    valence = np.empty(vertices.shape[0], np.int64)
    for v in range(vertices.shape[0]):
        valence[v] = _valence(twin, leaving, v)
    for h in range(3 * faces.shape[0]):
        t = twin[h]
        if t < h:
            continue
        hn, hp, tn, tp = _next(h), _previous(h), _next(t), _previous(t)
        u, v = faces[h // 3, h % 3], faces[t // 3, t % 3]
        a, b = faces[hp // 3, hp % 3], faces[tp // 3, tp % 3]
        excess_u, excess_v, excess_a, excess_b = valence[u] - 6, valence[v] - 6, valence[a] - 6, valence[b] - 6
        # Squared deviation after minus before the flip.
        if 4 - 2 * (excess_u + excess_v) + 2 * (excess_a + excess_b) >= 0 or valence[u] <= 3 or valence[v] <= 3:
            continue
        before = _normal(vertices[u], vertices[v], vertices[a])
        if _cosine(before, _normal(vertices[v], vertices[u], vertices[b])) < _MIN_COSINE:
            continue
        one = _normal(vertices[u], vertices[b], vertices[a])
        two = _normal(vertices[v], vertices[a], vertices[b])
        if _cosine(before, one) < _MIN_COSINE or _cosine(before, two) < _MIN_COSINE:
            continue
        if _are_neighbours(faces, twin, leaving, a, b):
            continue
        va, au, ub, bv = twin[hn], twin[hp], twin[tn], twin[tp]
        f, g = h // 3, t // 3
        faces[f, 0], faces[f, 1], faces[f, 2] = u, b, a
        faces[g, 0], faces[g, 1], faces[g, 2] = v, a, b
        twin[3 * f], twin[ub] = ub, 3 * f
        twin[3 * f + 2], twin[au] = au, 3 * f + 2
        twin[3 * g], twin[va] = va, 3 * g
        twin[3 * g + 2], twin[bv] = bv, 3 * g + 2
        twin[3 * f + 1], twin[3 * g + 1] = 3 * g + 1, 3 * f + 1
        leaving[u], leaving[b], leaving[v], leaving[a] = 3 * f, 3 * f + 1, 3 * g, 3 * g + 1
        valence[u] -= 1
        valence[v] -= 1
        valence[a] += 1
        valence[b] += 1


@numba.njit(parallel=True, cache=True)
def _relaxed(vertices, faces, twin, leaving, rate):
    """Return vertices moved toward their neighbours' centroid within the tangent plane."""
    out = vertices.copy()
    for v in numba.prange(vertices.shape[0]):
        nx = ny = nz = sx = sy = sz = 0.0
        count = 0
        h = leaving[v]
        while True:
            n, p = _next(h), _previous(h)
            q, r = faces[n // 3, n % 3], faces[p // 3, p % 3]
            normal = _normal(vertices[v], vertices[q], vertices[r])
            nx += normal[0]
            ny += normal[1]
            nz += normal[2]
            sx += vertices[q, 0]
            sy += vertices[q, 1]
            sz += vertices[q, 2]
            count += 1
            h = twin[p]
            if h == leaving[v]:
                break
        sx, sy, sz = sx / count - vertices[v, 0], sy / count - vertices[v, 1], sz / count - vertices[v, 2]
        squared = nx * nx + ny * ny + nz * nz
        lift = (sx * nx + sy * ny + sz * nz) / squared if squared > 0 else 0.0
        out[v, 0] += rate * (sx - lift * nx)
        out[v, 1] += rate * (sy - lift * ny)
        out[v, 2] += rate * (sz - lift * nz)
    return out
