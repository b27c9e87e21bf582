"""Compiled kernels over ranges of work, in a few Python threads.

A serial kernel that releases the interpreter lock compiles in a third of the time of one with ``parallel=True``, which
is what a first run on a new machine mostly waits for, and does not depend on which threading layer numba finds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numba.core import config

_RANGES_PER_THREAD = 4
"""More than one, so that threads that finish early take over from the others."""


def over_ranges(count: int, kernel: Callable[..., None], *arguments: Any) -> None:
    """Call ``kernel(first, end, *arguments)`` for ranges that together are those from 0 to ``count``.

    The result must not depend on how they are cut: no two items may write to the same place.

    Args:
        kernel: compiled with ``nogil=True``.
    """
    # Asked of its configuration, numba starts no threads of its own.
    threads: int = vars(config)["NUMBA_NUM_THREADS"]
    ranges = min(count, threads * _RANGES_PER_THREAD)
    if threads == 1 or ranges < 2:
        kernel(0, count, *arguments)
        return
    bounds = [count * part // ranges for part in range(ranges + 1)]
    with ThreadPoolExecutor(threads, thread_name_prefix="kernel") as pool:
        for future in [pool.submit(kernel, first, end, *arguments) for first, end in itertools.pairwise(bounds)]:
            future.result()
