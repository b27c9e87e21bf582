"""Configurations of the three networks: the published one translated to diffusers and transformers."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spinmeround.errors import InputError

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel

RAY_CHANNELS = 144
"""Channels of the ray encoding, see ``pose_map``."""


@dataclass(frozen=True)
class Architecture:
    """Keyword arguments of the networks' own classes.

    Attributes:
        unet: of ``diffusers.UNet2DConditionModel``.
        vae: of ``diffusers.AutoencoderKL``.
        text_encoder: of ``transformers.CLIPTextConfig``.
    """

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]


def published(*, text_encoder: Mapping[str, Any] | None = None) -> Architecture:
    """Return the configuration of the SpinMeRound paper.

    The UNet has 860 M parameters, the VAE 84 M, the text encoder 123 M.

    Args:
        text_encoder: the text encoder's own configuration; default: CLIP ViT-L/14's.
    """
    text = importlib.resources.files("spinmeround.configs").joinpath("spinmeround.toml").read_text(encoding="utf-8")
    return from_published(tomllib.loads(text), text_encoder=text_encoder)


def from_published(config: Mapping[str, Any], *, text_encoder: Mapping[str, Any] | None = None) -> Architecture:
    """Translate a configuration laid out as the published code's ``inference_config``.

    Args:
        config: nested tables; what does not concern the networks is ignored.
        text_encoder: the text encoder's own configuration; default: the table ``text_encoder`` of ``config``.

    Raises:
        InputError: a table or value is missing, or asks for something the published code's networks cannot be.
    """
    try:
        params = config["model"]["params"]
        unet = _unet(params["network_config"]["params"])
        vae = _vae(params["first_stage_config"]["params"], scale=float(params["scale_factor"]))
        text = dict(text_encoder if text_encoder is not None else config["text_encoder"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        wrong = f"has no {error}" if isinstance(error, KeyError) else f"cannot be used ({error})"
        raise InputError(
            f"the model configuration {wrong}; it should be laid out as the published inference configuration, with "
            "model.params.network_config and model.params.first_stage_config"
        ) from error
    if unet["in_channels"] != unet["out_channels"] + RAY_CHANNELS + 1:
        raise InputError(
            f"the model configuration asks for {unet['in_channels']} input and {unet['out_channels']} output channels; "
            f"inputs must be the outputs, {RAY_CHANNELS} of ray encoding and 1 of mask"
        )
    return Architecture(unet, vae, text)


def _unet(published: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the configuration of a ``MultiViewUNetModel`` to diffusers."""
    widths = [int(published["model_channels"]) * int(factor) for factor in published["channel_mult"]]
    levels = range(len(widths))
    attends = [2**level in published["attention_resolutions"] for level in levels]
    per_head = published.get("num_head_channels", -1)
    heads = published["num_heads"] if per_head == -1 else [width // per_head for width in widths]
    return {
        "sample_size": 64,
        "in_channels": published["in_channels"],
        "out_channels": published["out_channels"],
        "down_block_types": ["CrossAttnDownBlock2D" if attends[i] else "DownBlock2D" for i in levels],
        "up_block_types": ["CrossAttnUpBlock2D" if attends[i] else "UpBlock2D" for i in reversed(levels)],
        "block_out_channels": widths,
        "layers_per_block": int(published["num_res_blocks"]),
        "cross_attention_dim": published["context_dim"],
        # diffusers takes the number of heads under this name when it is given no other.
        "attention_head_dim": heads,
        "use_linear_projection": published.get("use_linear_in_transformer", False),
        "transformer_layers_per_block": published.get("transformer_depth", 1),
    }


def _vae(published: Mapping[str, Any], *, scale: float) -> dict[str, Any]:
    """Translate the configuration of latent diffusion's ``AutoencoderKL`` to diffusers."""
    shape = published["ddconfig"]
    levels = len(shape["ch_mult"])
    return {
        "in_channels": shape["in_channels"],
        "out_channels": shape["out_ch"],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [int(shape["ch"]) * int(factor) for factor in shape["ch_mult"]],
        "layers_per_block": shape["num_res_blocks"],
        "latent_channels": published["embed_dim"],
        "sample_size": 512,
        "scaling_factor": scale,
    }


def build_unet(architecture: Architecture) -> UNet2DConditionModel:
    """Build the UNet without weights: its parameters take no memory until a checkpoint is assigned."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(**architecture.unet).eval()


def build_vae(architecture: Architecture) -> AutoencoderKL:
    """Build the autoencoder without weights."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL(**architecture.vae).eval()


def build_text_encoder(architecture: Architecture) -> CLIPTextModel:
    """Build the text encoder without weights."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**architecture.text_encoder)).eval()
    # Position ids are not learnt, so that no checkpoint has them.
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            assert name == "position_ids", name
            module.register_buffer(name, torch.arange(buffer.shape[-1]).expand(1, -1), persistent=False)
    return model
