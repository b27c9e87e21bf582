"""Which objects belong to a head, and what is remembered on its armature."""
# SPDX-License-Identifier: GPL-3.0-or-later

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import bpy

PART = "spinmeround_part"
"""Custom property of an object: ``skin``, ``eyes``, ..., ``strands``, ``photo_camera``."""
PHOTO_CAMERA, STRANDS, SKIN = "photo_camera", "strands", "skin"
CARDS = ("hair", "hair_cap")
"""The parts that are hair as cards, hidden where there are strands."""
_MEMORY = "spinmeround_head"


@dataclass
class Memory:
    """What a head is made of, kept as JSON on its armature, so that it can be made again.

    Attributes:
        photos: paths.
        options: those of the server.
        strands: whether the hair is curves too.
        expression: the weights of the photo's expression by shape key.
        quality: the server's sentence on the result.
        photo_size_px: width and height of the first photo, if its camera is known.
        pixel_aspect: of that camera.
    """

    photos: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    strands: bool = False
    expression: dict[str, float] = field(default_factory=dict)
    quality: str = ""
    photo_size_px: list[int] | None = None
    pixel_aspect: float = 1.0


def remember(armature: bpy.types.Object, memory: Memory) -> None:
    """Keep what a head is made of on its armature."""
    armature[_MEMORY] = json.dumps(asdict(memory))


def remembered(armature: bpy.types.Object) -> Memory:
    """Return what a head is made of."""
    return Memory(**json.loads(armature[_MEMORY]))


def parts(armature: bpy.types.Object) -> dict[str, bpy.types.Object]:
    """Return a head's objects by part; those that were deleted or given to another parent and rig are missing."""
    return {thing[PART]: thing for thing in bpy.data.objects if PART in thing and head_of(thing) == armature}


def object_name(head: str, part: str) -> str:
    """Return the name of a part of a head."""
    return f"{head} {'photo' if part == PHOTO_CAMERA else part}"


def head_of(thing: bpy.types.Object | None) -> bpy.types.Object | None:
    """Return the armature of the head that an object belongs to."""
    while thing is not None:
        if thing.type == "ARMATURE" and _MEMORY in thing:
            return thing
        rigs = [m.object for m in thing.modifiers if m.type == "ARMATURE" and m.object and _MEMORY in m.object]
        thing = rigs[0] if rigs else thing.parent
    return None
