"""Noise levels of the two passes, and how the network's output becomes clean latents at each of them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Sampling

_SIGMA_MAX, _SIGMA_MIN, _RHO = 700.0, 0.002, 7.0
"""Of the multi-view pass, as published; the last two are those of Karras et al. (arXiv 2206.00364, table 1)."""
_BETA_FIRST, _BETA_LAST, _TIMES = 0.00085, 0.012, 1000
"""Of Stable Diffusion's training, linear in the square root (configs/stable-diffusion/v1-inference.yaml there)."""
_COARSE = 3
"""Where ``thinned`` skips levels, it keeps one in so many."""


def levels(sampling: Sampling) -> Float[Tensor, "levels"]:
    """Noise levels of a multi-view pass, falling, with 0 at the end."""
    return thinned(edm_sigmas(sampling.steps), dense=sampling.dense_sigmas)


def edm_sigmas(steps: int) -> Float[Tensor, "levels"]:
    """Noise levels of the multi-view pass, falling, with 0 at the end (Karras et al., arXiv 2206.00364, equation 5).

    Args:
        steps: at least 1; one level more is returned.
    """
    ramp = torch.linspace(0, 1, steps)
    low, high = _SIGMA_MIN ** (1 / _RHO), _SIGMA_MAX ** (1 / _RHO)
    return torch.cat([(high + ramp * (low - high)) ** _RHO, torch.zeros(1)])


def thinned(sigmas: Float[Tensor, "levels"], *, dense: tuple[float, float]) -> Float[Tensor, "fewer"]:
    """Some of the levels: all within ``dense``, every third above, none below; always the first, and 0 at the end.

    Far above the spread of clean latents a guess hardly moves from level to level, and what it is wrong by is shrunk by
    all that follows; far below, the guess is all but what is there already.
    """
    low, high = dense
    kept = [
        i == 0 or sigma == 0 or (sigma >= low and (sigma <= high or i % _COARSE == 0))
        for i, sigma in enumerate(sigmas.tolist())
    ]
    return sigmas[torch.tensor(kept)]


def ddpm_sigmas(steps: int) -> Float[Tensor, "levels"]:
    """Noise levels of the input-normals pass, falling, with 0 at the end: Stable Diffusion's own schedule.

    Args:
        steps: 1 to 1000; one level more is returned.
    """
    betas = torch.linspace(_BETA_FIRST**0.5, _BETA_LAST**0.5, _TIMES, dtype=torch.float64) ** 2
    kept = np.cumprod(1 - betas.numpy())
    times = np.linspace(_TIMES - 1, 0, steps, endpoint=False).astype(int)
    ratio = torch.tensor((1 - kept[times]) / kept[times], dtype=torch.float32)
    return torch.cat([ratio**0.5, torch.zeros(1)])


def c_skip(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Share of the noisy latents in the clean ones (v-prediction)."""
    return 1 / (sigma**2 + 1)


def c_out(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Share of the network's output in the clean latents."""
    return -sigma / (sigma**2 + 1) ** 0.5


def c_in(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Scale of the noisy latents as the network sees them."""
    return 1 / (sigma**2 + 1) ** 0.5


def c_noise(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """The noise level as the network sees it: not a whole number, and never rounded to one."""
    return 0.25 * sigma.log()
