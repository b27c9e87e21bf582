"""Binary glTF 2.0 (Khronos): one mesh, one PNG texture inside the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from spinmeround.images import to_uint8
from spinmeround.io.mesh_corners import smooth_normals, split_corners
from spinmeround.io.pictures import encode_png
from spinmeround.types import Mesh, TexturedMesh

_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP = 9729, 9987, 33071
_ROUGHNESS = 0.9
"""Skin and hair under a plain light; the texture is an albedo, so the material is lit."""


class _Buffer:
    """The binary chunk in the making, and the JSON that describes its parts."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_view(self, data: bytes, *, target: int | None = None) -> int:
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def add_vectors(self, values: Shaped[np.ndarray, "n k"], *, limits: bool = False) -> int:
        values = np.ascontiguousarray(values, "<f4")
        view = self.add_view(values.tobytes(), target=_ARRAY_BUFFER)
        kind = f"VEC{values.shape[1]}"
        accessor: dict[str, Any] = {"bufferView": view, "componentType": _FLOAT, "count": len(values), "type": kind}
        if limits:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_indices(self, faces: Shaped[np.ndarray, "f 3"], *, vertices: int) -> int:
        # The largest value of a type means "restart the strip" and is forbidden.
        component, kind = (_USHORT, "<u2") if vertices < 65535 else (_UINT, "<u4")
        view = self.add_view(np.ascontiguousarray(faces, kind).tobytes(), target=_ELEMENT_ARRAY_BUFFER)
        self.accessors.append({"bufferView": view, "componentType": component, "count": faces.size, "type": "SCALAR"})
        return len(self.accessors) - 1


def write_glb(path: Path, mesh: Mesh | TexturedMesh) -> None:
    """Writes a mesh in metres, +Y up and +Z to the front, as glTF wants it; the material is lit, rough and no metal."""
    buffer = _Buffer()
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
        picture = buffer.add_view(encode_png(to_uint8(mesh.albedo)))
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        document["textures"] = [{"source": 0, "sampler": 0}]
        document["images"] = [{"name": "albedo", "mimeType": "image/png", "bufferView": picture}]
        document["samplers"] = [
            {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}
        ]
    else:
        attributes = {
            "POSITION": buffer.add_vectors(np.asarray(mesh.vertices), limits=True),
            "NORMAL": buffer.add_vectors(normals),
        }
        indices = buffer.add_indices(mesh.faces, vertices=len(mesh.vertices))
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    document["meshes"] = [{"name": "head", "primitives": [primitive]}]
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    path.write_bytes(container(document, bytes(buffer.data)))


def container(document: dict[str, Any], binary: bytes) -> bytes:
    """The GLB container: a header, the JSON chunk and the binary chunk, each padded to four bytes."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    size = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, size),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\x00"),
            binary,
        ]
    )
