"""Strands of hair continued by example: noise with the contrast of the photo's hair, drawn out along its strands.

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
from spinmeround.template.hair.map_smoothing import blur_around

_WIDTHS = (1.3, 2.2, 3.8, 6.4)
"""Widths of strands and of locks, texels: each band holds what a blur of this deviation takes away. Finer strands than
these would flicker between views of 512 pixels, in which a texel is about a pixel."""
_LEAST_PIXELS = 400
"""Pixels of hair that strands can be learnt from."""
_LENGTHS = (2.0, 20.0)
"""Length over width of cropped or curled hair, which shows no direction, and of hair that plainly shows one."""
_DIRECTED = (2.5, 4.0)
"""Where hair begins to show a direction and where it plainly does: energy of the slopes across over that along. Noise
without a direction has 2.5 at the sharpness of the measure."""
_FINE_SHARE = 0.75
"""Least contrast of a band beside the next wider: a photo blurs the finest strands away."""
_COARSE_SHARE = 0.7
"""Most contrast of locks beside the next finer band, in cropped hair half of it: the rest is light on its form."""
_WAVE, _WAVE_TEXELS = 0.22, 48.0
"""How far strands stray from the flow (deviation, radians), and over which distance."""
_DOWN = 0.15
"""Weight of the way down against the directions that are seen: matters where nothing near is seen."""
_LUMINANCE = np.array([0.3, 0.6, 0.1], np.float32)


def strand_flow(colour: Float[np.ndarray, "h w 3"], trust: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Direction of the strands all over a map: as seen where hair is seen, and from there on slowly turning down.

    Args:
        colour: what the photos show on the map.
        trust: 0 where they show nothing.

    Returns:
        Radians in [0, pi]; 0 runs along a row, pi / 2 down a column.
    """
    seen = (trust > 0.15).astype(np.float32)
    grey = colour.astype(np.float32) @ _LUMINANCE
    detail = _blur_within(grey, seen, 1.0) - _blur_within(grey, seen, _WIDTHS[-1])
    inner = cv2.erode(seen, np.ones((5, 5), np.uint8))
    dx, dy = (cv2.Sobel(detail, cv2.CV_32F, *order) * inner for order in ((1, 0), (0, 1)))
    # Directions along the strands have no sign: they are averaged at twice their angle.
    cosine, sine, energy = (blur_around(part, 6.0) for part in (dy * dy - dx * dx, -2 * dx * dy, dx * dx + dy * dy))
    usual = float(np.median(energy[inner > 0])) if inner.any() else 1.0
    energy = energy / max(usual, 1e-12)
    cosine, sine = cosine / max(usual, 1e-12), sine / max(usual, 1e-12)
    mean_cosine, mean_sine = np.full(grey.shape, -1, np.float32), np.zeros(grey.shape, np.float32)
    for width in (90.0, 40.0, 16.0, 6.0):
        weight = blur_around(energy, width) + _DOWN
        mean_cosine = (blur_around(cosine, width) + _DOWN * mean_cosine) / weight
        mean_sine = (blur_around(sine, width) + _DOWN * mean_sine) / weight
    angle = 0.5 * np.arctan2(mean_sine, mean_cosine)
    return np.where(angle < 0, angle + np.pi, angle).astype(np.float32)


def grow_strands(
    evidence: Sequence[PhotoEvidence],
    flow: Float[np.ndarray, "h w"],
    texel: float,
    *,
    generator: np.random.Generator,
) -> Float[np.ndarray, "h w 3"]:
    """Fine detail of hair over a map that closes around its columns.

    Args:
        flow: direction of the strands, as ``strand_flow`` has it.
        texel: side of a texel in head units.
        generator: draws the noise.

    Returns:
        Offsets to a slow colour, about zero mean; all 0 where the photos hold too little hair to learn from.
    """
    samples = [_hair_of(photo, texel) for photo in evidence]
    samples = [sample for sample in samples if (sample[1] > 0.5).sum() >= _LEAST_PIXELS]
    if not samples:
        return np.zeros((*flow.shape, 3), np.float32)
    contrasts, length = _measure(samples)
    direction = flow + _WAVE * _noise(flow.shape, _WAVE_TEXELS, generator)
    grown = np.zeros(flow.shape, np.float32)
    for width, contrast in zip(_WIDTHS, contrasts, strict=True):
        band = _band(width, length, direction, generator)
        grown += band * (contrast / max(float(band.std()), 1e-9))
    return _coloured(grown, samples)


def _hair_of(photo: PhotoEvidence, texel: float):
    """Colour and mask of a photo's hair, resampled so that a pixel is a texel where the head's centre lies."""
    scale = photo.camera_from_world[2, 3] / photo.intrinsics_px[0, 0] / texel
    sure = ((photo.portrait.hair > 0.85) & photo.portrait.observed).astype(np.uint8)
    sure = cv2.erode(sure, np.ones((3, 3), np.uint8)).astype(np.float32)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    rgb = cv2.resize(photo.portrait.rgb.astype(np.float32), None, fx=scale, fy=scale, interpolation=interpolation)
    return rgb, cv2.resize(sure, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA)


