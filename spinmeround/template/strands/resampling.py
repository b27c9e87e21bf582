"""Strands of different lengths to the same number of points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer


def resampled(
    values: Float[np.ndarray, "s q c"], counts: Integer[np.ndarray, "s"], number: int
) -> Float[np.ndarray, "s p c"]:
    """Interpolate what each strand has at its points at ``number`` places, evenly spaced over those it has.

    Args:
        counts: how many of its points belong to each strand, at least two.
    """
    place = np.linspace(0, 1, number)[None] * (counts[:, None] - 1)
    first = np.minimum(place.astype(np.int64), counts[:, None] - 2)
    part, rows = (place - first)[..., None], np.arange(len(values))[:, None]
    return values[rows, first] * (1 - part) + values[rows, first + 1] * part
