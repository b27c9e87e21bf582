"""Observability of spherical harmonics: which combinations of coefficients the cameras of the views determine."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.geometry import camera_centres
from spinmeround.recon.raster.spherical_harmonics import MAX_COEFFICIENTS, sh_colour
from spinmeround.types import Cameras

_MIN_RELATIVE_RESPONSE = 0.3
"""Least singular value of an observable combination, relative to the largest: weaker ones would amplify noise."""


def observable_sh_projector(cameras: Cameras, degree: int) -> Float[Tensor, "k k"]:
    """Return the projector of SH coefficients onto the combinations that the cameras observe.

    These are the combinations that change a colour from view to view, by a singular value decomposition of the basis
    over the viewing directions. The cameras of an orbit stand at one height, so that nothing determines the colour
    above and below: an unconstrained fit puts arbitrary values there. Projected coefficients fall off gently instead.

    Args:
        cameras: looking roughly at the world's origin.
        degree: 1 to 3; k, the coefficients above the constant one, is 3, 8 or 15.
    """
    count = (degree + 1) ** 2
    basis = np.empty((len(cameras), MAX_COEFFICIENTS))
    no_sh, colour, origin = np.zeros((count, 3), np.float32), np.empty(3), np.zeros(3)
    for row, centre in zip(basis, camera_centres(cameras).astype(np.float64), strict=True):
        sh_colour(origin, centre, no_sh, row, colour)
    variation = (basis - basis.mean(axis=0))[:, 1:count]
    _, responses, combinations = np.linalg.svd(variation, full_matrices=False)
    observed = combinations[responses > _MIN_RELATIVE_RESPONSE * responses[0]]
    return torch.from_numpy((observed.T @ observed).astype(np.float32))
