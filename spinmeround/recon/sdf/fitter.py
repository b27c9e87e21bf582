"""The surface fitter on a signed distance field, for normals and masks that are poor.

It starts on the mesh that ``NormalSurfaceFitter`` fits, with the cameras found on the way. The field, of quadratic
B-splines on a grid, is then fitted to normals, silhouettes and pictures of all views and to the eikonal equation by
Gauss-Newton steps, coarse to fine; a few of these do the work of thousands of steps of gradient descent. The
low-frequency bias of each view's normals is estimated along with it.

On a GPU rays are rendered through the volume (``volume_fit``). On the CPU they are followed to where they meet the zero
set or, near a mask's silhouette, to where they pass it: the limit of a sharp surface, whose equations are linear and
sparse (``residuals``).
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import zoom

from spinmeround.configs import QUALITIES, Quality, preset
from spinmeround.recon.evidence.patch_matching import patch_level, patch_terms
from spinmeround.recon.evidence.targets import depth_maps, normal_level
from spinmeround.recon.evidence.view_sampling import SurfaceInViews
from spinmeround.recon.hull import Hull, silhouettes, visual_hull
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.mesh_surface.remesh import remesh
from spinmeround.recon.sdf.gauss_newton import (
    LeastSquaresTerms,
    concatenate_terms,
    gauss_newton_step,
    number_unknowns,
)
from spinmeround.recon.sdf.pixel_samples import sample_pixels
from spinmeround.recon.sdf.residuals import (
    LowFrequencyBias,
    Regularisation,
    ResidualSettings,
    eikonal_residuals,
    normal_residuals,
    patch_residuals,
    silhouette_residuals,
    zero_set_points,
)
from spinmeround.recon.sdf.spline_field import (
    SplineField,
    fit_spline,
    project_to_zero_set,
    signed_distance,
    zero_surface,
)
from spinmeround.recon.sdf.volume_fit import VolumeSettings, volume_rendering_step
from spinmeround.types import Mesh, Progress, SurfaceFit, Views, no_progress

log = logging.getLogger(__name__)

_TRUNCATION_CELLS = 8.0
"""The distance that the field starts from is clipped to this, in cells."""
_FLOOR_EDGES = 0.25
"""Vertices less than this above the neck's cut, in edge lengths, are put on it."""
_START_PROGRESS, _FIT_PROGRESS = 0.3, 0.97
"""Fractions of the work done after the mesh to start on, and after the last step."""


@dataclasses.dataclass(frozen=True)
class SdfSettings:
    """Resolution, steps and weights.

    Attributes:
        start: of the mesh to start on.
        steps: on each grid. The first one's cells are half as wide as the voxels of the mesh's hull, each further one's
            half as wide again.
        regularisation: in the last steps, where views have normals.
        first_factor, factor_decay: in step n, from 0, regularisation is multiplied by first_factor * factor_decay**n or
            1, whichever is more: strong regularisation steadies the first step, but would bias the last.
        min_factor_without_normals: in place of that 1 for views without normals. There smoothness alone prevents bumps
            where pictures contradict each other; five times as much would cost relief that they agree on.
        noise_without_normals_rad: the noise of normals that is assumed for them.
        cell_px: pictures are shrunk by powers of two until a cell is about this wide in their pixels.
        occlusion_tolerance_cells: how far behind the depth map, in cells, a point still counts as seen.
    """

    start: SurfaceSettings
    steps: tuple[int, ...]
    regularisation: Regularisation = dataclasses.field(default_factory=Regularisation)
    residuals: ResidualSettings = dataclasses.field(default_factory=ResidualSettings)
    volume: VolumeSettings = dataclasses.field(default_factory=VolumeSettings)
    first_factor: float = 10.0
    factor_decay: float = 0.3
    min_factor_without_normals: float = 50.0
    noise_without_normals_rad: float = 0.35
    cell_px: float = 1.8
    occlusion_tolerance_cells: float = 0.75


SDF_PRESETS: Mapping[Quality, SdfSettings] = MappingProxyType(
    {q: SdfSettings(SURFACE_PRESETS[q], **preset(q).sdf) for q in QUALITIES}
)


