"""Primitives of the meshes in a glTF scene, transformed to the world, and one texture for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from spinmeround.errors import InputError
from spinmeround.images import linear_to_srgb, resize
from spinmeround.io.gltf.scene import Scene, holds_splats

_PLAIN_PX = 8
"""Side of the texture that stands for a plain colour."""
_MAX_REPEATS = 4
"""How often a texture may repeat along u and still be unrolled."""
_MAX_VECTORS = 2**24
"""Positions, those of morph targets included, in all nodes together: one mesh may be used by any number of them."""


@dataclass(frozen=True)
class Primitive:
    """One primitive in the world, its vertices split as in the file.

    Attributes:
        source: its JSON.
        uv: origin at the bottom-left of the picture.
        normal_texture: image of the normal map on the same coordinates, and its scale.
    """

    source: dict[str, Any]
    points: Float[np.ndarray, "n 3"]
    faces: Int64[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "n 2"] | None
    image: int | None
    normal_texture: tuple[int, float] | None = None


def check_size(scene: Scene, nodes: Iterable[int]) -> None:
    """Check that what the nodes would hold fits into memory, before any of it is read.

    Raises:
        InputError: it would not.
    """
    scene.check_pictures()
    vectors = 0
    for node in nodes:
        for part in scene.document["meshes"][scene.document["nodes"][node]["mesh"]]["primitives"]:
            count = scene.document["accessors"][part["attributes"]["POSITION"]]["count"]
            vectors += int(count) * (1 + len(part.get("targets", [])))
    if vectors > _MAX_VECTORS:
        raise InputError(f"{scene.path}: {vectors} vertices, of morph targets too; at most {_MAX_VECTORS} are read")


def primitives(scene: Scene, node: int, world_from_nodes: dict[int, Float[np.ndarray, "4 4"]]) -> list[Primitive]:
    """Return the primitives of a node's mesh, transformed by the node or, if it has one, by its skin; no splats."""
    described = scene.document["nodes"][node]
    parts = scene.document["meshes"][described["mesh"]]["primitives"]
    skin = described.get("skin")
    return [
        _primitive(scene, part, world_from_nodes[node], skin, world_from_nodes)
        for part in parts
        if not holds_splats(part)
    ]


def _primitive(
    scene: Scene, part: dict[str, Any], world_from_mesh: Float[np.ndarray, "4 4"], skin: int | None, world_from_nodes
) -> Primitive:
    if part.get("mode", 4) != 4:
        raise InputError(f"{scene.path}: lines, points or strips where triangles are needed; export it as triangles")
    points = scene.accessor(part["attributes"]["POSITION"]).astype(np.float64)
    order = scene.accessor(part["indices"])[:, 0] if "indices" in part else np.arange(len(points))
    faces = order.astype(np.int64).reshape(-1, 3)
    if faces.min(initial=0) < 0 or faces.max(initial=0) >= len(points):
        raise InputError(f"{scene.path}: faces refer to vertex {faces.max()} of {len(points)}; export it again")
    if skin is None:
        points = points @ world_from_mesh[:3, :3].T + world_from_mesh[:3, 3]
        faces = faces[:, ::-1] if np.linalg.det(world_from_mesh[:3, :3]) < 0 else faces
    else:
        moved = scene.skin_matrices(skin, world_from_nodes)[scene.accessor(part["attributes"]["JOINTS_0"])]
        by_joint = np.einsum("njab,nb->nja", moved[..., :3, :3], points) + moved[..., :3, 3]
        points = (by_joint * scene.accessor(part["attributes"]["WEIGHTS_0"])[..., None]).sum(1)
    albedo = scene.albedo(part)
    if albedo is None:
        return Primitive(part, points, faces, None, None)
    image, channel = albedo
    uv = scene.accessor(part["attributes"][f"TEXCOORD_{channel}"]).astype(np.float64) * (1, -1) + (0, 1)
    return Primitive(part, points, faces, uv, image, scene.normal_texture(part))


def stack_textures(
    scene: Scene, parts: Sequence[Primitive]
) -> tuple[Float[np.ndarray, "n 2"], Float32[np.ndarray, "h w 3"]]:
    """Stack the pictures of all parts in one texture; return the parts' coordinates in it, and the texture.

    A part without a picture gets a plain one of its base colour.
    """
    keys = [(part.image, part.source.get("material") if part.image is None else None) for part in parts]
    together = {key: [part for part, own in zip(parts, keys, strict=True) if own == key] for key in keys}
    if len(together) == 1:
        return np.concatenate([texture_coordinates(part) for part in parts]), picture_of_part(scene, parts[0])
    spans = {key: _span(members) for key, members in together.items()}
    strips = {key: _strip(picture_of_part(scene, members[0]), *spans[key]) for key, members in together.items()}
    width = max(strip.shape[1] for strip in strips.values())
    # One row of padding at either end: bilinear interpolation stays in its picture.
    strips = {
        key: np.pad(
            resize(strip, width, len(strip)) if strip.shape[1] < width else strip, ((1, 1), (0, 0), (0, 0)), "edge"
        )
        for key, strip in strips.items()
    }
    height = sum(map(len, strips.values()))
    below = dict(zip(strips, height - np.cumsum([len(strip) for strip in strips.values()]), strict=True))
    uv = []
    for part, key in zip(parts, keys, strict=True):
        (left, right), own = spans[key], texture_coordinates(part)
        rows = 1 + np.clip(own[:, 1], 0, 1) * (len(strips[key]) - 2)
        uv.append(np.stack([(own[:, 0] - left) / (right - left), (below[key] + rows) / height], axis=1))
    return np.concatenate(uv), np.concatenate(list(strips.values()))


def texture_coordinates(part: Primitive) -> Float[np.ndarray, "n 2"]:
    """Return the part's own coordinates or, without a texture, those of the middle of a picture."""
    return np.full((len(part.points), 2), 0.5) if part.uv is None else part.uv


def picture_of_part(scene: Scene, part: Primitive) -> Float32[np.ndarray, "h w 3"]:
    """Decode the part's texture; a small plain picture of its base colour if it has none."""
    if part.image is not None:
        return scene.picture(part.image)
    materials = scene.document.get("materials", [])
    described = materials[part.source["material"]] if "material" in part.source else {}
    linear = np.clip(described.get("pbrMetallicRoughness", {}).get("baseColorFactor", [1, 1, 1, 1])[:3], 0, 1)
    return np.broadcast_to(linear_to_srgb(linear).astype(np.float32), (_PLAIN_PX, _PLAIN_PX, 3))


def _span(parts: Sequence[Primitive]) -> tuple[float, float]:
    """Return the range of u the parts use; beyond 0 and 1 the picture repeats."""
    u = np.concatenate([texture_coordinates(part)[:, 0] for part in parts])
    if not np.isfinite(u).all() or np.ptp(u) > _MAX_REPEATS:
        return 0.0, 1.0
    return min(0.0, float(u.min())), max(1.0, float(u.max()))


def _strip(picture: Float32[np.ndarray, "h w 3"], left: float, right: float) -> Float32[np.ndarray, "h w2 3"]:
    """Unroll the picture between two texture coordinates, in whole texels."""
    width = picture.shape[1]
    wanted = round((right - left) * width)
    columns = np.floor((np.arange(wanted) + 0.5) / wanted * (right - left) * width + left * width).astype(np.int64)
    return np.ascontiguousarray(picture[:, columns % width])
