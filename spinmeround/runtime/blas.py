"""Linear algebra in one thread, so that sums do not depend on how many cores a machine has.

OpenBLAS cuts products and factorisations by its number of threads, and the order of their sums with them. The matrices
here are small: one thread is as fast.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl

_lock = threading.Lock()
_users = 0
_limits: Any = None
"""What restores the threads that were there; None while nobody limits them."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread in this process until the last of those who asked for it leaves."""
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own, and only what is loaded can be limited

    global _users, _limits
    with _lock:
        if _users == 0:
            _take_control()
            _limits = threadpoolctl.ThreadpoolController().select(user_api="blas").limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _take_control()
                _limits.restore_original_limits()
                _take_control()


def _take_control() -> None:
    """Let this thread set limits: threadpoolctl obeys the first thread that did, and no other without a word."""
    release = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)  # since 3.8
    if release is not None:
        release(force=True)
