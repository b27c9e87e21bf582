"""Parse a binary glTF 2.0 file: its JSON, accessors, node transforms and textures."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32, Shaped

from spinmeround.errors import InputError
from spinmeround.images import to_float
from spinmeround.io.pictures import MAX_PIXELS, decode_picture, encoded_size_px

GAUSSIAN_SPLATTING = "KHR_gaussian_splatting"

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MAX_ZEROS = 2**24
"""Values in an accessor that has no data of its own, so that a small file cannot fill the memory."""

_KNOWN_EXTENSIONS = ("VRMC_vrm", GAUSSIAN_SPLATTING)
"""Extensions that a file may require: what they hold is read, or is beside what is read."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Scene:
    """A file's JSON and its binary chunk."""

    path: Path
    document: dict[str, Any]
    binary: memoryview

    def accessor(self, index: int) -> Shaped[np.ndarray, "n k"]:
        """Return the values of an accessor; normalised integers become [0, 1] or [-1, 1]."""
        accessor = self.document["accessors"][index]
        kind = np.dtype(_TYPES[accessor["componentType"]])
        width, count = _WIDTHS[accessor["type"]], int(accessor["count"])
        if "bufferView" in accessor:
            values = self._strided(accessor, kind, count, width)
        elif 0 <= count * width <= _MAX_ZEROS:
            values = np.zeros((count, width), kind)
        else:
            raise ValueError(f"an accessor of {count} values without data")
        if (sparse := accessor.get("sparse")) is not None:
            some, at, put = int(sparse["count"]), sparse["indices"], sparse["values"]
            rows = self._strided(at, np.dtype(_TYPES[at["componentType"]]), some, 1)[:, 0]
            values[rows] = self._strided(put, kind, some, width)
        if accessor.get("normalized") and kind.kind in "iu":
            return values / np.iinfo(kind).max
        return values

    def _strided(self, part: dict[str, Any], kind: np.dtype, count: int, width: int) -> Shaped[np.ndarray, "n k"]:
        view = self.document["bufferViews"][part["bufferView"]]
        stride = int(view.get("byteStride", kind.itemsize * width))
        data = self.view(view)[int(part.get("byteOffset", 0)) :]
        if count < 0 or stride < kind.itemsize * width or (count - 1) * stride + kind.itemsize * width > len(data):
            raise ValueError("an accessor reaches over the end of its data")
        return np.ndarray((count, width), kind, data, strides=(stride, kind.itemsize)).copy()

    def view(self, view: dict[str, Any]) -> memoryview:
        """Return the bytes of a buffer view."""
        start, length = int(view.get("byteOffset", 0)), int(view["byteLength"])
        if view.get("buffer", 0) != 0 or start < 0 or length < 0 or start + length > len(self.binary):
            raise ValueError("a part reaches over the end of the binary chunk")
        return self.binary[start : start + length]

    def world_from_nodes(self, *, of_every_scene: bool = False) -> dict[int, Float[np.ndarray, "4 4"]]:
        """Return the transforms of all nodes of the scene, in order; a node is visited once, so that cycles end.

        Args:
            of_every_scene: rather than of the one that the file shows at first.
        """
        nodes = self.document.get("nodes", [])
        scenes = self.document.get("scenes", [])
        shown = scenes if of_every_scene or not scenes else [scenes[self.document.get("scene", 0)]]
        roots = [node for scene in shown for node in scene.get("nodes", [])] if scenes else range(len(nodes))
        waiting = [(np.eye(4), index) for index in reversed(list(roots))]
        found: dict[int, Float[np.ndarray, "4 4"]] = {}
        while waiting:
            world_from_parent, index = waiting.pop()
            if index in found:
                continue
            node = nodes[index]
            found[index] = world_from_parent @ _parent_from_node(node)
            waiting += [(found[index], child) for child in reversed(node.get("children", []))]
        return found

    def skin_matrices(
        self, skin: int, world_from_nodes: dict[int, Float[np.ndarray, "4 4"]]
    ) -> Float[np.ndarray, "j 4 4"]:
        """Return world-from-mesh for each joint, in the pose of the file."""
        joints = self.document["skins"][skin]["joints"]
        inverse_bind = self.document["skins"][skin].get("inverseBindMatrices")
        mesh = np.tile(np.eye(4), (len(joints), 1, 1))
        if inverse_bind is not None:
            mesh = np.swapaxes(self.accessor(inverse_bind).astype(np.float64).reshape(-1, 4, 4), 1, 2)
        return np.stack([world_from_nodes[joint] for joint in joints]) @ mesh

    def albedo(self, part: dict[str, Any]) -> tuple[int, int] | None:
        """Return the indices of a primitive's base colour image and of its texture coordinates, if it has a texture."""
        if "material" not in part:
            return None
        used = self.document["materials"][part["material"]].get("pbrMetallicRoughness", {}).get("baseColorTexture")
        if used is None:
            return None
        if "KHR_texture_transform" in used.get("extensions", {}):
            raise InputError(f"{self.path}: the texture is moved by KHR_texture_transform; apply that first")
        return int(self.document["textures"][used["index"]]["source"]), int(used.get("texCoord", 0))

    def normal_texture(self, part: dict[str, Any]) -> tuple[int, float] | None:
        """Return image index and scale of a primitive's normal map, if it shares the base colour's coordinates."""
        described = self.document["materials"][part["material"]] if "material" in part else {}
        used, albedo = described.get("normalTexture"), self.albedo(part)
        if used is None or albedo is None or used.get("texCoord", 0) != albedo[1] or "extensions" in used:
            return None
        return int(self.document["textures"][used["index"]]["source"]), float(used.get("scale", 1.0))

    def normal_map(self, index: int, scale: float) -> Float32[np.ndarray, "h w 3"]:
        """Decode an image as unit normals in tangent space."""
        normals = (self.picture(index) * 2 - 1) * np.array([scale, scale, 1], np.float32)
        return normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)

    def is_cut_out(self, part: dict[str, Any]) -> bool:
        """Whether the material of a primitive takes its opacity from the base colour's image."""
        described = self.document["materials"][part["material"]] if "material" in part else {}
        return described.get("alphaMode", "OPAQUE") != "OPAQUE"

    def picture(self, index: int) -> Float32[np.ndarray, "h w 3"]:
        """Decode an image as sRGB in [0, 1]."""
        picture = self._decoded(index)
        return np.ascontiguousarray(np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3)))

    def alpha(self, index: int) -> Float32[np.ndarray, "h w"] | None:
        """Decode the opacity of an image; None if it has none."""
        picture = self._decoded(index)
        return np.ascontiguousarray(picture[..., 3]) if picture.shape[2] == 4 else None

    def check_pictures(self) -> None:
        """Check that all pictures together, decoded, fit into memory: a few kilobytes may unpack to gigabytes.

        Raises:
            InputError: they would not.
        """
        inside = [image for image in self.document.get("images", []) if "bufferView" in image]
        sizes = [encoded_size_px(self._encoded(image), name=f"{self.path}: the texture") for image in inside]
        pixels = sum(width * height for width, height in sizes)
        if pixels > MAX_PIXELS:
            raise InputError(f"{self.path}: textures of {pixels:,} pixels, more than {MAX_PIXELS:,}; shrink them first")

    def _encoded(self, image: dict[str, Any]) -> bytes:
        if "bufferView" not in image:
            raise InputError(f"{self.path}: the texture lies outside the file; export it as one .glb")
        return bytes(self.view(self.document["bufferViews"][image["bufferView"]]))

    def _decoded(self, index: int) -> Float32[np.ndarray, "h w c"]:
        data = self._encoded(self.document["images"][index])
        return to_float(decode_picture(data, name=f"{self.path}: the texture"))


def holds_splats(part: dict[str, Any]) -> bool:
    """Whether a primitive holds splats."""
    return GAUSSIAN_SPLATTING in part.get("extensions", {})


def with_scene(path: Path, read: Callable[[Scene], Result]) -> Result:
    """Open a file and return what ``read`` makes of it.

    Raises:
        InputError: not such a file, damaged, or compressed.
    """
    scene = _open(path)
    try:
        required = [name for name in scene.document.get("extensionsRequired", []) if name not in _KNOWN_EXTENSIONS]
        if required:
            raise InputError(
                f"{path}: needs {', '.join(required)}, which is not read here; export it without compression"
            )
        return read(scene)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: a damaged glTF file ({type(error).__name__}: {error}); export it again") from error


def _open(path: Path) -> Scene:
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
        raise InputError(f"{path}: a damaged glTF file (its JSON is not an object); export it again")
    return Scene(path, document, chunks.get(b"BIN\x00", memoryview(b"")))


def _parent_from_node(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
