"""What single strands do around the flow of the hair: they gather in locks, and curl."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from spinmeround.numerics import smooth_ramp
from spinmeround.template.hair.curl import Curl
from spinmeround.template.strands.settings import StylingSettings

_SETTINGS = StylingSettings()

_TINY = 1e-9
"""Keeps divisions by lengths finite."""


def styled(
    points: Float[np.ndarray, "s p 3"],
    outward: Float[np.ndarray, "s p 3"],
    heights: Float[np.ndarray, "s p"],
    curl: Curl,
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, "s p 3"]:
    """Gather strands in locks toward their tips, and wind each lock into a helix of the measured amplitude and pitch.

    Args:
        points: strands at even steps, the root first.
        outward: unit normals of the hair's surface near them.
        heights: of the points above the skin, head units.
        curl: as the photo shows it.
    """
    s = _SETTINGS
    guides = np.sort(rng.choice(len(points), max(1, len(points) // s.strands_in_lock), replace=False))
    _, lock = cKDTree(points[guides, 0]).query(points[:, 0])
    along = np.linspace(0, 1, points.shape[1])[None, :, None]
    gathered = s.gathering * along**s.gathering_power * rng.random((len(points), 1, 1))
    to_guide = points[guides][lock] - points
    # Strands that part, as those before and behind an ear do, are no lock any more: between them is no hair.
    together = 1 - smooth_ramp(np.linalg.norm(to_guide, axis=2), *s.parting)
    gathered = points + gathered * np.minimum.accumulate(together, axis=1)[..., None] * to_guide
    step = np.linalg.norm(np.diff(points, axis=1), axis=2)
    length = np.concatenate([np.zeros((len(points), 1)), np.cumsum(step, axis=1)], axis=1)
    # Where neighbours run every way there are curls, too small for their pitch to be measured.
    curly = 1 - float(smooth_ramp(np.array([curl.coherence]), *s.curly)[0])
    typical = [
        (1 - curly) * value + curly * of_curls
        for value, of_curls in ((curl.amplitude, s.curl_amplitude), (curl.pitch, s.curl_pitch))
    ]
    amplitude = min(typical[0], s.max_amplitude) * np.exp(rng.normal(0, s.spread, len(points)))
    pitch = max(typical[1], s.min_pitch) * np.exp(rng.normal(0, s.spread, len(guides)))[lock]
    phase = rng.uniform(0, 2 * np.pi, len(guides))[lock] + rng.normal(0, s.phase_spread, len(points))
    angle = phase[:, None] + 2 * np.pi * length / pitch[:, None]
    # Curls open toward the tip; a root stays where it is.
    radius = amplitude[:, None] * np.clip(length / (s.straight_root * pitch[:, None]), 0, 1)
    radius = np.minimum(radius, s.of_height * np.maximum(heights, 0))
    tangents = np.gradient(points, axis=1)
    across = np.cross(tangents, outward)
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), _TINY)
    return gathered + radius[..., None] * (
        np.sin(angle)[..., None] * across + s.flatness * np.cos(angle)[..., None] * outward
    )
