"""How long a run will take on this processor, told before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from spinmeround.diffusion.model_views import Pose, Sampling
from spinmeround.diffusion.passes import plan
from spinmeround.diffusion.run import rows_in_all

_FLOP_PER_ROW = 14.6e12 / 16
"""Of the published network for one view of 512 × 512 pixels; a guided step of 8 views is 16 such rows."""
_PUBLISHED_PARAMETERS, _PUBLISHED_PX = 860e6, 512
_SHARE_OF_PRODUCTS = 0.7
"""Of the speed of a plain matrix product that the network was seen to reach."""
_MATRIX = 1024


def expected_seconds(
    unet: torch.nn.Module, photos: Sequence[Pose], poses: Sequence[Pose], *, sampling: Sampling, size_px: int
) -> float:
    """Seconds on the CPU, from how fast it multiplies two matrices now: a guess within a factor of two.

    Raises:
        InputError: poses that cannot be sampled.
    """
    passes = plan(photos, poses, views_at_once=sampling.views_at_once)
    rows = rows_in_all(len(photos), [(len(p.given), len(p.sampled)) for p in passes], sampling)
    size = sum(parameter.numel() for parameter in unet.parameters()) / _PUBLISHED_PARAMETERS
    flop = rows * _FLOP_PER_ROW * size * (size_px / _PUBLISHED_PX) ** 2
    return flop / (_SHARE_OF_PRODUCTS * _products_per_second())


def in_words(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _products_per_second() -> float:
    """Floating point operations a second of a float32 matrix product, the best of three."""
    a = torch.ones(_MATRIX, _MATRIX)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        _ = a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * _MATRIX**3 / best
