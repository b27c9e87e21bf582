"""Replaceable parts by name: where each kind is registered, and how a name becomes a part.

A part is made by a factory that takes the run's settings, ``factory(settings: RunSettings) -> part``. Built-in
factories are given as ``"module:attribute"`` and imported when they are used. Parts from outside are registered in
Python, or announced by an installed package as an entry point of the registry's group.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spinmeround.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Factory = Callable[[Any], Any]


class Registry:
    """Factories of one kind of part, by name."""

    def __init__(self, kind: str, *, group: str, builtin: Mapping[str, str]) -> None:
        """Hold the built-in parts.

        Args:
            kind: what error messages call the part.
            group: entry points of this group are parts as well.
            builtin: ``"module:attribute"`` by name.
        """
        self.kind, self.group = kind, group
        self._builtin = dict(builtin)
        self._registered: dict[str, Factory] = {}

    def register(self, name: str, factory: Factory) -> None:
        """Make a part available under ``name``; a later registration of the same name replaces an earlier one."""
        self._registered[name] = factory

    def names(self) -> tuple[str, ...]:
        """Return the names known without looking through the installed packages."""
        return tuple(dict.fromkeys((*self._builtin, *self._registered)))

    def create(self, name: str, settings: Any) -> Any:
        """Make the part called ``name`` for a run.

        Raises:
            InputError: there is no such part.
        """
        return self.factory(name)(settings)

    def factory(self, name: str) -> Factory:
        """Return the factory called ``name``.

        Raises:
            InputError: there is no such part.
        """
        if name in self._registered:
            return self._registered[name]
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        self.check(name)
        (point,) = self._installed().select(name=name)
        return point.load()

    def check(self, name: str) -> None:
        """Check that there is a part called ``name``; nothing is imported.

        Raises:
            InputError: there is none.
        """
        if name in self.names():
            return
        installed = self._installed().names
        if name not in installed:
            known = ", ".join(dict.fromkeys((*self.names(), *sorted(installed))))
            raise InputError(f"no {self.kind} is called {name!r}; there are {known}")

    def _installed(self) -> EntryPoints:
        """Return the parts that installed packages announce."""
        from importlib.metadata import entry_points  # slow to import, and hardly ever needed

        return entry_points(group=self.group)


PRIORS = Registry(
    "prior",
    group="spinmeround.priors",
    builtin={
        "diffusion": "spinmeround.pipelines.priors.diffusion:DiffusionPrior",
        "template": "spinmeround.pipelines.priors.template:TemplatePrior",
    },
)
"""``Prior``: portraits to views."""

MATTE_MODELS = Registry(
    "matte model",
    group="spinmeround.matte_models",
    builtin={"selfie": "spinmeround.pipelines.backends:selfie_matte"},
)
"""``MatteModel``: which pixels of a photo are this person."""

HAIR_MODELS = Registry(
    "hair model",
    group="spinmeround.hair_models",
    builtin={
        "mediapipe": "spinmeround.pipelines.backends:mediapipe_hair",
        "builtin": "spinmeround.pipelines.backends:builtin_hair",
    },
)
"""``HairModel``: which of the person's pixels are hair, clothes and headwear."""

SURFACE_FITTERS = Registry(
    "surface fitter",
    group="spinmeround.surface_fitters",
    builtin={
        "mesh": "spinmeround.pipelines.backends:mesh_surface",
        "neural": "spinmeround.pipelines.backends:sdf_surface",
    },
)
"""``SurfaceFitter``: views to a closed mesh."""

SPLAT_FITTERS = Registry(
    "splat fitter",
    group="spinmeround.splat_fitters",
    builtin={"gaussians": "spinmeround.pipelines.backends:gaussian_splats"},
)
"""``SplatFitter``: views and a surface to splats."""

RASTERIZERS = Registry(
    "rasteriser",
    group="spinmeround.rasterizers",
    builtin={
        "cpu": "spinmeround.pipelines.backends:cpu_rasterizer",
        "cuda": "spinmeround.pipelines.backends:cuda_rasterizer",
    },
)
"""``Rasterizer``: splats to pictures, with gradients."""
