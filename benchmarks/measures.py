"""Measures that several benchmarks share: overlap of masks, PSNR, angles between unit vectors, millimetres."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from spinmeround.geometry import METRES_PER_UNIT

MILLIMETRES_PER_UNIT = 1000 * METRES_PER_UNIT
"""Millimetres in a head unit."""


def mask_iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Return the intersection over union of two masks; 1 if both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def psnr_db(error: Float[np.ndarray, "..."]) -> float:
    """Return the peak signal-to-noise ratio, dB, of differences of colours in [0, 1]."""
    return float(-10 * np.log10(np.mean(error**2)))


def angles_deg(cosines: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return the angles of cosines that rounding may have taken out of [-1, 1], degrees."""
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))
