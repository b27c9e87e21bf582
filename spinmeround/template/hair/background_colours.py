"""Pixels of a hair matte that show what lies behind the hair, told by their colour.

A matte that is too wide holds background along the hair's outline: pixels of it, or pixels that hold both. Both are
told from hair by comparing two densities of colour: that of hair deep inside the matte, and that of mixtures of such
hair with what is seen just beyond the outline (the model of Bayesian matting, Chuang et al., CVPR 2001). Where hair
and background share a colour the densities are alike, and the matte is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Integer, UInt8

from spinmeround.images import blurred
from spinmeround.numerics import smooth_ramp
from spinmeround.template.hair.measurement_settings import BackgroundColourSettings
from spinmeround.types import Portrait

_SETTINGS = BackgroundColourSettings()

_TINY = 1e-6


@dataclass(frozen=True)
class _Palette:
    """Typical colours of a region and how usual each is near each pixel.

    Attributes:
        lab: CIELAB, L in [0, 100].
        frequency: of each colour near each pixel; sums to 1.
    """

    lab: Float32[np.ndarray, "k 3"]
    frequency: Float32[np.ndarray, "h w k"]

    @classmethod
    def of(cls, lab: Float32[np.ndarray, "h w 3"], region: Bool[np.ndarray, "h w"], *, sigma_px: float) -> _Palette:
        """Gather the colours of a region.

        Args:
            sigma_px: standard deviation of the neighbourhood whose colours are counted.
        """
        overall, colours = _SETTINGS.overall, lab[region]
        cluster = _cluster(colours / np.array(_SETTINGS.sigma_lab, np.float32))
        members = np.eye(cluster.max() + 1, dtype=np.float32)[cluster]
        shown = np.zeros((*region.shape, members.shape[1]), np.float32)
        shown[region] = members
        near = np.dstack([blurred(shown[..., each], sigma_px) for each in range(shown.shape[-1])])
        frequency = (near + overall * members.mean(0)) / (near.sum(-1, keepdims=True) + overall)
        return cls(members.T @ colours / members.sum(0)[:, None], frequency)


def _cluster(points: Float32[np.ndarray, "n 3"]) -> Integer[np.ndarray, "n"]:
    """Divide points into clusters: that of the largest spread is split at its mean, again and again.

    Method: Wu, "Efficient statistical computations for optimal color quantization" (Graphics Gems II, 1991), with
    splits at the mean.
    """
    cluster = np.zeros(len(points), int)
    spread = [_spread(points)]
    for new in range(1, _SETTINGS.n_colours):
        widest = int(np.argmax([each.max() for each in spread]))
        if spread[widest].max() < _TINY:
            break
        members = np.flatnonzero(cluster == widest)
        values = points[members, spread[widest].argmax()]
        above = values > values.mean()
        cluster[members[above]] = new
        spread[widest] = _spread(points[members[~above]])
        spread.append(_spread(points[members[above]]))
    return cluster


def _spread(points: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "3"]:
    """Return the sum of squared distances to the mean along each axis, 0 where they are noise of rounding."""
    return np.where(np.ptp(points, axis=0) > _TINY, points.var(0) * len(points), 0).astype(np.float32)


def without_background(portrait: Portrait, unit_px: float) -> Portrait:
    """Return the portrait without those large pieces of its hair matte that show the background.

    Wisps keep their shape: only what a disc of ``BackgroundColourSettings.piece`` fits into is taken out. Gaps into
    which it does not fit are part of a piece.

    Args:
        unit_px: pixels to a head unit on the head.
    """
    s = _SETTINGS
    shown = (background_shown(portrait, unit_px) > s.inside).astype(np.uint8)
    # A stranger behind has colours of hair as well; what lies between colours that are none is no hair either.
    disc = _disc(s.piece * unit_px)
    shown = cv2.morphologyEx(shown, cv2.MORPH_CLOSE, disc) * (portrait.hair > s.inside).astype(np.uint8)
    pieces = cv2.morphologyEx(shown, cv2.MORPH_OPEN, disc)
    if not pieces.any():
        return portrait
    edge = 2 * round(s.piece_edge * unit_px) + 1
    left = (cv2.dilate(pieces, np.ones((edge, edge), np.uint8)) == 0).astype(np.float32)
    hair, alpha = (np.asarray(each, np.float32) * left for each in (portrait.hair, portrait.alpha))
    return replace(portrait, hair=hair, alpha=alpha)


def _disc(diameter_px: float) -> UInt8[np.ndarray, "d d"]:
    """Return a structuring element of odd side."""
    side = 2 * round(diameter_px / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)


def background_shown(portrait: Portrait, unit_px: float) -> Float32[np.ndarray, "h w"]:
    """Return how surely pixels of the hair matte show what lies behind the hair, in [0, 1].

    It is 0 outside the matte, and everywhere if too little hair or background is seen to compare.

    Args:
        unit_px: pixels to a head unit on the head.
    """
    s, scale = _SETTINGS, min(1.0, 1 / (_SETTINGS.pixel * unit_px))
    unit_px = float(scale * unit_px)
    head = np.maximum(portrait.alpha - portrait.clothes - portrait.headwear, portrait.hair)
    rgb, head, hair, observed = (
        cv2.resize(each.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for each in (portrait.rgb, head, portrait.hair, portrait.observed)
    )
    observed = observed > s.inside
    matte = (hair > s.inside) & observed
    depth = _distance(observed & (head < s.certain)) / unit_px
    sure, beyond = _sure_regions(hair, head, observed, depth, unit_px=unit_px)
    lab, near_px = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), s.neighbourhood * unit_px
    shown = np.zeros(hair.shape, np.float32)
    weight = np.maximum(cv2.GaussianBlur(matte.astype(np.float32), (0, 0), s.smooth_px), _TINY)
    enough = min(sure.sum(), beyond.sum()) >= s.min_pixels
    theirs = _Palette.of(lab, beyond, sigma_px=near_px) if enough else None
    for _ in range(s.rounds):
        left = sure & (shown < s.inside)
        if theirs is None or left.sum() < s.min_pixels:
            break
        ours = _Palette.of(lab, left, sigma_px=near_px)
        log_odds = np.zeros(hair.shape, np.float32)
        log_odds[matte] = _log_likelihood_ratio(lab[matte], ours, theirs, matte) - depth[matte] / s.prior_depth
        log_odds = cv2.GaussianBlur(log_odds, (0, 0), s.smooth_px) / weight
        shown = (smooth_ramp(log_odds, *np.log(s.odds)) * matte).astype(np.float32)
    return cv2.resize(shown, portrait.hair.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _sure_regions(
    hair: Float32[np.ndarray, "h w"],
    head: Float32[np.ndarray, "h w"],
    observed: Bool[np.ndarray, "h w"],
    depth: Float32[np.ndarray, "h w"],
    *,
    unit_px: float,
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Return where hair is certain and where what lies beyond it is.

    Args:
        head: matte of hair and skin.
        depth: inside the head's outline, head units.
    """
    s = _SETTINGS
    deep = observed & (_distance(hair < s.certain) > s.hairline * unit_px)
    beyond = observed & (_distance(head > 1 - s.certain) > s.beyond * unit_px)
    if not deep.any() or not beyond.any():
        return deep, beyond
    return deep & (depth > min(s.band, float(np.quantile(depth[deep], s.deep_quantile)))), beyond


