"""The VRM 1.0 extension of glTF (VRM Consortium): humanoid bones, expressions, gaze, licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.io.recordings.expressions import EXPRESSIONS, perfect_sync
from spinmeround.types import Avatar, Collider, Joint

_NECK_HEIGHT_M = 1.42
"""Of the neck joint above the ground."""
_BODY = (
    ("hips", None, (0.0, 0.92)),
    ("spine", "hips", (0.0, 1.04)),
    ("chest", "spine", (0.0, 1.18)),
    ("leftUpperArm", "chest", (0.17, 1.37)),
    ("leftLowerArm", "leftUpperArm", (0.43, 1.37)),
    ("leftHand", "leftLowerArm", (0.67, 1.37)),
    ("rightUpperArm", "chest", (-0.17, 1.37)),
    ("rightLowerArm", "rightUpperArm", (-0.43, 1.37)),
    ("rightHand", "rightLowerArm", (-0.67, 1.37)),
    ("leftUpperLeg", "hips", (0.09, 0.88)),
    ("leftLowerLeg", "leftUpperLeg", (0.09, 0.48)),
    ("leftFoot", "leftLowerLeg", (0.09, 0.08)),
    ("rightUpperLeg", "hips", (-0.09, 0.88)),
    ("rightLowerLeg", "rightUpperLeg", (-0.09, 0.48)),
    ("rightFoot", "rightLowerLeg", (-0.09, 0.08)),
)
"""A standing body in T-pose: name, parent, (x, y) in metres."""
_HEAD = ("neck", "head", "jaw", "leftEye", "rightEye")
"""Bones of the head that a humanoid has."""
_SHOULDER_X_M, _SHOULDER_RADIUS_M = 0.05, 0.045
"""Where the capsule on each shoulder begins beside the neck, and its radius."""


def add_body(joints: tuple[Joint, ...]) -> tuple[tuple[Joint, ...], Float[np.ndarray, "3"]]:
    """Return the joints of a standing body followed by the head's, and the translation of the head; metres.

    Args:
        joints: of the head, the neck first.
    """
    lift = np.array([0.0, _NECK_HEIGHT_M, 0.0]) - joints[0].position * (0, 1, 0)
    depth = joints[0].position[2]
    number = {name: index for index, (name, _, _) in enumerate(_BODY)}
    body = [
        Joint(name, -1 if parent is None else number[parent], np.array([*place, depth]))
        for name, parent, place in _BODY
    ]
    above = [
        Joint(j.name, number["chest"] if j.parent < 0 else j.parent + len(body), j.position + lift) for j in joints
    ]
    return (*body, *above), lift


def shoulder_colliders(joints: Sequence[Joint]) -> list[Collider]:
    """Return a capsule on each shoulder, from beside the neck to the upper arm; metres.

    Args:
        joints: of the body and the head.
    """
    number = {joint.name: index for index, joint in enumerate(joints)}
    found = []
    for name in ("leftUpperArm", "rightUpperArm"):
        arm = joints[number[name]].position
        inner = arm.copy()
        inner[0] = np.copysign(_SHOULDER_X_M, arm[0])
        found.append(Collider(number["chest"], inner, arm, _SHOULDER_RADIUS_M))
    return found


def add_extension(document: dict[str, Any], avatar: Avatar, joints: tuple[Joint, ...], *, name: str) -> None:
    """Add the VRM extension to a glTF whose nodes are the joints, then the parts; in place.

    The licence is the narrowest VRM offers, since it is a real person's face: personal use by its author only.
    """
    by_name = {joint.name: joint for joint in joints}
    humanoid = {*_HEAD, *(bone for bone, _, _ in _BODY)}
    eyes = (by_name["leftEye"].position + by_name["rightEye"].position) / 2
    gaze_range = {"inputMaxValue": 90.0, "outputScale": 25.0}
    document["extensionsUsed"] = ["VRMC_vrm"]
    document["extensions"] = {
        "VRMC_vrm": {
            "specVersion": "1.0",
            "meta": _meta(name),
            "humanoid": {
                "humanBones": {j.name: {"node": index} for index, j in enumerate(joints) if j.name in humanoid}
            },
            "lookAt": {
                "type": "bone",
                "offsetFromHeadBone": (eyes - by_name["head"].position).tolist(),
                "rangeMapHorizontalInner": gaze_range,
                "rangeMapHorizontalOuter": gaze_range,
                "rangeMapVerticalDown": gaze_range,
                "rangeMapVerticalUp": gaze_range,
            },
            "expressions": {
                "preset": {
                    # Half-closed eyes and a blink together would close too far.
                    preset: _expression(
                        avatar, weights, len(joints), blocks=("overrideBlink",) if preset == "relaxed" else ()
                    )
                    for preset, weights in EXPRESSIONS.items()
                },
                "custom": {
                    perfect_sync(morph): _expression(avatar, {morph: 1.0}, len(joints)) for morph in avatar.morph_names
                }
                | {
                    # A blink and a gaze on top of those of the pose would go too far.
                    name: _expression(avatar, weights, len(joints), blocks=("overrideBlink", "overrideLookAt"))
                    for name, weights in avatar.poses.items()
                },
            },
        }
    }


def _expression(
    avatar: Avatar, weights: Mapping[str, float], first_part: int, *, blocks: Sequence[str] = ()
) -> dict[str, Any]:
    binds = [
        {"node": first_part + k, "index": list(part.morphs).index(morph), "weight": weight}
        for morph, weight in weights.items()
        for k, part in enumerate(avatar.parts)
        if morph in part.morphs
    ]
    return {"isBinary": False, "morphTargetBinds": binds} | dict.fromkeys(blocks, "block")


def _meta(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1",
        "authors": ["made with spinmeround"],
        "licenseUrl": "https://vrm.dev/licenses/1.0/",
        "thirdPartyLicenses": "head model: CC0-1.0, MakeHuman",
        "avatarPermission": "onlyAuthor",
        "allowExcessivelyViolentUsage": False,
        "allowExcessivelySexualUsage": False,
        "commercialUsage": "personalNonProfit",
        "allowPoliticalOrReligiousUsage": False,
        "allowAntisocialOrHateUsage": False,
        "creditNotation": "unnecessary",
        "allowRedistribution": False,
        "modification": "allowModification",
    }
