"""Reading weight files: without running code in them, with keys renamed and every key checked."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.errors import WeightsError, is_out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "conditioner.embedders.0."
_MAX_KEYS_NAMED = 4
"""How many keys an error names."""
_IS_IT_PUBLISHED = "is it the published checkpoint? One of another shape needs a configuration (config)"

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.ckpt`` or ``.bin`` file, mapped into memory where its format allows.

    Raises:
        WeightsError: absent, cut short, no checkpoint, or a pickle that wants to run code.
    """
    import pickle

    try:
        _check_is_pickle(path)
        return _tensors(_unpickled(path), path)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise _damaged(path, error) from error
        named = re.search(r"GLOBAL (\S+)", str(error))
        more = f" ({named[1]})" if named else ""
        raise WeightsError(
            f"{path} holds more than tensors{more}, which could run code when opened; it was not opened. Get the file "
            "from its publisher again"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise _damaged(path, error) from error
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error


def read_safetensors(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of the ``.safetensors`` files of a folder.

    Raises:
        WeightsError: there are none, or one cannot be read.
    """
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in _safetensors_files(folder):
        with _reading_safetensors(file):
            tensors |= load_file(file)
    return tensors


def count_numbers(path: Path) -> int:
    """Count the numbers in all tensors of a checkpoint, or of the subfolders of a folder.

    Raises:
        WeightsError: as when they are read.
    """
    from safetensors import safe_open

    if not path.is_dir():
        return sum(value.numel() for value in read_pickle(path).values())
    total = 0
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        for file in _safetensors_files(folder):
            with _reading_safetensors(file), safe_open(file, framework="pt") as opened:
                total += sum(math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
    return total


def assign(
    module: Module,
    tensors: Mapping[str, Tensor],
    *,
    names: Mapping[str, str],
    source: Path | str,
    dtype: torch.dtype | None = None,
) -> None:
    """Assign a network its weights, every one of them and no other.

    Args:
        module: a network without weights.
        tensors: by the names of the file; a 1 × 1 convolution may stand for the linear layer it is.
        names: the network's own key to the file's.
        source: for messages.
        dtype: of the network; default: as the file has it.

    Raises:
        WeightsError: keys are missing, too many or of another shape, or values are not finite; the first few are named.
    """
    import torch

    wanted = {names[key]: (key, value.shape) for key, value in module.state_dict().items()}
    _refuse(source, "lacks", [key for key in wanted if key not in tensors])
    _refuse(source, "has unknown", [key for key in tensors if key not in wanted])
    given = {key: _as_linear(tensors[key], shape) for key, (_, shape) in wanted.items()}
    _refuse(
        source,
        "has another shape at",
        [
            f"{key} ({list(given[key].shape)}, not {list(shape)})"
            for key, (_, shape) in wanted.items()
            if given[key].shape != shape
        ],
    )
    whole = [key for key, value in given.items() if not value.is_floating_point()]
    _refuse(source, "has whole numbers instead of fractions at", whole)
    spoilt = [key for key, value in given.items() if not torch.isfinite(value).all()]
    _refuse(source, "has NaN or infinity at", spoilt, advice="download or copy it again")
    own = {key: given[name].to(dtype) for name, (key, _) in wanted.items()}
    module.load_state_dict(own, strict=True, assign=True)
    module.requires_grad_(False)


def unet_names(keys: Iterable[str], *, blocks: int) -> dict[str, str]:
    """Map keys of diffusers' UNet to those of the published one, prefix included.

    Args:
        blocks: residual blocks per level.
    """
    keys = list(keys)
    return {key: UNET_PREFIX + _unet_name(key, blocks, keys) for key in keys}


def vae_names(keys: Iterable[str], *, levels: int) -> dict[str, str]:
    """Map keys of diffusers' autoencoder to those of the published one, prefix included."""
    return {key: VAE_PREFIX + _vae_name(key, levels) for key in keys}


def text_names(keys: Iterable[str]) -> dict[str, str]:
    """Map keys of this transformers' text encoder to the shortest form; ``short_text_keys`` does it for files."""
    return {key: key.removeprefix("text_model.") for key in keys}


def short_text_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a CLIP text encoder as transformers 4 (``text_model.*``), 5, or a wrapper saved them.

    ``position_ids``, which old versions stored, is not learnt and is left out.
    """
    short = {re.sub(r"^(encoder\.)?text_model\.", "", key): value for key, value in tensors.items()}
    return {key: value for key, value in short.items() if key != "embeddings.position_ids"}


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors whose keys begin with a prefix."""
    return {key: value for key, value in tensors.items() if key.startswith(prefix)}


def refuse_unknown(tensors: Mapping[str, Tensor], prefixes: tuple[str, ...], *, source: Path | str) -> None:
    """Check that every key belongs to some network.

    Raises:
        WeightsError: one does not; the first few are named.
    """
    _refuse(source, "has unknown", [key for key in tensors if not key.startswith(prefixes)])


def _unet_name(key: str, blocks: int, keys: list[str]) -> str:
    stem, kind = key.rsplit(".", 1)
    if stem in _UNET_ENDS:
        return f"{_UNET_ENDS[stem]}.{kind}"
    side, *rest = key.split(".")
    if side == "mid_block":
        place = ".".join(key.split(".")[:3])
        return f"{_UNET_ENDS[place]}.{_inner(key.split('.')[3:], _RESNET)}"
    level, part, index, inner = int(rest[0]), rest[1], int(rest[2]), rest[3:]
    per_level = blocks + 1
    if side == "down_blocks":
        if part == "downsamplers":
            return f"input_blocks.{(level + 1) * per_level}.0.op.{kind}"
        return f"input_blocks.{1 + level * per_level + index}.{int(part == 'attentions')}.{_inner(inner, _RESNET)}"
    if part == "upsamplers":
        attends = any(other.startswith(f"up_blocks.{level}.attentions.") for other in keys)
        return f"output_blocks.{level * per_level + blocks}.{1 + attends}.conv.{kind}"
    return f"output_blocks.{level * per_level + index}.{int(part == 'attentions')}.{_inner(inner, _RESNET)}"


def _vae_name(key: str, levels: int) -> str:
    coder, *rest = key.split(".")
    if rest[0] in ("down_blocks", "up_blocks"):
        level = int(rest[1]) if rest[0] == "down_blocks" else levels - 1 - int(rest[1])
        side = rest[0].removesuffix("_blocks")
        if rest[2] == "resnets":
            return f"{coder}.{side}.{level}.block.{rest[3]}.{_inner(rest[4:], {'conv_shortcut': 'nin_shortcut'})}"
        return f"{coder}.{side}.{level}.{side}sample.conv.{rest[-1]}"
    if rest[0] == "mid_block":
        if rest[1] == "attentions":
            return f"{coder}.mid.attn_1.{_inner(rest[3:], _VAE_ATTENTION)}"
        return f"{coder}.mid.block_{int(rest[2]) + 1}.{_inner(rest[3:], {'conv_shortcut': 'nin_shortcut'})}"
    if rest[0] == "conv_norm_out":
        return f"{coder}.norm_out.{rest[1]}"
    return key


def _inner(parts: list[str], renamed: Mapping[str, str]) -> str:
    """Rename a key inside a block; what is not in ``renamed`` has the same name on both sides."""
    stem, kind = ".".join(parts[:-1]), parts[-1]
    return f"{renamed.get(stem, stem)}.{kind}"


def _check_is_pickle(path: Path) -> None:
    """Check the first bytes of a file, for a plainer message than a pickle's errors.

    Raises:
        WeightsError: it is absent, a folder, or neither a zip nor a pickle, which is what torch writes.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; give the checkpoint itself, such as {path / 'spmr.ckpt'}")
    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}; save the published one there, or give the path it has")
    with path.open("rb") as file:
        first = file.read(40)
    if not first:
        raise WeightsError(f"{path} is empty (0 bytes); download or copy it again")
    if not first.startswith((b"PK", b"\x80")):
        shown = first.decode("ascii", errors="replace")
        what = (
            f"a text that begins with {shown.split(chr(10))[0]!r}"
            if shown.isprintable() or "\n" in shown
            else "neither zip nor pickle"
        )
        raise WeightsError(f"{path} is no checkpoint ({what}); download the published file itself again")


def _unpickled(path: Path) -> object:
    """Load a file with torch without running code in it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unusual pickles, which are read or refused all the same
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
        return torch.load(path, map_location="cpu", weights_only=True)


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} is cut short or damaged ({_first_line(error)}); download or copy it again")


def _safetensors_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"no .safetensors file in {folder}; make the folder anew with spmr-convert")
    return files


