"""Convert the published checkpoint to a folder of safetensors that diffusers and transformers open as well."""

from __future__ import annotations

from pathlib import Path

from spinmeround.diffusion.model import networks
from spinmeround.errors import ResourceError, is_out_of_memory
from spinmeround.io.atomic import check_folder


def convert(checkpoint: Path, out: Path, *, config: Path | None = None) -> None:
    """Read a checkpoint laid out as the published one and write it as a folder of safetensors.

    Args:
        checkpoint: see ``networks.from_single_file``; its tensors keep their precision.
        out: a folder; replaced if it is empty or an earlier result of this.
        config: how the networks look; default: as the published ones.

    Raises:
        WeightsError: the checkpoint is absent, or is not what it should be.
        InputError: ``config`` cannot be read.
        OutputError: ``out`` holds something else, or cannot be written.
        ResourceError: the disk is full, or memory is.
    """
    check_folder(out, may_replace=networks.is_saved)
    try:
        networks.save(networks.from_single_file(checkpoint, config=config), out)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        size = checkpoint.stat().st_size / 1e9
        raise ResourceError(
            f"not enough memory to convert {checkpoint}: it needs {size:.1f} GB; close other programs"
        ) from error
