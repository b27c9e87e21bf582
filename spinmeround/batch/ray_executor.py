"""Heads as Ray tasks: where they run, what they are given, and what becomes of those whose process or node dies.

A Ray worker process makes one head at a time and then the next, so that libraries, models and compiled kernels are
loaded once, and yet a crash takes one head with it: Ray starts another worker and tries the head again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from spinmeround.batch.head import Head, Recipe, Row
from spinmeround.batch.needs import memory_mb
from spinmeround.batch.work import make_head, started_row
from spinmeround.errors import InputError, MissingDependencyError, ResourceError

log = logging.getLogger(__name__)

_WAITING_PER_SLOT = 2
"""Heads handed to Ray for each that can run: nobody waits for the driver, and memory stays the same."""
_WAIT_S = 1.0
_ANSWER_S = 10.0
_STORE_BYTES = 100 * 2**20
"""For Ray's own store of objects, which rows hardly use; by default it takes 30 % of the memory."""


@dataclass(frozen=True)
class RayOptions:
    """Where and how heads run.

    Attributes:
        address: of a running cluster, ``auto`` or ``HOST:PORT``; by default a Ray of this machine alone, with all its
            cores.
        cpus_per_head: cores that each head is given.
        memory_mb: that each head is given; by default what its quality and formats need.
        retries: how often a head is tried again after its process or node died.
    """

    address: str | None = None
    cpus_per_head: int = 1
    memory_mb: int | None = None
    retries: int = 3


class RayExecutor:
    """Makes heads on Ray.

    Args:
        work: makes one head, in a worker process.
    """

    def __init__(self, options: RayOptions | None = None, *, work: Callable[[Head, Recipe], Row] = make_head) -> None:
        self._options, self._work = options or RayOptions(), work
        check_installed()

    def __call__(self, heads: Iterable[Head], recipe: Recipe) -> Generator[Row, None, None]:
        """Yield the row of each head as it ends; without heads, start no Ray.

        Raises:
            InputError: no cluster at the address.
            ResourceError: no node has what one head needs.
        """
        coming = iter(heads)
        first = next(coming, None)
        if first is None:
            return
        with _connected(self._options.address) as ray:
            memory_bytes = (self._options.memory_mb or memory_mb(recipe)) * 2**20
            needs = {"num_cpus": self._options.cpus_per_head, "memory": memory_bytes}
            if recipe.settings.device == "cuda":
                needs["num_gpus"] = 1
            _check_nodes(ray, needs)
            task = ray.remote(self._work).options(
                **needs,
                max_retries=self._options.retries,
                name="head",
                runtime_env={"env_vars": _threads(self._options.cpus_per_head)},
            )
            yield from _run(ray, task, chain([first], coming), recipe, self._options.cpus_per_head)


def check_installed(names: Sequence[str] = ("ray", "pyarrow")) -> None:
    """Check that packages of the extra ``ray`` are there.

    Raises:
        MissingDependencyError: one is not.
    """
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'a batch needs {" and ".join(missing)}, which is not installed: pip install "spinmeround[ray]"'
        )


def _threads(cpus_per_head: int) -> dict[str, str]:
    """Return how many threads each library has in a worker; the bytes of a head do not depend on it."""
    own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(cpus_per_head))
    return {**own, "OPENBLAS_NUM_THREADS": "1"}


def _run(ray: Any, task: Any, heads: Iterable[Head], recipe: Recipe, cpus_per_head: int) -> Iterator[Row]:
    coming, recipe_ref = iter(heads), ray.put(recipe)
    waiting: dict[Any, Head] = {}
    try:
        while True:
            slots = int(ray.cluster_resources().get("CPU", 0) // cpus_per_head)  # nodes come and go
            for head in islice(coming, max(0, _WAITING_PER_SLOT * max(1, slots) - len(waiting))):
                waiting[task.remote(head, recipe_ref)] = head
            if not waiting:
                return
            ray.wait(list(waiting), num_returns=1, timeout=_WAIT_S)
            ended, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
            for each in ended:
                head = waiting.pop(each)
                yield _row_of(ray, each, head, recipe)
    finally:
        for each in waiting:
            ray.cancel(each, force=True)


def _row_of(ray: Any, ended: Any, head: Head, recipe: Recipe) -> Row:
    """Return the row of a task, which may have died of what no row can be written of."""
    try:
        return ray.get(ended)
    except ray.exceptions.RuntimeEnvSetupError:
        raise  # no head could be made
    except ray.exceptions.OutOfMemoryError:
        kind, said = "OutOfMemory", "its node had no memory left; give heads more with --memory-mb"
    except ray.exceptions.WorkerCrashedError:
        kind, said = "Crashed", "its process ended without a word, each time it was tried"
    except ray.exceptions.RayError as error:
        kind, said = type(error).__name__, " ".join(str(error).split())[:300]
    return replace(started_row(head, recipe), error_kind=kind, error=said)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Yield Ray, connected; a Ray that was there before stays.

    Raises:
        InputError: no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent from here
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_task_oom_retries", "3")  # for ever by default
    import ray

    if ray.is_initialized():
        yield ray
        return
    _check_address(address)
    local: dict[str, Any] = {"object_store_memory": _STORE_BYTES} if address is None else {}
    try:
        with _own_sigterm():
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster at {address}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Put back the handler of SIGTERM that Ray replaces by its own; where there was none, Ray's may stay."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before not in (None, signal.SIG_DFL, signal.getsignal(signal.SIGTERM)):
            signal.signal(signal.SIGTERM, before)


def _check_address(address: str | None) -> None:
    """Check that somebody answers at ``HOST:PORT``; Ray would ask for minutes, and then end the process.

    Raises:
        InputError: nobody does.
    """
    host, _, port = (address or "").rpartition(":")
    if not port.isdigit():
        return  # this machine, auto, or a URL of Ray's own
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster at {address}: {error}; ray start --head on its first node tells it"
        ) from error


def _check_nodes(ray: Any, needs: dict[str, Any]) -> None:
    """Check that a head fits some node, else it would wait for ever.

    Raises:
        ResourceError: it does not.
    """
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(names[need], 0) >= much for need, much in needs.items()) for node in nodes):
        gigabytes = [f"{node.get('CPU', 0):.0f} cores and {node.get('memory', 0) / 2**30:.1f} GB" for node in nodes]
        raise ResourceError(
            f"a head needs {needs['num_cpus']} cores{' and a GPU' * ('num_gpus' in needs)} and "
            f"{needs['memory'] / 2**30:.1f} GB, and no node has that ({'; '.join(gigabytes[:5])}); "
            "use a lower quality, or give heads less with --memory-mb"
        )
