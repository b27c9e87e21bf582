"""A clip of a face as a glTF animation: weights of morph targets, turns of neck, head and eyes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.io.glb_buffer import Buffer
from spinmeround.types import Avatar, AvatarPart, FaceClip

_NECK_SHARE = 0.4
"""Of a turn of the head, what the neck does of it."""
_EYES = ("leftEye", "rightEye")


def face_animation(
    buffer: Buffer, avatar: Avatar, clip: FaceClip, *, joint_nodes: Sequence[int], part_nodes: Sequence[int]
) -> dict[str, Any]:
    """The animation, its keys appended to the buffer.

    Where the clip turns the eyes by their bones, the morph targets of gaze move the lids alone.

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
        if (turns := _turns(clip, joint.name)) is not None:
            add(node, "rotation", np.roll(turns, -1, axis=1))  # glTF writes x y z w
    return {"name": "face", "channels": channels, "samplers": samplers}


def _weights(avatar: Avatar, part: AvatarPart, clip: FaceClip) -> Float[np.ndarray, "n k"]:
    turned = [
        index for index, joint in enumerate(avatar.joints) if joint.name in _EYES and joint.name in clip.turns_wxyz
    ]
    by_bones = bool((np.isin(part.joints, turned) & (part.weights > 0)).any())
    rests = np.zeros(len(clip))
    columns = [
        rests if by_bones and morph.startswith("eyeLook") else clip.morphs.get(morph, rests) for morph in part.morphs
    ]
    return np.stack(columns, axis=1)


def _turns(clip: FaceClip, joint: str) -> Float[np.ndarray, "n 4"] | None:
    if joint in _EYES:
        return clip.turns_wxyz.get(joint)
    shares = {"neck": _NECK_SHARE, "head": 1 - _NECK_SHARE}
    if joint not in shares or "head" not in clip.turns_wxyz:
        return None
    return _share_of(clip.turns_wxyz["head"], shares[joint])


def _share_of(wxyz: Float[np.ndarray, "n 4"], share: float) -> Float[np.ndarray, "n 4"]:
    """The turn about the same axis by a share of the angle."""
    wxyz = wxyz * np.where(wxyz[:, :1] < 0, -1, 1)
    sine = np.linalg.norm(wxyz[:, 1:], axis=1, keepdims=True)
    half = np.arctan2(sine, wxyz[:, :1]) * share
    return np.concatenate([np.cos(half), wxyz[:, 1:] / np.maximum(sine, 1e-12) * np.sin(half)], axis=1)