class SdfSurfaceFitter:
    """``SurfaceFitter`` on a signed distance field.

    It is slower than ``NormalSurfaceFitter`` and more robust to biased normals.
    """

    def __init__(
        self,
        settings: SdfSettings = SDF_PRESETS["standard"],
        *,
        keep_cameras: bool = False,
        device: torch.device | None = None,
    ) -> None:
        """Fit by volume rendering on ``device``, or where rays end, on the CPU, if it is None.

        Args:
            keep_cameras: leave the cameras as they are.
        """
        self.settings, self.keep_cameras, self.device = settings, keep_cameras, device

    def fit(self, views: Views, *, seed: int, progress: Progress = no_progress) -> SurfaceFit:
        """Fit a watertight manifold mesh; the cameras are corrected as by ``NormalSurfaceFitter``.

        Args:
            views: as for ``NormalSurfaceFitter``.
            seed: unused, since nothing here is random; part of the protocol.
            progress: called with the fraction done.

        Returns:
            The mesh in the world frame, counter-clockwise seen from outside, and the corrected cameras.

        Raises:
            InputError: too few views, empty masks, or masks and cameras that do not belong together.
        """
        settings = self.settings
        start = NormalSurfaceFitter(settings.start, keep_cameras=self.keep_cameras).fit(
            views, seed=seed, progress=lambda fraction, message: progress(_START_PROGRESS * fraction, message)
        )
        hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=settings.start.hull_cells)
        views, field = dataclasses.replace(views, cameras=start.cameras), _initial_field(start.mesh, hull)
        fit = (
            _RayEndFit(views, field, settings) if self.device is None
            else _VolumeFit(views, field, settings, self.device)
        )  # fmt: skip
        total, done = sum(steps * 4**level for level, steps in enumerate(settings.steps)), 0
        for level, steps in enumerate(settings.steps):
            fit.enter_level(level)
            for _ in range(steps):
                fraction = _START_PROGRESS + (_FIT_PROGRESS - _START_PROGRESS) * done / total
                progress(fraction, f"signed distance, cells of {fit.field.cell:.4f}")
                fit.step()
                done += 4**level
        mesh = _extract_mesh(fit.field, hull.floor_y, fit.field.cell)
        progress(1.0, "surface done")
        return SurfaceFit(mesh, start.cameras)


def _initial_field(mesh: Mesh, hull: Hull) -> SplineField:
    """Return the signed distance of a mesh on a grid of half the hull's voxels; the hull's below the neck's cut."""
    x, y, z = hull.field.shape
    cell, shape = hull.cell / 2, (2 * x - 1, 2 * y - 1, 2 * z - 1)
    if hull.floor_y is not None:
        above = (mesh.vertices[mesh.faces, 1] > hull.floor_y).any(1)
        mesh = Mesh(mesh.vertices, mesh.faces[above])
    distance = signed_distance(mesh, shape, hull.low, cell)
    if hull.floor_y is not None:
        below = hull.low[1] + cell * np.arange(shape[1]) < hull.floor_y
        distance[:, below] = zoom(hull.field, [n / m for n, m in zip(shape, (x, y, z), strict=True)], order=1)[:, below]
    return fit_spline(np.clip(distance, -_TRUNCATION_CELLS * cell, _TRUNCATION_CELLS * cell), hull.low, cell)


def _extract_mesh(field: SplineField, floor_y: float | None, edge: float) -> Mesh:
    """Return the zero set in even triangles with edges of about ``edge``, flat where the neck is cut."""
    mesh = remesh(zero_surface(field, floor_y=floor_y), edge)
    vertices = project_to_zero_set(field, mesh.vertices)
    if floor_y is not None:
        low = mesh.vertices[:, 1] < floor_y + _FLOOR_EDGES * edge
        vertices[low] = mesh.vertices[low]
        vertices[low, 1] = floor_y
    return Mesh(vertices, mesh.faces)


