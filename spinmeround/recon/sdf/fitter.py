"""The neural surface: a learnt signed distance that is rendered into every view, for normals and masks that are poor.

It starts on the mesh that the normals give, with the cameras found on the way. Normals, outlines and pictures of all
views, and the eikonal equation everywhere near, are asked for at once by Gauss-Newton steps in the coefficients of a
spline grid, coarse to fine; beside it the smooth errors of each view's normals are learnt. A few such steps do what
takes thousands of steps along gradients. On a card, what a ray shows is rendered through the volume
(``neural_volume``). On the CPU rays are followed to where they meet the zero set, or, near a mask's outline, to where
they pass it: the limit of a sharp surface, whose equations are linear and sparse.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import zoom

from spinmeround.recon.evidence.patch_matching import patch_level, patch_terms
from spinmeround.recon.evidence.targets import depth_maps, normal_level
from spinmeround.recon.evidence.view_sampling import SurfaceInViews
from spinmeround.recon.hull import Hull, silhouettes, visual_hull
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.mesh_surface.remesh import remesh
from spinmeround.recon.sdf.gauss_newton import Wishes, improved, joined
from spinmeround.recon.sdf.residuals import (
    EIKONAL,
    SURE_NORMAL_RAD,
    SlowErrors,
    eikonal_wishes,
    free_nodes,
    normal_votes,
    outline_wishes,
    patch_wishes,
    surface_points,
)
from spinmeround.recon.sdf.spline_field import SplineField, fitted_to, onto_zero, signed_distance, zero_surface
from spinmeround.recon.sdf.volume_fit import shots_of, volume_step
from spinmeround.types import Mesh, Progress, SurfaceFit, Views, no_progress

logger = logging.getLogger(__name__)


_CELL_PX = 1.8
_FIRST_STRESS, _STRESS_DECAY = 10.0, 0.3
"""Smoothness and the eikonal equation rule the first step and would bias the last."""
_SMOOTHNESS, _INERTIA = 5e-5, 1e-7
_NO_NORMALS_RAD, _NO_NORMALS_STRESS = 0.35, 50.0
"""Without normals, smoothness is all there is against bumps where pictures contradict each other; five times as much
would cost relief that they agree on."""
_TOLERANCE = 0.75
_FAR_CELLS = 8.0
_START_SHARE = 0.3


@dataclass(frozen=True)
class NeuralSettings:
    """How fine and how long.

    Attributes:
        start: of the mesh to start on.
        steps: on each grid. The first one's cells are half as wide as the voxels of the mesh's hull, each further one's
            half as wide again.
    """

    start: SurfaceSettings
    steps: tuple[int, ...]


NEURAL_PRESETS: dict[Literal["draft", "standard", "high"], NeuralSettings] = {
    "draft": NeuralSettings(SURFACE_PRESETS["draft"], (3,)),
    "standard": NeuralSettings(SURFACE_PRESETS["standard"], (2, 2)),
    "high": NeuralSettings(SURFACE_PRESETS["high"], (3, 3)),
}


class NeuralSurfaceFitter:
    """``SurfaceFitter`` that learns a signed distance: slower than ``NormalSurfaceFitter``, harder to mislead."""

    def __init__(
        self,
        settings: NeuralSettings = NEURAL_PRESETS["standard"],
        *,
        keep_cameras: bool = False,
        card: torch.device | None = None,
    ) -> None:
        """Rays are met where they end, on the CPU, or rendered through a volume on ``card``, any torch device."""
        self.settings, self.keep_cameras, self.card = settings, keep_cameras, card

    def fit(self, views: Views, *, seed: int, progress: Progress = no_progress) -> SurfaceFit:
        """Fit a watertight manifold mesh; the cameras are corrected as by ``NormalSurfaceFitter``.

        Args:
            views: as for ``NormalSurfaceFitter``.
            seed: unused, since nothing here is random; part of the protocol.
            progress: called with the fraction done.

        Returns:
            The mesh in the world frame, counter-clockwise seen from outside, and the cameras that see it so.

        Raises:
            InputError: too few views, empty masks, or masks and cameras that do not belong together.
        """
        start = NormalSurfaceFitter(self.settings.start, keep_cameras=self.keep_cameras).fit(
            views, seed=seed, progress=lambda fraction, message: progress(_START_SHARE * fraction, message)
        )
        hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=self.settings.start.hull_cells)
        views, field = replace(views, cameras=start.cameras), _started(start.mesh, hull)
        fit = _EndsFit(views, field) if self.card is None else _VolumeFit(views, field, self.card)
        total, done = sum(steps * 4**level for level, steps in enumerate(self.settings.steps)), 0
        for level, steps in enumerate(self.settings.steps):
            fit.enter_level(level)
            for _ in range(steps):
                share = _START_SHARE + (0.97 - _START_SHARE) * done / total
                progress(share, f"signed distance, cells of {fit.field.cell:.4f}")
                fit.step()
                done += 4**level
        mesh = _closed(fit.field, hull.floor_y, fit.field.cell)
        progress(1.0, "surface done")
        return SurfaceFit(mesh, start.cameras)


def _started(mesh: Mesh, hull: Hull) -> SplineField:
    """The signed distance of a mesh on a grid of half the hull's voxels; below the neck's cut the hull goes on."""
    x, y, z = hull.field.shape
    cell, shape = hull.cell / 2, (2 * x - 1, 2 * y - 1, 2 * z - 1)
    if hull.floor_y is not None:
        walls = (mesh.vertices[mesh.faces, 1] > hull.floor_y).any(1)
        mesh = Mesh(mesh.vertices, mesh.faces[walls])
    distance = signed_distance(mesh, shape, hull.low, cell)
    if hull.floor_y is not None:
        below = hull.low[1] + cell * np.arange(shape[1]) < hull.floor_y
        distance[:, below] = zoom(hull.field, [n / m for n, m in zip(shape, (x, y, z), strict=True)], order=1)[:, below]
    return fitted_to(np.clip(distance, -_FAR_CELLS * cell, _FAR_CELLS * cell), hull.low, cell)


def _closed(field: SplineField, floor_y: float | None, edge: float) -> Mesh:
    """The zero set in even triangles, flat where the neck is cut."""
    mesh = remesh(zero_surface(field, floor_y=floor_y), edge)
    vertices = onto_zero(field, mesh.vertices)
    if floor_y is not None:
        low = mesh.vertices[:, 1] < floor_y + 0.25 * edge
        vertices[low] = mesh.vertices[low]
        vertices[low, 1] = floor_y
    return Mesh(vertices, mesh.faces)


class _Fit(ABC):
    """The field and what else is learnt with it."""

    def __init__(self, views: Views, field: SplineField) -> None:
        self.views, self.field = views, field
        self.errors = SlowErrors()
        self.has_normals = bool(views.normals_world.any())
        self.noise_rad = _NO_NORMALS_RAD
        self.steps = 0

    def enter_level(self, halvings: int) -> None:
        """Goes on with cells halved so often, and with pictures to suit."""
        if halvings:
            self.field = self.field.halved()
        cameras = self.views.cameras
        distance = np.linalg.norm(cameras.camera_from_world[:, :3, 3], axis=1)
        cell_px = np.median(self.field.cell * cameras.intrinsics_px[:, 0, 0] / distance)
        self.shrink = 2 ** max(0, round(np.log2(cell_px / _CELL_PX)))
        self.level = normal_level(self.views, self.shrink)
        self.errors.resize(*self.level.trust.shape)

    def step(self) -> None:
        """One round: render, gather, solve."""
        least = 1.0 if self.has_normals else _NO_NORMALS_STRESS
        self._improve(max(least, _FIRST_STRESS * _STRESS_DECAY**self.steps))
        self.steps += 1
        logger.debug(
            "neural surface: cells of %.4f, noise of normals %.2f deg", self.field.cell, np.degrees(self.noise_rad)
        )

    @abstractmethod
    def _improve(self, stress: float) -> None: ...


class _EndsFit(_Fit):
    """By where rays end."""

    def enter_level(self, halvings: int) -> None:
        super().enter_level(halvings)
        self.patches, self.patch_noise = patch_level(self.views, self.level), None

    def _improve(self, stress: float) -> None:
        mesh = zero_surface(self.field, floor_y=None)
        depth = depth_maps(mesh.vertices, mesh.faces, self.level.cameras)
        wishes = [outline_wishes(self.field, self.level)]
        if self.has_normals:
            votes, self.noise_rad = normal_votes(self.field, self.level, depth, self.errors)
            wishes.append(votes)
        if self.noise_rad > SURE_NORMAL_RAD:
            wishes.append(self._agreement(mesh, depth))
        free = free_nodes(self.field)
        wishes.append(eikonal_wishes(self.field, free, stress=stress))
        self.field = improved(self.field, free, joined(*wishes), smoothness=_SMOOTHNESS * stress, inertia=_INERTIA)

    def _agreement(self, mesh: Mesh, depth: Float[np.ndarray, "v h w"]) -> Wishes:
        """Where the pictures agree."""
        points, normals = surface_points(self.field, mesh.vertices)
        surface = SurfaceInViews(Mesh(points, mesh.faces), normals, self.level, depth, _TOLERANCE * self.field.cell)
        pulls = patch_terms(surface, self.patches, self.patch_noise, edge=self.field.cell)
        self.patch_noise = pulls.noise
        return patch_wishes(self.field, points, pulls)


class _VolumeFit(_Fit):
    """By what is rendered along rays."""

    def __init__(self, views: Views, field: SplineField, device: torch.device) -> None:
        super().__init__(views, field)
        self.device, self.colour_errors = device, SlowErrors()

    def enter_level(self, halvings: int) -> None:
        super().enter_level(halvings)
        self.colour_errors.resize(*self.level.trust.shape)
        self.shots = shots_of(self.views, self.level)

    def _improve(self, stress: float) -> None:
        found = volume_step(
            self.field, self.shots, self.errors, self.colour_errors, self.device,
            smoothness=_SMOOTHNESS * stress, eikonal=EIKONAL * stress, inertia=_INERTIA,
        )  # fmt: skip
        self.field, self.noise_rad = found
