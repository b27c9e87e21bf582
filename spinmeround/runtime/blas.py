"""Linear algebra in one thread, so that sums do not depend on how many cores a machine has.

OpenBLAS cuts products and factorisations by its number of threads, and the order of their sums with them. The matrices
here are small: one thread is as fast.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_users = 0
_limits: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread in this process until the last of those who asked for it leaves."""
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own, and only what is loaded can be limited

    global _users, _limits
    with _lock:
        _users += 1
        if _users == 1:
            _limits = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limits is not None:
                _limits.restore_original_limits()
                _limits = None
