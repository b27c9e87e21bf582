"""Reads the meshes of a binary glTF 2.0 file as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinmeround.errors import InputError
from spinmeround.io.gltf.parts import one_texture, primitives
from spinmeround.io.gltf.scene import Scene, with_scene
from spinmeround.io.meshes.corners import joined
from spinmeround.types import Mesh, TexturedMesh


def read_glb(path: Path) -> Mesh | TexturedMesh:
    """Positions at rest, texture coordinates and base colours of all parts.

    Where there are several textures they come to lie above one another in one; parts without one bring their colour
    along. A normal map is read where all parts have the same. Morph targets, animations and lights are left aside.

    Raises:
        InputError: not such a file, damaged, or compressed.
    """
    return with_scene(path, _read)


def _read(scene: Scene) -> Mesh | TexturedMesh:
    placed = scene.placed()
    nodes = scene.document.get("nodes", [])
    parts = [part for node in placed if "mesh" in nodes[node] for part in primitives(scene, node, placed)]
    if not parts:
        raise InputError(f"{scene.path}: no mesh in its scene; export it again")
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    points = np.concatenate([part.points for part in parts])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    vertices, vertex_faces = joined(points, faces)
    if all(part.image is None for part in parts):
        return Mesh(vertices, vertex_faces)
    uv, texture = one_texture(scene, parts)
    uv, uv_faces = joined(uv, faces)
    reliefs, images = {part.relief for part in parts}, {part.image for part in parts}
    relief = reliefs.pop() if len(reliefs) == len(images) == 1 else None
    normal_map = None if relief is None else scene.normal_map(*relief)
    return TexturedMesh(vertices, vertex_faces, uv, uv_faces, texture, normal_map)
