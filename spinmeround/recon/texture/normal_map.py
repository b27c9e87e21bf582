"""Normal maps: bake the normals of a fine surface into the texture of a coarse mesh, by rays along its normals."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from jaxtyping import Float, Float32, Int64, Integer

from spinmeround.geometry import vertex_normals
from spinmeround.io.meshes.corners import smooth_normals
from spinmeround.tangent_space import texel_frames
from spinmeround.types import Mesh, TexturedMesh

_MAX_CELLS = 200
"""Along the longest side of the ray grid, so that it stays small beside the mesh."""
_CELL_EDGES = 1.5
"""Width of a cell of the ray grid, mean edge lengths of the fine mesh."""


def with_normal_map(mesh: TexturedMesh, fine: Mesh, *, reach: float | None = None) -> TexturedMesh:
    """Return the mesh with the normals of a finer surface of the same shape, in a map as large as its texture.

    Args:
        reach: how far the fine surface may lie from the mesh, head units; the map fades to flat from half of it on. By
            default the mean length of the mesh's edges: decimation strays by much less.
    """
    frames = texel_frames(mesh, smooth_normals(mesh))
    reach = float(_edge_lengths(mesh.vertices, mesh.faces).mean()) if reach is None else reach
    found, distance = fine_normals(fine, frames.points, frames.normals, reach=reach)
    fraction = np.clip(2 - 2 * distance / reach, 0, 1)[:, None]
    blended = fraction * frames.from_world(found) + (1 - fraction) * np.array([0, 0, 1], np.float32)
    return replace(mesh, normal_map=frames.picture(blended / np.linalg.norm(blended, axis=1, keepdims=True)))


def fine_normals(
    fine: Mesh, points: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"], *, reach: float
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n"]]:
    """Return smooth normals of a surface where lines through points hit it, forward or backward, whichever is nearer.

    Faces that look the other way than the line's direction are passed through.

    Args:
        directions: of the lines, outward, of any length.
        reach: greatest distance of a hit, in the unit of the points.

    Returns:
        Unit normals, 0 where nothing is hit, and the distances, infinite there.
    """
    vertices, faces = np.asarray(fine.vertices, np.float64), np.asarray(fine.faces, np.int64)
    cell = max(
        _CELL_EDGES * float(_edge_lengths(vertices, faces).mean()), float(np.ptp(vertices, axis=0).max()) / _MAX_CELLS
    )
    low = vertices.min(0) - 0.5 * cell
    size = np.ceil((vertices.max(0) - low) / cell).astype(np.int64) + 1
    starts, members = _sort_into_cells(vertices, faces, low, cell, size)
    normals = np.zeros((len(points), 3), np.float32)
    distance = np.full(len(points), np.inf, np.float32)
    corner = vertices[faces[:, 0]]
    _cast_rays(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(directions, np.float64), reach,
        corner, vertices[faces[:, 1]] - corner, vertices[faces[:, 2]] - corner, vertex_normals(vertices, faces)[faces],
        low, cell, size, starts, members, normals, distance,
    )  # fmt: skip
    return normals, distance


def _edge_lengths(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    corners = vertices[faces]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)


def _sort_into_cells(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int64[np.ndarray, "f 3"],
    low: Float[np.ndarray, "3"],
    cell: float,
    size: Int64[np.ndarray, "3"],
) -> tuple[Int64[np.ndarray, "c"], Int64[np.ndarray, "m"]]:
    """Return the faces by the cells that their boxes touch; cell k has ``members[starts[k]:starts[k + 1]]``."""
    corners = vertices[faces]
    first = ((corners.min(1) - low) / cell).astype(np.int64)
    last = ((corners.max(1) - low) / cell).astype(np.int64)
    starts = np.zeros(int(size.prod()) + 1, np.int64)
    _count(first, last, size, starts)
    np.cumsum(starts, out=starts)
    members = np.empty(starts[-1], np.int64)
    _fill(first, last, size, starts[:-1].copy(), members)
    return starts, members


@numba.njit(cache=True)
def _count(first, last, size, starts):
    """Count the faces of cell k in ``starts[k + 1]``."""
    for f in range(len(first)):
        for i in range(first[f, 0], last[f, 0] + 1):
            for j in range(first[f, 1], last[f, 1] + 1):
                for k in range(first[f, 2], last[f, 2] + 1):
                    starts[(i * size[1] + j) * size[2] + k + 1] += 1


@numba.njit(cache=True)
def _fill(first, last, size, place, members):
    """Write the faces of each cell; ``place`` holds where its next one goes."""
    for f in range(len(first)):
        for i in range(first[f, 0], last[f, 0] + 1):
            for j in range(first[f, 1], last[f, 1] + 1):
                for k in range(first[f, 2], last[f, 2] + 1):
                    at = (i * size[1] + j) * size[2] + k
                    members[place[at]] = f
                    place[at] += 1


@numba.njit(parallel=True, cache=True)
def _cast_rays(points, directions, reach, corner, one, two, normals, low, cell, size, starts, members, out, distance):
    for i in numba.prange(len(points)):
        along = directions[i] / (np.sqrt((directions[i] ** 2).sum()) + 1e-30)
        best, u, v, face = reach, 0.0, 0.0, -1
        for way in (1.0, -1.0):
            t, at_u, at_v, hit = _first_hit(
                points[i], way * along, way, best, corner, one, two, low, cell, size, starts, members
            )
            if hit >= 0:
                best, u, v, face = t, at_u, at_v, hit
        if face < 0:
            continue
        distance[i] = best
        normal = (1 - u - v) * normals[face, 0] + u * normals[face, 1] + v * normals[face, 2]
        out[i] = normal / (np.sqrt((normal**2).sum()) + 1e-30)


@numba.njit(cache=True)
def _first_hit(origin, along, way, reach, corner, one, two, low, cell, size, starts, members):
    """Return the nearest face that a ray hits within reach: distance, barycentric u and v, index; -1 for none.

    Cells are traversed after Amanatides and Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing" (1987), faces are
    intersected after Moeller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection" (1997).
    """
    at, step = np.empty(3, np.int64), np.empty(3, np.int64)
    until, width = np.empty(3), np.empty(3)
    for axis in range(3):
        place = (origin[axis] - low[axis]) / cell
        at[axis] = int(np.floor(place))
        step[axis] = 1 if along[axis] > 0 else -1
        width[axis] = cell / max(abs(along[axis]), 1e-12)
        until[axis] = (at[axis] + 1 - place if along[axis] > 0 else place - at[axis]) * width[axis]
    best, best_u, best_v, face, entered = reach, 0.0, 0.0, -1, 0.0
    dx, dy, dz = along[0], along[1], along[2]
    while entered <= best:
        if 0 <= at[0] < size[0] and 0 <= at[1] < size[1] and 0 <= at[2] < size[2]:
            k = (at[0] * size[1] + at[1]) * size[2] + at[2]
            for m in range(starts[k], starts[k + 1]):
                f = members[m]
                ax, ay, az = one[f, 0], one[f, 1], one[f, 2]
                bx, by, bz = two[f, 0], two[f, 1], two[f, 2]
                px, py, pz = dy * bz - dz * by, dz * bx - dx * bz, dx * by - dy * bx
                turn = ax * px + ay * py + az * pz
                # Negative where the ray leaves the surface; the backward ray enters where the line leaves.
                if way * turn >= 0:
                    continue
                tx, ty, tz = origin[0] - corner[f, 0], origin[1] - corner[f, 1], origin[2] - corner[f, 2]
                qx, qy, qz = ty * az - tz * ay, tz * ax - tx * az, tx * ay - ty * ax
                u, v = (tx * px + ty * py + tz * pz) / turn, (dx * qx + dy * qy + dz * qz) / turn
                # A little slack, so that no ray slips between two faces.
                if u < -1e-6 or v < -1e-6 or u + v > 1 + 1e-6:
                    continue
                t = (bx * qx + by * qy + bz * qz) / turn
                if 0 <= t < best:
                    best, best_u, best_v, face = t, u, v, f
        axis = 0 if until[0] <= until[1] and until[0] <= until[2] else 1 if until[1] <= until[2] else 2
        entered = until[axis]
        at[axis] += step[axis]
        until[axis] += width[axis]
    return best, best_u, best_v, face