def _blur_within(image, mask, width: float):
    """Blur that reads nothing outside the mask."""
    masked = image * (mask if image.ndim == 2 else mask[..., None])
    weight = np.maximum(cv2.GaussianBlur(mask, (0, 0), width), 1e-3)
    return cv2.GaussianBlur(masked, (0, 0), width) / (weight if image.ndim == 2 else weight[..., None])


def _measure(samples) -> tuple[list[float], float]:
    """Contrast of each band in the photos' hair, and how many times longer than wide its strands run."""
    measured = [_measure_band(samples, width) for width in _WIDTHS]
    low, high = _DIRECTED
    directed = float(np.clip((max(ratio for _, ratio in measured) - low) / (high - low), 0, 1))
    contrasts = [contrast for contrast, _ in measured]
    contrasts[3] = min(contrasts[3], _COARSE_SHARE * contrasts[2])
    contrasts[2:] = [contrast * (0.5 + 0.5 * directed) for contrast in contrasts[2:]]
    for k in (1, 0):
        contrasts[k] = max(contrasts[k], _FINE_SHARE * contrasts[k + 1])
    return contrasts, _LENGTHS[0] + directed * (_LENGTHS[1] - _LENGTHS[0])


def _measure_band(samples, width: float) -> tuple[float, float]:
    """Deviation of one band, and the energy of its slopes across the strands over that along them."""
    power, count, across, along = 0.0, 0, 0.0, 0.0
    for rgb, mask in samples:
        grey = rgb @ _LUMINANCE
        band = _blur_within(grey, mask, width / 2) - _blur_within(grey, mask, width)
        inside = (cv2.GaussianBlur(mask, (0, 0), width) > 0.8) & (mask > 0.5)
        dx, dy = cv2.Sobel(band, cv2.CV_32F, 1, 0), cv2.Sobel(band, cv2.CV_32F, 0, 1)
        xx, yy, xy = (_blur_within(part, mask, 4 * width) for part in (dx * dx, dy * dy, dx * dy))
        mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        power += float((band[inside] ** 2).sum())
        across += float((mean + spread)[inside].sum())
        along += float((mean - spread)[inside].sum())
        count += int(inside.sum())
    return np.sqrt(power / max(count, 1)), across / max(along, 1e-12)


def _noise(shape, width: float, generator: np.random.Generator):
    """Noise of unit deviation that varies over ``width`` texels."""
    noise = blur_around(generator.standard_normal(shape, dtype=np.float32), width)
    return noise / max(float(noise.std()), 1e-9)


def _band(width: float, length: float, direction, generator: np.random.Generator):
    """Strands of one width; wide ones are drawn on a smaller map."""
    shrink = max(1, int(width / 1.6))
    rows, columns = direction.shape[0] // shrink, direction.shape[1] // shrink
    noise = _noise((rows, columns), width / shrink, generator)
    # Cosine and sine are shrunk, not the angle: it jumps from pi to 0.
    along_x, along_y = (
        cv2.resize(part(direction), (columns, rows), interpolation=cv2.INTER_AREA) for part in (np.cos, np.sin)
    )
    step = max(width / shrink / 2, 0.5)
    drawn = _draw_out(noise, along_x, along_y, step, int(0.5 * width / shrink * length / step))
    drawn = cv2.resize(drawn, direction.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return drawn - blur_around(drawn, 2 * width * max(1.0, length / 4))


@numba.njit(cache=True)
def _draw_out(noise, along_x, along_y, step, steps):
    """Mean of the noise along the strands, ``steps`` to either side, under a Hann window."""
    height, width = noise.shape
    out = np.empty_like(noise)
    for row in range(height):
        for column in range(width):
            total, weight = noise[row, column], 1.0
            for sign in (-1, 1):
                x, y = float(column), float(row)
                for k in range(1, steps + 1):
                    nearest_row, nearest_column = int(y + 0.5), int(np.floor(x + 0.5)) % width
                    x += sign * step * along_x[nearest_row, nearest_column]
                    y += sign * step * along_y[nearest_row, nearest_column]
                    if y < 0 or y > height - 1:
                        break
                    top, left = min(int(y), height - 2), int(np.floor(x))
                    down, right = y - top, x - left
                    first, second = left % width, (left + 1) % width
                    value = (1 - down) * ((1 - right) * noise[top, first] + right * noise[top, second])
                    value += down * ((1 - right) * noise[top + 1, first] + right * noise[top + 1, second])
                    share = 0.5 + 0.5 * np.cos(np.pi * k / (steps + 1))
                    total += share * value
                    weight += share
            out[row, column] = total / weight
    return out


def _coloured(grown, samples):
    """Lightness spread as in the photos' hair, with the colour that goes along with it there."""
    detail = np.concatenate(
        [
            (_blur_within(rgb, mask, _WIDTHS[0] / 2) - _blur_within(rgb, mask, _WIDTHS[-1]))[mask > 0.9]
            for rgb, mask in samples
        ]
    )
    lightness = detail @ _LUMINANCE
    # The ends are left out: they are bits of skin and of background.
    levels = np.linspace(0.02, 0.98, 97)
    spread = np.interp(grown, np.quantile(grown, levels), np.quantile(lightness, levels))
    tint = (detail * lightness[:, None]).sum(0) / max(float((lightness**2).sum()), 1e-9)
    return (spread[..., None] * tint).astype(np.float32)
