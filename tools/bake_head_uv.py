"""Head bake: the texture layout, mirror-symmetric about u = 1/2, the face large in the middle.

Skin and neck are one island with its seam from the crown down the nape and a slit behind each ear. Its left half is
flattened with the midline of the face held straight, the right half is the mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from bake_head_flatten import Patch, border_loops, embed_convex, fill, relax, triangulated
from bake_head_parts import EYE_RINGS, EYE_SEGMENTS, ring_angles
from bake_head_source import Source
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components, dijkstra

from spinmeround.geometry import vertex_normals

CROWN = (0.0, 0.294, -0.06)
"""Where the seam down the back of the head begins."""
EAR_SLIT = ((0.182, 0.031, 0.015), (0.172, -0.100, 0.012))
"""Ends of the slit behind the left ear: where the helix leaves the head, and below the lobe."""
TONGUE_SLIT = ((0.0, -0.16, 0.05), (0.0, -0.16, 0.20))

MAGNIFIED = (
    ((0.0, -0.05, 0.26), 0.15, 1.2),
    ((0.075, 0.025, 0.21), 0.045, 0.7),
    ((0.0, -0.16, 0.25), 0.055, 0.5),
    ((0.19, -0.035, 0.0), 0.045, 1.5),
)
"""Centre (left half), radius and gain of regions with a higher texture resolution: face, eye, mouth, ear."""
SHRUNK_BELOW = (-0.24, -0.42, 0.55)
"""Heights between which the neck's resolution falls off, and the factor it falls to."""
SHRUNK_BEHIND = (0.10, -0.10, 0.75)
"""Depths between which the resolution at the back of the head falls off, and the factor it falls to."""

SOCKET_GAP = 0.02
EYE_RADIUS_POWER = 0.6
"""Power p of radius = (angle from the front / pi)^p in the eye's tile; below 1 the iris gets more pixels."""

TILES = {
    "skin+neck": (0.004, 0.17, 0.996, 0.996),
    "eye_left": (0.834, 0.006, 0.994, 0.166),
    "eye_right": (0.006, 0.006, 0.166, 0.166),
    "teeth_upper": (0.176, 0.062, 0.396, 0.112),
    "teeth_lower": (0.176, 0.006, 0.396, 0.056),
    "eye_socket": (0.406, 0.006, 0.594, 0.112),
    "tongue": (0.604, 0.006, 0.674, 0.112),
    "mouth_cavity": (0.680, 0.006, 0.780, 0.112),
    "cap": (0.786, 0.006, 0.826, 0.112),
}
"""Left, bottom, right, top. The gaps are at least four pixels of a 1024 picture."""


@dataclass(frozen=True)
class Island:
    """Some polygons flattened: indices into ``uv`` per corner, in the order of the polygons."""

    corners: Int[np.ndarray, "q c"]
    uv: Float[np.ndarray, "t 2"]


def flatten_skin(source: Source) -> Island:
    """The island of the groups ``skin`` and ``neck``, in that order; size arbitrary, middle line at u = 0."""
    quads = np.concatenate([source.quads["skin"], source.quads["neck"]])
    left = source.mean[quads][:, :, 0].mean(1) > 0
    slit = crease_path(source, *EAR_SLIT)
    corners, vertex = corner_islands(quads[left], slit)
    patch, on_axis, outline = _half_patch(source, corners, vertex)
    rest = source.mean[vertex[patch.triangles[: patch.solid]]]
    rest = rest * _resolution(rest.mean(1))[:, None, None]
    uv = relax(patch, rest, embed_convex(patch, outline), fixed_u=on_axis, iterations=80)[: len(vertex)]
    shared = (source.mirror[vertex] == vertex) & (np.abs(uv[:, 0]) < 1e-12)
    return _mirrored(source, quads, left, corners, uv, shared)


