"""Convert meshes and splats to objects of open3d, trimesh and pytorch3d, in the world frame and in head units.

Splats become coloured points at their means, seen without view-dependent colour.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from spinmeround.errors import MissingDependencyError
from spinmeround.images import to_uint8
from spinmeround.io.meshes.corners import split_corners
from spinmeround.types import SH_C0, Mesh, Splats, TexturedMesh

_PIP_NAMES = {"pytorch3d": '"git+https://github.com/facebookresearch/pytorch3d.git"'}


def to_trimesh(shape: Mesh | TexturedMesh | Splats) -> Any:
    """Return a ``trimesh.Trimesh``, with its texture if there is one (vertices split along seams), or a ``PointCloud``.

    Raises:
        MissingDependencyError: trimesh is not installed.
    """
    trimesh = _import("trimesh")
    if isinstance(shape, Splats):
        return trimesh.PointCloud(_points(shape), colors=to_uint8(_colours(shape)))
    if isinstance(shape, Mesh):
        return trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    corners = split_corners(shape)
    visual = trimesh.visual.TextureVisuals(uv=shape.uv[corners.uv], image=Image.fromarray(to_uint8(shape.albedo)))
    return trimesh.Trimesh(shape.vertices[corners.vertex], corners.faces, visual=visual, process=False)


def to_open3d(shape: Mesh | TexturedMesh | Splats) -> Any:
    """Return an ``open3d.geometry.TriangleMesh``, with its texture if there is one, or a ``PointCloud``.

    Row 0 of open3d's textures is the bottom.

    Raises:
        MissingDependencyError: open3d is not installed, or a library of the system that it needs.
    """
    open3d = _import("open3d")

    def points(values: Float[np.ndarray, "n k"]) -> Any:
        return getattr(open3d.utility, f"Vector{values.shape[1]}dVector")(np.ascontiguousarray(values, np.float64))

    if isinstance(shape, Splats):
        cloud = open3d.geometry.PointCloud(points(_points(shape)))
        cloud.colors = points(_colours(shape))
        return cloud
    triangles = open3d.utility.Vector3iVector(np.ascontiguousarray(shape.faces, np.int32))
    mesh = open3d.geometry.TriangleMesh(points(shape.vertices), triangles)
    if isinstance(shape, TexturedMesh):
        mesh.triangle_uvs = points(shape.uv[shape.uv_faces].reshape(-1, 2))
        mesh.triangle_material_ids = open3d.utility.IntVector(np.zeros(len(shape.faces), np.int32))
        mesh.textures = [open3d.geometry.Image(np.ascontiguousarray(to_uint8(shape.albedo)[::-1]))]
    return mesh


def to_pytorch3d(shape: Mesh | TexturedMesh | Splats) -> Any:
    """Return ``pytorch3d.structures.Meshes`` of one mesh with its texture, if any, or ``Pointclouds`` of one cloud.

    Raises:
        MissingDependencyError: pytorch3d is not installed.
    """
    structures = _import("pytorch3d.structures")

    def tensor(values: np.ndarray) -> torch.Tensor:
        kind = torch.int64 if np.issubdtype(values.dtype, np.integer) else torch.float32
        return torch.as_tensor(np.ascontiguousarray(values)).to(kind)

    if isinstance(shape, Splats):
        return structures.Pointclouds(points=[tensor(_points(shape))], features=[tensor(_colours(shape))])
    textures = None
    if isinstance(shape, TexturedMesh):
        textures = _import("pytorch3d.renderer").TexturesUV(
            maps=tensor(shape.albedo)[None], faces_uvs=[tensor(shape.uv_faces)], verts_uvs=[tensor(shape.uv)]
        )
    return structures.Meshes(verts=[tensor(shape.vertices)], faces=[tensor(shape.faces)], textures=textures)


def _points(splats: Splats) -> Float[np.ndarray, "n 3"]:
    return splats.means.detach().cpu().numpy()


def _colours(splats: Splats) -> Float[np.ndarray, "n 3"]:
    return np.clip(0.5 + SH_C0 * splats.sh[:, 0].detach().cpu().numpy(), 0, 1)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        package = name.partition(".")[0]
        reason = str(error).splitlines()[0]
        raise MissingDependencyError(
            f"{package} cannot be used ({reason}); pip install {_PIP_NAMES.get(package, package)}"
        ) from error
