"""Cost of a run: time and memory estimated before it begins, and time again after the first step."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from spinmeround.diffusion.inputs import Pose, Sampling
from spinmeround.diffusion.model.placement import DevicePlacement
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.loop import Guidance
from spinmeround.diffusion.sampling.passes import JointPass, plan
from spinmeround.types import Progress

log = logging.getLogger(__name__)

_FLOP_PER_ROW = 14.6e12 / 16
"""Of the published network for one view of 512 × 512 pixels; a guided step of 8 views is 16 such views."""
_PARAMETERS, _UNET_PARAMETERS, _SIZE_PX, _VIEWS_AT_ONCE = 1067e6, 860e6, 512, 8
"""Of the published model, and what it was measured with."""
_MATMUL_EFFICIENCY = 0.7
"""Fraction of the speed of a plain matrix product that the network was seen to reach."""
_MATRIX_SIZE, _MATMUL_RUNS = 1024, 3
"""Of the matrix product that measures the speed of this machine."""
_BYTES_BESIDE_WEIGHTS = 2.3e9
"""In float32, libraries included: measured in a guided step (benchmarks/diffusion_full_size.py)."""


def total_rows(photos: int, passes: Sequence[JointPass], sampling: Sampling) -> int:
    """Count the views the UNet evaluates in a run."""
    guidance = Guidance.of(sampling)
    levels = schedules.levels(sampling)[:-1]
    guided_levels = sum(guidance.is_active(sigma) for sigma in levels)
    return photos * sampling.normals_steps + sum(
        len(levels) * (len(one.given) + len(one.sampled)) + guided_levels * (1 + len(one.sampled)) for one in passes
    )


def expected_seconds(
    unet: torch.nn.Module, photos: Sequence[Pose], poses: Sequence[Pose], *, sampling: Sampling, size_px: int
) -> float:
    """Estimate the seconds on the CPU from how fast it multiplies two matrices now, within a factor of two.

    Raises:
        InputError: poses that cannot be sampled.
    """
    rows = total_rows(len(photos), plan(photos, poses, views_at_once=sampling.views_at_once), sampling)
    size = sum(parameter.numel() for parameter in unet.parameters()) / _UNET_PARAMETERS
    flop = rows * _FLOP_PER_ROW * size * (size_px / _SIZE_PX) ** 2
    return flop / (_MATMUL_EFFICIENCY * _matmul_flops())


def expected_bytes(parameters: int, *, placement: DevicePlacement, views_at_once: int) -> int:
    """Estimate the memory of a run of 512 × 512 pixels on the CPU.

    Args:
        parameters: of the three networks together.
    """
    width, size = placement.dtype.itemsize, parameters / _PARAMETERS
    weights = _UNET_PARAMETERS * width + (_PARAMETERS - _UNET_PARAMETERS) * torch.float32.itemsize
    beside = _BYTES_BESIDE_WEIGHTS * width / torch.float32.itemsize * views_at_once / _VIEWS_AT_ONCE
    return int(size * (weights + beside))


def in_words(seconds: float) -> str:
    """Format a duration for people."""
    for limit, unit, word in ((90, 1, "second"), (5400, 60, "minute")):
        if seconds < limit:
            count = max(1, round(seconds / unit))
            return f"{count} {word}" + ("s" if count > 1 else "")
    return f"{seconds / 3600:.1f} hours"


class Meter:
    """Counts the views the UNet has evaluated and reports the progress of the run.

    Args:
        rows: views the UNet evaluates in all.
    """

    def __init__(self, rows: int, progress: Progress) -> None:
        self.done = 0
        self._rows = rows
        self._progress = progress
        self._started = time.perf_counter()
        self._announced = False

    def __call__(self, rows: int, message: str) -> None:
        """Count the views of one step."""
        self.done += rows
        if not self._announced:
            self._announced = True
            row_s = (time.perf_counter() - self._started) / rows
            log.info(
                "the UNet needs %.1f s for a view and step here: about %s in all", row_s, in_words(row_s * self._rows)
            )
        self._progress(min(1.0, self.done / self._rows), message)


def _matmul_flops() -> float:
    """Measure floating point operations a second of a float32 matrix product, the best of a few."""
    a = torch.ones(_MATRIX_SIZE, _MATRIX_SIZE)
    best = float("inf")
    for _ in range(_MATMUL_RUNS):
        started = time.perf_counter()
        _ = a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * _MATRIX_SIZE**3 / best
