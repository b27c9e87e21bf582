"""Reads the one mesh of a binary glTF 2.0 file, wherever its scene places it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from spinmeround.errors import InputError
from spinmeround.images import to_float
from spinmeround.io.mesh_corners import joined
from spinmeround.io.pictures import decode_picture
from spinmeround.types import Mesh, TexturedMesh

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def read_glb(path: Path) -> Mesh | TexturedMesh:
    """Positions, texture coordinates and base colour texture; skins, animations and lights are left aside.

    Raises:
        InputError: not such a file, damaged, compressed, or of several parts.
    """
    document, binary = _chunks(path)
    try:
        return _read(path, document, binary)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: a damaged glTF file ({type(error).__name__}: {error}); export it again") from error


def _chunks(path: Path) -> tuple[dict[str, Any], memoryview]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) < 20 or data[:4] != b"glTF":
        raise InputError(f"{path}: not a binary glTF file")
    _, version, size = struct.unpack_from("<4sII", data)
    if version != 2:
        raise InputError(f"{path}: glTF of version {version}; this reads version 2")
    if size > len(data):
        raise InputError(f"{path}: cut short: {len(data)} bytes of {size}; copy or export it again")
    chunks: dict[bytes, memoryview] = {}
    offset = 12
    while offset + 8 <= size:
        length, kind = struct.unpack_from("<I4s", data, offset)
        if offset + 8 + length > size:
            raise InputError(f"{path}: a damaged glTF file (a chunk reaches over its end); export it again")
        chunks.setdefault(kind, memoryview(data)[offset + 8 : offset + 8 + length])
        offset += 8 + length
    try:
        document = json.loads(bytes(chunks.get(b"JSON", b"")))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: a damaged glTF file (its JSON cannot be read); export it again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: a damaged glTF file (its JSON is no object); export it again")
    return document, chunks.get(b"BIN\x00", memoryview(b""))


def _read(path: Path, document: dict[str, Any], binary: memoryview) -> Mesh | TexturedMesh:
    required = document.get("extensionsRequired", [])
    if required:
        raise InputError(f"{path}: needs {', '.join(required)}, which is not read here; export it without compression")
    placed = _placed_meshes(document)
    parts = [(world, part) for world, index in placed for part in document["meshes"][index]["primitives"]]
    if len(parts) != 1:
        raise InputError(
            f"{path}: {len(parts)} parts where one mesh is needed; join them first, in Blender for instance"
        )
    world_from_mesh, part = parts[0]
    if part.get("mode", 4) != 4:
        raise InputError(f"{path}: lines, points or strips where triangles are needed; export it as triangles")
    points = _accessor(document, binary, part["attributes"]["POSITION"]).astype(np.float64)
    points = points @ world_from_mesh[:3, :3].T + world_from_mesh[:3, 3]
    order = _accessor(document, binary, part["indices"])[:, 0] if "indices" in part else np.arange(len(points))
    faces = order.astype(np.int64).reshape(-1, 3)
    if np.linalg.det(world_from_mesh[:3, :3]) < 0:
        faces = faces[:, ::-1]
    if faces.min(initial=0) < 0 or faces.max(initial=0) >= len(points):
        raise InputError(f"{path}: faces ask for vertex {faces.max()} of {len(points)}; export it again")
    vertices, vertex_faces = joined(points, faces)
    albedo = _albedo(path, document, binary, part)
    if albedo is None:
        return Mesh(vertices, vertex_faces)
    texture, channel = albedo
    uv = _accessor(document, binary, part["attributes"][f"TEXCOORD_{channel}"]).astype(np.float64) * (1, -1) + (0, 1)
    uv, uv_faces = joined(uv, faces)
    return TexturedMesh(vertices, vertex_faces, uv, uv_faces, texture)


def _placed_meshes(document: dict[str, Any]) -> list[tuple[Float[np.ndarray, "4 4"], int]]:
    """Meshes of the scene with the transform of their node; a node is visited once, so that cycles end."""
    nodes = document.get("nodes", [])
    scenes = document.get("scenes", [])
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else range(len(nodes))
    waiting = [(np.eye(4), index) for index in reversed(list(roots))]
    seen: set[int] = set()
    found = []
    while waiting:
        world_from_parent, index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        node = nodes[index]
        world_from_node = world_from_parent @ _local(node)
        if "mesh" in node:
            found.append((world_from_node, node["mesh"]))
        waiting += [(world_from_node, child) for child in reversed(node.get("children", []))]
    return found


def _local(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _accessor(document: dict[str, Any], binary: memoryview, index: int) -> Shaped[np.ndarray, "n k"]:
    """The values of an accessor, strided or not; numbers marked as normalised come back in [0, 1] or [-1, 1]."""
    accessor = document["accessors"][index]
    if "sparse" in accessor or "bufferView" not in accessor:
        raise ValueError("sparse accessors are not read")
    view = document["bufferViews"][accessor["bufferView"]]
    kind = np.dtype(_TYPES[accessor["componentType"]])
    width, count = _WIDTHS[accessor["type"]], int(accessor["count"])
    stride = int(view.get("byteStride", kind.itemsize * width))
    data = _view(view, binary)[int(accessor.get("byteOffset", 0)) :]
    if count < 0 or stride < kind.itemsize * width or (count - 1) * stride + kind.itemsize * width > len(data):
        raise ValueError("an accessor reaches over the end of its data")
    values = np.ndarray((count, width), kind, data, strides=(stride, kind.itemsize))
    if accessor.get("normalized") and kind.kind in "iu":
        return values / np.iinfo(kind).max
    return values.copy()


def _view(view: dict[str, Any], binary: memoryview) -> memoryview:
    start, length = int(view.get("byteOffset", 0)), int(view["byteLength"])
    if view.get("buffer", 0) != 0 or start < 0 or length < 0 or start + length > len(binary):
        raise ValueError("a part reaches over the end of the binary chunk")
    return binary[start : start + length]


def _albedo(
    path: Path, document: dict[str, Any], binary: memoryview, part: dict[str, Any]
) -> tuple[Float[np.ndarray, "h w 3"], int] | None:
    """The base colour texture and the number of its texture coordinates."""
    if "material" not in part:
        return None
    used = document["materials"][part["material"]].get("pbrMetallicRoughness", {}).get("baseColorTexture")
    if used is None:
        return None
    if "KHR_texture_transform" in used.get("extensions", {}):
        raise InputError(f"{path}: the texture is moved by KHR_texture_transform; apply that first")
    image = document["images"][document["textures"][used["index"]]["source"]]
    if "bufferView" not in image:
        raise InputError(f"{path}: the texture lies outside the file; export it as one .glb")
    data = bytes(_view(document["bufferViews"][image["bufferView"]], binary))
    picture = to_float(decode_picture(data, name=f"{path}: the texture"))
    texture = np.ascontiguousarray(np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3)))
    return texture, int(used.get("texCoord", 0))