def _distance(region: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return the distance to a region, pixels."""
    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    return cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5)


def _log_likelihood_ratio(
    lab: Float32[np.ndarray, "n 3"], hair: _Palette, beyond: _Palette, where: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "n"]:
    """Return the log of how much likelier colours are as mixtures of hair and background than as hair."""
    s = _SETTINGS
    ours, theirs = hair.frequency[where], beyond.frequency[where]
    as_hair = (ours * _densities(lab, hair.lab, s.sigma_lab)).sum(1)
    first, second = (cv2.cvtColor(each.lab[None], cv2.COLOR_LAB2RGB)[0] for each in (hair, beyond))
    as_mixture = np.zeros(len(lab), np.float32)
    for alpha in s.alphas:
        mixed = alpha * first[:, None] + (1 - alpha) * second
        mixed = cv2.cvtColor(mixed.astype(np.float32), cv2.COLOR_RGB2LAB)
        density = _densities(lab, mixed.reshape(-1, 3), s.sigma_lab).reshape(len(lab), *mixed.shape[:2])
        as_mixture = np.maximum(as_mixture, np.einsum("nij,ni,nj->n", density, ours, theirs, optimize=True))
    return np.log((as_mixture + s.new_to_background) / (as_hair + s.new_to_hair))


def _densities(
    lab: Float32[np.ndarray, "n 3"], centres: Float32[np.ndarray, "k 3"], sigma: tuple[float, float, float]
) -> Float32[np.ndarray, "n k"]:
    """Return the density of each colour under a normal distribution around each centre."""
    scaled, scaled_centres = lab / np.array(sigma, np.float32), centres / np.array(sigma, np.float32)
    square = (scaled**2).sum(1)[:, None] + (scaled_centres**2).sum(1) - 2 * scaled @ scaled_centres.T
    return np.exp(-0.5 * np.maximum(square, 0)) / np.float32((2 * np.pi) ** 1.5 * np.prod(sigma))
