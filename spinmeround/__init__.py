"""One face photo in, a 3D head out.

``spinmeround.reconstruct("face.jpg", out="head.ply")`` does what ``spmr-recon face.jpg --out head.ply`` does. Names are
imported when they are first asked for, so that ``import spinmeround`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spinmeround.kernel_cache import keep_kernels_somewhere

keep_kernels_somewhere()

if TYPE_CHECKING:
    from spinmeround.batch.many import HeadMaker, reconstruct_many
    from spinmeround.batch.plan import Selection
    from spinmeround.batch.ray_executor import RayOptions
    from spinmeround.errors import CancelledError, SpinMeRoundError
    from spinmeround.io.formats import Format, register_format
    from spinmeround.pipelines.fit_views import fit_views
    from spinmeround.pipelines.make_views import make_views
    from spinmeround.pipelines.outputs import OutputOptions
    from spinmeround.pipelines.reconstruct import reconstruct
    from spinmeround.pipelines.settings import (
        AvatarOptions,
        CaptureOptions,
        DiffusionOptions,
        MeshOptions,
        PhotoOptions,
        RunSettings,
    )
    from spinmeround.registry import (
        HAIR_MODELS,
        MATTE_MODELS,
        PRIORS,
        RASTERIZERS,
        SPLAT_FITTERS,
        SURFACE_FITTERS,
    )
    from spinmeround.types import (
        Cameras,
        HeadCrop,
        Mesh,
        Portrait,
        PriorResult,
        Reconstruction,
        Segmentation,
        Splats,
        SurfaceFit,
        TexturedMesh,
        ViewRequest,
        Views,
    )

_MODULES = {
    "batch.many": ("HeadMaker", "reconstruct_many"),
    "batch.plan": ("Selection",),
    "batch.ray_executor": ("RayOptions",),
    "errors": ("CancelledError", "SpinMeRoundError"),
    "io.formats": ("Format", "register_format"),
    "pipelines.fit_views": ("fit_views",),
    "pipelines.make_views": ("make_views",),
    "pipelines.outputs": ("OutputOptions",),
    "pipelines.reconstruct": ("reconstruct",),
    "pipelines.settings": (
        "AvatarOptions", "CaptureOptions", "DiffusionOptions", "MeshOptions", "PhotoOptions", "RunSettings",
    ),
    "registry": (
        "HAIR_MODELS", "MATTE_MODELS", "PRIORS", "RASTERIZERS", "SPLAT_FITTERS", "SURFACE_FITTERS",
    ),
    "types": (
        "Cameras", "HeadCrop", "Mesh", "Portrait", "PriorResult", "Reconstruction", "Segmentation", "Splats",
        "SurfaceFit", "TexturedMesh", "ViewRequest", "Views",
    ),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "HAIR_MODELS",
    "MATTE_MODELS",
    "PRIORS",
    "RASTERIZERS",
    "SPLAT_FITTERS",
    "SURFACE_FITTERS",
    "AvatarOptions",
    "Cameras",
    "CancelledError",
    "CaptureOptions",
    "DiffusionOptions",
    "Format",
    "HeadCrop",
    "HeadMaker",
    "Mesh",
    "MeshOptions",
    "OutputOptions",
    "PhotoOptions",
    "Portrait",
    "PriorResult",
    "RayOptions",
    "Reconstruction",
    "RunSettings",
    "Segmentation",
    "Selection",
    "SpinMeRoundError",
    "Splats",
    "SurfaceFit",
    "TexturedMesh",
    "ViewRequest",
    "Views",
    "fit_views",
    "make_views",
    "reconstruct",
    "reconstruct_many",
    "register_format",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("spinmeround")
    if name not in _HOMES:
        raise AttributeError(f"module 'spinmeround' has no attribute {name!r}")
    return getattr(importlib.import_module(f"spinmeround.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
