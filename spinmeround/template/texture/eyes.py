"""Whole eyeballs: what a photo shows of them goes on smoothly into what lids hide, so that they may turn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.texture.fill import Layer

IRIS_RINGS = {"eye_right": (468, np.arange(469, 473)), "eye_left": (473, np.arange(474, 478))}
"""Landmarks of each iris: its centre and four points of its rim."""

_PUPIL_SHARE = 0.38
_DARK_BROWN = np.array([0.23, 0.15, 0.10])
_WHITE = np.array([0.80, 0.78, 0.755])
_FEATHER = 0.3
"""Over this distance from the border of what is seen trust grows, in radii of the iris: lids blur into it."""
_CONTINUED = 1.5
"""Over this distance into what is hidden the difference to the plain eye fades, in radii of the iris."""
_SHADOW_CONTINUED = 0.5
"""Share of the difference that is carried on in the white: half of it is the shadow of lids, which stays with them."""
_RINGS = np.linspace(0.0, 0.96, 13)
_ENOUGH_TEXELS = 12


@dataclass(frozen=True)
class _Eye:
    """One eye on the texture.

    Attributes:
        window: rows and columns of its tile.
        here: texels of the eye in it.
        angle: from the line of gaze, in radii of the iris.
        around: direction around that line.
        radius_texels: of the iris.
    """

    window: tuple[slice, slice]
    here: Bool[np.ndarray, "h w"]
    angle: Float32[np.ndarray, "h w"]
    around: Float32[np.ndarray, "h w"]
    radius_texels: float


def complete_eyes(model: HeadModel, atlas: Atlas, seen: Layer) -> Layer:
    """Whole eyes in the colours of what is seen of both; colours are 0 elsewhere.

    The iris is a disc with the median colour of each of its rings. What is seen lies over it; the difference between
    the two goes on, smoothly and ever less, under the lids: by itself within the iris and outside it.

    Returns:
        Weights are those of ``seen`` as far as it was believed.
    """
    colours, weight = np.zeros_like(seen.rgb), np.zeros_like(seen.weight)
    eyes = [eye for name in IRIS_RINGS if (eye := _eye_on(model, atlas, name)) is not None]
    trusts = [_inner_trust(eye, seen.weight[eye.window]) for eye in eyes]
    white = _white_of(seen, eyes, trusts)
    trusts = [t * _eye_like(e, seen.rgb[e.window], white) for e, t in zip(eyes, trusts, strict=True)]
    rings = _iris_rings(seen, eyes, trusts)
    for eye, trust in zip(eyes, trusts, strict=True):
        plain = _plain_eye(eye, rings, white)
        apart = (seen.rgb[eye.window] - plain).astype(np.float32)
        colours[eye.window][eye.here] = np.clip(plain + _carried_on(eye, apart, trust), 0, 1)[eye.here]
        weight[eye.window][eye.here] = trust[eye.here]
    return Layer(colours, weight)


def _eye_on(model: HeadModel, atlas: Atlas, name: str) -> _Eye | None:
    rows, columns = np.nonzero(atlas.part == PARTS.index(name))
    if len(rows) == 0:
        return None
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    here = atlas.part[window] == PARTS.index(name)
    dense = model.dense(model.mean)
    vertices = np.unique(model.dense_faces[model.dense_part == PARTS.index(name)])
    centre = (dense[vertices].min(0) + dense[vertices].max(0)) / 2
    middle, ring = IRIS_RINGS[name]
    landmarks = landmark_points(model, model.mean)
    radius = float(np.median(_angle(landmarks[ring] - centre, landmarks[[middle]] - centre)))
    direction = atlas.spread(dense - centre)[window]
    angle = _angle(direction, np.array([0.0, 0.0, 1.0])) / np.clip(radius, 0.35, 0.65)
    around = np.arctan2(direction[..., 1], direction[..., 0])
    iris_texels = max(int((here & (angle < 1)).sum()), 1)
    return _Eye(window, here, angle.astype(np.float32), around.astype(np.float32), float(np.sqrt(iris_texels / np.pi)))


def _angle(a: Float[np.ndarray, "*n 3"], b: Float[np.ndarray, "*m 3"]) -> Float[np.ndarray, "*n"]:
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1) + 1e-12)
    return np.arccos(np.clip(cosine, -1, 1))


def _inner_trust(eye: _Eye, weight: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Trust in what is seen, growing from its border inward."""
    inside = cv2.copyMakeBorder((weight > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return (_ramp(depth, 0.0, _FEATHER * eye.radius_texels) * weight * eye.here).astype(np.float32)


def _white_of(seen: Layer, eyes: list[_Eye], trusts: list[np.ndarray]) -> Float[np.ndarray, "3"]:
    """Colour of the white: as bright as its palest seen parts, with little of their tint.

    Lids and their shadow are redder and darker than any white of an eye, and a shaded one is blue from the sky.
    """
    found = [seen.rgb[e.window][(trust > 0.5) & (e.angle > 1.2)] for e, trust in zip(eyes, trusts, strict=True)]
    white = np.concatenate([np.zeros((0, 3)), *found])
    if len(white) <= 30:
        return _WHITE
    pale = white.mean(1) - 1.5 * np.ptp(white, axis=1)
    bright = np.median(white[pale >= np.percentile(pale, 80)], axis=0)
    tint = 0.2 * bright / bright.mean() + 0.8 * _WHITE / _WHITE.mean()
    return np.clip(tint * np.clip(bright.mean(), 0.45, 0.85), 0.3, 0.92)


def _eye_like(
    eye: _Eye, rgb: Float32[np.ndarray, "h w 3"], white: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "h w"]:
    """1 where colours can be those of the part of an eye they lie on, 0 where skin, lashes or the other part got in."""
    bright = rgb.mean(-1) / white.mean()
    warmth = (rgb[..., 0] - rgb[..., 2]) / np.maximum(rgb.mean(-1), 0.05)
    own = (white[0] - white[2]) / white.mean()
    skin, dark = _ramp(warmth, own + 0.25, own + 0.6), 1 - _ramp(bright, 0.5, 0.75)
    strange = np.maximum(skin, dark) * _ramp(eye.angle, 1.0, 1.1)
    strange = np.maximum(strange, _ramp(bright, 0.75, 0.9) * _ramp(eye.angle, 0.75, 0.85) * (eye.angle < 1))
    width = max(0.06 * eye.radius_texels, 0.3)
    return (1 - cv2.GaussianBlur(strange.astype(np.float32), (0, 0), width)).astype(np.float32)


def _iris_rings(seen: Layer, eyes: list[_Eye], trusts: list[np.ndarray]) -> Float[np.ndarray, "r 3"]:
    """Colour of the iris at ``_RINGS``: medians of what is seen, in the middle without the light that mirrors there."""
    believed = [(e.angle[t > 0.5], seen.rgb[e.window][t > 0.5]) for e, t in zip(eyes, trusts, strict=True)]
    angle = np.concatenate([np.zeros(0), *(a for a, _ in believed)])
    colour = np.concatenate([np.zeros((0, 3)), *(c for _, c in believed)])
    middle = colour[(angle > 0.45) & (angle < 0.85)]
    iris = np.clip(np.median(middle, axis=0) if len(middle) > 30 else _DARK_BROWN, 0.03, 0.7)
    glow = 1 + 0.25 * np.exp(-(((_RINGS - 0.55) / 0.2) ** 2))
    rings = iris * (glow * _ramp(_RINGS, _PUPIL_SHARE - 0.06, _PUPIL_SHARE + 0.06))[:, None] + 0.02
    half = (_RINGS[1] - _RINGS[0]) / 2
    for index, ring in enumerate(_RINGS):
        found = colour[np.abs(angle - ring) < half]
        if len(found) > _ENOUGH_TEXELS:
            rings[index] = np.percentile(found, 25 if ring < _PUPIL_SHARE else 50, axis=0)
    return rings


def _plain_eye(
    eye: _Eye, rings: Float[np.ndarray, "r 3"], white: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "h w 3"]:
    """An eye by angle from the line of gaze and direction around it."""
    # A few incommensurate waves: fibres without a visible period, the same for everyone.
    waves = ((23, 0.3), (37, 1.9), (61, 4.2), (97, 2.2))
    fibres = sum(np.sin(k * eye.around + p + 3 * eye.angle) for k, p in waves) / len(waves)
    in_iris = _ramp(eye.angle, _PUPIL_SHARE, _PUPIL_SHARE + 0.1)
    rim = 1 - 0.25 * _ramp(eye.angle, 0.80, 0.98)
    iris = np.stack([np.interp(eye.angle, _RINGS, rings[:, c]) for c in range(3)], axis=-1)
    iris = iris * ((1 + 0.12 * fibres * in_iris) * rim)[..., None]
    far = _ramp(eye.angle, 1.3, 2.8)[..., None]
    sclera = white * (1 - np.array([0.02, 0.08, 0.08]) * far)
    edge = _ramp(eye.angle, 0.93, 1.07)[..., None]
    return np.clip(iris * (1 - edge) + sclera * edge, 0, 1).astype(np.float32)


def _carried_on(
    eye: _Eye, apart: Float32[np.ndarray, "h w 3"], trust: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Differences where they are trusted, elsewhere the slow part of those nearby; iris and white do not mix."""
    hidden = cv2.distanceTransform((trust < 0.5).astype(np.uint8), cv2.DIST_L2, 5) / eye.radius_texels
    fading = np.exp(-((hidden / _CONTINUED) ** 2)) if (trust >= 0.5).any() else np.zeros_like(trust)
    out = np.zeros_like(apart)
    for inside, carried in ((eye.angle < 1, 1.0), (eye.angle >= 1, _SHADOW_CONTINUED)):
        known = np.where(inside, trust, 0).astype(np.float32)
        slow = _spread_out(apart, known, 0.15 * eye.radius_texels)
        share = trust[..., None]
        own = apart * share + slow * (1 - share) * carried * fading[..., None]
        out = np.where(inside[..., None], own, out)
    return out.astype(np.float32)


def _spread_out(
    values: Float32[np.ndarray, "h w c"], weight: Float32[np.ndarray, "h w"], finest_texels: float
) -> Float32[np.ndarray, "h w c"]:
    """Weighted means over windows that grow until they reach something known."""
    out, missing = np.zeros_like(values), np.ones_like(weight)
    width = max(finest_texels, 0.5)
    while width < max(weight.shape):
        total = cv2.GaussianBlur(weight, (0, 0), width)
        mean = cv2.GaussianBlur(values * weight[..., None], (0, 0), width) / np.maximum(total, 1e-6)[..., None]
        enough = missing * np.clip(total / 0.05, 0, 1)
        out += mean * enough[..., None]
        missing = missing - enough
        width *= 2
    return out


def _ramp(value, low: float, high: float):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
