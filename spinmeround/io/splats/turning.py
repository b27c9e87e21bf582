"""Moving and turning splats, their spherical harmonics included."""

from __future__ import annotations

from math import factorial

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from scipy.special import lpmv

from spinmeround.types import Splats


def moved(splats: Splats, *, rotation: Float[np.ndarray, "3 3"], scale: float, shift: Float[np.ndarray, "3"]) -> Splats:
    """Return float64 splats where ``rotation @ (scale * x) + shift`` takes their points ``x``."""
    turn = Rotation.from_matrix(rotation)
    quats = turn * Rotation.from_quat(splats.quats_wxyz.numpy(), scalar_first=True)
    return Splats(
        torch.from_numpy(splats.means.double().numpy() * scale @ rotation.T + shift),
        splats.scales.double() * scale,
        torch.from_numpy(quats.as_quat(scalar_first=True)),
        splats.opacities.double(),
        torch.einsum(
            "jk,nkc->njc", torch.from_numpy(_turned_harmonics(rotation, splats.sh.shape[1])), splats.sh.double()
        ),
    )


def _turned_harmonics(rotation: Float[np.ndarray, "3 3"], count: int) -> Float[np.ndarray, "k k"]:
    """Return the matrix that takes coefficients to those of the turned colours.

    The turned colour in a direction is the colour in the direction turned back. Each degree is closed under rotation,
    so that the least-squares solution over sample directions is exact.
    """
    samples = np.random.default_rng(0).normal(size=(4 * count, 3))
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    degree = round(count**0.5) - 1
    return np.linalg.lstsq(_harmonics(samples, degree), _harmonics(samples @ rotation, degree), rcond=None)[0]


def _harmonics(directions: Float[np.ndarray, "m 3"], degree: int) -> Float[np.ndarray, "m k"]:
    """Return the real spherical harmonics in unit directions, with the Condon-Shortley phase, as INRIA's are."""
    longitudes = np.arctan2(directions[:, 1], directions[:, 0])
    columns = []
    for ell in range(degree + 1):
        for m in range(-ell, ell + 1):
            order = abs(m)
            norm = ((2 * ell + 1) / (4 * np.pi) * factorial(ell - order) / factorial(ell + order)) ** 0.5
            wave = np.cos(order * longitudes) if m >= 0 else np.sin(order * longitudes)
            columns.append(norm * (2**0.5 if m else 1) * lpmv(order, ell, directions[:, 2]) * wave)
    return np.stack(columns, axis=1)
