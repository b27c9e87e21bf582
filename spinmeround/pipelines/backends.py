"""The rooms a run goes through, each behind one call; heavy imports happen inside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from spinmeround import weights
from spinmeround.configs import Quality, preset
from spinmeround.errors import ResourceError
from spinmeround.pipelines.diffusion_options import RECOGNITION, DiffusionOptions, checkpoint_path
from spinmeround.pipelines.registered_head import SurfaceHead, head_on_surface
from spinmeround.protocols import Rasterizer
from spinmeround.runtime.memory import free_bytes
from spinmeround.types import Cameras, ColouredMesh, Mesh, Portrait, Progress, Splats, TexturedMesh, Views

if TYPE_CHECKING:
    from spinmeround.diffusion.model.placement import DevicePlacement
    from spinmeround.recon.cameras.photometric import Registration

log = logging.getLogger(__name__)

CameraTrust = Literal["auto", "keep", "register"]
"""How far the cameras of views are believed: found out, wholly, or so little that they are registered first."""

SurfaceKind = Literal["mesh", "neural"]
"""How a surface is fitted: a mesh turned by normals, or a learnt signed distance, slower and harder to mislead."""


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
    """One call a stage. Every random draw comes from the seed.

    ``register_cameras`` gives nothing where the cameras are good as they are. ``fit_surface`` also gives the cameras
    from which the surface looks like the views: those given, where they fit. ``paint_texture`` takes a face budget,
    ``colour_vertices`` keeps them all.
    """

    read_photo: Callable[[Path], Any]
    find_person: Callable[[Path, Any, int | None], Sighting]
    fit_head: Callable[[Sequence[Portrait], int, Progress], Head]
    register_cameras: Callable[[Views, int, Progress], Registration | None]
    fit_surface: Callable[[Views, int, Progress], tuple[Mesh, Cameras]]
    fit_splats: Callable[[Views, Mesh, int, Progress], Splats]
    paint_texture: Callable[[Views, Mesh, int, Progress], TexturedMesh]
    colour_vertices: Callable[[Views, Mesh], ColouredMesh]
    identify: Callable[[Sequence[Portrait], Path | None], list[Portrait]]
    paint_views: Callable[[Sequence[Portrait], Cameras, DiffusionOptions, int, Progress], Views]
    rig_surface: Callable[[Views, Mesh, Progress], SurfaceHead | None] = head_on_surface


def rooms_of(
    quality: Quality,
    device: str,
    cameras: CameraTrust = "auto",
    most_splats: int | None = None,
    surface: SurfaceKind = "mesh",
    normal_map: bool = False,
) -> Rooms:
    """The rooms of this version; on ``cuda`` are the diffusion model, splats and the neural surface, all else is not.

    Args:
        most_splats: in place of the quality's number.
        normal_map: whether textured meshes carry the normals of the surface they were made from.
    """

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

    def register_cameras(views: Views, seed: int, progress: Progress) -> Registration | None:
        from spinmeround.recon.cameras.photometric import register, register_if_needed

        find = register if cameras == "register" else register_if_needed
        return find(views, _rasterizer(device), seed=seed, progress=progress)

    def fit_surface(views: Views, seed: int, progress: Progress) -> tuple[Mesh, Cameras]:
        if surface == "neural":
            import torch

            from spinmeround.recon.sdf.fitter import NEURAL_PRESETS, NeuralSurfaceFitter

            card = torch.device(device) if device == "cuda" else None
            fitter = NeuralSurfaceFitter(NEURAL_PRESETS[quality], keep_cameras=cameras == "keep", card=card)
        else:
            from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter

            fitter = NormalSurfaceFitter(SURFACE_PRESETS[quality], keep_cameras=cameras == "keep")
        fitted = fitter.fit(views, seed=seed, progress=progress)
        return fitted.mesh, fitted.cameras

    def fit_splats(views: Views, surface: Mesh, seed: int, progress: Progress) -> Splats:
        from spinmeround.recon.splats.fitter import SPLAT_PRESETS, GaussianFitter

        settings = SPLAT_PRESETS[quality]
        settings = replace(settings, count=most_splats or settings.count)
        fitter = GaussianFitter(_rasterizer(device), settings, progress=progress)
        return fitter.fit(views, surface, seed=seed)

    def paint_texture(views: Views, surface: Mesh, faces: int, progress: Progress) -> TexturedMesh:
        from spinmeround.recon.texture.bake import bake_texture

        size_px = preset(quality).texture_px
        mesh = bake_texture(views, surface, size_px=size_px, faces=faces, progress=progress)
        if not normal_map:
            return mesh
        from spinmeround.recon.texture.normal_map import with_normal_map

        return with_normal_map(mesh, surface)

    def colour_vertices(views: Views, surface: Mesh) -> ColouredMesh:
        from spinmeround.recon.texture.bake import colour_vertices

        return colour_vertices(views, surface)

    def identify(portraits: Sequence[Portrait], file: Path | None) -> list[Portrait]:
        from spinmeround.diffusion.identity import ArcFace, identified, read_identity

        if file is not None:
            return identified(portraits, [read_identity(file)])
        network = ArcFace(weights.path(RECOGNITION, fetch=False))
        return identified(portraits, [network.embed(portrait) for portrait in portraits])

    def paint_views(
        portraits: Sequence[Portrait], cameras: Cameras, options: DiffusionOptions, seed: int, progress: Progress
    ) -> Views:
        return _paint(portraits, cameras, options, device=device, seed=seed, progress=progress)

    return Rooms(
        read_photo,
        find_person,
        fit_head,
        register_cameras,
        fit_surface,
        fit_splats,
        paint_texture,
        colour_vertices,
        identify,
        paint_views,
    )


def _paint(
    portraits: Sequence[Portrait],
    cameras: Cameras,
    options: DiffusionOptions,
    *,
    device: str,
    seed: int,
    progress: Progress,
) -> Views:
    """Asks whether it can be done, loads the model, says on a CPU how slow it will be, and runs it."""
    from spinmeround.diffusion.camera import photo_poses, rig_of
    from spinmeround.diffusion.generator import DiffusionGenerator
    from spinmeround.diffusion.model.placement import DevicePlacement
    from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
    from spinmeround.diffusion.sampling.cost import expected_seconds, in_words
    from spinmeround.diffusion.sampling.passes import plan

    sampling = options.sampling()
    precision = options.precision or ("float16" if device == "cuda" else "float32")
    placement = DevicePlacement(device, precision, offload=options.low_memory, tiled_vae=options.low_memory)
    poses, own = rig_of(portraits[0]).poses(cameras), photo_poses(portraits)
    plan(own, poses, views_at_once=sampling.views_at_once)
    progress(0.0, "loading the model")
    path = checkpoint_path()
    assert path is not None, "asked for before the run began"
    if device == "cpu":
        _check_model_fits(path, placement, views_at_once=sampling.views_at_once)
    load = SpinMeRoundPipeline.from_pretrained if path.is_dir() else SpinMeRoundPipeline.from_single_file
    model = load(path, placement=placement)
    if device == "cpu":
        seconds = expected_seconds(model.parts.unet, own, poses, sampling=sampling, size_px=cameras.width_px)
        log.warning(
            "on this CPU the diffusion model needs about %s for %d views; fewer --views, --solver unipc --steps 24, "
            "--guidance 1 or --device cuda make it shorter",
            in_words(seconds),
            len(cameras),
        )
    return DiffusionGenerator(model, sampling=sampling, progress=progress).generate(portraits, cameras, seed=seed)


def _check_model_fits(path: Path, placement: DevicePlacement, *, views_at_once: int) -> None:
    """Asks whether the model fits into what is free: most systems end a program that takes more without a word.

    Raises:
        ResourceError: it does not.
    """
    from spinmeround.diffusion.model.checkpoint import count_numbers
    from spinmeround.diffusion.model.placement import what_to_lower
    from spinmeround.diffusion.sampling.cost import expected_bytes

    needed = expected_bytes(count_numbers(path), placement=placement, views_at_once=views_at_once)
    free = free_bytes()
    if free < needed:
        raise ResourceError(
            f"the diffusion model needs {needed / 1e9:.1f} GB of free memory and {free / 1e9:.1f} GB are free; "
            f"{what_to_lower(placement, views_at_once)}"
        )


def _rasterizer(device: str) -> Rasterizer:
    if device == "cuda":
        from spinmeround.recon.raster.gsplat_backend import GsplatRasterizer

        return GsplatRasterizer()
    from spinmeround.recon.raster.gaussians import NumbaRasterizer

    return NumbaRasterizer()
