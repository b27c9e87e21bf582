"""Strands of hair synthesised by example: noise with the contrast of the photo's hair, smeared along its orientation.

Method: line integral convolution (Cabral and Leedom, "Imaging vector fields using line integral convolution", 1993) of
noise in bands, one for each width of strand.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numba
import numpy as np
from jaxtyping import Float

from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.map_smoothing import blur_cyclic
from spinmeround.template.hair.settings import OrientationSettings, StrandSettings
from spinmeround.threads import over_ranges

_ORIENTATION, _STRANDS = OrientationSettings(), StrandSettings()

LUMINANCE = (0.3, 0.6, 0.1)
"""Weights of red, green and blue in the lightness of hair."""
_LUMINANCE = np.array(LUMINANCE, np.float32)

_INSIDE = 0.5
"""Value of a mask in [0, 1] from which on a pixel belongs to it."""

_NOISE_SIGMA_TEXELS = 1.6
"""Standard deviation of noise down to which a band may be drawn on a smaller map."""


def strand_orientation(colour: Float[np.ndarray, "h w 3"], trust: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the orientation of the strands all over a map.

    It is that of the structure tensor where hair is seen, and turns downward with the distance from there.

    Args:
        colour: what the photos show on the map.
        trust: 0 where they show nothing.

    Returns:
        Radians in [0, pi]; 0 runs along a row, pi / 2 down a column.
    """
    s = _ORIENTATION
    seen = (trust > s.min_trust).astype(np.float32)
    grey = colour.astype(np.float32) @ _LUMINANCE
    detail = _blur_within(grey, seen, s.fine_blur_texels) - _blur_within(grey, seen, _STRANDS.widths_texels[-1])
    inner = cv2.erode(seen, np.ones((s.erosion_texels, s.erosion_texels), np.uint8))
    dx, dy = (cv2.Sobel(detail, cv2.CV_32F, *order) * inner for order in ((1, 0), (0, 1)))
    # Orientations have no sign, so they are averaged at twice their angle.
    cosine, sine, energy = (
        blur_cyclic(part, s.tensor_blur_texels) for part in (dy * dy - dx * dx, -2 * dx * dy, dx * dx + dy * dy)
    )
    typical = float(np.median(energy[inner > 0])) if inner.any() else 1.0
    energy = energy / max(typical, 1e-12)
    cosine, sine = cosine / max(typical, 1e-12), sine / max(typical, 1e-12)
    mean_cosine, mean_sine = np.full(grey.shape, -1, np.float32), np.zeros(grey.shape, np.float32)
    for sigma in s.blurs_texels:
        weight = blur_cyclic(energy, sigma) + s.downward_weight
        mean_cosine = (blur_cyclic(cosine, sigma) + s.downward_weight * mean_cosine) / weight
        mean_sine = (blur_cyclic(sine, sigma) + s.downward_weight * mean_sine) / weight
    angle = 0.5 * np.arctan2(mean_sine, mean_cosine)
    return np.where(angle < 0, angle + np.pi, angle).astype(np.float32)


def synthesise_strands(
    evidence: Sequence[PhotoEvidence],
    orientation: Float[np.ndarray, "h w"],
    texel: float,
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, "h w 3"]:
    """Synthesise the fine detail of hair over a map whose columns wrap round.

    Args:
        orientation: of the strands, as returned by ``strand_orientation``.
        texel: side of a texel in head units.
        rng: draws the noise.

    Returns:
        Differences from the base colour, with a mean of about 0; all 0 where the photos hold too little hair to
        measure its contrast.
    """
    s = _STRANDS
    samples = [_hair_pixels(photo, texel) for photo in evidence]
    samples = [sample for sample in samples if (sample[1] > _INSIDE).sum() >= s.min_pixels]
    if not samples:
        return np.zeros((*orientation.shape, 3), np.float32)
    contrasts, length = _measure(samples)
    direction = orientation + s.wave_rad * _noise(orientation.shape, s.wave_texels, rng)
    relief = np.zeros(orientation.shape, np.float32)
    for width, contrast in zip(s.widths_texels, contrasts, strict=True):
        band = _strand_band(width, length, direction, rng)
        relief += band * (contrast / max(float(band.std()), 1e-9))
    return _coloured(relief, samples)


def _hair_pixels(photo: PhotoEvidence, texel: float):
    """Colour and mask of a photo's hair, resampled so that a pixel is a texel where the head's centre lies."""
    s = _STRANDS
    scale = 1 / (photo.unit_px * texel)
    certain = ((photo.portrait.hair > s.min_matte) & photo.portrait.observed).astype(np.uint8)
    certain = cv2.erode(certain, np.ones((s.erosion_px, s.erosion_px), np.uint8)).astype(np.float32)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    rgb = cv2.resize(
        photo.portrait.foreground.astype(np.float32), None, fx=scale, fy=scale, interpolation=interpolation
    )
    return rgb, cv2.resize(certain, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA)


def _blur_within(image, mask, sigma: float):
    """Gaussian blur normalised by the blurred mask, so that nothing outside the mask contributes."""
    masked = image * (mask if image.ndim == 2 else mask[..., None])
    weight = np.maximum(cv2.GaussianBlur(mask, (0, 0), sigma), 1e-3)
    return cv2.GaussianBlur(masked, (0, 0), sigma) / (weight if image.ndim == 2 else weight[..., None])


