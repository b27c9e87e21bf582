"""The functions of pymatting that mattes need, without those that are not needed.

pymatting compiles some thirty kernels when it is imported for the first time on a machine, which takes most of a
minute. The modules that are used compile four and import nothing else of the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_LAPLACIAN, _FOREGROUND = "pymatting.laplacian.cf_laplacian", "pymatting.foreground.estimate_foreground_ml"


def cf_laplacian() -> Callable[..., Any]:
    """Return the function that builds the closed-form matting Laplacian."""
    return _import_alone(_LAPLACIAN).cf_laplacian


def estimate_foreground_ml() -> Callable[..., Any]:
    """Return the function that estimates the foreground's colours on several levels."""
    return _import_alone(_FOREGROUND).estimate_foreground_ml


def _import_alone(name: str) -> ModuleType:
    """Import a module under its own name without running the packages around it, which are empty meanwhile.

    If it needs them after all, or they are imported already, this is an import like any other.
    """
    package, inner, _ = name.split(".")
    if name in sys.modules or package in sys.modules:
        return importlib.import_module(name)
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return importlib.import_module(name)
    root = found.submodule_search_locations[0]
    stand_ins = {package: root, f"{package}.{inner}": f"{root}/{inner}"}
    for each, path in stand_ins.items():
        sys.modules[each] = ModuleType(each)
        sys.modules[each].__path__ = [path]
    try:
        module = importlib.import_module(name)
    except ImportError:
        module = None
    finally:
        for each in stand_ins:
            del sys.modules[each]
    return module or importlib.import_module(name)
