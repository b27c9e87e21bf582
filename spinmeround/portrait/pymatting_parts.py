"""The functions of pymatting that mattes need, without those that are not needed.

pymatting compiles some thirty kernels when it is imported for the first time on a machine, which takes most of a
minute. The modules that are used compile four and import nothing else of the package.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def cf_laplacian() -> Callable[..., Any]:
    """Return the function that builds the closed-form matting Laplacian."""
    with _empty_package("pymatting", "laplacian"):
        from pymatting.laplacian.cf_laplacian import cf_laplacian
    return cf_laplacian


def estimate_foreground_ml() -> Callable[..., Any]:
    """Return the function that estimates the foreground's colours on several levels."""
    with _empty_package("pymatting", "foreground"):
        from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml
    return estimate_foreground_ml


@contextmanager
def _empty_package(package: str, inner: str) -> Iterator[None]:
    """Let modules of `package.inner` be imported without running what the two packages import by themselves.

    Nothing is changed where the package is imported already, or cannot be found.
    """
    found = None if package in sys.modules else importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        yield
        return
    root = found.submodule_search_locations[0]
    stand_ins = {package: root, f"{package}.{inner}": f"{root}/{inner}"}
    for name, path in stand_ins.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [path]
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
