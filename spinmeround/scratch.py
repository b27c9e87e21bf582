"""Large arrays: in memory where they fit well, else in a temporary file that the system pages in and out."""

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

_log = logging.getLogger(__name__)

SHARE_OF_MEMORY = 0.4
"""Of the free memory, that all the arrays of one purpose may take; what works on them needs its own."""
_SPARE_BYTES = 2**30
"""Left free on the disk."""


def planes(*shapes: tuple[int, ...]) -> list[Float[np.ndarray, "..."]]:
    """Zeroed float32 arrays for one purpose, all in memory or all in temporary files, which vanish with them.

    Raises:
        ResourceError: neither memory nor disk has room.
    """
    needed = 4 * sum(math.prod(shape) for shape in shapes)
    free = psutil.virtual_memory().available
    if needed <= SHARE_OF_MEMORY * free:
        return [np.zeros(shape, np.float32) for shape in shapes]
    folder = _folder()
    disk = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > disk:
        raise ResourceError(
            f"the pictures need {needed / 2**30:.1f} GB; {free / 2**30:.1f} GB of memory are free, and on the disk of "
            f"{folder} {disk / 2**30:.1f} GB; fit fewer or smaller pictures, or name another disk: TMPDIR=/path"
        )
    _log.info("%.1f GB of pictures are kept in temporary files: memory has %.1f GB free", needed / 2**30, free / 2**30)
    return [_on_disk(shape, folder) for shape in shapes]


def _folder() -> str:
    """Where systems keep large temporary files: their usual folder often lies in memory itself."""
    large = "/var/tmp"
    return large if "TMPDIR" not in os.environ and os.access(large, os.W_OK) else tempfile.gettempdir()


def _on_disk(shape: tuple[int, ...], folder: str) -> Float[np.ndarray, "..."]:
    with tempfile.TemporaryFile(dir=folder) as file:
        reserved = hasattr(os, "posix_fallocate")
        if reserved:  # a hole in the file that the disk cannot fill ends the program
            os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
        return np.asarray(np.memmap(file, np.float32, mode="r+" if reserved else "w+", shape=shape))
