"""Avatars as binary glTF 2.0 with skin, bones and morph targets; VRM 1.0 is that with a humanoid's bones and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.io.gltf import vrm
from spinmeround.io.gltf.animation import face_animation, held
from spinmeround.io.gltf.buffer import Buffer, container
from spinmeround.io.gltf.splats_write import add_splats
from spinmeround.io.gltf.springs import add_springs
from spinmeround.io.meshes.corners import smooth_normals, split_corners
from spinmeround.io.pictures import encode_cutout, encode_jpeg, encode_normal_map
from spinmeround.types import ALPHA_CUTOFF, Avatar, AvatarPart, FaceClip, Joint, Splats

_LINEAR, _LINEAR_MIPMAP_LINEAR, _REPEAT, _CLAMP = 9729, 9987, 10497, 33071


def write_avatar_glb(
    path: Path, avatar: Avatar, *, metres_per_unit: float, clip: FaceClip | None = None, splats: Splats | None = None
) -> None:
    """Write an avatar in metres, +Y up and +Z to the front.

    Each part is a mesh of its own on one skin. Morph targets carry their names in ``mesh.extras.targetNames`` and
    store only the vertices they move. The textures are JPEG, PNG if they have opacity; normal maps are PNG. Each pose
    is an animation of one key. Springs are written as VRM does; programs that do not know the extension see bones.

    Args:
        clip: the animation ``face``; it comes before the poses, since many programs play the first one.
        splats: a scene of their own; the avatar's is the one that is shown at first.
    """
    joints = _in_metres(avatar.joints, metres_per_unit)
    document, buffer = _document(avatar, joints, np.zeros(3), metres_per_unit, clip)
    add_springs(document, avatar, joints, metres_per_unit=metres_per_unit)
    if splats is not None:
        add_splats(document, buffer, splats, metres_per_unit=metres_per_unit)
    path.write_bytes(container(document, bytes(buffer.data)))


def write_vrm(path: Path, avatar: Avatar, *, metres_per_unit: float, clip: None = None) -> None:
    """Write VRM 1.0: the same on the bones of a standing body, with VRM's bone names and expressions.

    Each pose is a custom expression.
    """
    joints, lift = vrm.add_body(_in_metres(avatar.joints, metres_per_unit))
    still = replace(avatar, poses={})  # they are expressions of the extension
    document, buffer = _document(still, joints, lift, metres_per_unit, clip)
    vrm.add_extension(document, avatar, joints, name=path.stem)
    shoulders = vrm.shoulder_colliders(joints)
    add_springs(document, avatar, joints, metres_per_unit=metres_per_unit, shoulders=shoulders)
    path.write_bytes(container(document, bytes(buffer.data)))


def _in_metres(joints: Sequence[Joint], metres_per_unit: float) -> tuple[Joint, ...]:
    return tuple(Joint(joint.name, joint.parent, joint.position * metres_per_unit) for joint in joints)


def _document(
    avatar: Avatar,
    joints: tuple[Joint, ...],
    lift: Float[np.ndarray, "3"],
    metres_per_unit: float,
    clip: FaceClip | None,
) -> tuple[dict[str, Any], Buffer]:
    """Build the glTF JSON and its binary chunk: first a node for each joint, then one for each part.

    Args:
        joints: in metres; the avatar's own, by name, are among them.
        lift: translation of the meshes to the joints, metres.
    """
    buffer = Buffer()
    number = {joint.name: index for index, joint in enumerate(joints)}
    own = [number[joint.name] for joint in avatar.joints]
    nodes = _bones(joints)
    nodes += [{"name": part.name, "mesh": k, "skin": 0} for k, part in enumerate(avatar.parts)]
    textures = _Textures(buffer)
    meshes = [_mesh(buffer, part, k, lift, metres_per_unit) for k, part in enumerate(avatar.parts)]
    materials = [_material(part, textures) for part in avatar.parts]
    mesh_from_bone = np.tile(np.eye(4), (len(own), 1, 1))
    mesh_from_bone[:, :3, 3] = [-joints[index].position for index in own]
    matrices = buffer.add_matrices(mesh_from_bone)
    clips = [] if clip is None else [("face", clip)]
    clips += [(name, held(weights)) for name, weights in avatar.poses.items()]
    part_nodes = range(len(joints), len(nodes))
    animations = [
        face_animation(buffer, avatar, each, name=name, joint_nodes=own, part_nodes=part_nodes) for name, each in clips
    ]
    document = {
        "asset": {"version": "2.0", "generator": "spinmeround"},
        "scene": 0,
        "scenes": [{"nodes": [k for k, j in enumerate(joints) if j.parent < 0] + [*range(len(joints), len(nodes))]}],
        "nodes": nodes,
        "meshes": meshes,
        "skins": [{"name": "head", "joints": own, "inverseBindMatrices": matrices}],
        "materials": materials,
        "textures": textures.textures,
        "images": textures.images,
        "samplers": [{"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _REPEAT, "wrapT": _CLAMP}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return document | ({"animations": animations} if animations else {}), buffer


def _bones(joints: Sequence[Joint]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    for index, joint in enumerate(joints):
        from_parent = joint.position - (joints[joint.parent].position if joint.parent >= 0 else 0)
        node: dict[str, Any] = {"name": joint.name, "translation": from_parent.tolist()}
        children = [k for k, other in enumerate(joints) if other.parent == index]
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def _mesh(
    buffer: Buffer, part: AvatarPart, material: int, lift: Float[np.ndarray, "3"], metres_per_unit: float
) -> dict[str, Any]:
    corners = split_corners(part.mesh)
    at = corners.vertex
    attributes = {
        "POSITION": buffer.add_vectors(part.mesh.vertices[at] * metres_per_unit + lift, limits=True),
        "NORMAL": buffer.add_vectors(smooth_normals(part.mesh)[at]),
        "TEXCOORD_0": buffer.add_vectors(part.mesh.uv[corners.uv] * (1, -1) + (0, 1)),
        "JOINTS_0": buffer.add_joints(part.joints[at]),
        "WEIGHTS_0": buffer.add_vectors(part.weights[at]),
    }
    if corners.tangents is not None:
        attributes["TANGENT"] = buffer.add_vectors(corners.tangents)
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": buffer.add_indices(corners.faces, vertices=len(at)),
        "material": material,
    }
    mesh: dict[str, Any] = {"name": part.name, "primitives": [primitive]}
    if part.morphs:
        moved = [buffer.add_sparse_vectors(values[at] * metres_per_unit) for values in part.morphs.values()]
        primitive["targets"] = [{"POSITION": accessor} for accessor in moved]
        mesh |= {"weights": [0.0] * len(moved), "extras": {"targetNames": list(part.morphs)}}
    return mesh


def _material(part: AvatarPart, textures: _Textures) -> dict[str, Any]:
    surface = {
        "baseColorTexture": {"index": textures.albedo(part)},
        "metallicFactor": 0,
        "roughnessFactor": part.roughness,
    }
    material: dict[str, Any] = {"name": part.name, "pbrMetallicRoughness": surface}
    if part.mesh.normal_map is not None:
        material["normalTexture"] = {"index": textures.normals(part.name, part.mesh.normal_map)}
    if part.mesh.alpha is not None:
        material |= {"alphaMode": "MASK", "alphaCutoff": ALPHA_CUTOFF}
    return material | ({"doubleSided": True} if part.two_sided else {})


class _Textures:
    """The textures of the file; parts that share one refer to the same array."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.images: list[dict[str, Any]] = []
        self.textures: list[dict[str, Any]] = []
        self._known: dict[int, int] = {}

    def albedo(self, part: AvatarPart) -> int:
        name, alpha = f"{part.name}_albedo", part.mesh.alpha
        if alpha is None:
            return self._texture_index(name, part.mesh.albedo, "image/jpeg", encode_jpeg)
        return self._texture_index(name, part.mesh.albedo, "image/png", lambda albedo: encode_cutout(albedo, alpha))

    def normals(self, name: str, normal_map: Float[np.ndarray, "h w 3"]) -> int:
        return self._texture_index(f"{name}_normal", normal_map, "image/png", encode_normal_map)

    def _texture_index(self, name: str, picture: np.ndarray, kind: str, encode: Callable[[np.ndarray], bytes]) -> int:
        if id(picture) not in self._known:
            self.images.append({"name": name, "mimeType": kind, "bufferView": self.buffer.add_view(encode(picture))})
            self.textures.append({"source": len(self.images) - 1, "sampler": 0})
            self._known[id(picture)] = len(self.textures) - 1
        return self._known[id(picture)]
