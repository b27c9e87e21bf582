"""Device, precision and memory of the networks, and what to change when they do not fit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from spinmeround.diffusion.inputs import LEAST_VIEWS_AT_ONCE
from spinmeround.errors import ResourceError, is_out_of_memory

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class DevicePlacement:
    """Device and precision of the networks, and what saves memory. The defaults give the published model's numbers.

    Attributes:
        device: as torch names it.
        precision: of the UNet, which is nearly all of the work. ``bfloat16`` halves its memory and is faster wherever
            the processor knows it; results move by about 3 % of the latents' spread. ``float16`` is for CUDA only. The
            sampler, the autoencoder and the text encoder stay in float32.
        offload: networks stay in main memory and are moved to the device one at a time: the same result, less memory
            on the device, some seconds per move.
        tiled_vae: the autoencoder works in overlapping tiles: less memory, faint differences along their borders.
        compiled: the UNet's blocks go through ``torch.compile``: faster steps after minutes of compiling, other
            rounding. Needs a C++ compiler.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    offload: bool = False
    tiled_vae: bool = False
    compiled: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the UNet as a dtype."""
        return getattr(torch, self.precision)


def place_text_encoder(encoder: CLIPTextModel, placement: DevicePlacement) -> None:
    """Place the text encoder."""
    _move(encoder, placement)


def place_vae(vae: AutoencoderKL, placement: DevicePlacement) -> None:
    """Place the autoencoder."""
    if placement.tiled_vae:
        vae.enable_tiling()
    _move(vae, placement)


def place_unet(unet: UNet2DConditionModel, placement: DevicePlacement) -> None:
    """Place and, if asked, compile the UNet."""
    from diffusers.models.attention import FeedForward
    from diffusers.models.resnet import ResnetBlock2D

    _move(unet, placement)
    if placement.compiled:
        for module in unet.modules():
            if isinstance(module, ResnetBlock2D | FeedForward):
                module.compile(dynamic=True)


@contextmanager
def on_device(network: torch.nn.Module, placement: DevicePlacement) -> Iterator[None]:
    """Move a network to the device for the duration of the context, if it is offloaded."""
    if not placement.offload:
        yield
        return
    network.to(placement.device)
    try:
        yield
    finally:
        network.to("cpu")


@contextmanager
def out_of_memory_explained(placement: DevicePlacement, *, views_at_once: int | None = None) -> Iterator[None]:
    """Turn the errors torch raises when memory runs out into one.

    Args:
        views_at_once: of the sampling; None while the networks are only loaded.

    Raises:
        ResourceError: memory ran out inside; the message says what to lower.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        where = "memory" if placement.device == "cpu" else f"memory on {placement.device}"
        raise ResourceError(
            f"not enough {where} for the diffusion model; {what_to_lower(placement, views_at_once)}"
        ) from error


def what_to_lower(placement: DevicePlacement, views_at_once: int | None) -> str:
    """Advise which settings would make the networks take less memory, by the names of their fields."""
    ways = []
    if views_at_once is not None and views_at_once > LEAST_VIEWS_AT_ONCE:
        ways.append(f"fewer views at once than {views_at_once} (views_at_once)")
    if placement.precision == "float32":
        ways.append("16 bits for the network (precision bfloat16)")
    if not placement.tiled_vae or not (placement.offload or placement.device == "cpu"):
        ways.append("one network and one tile at a time (offload, tiled_vae)")
    return f"try {', or '.join(ways)}" if ways else "close other programs"


def _move(network: torch.nn.Module, placement: DevicePlacement) -> None:
    network.to("cpu" if placement.offload else placement.device)
