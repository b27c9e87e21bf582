"""One face photo in, a 3D head out.

``spinmeround.reconstruct("face.jpg", out="head.ply")`` does what ``spmr-recon face.jpg --out head.ply`` does. Names are
imported when they are first asked for, so that ``import spinmeround`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinmeround.errors import SpinMeRoundError
    from spinmeround.pipelines.fit_views import fit_views
    from spinmeround.pipelines.make_views import make_views
    from spinmeround.pipelines.reconstruct import reconstruct
    from spinmeround.types import Cameras, Mesh, Portrait, Reconstruction, Splats, TexturedMesh, Views

_HOMES = {
    "SpinMeRoundError": "errors",
    "fit_views": "pipelines.fit_views",
    "make_views": "pipelines.make_views",
    "reconstruct": "pipelines.reconstruct",
    **dict.fromkeys(("Cameras", "Mesh", "Portrait", "Reconstruction", "Splats", "TexturedMesh", "Views"), "types"),
}

__all__ = [
    "Cameras",
    "Mesh",
    "Portrait",
    "Reconstruction",
    "SpinMeRoundError",
    "Splats",
    "TexturedMesh",
    "Views",
    "fit_views",
    "make_views",
    "reconstruct",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("spinmeround")
    if name not in _HOMES:
        raise AttributeError(f"module 'spinmeround' has no attribute {name!r}")
    return getattr(importlib.import_module(f"spinmeround.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