@contextmanager
def _reading_safetensors(file: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(f"{file} cannot be read ({_first_line(error)}); make it anew with spmr-convert") from error


def _as_linear(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    is_pointwise = value.ndim == 4 and value.shape[2:] == (1, 1) and len(shape) == 2
    return value[:, :, 0, 0] if is_pointwise else value


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    import torch

    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(tensors, dict) or not tensors:
        raise WeightsError(
            f"{path} holds no state_dict: a {type(loaded).__name__} is no checkpoint; download the published one again"
        )
    strange = [str(key) for key, value in tensors.items() if not isinstance(value, torch.Tensor)]
    _refuse(path, "has something other than tensors at", strange)
    _refuse(path, "has names that are no text:", [str(key) for key in tensors if not isinstance(key, str)])
    return tensors


def _refuse(source: Path | str, verdict: str, keys: list[str], *, advice: str = _IS_IT_PUBLISHED) -> None:
    if keys:
        more = f" and {len(keys) - _MAX_KEYS_NAMED} more" if len(keys) > _MAX_KEYS_NAMED else ""
        raise WeightsError(f"{source} {verdict} {', '.join(keys[:_MAX_KEYS_NAMED])}{more}; {advice}")


def _first_line(error: Exception) -> str:
    words = str(error).strip() or type(error).__name__
    return re.split(r"\n|\. ", words)[0][:200]
