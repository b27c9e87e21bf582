"""The extension VRMC_springBone 1.0 of glTF (VRM Consortium): joints that swing, and what they stay out of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spinmeround.io.gltf.scene import Scene
from spinmeround.types import Avatar, Collider, Joint, Spring

_NAME = "VRMC_springBone"


def add_springs(
    document: dict[str, Any],
    avatar: Avatar,
    joints: Sequence[Joint],
    *,
    metres_per_unit: float,
    shoulders: Sequence[Collider] = (),
) -> None:
    """Add an avatar's springs to a glTF whose first nodes are the joints, in place; without springs, nothing.

    Args:
        joints: in metres; the avatar's own, by name, are among them.
        shoulders: further colliders, in metres, carried by any of the joints; they shrink as far as hair at rest
            demands it.
    """
    if not avatar.springs:
        return
    node = {joint.name: index for index, joint in enumerate(joints)}
    own = [node[joint.name] for joint in avatar.joints]
    groups = {
        "head": [_collider(each, avatar.joints, own[each.joint], metres_per_unit) for each in avatar.colliders],
        "shoulders": [
            _collider(each, joints, each.joint, 1.0)
            for each in _beside_hair(shoulders, avatar, joints, metres_per_unit)
        ],
    }
    groups = {name: members for name, members in groups.items() if members}
    starts = np.cumsum([0, *map(len, groups.values())]).tolist()
    extension = {
        "specVersion": "1.0",
        "colliders": [collider for members in groups.values() for collider in members],
        "colliderGroups": [
            {"name": name, "colliders": list(range(start, start + len(members)))}
            for (name, members), start in zip(groups.items(), starts, strict=False)
        ],
        "springs": [
            {
                "name": avatar.joints[spring.joints[0]].name,
                "joints": _spring_joints(spring, own, metres_per_unit),
                "colliderGroups": list(range(len(groups))),
            }
            for spring in avatar.springs
        ],
    }
    document["extensionsUsed"] = [*document.get("extensionsUsed", []), _NAME]
    document["extensions"] = {**document.get("extensions", {}), _NAME: extension}


def _collider(collider: Collider, joints: Sequence[Joint], node: int, metres_per_unit: float) -> dict[str, Any]:
    at = joints[collider.joint].position
    start, end = (((place - at) * metres_per_unit).tolist() for place in (collider.start, collider.end))
    shape = {"offset": start, "radius": collider.radius * metres_per_unit}
    return {"node": node, "shape": {"sphere": shape} if start == end else {"capsule": shape | {"tail": end}}}


def _spring_joints(spring: Spring, own: Sequence[int], metres_per_unit: float) -> list[dict[str, Any]]:
    swinging = [
        {
            "node": own[joint],
            "hitRadius": float(radius) * metres_per_unit,
            "stiffness": float(stiffness),
            "gravityPower": spring.gravity,
            "gravityDir": [0.0, -1.0, 0.0],
            "dragForce": spring.drag,
        }
        for joint, radius, stiffness in zip(spring.joints, spring.hit_radii, spring.stiffness, strict=False)
    ]
    return [*swinging, {"node": own[spring.joints[-1]]}]


def _beside_hair(
    colliders: Sequence[Collider], avatar: Avatar, joints: Sequence[Joint], metres_per_unit: float
) -> list[Collider]:
    """Return colliders that touch no ball of a spring at rest, without those of which nothing is left."""
    at = {joint.name: joint.position for joint in joints}
    ends = np.array([at[avatar.joints[joint].name] for spring in avatar.springs for joint in spring.joints[1:]])
    balls = np.concatenate([spring.hit_radii for spring in avatar.springs]) * metres_per_unit
    radii = [each.radius + min(float((each.heights(ends) - balls).min()), 0.0) for each in colliders]
    return [replace(each, radius=radius) for each, radius in zip(colliders, radii, strict=True) if radius > 0]


def read_springs(
    scene: Scene, number: Mapping[int, int], joints: Sequence[Joint]
) -> tuple[tuple[Spring, ...], tuple[Collider, ...]]:
    """Return the springs and colliders of a file whose joints are not turned at rest, in its units.

    Springs and colliders on other nodes than the joints are left out, as those on the shoulders of a ``.vrm`` are. All
    springs meet all colliders.

    Args:
        number: index among the joints of each of their nodes.
        joints: in the world of the file.
    """
    extension = scene.document.get("extensions", {}).get(_NAME, {})
    springs = [
        _read_spring([number[each["node"]] for each in spring["joints"]], spring["joints"])
        for spring in extension.get("springs", [])
        if len(spring["joints"]) > 1 and all(each["node"] in number for each in spring["joints"])
    ]
    colliders = [
        _read_collider(number[each["node"]], joints, each["shape"])
        for each in extension.get("colliders", [])
        if each["node"] in number
    ]
    return tuple(springs), tuple(colliders)


def _read_spring(joints: list[int], described: list[dict[str, Any]]) -> Spring:
    """Return a spring; what is not written has the default of the extension."""
    swinging = described[:-1]
    return Spring(
        tuple(joints),
        np.array([each.get("hitRadius", 0.0) for each in swinging], np.float64),
        np.array([each.get("stiffness", 1.0) for each in swinging], np.float64),
        gravity=float(swinging[0].get("gravityPower", 0.0)),
        drag=float(swinging[0].get("dragForce", 0.5)),
    )


def _read_collider(joint: int, joints: Sequence[Joint], shape: dict[str, Any]) -> Collider:
    kind = shape["capsule"] if "capsule" in shape else shape["sphere"]
    start = np.array(kind.get("offset", (0, 0, 0)), np.float64).reshape(3)
    end = np.array(kind.get("tail", start), np.float64).reshape(3)
    at = joints[joint].position
    return Collider(joint, at + start, at + end, float(kind.get("radius", 0.0)))
