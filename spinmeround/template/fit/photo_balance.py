"""Several photos of one person brought together: equal in exposure and white balance, each used where it sees best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.images import linear_to_srgb, sample, srgb_to_linear
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.model.head_model import PARTS, HeadModel


@dataclass(frozen=True)
class _BalanceSettings:
    """Constants of ``balance_photos``. Colours are linear light in [0, 1].

    Attributes:
        min_facing: cosine from which a photo sees a vertex well enough to compare its colour.
        max_other: pixels with more hair or clothes than this are not compared, nor those with less of the person
            than what is left.
        blur_px: standard deviation of the blur before colours are compared: photos do not lie on each other to a pixel.
        usable: darker colours are noise, brighter ones are clipped.
        prior_vertices: so many vertices with no difference are added to what two photos share, so that few common
            vertices move little.
        max_gain: of one channel of one photo.
    """

    min_facing: float = 0.35
    max_other: float = 0.1
    blur_px: float = 2.0
    usable: tuple[float, float] = (0.01, 0.93)
    prior_vertices: float = 30
    max_gain: float = 4.0


@dataclass(frozen=True)
class _ChoiceSettings:
    """Constants of ``best_seen_shares``.

    Attributes:
        better, much_better: a photo begins to replace the one before where it sees a place so many times better, and
            replaces it whole where it sees it this much better: two photos that see it alike are not averaged, since
            they never fit on each other to a pore.
    """

    better: float = 1.1
    much_better: float = 1.6


_TINY = 1e-9
"""Keeps logarithms finite."""
_BALANCE, _CHOICE = _BalanceSettings(), _ChoiceSettings()


def balance_photos(model: HeadModel, evidence: Sequence[PhotoEvidence]) -> list[PhotoEvidence]:
    """Return the photos with gains on their colours, so that skin that several show has one colour in all.

    A gain per channel, in linear light, stands for exposure and white balance, and goes to all of the photo. The log
    ratio between two photos is the median over the skin they share; gains solve all pairs in least squares. The photo
    that is nearest to their median keeps its colours, so that an odd one does not set the tone.
    """
    if len(evidence) < 2:
        return list(evidence)
    gains = photo_gains(model, evidence)
    return [
        replace(
            photo,
            portrait=replace(
                photo.portrait,
                rgb=_with_gain(photo.portrait.rgb, gain),
                foreground=_with_gain(photo.portrait.foreground, gain),
            ),
        )
        for photo, gain in zip(evidence, gains, strict=True)
    ]


def photo_gains(model: HeadModel, evidence: Sequence[PhotoEvidence]) -> Float[np.ndarray, "p 3"]:
    """Return the gain of each photo's channels in linear light, see ``balance_photos``."""
    skin = _bare_skin(model)
    colours, usable = zip(*(_skin_colours(photo, skin) for photo in evidence), strict=True)
    return _agreed_gains(colours, usable)


def agreed_tone(
    colours: Sequence[Float[np.ndarray, "n 3"]], usable: Sequence[Bool[np.ndarray, "n"]]
) -> list[Float[np.ndarray, "n 3"]]:
    """Return sRGB colours of the same places in several photos with gains, as in ``balance_photos``.

    Args:
        usable: places that each photo sees well.
    """
    linear = [_linear(rgb).astype(np.float64) for rgb in colours]
    darkest, brightest = _BALANCE.usable
    seen = [
        each & (light.min(axis=1) > darkest) & (light.max(axis=1) < brightest)
        for each, light in zip(usable, linear, strict=True)
    ]
    gains = _agreed_gains(linear, seen)
    return [_with_gain(rgb, gain) for rgb, gain in zip(colours, gains, strict=True)]


