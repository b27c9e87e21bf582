"""Meshes as binary PLY with normals and colours per vertex."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from spinmeround.errors import InputError
from spinmeround.geometry import face_normals
from spinmeround.images import to_uint8
from spinmeround.io.meshes.corners import fan_triangles, smooth_normals
from spinmeround.io.meshes.scaling import scaled
from spinmeround.io.ply import Element, Lists, read_ply, write_ply
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh

_SAMPLE_ROWS = 4
"""Rows of texture samples in each triangle, of 1 to 4 samples: ten in all."""


def write_mesh_ply(path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float) -> None:
    """Write shared vertices, closed over the seams of the texture, in metres."""
    mesh = scaled(mesh, metres_per_unit)
    normals, colours = smooth_normals(mesh), _colours(mesh)
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    vertex = np.zeros(len(mesh.vertices), fields)
    for i, name in enumerate("xyz"):
        vertex[name] = mesh.vertices[:, i]
        vertex["n" + name] = normals[:, i]
    if colours is not None:
        for i, name in enumerate(("red", "green", "blue")):
            vertex[name] = colours[:, i]
    face = np.zeros(len(mesh.faces), [("vertex_indices", "<i4", 3)])
    face["vertex_indices"] = mesh.faces
    write_ply(path, {"vertex": vertex, "face": face}, comments=("metres, +Y up, front +Z",))


def read_mesh_ply(path: Path) -> Mesh:
    """Read positions and faces.

    Raises:
        InputError: not such a file, or one without faces.
    """
    elements = read_ply(path)
    vertex = elements.get("vertex", Element(0, {}))
    face = elements.get("face", Element(0, {}))
    lists = face.columns.get("vertex_indices", face.columns.get("vertex_index"))
    if not all(isinstance(vertex.columns.get(name), np.ndarray) for name in "xyz"):
        raise InputError(f"{path}: a PLY without vertices x y z is not a mesh")
    if not isinstance(lists, Lists) or face.count == 0:
        kind = "splats" if "opacity" in vertex.columns else "points"
        raise InputError(f"{path}: a PLY of {kind}, without faces; a mesh is needed here")
    return Mesh(vertex.stacked("x", "y", "z").astype(np.float64), fan_triangles(lists.lengths, lists.flat))


def _colours(mesh: Mesh | ColouredMesh | TexturedMesh) -> UInt8[np.ndarray, "v 3"] | None:
    if isinstance(mesh, TexturedMesh):
        return vertex_colours(mesh)
    return to_uint8(mesh.colours) if isinstance(mesh, ColouredMesh) else None


def vertex_colours(mesh: TexturedMesh) -> UInt8[np.ndarray, "v 3"]:
    """Compute the mean sRGB colour of the texture around each vertex, weighted by its barycentric coordinate.

    A single texel per vertex would alias fine texture (brows, stubble).
    """
    albedo = np.asarray(mesh.albedo, np.float64)
    area = np.linalg.norm(face_normals(np.asarray(mesh.vertices, np.float64), mesh.faces), axis=1) + 1e-12
    total, weight = np.zeros((len(mesh.vertices), 3)), np.zeros(len(mesh.vertices))
    corners = np.asarray(mesh.uv, np.float64)[mesh.uv_faces]
    for i in range(_SAMPLE_ROWS):
        for j in range(_SAMPLE_ROWS - i):
            k = _SAMPLE_ROWS - 1 - i - j
            barycentric = (np.array([i, j, k]) + 1 / 3) / _SAMPLE_ROWS
            colours = _sample(albedo, np.einsum("c,fcd->fd", barycentric, corners))
            for corner, fraction in enumerate(barycentric):
                index = mesh.faces[:, corner]
                weight += np.bincount(index, area * fraction, len(weight))
                for channel in range(3):
                    total[:, channel] += np.bincount(index, area * fraction * colours[:, channel], len(weight))
    mean = total / np.maximum(weight, 1e-30)[:, None]
    return to_uint8(np.where(weight[:, None] > 0, mean, 0.5))


def _sample(albedo: Float[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Interpolate bilinearly; texel centres at +0.5, v upward, the border repeated."""
    height, width = albedo.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    above = albedo[y0, x0] * (1 - fx) + albedo[y0, x1] * fx
    below = albedo[y1, x0] * (1 - fx) + albedo[y1, x1] * fx
    return above * (1 - fy) + below * fy
