"""The inside of the mouth: teeth after visible ones, gums, tongue and a cavity that darkens with its depth."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.texture.fill import Layer

_TEETH, _GUMS = np.array([0.86, 0.81, 0.73]), np.array([0.72, 0.42, 0.40])
_TONGUE, _CAVITY = np.array([0.72, 0.42, 0.40]), np.array([0.58, 0.27, 0.26])
_DARKEST = 0.02
"""Light of what no sky reaches: a little comes from the walls."""
_SHADE_POWER = np.array([0.38, 0.46, 0.48])
"""From light to what it does to sRGB colours: the display's power, less for red, which walls of flesh throw back."""
_ENAMEL_POWER = 0.6
"""Share of that power for enamel, which lets light through and shines."""
_LEAST = 0.2
"""Weight from which on a texel is taken for seen when colours are measured."""
_ENOUGH_TEXELS = 200
_FEATHER_SHARE = 0.006
"""Over this share of the texture's side trust grows from the border of visible teeth."""


def complete_mouth(model: HeadModel, atlas: Atlas, seen: Layer) -> Layer:
    """Teeth, gums, tongue and cheeks from inside, each darker the less of the sky an open mouth lets it see.

    Of a photo only teeth are believed: what else shows between lips is a shadow that would come along into the light.

    Returns:
        Colours, 0 elsewhere; weights are those of ``seen`` as far as it was believed.
    """
    light = atlas.spread(model.masks["mouth_light"][:, None])[..., 0]
    gum = atlas.spread(model.masks["gums"][:, None])
    rows = {name: atlas.part == PARTS.index(name) for name in ("teeth_upper", "teeth_lower")}
    on_teeth = (rows["teeth_upper"] | rows["teeth_lower"]) & (gum[..., 0] < 0.5)
    teeth = _teeth_colour(seen, on_teeth)
    colours = {"teeth_upper": teeth, "teeth_lower": teeth * 0.97, "tongue": _TONGUE, "mouth_cavity": _CAVITY}
    painted = np.zeros_like(seen.rgb)
    for name, colour in colours.items():
        here = atlas.part == PARTS.index(name)
        flesh = gum[here] if name in rows else np.zeros((int(here.sum()), 1))
        power = _SHADE_POWER * (1 - (1 - _ENAMEL_POWER) * (name in rows) * (1 - flesh))
        shade = (_DARKEST + (1 - _DARKEST) * light[here])[:, None] ** power
        painted[here] = (colour * (1 - flesh) + _GUMS * flesh) * shade
    trust = _trust(seen, on_teeth, teeth)
    share = trust[..., None]
    return Layer((seen.rgb * share + painted * (1 - share)).astype(np.float32), trust)


def _teeth_colour(seen: Layer, on_teeth) -> np.ndarray:
    """As the brightest visible teeth, if they can be teeth."""
    visible = seen.rgb[on_teeth & (seen.weight > _LEAST)]
    if len(visible) > _ENOUGH_TEXELS:
        bright = np.percentile(visible, 75, axis=0)
        if bright.mean() > 0.45 and np.ptp(bright) < 0.25:
            return 0.8 * bright + 0.2 * _TEETH
    return _TEETH


def _trust(seen: Layer, on_teeth, teeth: np.ndarray) -> Float32[np.ndarray, "t t"]:
    """1 well within visible teeth, 0 on lips and gums that were seen in their place."""
    tint = seen.rgb / np.maximum(seen.rgb.mean(-1, keepdims=True), 0.05)
    strange = np.abs(tint - teeth / teeth.mean()).max(-1)
    dark = seen.rgb.mean(-1) / teeth.mean()
    like = np.clip((0.45 - strange) / 0.2, 0, 1) * np.clip((dark - 0.5) / 0.2, 0, 1)
    width = _FEATHER_SHARE * len(seen.weight)
    inside = (on_teeth & (seen.weight * like > 0.4)).astype(np.uint8)
    depth = cv2.distanceTransform(cv2.morphologyEx(inside, cv2.MORPH_CLOSE, np.ones((3, 3))), cv2.DIST_L2, 5)
    return (np.clip(depth / width, 0, 1) * seen.weight * on_teeth).astype(np.float32)
