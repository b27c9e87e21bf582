"""The rim of what a photo shows: there light falls off or flares up, and neither belongs on the side of a head."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.template.model.atlas import Atlas
from spinmeround.template.texture.fill import Layer, Spreader

_SQUARE = (0.3, 0.75)
"""Between these cosines of the angle of sight a colour changes from one of the rim to one that is believed."""
_CLOSELY, _LOOSELY = 0.5, 0.03
"""Hold of the colours of single vertices on the colour around them: a few millimetres or centimetres are averaged."""
_DARKER, _BRIGHTER = 0.4, 0.8
"""Share of the rim's brightness that is evened out: fall-off makes a head look solid, a flare comes from behind."""
_LIMIT = 0.7
"""No colour is changed by more than this factor's logarithm."""


def even_rim(
    atlas: Atlas,
    spreader: Spreader,
    seen: Layer,
    facing: Float32[np.ndarray, "t t"],
    plain: Bool[np.ndarray, "t t"],
    side: Float[np.ndarray, "m"],
) -> Layer:
    """Gives the skin at the rim of a photo the tint of the skin that the photo shows squarely.

    The slow colours of all seen skin are compared with those that squarely seen skin would continue with; their ratio
    is taken out the more the flatter the sight. Pores and stubble stay.

    Args:
        facing: cosine of the angle of sight at each texel.
        plain: texels that show skin and neither hair nor an opening.
        side: per dense vertex, 1 on the sides of the head, 0 where eyes, nose and mouth have slopes of their own.
    """
    square = np.clip((facing - _SQUARE[0]) / (_SQUARE[1] - _SQUARE[0]), 0, 1)
    rim = atlas.spread(side[:, None])[..., 0] * (1 - square * square * (3 - 2 * square))
    weight = np.where(plain, seen.weight, 0).astype(np.float32)
    colours, mass = atlas.gather(seen.rgb, weight, len(side))
    believed, sure = atlas.gather(seen.rgb, (weight * (1 - rim)).astype(np.float32), len(side))
    if sure.sum() <= 0:
        return seen
    typical = np.broadcast_to(np.log(np.clip(np.average(believed, axis=0, weights=sure), 0.02, 1)), believed.shape)

    def slow(rgb: Float[np.ndarray, "m 3"], mass: Float[np.ndarray, "m"], hold: float) -> Float[np.ndarray, "m 3"]:
        return spreader.spread(np.log(np.clip(rgb, 0.02, 1)), hold * mass / (mass + 5.0), typical, pull=1e-4)

    change = np.clip(slow(believed, sure, _LOOSELY) - slow(colours, mass, _CLOSELY), -_LIMIT, _LIMIT)
    brightness = change.mean(1, keepdims=True)
    change += brightness * (np.where(brightness > 0, _DARKER, _BRIGHTER) - 1)
    rgb = seen.rgb * np.exp(atlas.spread(change) * rim[..., None])
    return Layer(np.clip(rgb, 0, 1).astype(np.float32), seen.weight)
