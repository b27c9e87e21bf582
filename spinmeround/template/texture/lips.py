"""Lips as views show them: completed, and without the teeth that an open mouth shows in their place."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial import cKDTree

from spinmeround.geometry import MILLIMETRE
from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.texture.fill import Layer, MembraneSolver, colour_similarity

_UPPER_LANDMARKS, _LOWER_LANDMARKS = (82, 13, 312), (87, 14, 317)
"""On the inner borders of the lips, in pairs."""


@dataclass(frozen=True)
class _LipSettings:
    """Constants of the lips. Colours are sRGB in [0, 1], weights and fractions are in [0, 1].

    Distances are those to the mouth's border, where the skin of the lips meets the mouth cavity.

    Attributes:
        opened_mm: gaps between the lips between which what lies behind comes to show on them, millimetres.
        all_lip_mm: distances up to which all is lip, and from which on the model's mask decides, millimetres.
        affected_mm: distances from which on what lies in the mouth no longer gets onto the skin, millimetres.
        min_mask: texels with more than this of the lips, and with more weight, give the lips' colour.
        unseen: weights between which a texel changes from one that no view saw to one that is seen.
        pale: redness relative to the lips' between which a texel changes from teeth to lip, ...
        pale_brightness: ... if it is not darker than this relative to the lips.
        dark: brightness relative to the lips' between which a texel changes from the mouth's inside to lip.
        bright: brightness relative to the lips' between which a texel changes from lip to teeth.
        min_channel: darker mean colours are taken for this one where redness is measured, and a lower redness of the
            lips for this.
        blur: standard deviation of the transition, fraction of the texture's side, ...
        blur_px: ... plus this, texels.
        doubt_gain: factor on the blurred doubt, so that all of what was doubted is replaced.
        tolerance: colours so far from the lips' usual one count half: their border, or something else.
        half_weight: summed texel weight at which a vertex counts half, texels.
        prior_weight: weight of the usual colour against differences between neighbours.
        seam_mm: distances between which lips are darker toward each other, millimetres.
        seam_darkening: by which fraction.
    """

    opened_mm: tuple[float, float] = (0.5, 1.5)
    all_lip_mm: tuple[float, float] = (2.0, 4.0)
    affected_mm: tuple[float, float] = (8.0, 12.0)
    min_mask: float = 0.5
    unseen: tuple[float, float] = (0.2, 0.6)
    pale: tuple[float, float] = (0.45, 0.7)
    pale_brightness: tuple[float, float] = (0.8, 1.0)
    dark: tuple[float, float] = (0.5, 0.7)
    bright: tuple[float, float] = (1.2, 1.4)
    min_channel: float = 0.05
    blur: float = 0.0025
    blur_px: float = 0.5
    doubt_gain: float = 3
    tolerance: float = 0.1
    half_weight: float = 2
    prior_weight: float = 0.01
    seam_mm: tuple[float, float] = (0.5, 2.5)
    seam_darkening: float = 0.35


_LIP = _LipSettings()


def complete_lips(
    model: HeadModel, atlas: Atlas, seen: Layer, posed: Float[np.ndarray, "n 3"], neutral: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "t t 3"]:
    """Return the skin's texture with whole lips: where no view saw them, and where an open mouth put teeth on them.

    Teeth are pale and bright beside lips, the gap between them is darker. The lips' own colours, which are neither, are
    continued over both. A mouth that was photographed shut keeps all that was seen: highlights are as pale as teeth.

    Args:
        seen: the skin's colours, complete, and the weight with which they were seen.
        posed: coarse vertices as they were photographed.
        neutral: the same at rest.
    """
    distance_mm = _distance_to_border_mm(model)
    near = np.maximum(model.masks["lips"], 1 - smooth_ramp(distance_mm, *_LIP.all_lip_mm)) * (
        1 - smooth_ramp(distance_mm, *_LIP.affected_mm)
    )
    on_skin = atlas.part == PARTS.index("skin")
    skin, near_map = seen.rgb, atlas.spread(near[:, None])[..., 0] * on_skin
    lip_mask = atlas.spread(model.masks["lips"][:, None])[..., 0]
    lips = (near_map > _LIP.min_mask) & (lip_mask > _LIP.min_mask) & (seen.weight > _LIP.min_mask)
    if not lips.any():
        return skin
    usual = _usual_colour(skin[lips])
    gap_mm = np.array([(lips_gap(model, posed) - lips_gap(model, neutral)) / MILLIMETRE])
    opened = smooth_ramp(gap_mm, *_LIP.opened_mm)[0]
    unseen = 1 - smooth_ramp(seen.weight, *_LIP.unseen)
    doubt = np.maximum(_foreign_colours(skin, usual) * opened, unseen) * near_map
    doubt = cv2.GaussianBlur(doubt.astype(np.float32), (0, 0), _LIP.blur * atlas.size + _LIP.blur_px)
    doubt = np.clip(_LIP.doubt_gain * doubt, 0, 1) * on_skin
    values, weight_sum = atlas.gather(skin, (lips * (1 - doubt)).astype(np.float32), len(near))
    similar = colour_similarity(values, usual, _LIP.tolerance)
    membrane = MembraneSolver.on_faces(model.dense_faces[(near > 0)[model.dense_faces].all(1)], len(near))
    filled = membrane.interpolate(
        values,
        similar * weight_sum / (weight_sum + _LIP.half_weight),
        np.broadcast_to(usual.astype(np.float64), values.shape),
        prior_weight=_LIP.prior_weight,
    )
    filled *= _seam_shadow(distance_mm)[:, None]
    weight = doubt[..., None]
    return (skin * (1 - weight) + atlas.spread(filled) * weight).astype(np.float32)


def seam_shadow(model: HeadModel) -> Float[np.ndarray, "m"]:
    """Return the factor by which lips at rest are darker toward each other, at each dense vertex."""
    return _seam_shadow(_distance_to_border_mm(model))


def _seam_shadow(distance_mm: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    return 1 - _LIP.seam_darkening * (1 - smooth_ramp(distance_mm, *_LIP.seam_mm))


def lips_gap(model: HeadModel, coarse: Float[np.ndarray, "n 3"]) -> float:
    """Return the mean distance between the lips, head units."""
    upper, lower = (landmark_points(model, coarse, numbers) for numbers in (_UPPER_LANDMARKS, _LOWER_LANDMARKS))
    return float(np.linalg.norm(upper - lower, axis=1).mean())


def _distance_to_border_mm(model: HeadModel) -> Float[np.ndarray, "m"]:
    """Return the distance of each dense vertex of the skin to the mouth's border; infinite for the other vertices."""
    dense = model.dense(model.mean.astype(np.float64))
    skin, cavity = (
        np.unique(model.dense_faces[model.dense_part == PARTS.index(name)]) for name in ("skin", "mouth_cavity")
    )
    distance_mm = np.full(len(dense), np.inf)
    distance_mm[skin] = cKDTree(dense[np.intersect1d(skin, cavity)]).query(dense[skin])[0] / MILLIMETRE
    return distance_mm


def redness(rgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Return how red colours are: red less the mean of green and blue, relative to the brightness."""
    return (rgb[..., 0] - (rgb[..., 1] + rgb[..., 2]) / 2) / np.maximum(rgb.mean(-1), _LIP.min_channel)


def _usual_colour(lips: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """Return the colour of lips: the median of the redder half."""
    red = redness(lips)
    return np.median(lips[red >= np.median(red)], axis=0)


def _foreign_colours(skin: Float32[np.ndarray, "t t 3"], lip: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "t t"]:
    """Return 1 for colours of teeth and of the mouth's inside, 0 for those of lips."""
    red = redness(skin) / max(float(redness(lip[None])[0]), _LIP.min_channel)
    brightness = skin.mean(-1) / lip.mean()
    pale = (1 - smooth_ramp(red, *_LIP.pale)) * smooth_ramp(brightness, *_LIP.pale_brightness)
    dark = 1 - smooth_ramp(brightness, *_LIP.dark)
    return np.maximum(np.maximum(pale, dark), smooth_ramp(brightness, *_LIP.bright)).astype(np.float32)
