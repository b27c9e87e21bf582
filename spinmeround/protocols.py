"""The seams of the package: what each replaceable part must do.

A part is any object with these methods; nothing has to be inherited. It is registered by name in
``spinmeround.registry`` (exporters in ``spinmeround.io.formats``) through a factory that takes the run's settings.
CONTRIBUTING.md has a recipe for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from spinmeround.types import (
    Avatar,
    Cameras,
    HairStrands,
    HeadCrop,
    Licence,
    Mesh,
    PaintedSurface,
    Portrait,
    PriorResult,
    Progress,
    Rendering,
    Segmentation,
    Splats,
    SurfaceFit,
    ViewRequest,
    Views,
    no_progress,
)


@runtime_checkable
class StageRunner(Protocol):
    """Runs a named stage: times it, shows it, and hands out what its progress is reported to."""

    def __call__(self, stage: str) -> AbstractContextManager[Progress]:
        """Enter the stage called ``stage``."""
        ...


@runtime_checkable
class MatteModel(Protocol):
    """Which pixels of a photo are this person."""

    @property
    def licences(self) -> Sequence[Licence]:
        """Models the matte stands on, for the report."""
        ...

    def matte(self, crop: HeadCrop) -> Float[Any, "s s"]:
        """Return the coverage of the person in [0, 1], without neighbours and background."""
        ...


@runtime_checkable
class HairModel(Protocol):
    """Which of the person's pixels are hair, clothes and headwear."""

    @property
    def licences(self) -> Sequence[Licence]:
        """Models the segmentation stands on, for the report."""
        ...

    def segment(self, crop: HeadCrop, alpha: Float[Any, "s s"]) -> Segmentation:
        """Split the matte ``alpha`` into hair, clothes, headwear and the rest, which is skin."""
        ...


@runtime_checkable
class Prior(Protocol):
    """Stage one: portraits of one person to posed views of the head from all sides.

    A prior whose head always follows some of the protocols below may name them in an attribute ``offers``: a run then
    knows from its start which stages it has.
    """

    @property
    def licences(self) -> Sequence[Licence]:
        """Models and data the views stand on, for the report."""
        ...

    def planned_stages(self, request: ViewRequest) -> Mapping[str, float]:
        """Return the stages ``generate`` will enter, in order, and a guess of the seconds each takes.

        Raises:
            SpinMeRoundError: the request cannot be fulfilled.
        """
        ...

    def generate(
        self, portraits: Sequence[Portrait], request: ViewRequest, *, seed: int, stages: StageRunner
    ) -> PriorResult:
        """Make the views; the same portraits, request and seed give the same views.

        A prior that draws its views from one shape says so with ``Views.exact_cameras``; else stage two corrects
        cameras that it finds to be off. One that makes a ``RiggableHead`` draws no views where they are optional.
        """
        ...


@runtime_checkable
class RiggableHead(Protocol):
    """A head that can be made to move: a prior may offer one in ``PriorResult.head``."""

    def avatar(
        self,
        *,
        lod: Literal[0, 1, 2],
        texture_px: int,
        normal_map: bool,
        delight: float,
        hair: Literal["cards", "shell"],
    ) -> Avatar:
        """Return the head with bones and morph targets, neutral at rest.

        Args:
            delight: fraction of the photos' light that is taken out of the skin's colours, in [0, 1].
            hair: what hair is made of where there are strands; see ``AvatarOptions``.
        """
        ...


@runtime_checkable
class HairedHead(Protocol):
    """A head whose hair can be had as strands: a prior may offer one in ``PriorResult.head``."""

    def hair_strands(self) -> HairStrands | None:
        """Return the strands; None if no hair grows on the head, or none that is longer than stubble."""
        ...


@runtime_checkable
class PhotographedHead(Protocol):
    """A head that knows where its photos were taken from: a prior may offer one in ``PriorResult.head``."""

    @property
    def photo_cameras(self) -> Sequence[Cameras]:
        """One ``Cameras`` of length one a photo, in pixels of its portrait; world frame, head units."""
        ...


@runtime_checkable
class PaintedHead(Protocol):
    """A head whose own surface and colours can be had: a prior may offer one in ``PriorResult.head``.

    Stage two then starts splats on what the views were drawn from, and finds no surface of its own for them.
    """

    def painted_surface(self, cameras: Cameras, *, neutral: bool) -> PaintedSurface:
        """Return what the head's views from ``cameras`` show, in the world frame.

        Args:
            neutral: whether the views show the face at rest rather than with the first photo's expression.
        """
        ...


@runtime_checkable
class SurfaceFitter(Protocol):
    """Stage two, geometry: posed views to a watertight mesh in the world frame."""

    def fit(self, views: Views, *, seed: int, progress: Progress = no_progress) -> SurfaceFit:
        """Fit the surface the views agree on; the same seed gives the same mesh.

        Cameras may be corrected, but not those of views that call them exact (``Views.exact_cameras``).
        """
        ...


@runtime_checkable
class SplatFitter(Protocol):
    """Stage two, appearance: posed views and a start surface to splats in the world frame."""

    def fit(self, views: Views, surface: Mesh, *, seed: int, progress: Progress = no_progress) -> Splats:
        """Fit splats that start on ``surface``; the same seed gives the same splats."""
        ...


@runtime_checkable
class PaintedSplatFitter(Protocol):
    """A ``SplatFitter`` that can also start on what the views were drawn from."""

    def fit_painted(
        self, views: Views, painted: PaintedSurface, *, seed: int, progress: Progress = no_progress
    ) -> Splats:
        """Fit splats that start on the ``painted`` surface and its strands, with its colours.

        The same seed gives the same splats.
        """
        ...


@runtime_checkable
class Rasterizer(Protocol):
    """Splats to pictures, differentiable in every field of ``Splats`` and in the poses.

    The class says what a splat is: a 3D Gaussian, or a surfel in the plane of its first two axes.
    """

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Draw the splats as each camera sees them, from other poses than the cameras' own where some are given."""
        ...
