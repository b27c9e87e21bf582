"""Spherical harmonics as far as the views support them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.geometry import camera_centres
from spinmeround.recon.raster.spherical_harmonics import sh_colour
from spinmeround.types import Cameras

_LEAST_SHARE = 0.3
"""Of the strongest combination's response: what the views tell more faintly is noise, magnified elsewhere."""


def told_apart(cameras: Cameras, degree: int) -> Float[Tensor, "k k"]:
    """Projects coefficients above the constant one onto the combinations that change a colour from view to view.

    All cameras of a turn stand at one height: what a harmonic does above and below is anyone's guess there, and a fit
    guesses wildly, since it costs nothing. What is left here falls off gently away from the cameras instead.

    Args:
        cameras: look at the world's origin, more or less.
        degree: 1 to 3; k is 3, 8 or 15.
    """
    count = (degree + 1) ** 2
    rows = np.empty((len(cameras), 16))
    nothing, colour, origin = np.zeros((count, 3), np.float32), np.empty(3), np.zeros(3)
    for row, eye in zip(rows, camera_centres(cameras).astype(np.float64), strict=True):
        sh_colour(origin, eye, nothing, row, colour)
    changes = (rows - rows.mean(axis=0))[:, 1:count]
    _, strengths, combinations = np.linalg.svd(changes, full_matrices=False)
    kept = combinations[strengths > _LEAST_SHARE * strengths[0]]
    return torch.from_numpy((kept.T @ kept).astype(np.float32))
