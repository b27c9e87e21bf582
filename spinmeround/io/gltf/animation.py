"""Write face clips and poses as glTF animations: weights of morph targets, rotations of neck, head and eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.io.gltf.buffer import Buffer
from spinmeround.io.recordings.clip_channels import joint_rotations, morphs_done_by_bones
from spinmeround.types import Avatar, AvatarPart, FaceClip


def face_animation(
    buffer: Buffer,
    avatar: Avatar,
    clip: FaceClip,
    *,
    name: str,
    joint_nodes: Sequence[int],
    part_nodes: Sequence[int],
) -> dict[str, Any]:
    """Return an animation, its keys appended to the buffer.

    If the clip rotates the eye bones, the gaze morph targets of the eyeballs stay at 0 and move the lids alone.

    Args:
        joint_nodes, part_nodes: the glTF node of each of the avatar's joints and parts.
    """
    times = buffer.add_samples(clip.times_s, limits=True)
    channels, samplers = [], []

    def add(node: int, path: str, values: Float[np.ndarray, "n k"]) -> None:
        keys = values if path == "rotation" else values.reshape(-1)
        samplers.append({"input": times, "output": buffer.add_samples(keys), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    for part, node in zip(avatar.parts, part_nodes, strict=True):
        if part.morphs:
            add(node, "weights", _weights(avatar, part, clip))
    for joint, node in zip(avatar.joints, joint_nodes, strict=True):
        if (rotations := joint_rotations(clip, joint.name)) is not None:
            add(node, "rotation", np.roll(rotations, -1, axis=1))  # glTF writes x y z w
    return {"name": name, "channels": channels, "samplers": samplers}


def held(weights: Mapping[str, float]) -> FaceClip:
    """Return a pose as a clip of one key.

    Args:
        weights: of morph targets, by name.
    """
    return FaceClip(np.zeros(1), {morph: np.array([weight]) for morph, weight in weights.items()}, {})


def _weights(avatar: Avatar, part: AvatarPart, clip: FaceClip) -> Float[np.ndarray, "n k"]:
    zeros, unused = np.zeros(len(clip)), morphs_done_by_bones(avatar, part, clip)
    columns = [zeros if morph in unused else clip.morphs.get(morph, zeros) for morph in part.morphs]
    return np.stack(columns, axis=1)