def _measure(samples) -> tuple[list[float], float]:
    """Contrast of each band in the photos' hair, and the length of its strands in widths."""
    s = _STRANDS
    measured = [_measure_band(samples, width) for width in s.widths_texels]
    anisotropy = max(ratio for _, ratio in measured)
    directed = float(np.clip((anisotropy - s.undirected) / (s.directed - s.undirected), 0, 1))
    contrasts = [contrast for contrast, _ in measured]
    contrasts[3] = min(contrasts[3], s.max_coarse_contrast * contrasts[2])
    kept = s.undirected_coarse + (1 - s.undirected_coarse) * directed
    contrasts[2:] = [contrast * kept for contrast in contrasts[2:]]
    for k in (1, 0):
        contrasts[k] = max(contrasts[k], s.min_finer_contrast * contrasts[k + 1])
    return contrasts, s.short_length + directed * (s.long_length - s.short_length)


def _measure_band(samples, width: float) -> tuple[float, float]:
    """Standard deviation of one band, and the energy of its gradients across the strands over that along them."""
    s = _STRANDS
    power, count, across, along = 0.0, 0, 0.0, 0.0
    for rgb, mask in samples:
        grey = rgb @ _LUMINANCE
        band = _blur_within(grey, mask, width / 2) - _blur_within(grey, mask, width)
        inside = (cv2.GaussianBlur(mask, (0, 0), width) > s.min_band_matte) & (mask > _INSIDE)
        dx, dy = cv2.Sobel(band, cv2.CV_32F, 1, 0), cv2.Sobel(band, cv2.CV_32F, 0, 1)
        blur = s.tensor_blur_widths * width
        xx, yy, xy = np.moveaxis(_blur_within(np.dstack([dx * dx, dy * dy, dx * dy]), mask, blur), -1, 0)
        # Eigenvalues of the structure tensor: mean plus and minus spread.
        mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        power += float((band[inside] ** 2).sum())
        across += float((mean + spread)[inside].sum())
        along += float((mean - spread)[inside].sum())
        count += int(inside.sum())
    return np.sqrt(power / max(count, 1)), across / max(along, 1e-12)


def _noise(shape, sigma_texels: float, rng: np.random.Generator):
    """Gaussian noise of unit standard deviation, blurred by ``sigma_texels``."""
    noise = blur_cyclic(rng.standard_normal(shape, dtype=np.float32), sigma_texels)
    return noise / max(float(noise.std()), 1e-9)


def _strand_band(width: float, length: float, direction, rng: np.random.Generator):
    """Strands of one width in texels, ``length`` widths long; wide ones are drawn on a smaller map."""
    shrink = max(1, int(width / _NOISE_SIGMA_TEXELS))
    rows, columns = direction.shape[0] // shrink, direction.shape[1] // shrink
    noise = _noise((rows, columns), width / shrink, rng)
    # Cosine and sine are downscaled, not the angle: it jumps from pi to 0.
    along_x, along_y = (
        cv2.resize(part(direction), (columns, rows), interpolation=cv2.INTER_AREA) for part in (np.cos, np.sin)
    )
    # The noise holds nothing that is finer than its standard deviation.
    step = max(width / shrink, 0.5)
    n_steps = int(0.5 * width / shrink * length / step)
    # A Hann window.
    window = (0.5 + 0.5 * np.cos(np.pi * np.arange(1, n_steps + 1) / (n_steps + 1))).astype(np.float32)
    band = np.empty_like(noise)
    over_ranges(rows, _line_integral_convolution, noise, along_x, along_y, step, window, band)
    band = cv2.resize(band, direction.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    # Long strands keep lower frequencies.
    return band - blur_cyclic(band, 2 * width * max(1.0, length / 4))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _line_integral_convolution(first_row, end_row, noise, along_x, along_y, step, window, out):
    """Mean of the noise along the streamline through each texel to either side, weighted by a window."""
    height, width = noise.shape
    for row in range(first_row, end_row):
        for column in range(width):
            total, weight = noise[row, column], np.float32(1)
            for sign in (-step, step):
                stride = np.float32(sign)
                x, y = np.float32(column), np.float32(row)
                for k in range(len(window)):
                    nearest_row, nearest_column = np.int32(y + np.float32(0.5)), np.int32(x + np.float32(0.5))
                    nearest_column = 0 if nearest_column == width else nearest_column
                    x += stride * along_x[nearest_row, nearest_column]
                    y += stride * along_y[nearest_row, nearest_column]
                    if y < 0 or y > height - 1:
                        break
                    # A step is shorter than the map, so that one turn brings a column back.
                    x = x + width if x < 0 else x
                    x = x - width if x >= width else x
                    top, left = min(np.int32(y), height - 2), np.int32(x)
                    down, right = y - top, x - left
                    next_left = 0 if left + 1 == width else left + 1
                    upper, lower = noise[top], noise[top + 1]
                    first = upper[left] + right * (upper[next_left] - upper[left])
                    second = lower[left] + right * (lower[next_left] - lower[left])
                    total += window[k] * (first + down * (second - first))
                    weight += window[k]
            out[row, column] = total / weight


def _coloured(relief, samples):
    """Match the lightness of the strands to the quantiles of the photos' hair, and add the colour that goes with it."""
    s = _STRANDS
    detail = np.concatenate(
        [
            (_blur_within(rgb, mask, s.widths_texels[0] / 2) - _blur_within(rgb, mask, s.widths_texels[-1]))[
                mask > s.colour_matte
            ]
            for rgb, mask in samples
        ]
    )
    lightness = detail @ _LUMINANCE
    quantiles = np.linspace(*s.quantile_range, s.n_quantiles)
    matched = np.interp(relief, np.quantile(relief, quantiles), np.quantile(lightness, quantiles))
    # Least squares fit of colour to lightness.
    tint = (detail * lightness[:, None]).sum(0) / max(float((lightness**2).sum()), 1e-9)
    return (matched[..., None] * tint).astype(np.float32)
