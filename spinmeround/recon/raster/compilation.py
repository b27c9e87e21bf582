"""Compile the splat kernels ahead of the first call, for one signature each, without the interpreter lock.

Explicit signatures mean that nothing is ever compiled again for another dtype or memory layout: a wrong array is a
``TypeError`` at once instead of ten silent seconds. The kernels are serial and release the interpreter lock; the
rasteriser hands ranges of work to a few Python threads. That compiles several times faster than numba's own
``parallel=True`` and does not depend on which threading layer numba finds.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from spinmeround import types

_log = logging.getLogger(__name__)

# Reassociation and contraction let a row of sixteen pixels become vector code. "nnan" and "ninf" stay out: they would
# allow the compiler to drop the very comparisons that keep NaN splats out of the picture.
_FAST_ROWS = {"reassoc", "contract", "nsz", "arcp"}

_SOURCES = [*sorted(Path(__file__).parent.glob("*.py")), Path(types.__file__)]
"""Files whose functions and constants the kernels are made of; ``types`` has the constant of SH degree 0."""
_SOURCES_HASH = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:12]
"""Part of the cache's file names: numba looks for changes in a kernel's own file only."""


def compiled(signature: str, *, fast_rows: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles for one signature now, or loads the result from the cache.

    numba keeps its cache beside the source, or in the user's cache folder where that cannot be written; where
    neither can, the kernel is compiled anew in each process and the log says so.

    Args:
        fast_rows: allow sums to be reordered within a row of pixels, at compile time, so still reproducible.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": _FAST_ROWS if fast_rows else False,
    }

    def compile_now(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__qualname__ += f"_{_SOURCES_HASH}"  # numba names its cache files so
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _log.warning("no writable cache folder, compiling %s for this process only", function.__name__)
            return numba.njit(signature, **options)(function)

    return compile_now
