"""Binary glTF 2.0 (Khronos): one mesh, its texture and normal map as PNG inside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spinmeround.images import to_uint8
from spinmeround.io.gltf.buffer import Buffer, container
from spinmeround.io.gltf.splats_write import add_splats
from spinmeround.io.meshes.corners import smooth_normals, split_corners
from spinmeround.io.meshes.scaling import scaled
from spinmeround.io.pictures import encode_cutout, encode_normal_map, encode_png
from spinmeround.types import ALPHA_CUTOFF, ColouredMesh, Mesh, Splats, TexturedMesh

_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP = 9729, 9987, 33071
_ROUGHNESS = 0.9
"""Skin and hair under a plain light; the texture is an albedo, so the material is lit."""


def write_glb(
    path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float, splats: Splats | None = None
) -> None:
    """Write a mesh in metres, +Y up and +Z to the front, as glTF has it; the material is lit, rough and not metallic.

    Colours of vertices are not written. Splats are a scene of their own.
    """
    mesh = scaled(mesh, metres_per_unit)
    buffer = Buffer()
    normals = smooth_normals(mesh)
    material: dict[str, Any] = {
        "name": "head",
        "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": _ROUGHNESS},
    }
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "spinmeround"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "head", "mesh": 0}],
        "materials": [material],
    }
    if isinstance(mesh, TexturedMesh):
        corners = split_corners(mesh)
        uv = np.asarray(mesh.uv, np.float64)[corners.uv] * (1, -1) + (0, 1)
        attributes = {
            "POSITION": buffer.add_vectors(np.asarray(mesh.vertices)[corners.vertex], limits=True),
            "NORMAL": buffer.add_vectors(normals[corners.vertex]),
            "TEXCOORD_0": buffer.add_vectors(uv),
        }
        indices = buffer.add_indices(corners.faces, vertices=len(corners.vertex))
        picture = buffer.add_view(
            encode_png(to_uint8(mesh.albedo)) if mesh.alpha is None else encode_cutout(mesh.albedo, mesh.alpha)
        )
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        document["textures"] = [{"source": 0, "sampler": 0}]
        document["images"] = [{"name": "albedo", "mimeType": "image/png", "bufferView": picture}]
        document["samplers"] = [
            {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}
        ]
        if mesh.alpha is not None:
            material |= {"alphaMode": "MASK", "alphaCutoff": ALPHA_CUTOFF, "doubleSided": True}
        if mesh.normal_map is not None and corners.tangents is not None:
            attributes["TANGENT"] = buffer.add_vectors(corners.tangents)
            normals_picture = buffer.add_view(encode_normal_map(mesh.normal_map))
            material["normalTexture"] = {"index": 1}
            document["textures"].append({"source": 1, "sampler": 0})
            document["images"].append({"name": "normal", "mimeType": "image/png", "bufferView": normals_picture})
    else:
        attributes = {
            "POSITION": buffer.add_vectors(np.asarray(mesh.vertices), limits=True),
            "NORMAL": buffer.add_vectors(normals),
        }
        indices = buffer.add_indices(mesh.faces, vertices=len(mesh.vertices))
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    document["meshes"] = [{"name": "head", "primitives": [primitive]}]
    if splats is not None:
        add_splats(document, buffer, splats, metres_per_unit=metres_per_unit)
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    path.write_bytes(container(document, bytes(buffer.data)))
