"""Noise schedules of the two passes, and the preconditioning of the network at each noise level."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Sampling

_SIGMA_MAX, _SIGMA_MIN, _RHO = 700.0, 0.002, 7.0
"""Of the multi-view pass, as published; the last two are those of Karras et al. (arXiv 2206.00364, table 1)."""
_BETA_FIRST, _BETA_LAST, _TIMESTEPS = 0.00085, 0.012, 1000
"""Of Stable Diffusion's training, linear in the square root (configs/stable-diffusion/v1-inference.yaml there)."""
_COARSE_STRIDE = 3
"""Above the dense levels ``thinned`` keeps one in so many."""


def levels(sampling: Sampling) -> Float[Tensor, "levels"]:
    """Return the noise levels of a multi-view pass, falling, with 0 at the end."""
    return thinned(edm_sigmas(sampling.steps), dense=sampling.dense_sigmas)


def edm_sigmas(steps: int) -> Float[Tensor, "levels"]:
    """Return the EDM schedule of the multi-view pass, falling, with 0 at the end.

    Method: Karras et al., arXiv 2206.00364, equation 5.

    Args:
        steps: at least 1; one level more is returned.
    """
    ramp = torch.linspace(0, 1, steps)
    low, high = _SIGMA_MIN ** (1 / _RHO), _SIGMA_MAX ** (1 / _RHO)
    # The power in float64: in float32 its last bit depends on the CPU.
    sigmas = (high + ramp * (low - high)).double() ** _RHO
    return torch.cat([sigmas.float(), torch.zeros(1)])


def thinned(sigmas: Float[Tensor, "levels"], *, dense: tuple[float, float]) -> Float[Tensor, "fewer"]:
    """Select levels: all within ``dense``, every third above, none below; always the first, and 0 at the end.

    Far above the spread of clean latents the prediction hardly changes from level to level, and later steps shrink its
    error. Far below, the latents are already nearly clean.
    """
    low, high = dense
    kept = [
        i == 0 or sigma == 0 or (sigma >= low and (sigma <= high or i % _COARSE_STRIDE == 0))
        for i, sigma in enumerate(sigmas.tolist())
    ]
    return sigmas[torch.tensor(kept)]


def ddpm_sigmas(steps: int) -> Float[Tensor, "levels"]:
    """Return Stable Diffusion's own schedule, of the input-normals pass, falling, with 0 at the end.

    Args:
        steps: 1 to 1000; one level more is returned.
    """
    betas = torch.linspace(_BETA_FIRST**0.5, _BETA_LAST**0.5, _TIMESTEPS, dtype=torch.float64) ** 2
    alphas_cumprod = np.cumprod(1 - betas.numpy())
    times = np.linspace(_TIMESTEPS - 1, 0, steps, endpoint=False).astype(int)
    variance = torch.tensor((1 - alphas_cumprod[times]) / alphas_cumprod[times], dtype=torch.float32)
    return torch.cat([variance**0.5, torch.zeros(1)])


def c_skip(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Weight of the noisy latents in the clean ones (v-prediction)."""
    return 1 / (sigma**2 + 1)


def c_out(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Weight of the network's output in the clean latents."""
    return -sigma / (sigma**2 + 1) ** 0.5


def c_in(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Scale of the noisy latents at the network's input."""
    return 1 / (sigma**2 + 1) ** 0.5


def c_noise(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Noise level at the network's input: a fraction, never rounded to an integer timestep."""
    return 0.25 * sigma.log()