def _agreed_gains(
    colours: Sequence[Float[np.ndarray, "n 3"]], usable: Sequence[Bool[np.ndarray, "n"]]
) -> Float[np.ndarray, "p 3"]:
    """Return gains with which linear colours of the same places agree; 1 where photos have nothing in common."""
    count = len(colours)
    system, right = np.zeros((count, count)), np.zeros((count, 3))
    for first in range(count):
        for second in range(first):
            both = usable[first] & usable[second]
            if not both.any():
                continue
            ratio = np.median(np.log(colours[second][both] / colours[first][both]), axis=0)
            weight = both.sum() / (both.sum() + _BALANCE.prior_vertices)
            step = np.zeros(count)
            step[first], step[second] = 1, -1  # the first photo's log gain, less the second's, is the ratio
            system += weight * np.outer(step, step)
            right += weight * step[:, None] * (weight * ratio)
    gains = np.linalg.lstsq(system, right, rcond=None)[0]
    unusual = np.abs(gains - np.median(gains, axis=0)).sum(axis=1)
    gains -= gains[np.argmin(np.round(unusual, 6))]  # of two, both as usual, the first
    return np.exp(np.clip(gains, -np.log(_BALANCE.max_gain), np.log(_BALANCE.max_gain)))


def _bare_skin(model: HeadModel) -> Bool[np.ndarray, "m"]:
    """Return the vertices of skin proper: no lips, sockets or nostrils, whose colours change with the expression."""
    skin = np.zeros(len(model.dense(model.mean)), bool)
    skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
    other = np.maximum.reduce([model.masks[name] for name in ("cavity", "lips", "nostrils")])
    return skin & (other < _BALANCE.max_other)


def _skin_colours(
    photo: PhotoEvidence, skin: Bool[np.ndarray, "m"]
) -> tuple[Float[np.ndarray, "m 3"], Bool[np.ndarray, "m"]]:
    """Return the linear colour of each vertex in a photo, and where it shows skin well."""
    portrait = photo.portrait
    plain = (
        portrait.observed
        & (portrait.alpha > 1 - _BALANCE.max_other)
        & (np.maximum(portrait.hair, portrait.clothes) < _BALANCE.max_other)
    )
    plain = cv2.erode(plain.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=round(2 * _BALANCE.blur_px))
    rgb = cv2.GaussianBlur(_linear(portrait.rgb), (0, 0), _BALANCE.blur_px)
    height, width = portrait.alpha.shape
    pixels = np.clip(photo.pixels[:, :2], 0.5, np.array([width, height]) - 0.5)
    colours = np.asarray(sample(rgb, pixels), np.float64)
    darkest, brightest = _BALANCE.usable
    usable = skin & photo.visible & (photo.facing > _BALANCE.min_facing)
    usable &= plain[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] > 0
    usable &= (colours.min(axis=1) > darkest) & (colours.max(axis=1) < brightest)
    return np.maximum(colours, darkest), usable


def _linear(rgb: Float[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s 3"]:
    """Return sRGB as linear light, float32."""
    return srgb_to_linear(rgb).astype(np.float32)


def _with_gain(rgb: Float[np.ndarray, "*s 3"], gain: Float[np.ndarray, "3"]) -> Float[np.ndarray, "*s 3"]:
    """Return sRGB after a gain in linear light."""
    return linear_to_srgb(np.clip(_linear(rgb) * gain, 0, 1)).astype(np.float32)


def best_seen_shares(qualities: Sequence[Float[np.ndarray, "*s"]]) -> list[Float[np.ndarray, "*s"]]:
    """Return how much each photo gives to each place; they sum to 1 where any sees it, else to 0.

    The first photo gives what it sees, since the head shows its expression. Another takes over where it sees a place
    clearly better, with a soft transition.

    Args:
        qualities: how well each photo sees each place, in one unit for all; 0 where it does not.
    """
    best = np.zeros_like(qualities[0])
    shares = [np.zeros_like(quality) for quality in qualities]
    for index, quality in enumerate(qualities):
        seen = best > 0
        ratio = np.log(np.maximum(quality, _TINY) / np.where(seen, best, 1))
        take = smooth_ramp(ratio, np.log(_CHOICE.better), np.log(_CHOICE.much_better))
        take = np.where(seen, take, quality > 0).astype(quality.dtype)
        for share in shares:
            share *= 1 - take
        shares[index] = take
        best = np.maximum(best, quality)
    return shares
