"""The rooms a run goes through, each behind one call; heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from spinmeround.configs import Quality, preset
from spinmeround.pipelines.stages import Progress
from spinmeround.protocols import Rasterizer
from spinmeround.types import Cameras, Mesh, Portrait, Splats, TexturedMesh, Views


@dataclass(frozen=True)
class Sighting:
    """One photo and the person found in it.

    Attributes:
        faces_seen: how many faces the photo has.
        face_taken: which one was taken, counted from 1 in the order of size.
        notes: what the user should know about this photo.
    """

    photo: Path
    portrait: Portrait
    faces_seen: int
    face_taken: int
    notes: tuple[str, ...] = ()


@runtime_checkable
class Head(Protocol):
    """A head that stage one fitted: it can be looked at from anywhere."""

    @property
    def photo_cameras(self) -> tuple[Cameras, ...]:
        """Where each photo was taken from, one camera each, in pixels of its portrait."""
        ...

    @property
    def report(self) -> dict[str, Any]:
        """How well it fits, and how much of it was observed."""
        ...

    def render(self, cameras: Cameras, *, keep_expression: bool = False, names: tuple[str, ...] = ()) -> Views:
        """Pictures of the head, neutral unless the first photo's expression is to be kept."""
        ...


@dataclass(frozen=True)
class Rooms:
    """One call a stage. Every random draw comes from the seed."""

    read_photo: Callable[[Path], Any]
    find_person: Callable[[Path, Any, int | None], Sighting]
    fit_head: Callable[[Sequence[Portrait], int, Progress], Head]
    fit_surface: Callable[[Views, int, Progress], Mesh]
    fit_splats: Callable[[Views, Mesh, int, Progress], Splats]
    paint_texture: Callable[[Views, Mesh, int, Progress], TexturedMesh]


def rooms_of(quality: Quality, device: str) -> Rooms:
    """The rooms of this version: the template prior; on ``cuda`` splats are drawn by gsplat, all else on the CPU."""

    def read_photo(path: Path) -> Any:
        from spinmeround.io.photo import read_photo

        return read_photo(path)

    def find_person(path: Path, photo: Any, face: int | None) -> Sighting:
        from spinmeround.portrait import make_portrait

        found = make_portrait(photo, face=face)
        return Sighting(path, found.portrait, found.faces_seen, found.face_taken, (*photo.notes, *found.notes))

    def fit_head(portraits: Sequence[Portrait], seed: int, progress: Progress) -> Head:
        from spinmeround.template.generator import TemplateGenerator

        return TemplateGenerator(progress=progress).fit(portraits, seed=seed)

    def fit_surface(views: Views, seed: int, progress: Progress) -> Mesh:
        from spinmeround.recon.surface import SURFACE_PRESETS, NormalSurfaceFitter

        return NormalSurfaceFitter(SURFACE_PRESETS[quality]).fit(views, seed=seed, progress=progress)

    def fit_splats(views: Views, surface: Mesh, seed: int, progress: Progress) -> Splats:
        from spinmeround.recon.splats import SPLAT_PRESETS, GaussianFitter

        fitter = GaussianFitter(_rasterizer(device), SPLAT_PRESETS[quality], progress=progress)
        return fitter.fit(views, surface, seed=seed)

    def paint_texture(views: Views, surface: Mesh, seed: int, progress: Progress) -> TexturedMesh:
        from spinmeround.recon.texture import bake_texture

        return bake_texture(views, surface, size_px=preset(quality).texture_px, progress=progress)

    return Rooms(read_photo, find_person, fit_head, fit_surface, fit_splats, paint_texture)


def _rasterizer(device: str) -> Rasterizer:
    if device == "cuda":
        from spinmeround.recon.raster_gsplat import GsplatRasterizer

        return GsplatRasterizer()
    from spinmeround.recon.raster_numba import NumbaRasterizer

    return NumbaRasterizer()
