"""The three seams of the package. Implementations are final classes; nothing inherits from another implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from spinmeround.types import Cameras, Mesh, Portrait, Progress, Rendering, Splats, SurfaceFit, Views, no_progress


@runtime_checkable
class ViewGenerator(Protocol):
    """Stage one: portraits of one person to posed RGB, normals and alpha."""

    def generate(self, portraits: Sequence[Portrait], cameras: Cameras, *, seed: int) -> Views:
        """Views as ``cameras`` see the head; the same seed gives the same views."""
        ...


@runtime_checkable
class Rasterizer(Protocol):
    """Splats to pictures, differentiable in every field of ``Splats`` and in the poses.

    The class says what a splat is: a 3D Gaussian, or a surfel in the plane of its first two axes.
    """

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Draws the splats as each camera sees them, from other poses than the cameras' own where some are given."""
        ...


@runtime_checkable
class SurfaceFitter(Protocol):
    """Stage two, geometry: posed views to a watertight mesh in the world frame."""

    def fit(self, views: Views, *, seed: int, progress: Progress = no_progress) -> SurfaceFit:
        """Fit the surface the views agree on; the same seed gives the same mesh."""
        ...


@runtime_checkable
class SplatFitter(Protocol):
    """Stage two, appearance: posed views and a start surface to splats in the world frame."""

    def fit(self, views: Views, surface: Mesh, *, seed: int) -> Splats:
        """Splats that start on ``surface``; the same seed gives the same splats."""
        ...
