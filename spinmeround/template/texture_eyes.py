"""Eyes, teeth and tongue: painted after the person where a photo shows them, plausibly where none does."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.template.head_model import PARTS, HeadModel
from spinmeround.template.texture_atlas import Atlas
from spinmeround.template.texture_fill import Layer

IRIS_RINGS = {"eye_right": (468, np.arange(469, 473)), "eye_left": (473, np.arange(474, 478))}
"""Landmarks of each iris: its centre and four points of its rim."""

_PUPIL_SHARE = 0.38
_DARK_BROWN = np.array([0.23, 0.15, 0.10])
_WHITE = np.array([0.80, 0.76, 0.74])
_TEETH, _TONGUE, _CAVITY = np.array([0.80, 0.75, 0.68]), np.array([0.60, 0.33, 0.31]), np.array([0.30, 0.13, 0.12])
_LEAST = 0.2
"""Weight from which on a texel is taken for seen when colours are measured."""


def paint_eyes(
    model: HeadModel, atlas: Atlas, seen: Layer, occlusion: Float[np.ndarray, "m"]
) -> Float32[np.ndarray, "t t 3"]:
    """Whole eyeballs in the colours of the visible parts of both: pupil, iris, its dark rim, white; 0 elsewhere.

    They darken toward the lids, whose shadow a photo shows too.
    """
    painted = np.zeros_like(seen.rgb)
    dense = model.dense(model.mean)
    looks = {}
    for name in IRIS_RINGS:
        here = atlas.part == PARTS.index(name)
        if here.any():
            looks[name] = (here, *_iris_angles(model, atlas, dense, name, here))
    iris, white = _eye_colours(seen, looks)
    for here, angle, around in looks.values():
        open_sky = atlas.spread(occlusion[:, None])[here, 0]
        shade = 0.35 + 0.65 * np.clip(open_sky / max(float(np.percentile(open_sky, 99)), 1e-6), 0, 1)
        painted[here] = _eye(angle, around, iris, white) * shade[:, None]
    return painted


def _iris_angles(
    model: HeadModel, atlas: Atlas, dense: Float[np.ndarray, "m 3"], name: str, here: Bool[np.ndarray, "t t"]
) -> tuple[Float32[np.ndarray, "s"], Float32[np.ndarray, "s"]]:
    """Angle from the line of gaze in radii of the iris, and direction around it, for the texels of one eye."""
    vertices = np.unique(model.dense_faces[model.dense_part == PARTS.index(name)])
    centre = (dense[vertices].min(0) + dense[vertices].max(0)) / 2
    middle, ring = IRIS_RINGS[name]
    corners = model.faces[model.landmark_faces]
    landmarks = (model.mean[corners] * model.landmark_barycentric[..., None]).sum(1)
    forward = np.array([0.0, 0.0, 1.0])
    radius = float(np.median(_angle(landmarks[ring] - centre, landmarks[[middle]] - centre)))
    direction = atlas.spread(dense - centre)[here]
    angle = _angle(direction, forward[None]) / np.clip(radius, 0.35, 0.65)
    return angle.astype(np.float32), np.arctan2(direction[:, 1], direction[:, 0]).astype(np.float32)


def _angle(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n"]:
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12)
    return np.arccos(np.clip(cosine, -1, 1))


def _eye_colours(seen: Layer, looks: dict) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Colours of iris and white: medians of what is seen, without highlights, lashes and the lid's shadow."""
    iris, white = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for here, angle, _ in looks.values():
        colour, visible = seen.rgb[here], seen.weight[here] > _LEAST
        iris.append(colour[visible & (angle > 0.45) & (angle < 0.85)])
        white.append(colour[visible & (angle > 1.2)])
    iris, white = np.concatenate(iris), np.concatenate(white)
    iris_colour = np.median(iris, axis=0) if len(iris) > 30 else _DARK_BROWN
    if len(white) > 30:
        # Lids and their shadow are redder and darker than any white of an eye.
        pale = white.mean(1) - 1.5 * np.ptp(white, axis=1)
        bright = np.median(white[pale >= np.percentile(pale, 80)], axis=0)
        white_colour = 0.5 * bright + 0.5 * _WHITE * np.clip(bright.mean() / _WHITE.mean(), 0.75, 1.1)
    else:
        white_colour = _WHITE
    return np.clip(iris_colour, 0.03, 0.7), np.clip(white_colour, 0.3, 0.92)


def _eye(angle, around, iris: Float[np.ndarray, "3"], white: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "s 3"]:
    """An eye by angle from the line of gaze (in iris radii) and direction around it."""
    # A few incommensurate waves: fibres without a visible period, the same for everyone.
    fibres = sum(np.sin(k * around + p + 3 * angle) for k, p in ((23, 0.3), (37, 1.9), (61, 4.2), (97, 2.2))) / 4
    glow = 1 + 0.18 * fibres + 0.25 * np.exp(-(((angle - 0.55) / 0.2) ** 2))
    rim = 1 - 0.45 * _ramp(angle, 0.78, 1.0)
    colour = iris * (glow * rim)[:, None]
    colour = colour * _ramp(angle, _PUPIL_SHARE - 0.06, _PUPIL_SHARE + 0.06)[:, None] + 0.02
    sclera = (
        white * (1 - 0.10 * _ramp(angle, 1.3, 2.6))[:, None]
        + np.array([0.03, -0.01, -0.01]) * _ramp(angle, 1.5, 2.6)[:, None]
    )
    edge = _ramp(angle, 0.94, 1.08)[:, None]
    return np.clip(colour * (1 - edge) + sclera * edge, 0, 1).astype(np.float32)


def _ramp(value, low: float, high: float):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def paint_mouth(atlas: Atlas, seen: Layer, occlusion: Float[np.ndarray, "m"]) -> Float32[np.ndarray, "t t 3"]:
    """Teeth, tongue and the inside of the cheeks; teeth take their brightness from visible ones. 0 elsewhere."""
    painted = np.zeros_like(seen.rgb)
    shade = (0.75 + 0.25 * np.clip(atlas.spread(occlusion[:, None])[..., 0] * 1.6, 0, 1))[..., None]
    teeth_texels = np.isin(atlas.part, [PARTS.index("teeth_upper"), PARTS.index("teeth_lower")])
    visible = seen.rgb[teeth_texels & (seen.weight > _LEAST)]
    teeth = _TEETH
    if len(visible) > 200:
        bright = np.percentile(visible, 75, axis=0)
        if bright.mean() > 0.45 and np.ptp(bright) < 0.25:
            teeth = 0.7 * bright + 0.3 * _TEETH
    colours = {"teeth_upper": teeth, "teeth_lower": teeth * 0.96, "tongue": _TONGUE, "mouth_cavity": _CAVITY}
    for name, colour in colours.items():
        here = atlas.part == PARTS.index(name)
        painted[here] = (colour * shade[here]).astype(np.float32)
    return painted
