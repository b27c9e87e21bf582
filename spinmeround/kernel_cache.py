"""Where compiled kernels are kept when neither this package nor the user's home can be written.

Numba refuses to define a kernel that it is to cache and cannot, so that in a container with a read-only package and no
home nothing would run. There the kernels go into a private temporary folder, compiled anew by each process: a folder
with a fixed name could be filled by others, and cached kernels are code.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def keep_kernels_somewhere() -> None:
    """Point numba to a temporary folder if it could write nowhere else; to be called before numba is imported."""
    if _VARIABLE in os.environ or os.access(Path(__file__).parent, os.W_OK) or _home_can_be_written():
        return
    folder = tempfile.mkdtemp(prefix="spinmeround-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_VARIABLE] = folder


def _home_can_be_written() -> bool:
    """Whether the user's cache folder exists or could be made, as numba would."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home at all
        return False
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
