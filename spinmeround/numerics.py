"""Scalar functions, constants and a solver that several packages share."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Float, Integer

Number = TypeVar("Number", float, np.ndarray)

SIGMA_PER_MAD = 1.4826
"""Standard deviations in a median absolute deviation, for normally distributed errors."""


def smoothstep(t: Number) -> Number:
    """Hermite blend 3t² - 2t³ of ``t`` in [0, 1]; its slope is 0 at both ends. ``t`` is not clipped."""
    return t * t * (3 - 2 * t)


def smooth_ramp(value: Float[np.ndarray, "*n"], low: float, high: float) -> Float[np.ndarray, "*n"]:
    """Smoothstep from 0 at ``low`` to 1 at ``high``, constant outside; ``high`` may be the smaller one."""
    t = np.asarray((value - low) / (high - low))
    np.clip(t, 0, 1, out=t)
    # In place as well, since these are often textures of millions of texels.
    rest = 2 * t
    np.subtract(3, rest, out=rest)
    t *= t
    t *= rest
    return t


def evenly_spread(number: Integer[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Map integers to [0, 1) so that any few in turn are spread evenly: multiples of the golden ratio, modulo 1."""
    return np.mod(number * 0.6180339887498949, 1.0)


def factorised(system: sp.spmatrix | sp.sparray) -> spla.SuperLU:
    """Factorise a sparse, symmetric, positive definite system on a mesh, such as a screened Laplacian.

    Rows of such a factor are short and hardly two are alike, so that SuperLU's blocks of columns (supernodes and
    panels), which are for denser factors, cost several times what they save.

    Returns:
        The factor; its ``solve`` takes one or several right-hand sides.
    """
    return spla.splu(
        system.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        relax=1,
        panel_size=4,
        options={"SymmetricMode": True},
    )
