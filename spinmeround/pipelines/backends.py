"""The parts a run is made with, built from its settings when they are first needed; heavy imports happen inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.configs import preset
from spinmeround.pipelines.settings import RunSettings
from spinmeround.protocols import (
    HairModel,
    MatteModel,
    PaintedSplatFitter,
    Prior,
    Rasterizer,
    SplatFitter,
    SurfaceFitter,
)
from spinmeround.registry import HAIR_MODELS, MATTE_MODELS, PRIORS, RASTERIZERS, SPLAT_FITTERS, SURFACE_FITTERS
from spinmeround.types import (
    ColouredMesh,
    Licence,
    Mesh,
    PaintedSurface,
    Portrait,
    Progress,
    Splats,
    SurfaceFit,
    TexturedMesh,
    Views,
)

if TYPE_CHECKING:
    from spinmeround.io.photo import Photo
    from spinmeround.pipelines.registered_head import RegisteredHeadOnSurface
    from spinmeround.portrait.quality import PhotoMeasures
    from spinmeround.recon.cameras.photometric import CameraCorrection


@dataclass(frozen=True)
class LoadedPortrait:
    """One photo and the person found in it.

    Attributes:
        faces_seen: how many faces the photo has.
        face_taken: which one was taken, counted from 1 in the order of size.
        measures: what the photo is worth.
        size_px: width and height of the photo, upright as stored.
        notes: what the user should know about this photo.
    """

    photo: Path
    portrait: Portrait
    faces_seen: int
    face_taken: int
    measures: PhotoMeasures
    size_px: tuple[int, int]
    notes: tuple[str, ...] = ()


class Backends:
    """What the stages of a run are done with.

    Args:
        settings: resolved ones: prior and device are chosen.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    @cached_property
    def prior(self) -> Prior:
        """Stage one."""
        return PRIORS.create(self.settings.prior, self.settings)

    @cached_property
    def matte_model(self) -> MatteModel:
        """Who the person in a photo is."""
        return MATTE_MODELS.create(self.settings.photo.matte, self.settings)

    @cached_property
    def hair_model(self) -> HairModel:
        """What of the person is hair."""
        return HAIR_MODELS.create(self.settings.photo.hair, self.settings)

    @property
    def stage_one_licences(self) -> list[Licence]:
        """Licences of the parts that turn photos into views."""
        return [each for part in (self.prior, self.matte_model, self.hair_model) for each in part.licences]

    @cached_property
    def surface_fitter(self) -> SurfaceFitter:
        """Stage two, geometry."""
        return SURFACE_FITTERS.create(self.settings.surface, self.settings)

    @cached_property
    def splat_fitter(self) -> SplatFitter:
        """Stage two, splats."""
        return SPLAT_FITTERS.create(self.settings.splat_fitter, self.settings)

    def check(self) -> None:
        """Find every part by its name, but the prior, which only runs with photos have.

        Raises:
            InputError: a name that is not registered.
        """
        settings = self.settings
        for registry, name in (
            (MATTE_MODELS, settings.photo.matte),
            (HAIR_MODELS, settings.photo.hair),
            (SURFACE_FITTERS, settings.surface),
            (SPLAT_FITTERS, settings.splat_fitter),
            (RASTERIZERS, rasterizer_name(settings)),
        ):
            if name != "auto":  # only runs with photos settle what finds hair
                registry.check(name)

    def read_photo(self, path: Path) -> Photo:
        """Read a photo, upright."""
        from spinmeround.io.photo import read_photo

        return read_photo(path)

    def find_portrait(self, path: Path, photo: Photo) -> LoadedPortrait:
        """Find the person in a photo.

        Raises:
            NoFaceError: no usable face.
        """
        from spinmeround.portrait import make_portrait

        found = make_portrait(
            photo,
            face=self.settings.photo.face,
            matte_model=self.matte_model,
            hair_model=self.hair_model,
            remove_glasses=self.settings.photo.glasses == "remove",
        )
        height, width = photo.rgb.shape[:2]
        shrunk = photo.photo_from_source[0, 0]
        return LoadedPortrait(
            path,
            found.portrait,
            found.faces_seen,
            found.face_taken,
            found.measures,
            size_px=(round(width / shrunk), round(height / shrunk)),
            notes=(*photo.notes, *found.notes),
        )

    def refine_cameras(self, views: Views, *, seed: int, progress: Progress) -> CameraCorrection | None:
        """Refine the cameras of views; None if they are good as they are."""
        from spinmeround.recon.cameras.photometric import refine_cameras, refine_cameras_if_needed

        refine = refine_cameras if self.settings.capture.cameras == "register" else refine_cameras_if_needed
        return refine(views, make_rasterizer(self.settings), seed=seed, progress=progress)

    def fit_surface(self, views: Views, *, seed: int, progress: Progress) -> SurfaceFit:
        """Fit the surface, and the cameras from which it looks like the views."""
        return self.surface_fitter.fit(views, seed=seed, progress=progress)

    def fit_splats(self, views: Views, surface: Mesh, *, seed: int, progress: Progress) -> Splats:
        """Fit splats that start on the surface."""
        return self.splat_fitter.fit(views, surface, seed=seed, progress=progress)

    @property
    def starts_on_painted_surface(self) -> bool:
        """Whether the splat fitter can start on what the views were drawn from."""
        return isinstance(self.splat_fitter, PaintedSplatFitter)

    def fit_painted_splats(self, views: Views, painted: PaintedSurface, *, seed: int, progress: Progress) -> Splats:
        """Fit splats that start on what the views were drawn from."""
        assert isinstance(self.splat_fitter, PaintedSplatFitter)
        return self.splat_fitter.fit_painted(views, painted, seed=seed, progress=progress)

    def bake_texture(self, views: Views, surface: Mesh, *, faces: int, progress: Progress) -> TexturedMesh:
        """Simplify the surface to a number of faces and give it a texture."""
        from spinmeround.recon.texture.bake import bake_texture

        size_px = preset(self.settings.quality).texture_px
        mesh = bake_texture(views, surface, size_px=size_px, faces=faces, progress=progress)
        if not self.settings.mesh.normal_map:
            return mesh
        from spinmeround.recon.texture.normal_map import with_normal_map

        return with_normal_map(mesh, surface)

    def colour_vertices(self, views: Views, surface: Mesh) -> ColouredMesh:
        """Give each vertex of the surface a colour."""
        from spinmeround.recon.texture.bake import colour_vertices

        return colour_vertices(views, surface)

    def register_head(self, views: Views, surface: Mesh, *, progress: Progress) -> RegisteredHeadOnSurface | None:
        """Register the template to the surface; None if no face is found on it."""
        from spinmeround.pipelines.registered_head import head_on_surface

        return head_on_surface(views, surface, progress)


