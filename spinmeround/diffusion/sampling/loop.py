"""The sampling loop, and the two denoisers it integrates: of a photo's normals and of a joint pass over views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Sampling, Solver
from spinmeround.diffusion.model.unet import MultiViewUNet, Samples
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.solvers import make_solver

PHOTO_GUIDANCE = 100_000.0
"""Step along the gradient of the reconstruction loss of the photo, which is a mean over all latents. As published, for
latents of 8 × 64 × 64, where the step is 6.1 times the residual. With fewer latents it overshoots in proportion."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Maps noisy latents ``[v, c, h, w]`` and their noise level to clean latents."""


@dataclass(frozen=True)
class Embeddings:
    """Text embeddings that condition the network.

    Attributes:
        cond: of the prompt with the identity.
        uncond: of the empty prompt.
    """

    cond: Float[Tensor, "1 77 d"]
    uncond: Float[Tensor, "1 77 d"]


@dataclass(frozen=True)
class ConditioningViews:
    """The given views of a joint pass.

    Attributes:
        latents: clean, colours then normals.
        rays: their ray encodings.
        empty: replaces them in the unconditional prediction: the latents of a picture of zeros, twice.
    """

    latents: Float[Tensor, "k c h w"]
    rays: Float[Tensor, "k 144 h w"]
    empty: Float[Tensor, "1 c h w"]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance, ``uncond + scale · (cond − uncond)`` on clean latents.

    Method: Ho and Salimans, arXiv 2207.12598.

    Attributes:
        sigmas: guidance is active where ``low <= sigma <= high``; elsewhere, and with a scale of 1, the unconditional
            prediction is not computed.
    """

    scale: float
    sigmas: tuple[float, float] = (0.0, float("inf"))

    @classmethod
    def of(cls, sampling: Sampling) -> Guidance:
        """Take the guidance from the settings."""
        return cls(sampling.guidance, sampling.guidance_sigmas)

    def is_active(self, sigma: Tensor) -> bool:
        """Check whether the unconditional prediction is needed at this level."""
        return self.scale != 1 and self.sigmas[0] <= float(sigma) <= self.sigmas[1]


def integrate(
    denoise: Denoise,
    noise: Float[Tensor, "v c h w"],
    sigmas: Float[Tensor, "levels"],
    *,
    solver: Solver,
    after_step: Callable[[Tensor, Tensor], None] = lambda _x, _clean: None,
) -> Float[Tensor, "v c h w"]:
    """Integrate the sampling equation from noise to clean latents.

    Args:
        noise: standard normal.
        sigmas: falling, 0 at the end.
        after_step: called with the latents at the next level and the prediction of clean latents that led there.
    """
    x = noise * torch.sqrt(1 + sigmas[0] ** 2)
    stepper = make_solver(solver)
    for sigma, sigma_next in pairwise(sigmas):
        clean = denoise(x, sigma)
        x = stepper.step(x, clean, sigma=sigma, sigma_next=sigma_next)
        after_step(x, clean)
    return x


class PhotoNormals:
    """Denoiser that finds the normals of one photo: of one view, whose colours are guided to the photo's.

    Args:
        photo: latents of the photo's colours.
        rays: ray encoding of the direction it was taken from.
        cond: embedding of the prompt with the identity.
    """

    def __init__(
        self,
        unet: MultiViewUNet,
        *,
        photo: Float[Tensor, "1 c h w"],
        rays: Float[Tensor, "1 144 h w"],
        cond: Float[Tensor, "1 77 d"],
    ) -> None:
        self._unet = unet
        self._photo = photo
        self._rays = torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1)
        self._samples = Samples(cond, (1,), (1,), (1,))

    def __call__(self, x: Float[Tensor, "1 c2 h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "1 c2 h w"]:
        """Predict clean latents, after one gradient step on the mean squared distance to the photo's colours."""
        clean = _predict_clean(self._unet, x, sigma, self._rays, self._samples, output_rows=None)
        colours = clean[:, : self._photo.shape[1]]
        guided = colours - 2 * (colours - self._photo) * (1 / clean.numel()) * PHOTO_GUIDANCE
        return torch.cat([guided, clean[:, self._photo.shape[1] :]], dim=1)


class GuidedViews:
    """Denoiser of the views of one joint pass, given conditioning views, with classifier-free guidance.

    Args:
        known: the conditioning views.
        rays: ray encodings of the views to sample.
    """

    def __init__(
        self,
        unet: MultiViewUNet,
        *,
        known: ConditioningViews,
        rays: Float[Tensor, "v 144 h w"],
        embeddings: Embeddings,
        guidance: Guidance,
    ) -> None:
        self._unet = unet
        self._known = known
        self._guidance = guidance
        count, views = len(known.rays), len(rays)
        given = torch.cat([known.rays, torch.zeros_like(known.rays[:, :1])], dim=1)
        sampled = torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1)
        cond, uncond = torch.cat([given, sampled]), torch.cat([torch.zeros_like(given[:1]), sampled])
        # In the unconditional prediction all known views are the same empty view, so that one row stands for them.
        self._guided_rays = torch.cat([uncond, cond])
        sizes = (1 + views, count + views)
        both = torch.cat([embeddings.uncond, embeddings.cond])
        self._guided_samples = Samples(both, sizes, sizes, (count, 1))
        output_rows = torch.cat([torch.arange(1, 1 + views), torch.arange(views) + 1 + views + count])
        self._guided_output_rows = output_rows.to(rays.device)
        self._cond_rays = cond
        self._cond_samples = Samples(embeddings.cond, sizes[1:], sizes[1:], (1,))
        self._cond_output_rows = torch.arange(count, count + views, device=rays.device)

    def __call__(self, x: Float[Tensor, "v c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "v c h w"]:
        """Predict clean latents of the views, guided."""
        if not self._guidance.is_active(sigma):
            rows = torch.cat([self._known.latents, x])
            return _predict_clean(
                self._unet, rows, sigma, self._cond_rays, self._cond_samples, output_rows=self._cond_output_rows
            )
        uncond, cond = self.uncond_and_cond(x, sigma)
        return uncond + self._guidance.scale * (cond - uncond)

    def uncond_and_cond(
        self, x: Float[Tensor, "v c h w"], sigma: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "v c h w"], Float[Tensor, "v c h w"]]:
        """Predict clean latents without and with the conditioning."""
        rows = torch.cat([self._known.empty, x, self._known.latents, x])
        clean = _predict_clean(
            self._unet, rows, sigma, self._guided_rays, self._guided_samples, output_rows=self._guided_output_rows
        )
        uncond, cond = clean.chunk(2)
        return uncond, cond

    def rows(self, sigma: Float[Tensor, ""]) -> int:
        """Return how many views the network evaluates in one call."""
        return len(self._guided_rays if self._guidance.is_active(sigma) else self._cond_rays)


def _predict_clean(
    unet: MultiViewUNet, x: Tensor, sigma: Tensor, rays: Tensor, samples: Samples, *, output_rows: Tensor | None
) -> Float[Tensor, "kept c h w"]:
    """Predict clean latents: the network with its preconditioning (Karras et al., arXiv 2206.00364, equation 7)."""
    network_input = torch.cat([x * schedules.c_in(sigma), rays], dim=1)
    noise_level = schedules.c_noise(sigma).expand(len(x)).to(x.device)
    out = unet(network_input, noise_level, samples, output_rows=output_rows)
    noisy = x if output_rows is None else x[output_rows]
    return out * schedules.c_out(sigma) + noisy * schedules.c_skip(sigma)
