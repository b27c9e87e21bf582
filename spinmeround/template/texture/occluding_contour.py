"""Colours near a photo's occluding contour: shading falls off or flares up there, which is no colour of the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.texture.fill import Layer, MembraneSolver


@dataclass(frozen=True)
class _ContourSettings:
    """Constants of ``correct_contour_colours``. Brightness and limits are natural logarithms of sRGB colours.

    Attributes:
        facing: cosines between normal and line of sight between which a colour changes from one of the contour to one
            that is trusted.
        seen_weight: weight of the seen colour of a vertex against its neighbours: a few millimetres are averaged.
        trusted_weight: weight of the trusted colour of a vertex: a few centimetres are averaged.
        half_weight: summed texel weight at which a vertex counts half, texels.
        prior_weight: weight of the mean trusted colour, which decides far from all that is seen.
        min_colour: darker colours are taken for this one, sRGB in [0, 1]: the logarithm of black has no bound.
        brightened: part of the contour's fall-off that is evened out: the rest makes a head look solid.
        darkened: part of a flare that is evened out: it is backlight.
        max_change: no colour is changed by more than this.
    """

    facing: tuple[float, float] = (0.3, 0.75)
    seen_weight: float = 0.5
    trusted_weight: float = 0.03
    half_weight: float = 5.0
    prior_weight: float = 1e-4
    min_colour: float = 0.02
    brightened: float = 0.4
    darkened: float = 0.8
    max_change: float = 0.7


_CONTOUR = _ContourSettings()


def correct_contour_colours(
    atlas: Atlas,
    membrane: MembraneSolver,
    seen: Layer,
    facing: Float32[np.ndarray, "t t"],
    plain: Bool[np.ndarray, "t t"],
    side: Float[np.ndarray, "m"],
) -> Layer:
    """Give skin near a photo's occluding contour the tint of skin that faces the camera.

    The low frequencies of all seen skin are compared with what skin that faces the camera would continue with. Their
    ratio is taken out, the more the more oblique the line of sight. High frequencies such as pores and stubble stay.

    Args:
        facing: cosine between normal and line of sight at each texel.
        plain: texels that show skin and neither hair nor an opening.
        side: per dense vertex, 1 on the sides of the head, 0 where eyes, nose and mouth have slopes of their own.

    Returns:
        The layer with corrected colours and the same weights; unchanged if no skin faces the camera.
    """
    contour = atlas.spread(side[:, None])[..., 0] * (1 - smooth_ramp(facing, *_CONTOUR.facing))
    weight = np.where(plain, seen.weight, 0).astype(np.float32)
    colours, weight_sum = atlas.gather(seen.rgb, weight, len(side))
    trusted, trusted_sum = atlas.gather(seen.rgb, (weight * (1 - contour)).astype(np.float32), len(side))
    if trusted_sum.sum() <= 0:
        return seen
    mean = np.average(trusted, axis=0, weights=trusted_sum)
    prior = np.broadcast_to(np.log(np.clip(mean, _CONTOUR.min_colour, 1)), trusted.shape)

    def low_frequencies(
        rgb: Float[np.ndarray, "m 3"], weight_sum: Float[np.ndarray, "m"], data_weight: float
    ) -> Float[np.ndarray, "m 3"]:
        return membrane.interpolate(
            np.log(np.clip(rgb, _CONTOUR.min_colour, 1)),
            data_weight * weight_sum / (weight_sum + _CONTOUR.half_weight),
            prior,
            prior_weight=_CONTOUR.prior_weight,
        )

    wanted = low_frequencies(trusted, trusted_sum, _CONTOUR.trusted_weight)
    present = low_frequencies(colours, weight_sum, _CONTOUR.seen_weight)
    change = np.clip(wanted - present, -_CONTOUR.max_change, _CONTOUR.max_change)
    brightness = change.mean(1, keepdims=True)
    change += brightness * (np.where(brightness > 0, _CONTOUR.brightened, _CONTOUR.darkened) - 1)
    rgb = seen.rgb * np.exp(atlas.spread(change) * contour[..., None])
    return Layer(np.clip(rgb, 0, 1).astype(np.float32), seen.weight)
