"""Lips in views: whole ones, without the teeth that a laughing person shows in their place."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.texture.fill import Layer, Spreader

_UPPER_LOWER = ((82, 13, 312), (87, 14, 317))
_MM = 1e-3 / METRES_PER_UNIT
_OPEN_MM = (0.5, 1.5)
"""A gap between the lips from which on what lies between them may have got onto them."""
_RIM_MM, _REACH_MM = (2.0, 4.0), (8.0, 12.0)
"""Distances from the rim of the mouth to which all is lip, and to which what lies in it gets onto lips."""
_PALE, _DARK, _BRIGHT = (0.45, 0.7), (0.5, 0.7), (1.2, 1.4)
"""Redness and brightness, as shares of those of lips, between which a colour changes from no lip's to one of a lip."""
_SEEN = (0.2, 0.6)
_TONE = 0.1
"""Colours so far from the lips' usual one are of their border or of something else."""
_SEAM_MM, _SEAM_SHADE = (0.5, 2.5), 0.35
"""How far from the rim, and how much, lips darken toward each other."""
_BLUR_SHARE = 0.0025
_PULL = 0.01


def complete_lips(
    model: HeadModel, atlas: Atlas, seen: Layer, posed: Float[np.ndarray, "n 3"], neutral: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "t t 3"]:
    """The skin's texture with whole lips: inward where no view saw them, and where a laugh had left teeth on them.

    Teeth are pale and bright beside lips, the dark between them is darker; the lips' own colours, which are neither,
    spread over both. A mouth that was photographed shut keeps all that was seen: highlights are as pale as teeth.

    Args:
        seen: the skin's colours, complete, and which share of them was seen.
        posed: coarse vertices as they were photographed.
        neutral: the same at rest.
    """
    away_mm = _from_rim_mm(model)
    near = np.maximum(model.masks["lips"], 1 - _ramp(away_mm, *_RIM_MM)) * (1 - _ramp(away_mm, *_REACH_MM))
    skin, share = seen.rgb, atlas.spread(near[:, None])[..., 0] * (atlas.part == PARTS.index("skin"))
    lips = (share > 0.5) & (atlas.spread(model.masks["lips"][:, None])[..., 0] > 0.5) & (seen.weight > 0.5)
    if not lips.any():
        return skin
    usual = _usual(skin[lips])
    opened = _ramp((_gap(model, posed) - _gap(model, neutral)) / _MM, *_OPEN_MM)
    doubt = np.maximum(_unlike(skin, usual) * opened, 1 - _ramp(seen.weight, *_SEEN)) * share
    doubt = cv2.GaussianBlur(doubt.astype(np.float32), (0, 0), _BLUR_SHARE * atlas.size + 0.5)
    doubt = np.clip(3 * doubt, 0, 1) * (atlas.part == PARTS.index("skin"))
    values, mass = atlas.gather(skin, (lips * (1 - doubt)).astype(np.float32), len(near))
    alike = 1 / (1 + (np.linalg.norm(values - usual, axis=1) / _TONE) ** 4)
    faces = model.dense_faces[(near > 0)[model.dense_faces].all(1)]
    prior = np.broadcast_to(usual.astype(np.float64), values.shape)
    filled = Spreader.over(faces, len(near)).spread(values, alike * mass / (mass + 2), prior, pull=_PULL)
    filled *= 1 - _SEAM_SHADE * (1 - _ramp(away_mm, *_SEAM_MM))[:, None]
    weight = doubt[..., None]
    return (skin * (1 - weight) + atlas.spread(filled) * weight).astype(np.float32)


def _gap(model: HeadModel, coarse: Float[np.ndarray, "n 3"]) -> float:
    upper, lower = (landmark_points(model, coarse, marks) for marks in _UPPER_LOWER)
    return float(np.linalg.norm(upper - lower, axis=1).mean())


def _from_rim_mm(model: HeadModel) -> Float[np.ndarray, "m"]:
    """Distance of the outer skin from the rim where the lips meet and the mouth begins; other vertices are far."""
    dense = model.dense(model.mean.astype(np.float64))
    skin, cavity = (
        np.unique(model.dense_faces[model.dense_part == PARTS.index(name)]) for name in ("skin", "mouth_cavity")
    )
    away = np.full(len(dense), np.inf)
    away[skin] = cKDTree(dense[np.intersect1d(skin, cavity)]).query(dense[skin])[0] / _MM
    return away


def _redness(rgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    return (rgb[..., 0] - (rgb[..., 1] + rgb[..., 2]) / 2) / np.maximum(rgb.mean(-1), 0.05)


def _usual(lips: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """The colour of lips: the median of the redder half."""
    red = _redness(lips)
    return np.median(lips[red >= np.median(red)], axis=0)


def _unlike(skin: Float32[np.ndarray, "t t 3"], lip: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "t t"]:
    red = _redness(skin) / max(float(_redness(lip[None])[0]), 0.05)
    bright = skin.mean(-1) / lip.mean()
    pale = (1 - _ramp(red, *_PALE)) * _ramp(bright, 0.8, 1.0)
    return np.maximum(np.maximum(pale, 1 - _ramp(bright, *_DARK)), _ramp(bright, *_BRIGHT)).astype(np.float32)


def _ramp(value, low: float, high: float):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