def build_backends(settings: RunSettings) -> Backends:
    """Return the parts that resolved settings name."""
    backends = Backends(settings)
    backends.check()
    return backends


def rasterizer_name(settings: RunSettings) -> str:
    """Return which rasteriser ``auto`` stands for."""
    if settings.rasterizer != "auto":
        return settings.rasterizer
    return "cuda" if settings.device == "cuda" else "cpu"


def make_rasterizer(settings: RunSettings) -> Rasterizer:
    """Return the rasteriser of a run."""
    return RASTERIZERS.create(rasterizer_name(settings), settings)


def cpu_rasterizer(_: RunSettings) -> Rasterizer:
    """Return 3D Gaussians on the CPU."""
    from spinmeround.recon.raster.gaussians import NumbaRasterizer

    return NumbaRasterizer()


def cuda_rasterizer(_: RunSettings) -> Rasterizer:
    """Return 3D Gaussians on CUDA, by gsplat."""
    from spinmeround.recon.raster.gsplat_backend import GsplatRasterizer

    return GsplatRasterizer()


def selfie_matte(settings: RunSettings) -> MatteModel:
    """Return MediaPipe's selfie segmentation, united with the run's hair network."""
    from spinmeround.portrait.hair_segmentation import default_hair_network, hair_network
    from spinmeround.portrait.matting import SelfieMatte

    hair = settings.photo.hair
    return SelfieMatte(hair_network(hair) if hair in ("mediapipe", "builtin") else default_hair_network())


def mediapipe_hair(_: RunSettings) -> HairModel:
    """Return hair by MediaPipe's network."""
    from spinmeround.portrait.hair_segmentation import hair_network
    from spinmeround.portrait.segmentation import NetworkHair

    return NetworkHair(hair_network("mediapipe"))


def builtin_hair(_: RunSettings) -> HairModel:
    """Return hair by the network that ships with the package."""
    from spinmeround.portrait.hair_segmentation import hair_network
    from spinmeround.portrait.segmentation import NetworkHair

    return NetworkHair(hair_network("builtin"))


def mesh_surface(settings: RunSettings) -> SurfaceFitter:
    """Return the mesh whose faces are turned by normals."""
    from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter

    return NormalSurfaceFitter(SURFACE_PRESETS[settings.quality], keep_cameras=settings.capture.cameras == "keep")


def sdf_surface(settings: RunSettings) -> SurfaceFitter:
    """Return the signed distance on a spline grid; on CUDA by volume rendering, else at the ends of rays."""
    import torch

    from spinmeround.recon.sdf.fitter import SDF_PRESETS, SdfSurfaceFitter

    return SdfSurfaceFitter(
        SDF_PRESETS[settings.quality],
        keep_cameras=settings.capture.cameras == "keep",
        device=torch.device("cuda") if settings.device == "cuda" else None,
    )


def gaussian_splats(settings: RunSettings) -> SplatFitter:
    """Return 3D Gaussians fitted by gradient descent."""
    from spinmeround.recon.splats.fitter import SPLAT_PRESETS, GaussianFitter

    chosen = SPLAT_PRESETS[settings.quality]
    return GaussianFitter(make_rasterizer(settings), replace(chosen, count=settings.splats or chosen.count))
