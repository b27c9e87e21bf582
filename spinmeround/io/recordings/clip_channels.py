"""Morph weights and joint rotations of a face clip for each part of an avatar, the same for all file formats."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from spinmeround.types import Avatar, AvatarPart, FaceClip

_NECK_FRACTION = 0.4
"""Of a rotation of the head, the fraction that the neck joint does."""
_EYES = ("leftEye", "rightEye")


def morphs_done_by_bones(avatar: Avatar, part: AvatarPart, clip: FaceClip) -> tuple[str, ...]:
    """Return the morph targets of a part that stay at 0, since the clip does the same by bones: gaze, of eyeballs."""
    rotated = [
        index for index, joint in enumerate(avatar.joints) if joint.name in _EYES and joint.name in clip.turns_wxyz
    ]
    by_bones = bool((np.isin(part.joints, rotated) & (part.weights > 0)).any())
    return tuple(name for name in part.morphs if by_bones and name.startswith("eyeLook"))


def joint_rotations(clip: FaceClip, joint: str) -> Float[np.ndarray, "n 4"] | None:
    """Return the rotations of a joint from its parent, unit quaternions wxyz; None if it has none."""
    if joint in _EYES:
        return clip.turns_wxyz.get(joint)
    fractions = {"neck": _NECK_FRACTION, "head": 1 - _NECK_FRACTION}
    if joint not in fractions or "head" not in clip.turns_wxyz:
        return None
    return _scale_angle(clip.turns_wxyz["head"], fractions[joint])


def _scale_angle(wxyz: Float[np.ndarray, "n 4"], fraction: float) -> Float[np.ndarray, "n 4"]:
    """Rotate about the same axis by a fraction of the angle."""
    wxyz = wxyz * np.where(wxyz[:, :1] < 0, -1, 1)
    sine = np.linalg.norm(wxyz[:, 1:], axis=1, keepdims=True)
    half = np.arctan2(sine, wxyz[:, :1]) * fraction
    return np.concatenate([np.cos(half), wxyz[:, 1:] / np.maximum(sine, 1e-12) * np.sin(half)], axis=1)
