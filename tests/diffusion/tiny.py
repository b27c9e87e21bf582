"""A checkpoint laid out as the published one, small enough to run in tests; its weights are random and mean nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spinmeround.diffusion.model import checkpoint
from spinmeround.diffusion.model.architecture import from_published

TEXT_ENCODER = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
CONFIG: dict[str, Any] = {
    "model": {
        "params": {
            "scale_factor": 0.18215,
            "network_config": {
                "params": {
                    "in_channels": 153,
                    "out_channels": 8,
                    "model_channels": 32,
                    "attention_resolutions": [1, 2],
                    "num_res_blocks": 1,
                    "channel_mult": [1, 2, 2],
                    "num_heads": 2,
                    "context_dim": 512,
                }
            },
            "first_stage_config": {
                "params": {
                    "embed_dim": 4,
                    "ddconfig": {"in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
                }
            },
        }
    },
    "text_encoder": TEXT_ENCODER,
}


def tensors(config: Mapping[str, Any] = CONFIG, *, seed: int = 0) -> dict[str, Tensor]:
    """Keys and shapes as the published code would save them, 16-bit."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    look = from_published(config)
    with torch.random.fork_rng(), torch.inference_mode(False):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**look.unet).state_dict()
        vae = AutoencoderKL(**look.vae).state_dict()
        encoder = CLIPTextModel(CLIPTextConfig(**look.text_encoder)).state_dict()
    found = {name: unet[key] for key, name in checkpoint.unet_names(unet, blocks=look.unet["layers_per_block"]).items()}
    for key, name in checkpoint.vae_names(vae, levels=len(look.vae["block_out_channels"])).items():
        pointwise = ".attn_1." in name and vae[key].ndim == 2
        found[name] = vae[key][:, :, None, None] if pointwise else vae[key]
    prefix = checkpoint.TEXT_PREFIX + "encoder.text_model."
    found |= {prefix + name: encoder[key] for key, name in checkpoint.text_names(encoder).items()}
    return {key: value.half() for key, value in found.items()}


def write(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any] = CONFIG) -> tuple[Path, Path]:
    """Paths of a checkpoint and of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": dict(state)}, folder / "spmr.ckpt")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder / "spmr.ckpt", folder / "config.json"
