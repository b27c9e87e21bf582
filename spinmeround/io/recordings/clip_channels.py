"""What a clip of a face asks of each part and each bone of an avatar, whatever the format it is written in."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from spinmeround.types import Avatar, AvatarPart, FaceClip

_NECK_SHARE = 0.4
"""Of a turn of the head, what the neck does of it."""
_EYES = ("leftEye", "rightEye")


def turned_by_bones(avatar: Avatar, part: AvatarPart, clip: FaceClip) -> tuple[str, ...]:
    """The morph targets of a part that have to rest, since the clip does the same by bones: gaze, on eyeballs."""
    turned = [
        index for index, joint in enumerate(avatar.joints) if joint.name in _EYES and joint.name in clip.turns_wxyz
    ]
    by_bones = bool((np.isin(part.joints, turned) & (part.weights > 0)).any())
    return tuple(name for name in part.morphs if by_bones and name.startswith("eyeLook"))


def joint_turns(clip: FaceClip, joint: str) -> Float[np.ndarray, "n 4"] | None:
    """How a bone turns against its parent, unit quaternions wxyz; none if it does not."""
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
