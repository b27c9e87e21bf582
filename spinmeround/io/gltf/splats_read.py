"""Read the splats of a binary glTF 2.0 file, KHR_gaussian_splatting (Khronos, ratified 2026)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32

from spinmeround.errors import InputError
from spinmeround.io.gltf.scene import GAUSSIAN_SPLATTING, Scene, holds_splats, with_scene
from spinmeround.io.gltf.splats_write import harmonic_names
from spinmeround.io.splats.turning import moved
from spinmeround.types import Splats

_ATTRIBUTES = {
    "POSITION": "VEC3",
    f"{GAUSSIAN_SPLATTING}:ROTATION": "VEC4",
    f"{GAUSSIAN_SPLATTING}:SCALE": "VEC3",
    f"{GAUSSIAN_SPLATTING}:OPACITY": "SCALAR",
}
_FEWEST_BYTES = 8
"""Of a splat in the file. The tightest take 32; meshes may be used by several nodes, but none can fill the memory."""
_SAME = 1e-4
"""Relative difference below which the axes of a node are as long as each other, and at right angles."""


def read_splats_glb(path: Path) -> Splats:
    """Read the splats of every scene as one, in the world of the file; missing harmonics are 0.

    Meshes beside them are ignored.

    Raises:
        InputError: not such a file, damaged, compressed, without splats, or with such as cannot be held: colours in
            another space than sRGB, another kernel, nodes that stretch or mirror.
    """
    return with_scene(path, _read)


def _read(scene: Scene) -> Splats:
    nodes, meshes = scene.document.get("nodes", []), scene.document.get("meshes", [])
    found = [
        (part, world_from_node)
        for node, world_from_node in scene.world_from_nodes(of_every_scene=True).items()
        if "mesh" in nodes[node]
        for part in meshes[nodes[node]["mesh"]]["primitives"]
        if holds_splats(part)
    ]
    if not found:
        raise InputError(f"{scene.path}: no splats in it ({GAUSSIAN_SPLATTING}); read_mesh and read_avatar read meshes")
    count = sum(_checked_count(scene, part) for part, _ in found)
    if count * _FEWEST_BYTES > len(scene.binary):
        raise ValueError(f"{count} splats in {len(scene.binary)} bytes")
    return _joined([_moved(scene, _splats(scene, part), world_from_node) for part, world_from_node in found])


def _checked_count(scene: Scene, part: dict[str, Any]) -> int:
    """Return how many splats a primitive says it holds, after checks of all that is said about them."""
    described = part["extensions"][GAUSSIAN_SPLATTING]
    if packed := described.get("extensions"):
        raise InputError(f"{scene.path}: splats need {', '.join(packed)}, which is not read here; export plain ones")
    for name, known in (("kernel", "ellipse"), ("colorSpace", "srgb_rec709_display")):
        if described.get(name) != known:
            raise InputError(f"{scene.path}: splats with the {name} {described.get(name)!r}; this reads {known!r}")
    counts = set()
    for name, kind in {**_ATTRIBUTES, **dict.fromkeys(_harmonics(part), "VEC3")}.items():
        accessor = scene.document["accessors"][part["attributes"][name]]
        if accessor["type"] != kind:
            raise ValueError(f"{name} is {accessor['type']}, not {kind}")
        counts.add(int(accessor["count"]))
    if len(counts) > 1 or min(counts) < 0:
        raise ValueError(f"attributes of {' and '.join(map(str, sorted(counts)))} splats in one primitive")
    return counts.pop()


def _harmonics(part: dict[str, Any]) -> list[str]:
    """Return the names of a primitive's harmonics; those of a degree stand there all or not at all."""
    present = {name for name in part["attributes"] if name.startswith(f"{GAUSSIAN_SPLATTING}:SH_")}
    names = next((names for k in (1, 4, 9, 16) if present == {*(names := harmonic_names(k))}), None)
    if names is None:
        raise ValueError(f"{len(present)} harmonics; degree 0 to 3 has 1, 4, 9 or 16")
    return names


def _splats(scene: Scene, part: dict[str, Any]) -> Splats:
    def values(name: str) -> Float32[np.ndarray, "n k"]:
        return scene.accessor(part["attributes"][name]).astype(np.float32)

    means, quats_xyzw, scales, opacities = map(values, _ATTRIBUTES)
    if (scales < 0).any():
        raise InputError(
            f"{scene.path}: splats of negative scale, as drafts of {GAUSSIAN_SPLATTING} had them; export it again with "
            "a current version of the program"
        )
    sh = np.stack([values(name) for name in _harmonics(part)], axis=1)
    return Splats(*map(torch.from_numpy, (means, scales, quats_xyzw[:, [3, 0, 1, 2]], opacities[:, 0], sh)))


def _moved(scene: Scene, splats: Splats, world_from_node: Float[np.ndarray, "4 4"]) -> Splats:
    if np.array_equal(world_from_node, np.eye(4)):
        return splats
    linear = world_from_node[:3, :3]
    scale = float(np.cbrt(np.linalg.det(linear)))
    rotation = linear / scale if scale > 0 else np.zeros((3, 3))
    if not np.abs(rotation.T @ rotation - np.eye(3)).max() < _SAME:
        raise InputError(
            f"{scene.path}: a node stretches or mirrors its splats; apply its transform and export it again"
        )
    if not bool((splats.quats_wxyz != 0).any(dim=1).all()):
        raise ValueError("rotations of zero length")
    return moved(splats, rotation=rotation, scale=scale, shift=world_from_node[:3, 3])


def _joined(parts: list[Splats]) -> Splats:
    """Return the splats of all parts, with as many harmonics as the part that has most."""
    most = max(part.sh.shape[1] for part in parts)
    harmonics = [torch.nn.functional.pad(part.sh, (0, 0, 0, most - part.sh.shape[1])) for part in parts]
    return Splats(
        torch.cat([part.means for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat([part.quats_wxyz for part in parts]),
        torch.cat([part.opacities for part in parts]),
        torch.cat(harmonics),
    )
