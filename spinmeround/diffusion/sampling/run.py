"""One sampling run in the model's own terms: latents, angles and noise, drawn in the published order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Sampling
from spinmeround.diffusion.model.latents import LatentCodec
from spinmeround.diffusion.model.placement import DevicePlacement, on_device
from spinmeround.diffusion.model.pose_map import pose_maps
from spinmeround.diffusion.model.unet import MultiViewUNet
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.cost import Meter
from spinmeround.diffusion.sampling.loop import (
    ConditioningViews,
    Embeddings,
    Guidance,
    GuidedViews,
    PhotoNormals,
    integrate,
)

Noise = Callable[[tuple[int, ...]], Tensor]
"""Draws standard normal numbers of a shape, float32, on the CPU, from one generator."""


def seeded_noise(seed: int) -> Noise:
    """Make the noise of a seed: the same on every device, and the same as the published code's for that seed."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


class Run:
    """One run. Call the methods in the order they stand here: each draws its noise when called.

    Args:
        latent_size: height and width of the latents.
    """

    def __init__(
        self,
        unet: MultiViewUNet,
        codec: LatentCodec,
        *,
        placement: DevicePlacement,
        embeddings: Embeddings,
        sampling: Sampling,
        latent_size: tuple[int, int],
        noise: Noise,
        meter: Meter,
    ) -> None:
        self._unet = unet
        self._codec = codec
        self._placement = placement
        self._embeddings = embeddings
        self._sampling = sampling
        self._size = latent_size
        self._noise = noise
        self._meter = meter
        self._colours = codec.channels
        self._start = self._draw(2 * self._colours)

    def photo_normals(
        self, photos: Float[Tensor, "n 3 height width"], angles_deg: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n 3 height width"]:
        """Pass A: find pictures of the photos' normals in [-1, 1], each photo for itself.

        Args:
            photos: in [-1, 1].
            angles_deg: the model's own angles.
        """
        return torch.cat([self._normals_of(*one) for one in zip(photos.split(1), angles_deg.split(1), strict=True)])

    def photo_latents(
        self, photos: Float[Tensor, "n 3 height width"], normals: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n c h w"]:
        """Encode photos and their normals as latents of conditioning views."""
        pairs = zip(photos.split(1), normals.split(1), strict=True)
        return torch.cat([torch.cat([self._encode(photo), self._encode(normal)], dim=1) for photo, normal in pairs])

    def empty_latents(self, like: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "1 c h w"]:
        """Encode a picture of zeros, for colours and normals alike."""
        return self._encode(torch.zeros_like(like[:1])).repeat(1, 2, 1, 1)

    def views(
        self,
        known: Float[Tensor, "k c h w"],
        empty: Float[Tensor, "1 c h w"],
        *,
        known_angles_deg: Float[Tensor, "k 3"],
        angles_deg: Float[Tensor, "v 3"],
        message: str = "sampling views",
        after_step: Callable[[Tensor, Tensor], None] = lambda _x, _clean: None,
    ) -> Float[Tensor, "v c h w"]:
        """Passes B and C: sample latents of more views, all from the same noise.

        Args:
            known, known_angles_deg: views that are given.
            angles_deg: the model's own angles of the views to sample.
            message: for the progress.
        """
        denoise = GuidedViews(
            self._unet,
            known=ConditioningViews(known, self._rays(known_angles_deg), empty),
            rays=self._rays(angles_deg),
            embeddings=self._embeddings,
            guidance=Guidance.of(self._sampling),
        )

        def counted(x: Tensor, sigma: Tensor) -> Tensor:
            clean = denoise(x, sigma)
            self._meter(denoise.rows(sigma), message)
            return clean

        start = self._start.expand(len(angles_deg), -1, -1, -1)
        sigmas = schedules.levels(self._sampling)
        with on_device(self._unet.network, self._placement):
            return integrate(counted, start, sigmas, solver=self._sampling.solver, after_step=after_step)

    def decode(self, latents: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
        """Decode pictures of colours and of normals, ``[n, 3, height, width]``, roughly in [-1, 1], on the CPU."""
        with on_device(self._codec.network, self._placement):
            colours, normals = latents.split(self._colours, dim=1)
            return self._codec.decode(colours).cpu(), self._codec.decode(normals).cpu()

    def _normals_of(
        self, photo: Float[Tensor, "1 3 height width"], angles_deg: Float[Tensor, "1 3"]
    ) -> Float[Tensor, "1 3 height width"]:
        latents = self._encode(photo)
        start = self._draw(2 * self._colours)
        denoise = PhotoNormals(self._unet, photo=latents, rays=self._rays(angles_deg), cond=self._embeddings.cond)

        def counted(x: Tensor, sigma: Tensor) -> Tensor:
            clean = denoise(x, sigma)
            self._meter(1, "finding the photo's normals")
            return clean

        sigmas = schedules.ddpm_sigmas(self._sampling.normals_steps)
        with on_device(self._unet.network, self._placement):
            # The guidance toward the photo is tuned for Euler: it overshoots, and the next step corrects that.
            found = integrate(counted, start, sigmas, solver="euler")
        return self.decode(found)[1].clamp(-1, 1)

    def _encode(self, pictures: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 c h w"]:
        with on_device(self._codec.network, self._placement):
            return self._codec.encode(pictures, noise=self._draw(self._colours))

    def _draw(self, channels: int) -> Float[Tensor, "1 c h w"]:
        return self._noise((1, channels, *self._size)).to(self._placement.device)

    def _rays(self, angles_deg: Float[Tensor, "v 3"]) -> Float[Tensor, "v 144 h w"]:
        height, width = self._size
        return pose_maps(angles_deg, height=height, width=width).to(self._placement.device)
