"""TFLite models on the CPU: a small class from arrays to arrays."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from spinmeround import weights
from spinmeround.errors import WeightsError

PictureToMask = Callable[[Float[np.ndarray, "s s 3"]], Float[np.ndarray, "s s"]]
"""Turns a square RGB picture into a mask of its size."""


class TfliteModel:
    """One model with one input. Safe to share between threads; deterministic on one machine."""

    def __init__(self, content: bytes, *, keep_all_tensors: bool = False) -> None:
        """Load a model.

        Args:
            keep_all_tensors: whether ``tensors`` can read what lies between input and output; takes more memory.
        """
        from ai_edge_litert.interpreter import Interpreter

        self._lock = threading.Lock()
        with _native_stderr_silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keeping tensors: that is for debugging, and takes memory
            # One thread: these models take milliseconds, and results then do not depend on the number of cores.
            self._interpreter = Interpreter(
                model_content=content, num_threads=1, experimental_preserve_all_tensors=keep_all_tensors
            )
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        outputs = reversed(self._interpreter.get_output_details())
        self._outputs = {tuple(map(int, o["shape"])): o["index"] for o in outputs}

    def __call__(self, value: Float[np.ndarray, "..."]) -> dict[tuple[int, ...], Float[np.ndarray, "..."]]:
        """Run the model once.

        Args:
            value: the input without its leading batch axis.

        Returns:
            The outputs by their full shape; where two share a shape, the first.
        """
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(value[None], np.float32))
            self._interpreter.invoke()
            return {shape: self._interpreter.get_tensor(index) for shape, index in self._outputs.items()}

    def tensors(self, value: Float[np.ndarray, "..."], indices: Sequence[int]) -> dict[int, Float[np.ndarray, "..."]]:
        """Run the model once, loaded with ``keep_all_tensors``, and return the tensors of these indices."""
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(value[None], np.float32))
            self._interpreter.invoke()
            return {index: self._interpreter.get_tensor(index) for index in indices}


def load(name: str) -> TfliteModel:
    """Load the model file of that name in the weights registry.

    Raises:
        WeightsError: it is not to be had.
    """
    return TfliteModel(weights.path(name).read_bytes())


def load_bundle_member(name: str, member: str) -> bytes:
    """Read a file inside a ``.task`` bundle of the weights registry.

    Raises:
        WeightsError: the bundle is not to be had, or has no such member.
    """
    bundle: Path = weights.path(name)
    try:
        with zipfile.ZipFile(bundle) as archive:
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{bundle} has no {member}; delete it and run: spmr-weights fetch") from error


@contextlib.contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: the runtime writes there whatever the log level."""
    try:
        saved = os.dup(2)
    except OSError:  # no such descriptor: a windowed application
        yield
        return
    try:
        with Path(os.devnull).open("wb") as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