class _Fit(ABC):
    """A field being fitted, and the bias that is estimated with it."""

    def __init__(self, views: Views, field: SplineField, settings: SdfSettings) -> None:
        self.views, self.field, self.settings = views, field, settings
        self.normal_bias = LowFrequencyBias(settings.residuals)
        self.has_normals = bool(views.normals_world.any())
        self.noise_rad = settings.noise_without_normals_rad
        self.steps = 0

    def enter_level(self, level: int) -> None:
        """Refine the grid, unless this is the first level, and shrink the pictures to suit its cells."""
        if level:
            self.field = self.field.refined()
        cameras = self.views.cameras
        distance = np.linalg.norm(cameras.camera_from_world[:, :3, 3], axis=1)
        cell_px = np.median(self.field.cell * cameras.intrinsics_px[:, 0, 0] / distance)
        shrink = 2 ** max(0, round(np.log2(cell_px / self.settings.cell_px)))
        self.level = normal_level(self.views, shrink)
        self.normal_bias.resize(*self.level.trust.shape)

    def step(self) -> None:
        """Take one Gauss-Newton step, with regularisation that decays from step to step."""
        settings = self.settings
        least = 1.0 if self.has_normals else settings.min_factor_without_normals
        factor = max(least, settings.first_factor * settings.factor_decay**self.steps)
        self._improve(settings.regularisation.scaled(factor))
        self.steps += 1
        log.debug(
            "signed distance: cells of %.4f, noise of normals %.2f deg", self.field.cell, np.degrees(self.noise_rad)
        )

    @abstractmethod
    def _improve(self, regularisation: Regularisation) -> None: ...


class _RayEndFit(_Fit):
    """Fit where rays end: sparse normal equations, on the CPU."""

    def enter_level(self, level: int) -> None:
        super().enter_level(level)
        self.pictures, self.patch_noise = patch_level(self.views, self.level), None

    def _improve(self, regularisation: Regularisation) -> None:
        residuals = self.settings.residuals
        mesh = zero_surface(self.field, floor_y=None)
        depth = depth_maps(mesh.vertices, mesh.faces, self.level.cameras)
        terms = [silhouette_residuals(self.field, self.level, residuals)]
        if self.has_normals:
            of_normals, self.noise_rad = normal_residuals(self.field, self.level, depth, self.normal_bias)
            terms.append(of_normals)
        if self.noise_rad > residuals.normal_noise_rad:
            terms.append(self._patch_residuals(mesh, depth))
        unknown = number_unknowns(self.field)
        terms.append(eikonal_residuals(self.field, unknown, weight=regularisation.eikonal))
        self.field = gauss_newton_step(
            self.field, unknown, concatenate_terms(*terms),
            smoothness=regularisation.smoothness, damping=regularisation.damping,
        )  # fmt: skip

    def _patch_residuals(self, mesh: Mesh, depth: Float[np.ndarray, "v h w"]) -> LeastSquaresTerms:
        points, normals = zero_set_points(self.field, mesh.vertices)
        tolerance = self.settings.occlusion_tolerance_cells * self.field.cell
        surface = SurfaceInViews(Mesh(points, mesh.faces), normals, self.level, depth, tolerance)
        patches = patch_terms(surface, self.pictures, self.patch_noise, edge=self.field.cell)
        self.patch_noise = patches.noise
        return patch_residuals(self.field, points, patches, self.settings.residuals)


class _VolumeFit(_Fit):
    """Fit by volume rendering, on any torch device."""

    def __init__(self, views: Views, field: SplineField, settings: SdfSettings, device: torch.device) -> None:
        super().__init__(views, field, settings)
        self.device, self.colour_bias = device, LowFrequencyBias(settings.residuals)

    def enter_level(self, level: int) -> None:
        super().enter_level(level)
        self.colour_bias.resize(*self.level.trust.shape)
        volume = self.settings.volume
        self.samples = sample_pixels(self.views, self.level, margin_px=volume.margin_px, max_rays=volume.max_rays)

    def _improve(self, regularisation: Regularisation) -> None:
        self.field, self.noise_rad = volume_rendering_step(
            self.field, self.samples, self.normal_bias, self.colour_bias, self.device,
            regularisation=regularisation, settings=self.settings.volume,
        )  # fmt: skip
