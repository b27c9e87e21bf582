"""An avatar with an expression on its face, drawn: the row of expressions below a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from spinmeround.images import composite, to_uint8
from spinmeround.inspection.drawing import TILE_PX, mesh_drawer
from spinmeround.inspection.framing import Draw, frame_around
from spinmeround.types import Avatar, AvatarPart, TexturedMesh

ROW: dict[str, dict[str, float]] = {
    "neutral": {},
    "blink": {"eyeBlinkLeft": 1, "eyeBlinkRight": 1},
    "smile": {"mouthSmileLeft": 1, "mouthSmileRight": 1},
    "jaw open": {"jawOpen": 1},
    "look left": {"eyeLookOutLeft": 1, "eyeLookInRight": 1},
}
"""What the contact sheet shows of every avatar, by caption; left is the subject's."""

_ASKED_AZIMUTHS_DEG = (0, 40, -40)


def posed(part: AvatarPart, weights: Mapping[str, float]) -> TexturedMesh:
    """One part of an avatar with some morph targets active.

    Args:
        weights: in [0, 1], by name; those the part does not have leave it alone.
    """
    vertices = np.asarray(part.mesh.vertices, np.float64).copy()
    for name, weight in weights.items():
        if name in part.morphs:
            vertices += weight * part.morphs[name]
    return replace(part.mesh, vertices=vertices)


def expression_tiles(avatar: Avatar, asked: Mapping[str, float]) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Return pictures of the head by caption.

    Those of ``ROW`` come first, then the requested expression from three sides or, without one, the avatar's own poses.
    """
    row = ROW if asked else {**ROW, **avatar.poses}
    shown = [(caption, _drawer(avatar, weights), 0) for caption, weights in row.items()]
    if asked:
        draw = _drawer(avatar, asked)
        shown += [(f"asked for, {each:+d}" if each else "asked for", draw, each) for each in _ASKED_AZIMUTHS_DEG]
    frame = frame_around([(draw, [azimuth_deg]) for _, draw, azimuth_deg in shown])
    tiles = {}
    for caption, draw, azimuth_deg in shown:
        views = draw(frame.cameras([azimuth_deg], size_px=TILE_PX))
        tiles[caption] = to_uint8(composite(views.rgb, views.alpha)[0])
    return tiles


def _drawer(avatar: Avatar, weights: Mapping[str, float]) -> Draw:
    return mesh_drawer(*(posed(part, weights) for part in avatar.parts))
