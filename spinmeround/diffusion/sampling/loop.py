"""The two passes as one loop: what is clean at each noise level, and a rule that walks the levels down."""

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
from spinmeround.diffusion.sampling.solvers import rule

PULL = 100_000.0
"""Length of the step toward the photo, in units of the gradient of a mean over all latents; as published, for latents
of 8 × 64 × 64, where it is 6.1 times the distance. For fewer it overshoots by as much more."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents ``[v, c, h, w]`` and their level to clean ones."""


@dataclass(frozen=True)
class Told:
    """What the network is told.

    Attributes:
        person: tokens of the sentence with the face.
        nobody: tokens of no sentence.
    """

    person: Float[Tensor, "1 77 d"]
    nobody: Float[Tensor, "1 77 d"]


@dataclass(frozen=True)
class Known:
    """Views that are given, conditioning views of a pass.

    Attributes:
        latents: clean, colours then normals.
        rays: their ray encodings.
        empty: what stands in their place where guidance leads away from: the latents of a picture of zeros, twice.
    """

    latents: Float[Tensor, "k c h w"]
    rays: Float[Tensor, "k 144 h w"]
    empty: Float[Tensor, "1 c h w"]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance, ``nobody + scale · (person − nobody)`` on clean latents.

    Attributes:
        sigmas: guidance acts where ``low <= sigma <= high``; elsewhere, and with a scale of 1, the half without the
            photo is not computed.
    """

    scale: float
    sigmas: tuple[float, float] = (0.0, float("inf"))

    @classmethod
    def of(cls, sampling: Sampling) -> Guidance:
        """As the settings have it."""
        return cls(sampling.guidance, sampling.guidance_sigmas)

    def acts(self, sigma: Tensor) -> bool:
        """Whether both halves are needed at this level."""
        return self.scale != 1 and self.sigmas[0] <= float(sigma) <= self.sigmas[1]


def integrate(
    denoise: Denoise,
    noise: Float[Tensor, "v c h w"],
    sigmas: Float[Tensor, "levels"],
    *,
    solver: Solver,
    after_step: Callable[[Tensor, Tensor], None] = lambda _x, _clean: None,
) -> Float[Tensor, "v c h w"]:
    """Clean latents from noise.

    Args:
        noise: standard normal.
        sigmas: falling, 0 at the end.
        after_step: called with the latents at the next level and the clean guess that led there.
    """
    x = noise * torch.sqrt(1 + sigmas[0] ** 2)
    follow = rule(solver)
    for sigma, sigma_next in pairwise(sigmas):
        clean = denoise(x, sigma)
        x = follow.step(x, clean, sigma=sigma, sigma_next=sigma_next)
        after_step(x, clean)
    return x


class PhotoNormals:
    """Finds the normals of one photo: colours and normals of one view, the colours pulled to the photo's.

    Args:
        photo: latents of the photo's colours.
        rays: ray encoding of the direction it was taken from.
        person: tokens of the sentence with the face.
    """

    def __init__(
        self,
        unet: MultiViewUNet,
        *,
        photo: Float[Tensor, "1 c h w"],
        rays: Float[Tensor, "1 144 h w"],
        person: Float[Tensor, "1 77 d"],
    ) -> None:
        self._unet = unet
        self._photo = photo
        self._rays = torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1)
        self._samples = Samples(person, (1,), (1,), (1,))

    def __call__(self, x: Float[Tensor, "1 c2 h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "1 c2 h w"]:
        """Clean latents, after one step down the squared distance to the photo (mean over all latents, × 100000)."""
        clean = _clean(self._unet, x, sigma, self._rays, self._samples, kept=None)
        colours = clean[:, : self._photo.shape[1]]
        pulled = colours - 2 * (colours - self._photo) * (1 / clean.numel()) * PULL
        return torch.cat([pulled, clean[:, self._photo.shape[1] :]], dim=1)


class GuidedViews:
    """Cleans views of one joint pass, given others.

    Args:
        rays: ray encodings of the views to sample.
    """

    def __init__(
        self,
        unet: MultiViewUNet,
        *,
        known: Known,
        rays: Float[Tensor, "v 144 h w"],
        told: Told,
        guidance: Guidance,
    ) -> None:
        self._unet = unet
        self._known = known
        self._guidance = guidance
        count, views = len(known.rays), len(rays)
        given = torch.cat([known.rays, torch.zeros_like(known.rays[:, :1])], dim=1)
        asked = torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1)
        with_photo, without = torch.cat([given, asked]), torch.cat([torch.zeros_like(given[:1]), asked])
        # Without the photo all known views are one and the same empty view, so one row stands for them.
        self._both_rays = torch.cat([without, with_photo])
        sizes = (1 + views, count + views)
        self._both = Samples(torch.cat([told.nobody, told.person]), sizes, sizes, (count, 1))
        kept = torch.cat([torch.arange(1, 1 + views), torch.arange(views) + 1 + views + count])
        self._both_kept = kept.to(rays.device)
        self._one_rays = with_photo
        self._one = Samples(told.person, sizes[1:], sizes[1:], (1,))
        self._one_kept = torch.arange(count, count + views, device=rays.device)

    def __call__(self, x: Float[Tensor, "v c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "v c h w"]:
        """Clean latents of the views, guided."""
        if not self._guidance.acts(sigma):
            rows = torch.cat([self._known.latents, x])
            return _clean(self._unet, rows, sigma, self._one_rays, self._one, kept=self._one_kept)
        nobody, person = self.halves(x, sigma)
        return nobody + self._guidance.scale * (person - nobody)

    def halves(
        self, x: Float[Tensor, "v c h w"], sigma: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "v c h w"], Float[Tensor, "v c h w"]]:
        """Clean latents without and with the photo."""
        rows = torch.cat([self._known.empty, x, self._known.latents, x])
        clean = _clean(self._unet, rows, sigma, self._both_rays, self._both, kept=self._both_kept)
        nobody, person = clean.chunk(2)
        return nobody, person

    def rows(self, sigma: Float[Tensor, ""]) -> int:
        """Views the network sees in one call."""
        return len(self._both_rays if self._guidance.acts(sigma) else self._one_rays)


def _clean(
    unet: MultiViewUNet, x: Tensor, sigma: Tensor, rays: Tensor, samples: Samples, *, kept: Tensor | None
) -> Float[Tensor, "kept c h w"]:
    """The network's guess of the clean latents."""
    seen = torch.cat([x * schedules.c_in(sigma), rays], dim=1)
    out = unet(seen, schedules.c_noise(sigma).expand(len(x)).to(x.device), samples, kept=kept)
    own = x if kept is None else x[kept]
    return out * schedules.c_out(sigma) + own * schedules.c_skip(sigma)
