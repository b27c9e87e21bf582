"""Read an avatar from binary glTF: its parts with textures, bones and morph targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.errors import InputError
from spinmeround.io.gltf.parts import Primitive, check_size, picture_of_part, primitives, texture_coordinates
from spinmeround.io.gltf.pose_read import read_poses, target_names
from spinmeround.io.gltf.scene import Scene, with_scene
from spinmeround.io.gltf.springs import read_springs
from spinmeround.io.meshes.corners import merge_duplicates
from spinmeround.types import Avatar, AvatarPart, Joint, TexturedMesh

_Pictures = dict[tuple[int | None, int | None], Float32[np.ndarray, "h w 3"]]
"""By the image or, without one, by the material."""


def read_avatar_glb(path: Path) -> Avatar:
    """Read an avatar in metres from ``.glb`` or ``.vrm``; see ``spinmeround.io.read_avatar``.

    Parts with opacity keep the file's normals, which are not those of their faces; others get new ones.

    A part without a texture gets a plain one of its base colour.

    Raises:
        InputError: no such file, damaged, compressed, or without a skeleton.
    """
    return with_scene(path, _read)


def _read(scene: Scene) -> Avatar:
    world_from_nodes = scene.world_from_nodes()
    nodes = scene.document.get("nodes", [])
    rigged = [node for node in world_from_nodes if "mesh" in nodes[node] and "skin" in nodes[node]]
    if not rigged:
        raise InputError(f"{scene.path}: no mesh with a skeleton, so no avatar; read_mesh reads plain meshes")
    check_size(scene, rigged)
    skins = {nodes[node]["skin"] for node in rigged}
    if len(skins) > 1:
        raise InputError(f"{scene.path}: {len(skins)} skeletons; join them to one")
    joint_nodes = scene.document["skins"][skins.pop()]["joints"]
    joints = _joints(nodes, joint_nodes, world_from_nodes)
    pictures: _Pictures = {}
    normal_maps: dict[tuple[int, float], Float32[np.ndarray, "h w 3"]] = {}
    parts = []
    for node in rigged:
        mesh = scene.document["meshes"][nodes[node]["mesh"]]
        several = primitives(scene, node, world_from_nodes)
        for number, one in enumerate(several):
            name = mesh.get("name", "part") + (f"_{number}" if len(several) > 1 else "")
            if one.normal_texture is not None and one.normal_texture not in normal_maps:
                normal_maps[one.normal_texture] = scene.normal_map(*one.normal_texture)
            part = _part(scene, mesh, name, one, pictures)
            normal_map = None if one.normal_texture is None else normal_maps[one.normal_texture]
            parts.append(replace(part, mesh=replace(part.mesh, normal_map=normal_map)))
    names = max((tuple(part.morphs) for part in parts), key=len)
    others = dict.fromkeys(name for part in parts for name in part.morphs)
    morph_names = (*names, *(name for name in others if name not in names))
    springs, colliders = read_springs(scene, {node: index for index, node in enumerate(joint_nodes)}, joints)
    return Avatar(tuple(parts), joints, morph_names, read_poses(scene, morph_names), springs, colliders)


def _joints(
    nodes: list[Any], joint_nodes: list[int], world_from_nodes: dict[int, Float[np.ndarray, "4 4"]]
) -> tuple[Joint, ...]:
    parent_of = {child: index for index, node in enumerate(nodes) for child in node.get("children", [])}
    number = {node: index for index, node in enumerate(joint_nodes)}
    found = []
    for node in joint_nodes:
        above, passed = parent_of.get(node), {node}
        while above is not None and above not in number:
            if above in passed:
                raise ValueError("nodes in a circle")
            passed.add(above)
            above = parent_of.get(above)
        parent = -1 if above is None else number[above]
        found.append(Joint(nodes[node].get("name", ""), parent, world_from_nodes[node][:3, 3]))
    return tuple(found)


def _part(
    scene: Scene,
    mesh: dict[str, Any],
    name: str,
    one: Primitive,
    pictures: _Pictures,
) -> AvatarPart:
    described = scene.document["materials"][one.source["material"]] if "material" in one.source else {}
    key = (one.image, one.source.get("material") if one.image is None else None)
    if key not in pictures:
        pictures[key] = picture_of_part(scene, one)  # parts that share one get the same array
    joints = scene.accessor(one.source["attributes"]["JOINTS_0"]).astype(np.int64)
    weights = scene.accessor(one.source["attributes"]["WEIGHTS_0"]).astype(np.float64)
    targets = one.source.get("targets", [])
    names = target_names(mesh, len(targets))
    morphs = [scene.accessor(target["POSITION"]).astype(np.float64) for target in targets]
    columns = [one.points, joints, weights, *morphs]
    cut_out = scene.is_cut_out(one.source)
    if keeps_normals := cut_out and "NORMAL" in one.source["attributes"]:
        columns.append(scene.accessor(one.source["attributes"]["NORMAL"]).astype(np.float64))
    values, faces = merge_duplicates(np.concatenate(columns, axis=1), one.faces)
    uv, uv_faces = merge_duplicates(texture_coordinates(one), one.faces)
    alpha = scene.alpha(one.image) if cut_out and one.image is not None else None
    normals = values[:, -3:] if keeps_normals else None
    textured = TexturedMesh(values[:, :3], faces, uv, uv_faces, pictures[key], alpha=alpha, normals=normals)
    moved = {n: values[:, 11 + 3 * k : 14 + 3 * k] for k, n in enumerate(names[: len(morphs)])}
    return AvatarPart(
        name,
        textured,
        values[:, 3:7].astype(np.int64),
        values[:, 7:11],
        moved,
        float(described.get("pbrMetallicRoughness", {}).get("roughnessFactor", 1.0)),
        two_sided=bool(described.get("doubleSided", False)),
    )
