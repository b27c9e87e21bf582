"""Strands of hair synthesised by example: noise with the contrast of the photo's hair, smeared along its growth.

Method: line integral convolution (Cabral and Leedom, "Imaging vector fields using line integral convolution", 1993) of
noise in bands, one for each width of strand. Long windows are built by repeated convolution with three samples at
doubled distances, each distance the composition of two of half its length.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32

from spinmeround.images import blur_cyclic
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.orientation import LUMINANCE
from spinmeround.template.hair.settings import StrandSettings

_STRANDS = StrandSettings()

_LUMINANCE = np.array(LUMINANCE, np.float32)

_INSIDE = 0.5
"""Value of a mask in [0, 1] from which on a pixel belongs to it."""


def synthesise_strands(
    evidence: Sequence[PhotoEvidence],
    flow: Float[np.ndarray, "h w 2"],
    curl: Curl,
    *,
    texel: float,
    stretch: Float[np.ndarray, "h"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "h w 3"]:
    """Synthesise the fine detail of hair over a map whose columns wrap round.

    Args:
        flow: unit direction of growth in each texel: columns, rows.
        curl: waves of the strands around it, and how much neighbours run alike.
        texel: side of a texel in head units.
        stretch: by which the map shows things wider than they are, in each row: no wedges run into its pole.
        rng: draws the noise.

    Returns:
        Differences from the base colour, with a mean of about 0; all 0 where the photos hold too little hair to
        measure its contrast.
    """
    s = _STRANDS
    samples = [_hair_pixels(photo, texel) for photo in evidence]
    samples = [sample for sample in samples if (sample[1] > _INSIDE).sum() >= s.min_pixels]
    if not samples:
        return np.zeros((*flow.shape[:2], 3), np.float32)
    combed = float(smooth_ramp(np.array([curl.coherence]), *s.coherence)[0])
    contrasts = _contrasts(samples, combed)
    # A sinusoid's slopes have the standard deviation of its greatest one over the square root of 2.
    slope = np.hypot(s.straight_rad, np.sqrt(2) * np.pi * curl.amplitude / curl.pitch) + (1 - combed) * s.curly_rad
    deviation = slope * _noise(stretch, s.wave_of_pitch * curl.pitch / texel, rng, columns=flow.shape[1])
    cosine, sine = np.cos(deviation), np.sin(deviation)
    x, y = flow[..., 0], flow[..., 1]
    wavy = np.dstack([cosine * x - sine * y, sine * x + cosine * y]).astype(np.float32)
    noise = np.dstack([_noise(stretch, width, rng, columns=flow.shape[1]) for width in s.widths_texels])
    smeared = _smeared(noise, wavy, s.short_length + combed * (s.long_length - s.short_length))
    relief = np.zeros(flow.shape[:2], np.float32)
    for band, width, contrast in zip(np.moveaxis(smeared, 2, 0), s.widths_texels, contrasts, strict=True):
        detail = band - blur_cyclic(band, s.widest * width)
        relief += detail * (contrast / max(float(detail.std()), 1e-9))
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


def _contrasts(samples, combed: float) -> list[float]:
    """Return the standard deviation of each band in the photos' hair."""
    s = _STRANDS
    contrasts = [_measured_contrast(samples, width) for width in s.widths_texels]
    kept = s.undirected_coarse + (1 - s.undirected_coarse) * combed
    contrasts[2:] = [contrast * kept for contrast in contrasts[2:]]
    for k in (1, 0):
        contrasts[k] = max(contrasts[k], s.min_finer_contrast * contrasts[k + 1])
    for k in (1, 2, 3):
        contrasts[k] = min(contrasts[k], s.max_coarse_contrast * contrasts[k - 1])
    return contrasts


def _measured_contrast(samples, width: float) -> float:
    """Return the standard deviation of one band."""
    s = _STRANDS
    power, count = 0.0, 0
    for rgb, mask in samples:
        grey = rgb @ _LUMINANCE
        band = _blur_within(grey, mask, width / 2) - _blur_within(grey, mask, width)
        inside = (cv2.GaussianBlur(mask, (0, 0), width) > s.min_band_matte) & (mask > _INSIDE)
        power += float((band[inside] ** 2).sum())
        count += int(inside.sum())
    return np.sqrt(power / max(count, 1))


def _noise(stretch: Float[np.ndarray, "h"], sigma_texels: float, rng: np.random.Generator, *, columns: int):
    """Return noise of unit standard deviation, blurred by ``sigma_texels``, and by as much more as rows stretch."""
    noise = rng.standard_normal((len(stretch), columns), dtype=np.float32)
    level = np.log2(stretch)
    mixed = np.zeros_like(noise)
    for k in range(int(np.ceil(level.max())) + 1):
        rows = np.flatnonzero(np.abs(level - k) < 1)
        if not len(rows):
            continue
        last = rows[-1] + 1 if k else len(stretch)
        blurred = blur_cyclic(noise[:last], 2**k * sigma_texels, sigma_down=sigma_texels)
        share = np.cos(np.pi / 2 * np.minimum(np.abs(level[:last] - k), 1)).astype(np.float32)
        mixed[:last] += share[:, None] * blurred / max(float(blurred.std()), 1e-9)
    return mixed / max(float(mixed.std()), 1e-9)


def _smeared(
    values: Float32[np.ndarray, "h w b"], flow: Float32[np.ndarray, "h w 2"], length: float
) -> Float32[np.ndarray, "h w b"]:
    """Average along the flow, over about ``length`` texels around each."""
    reach = length / 2
    halvings = max(int(np.ceil(np.log2(reach))), 0)
    ahead, behind = (sign * reach / 2**halvings * flow for sign in (1, -1))
    for halving in range(halvings + 1):
        values = 0.5 * values + 0.25 * _moved(values, ahead) + 0.25 * _moved(values, behind)
        if halving < halvings:
            ahead, behind = (each + _moved(each, each) for each in (ahead, behind))
    return values


def _moved(values: Float32[np.ndarray, "h w b"], offset: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w b"]:
    """Look values up at an offset from each texel; columns wrap round, rows end."""
    height, width = values.shape[:2]
    columns = np.mod(np.arange(width, dtype=np.float32) + offset[..., 0], width)
    rows = np.clip(np.arange(height, dtype=np.float32)[:, None] + offset[..., 1], 0, height - 1)
    wrapped = np.concatenate([values, values[:, :1]], axis=1)
    return cv2.remap(wrapped, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _coloured(relief, samples):
    """Match the lightness of the strands to the quantiles of the photos' hair, and add the colour that goes with it."""
    s = _STRANDS
    # Wider variation is the shading of locks in the photo's light, not the tone of strands.
    detail = np.concatenate(
        [
            (_blur_within(rgb, mask, s.widths_texels[0] / 2) - _blur_within(rgb, mask, s.widths_texels[1]))[
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
