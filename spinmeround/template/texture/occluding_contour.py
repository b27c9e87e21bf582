"""Skin near a photo's occluding contour: its light falls off or flares up there, and what lies beyond mixes in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.texture.fill import Layer, MembraneSolver, colour_similarity


@dataclass(frozen=True)
class _ContourSettings:
    """Constants of ``contour_light``. Brightness and limits are natural logarithms of sRGB colours.

    Attributes:
        facing: cosines between normal and line of sight between which a colour changes from one of the contour to one
            that is trusted.
        seen_weight: weight of the seen colour of a vertex against its neighbours: a few millimetres are averaged.
        trusted_weight: weight of the trusted colour of a vertex: a few centimetres are averaged.
        half_weight: summed texel weight at which a vertex counts half, texels.
        prior_weight: weight of the mean trusted colour, which decides far from all that is seen.
        min_colour: darker colours are taken for this one, sRGB in [0, 1]: the logarithm of black has no bound.
        brightened: part of the contour's fall-off that is evened out. It costs a little likeness from the photo's own
            camera, and a cheek that turns into view is not smudged.
        darkened: part of a flare that is evened out: it is backlight.
        max_change: no colour is changed by more than this.
    """

    facing: tuple[float, float] = (0.3, 0.75)
    seen_weight: float = 0.5
    trusted_weight: float = 0.03
    half_weight: float = 5.0
    prior_weight: float = 1e-4
    min_colour: float = 0.02
    brightened: float = 0.85
    darkened: float = 0.8
    max_change: float = 0.7


@dataclass(frozen=True)
class _BorderSettings:
    """Constants of ``border_change``. Limits are natural logarithms of sRGB colours.

    Attributes:
        reach_mm: distances to unseen skin between which colours come to be trusted, millimetres.
        mirrored: weight of the other side of the head, which has the same skin, against this side's.
        tolerance: what differs by so much from the skin around counts half in it.
        rounds: of iteratively reweighted least squares.
        max_change: no colour is changed by more than this.
    """

    reach_mm: tuple[float, float] = (3.0, 24.0)
    mirrored: float = 0.5
    tolerance: float = 0.4
    rounds: int = 3
    max_change: float = 0.9


_CONTOUR, _BORDER = _ContourSettings(), _BorderSettings()
_TINY = 1e-9
"""Keeps divisions by weights finite."""


def contour_light(
    atlas: Atlas,
    membrane: MembraneSolver,
    seen: Layer,
    facing: Float[np.ndarray, "m"],
    plain: Bool[np.ndarray, "t t"],
    side: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3"]:
    """Return the factor on sRGB colours by which skin near a photo's occluding contour differs from skin that faces it.

    The low frequencies of all seen skin are compared with what skin that faces the camera would continue with. Divided
    by the factor, oblique skin has the tint of the rest, the more the more oblique it is; high frequencies such as
    pores and stubble stay.

    Args:
        facing: cosine between normal and line of sight at each dense vertex.
        plain: texels that show skin and neither hair nor an opening.
        side: per dense vertex, 1 on the sides of the head, 0 where eyes, nose and mouth have slopes of their own,
            and on beards.

    Returns:
        Factors at the dense vertices; all 1 if no skin faces the camera.
    """
    contour = side * (1 - smooth_ramp(facing, *_CONTOUR.facing))
    weight = np.where(plain, seen.weight, 0).astype(np.float32)
    colours, weight_sum = atlas.gather(seen.rgb, weight, len(side))
    facing_weight = weight * (1 - atlas.spread(contour[:, None])[..., 0])
    trusted, trusted_sum = atlas.gather(seen.rgb, facing_weight.astype(np.float32), len(side))
    if trusted_sum.sum() <= 0:
        return np.ones((len(side), 3))
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
    tint = (change - brightness) * contour[:, None]
    fall_off = np.maximum(brightness, 0) * _CONTOUR.brightened * contour[:, None]
    flare = np.minimum(brightness, 0) * _CONTOUR.darkened * contour[:, None]
    return np.exp(-(tint + fall_off + flare))


def border_change(
    membrane: MembraneSolver,
    logs: Float[np.ndarray, "m 3"],
    skin: Float[np.ndarray, "m"],
    distance_mm: Float[np.ndarray, "m"],
    *,
    twin: Integer[np.ndarray, "m"],
    prior: Float[np.ndarray, "3"],
    screen: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3"]:
    """Return what brings skin near the border of what is seen to the tone of skin that is seen well.

    What a photo shows last before its contour is small and oblique: hair, shadows and walls mix in, and a pixel of it
    covers a centimetre of skin once the head turns. There only details finer than a few millimetres are kept. The tone
    is a robust membrane through skin further inside, on this side of the head and on the other.

    Args:
        logs: logarithms of the colours seen at the dense vertices.
        skin: how far bare skin is seen there, in [0, 1].
        distance_mm: of each dense vertex to skin that is not seen, millimetres.
        twin: index of each vertex on the other side of the head.
        prior: logarithm of the colour that is expected where nothing is known.
        screen: its weight.

    Returns:
        What to add to the logarithms; 0 far from the border.
    """
    near = 1 - smooth_ramp(distance_mm, *_BORDER.reach_mm)
    inner, expected = skin * (1 - near), np.broadcast_to(prior, logs.shape)
    trusted, wanted = inner, expected
    for _ in range(_BORDER.rounds):
        other = _BORDER.mirrored * trusted[twin]
        both = (trusted + other)[:, None]
        mean = (trusted[:, None] * logs + other[:, None] * logs[twin]) / np.maximum(both, _TINY)
        wanted = membrane.interpolate(mean, both[:, 0], expected, prior_weight=screen)
        trusted = inner * colour_similarity(logs, wanted, _BORDER.tolerance)
    change = np.clip(wanted - logs, -_BORDER.max_change, _BORDER.max_change)
    return change * (near * (skin > 0))[:, None]
