"""Orientation of hair strands in a picture, by a bank of oriented filters over an image pyramid.

Method: the orientation is that of the filters that respond most, as in Paris et al., "Capture of hair geometry from
multiple images" (SIGGRAPH 2004), with the Gabor filters and the confidence from the spread of their responses of Chai
et al., "AutoHair: fully automatic hair modeling from a single image" (SIGGRAPH 2016). Here responses are averaged at
twice their angle, so that the angle is not quantised to that of a filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from spinmeround.numerics import smooth_ramp
from spinmeround.template.hair.measurement_settings import OrientedFilterSettings

_SETTINGS = OrientedFilterSettings()

LUMINANCE = (0.3, 0.6, 0.1)
"""Weights of red, green and blue in the lightness of hair."""

_NO_WEIGHT = 1e-4
"""Blurred mask below which a window holds no hair."""

_INSIDE = 0.5
"""Value of the matte from which on a pixel is hair."""


@dataclass(frozen=True)
class HairOrientation:
    """Direction of the strands in a picture, without a sign: from root to tip or from tip to root.

    Attributes:
        angle: radians in [0, pi), along the strands: 0 along a row, pi / 2 down a column.
        confidence: in [0, 1]; 0 outside the hair and near its border, where the silhouette would be measured.
    """

    angle: Float[np.ndarray, "h w"]
    confidence: Float[np.ndarray, "h w"]


def measure_orientation(
    rgb: Float[np.ndarray, "h w 3"],
    hair: Float[np.ndarray, "h w"],
    *,
    unit_px: float,
    settings: OrientedFilterSettings = _SETTINGS,
) -> HairOrientation:
    """Measure the orientation of the strands in a picture.

    Args:
        rgb: the picture; colours where ``hair`` is 0 have no influence.
        hair: matte of the hair in [0, 1].
        unit_px: pixels per head unit where the hair is.
    """
    s = settings
    grey, matte = rgb.astype(np.float32) @ np.array(LUMINANCE, np.float32), hair.astype(np.float32)
    # Pixels much smaller than the finest filter needs carry only noise.
    scale = min(1.0, s.wavelength_px / (s.finest_wavelength * unit_px))
    size = (max(1, round(hair.shape[1] * scale)), max(1, round(hair.shape[0] * scale)))
    premultiplied, matte = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (grey * matte, matte))
    if not (matte > _INSIDE).any():
        return HairOrientation(np.zeros(hair.shape, np.float32), np.zeros(hair.shape, np.float32))
    sums = np.zeros((3, *matte.shape), np.float32)
    level_grey, level_matte = premultiplied, matte
    for level in range(s.n_levels):
        if level:
            level_grey, level_matte = cv2.pyrDown(level_grey), cv2.pyrDown(level_matte)
        filtered = _filter_level(level_grey, level_matte, s)
        sums += np.stack([cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in filtered])
    return _orientation_of(sums, matte, hair.shape, s)


def _filter_level(
    premultiplied: Float32[np.ndarray, "h w"], matte: Float32[np.ndarray, "h w"], s: OrientedFilterSettings
) -> Float32[np.ndarray, "3 h w"]:
    """Return the smoothed sums over the filters of energy times cosine and sine of the doubled angle, and of energy.

    Only windows that lie in the matte count.
    """
    rows, columns = (_extent(matte.max(axis)) for axis in (1, 0))
    normalised = _normalised_contrast(premultiplied[rows, columns], matte[rows, columns], s)
    inside = _coverage(matte[rows, columns], s)
    angles = np.arange(s.n_orientations) * np.pi / s.n_orientations
    sums = np.zeros((3, *normalised.shape), np.float32)
    for angle in angles:
        even, odd = (cv2.filter2D(normalised, cv2.CV_32F, part) for part in _gabor_pair(float(angle), s))
        response = (even * even + odd * odd) ** np.float32(s.peak_power)
        for total, weight in zip(sums, (np.cos(2 * angle), np.sin(2 * angle), 1), strict=True):
            total += np.float32(weight) * response
    full = np.zeros((3, *matte.shape), np.float32)
    full[:, rows, columns] = sums * inside
    sigma = s.smoothing_wavelengths * s.wavelength_px
    return np.stack([cv2.GaussianBlur(part, (0, 0), sigma) for part in full])


def _coverage(matte: Float32[np.ndarray, "h w"], s: OrientedFilterSettings) -> Float32[np.ndarray, "h w"]:
    """Return 1 where the window of a filter lies in the matte, 0 where too much of it does not."""
    # Beyond the picture's border nothing is seen; mirrored strands would have another orientation.
    sigma = s.along_wavelengths * s.wavelength_px
    covered = cv2.GaussianBlur(matte, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return smooth_ramp(covered, *s.coverage).astype(np.float32)


def _extent(occupied: Float32[np.ndarray, "n"]) -> slice:
    """Return the range of a matte along one axis."""
    index = np.flatnonzero(occupied > _NO_WEIGHT)
    return slice(int(index[0]), int(index[-1]) + 1) if len(index) else slice(0, 1)


def _normalised_contrast(
    premultiplied: Float32[np.ndarray, "h w"], matte: Float32[np.ndarray, "h w"], s: OrientedFilterSettings
) -> Float32[np.ndarray, "h w"]:
    """Return luminance with local mean 0 and variance 1 by normalised convolution, 0 outside the matte."""
    sigma = s.contrast_wavelengths * s.wavelength_px
    weight = np.maximum(cv2.GaussianBlur(matte, (0, 0), sigma), _NO_WEIGHT)
    grey = premultiplied / np.maximum(matte, _NO_WEIGHT)
    detail = (grey - cv2.GaussianBlur(premultiplied, (0, 0), sigma) / weight) * matte
    deviation = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma) / weight)
    typical = float(np.median(deviation[matte > _INSIDE])) if (matte > _INSIDE).any() else 0.0
    return detail / (deviation + s.min_contrast + s.min_relative_contrast * typical)


def _gabor_pair(
    along: float, s: OrientedFilterSettings
) -> tuple[Float32[np.ndarray, "k k"], Float32[np.ndarray, "k k"]]:
    """Return even and odd Gabor filters for strands at the angle ``along``; neither responds to a constant."""
    wavelength = s.wavelength_px
    reach = int(np.ceil(s.reach_deviations * s.along_wavelengths * wavelength))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    u = x * np.cos(along) + y * np.sin(along)
    v = -x * np.sin(along) + y * np.cos(along)
    envelope = np.exp(-0.5 * ((u / s.along_wavelengths) ** 2 + (v / s.across_wavelengths) ** 2) / wavelength**2)
    phase = 2 * np.pi * v / wavelength
    even = envelope * (np.cos(phase) - (envelope * np.cos(phase)).sum() / envelope.sum())
    total = envelope.sum()
    return (even / total).astype(np.float32), (envelope * np.sin(phase) / total).astype(np.float32)


def _orientation_of(
    sums: Float32[np.ndarray, "3 h w"],
    matte: Float32[np.ndarray, "h w"],
    shape: tuple[int, ...],
    s: OrientedFilterSettings,
) -> HairOrientation:
    """Tell angle and confidence from sums over all filters."""
    cosine, sine, energy = sums
    typical = max(float(np.median(energy[matte > _INSIDE])), 1e-12)
    anisotropy = np.hypot(cosine, sine) / np.maximum(energy, 1e-6 * typical)
    strength = energy / (energy + s.half_energy * typical)
    confidence = smooth_ramp(anisotropy, *s.anisotropy) * strength * _coverage(matte, s)
    cosine, sine, confidence = (
        cv2.resize(part.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
        for part in (cosine, sine, confidence)
    )
    angle = np.mod(0.5 * np.arctan2(sine, cosine), np.float32(np.pi))
    return HairOrientation(np.where(angle < np.pi, angle, 0).astype(np.float32), confidence)
