"""Whole eyeballs: what a photo shows of them is continued smoothly under the lids, so that the eyes may turn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.images import blurred
from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.texture.fill import Layer

_IRIS_LANDMARKS = {"eye_right": (468, np.arange(469, 473)), "eye_left": (473, np.arange(474, 478))}
"""Landmarks of each iris: its centre and four points of the limbus, its border with the sclera."""
_DARK_BROWN = np.array([0.23, 0.15, 0.10])
_WHITE = np.array([0.80, 0.78, 0.755])
"""Default colours of iris and sclera, sRGB."""
_RING_RADII = np.linspace(0.0, 0.96, 13)
"""Where the colours of the iris are measured, in radii of the iris."""


@dataclass(frozen=True)
class _TrustSettings:
    """Constants of what is trusted of an eye. Angles from the line of gaze are in radii of the iris.

    Attributes:
        min_weight: texels with more weight than this are seen.
        feather: distance over which trust grows from the border of what is seen, in radii of the iris: lids blur into
            it.
        warmth: excess of red over blue above the sclera's, over mean brightness, between which a texel becomes skin.
        dark: brightness relative to the sclera's between which a texel of it is no longer lash or shadow.
        sclera_angles: angles between which a texel changes to one of the sclera.
        bright: brightness relative to the sclera's between which a texel of the iris becomes one of the sclera.
        iris_angles: angles between which that is checked: highlights lie further inside.
        min_channel: darker mean colours are taken for this one where a tint is measured.
        blur: standard deviation of the transition, in radii of the iris ...
        min_blur_px: ... and at least this, texels.
    """

    min_weight: float = 0.5
    feather: float = 0.3
    warmth: tuple[float, float] = (0.25, 0.6)
    dark: tuple[float, float] = (0.5, 0.75)
    sclera_angles: tuple[float, float] = (1.0, 1.1)
    bright: tuple[float, float] = (0.75, 0.9)
    iris_angles: tuple[float, float] = (0.75, 0.85)
    min_channel: float = 0.05
    blur: float = 0.06
    min_blur_px: float = 0.3


@dataclass(frozen=True)
class _ScleraSettings:
    """Constants of the sclera's colour. Colours are sRGB in [0, 1].

    Attributes:
        min_angle: the colour is measured further than this from the line of gaze, radii of the iris.
        min_texels: it needs more texels than this, or the default is taken.
        saturation_penalty: brightness by which a unit of saturation counts against a texel: lids and their shadow are
            redder and darker than any sclera.
        pale_percentile: texels above this percentile of paleness are the sclera's.
        tint: parts of the measured and of the default tint: a shaded sclera is blue from the sky.
        brightness: range of the mean.
        channel: range of each channel.
        angles: the sclera reddens between these angles from the line of gaze, radii of the iris, ...
        reddening: ... by these fractions of red, green and blue.
    """

    min_angle: float = 1.2
    min_texels: int = 30
    saturation_penalty: float = 1.5
    pale_percentile: float = 80
    tint: tuple[float, float] = (0.2, 0.8)
    brightness: tuple[float, float] = (0.45, 0.85)
    channel: tuple[float, float] = (0.3, 0.92)
    angles: tuple[float, float] = (1.3, 2.8)
    reddening: tuple[float, float, float] = (0.02, 0.08, 0.08)


@dataclass(frozen=True)
class _IrisSettings:
    """Constants of the iris. Angles from the line of gaze are in radii of the iris, colours sRGB in [0, 1].

    Attributes:
        radius_rad: range of the iris's radius, which landmarks give, as an angle of the eyeball, radians.
        middle: angles between which the default colour of all rings is measured.
        min_middle_texels: that needs more texels than this, or the iris is dark brown.
        colour: range of each channel.
        pupil: radius of the pupil.
        pupil_softness: half the width of its border, in the default colours.
        pupil_floor: brightness of the pupil in the default colours.
        glow: by how much rings are brighter around ``glow_angle``, with standard deviation ``glow_width / sqrt(2)``.
        glow_angle: see ``glow``.
        glow_width: see ``glow``.
        min_ring_texels: a ring needs more texels than this, or it keeps the default.
        pupil_percentile: percentile of a ring's colours in the pupil, where highlights must not count.
        iris_percentile: the same outside it.
        waves: numbers of periods around the iris and phases (radians) of its fibres: incommensurate, so that no period
            shows; the same for everyone.
        twist: by how much fibres turn per radius, radians.
        fibre_contrast: of the fibres.
        fibre_softness: width over which they begin outside the pupil.
        limbal_ring: angles between which the iris darkens toward the limbus, ...
        limbal_darkening: ... by this fraction.
        limbus: angles between which the iris changes to sclera.
    """

    radius_rad: tuple[float, float] = (0.35, 0.65)
    middle: tuple[float, float] = (0.45, 0.85)
    min_middle_texels: int = 30
    colour: tuple[float, float] = (0.03, 0.7)
    pupil: float = 0.38
    pupil_softness: float = 0.06
    pupil_floor: float = 0.02
    glow: float = 0.25
    glow_angle: float = 0.55
    glow_width: float = 0.2
    min_ring_texels: int = 12
    pupil_percentile: int = 25
    iris_percentile: int = 50
    waves: tuple[tuple[int, float], ...] = ((23, 0.3), (37, 1.9), (61, 4.2), (97, 2.2))
    twist: float = 3
    fibre_contrast: float = 0.12
    fibre_softness: float = 0.1
    limbal_ring: tuple[float, float] = (0.80, 0.98)
    limbal_darkening: float = 0.25
    limbus: tuple[float, float] = (0.93, 1.07)


@dataclass(frozen=True)
class _ContinuationSettings:
    """Constants of what is continued under the lids. Distances are in radii of the iris.

    Attributes:
        min_trust: texels with less trust are hidden.
        fading: distance over which the difference to the default eye fades (to 1 / e).
        sclera_fraction: part of the difference that is continued in the sclera: half of it is the shadow of lids, which
            does not move with the eye.
        finest: standard deviation of the smallest window of the means.
        min_finest_px: least of that, texels.
        enough: mean weight in a window from which on no larger window is needed.
    """

    min_trust: float = 0.5
    fading: float = 1.5
    sclera_fraction: float = 0.5
    finest: float = 0.15
    min_finest_px: float = 0.5
    enough: float = 0.05


_TRUST, _SCLERA, _IRIS, _CONTINUATION = _TrustSettings(), _ScleraSettings(), _IrisSettings(), _ContinuationSettings()


@dataclass(frozen=True)
class _Eye:
    """One eye on the texture.

    Attributes:
        window: rows and columns of its tile.
        here: texels of the eye in it.
        angle: from the line of gaze, in radii of the iris.
        around: direction around that line, radians.
        radius_px: of the iris, texels.
    """

    window: tuple[slice, slice]
    here: Bool[np.ndarray, "h w"]
    angle: Float32[np.ndarray, "h w"]
    around: Float32[np.ndarray, "h w"]
    radius_px: float


def complete_eyes(model: HeadModel, atlas: Atlas, seen: Layer) -> Layer:
    """Return whole eyes in the colours of what is seen of both; colours are 0 elsewhere.

    The default iris is a disc with the median colour of each of its rings. What is seen replaces it. The difference
    between the two is continued under the lids and fades there, separately within the iris and in the sclera.

    Returns:
        Colours; weights are those of ``seen`` as far as it was trusted.
    """
    colours, weight = np.zeros_like(seen.rgb), np.zeros_like(seen.weight)
    eyes = [eye for name in _IRIS_LANDMARKS if (eye := _eye_on(model, atlas, name)) is not None]
    trusts = [_inner_trust(eye, seen.weight[eye.window]) for eye in eyes]
    white = _sclera_colour(seen, eyes, trusts)
    trusts = [t * _eye_likelihood(e, seen.rgb[e.window], white) for e, t in zip(eyes, trusts, strict=True)]
    rings = _iris_rings(seen, eyes, trusts)
    for eye, trust in zip(eyes, trusts, strict=True):
        default = _default_eye(eye, rings, white)
        difference = (seen.rgb[eye.window] - default).astype(np.float32)
        continued = _continue_under_lids(eye, difference, trust)
        colours[eye.window][eye.here] = np.clip(default + continued, 0, 1)[eye.here]
        weight[eye.window][eye.here] = trust[eye.here]
    return Layer(colours, weight)


def _eye_on(model: HeadModel, atlas: Atlas, name: str) -> _Eye | None:
    """Return one eye on the texture, None if the texture is too small to show it."""
    rows, columns = np.nonzero(atlas.part == PARTS.index(name))
    if len(rows) == 0:
        return None
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    here = atlas.part[window] == PARTS.index(name)
    dense = model.dense(model.mean)
    vertices = np.unique(model.dense_faces[model.dense_part == PARTS.index(name)])
    centre = (dense[vertices].min(0) + dense[vertices].max(0)) / 2
    iris, limbus = _IRIS_LANDMARKS[name]
    landmarks = landmark_points(model, model.mean)
    radius_rad = float(np.median(_angle(landmarks[limbus] - centre, landmarks[[iris]] - centre)))
    direction = atlas.spread(dense - centre)[window]
    angle = _angle(direction, np.array([0.0, 0.0, 1.0])) / np.clip(radius_rad, *_IRIS.radius_rad)
    around = np.arctan2(direction[..., 1], direction[..., 0])
    iris_texels = max(int((here & (angle < 1)).sum()), 1)
    return _Eye(window, here, angle.astype(np.float32), around.astype(np.float32), float(np.sqrt(iris_texels / np.pi)))


def _angle(a: Float[np.ndarray, "*n 3"], b: Float[np.ndarray, "*m 3"]) -> Float[np.ndarray, "*n"]:
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1) + 1e-12)
    return np.arccos(np.clip(cosine, -1, 1))


def _inner_trust(eye: _Eye, weight: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return the trust in what is seen, growing from its border inward."""
    seen = (weight > _TRUST.min_weight).astype(np.uint8)
    inside = cv2.copyMakeBorder(seen, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth_px = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return (smooth_ramp(depth_px, 0.0, _TRUST.feather * eye.radius_px) * weight * eye.here).astype(np.float32)


def _sclera_colour(seen: Layer, eyes: list[_Eye], trusts: list[np.ndarray]) -> Float[np.ndarray, "3"]:
    """Return the colour of the sclera: as bright as its palest seen parts, with little of their tint."""
    found = [
        seen.rgb[e.window][(trust > _TRUST.min_weight) & (e.angle > _SCLERA.min_angle)]
        for e, trust in zip(eyes, trusts, strict=True)
    ]
    white = np.concatenate([np.zeros((0, 3)), *found])
    if len(white) <= _SCLERA.min_texels:
        return _WHITE
    pale = white.mean(1) - _SCLERA.saturation_penalty * np.ptp(white, axis=1)
    bright = np.median(white[pale >= np.percentile(pale, _SCLERA.pale_percentile)], axis=0)
    seen_part, default_part = _SCLERA.tint
    tint = seen_part * bright / bright.mean() + default_part * _WHITE / _WHITE.mean()
    return np.clip(tint * np.clip(bright.mean(), *_SCLERA.brightness), *_SCLERA.channel)


def _eye_likelihood(
    eye: _Eye, rgb: Float32[np.ndarray, "h w 3"], white: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "h w"]:
    """Return 1 where a colour fits iris or sclera, whichever it lies on, 0 on skin, lashes or the wrong one."""
    brightness = rgb.mean(-1) / white.mean()
    warmth = (rgb[..., 0] - rgb[..., 2]) / np.maximum(rgb.mean(-1), _TRUST.min_channel)
    own = (white[0] - white[2]) / white.mean()
    skin = smooth_ramp(warmth, own + _TRUST.warmth[0], own + _TRUST.warmth[1])
    dark = 1 - smooth_ramp(brightness, *_TRUST.dark)
    outlier = np.maximum(skin, dark) * smooth_ramp(eye.angle, *_TRUST.sclera_angles)
    too_bright = smooth_ramp(brightness, *_TRUST.bright) * smooth_ramp(eye.angle, *_TRUST.iris_angles) * (eye.angle < 1)
    outlier = np.maximum(outlier, too_bright)
    blur_px = max(_TRUST.blur * eye.radius_px, _TRUST.min_blur_px)
    return (1 - cv2.GaussianBlur(outlier.astype(np.float32), (0, 0), blur_px)).astype(np.float32)


def _iris_rings(seen: Layer, eyes: list[_Eye], trusts: list[np.ndarray]) -> Float[np.ndarray, "r 3"]:
    """Return the colour of the iris at ``_RING_RADII``: medians of what is seen, in the pupil without highlights."""
    trusted = [
        (e.angle[t > _TRUST.min_weight], seen.rgb[e.window][t > _TRUST.min_weight])
        for e, t in zip(eyes, trusts, strict=True)
    ]
    angle = np.concatenate([np.zeros(0), *(a for a, _ in trusted)])
    colour = np.concatenate([np.zeros((0, 3)), *(c for _, c in trusted)])
    middle = colour[(angle > _IRIS.middle[0]) & (angle < _IRIS.middle[1])]
    usual = np.median(middle, axis=0) if len(middle) > _IRIS.min_middle_texels else _DARK_BROWN
    iris = np.clip(usual, *_IRIS.colour)
    glow = 1 + _IRIS.glow * np.exp(-(((_RING_RADII - _IRIS.glow_angle) / _IRIS.glow_width) ** 2))
    outside = smooth_ramp(_RING_RADII, _IRIS.pupil - _IRIS.pupil_softness, _IRIS.pupil + _IRIS.pupil_softness)
    rings = iris * (glow * outside)[:, None] + _IRIS.pupil_floor
    half = (_RING_RADII[1] - _RING_RADII[0]) / 2
    for index, ring in enumerate(_RING_RADII):
        found = colour[np.abs(angle - ring) < half]
        if len(found) > _IRIS.min_ring_texels:
            percentile = _IRIS.pupil_percentile if ring < _IRIS.pupil else _IRIS.iris_percentile
            rings[index] = np.percentile(found, percentile, axis=0)
    return rings


def _default_eye(
    eye: _Eye, rings: Float[np.ndarray, "r 3"], white: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "h w 3"]:
    """Return an eye by angle from the line of gaze and direction around it."""
    waves = _IRIS.waves
    fibres = sum(np.sin(k * eye.around + p + _IRIS.twist * eye.angle) for k, p in waves) / len(waves)
    outside_pupil = smooth_ramp(eye.angle, _IRIS.pupil, _IRIS.pupil + _IRIS.fibre_softness)
    limbal = 1 - _IRIS.limbal_darkening * smooth_ramp(eye.angle, *_IRIS.limbal_ring)
    iris = np.stack([np.interp(eye.angle, _RING_RADII, rings[:, c]) for c in range(3)], axis=-1)
    iris = iris * ((1 + _IRIS.fibre_contrast * fibres * outside_pupil) * limbal)[..., None]
    far = smooth_ramp(eye.angle, *_SCLERA.angles)[..., None]
    sclera = white * (1 - np.array(_SCLERA.reddening) * far)
    limbus = smooth_ramp(eye.angle, *_IRIS.limbus)[..., None]
    return np.clip(iris * (1 - limbus) + sclera * limbus, 0, 1).astype(np.float32)


def _continue_under_lids(
    eye: _Eye, difference: Float32[np.ndarray, "h w 3"], trust: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Return differences where they are trusted, elsewhere the low frequencies of those nearby.

    Iris and sclera do not mix.
    """
    hidden = (trust < _CONTINUATION.min_trust).astype(np.uint8)
    hidden_distance = cv2.distanceTransform(hidden, cv2.DIST_L2, 5) / eye.radius_px
    any_seen = (trust >= _CONTINUATION.min_trust).any()
    fading = np.exp(-((hidden_distance / _CONTINUATION.fading) ** 2)) if any_seen else np.zeros_like(trust)
    out = np.zeros_like(difference)
    for inside, fraction in ((eye.angle < 1, 1.0), (eye.angle >= 1, _CONTINUATION.sclera_fraction)):
        known = np.where(inside, trust, 0).astype(np.float32)
        smooth = _extrapolate(difference, known, _CONTINUATION.finest * eye.radius_px)
        weight = trust[..., None]
        own = difference * weight + smooth * (1 - weight) * fraction * fading[..., None]
        out = np.where(inside[..., None], own, out)
    return out.astype(np.float32)


def _extrapolate(
    values: Float32[np.ndarray, "h w c"], weight: Float32[np.ndarray, "h w"], finest_px: float
) -> Float32[np.ndarray, "h w c"]:
    """Return weighted means over windows that grow until they reach something known."""
    out, missing = np.zeros_like(values), np.ones_like(weight)
    width_px = max(finest_px, _CONTINUATION.min_finest_px)
    known = np.dstack([values * weight[..., None], weight])
    while width_px < max(weight.shape) and missing.any():
        around = blurred(known, width_px)
        total = around[..., -1]
        mean = around[..., :-1] / np.maximum(total, 1e-6)[..., None]
        enough = missing * np.clip(total / _CONTINUATION.enough, 0, 1)
        out += mean * enough[..., None]
        missing = missing - enough
        width_px *= 2
    return out
