"""The networks of one checkpoint: loading, saving, and the folder that diffusers and transformers open as well."""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinmeround.diffusion.inputs import IDENTITY_SIZE
from spinmeround.diffusion.model import architecture, checkpoint, text
from spinmeround.diffusion.model.architecture import Architecture
from spinmeround.errors import InputError, WeightsError
from spinmeround.io.atomic import atomic_folder

if TYPE_CHECKING:
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import Tensor
    from transformers import CLIPTextModel

log = logging.getLogger(__name__)

_INDEX = "model_index.json"
_CLASS = "SpinMeRoundPipeline"
_PARTS = {
    "unet": ("diffusers", "UNet2DConditionModel", "diffusion_pytorch_model.safetensors"),
    "vae": ("diffusers", "AutoencoderKL", "diffusion_pytorch_model.safetensors"),
    "text_encoder": ("transformers", "CLIPTextModel", "model.safetensors"),
}


@dataclass(frozen=True)
class Networks:
    """The three networks and the prompt of the text encoder."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    prompt: text.Prompt


def from_single_file(
    path: Path, *, config: Path | None = None, dtype: torch.dtype | None = None, unet_dtype: torch.dtype | None = None
) -> Networks:
    """Load the networks of a checkpoint laid out as the published one.

    Args:
        path: ``spmr.ckpt``. Beside it may lie ``models/encoder``, which has the text encoder's configuration and, if
            the checkpoint is without, its weights, and ``tokenizer``, if it does not use CLIP's own vocabulary.
        config: JSON or TOML laid out as the published inference configuration; default: that of the published model.
        dtype, unet_dtype: of the networks; default: as the checkpoint has them.

    Raises:
        WeightsError: a file is absent, cut short or wants to run code; keys are missing, too many or misshapen; a value
            is not finite.
        InputError: ``config`` cannot be read.
    """
    encoder = path.parent / "models" / "encoder"
    layout = _architecture(config, encoder / "config.json")
    tensors = checkpoint.read_pickle(path)
    prefixes = (checkpoint.UNET_PREFIX, checkpoint.VAE_PREFIX, checkpoint.TEXT_PREFIX)
    checkpoint.refuse_unknown(tensors, prefixes, source=path)

    unet, vae, text_encoder = _build(
        layout, InputError("the model configuration describes no networks that can be built")
    )
    names = checkpoint.unet_names(unet.state_dict(), blocks=layout.unet["layers_per_block"])
    part = checkpoint.with_prefix(tensors, checkpoint.UNET_PREFIX)
    checkpoint.assign(unet, part, names=names, source=path, dtype=unet_dtype)
    names = checkpoint.vae_names(vae.state_dict(), levels=len(layout.vae["block_out_channels"]))
    part = checkpoint.with_prefix(tensors, checkpoint.VAE_PREFIX)
    checkpoint.assign(vae, part, names=names, source=path, dtype=dtype)

    part = checkpoint.with_prefix(tensors, checkpoint.TEXT_PREFIX)
    part = {key.removeprefix(checkpoint.TEXT_PREFIX): value for key, value in part.items()}
    text_source = path if part else encoder
    _assign_text(text_encoder, part or _encoder_tensors(encoder, path), source=text_source, dtype=dtype)
    tokenizer = path.parent / "tokenizer"
    prompt = text.read_prompt(tokenizer) if tokenizer.is_dir() else text.PUBLISHED_PROMPT
    return _compatible(Networks(unet, vae, text_encoder, prompt), source=path)


def load(folder: Path, *, dtype: torch.dtype | None = None, unet_dtype: torch.dtype | None = None) -> Networks:
    """Load the networks of a folder that ``save`` made.

    Raises:
        WeightsError: it is no such folder, or a part of it is absent, cut short or does not fit the others.
    """
    index = _read_json(folder / _INDEX)
    if index.get("_class_name") != _CLASS:
        raise WeightsError(f"{folder} holds a {index.get('_class_name')}, not a {_CLASS}; make it with spmr-convert")
    try:
        prompt = text.Prompt(**{**index["sentence"], "words": tuple(index["sentence"]["words"])})
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / _INDEX} has no usable sentence ({error}); make it with spmr-convert") from error
    configs = {part: _public(_read_json(folder / part / "config.json")) for part in _PARTS}
    layout = Architecture(**configs)
    broken = WeightsError(
        f"the configurations in {folder} describe no networks; make the folder anew with spmr-convert"
    )
    unet, vae, text_encoder = _build(layout, broken)
    for network, part, kind in ((unet, "unet", unet_dtype), (vae, "vae", dtype)):
        own = {key: key for key in network.state_dict()}
        tensors = checkpoint.read_safetensors(folder / part)
        checkpoint.assign(network, tensors, names=own, source=folder / part, dtype=kind)
    place = folder / "text_encoder"
    _assign_text(text_encoder, checkpoint.read_safetensors(place), source=place, dtype=dtype)
    return _compatible(Networks(unet, vae, text_encoder, prompt), source=folder)


def save(networks: Networks, folder: Path) -> None:
    """Write a folder with ``model_index.json`` and one subfolder of configuration and safetensors per network.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
        ResourceError: the disk is full.
    """
    import diffusers
    from safetensors.torch import save_file

    parts = {name: getattr(networks, name) for name in _PARTS}
    size = sum(value.nbytes for network in parts.values() for value in network.state_dict().values())
    with atomic_folder(folder, may_replace=is_saved, needs_bytes=size) as unfinished:
        for name, network in parts.items():
            place = unfinished / name
            place.mkdir()
            tensors = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
            save_file(tensors, place / _PARTS[name][2], metadata={"format": "pt"})
            _write_json(place / "config.json", _config(network, _PARTS[name][1]))
        index = {
            "_class_name": _CLASS,
            "_diffusers_version": diffusers.__version__,
            **{name: [library, kind] for name, (library, kind, _) in _PARTS.items()},
            "sentence": asdict(networks.prompt),
        }
        _write_json(unfinished / _INDEX, index)


def _architecture(config: Path | None, encoder_config: Path) -> Architecture:
    encoder = _public(_read_json(encoder_config)) if encoder_config.is_file() else None
    if config is None:
        return architecture.published(text_encoder=encoder)
    try:
        words = config.read_text(encoding="utf-8")
        tables = tomllib.loads(words) if config.suffix == ".toml" else json.loads(words)
    except OSError as error:
        raise InputError(
            f"cannot read the model configuration {config}: {(error.strerror or str(error)).lower()}"
        ) from error
    except ValueError as error:
        raise InputError(f"the model configuration {config} is no JSON or TOML: {error}") from error
    if not isinstance(tables, dict):
        raise InputError(f"the model configuration {config} cannot be used: it is a {type(tables).__name__}, no table")
    return architecture.from_published(tables.get("inference_config", tables), text_encoder=encoder)


def _build(
    layout: Architecture, error_if_not: InputError | WeightsError
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """Build the networks without weights; raise ``error_if_not`` with the reason if they cannot be."""
    try:
        return architecture.build_unet(layout), architecture.build_vae(layout), architecture.build_text_encoder(layout)
    except Exception as error:  # each library has classes of its own for what it cannot build
        raise type(error_if_not)(f"{error_if_not} ({str(error) or type(error).__name__})") from error


def _assign_text(
    model: CLIPTextModel, tensors: Mapping[str, Tensor], *, source: Path, dtype: torch.dtype | None
) -> None:
    names = checkpoint.text_names(model.state_dict())
    checkpoint.assign(model, checkpoint.short_text_keys(tensors), names=names, source=source, dtype=dtype)


def _encoder_tensors(folder: Path, path: Path) -> Mapping[str, Tensor]:
    """Read the weights of the text encoder as Arc2Face publishes them, in a folder of their own."""
    if any(folder.glob("*.safetensors")):
        return checkpoint.read_safetensors(folder)
    if (folder / "pytorch_model.bin").is_file():
        return checkpoint.read_pickle(folder / "pytorch_model.bin")
    raise WeightsError(
        f"{path} is without a text encoder and so is {folder}: put Arc2Face's encoder there (config.json and "
        "pytorch_model.bin or model.safetensors)"
    )


def _compatible(networks: Networks, *, source: Path) -> Networks:
    """Return the networks once their sizes are checked against each other.

    Raises:
        WeightsError: they do not fit.
    """
    unet, vae, encoder = networks.unet.config, networks.vae.config, networks.text_encoder.config
    problems = []
    if unet["out_channels"] != 2 * vae["latent_channels"]:
        problems.append(f"the UNet's {unet['out_channels']} channels are not twice {vae['latent_channels']} latents")
    if unet["cross_attention_dim"] != encoder.hidden_size:
        problems.append(
            f"the UNet listens to width {unet['cross_attention_dim']}, the encoder has {encoder.hidden_size}"
        )
    if encoder.hidden_size < IDENTITY_SIZE:
        problems.append(f"an embedding of {IDENTITY_SIZE} does not fit into the encoder's {encoder.hidden_size}")
    if max(networks.prompt.words) >= encoder.vocab_size:
        problems.append(f"the sentence needs word {max(networks.prompt.words)} of a vocabulary of {encoder.vocab_size}")
    if problems:
        raise WeightsError(f"the parts of {source} do not fit each other: {'; '.join(problems)}")
    return networks


def _config(network: Any, kind: str) -> dict[str, Any]:
    """Return the network's configuration as its own library writes it."""
    if kind == "CLIPTextModel":
        return json.loads(network.config.to_json_string())
    return {"_class_name": kind, **_public(network.config)}


def is_saved(folder: Path) -> bool:
    """Check that a folder holds nothing but an earlier result of ``save``."""
    names = {entry.name for entry in folder.iterdir()}
    return names <= {_INDEX, *_PARTS} and _INDEX in names


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"no {path}; make the folder with: spmr-convert spmr.ckpt --out {path.parent}") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); make the folder anew with spmr-convert") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no table of settings; make the folder anew with spmr-convert")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
