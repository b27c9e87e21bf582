"""Creases that a photo's expression pressed into the skin, taken out of its colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.images import blurred
from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.head_model import PARTS
from spinmeround.template.texture.fill import Layer, colour_similarity, window_of
from spinmeround.template.texture.skin_tone import SkinCanvas, log_colour, unlikeness, usual_skin


@dataclass(frozen=True)
class _CreaseSettings:
    """Constants of creases.

    Attributes:
        pressed: compressions of the skin by the expression between which creases come to be the expression's, fraction
            of its length.
        line_mm: distances to where lips meet between which that line, which stays, ends, millimetres.
        finest: details up to this size are pores and hairs, and stay; standard deviation, fraction of the texture's
            side.
        half_weight: summed texel weight at which a vertex counts half, texels.
        prior_weight: of the person's usual skin.
        detail: weight of the tone at single vertices against that at their neighbours: about a centimetre is averaged.
        tolerance: what differs by so much from that mean counts half in it: creases are outliers; natural logarithms.
        rounds: of iteratively reweighted least squares.
        evened: fraction by which its tone comes to be that.
    """

    pressed: tuple[float, float] = (0.06, 0.2)
    line_mm: tuple[float, float] = (1.0, 3.0)
    finest: float = 0.0012
    half_weight: float = 2
    prior_weight: float = 1e-6
    detail: float = 0.02
    tolerance: float = 0.15
    rounds: int = 3
    evened: float = 0.75


_CREASES = _CreaseSettings()


def without_creases(
    canvas: SkinCanvas,
    skin: Layer,
    posed: Float[np.ndarray, "n 3"],
    neutral: Float[np.ndarray, "n 3"],
    line_distance_mm: Float[np.ndarray, "m"],
) -> Float32[np.ndarray, "t t 3"]:
    """Return the colours of complete skin, evened out where the expression presses it together.

    Skin that is pressed together folds: beside a smile, below squinting eyes, between brows that frown. Folds are dark.
    They are brightened to the tone of their surroundings, a robust mean over the surface. Fine details are the skin's
    own and stay.

    Args:
        skin: colours without light, complete, and the weight with which photos show in them.
        posed: coarse vertices with the photo's expression.
        neutral: the same at rest.
        line_distance_mm: of each dense vertex to the line on which lips meet, which is dark at rest, too.
    """
    model = canvas.model
    colours, weight_sum = canvas.gather(skin)
    usual = usual_skin(colours, weight_sum, canvas.places.sure)
    beard = canvas.beard(skin, unlikeness(colours, usual), weight_sum)
    masks, mouth = model.masks, 1 - smooth_ramp(line_distance_mm, *_CREASES.line_mm)
    other = np.maximum.reduce(
        [mouth, masks["lips"], masks["lids"], masks["nostrils"], masks["cavity"], canvas.places.brows]
    )
    own = (1 - other) * (1 - beard) * (1 - canvas.hair_coverage)
    pressed = smooth_ramp(_compression(canvas, posed, neutral), *_CREASES.pressed)
    amount = canvas.spread(pressed * own) * _CREASES.evened
    if not amount.any():
        return skin.rgb
    trusted = _CREASES.detail * own * weight_sum / (weight_sum + _CREASES.half_weight)
    trust, vertex_logs = trusted, log_colour(colours)
    smooth = np.broadcast_to(log_colour(usual), colours.shape)
    for _ in range(_CREASES.rounds):
        smooth = canvas.membrane.interpolate(vertex_logs, trust, smooth, prior_weight=_CREASES.prior_weight)
        trust = trusted * colour_similarity(vertex_logs, smooth, _CREASES.tolerance)
    finest_px = _CREASES.finest * canvas.atlas.size
    window = window_of(amount > 0, blur_px=finest_px)
    inside = canvas.inside[window].astype(np.float32)
    logs = _blurred_inside(log_colour(skin.rgb[window]).astype(np.float32), inside, finest_px)
    darker = np.minimum(logs - canvas.atlas.spread(smooth, window), 0)
    change = -darker * (amount[window] * inside)[..., None]
    even = skin.rgb.copy()
    even[window] *= np.exp(change)
    return even


def _blurred_inside(
    image: Float32[np.ndarray, "h w 3"], inside: Float32[np.ndarray, "h w"], deviation_px: float
) -> Float32[np.ndarray, "h w 3"]:
    """Blur over what is inside alone."""
    total, mean = (blurred(each, deviation_px) for each in (inside, image * inside[..., None]))
    return mean / np.maximum(total, 1e-6)[..., None]


def _compression(
    canvas: SkinCanvas, posed: Float[np.ndarray, "n 3"], neutral: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "m"]:
    """Return by which fraction of its length an expression presses the skin at each dense vertex together, at most.

    It is 1 less the smaller singular value of the deformation of each face, averaged over a centimetre or so.
    """
    faces = canvas.model.dense_faces[canvas.model.dense_part == PARTS.index("skin")]
    rest, moved = (_in_plane(np.asarray(canvas.model.dense(each), np.float64), faces) for each in (neutral, posed))
    gradient = moved @ np.linalg.inv(rest)
    least = np.linalg.svd(gradient, compute_uv=False)[:, -1]
    count = len(canvas.hair_coverage)
    corners = np.bincount(faces.ravel(), minlength=count)
    total = np.bincount(faces.ravel(), np.repeat(1 - least, 3), minlength=count)
    mean = (total / np.maximum(corners, 1))[:, None]
    smooth = canvas.membrane.interpolate(mean, np.full(count, 0.1), mean, prior_weight=0.0)
    return smooth[:, 0]


def _in_plane(vertices: Float[np.ndarray, "m 3"], faces: np.ndarray) -> Float[np.ndarray, "f 2 2"]:
    """Return two edges of each face in coordinates of its plane, as columns."""
    first, second = (vertices[faces[:, c]] - vertices[faces[:, 0]] for c in (1, 2))
    length = np.maximum(np.linalg.norm(first, axis=1), 1e-9)
    along = (first * second).sum(1) / length
    across = np.maximum(np.linalg.norm(np.cross(first, second), axis=1) / length, 1e-9)
    zero = np.zeros_like(length)
    return np.stack([np.stack([length, along], axis=1), np.stack([zero, across], axis=1)], axis=1)
