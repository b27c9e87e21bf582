"""Read the meshes of a binary glTF 2.0 file as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinmeround.errors import InputError
from spinmeround.io.gltf.parts import check_size, primitives, stack_textures
from spinmeround.io.gltf.scene import Scene, with_scene
from spinmeround.io.meshes.corners import merge_duplicates
from spinmeround.types import Mesh, TexturedMesh


def read_glb(path: Path) -> Mesh | TexturedMesh:
    """Read positions at rest, texture coordinates and base colours of all parts, in the units of the file.

    Several textures are stacked in one; parts without a texture contribute their base colour. A normal map is read if
    all parts share it. Opacity, morph targets, animations, lights and splats are ignored.

    Raises:
        InputError: not such a file, damaged, or compressed.
    """
    return with_scene(path, _read)


def _read(scene: Scene) -> Mesh | TexturedMesh:
    world_from_nodes = scene.world_from_nodes()
    nodes = scene.document.get("nodes", [])
    shown = [node for node in world_from_nodes if "mesh" in nodes[node]]
    check_size(scene, shown)
    parts = [part for node in shown for part in primitives(scene, node, world_from_nodes)]
    if not parts:
        advice = "only splats, which read_splats reads" if shown else "export it again"
        raise InputError(f"{scene.path}: no mesh in its scene; {advice}")
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    points = np.concatenate([part.points for part in parts])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    vertices, vertex_faces = merge_duplicates(points, faces)
    if all(part.image is None for part in parts):
        return Mesh(vertices, vertex_faces)
    uv, texture = stack_textures(scene, parts)
    uv, uv_faces = merge_duplicates(uv, faces)
    normal_textures, images = {part.normal_texture for part in parts}, {part.image for part in parts}
    shared = normal_textures.pop() if len(normal_textures) == len(images) == 1 else None
    normal_map = None if shared is None else scene.normal_map(*shared)
    return TexturedMesh(vertices, vertex_faces, uv, uv_faces, texture, normal_map)
