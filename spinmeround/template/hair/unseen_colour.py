"""Colour and shading of hair that no photo shows, continued from what they show; detail is left out.

Near what is seen the seen colour goes on as it is. Farther away only well-lit hair counts: the hair's outline and the
shadow below it would make all hair behind grey and dark. It is continued around the head at its own height, as hair is
dyed and bleached by height, and fades to the tone of all lit hair where nothing lit is seen at that height.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32

from spinmeround.images import blur_cyclic
from spinmeround.numerics import smooth_ramp
from spinmeround.template.hair.orientation import LUMINANCE
from spinmeround.template.hair.settings import UnseenColourSettings

_SETTINGS = UnseenColourSettings()


def continued_colour(
    colour: Float[np.ndarray, "th tw 3"], trust: Float[np.ndarray, "th tw"]
) -> Float32[np.ndarray, "th tw 3"]:
    """Return colours without detail all over the map of the hair.

    Means are taken in CIELAB. A mean of different hues keeps their mean chroma: dyed hair does not become grey.

    Args:
        colour: what the photos show, sRGB.
        trust: weight in [0, 1] of it in each texel; with none anywhere the result is black.
    """
    s = _SETTINGS
    seen = trust > s.min_trust
    if not seen.any():
        return np.zeros(colour.shape, np.float32)
    lab = cv2.cvtColor(np.clip(colour, 0, 1).astype(np.float32), cv2.COLOR_RGB2LAB)
    values = np.dstack([lab, np.hypot(lab[..., 1], lab[..., 2])])
    # What faces away from the camera counts least: there the photo mixes hair, shadow and background.
    sure = trust**2
    darkest, lightest = np.quantile(lab[..., 0][seen], s.lit_quantiles)
    lit = sure * smooth_ramp(lab[..., 0], darkest - 1, lightest)  # hair of one lightness is lit
    base = _by_height(values, lit, np.median(values[seen & (lit > s.min_lit * sure)], axis=0))
    weighed = np.dstack([values * lit[..., None], lit]).astype(np.float32)
    base = _over(_blurred(weighed, s.lit_blur_texels, s.height_blur_texels), base)
    weighed = np.dstack([values * sure[..., None], sure]).astype(np.float32)
    for sigma in s.near_blurs_texels:
        base = _over(_blurred(weighed, sigma, sigma), base)
    gain = base[..., 3] / np.maximum(np.hypot(base[..., 1], base[..., 2]), s.min_chroma)
    base[..., 1:3] *= np.maximum(gain, 1)[..., None]
    return np.clip(cv2.cvtColor(base[..., :3].astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1)


def _blurred(weighed: Float32[np.ndarray, "h w 5"], around: float, down: float) -> Float32[np.ndarray, "h w 5"]:
    """Blur by standard deviations around the head and up and down, texels."""
    parts = weighed[..., :4], weighed[..., 4]  # OpenCV resizes at most four channels
    return np.dstack([blur_cyclic(part, around, sigma_down=down) for part in parts])


def _over(weighed: Float[np.ndarray, "h w 5"], base: Float[np.ndarray, "h ... 4"]) -> Float[np.ndarray, "h w 4"]:
    """Return values that are multiplied by their weights over ``base``, which counts by a small weight of its own."""
    prior = _SETTINGS.prior_weight
    return (weighed[..., :-1] + prior * base) / (weighed[..., -1:] + prior)


def _by_height(
    values: Float32[np.ndarray, "h w 4"], lit: Float[np.ndarray, "h w"], overall: Float[np.ndarray, "4"]
) -> Float[np.ndarray, "h 1 4"]:
    """Return the typical colour at each height: the median, so that a dyed lock is not the colour of all hair."""
    s = _SETTINGS
    rows = np.zeros((len(lit), 5), np.float32)
    for first in range(0, len(lit), s.band_texels):
        band = slice(first, first + s.band_texels)
        counts = lit[band] > s.min_lit
        if counts.any():
            rows[band, 4] = counts.mean()
            rows[band, :4] = counts.mean() * np.median(values[band][counts], axis=0)
    rows = cv2.GaussianBlur(rows, (1, 0), sigmaX=1, sigmaY=s.height_blur_texels)[:, None]
    return (rows[..., :4] + s.overall_weight * overall) / (rows[..., 4:] + s.overall_weight)


def shading_of_form(
    normal: Float[np.ndarray, "th tw 3"],
    along: Float[np.ndarray, "th tw 3"],
    colour: Float[np.ndarray, "th tw 3"],
    trust: Float[np.ndarray, "th tw"],
) -> Float[np.ndarray, "th tw 1"]:
    """Return the lightness of hair under light from above, as a factor: 1 where it faces sideward.

    What faces up is lighter than what faces down, and strands shine where they run across the line half way between the
    light and the eye (Kajiya and Kay, "Rendering fur with three dimensional textures", SIGGRAPH 1989). Both are the
    stronger the more the lightness of seen hair varies: glossy hair and hard light show more of them.

    Args:
        normal: of the hair's surface, not of unit length; 0 where there is none.
        along: in which direction its strands run, unit vectors.
        colour: what the photos show, sRGB; trust: weight in [0, 1] of it.
    """
    s = _SETTINGS
    smooth = blur_cyclic(normal.astype(np.float32), s.form_blur_texels)
    smooth = smooth / np.maximum(np.linalg.norm(smooth, axis=2, keepdims=True), 1e-6)
    lightness = (colour @ np.array(LUMINANCE, np.float32)) * trust
    blurred = blur_cyclic(np.dstack([lightness, trust]).astype(np.float32), s.near_blurs_texels[-1])
    seen = np.log(np.maximum(blurred[..., 0] / np.maximum(blurred[..., 1], 1e-6), s.black))[trust > s.min_trust]
    if not len(seen):
        return np.ones((*trust.shape, 1))
    contrast = float(np.clip(seen.std(), *s.contrast))
    # Light that is thrown back has nothing of the hair's colour: on dark hair it is more of all light.
    shine = s.shine * float(np.clip(s.dark / np.exp(np.median(seen)), 1, s.darkest_gain))
    return np.exp(contrast * (s.sky * smooth[..., 1] + shine * _highlight(smooth, along)))[..., None]


def lit(colour: Float[np.ndarray, "th tw 3"], form: Float[np.ndarray, "th tw 1"]) -> Float[np.ndarray, "th tw 3"]:
    """Return colours in the light of ``shading_of_form``: part of what is added has the light's own colour."""
    added = _SETTINGS.white * (colour @ np.array(LUMINANCE))[..., None] + (1 - _SETTINGS.white) * colour
    return colour * np.minimum(form, 1) + added * np.maximum(form - 1, 0)


def _highlight(normal: Float[np.ndarray, "th tw 3"], along: Float[np.ndarray, "th tw 3"]) -> Float[np.ndarray, "th tw"]:
    """Return how strands shine to an eye beside the head under light from above, in [0, 1]."""
    s = _SETTINGS
    eye = normal * [1, 0, 1]
    # Above the head no place beside it is nearer than another.
    half = eye / np.maximum(np.linalg.norm(eye, axis=2, keepdims=True), s.least_sideward) + [0, 1, 0]
    half /= np.linalg.norm(half, axis=2, keepdims=True)
    across = np.clip(1 - (along * half).sum(axis=2) ** 2, 0, 1)
    return across ** (s.gloss / 2) * smooth_ramp(normal[..., 1], *s.lit)
