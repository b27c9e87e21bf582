"""Waves and curls of hair, measured from its orientation in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Complex, Float

from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.measurement_settings import CurlSettings
from spinmeround.template.hair.orientation import HairOrientation

_SETTINGS = CurlSettings()

_INSIDE = 0.9
"""Value of the matte from which on a pixel is certainly hair."""


@dataclass(frozen=True)
class Curl:
    """How strands deviate from the flow of the hair around the head.

    Attributes:
        amplitude: of the waves across the flow, half of crest to trough, head units; 0 for straight hair.
        pitch: wavelength along the strands, head units; at most about five windows of ``CurlSettings.flow_window``, and
            meaningless where ``amplitude`` is 0.
        coherence: in [0, 1]; 1 for combed hair, whose neighbouring strands run alike, 0 for coils without a direction.
    """

    amplitude: float
    pitch: float
    coherence: float


def shown_curl(evidence: Sequence[PhotoEvidence], orientations: Sequence[HairOrientation]) -> Curl:
    """Return the waves that the photo with the most hair shows, of which the orientations are known."""
    hairs = [photo.portrait.hair * photo.portrait.observed for photo in evidence]
    most = max(range(len(hairs)), key=lambda index: hairs[index].sum())
    return measure_curl(orientations[most], hairs[most], unit_px=evidence[most].unit_px)


def measure_curl(
    orientation: HairOrientation,
    hair: Float[np.ndarray, "h w"],
    *,
    unit_px: float,
    settings: CurlSettings = _SETTINGS,
) -> Curl:
    """Measure amplitude and pitch of the waves in a picture of hair, and how much its strands run alike.

    The angle between the strands and their mean orientation over a window is the slope of the waves. A wave
    a sin(2 pi s / p) along the strands has slopes of the size 2 pi a / p, which change by 2 pi / p of that per unit of
    length, and the same quantile of both has their ratio. The filters of the orientation flatten short waves: of
    1 mm in 20 mm half remains.

    Args:
        hair: matte in [0, 1].
        unit_px: pixels per head unit where the hair is.
    """
    s = settings
    doubled = orientation.confidence * np.exp(2j * orientation.angle)
    coherence = _coherence(doubled, hair, s.agreement_window * unit_px, s)
    counts = orientation.confidence > s.min_confidence
    if counts.sum() < s.min_pixels:
        return Curl(0.0, 5 * s.flow_window, coherence)
    from_flow = doubled * np.conj(_blurred(doubled, s.flow_window * unit_px))
    from_flow /= np.maximum(np.abs(from_flow), 1e-12)
    slope = float(np.quantile(np.abs(np.angle(from_flow[counts])) / 2, s.quantile))
    change = np.gradient(from_flow, axis=1) * np.cos(orientation.angle)
    change += np.gradient(from_flow, axis=0) * np.sin(orientation.angle)
    change_per_unit = float(np.quantile(np.abs(change[counts]) / 2, s.quantile)) * unit_px
    pitch = min(2 * np.pi * slope / max(change_per_unit, 1e-9), 5 * s.flow_window)
    crest = slope / np.sin(s.quantile * np.pi / 2)  # of a sinusoid with that quantile
    waves = np.sqrt(max(crest**2 - s.straight_slope**2, 0.0))
    return Curl(float(np.tan(min(waves, 1.2)) * pitch / (2 * np.pi)), float(pitch), coherence)


def _coherence(
    doubled: Complex[np.ndarray, "h w"], hair: Float[np.ndarray, "h w"], sigma_px: float, s: CurlSettings
) -> float:
    """Return the mean resultant length of the orientations in a window, over the hair, scaled to [0, 1]."""
    # Near the border there is no confidence; that says nothing about the strands.
    margin = 2 * round(0.25 * sigma_px) + 1
    inner = cv2.erode((hair > _INSIDE).astype(np.float32), np.ones((margin, margin), np.uint8))
    if not inner.any():
        return 0.0
    resultant = np.abs(_blurred(doubled * inner, sigma_px))
    agreement = float(resultant[inner > 0].sum() / cv2.GaussianBlur(inner, (0, 0), sigma_px)[inner > 0].sum())
    return float(np.clip((agreement - s.agreement[0]) / (s.agreement[1] - s.agreement[0]), 0, 1))


def _blurred(values: Complex[np.ndarray, "h w"], sigma_px: float) -> Complex[np.ndarray, "h w"]:
    parts = np.real(values).astype(np.float32), np.imag(values).astype(np.float32)
    real, imaginary = (cv2.GaussianBlur(part, (0, 0), sigma_px) for part in parts)
    return real + 1j * imaginary
