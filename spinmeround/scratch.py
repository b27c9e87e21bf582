"""Allocation of large arrays: in memory where they fit, else in temporary files that the system pages in and out."""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile

import numpy as np
import psutil
from jaxtyping import Float

from spinmeround.errors import ResourceError

log = logging.getLogger(__name__)

_MEMORY_FRACTION = 0.4
"""Fraction of the free memory that the arrays of one call may take; the code that works on them needs the rest."""
_SPARE_BYTES = 2**30
"""Bytes that are left free on the disk."""


def planes(*shapes: tuple[int, ...]) -> list[Float[np.ndarray, "..."]]:
    """Allocate zeroed float32 arrays, all in memory or all in temporary files, which are deleted with them.

    Raises:
        ResourceError: neither memory nor disk has room.
    """
    needed = 4 * sum(math.prod(shape) for shape in shapes)
    free = psutil.virtual_memory().available
    if needed <= _MEMORY_FRACTION * free:
        return [np.zeros(shape, np.float32) for shape in shapes]
    folder = _folder()
    disk = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > disk:
        raise ResourceError(
            f"the pictures need {needed / 2**30:.1f} GB; {free / 2**30:.1f} GB of memory are free, and on the disk of "
            f"{folder} {disk / 2**30:.1f} GB; fit fewer or smaller pictures, or name another disk: TMPDIR=/path"
        )
    log.info("%.1f GB of pictures are kept in temporary files: memory has %.1f GB free", needed / 2**30, free / 2**30)
    return [_on_disk(shape, folder) for shape in shapes]


def _folder() -> str:
    """Return the folder for large temporary files; the system's usual one often lies in memory."""
    large = "/var/tmp"
    return large if "TMPDIR" not in os.environ and os.access(large, os.W_OK) else tempfile.gettempdir()


def _on_disk(shape: tuple[int, ...], folder: str) -> Float[np.ndarray, "..."]:
    """Map a deleted temporary file of zeros into memory."""
    with tempfile.TemporaryFile(dir=folder) as file:
        reserved = hasattr(os, "posix_fallocate")
        if reserved:  # else writing to a full disk would end the program by a signal
            os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
        return np.asarray(np.memmap(file, np.float32, mode="r+" if reserved else "w+", shape=shape))
