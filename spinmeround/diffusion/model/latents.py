"""The autoencoder: pictures to latents and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


class LatentCodec:
    """An ``AutoencoderKL`` that draws no noise of its own. Computes in float32, one picture at a time.

    Attributes:
        channels: of the latents of one picture.
        downscale: pixels of a picture per latent, along one side.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        self.network = vae
        self.channels = int(vae.config["latent_channels"])
        self.downscale = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self._scale = float(vae.config["scaling_factor"])

    def encode(
        self, pictures: Float[Tensor, "n 3 height width"], *, noise: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Draw latents from the posterior, scaled.

        Args:
            pictures: in [-1, 1].
            noise: standard normal; it makes the draw.
        """
        device = next(self.network.parameters()).device
        posteriors = [self.network.encode(one[None].to(device), return_dict=False)[0] for one in pictures]
        mean, deviation = (torch.cat([getattr(p, name) for p in posteriors]) for name in ("mean", "std"))
        return self._scale * (mean + deviation * noise.to(device))

    def decode(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 height width"]:
        """Decode pictures, roughly in [-1, 1]."""
        device = next(self.network.parameters()).device
        return torch.cat([self._decoded(one[None].to(device) / self._scale) for one in latents])

    def _decoded(self, latents: Any) -> Tensor:
        return self.network.decode(latents, return_dict=False)[0]
