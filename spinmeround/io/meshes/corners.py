"""Split vertices along the seams of a texture for formats that need it, and merge them again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Integer

from spinmeround import geometry
from spinmeround.tangent_space import tangent_corners
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh


@dataclass(frozen=True)
class Corners:
    """A vertex for each pair of position and texture coordinate in use; ``faces`` index these pairs.

    Attributes:
        tangents: see ``tangent_corners``, by which pairs are split further; None without a normal map.
    """

    vertex: Int64[np.ndarray, "n"]
    uv: Int64[np.ndarray, "n"]
    faces: Int64[np.ndarray, "f 3"]
    tangents: Float[np.ndarray, "n 4"] | None = None


def split_corners(mesh: TexturedMesh) -> Corners:
    """Return the pairs in the order of vertices, then of texture coordinates; unused vertices are dropped."""
    if mesh.normal_map is not None:
        made = tangent_corners(mesh, smooth_normals(mesh))
        return Corners(made.vertex, made.uv, made.faces, made.tangents)
    keys = mesh.faces.astype(np.int64) * len(mesh.uv) + mesh.uv_faces
    used, inverse = np.unique(keys, return_inverse=True)
    return Corners(used // len(mesh.uv), used % len(mesh.uv), inverse.reshape(-1, 3).astype(np.int64))


def merge_duplicates(
    points: Float[np.ndarray, "n k"], faces: Integer[np.ndarray, "f 3"]
) -> tuple[np.ndarray, np.ndarray]:
    """Merge exact duplicates; return the points in the order of their first use, and faces that index them."""
    _, first, inverse = np.unique(points, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return points[first[order]], rank[inverse.reshape(-1)][faces]


def smooth_normals(mesh: Mesh | ColouredMesh | TexturedMesh) -> Float[np.ndarray, "v 3"]:
    """Return the mesh's own normals, or compute unit normals per vertex, never zero: without area around it, +Z."""
    if isinstance(mesh, TexturedMesh) and mesh.normals is not None:
        return np.asarray(mesh.normals, np.float64)
    normals = geometry.vertex_normals(np.asarray(mesh.vertices, np.float64), mesh.faces)
    flat = np.linalg.norm(normals, axis=1) < 0.5
    normals[flat] = (0, 0, 1)
    return normals


def fan_triangles(lengths: Integer[np.ndarray, "n"], flat: Integer[np.ndarray, "m"]) -> Int64[np.ndarray, "f 3"]:
    """Triangulate polygons as fans around their first corner.

    Polygons of fewer than three corners are dropped.

    Args:
        lengths: number of corners of each polygon.
        flat: vertex indices of all corners, polygon by polygon.
    """
    starts = np.cumsum(lengths) - lengths
    counts = np.maximum(lengths - 2, 0)
    first = np.repeat(starts, counts)
    step = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return flat.astype(np.int64)[np.stack([first, first + step + 1, first + step + 2], axis=1)]
