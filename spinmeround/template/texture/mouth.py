"""The inside of the mouth: teeth coloured after visible ones, gums, tongue and a cavity that darkens with its depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.texture.fill import Layer

_TEETH, _GUMS = np.array([0.86, 0.81, 0.73]), np.array([0.72, 0.42, 0.40])
_TONGUE, _CAVITY = np.array([0.72, 0.42, 0.40]), np.array([0.58, 0.27, 0.26])
"""Default colours where light reaches, sRGB."""
_SHADE_POWER = np.array([0.38, 0.46, 0.48])
"""Exponent from light to its factor on sRGB colours: the display's, less for red, which walls of flesh reflect."""


@dataclass(frozen=True)
class _MouthSettings:
    """Constants of the mouth's colours. Colours are sRGB in [0, 1], weights and fractions are in [0, 1].

    Attributes:
        least_light: light where no sky is visible: a little comes from the walls.
        enamel_power: factor on the shading's exponent for enamel, which lets light through and shines.
        lower_teeth: brightness of the lower teeth relative to the upper ones.
        max_tooth_gums: texels of the teeth with less of the gums than this are enamel.
        min_weight: texels with more weight than this count as seen when the teeth's colour is measured.
        min_texels: teeth need more seen texels than this, or they get the default colour.
        tooth_percentile: percentile of the seen colours that is the teeth's: darker ones lie in a shadow.
        min_tooth_brightness: whatever is darker cannot be a tooth.
        max_tooth_saturation: whatever has a greater range of its channels cannot be a tooth.
        seen_and_default: parts of the measured and of the default colour in that of the teeth.
        min_channel: darker mean colours are taken for this one where a tint is measured.
        tint: difference of the tint from the teeth's at which a texel is no tooth, and over which that changes.
        brightness: brightness relative to the teeth's up to which a texel is no tooth, and over which that changes.
        min_tooth_weight: texels weighted more than this are inside visible teeth.
        feather: distance over which the weight grows from the border of visible teeth, fraction of the texture's side.
    """

    least_light: float = 0.02
    enamel_power: float = 0.6
    lower_teeth: float = 0.97
    max_tooth_gums: float = 0.5
    min_weight: float = 0.2
    min_texels: int = 200
    tooth_percentile: float = 75
    min_tooth_brightness: float = 0.45
    max_tooth_saturation: float = 0.25
    seen_and_default: tuple[float, float] = (0.8, 0.2)
    min_channel: float = 0.05
    tint: tuple[float, float] = (0.45, 0.2)
    brightness: tuple[float, float] = (0.5, 0.2)
    min_tooth_weight: float = 0.4
    feather: float = 0.006


_MOUTH = _MouthSettings()


def complete_mouth(model: HeadModel, atlas: Atlas, seen: Layer) -> Layer:
    """Paint teeth, gums, tongue and cheeks from inside, each darker the less of the sky an open mouth lets it see.

    Of a photo only teeth are trusted: what else shows between lips lies in a shadow that would move along with it.

    Returns:
        Colours, 0 elsewhere; weights are those of ``seen`` as far as it was trusted.
    """
    light = atlas.spread(model.masks["mouth_light"][:, None])[..., 0]
    gums = atlas.spread(model.masks["gums"][:, None])
    rows = {name: atlas.part == PARTS.index(name) for name in ("teeth_upper", "teeth_lower")}
    on_teeth = (rows["teeth_upper"] | rows["teeth_lower"]) & (gums[..., 0] < _MOUTH.max_tooth_gums)
    teeth = _teeth_colour(seen, on_teeth)
    colours = {
        "teeth_upper": teeth,
        "teeth_lower": teeth * _MOUTH.lower_teeth,
        "tongue": _TONGUE,
        "mouth_cavity": _CAVITY,
    }
    painted = np.zeros_like(seen.rgb)
    for name, colour in colours.items():
        here = atlas.part == PARTS.index(name)
        flesh = gums[here] if name in rows else np.zeros((int(here.sum()), 1))
        power = _SHADE_POWER * (1 - (1 - _MOUTH.enamel_power) * (name in rows) * (1 - flesh))
        shade = (_MOUTH.least_light + (1 - _MOUTH.least_light) * light[here])[:, None] ** power
        painted[here] = (colour * (1 - flesh) + _GUMS * flesh) * shade
    trust = _tooth_trust(seen, on_teeth, teeth)
    shown = trust > 0
    weight = trust[shown][:, None]
    painted[shown] = seen.rgb[shown] * weight + painted[shown] * (1 - weight)
    return Layer(painted, trust)


def _teeth_colour(seen: Layer, on_teeth: Bool[np.ndarray, "t t"]) -> Float[np.ndarray, "3"]:
    """Return the colour of the brightest visible teeth if they can be teeth, else the default."""
    visible = seen.rgb[on_teeth & (seen.weight > _MOUTH.min_weight)]
    if len(visible) > _MOUTH.min_texels:
        bright = np.percentile(visible, _MOUTH.tooth_percentile, axis=0)
        if bright.mean() > _MOUTH.min_tooth_brightness and np.ptp(bright) < _MOUTH.max_tooth_saturation:
            seen_part, default_part = _MOUTH.seen_and_default
            return seen_part * bright + default_part * _TEETH
    return _TEETH


def _tooth_trust(
    seen: Layer, on_teeth: Bool[np.ndarray, "t t"], teeth: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "t t"]:
    """Return 1 well within visible teeth, 0 on lips and gums that were seen in their place."""
    rgb, weight = seen.rgb[on_teeth], seen.weight[on_teeth]
    tint = rgb / np.maximum(rgb.mean(-1, keepdims=True), _MOUTH.min_channel)
    tint_difference = np.abs(tint - teeth / teeth.mean()).max(-1)
    brightness = rgb.mean(-1) / teeth.mean()
    (strange, strange_range), (dark, dark_range) = _MOUTH.tint, _MOUTH.brightness
    similar_tint = np.clip((strange - tint_difference) / strange_range, 0, 1)
    tooth = similar_tint * np.clip((brightness - dark) / dark_range, 0, 1)
    feather_px = _MOUTH.feather * len(seen.weight)
    inside = np.zeros(on_teeth.shape, np.uint8)
    inside[on_teeth] = weight * tooth > _MOUTH.min_tooth_weight
    closed = cv2.morphologyEx(inside, cv2.MORPH_CLOSE, np.ones((3, 3)))
    depth_px = cv2.distanceTransform(closed, cv2.DIST_L2, 5)
    return (np.clip(depth_px / feather_px, 0, 1) * seen.weight * on_teeth).astype(np.float32)