def _resolution(at: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t"]:
    scale = np.ones(len(at))
    for centre, reach, gain in MAGNIFIED:
        scale += gain * np.exp(-(((at - centre) ** 2).sum(1)) / (2 * reach**2))
    for axis, (start, end, factor) in ((1, SHRUNK_BELOW), (2, SHRUNK_BEHIND)):
        t = np.clip((at[:, axis] - start) / (end - start), 0, 1)
        scale *= 1 + (factor - 1) * t * t * (3 - 2 * t)
    return scale


def _half_patch(source: Source, corners: Int[np.ndarray, "q 4"], vertex: Int[np.ndarray, "t"]):
    """Return the left half as a filled disc, its vertices on the midline, and a convex border to start from."""
    triangles = triangulated(corners)
    middle = source.mirror[vertex] == vertex
    outer = border_loops(triangles)[0]
    # The loop runs from the crown down the face to the rim of the neck, round to the back, and up the nape.
    at = source.mean[vertex[outer]]
    outer = np.roll(outer, -int(np.linalg.norm(at - CROWN, axis=1).argmin()))
    at = source.mean[vertex[outer]]
    rim = np.flatnonzero(~middle[outer] & (at[:, 1] < source.mean[source.quads["neck"], 1].max()))
    front = outer[: rim[0]]
    lips = np.flatnonzero(~middle[front])
    if len(lips) == 0 or (np.diff(lips) != 1).any():
        raise AssertionError("the face's middle line should be broken by the mouth and by nothing else")
    mouth = len(vertex)
    chain = front[lips[0] - 1 : lips[-1] + 2]
    lip_fan = np.stack([chain[1:], chain[:-1], np.full(len(chain) - 1, mouth)], axis=1)
    front = np.concatenate([front[: lips[0]], [mouth], front[lips[-1] + 1 :]])
    loop = np.concatenate([front, outer[rim[0] :]])
    closed = fill(np.concatenate([triangles, lip_fan]), mouth + 1)
    if set(closed.outer.tolist()) != set(loop.tolist()):
        raise AssertionError("the half head is not a disc")
    patch = Patch(closed.triangles, len(triangles), loop, closed.count)
    line = np.linspace(1, -1, len(front))
    angle = np.linspace(-np.pi / 2, np.pi / 2, len(loop) - len(front) + 2)[1:-1]
    outline = np.concatenate([np.stack([0 * line, line], 1), np.stack([np.cos(angle), np.sin(angle)], 1)])
    return patch, front, outline


def _mirrored(source: Source, quads, left, corners, uv, shared) -> Island:
    """Add the right half with u negated; both halves use the texture vertices marked ``shared``."""
    count = len(uv)
    other = np.where(shared, np.arange(count), count + np.arange(count))
    both = np.concatenate([uv, uv * [-1, 1]])
    place = {tuple(sorted(q)): row for row, q in enumerate(quads[left].tolist())}
    all_corners = np.empty_like(quads)
    all_corners[left] = corners
    for index in np.flatnonzero(~left):
        twins = source.mirror[quads[index]].tolist()
        row = place[tuple(sorted(twins))]
        at = dict(zip(quads[left][row].tolist(), corners[row].tolist(), strict=True))
        all_corners[index] = [other[at[v]] for v in twins]
    used, compact = np.unique(all_corners, return_inverse=True)
    return Island(compact.reshape(quads.shape), both[used])


def corner_islands(
    quads: Int[np.ndarray, "q 4"], cut: Int[np.ndarray, "p"] | None = None
) -> tuple[Int[np.ndarray, "q 4"], Int[np.ndarray, "t"]]:
    """Return texture vertices of polygons cut along a path: corners merge where two faces share an edge not on it.

    Returns:
        Texture vertex per corner, and the mesh vertex of each texture vertex.
    """
    sides = quads.shape[1]
    start, end = quads, np.roll(quads, -1, axis=1)
    key = np.minimum(start, end) * (quads.max() + 1) + np.maximum(start, end)
    if cut is not None:
        low, high = np.minimum(cut[:-1], cut[1:]), np.maximum(cut[:-1], cut[1:])
        barred = np.isin(key, low * (quads.max() + 1) + high)
        key = np.where(barred, -1 - np.arange(key.size).reshape(key.shape), key)
    order = np.argsort(key.ravel(), kind="stable")
    same = key.ravel()[order][1:] == key.ravel()[order][:-1]
    one, two = order[:-1][same], order[1:][same]
    following = np.arange(quads.size).reshape(-1, sides)
    following = np.roll(following, -1, axis=1).ravel()
    # Neighbours run along a shared edge in opposite directions: the start of one is the end of the other.
    joined = sp.coo_matrix(
        (np.ones(2 * len(one)), (np.concatenate([one, following[one]]), np.concatenate([following[two], two]))),
        shape=(quads.size, quads.size),
    )
    count, label = connected_components(joined, directed=False)
    vertex = np.empty(count, np.int64)
    vertex[label] = quads.ravel()
    return label.reshape(quads.shape), vertex


def crease_path(source: Source, start: tuple, end: tuple) -> Int[np.ndarray, "p"]:
    """Return the path of edges along the crease behind the left ear; convex edges cost more than concave ones."""
    quads = np.concatenate([source.quads[name] for name in ("skin", "neck", "eye_socket", "mouth_cavity", "cap")])
    vertices, count = source.mean, len(source.mean)
    triangles = triangulated(quads)
    edges = np.unique(np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2), axis=1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    adjacency = sp.csr_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    adjacency = adjacency + adjacency.T
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    bump = ((vertices - (adjacency @ vertices) / degree[:, None]) * vertex_normals(vertices, triangles)).sum(1)
    mean_length = np.bincount(edges.ravel(), np.repeat(length, 2), count) / degree
    convexity = np.clip(bump / np.maximum(mean_length, 1e-9), -0.6, 0.6)
    cost = length * np.exp(3 * (convexity[edges[:, 0]] + convexity[edges[:, 1]]))
    behind = (vertices[edges] < [np.inf, np.inf, 0.03]).all((1, 2))
    graph = sp.csr_matrix((cost[behind], edges[behind].T), shape=(count, count))
    return _shortest_path(graph + graph.T, *(int(np.linalg.norm(vertices - p, axis=1).argmin()) for p in (start, end)))


def _shortest_path(graph: sp.spmatrix, start: int, end: int) -> Int[np.ndarray, "p"]:
    _, before = dijkstra(graph, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(before[path[-1]])
        if path[-1] < 0:
            raise AssertionError("no path of edges between the two ends of a slit")
    return np.array(path)


def middle_path(source: Source, polygons: Int[np.ndarray, "q 4"], start: tuple, end: tuple) -> Int[np.ndarray, "p"]:
    """Return the shortest path of edges between two places of a part, within the plane of symmetry."""
    edges = np.unique(np.sort(np.stack([polygons, np.roll(polygons, -1, axis=1)], -1).reshape(-1, 2), axis=1), axis=0)
    edges = edges[(source.mirror[edges] == edges).all(1)]
    length = np.linalg.norm(source.mean[edges[:, 0]] - source.mean[edges[:, 1]], axis=1)
    graph = sp.csr_matrix((length, edges.T), shape=(len(source.mean), len(source.mean)))
    on_path = np.unique(edges)
    ends = [int(on_path[np.linalg.norm(source.mean[on_path] - place, axis=1).argmin()]) for place in (start, end)]
    return _shortest_path(graph + graph.T, *ends)


def flatten_disc(source: Source, polygons: Int[np.ndarray, "q 4"], cut: Int[np.ndarray, "p"] | None = None) -> Island:
    """Flatten a disc (after the cut) with free borders."""
    corners, vertex = corner_islands(polygons, cut)
    triangles = triangulated(corners)
    patch = fill(triangles, len(vertex))
    turn = 2 * np.pi * np.arange(len(patch.outer)) / len(patch.outer)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    uv = relax(patch, source.mean[vertex[triangles]], embed_convex(patch, circle), iterations=40)[: len(vertex)]
    return Island(corners, _upright(source.mean[vertex], uv))


def _upright(vertices: Float[np.ndarray, "t 3"], uv: Float[np.ndarray, "t 2"]) -> Float[np.ndarray, "t 2"]:
    """Rotate an island so that the subject's left is at its right."""
    uv = uv - uv.mean(0)
    slope = (vertices[:, 0] - vertices[:, 0].mean()) @ uv
    angle = -np.arctan2(slope[1], slope[0])
    return uv @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def flatten_sockets(source: Source) -> Island:
    """Flatten both eye sockets from their borders at the lids; mirror images side by side."""
    quads = source.quads["eye_socket"]
    left = source.mean[quads][:, :, 0].mean(1) > 0
    island = flatten_disc(source, quads[left])
    uv = island.uv - [island.uv[:, 0].min() - SOCKET_GAP, 0]
    return _mirrored(source, quads, left, island.corners, uv, np.zeros(len(uv), bool))


def flatten_globe(triangles: Int[np.ndarray, "f 3"], *, mirrored: bool) -> Island:
    """Map an eyeball to the unit disc: the radius grows with the angle from the front, the back is the border."""
    turn = 2 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    rings = [r * _circle(turn) for r in (ring_angles() / np.pi) ** EYE_RADIUS_POWER]
    uv = np.concatenate([[[0.0, 0.0]], *rings, _circle(turn + turn[1] / 2)])
    corners = triangles - triangles.min()
    # Each triangle of the last fan has a corner of its own at the back pole.
    corners[-EYE_SEGMENTS:, 1] = 1 + EYE_RINGS * EYE_SEGMENTS + np.arange(EYE_SEGMENTS)
    return Island(corners, uv * [-1, 1] if mirrored else uv)


def _circle(angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"]:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def layout(source: Source) -> dict[str, Island]:
    """Return every island but the teeth's, placed in the unit square, by the polygon groups it holds."""
    islands = {
        "skin+neck": flatten_skin(source),
        "eye_socket": flatten_sockets(source),
        "mouth_cavity": flatten_disc(source, source.quads["mouth_cavity"]),
        "cap": flatten_disc(source, source.quads["cap"]),
        "tongue": flatten_disc(
            source, source.quads["tongue"], middle_path(source, source.quads["tongue"], *TONGUE_SLIT)
        ),
        "eye_left": flatten_globe(source.quads["eye_left"], mirrored=False),
        "eye_right": flatten_globe(source.quads["eye_right"], mirrored=True),
    }
    return {name: Island(island.corners, placed(island.uv, TILES[name])) for name, island in islands.items()}


def placed(uv: Float[np.ndarray, "t 2"], tile: tuple[float, float, float, float]) -> Float[np.ndarray, "t 2"]:
    """Scale an island to fit a tile (left, bottom, right, top), centred across it and at its top."""
    low, high = np.array(tile[:2]), np.array(tile[2:])
    size = np.ptp(uv, axis=0)
    scale = ((high - low) / size).min()
    spare = (high - low) - scale * size
    return low + spare * [0.5, 1.0] + scale * (uv - uv.min(0))
