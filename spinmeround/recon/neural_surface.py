"""The neural surface: a learnt signed distance that is rendered into every view, for normals and masks that are poor.

Rays are followed to where they meet the zero set, or, near a mask's outline, to where they pass it. There the normals,
outlines and pictures of all views, and the eikonal equation everywhere near, are asked for at once, in one sparse
least-squares problem per step over the coefficients of a spline grid, coarse to fine. Beside the surface the cameras
and the smooth errors of each view's normals are learnt. This is the rendering of NeuS (Wang et al. 2021) in the limit
of a sharp surface; all of it is linear in the coefficients, so that a few Gauss-Newton steps do what takes thousands
of steps along gradients.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from spinmeround.errors import InputError
from spinmeround.recon.agreement import camera_twists, compared, motion_px, picture_level, twisted
from spinmeround.recon.evidence import NormalPyramidLevel, depth_maps, normal_level, seen_from
from spinmeround.recon.hull import Hull, silhouettes, visual_hull
from spinmeround.recon.neural_field import SplineField, fitted_to, onto_zero, zero_surface
from spinmeround.recon.neural_solve import Wishes, improved, joined
from spinmeround.recon.neural_wishes import (
    SURE_NORMAL_RAD,
    NormalErrors,
    eikonal_wishes,
    free_nodes,
    look_wishes,
    normal_votes,
    outline_wishes,
    surface_points,
)
from spinmeround.recon.remesh import remesh
from spinmeround.types import Cameras, Mesh, Views

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Told the share done in [0, 1] and what is being done."""

_CELL_PX = 1.8
_STEPS_BEFORE_LOOKS = 3
_FIRST_STRESS, _STRESS_DECAY = 30.0, 0.3
"""Smoothness and the eikonal equation rule the first steps, which have far to go, and would bias the last."""
_SMOOTHNESS, _INERTIA = 5e-5, 1e-7
_NO_NORMALS_RAD, _NO_NORMALS_STRESS = 0.35, 10.0
_STILL_PX = 0.12
"""Of the level's pixels: errors of a camera that are not told from those of a coarse surface."""
_TOLERANCE = 0.75
_FAR_CELLS = 8.0


@dataclass(frozen=True)
class NeuralSettings:
    """How fine and how long.

    Attributes:
        hull_cells: voxels along the longest side of the first grid.
        steps: on each grid; each further one has half the cell.
    """

    hull_cells: int
    steps: tuple[int, ...]


NEURAL_PRESETS: dict[Literal["draft", "standard", "high"], NeuralSettings] = {
    "draft": NeuralSettings(64, (7, 3)),
    "standard": NeuralSettings(64, (7, 5, 3)),
    "high": NeuralSettings(80, (8, 6, 4)),
}


class NeuralSurfaceFitter:
    """``SurfaceFitter`` that learns a signed distance: slower than ``NormalSurfaceFitter``, harder to mislead."""

    def __init__(self, settings: NeuralSettings = NEURAL_PRESETS["standard"]) -> None:
        self.settings = settings

    def fit(self, views: Views, *, seed: int, progress: Progress | None = None) -> Mesh:
        """A watertight manifold mesh in the world frame, counter-clockwise seen from outside.

        Args:
            views: as for ``NormalSurfaceFitter``.
            seed: nothing here is random; part of the protocol.
            progress: told the share done and what is being done.

        Raises:
            InputError: too few views, empty masks, or masks and cameras that do not belong together.
        """
        return self.fit_with_cameras(views, seed=seed, progress=progress)[0]

    def fit_with_cameras(
        self, views: Views, *, seed: int, keep_cameras: bool = False, progress: Progress | None = None
    ) -> tuple[Mesh, Cameras]:
        """The surface, and the cameras from which it looks like the views.

        Cameras that are off by more than a fraction of a pixel are turned about the world's origin and shifted across
        their line of sight; their mean stays. All others, and all with ``keep_cameras``, come back as they were given.
        """
        tell = progress or (lambda fraction, message: None)
        if not (np.isfinite(views.normals_world).all() and np.isfinite(views.alpha).all()):
            raise InputError("masks or normals hold NaN or infinite values; write the views again")
        tell(0.0, "visual hull")
        hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=self.settings.hull_cells)
        fit = _Fit(views, hull, keep_cameras=keep_cameras)
        total, done = sum(step * 4**level for level, step in enumerate(self.settings.steps)), 0
        for halving, steps in enumerate(self.settings.steps):
            fit.enter_level(halving)
            for _ in range(steps):
                tell(0.05 + 0.9 * done / total, f"signed distance, cells of {fit.field.cell:.4f}")
                fit.step()
                done += 4**halving
        mesh = _closed(fit.field, hull.floor_y, hull.cell / 2**halving)
        tell(1.0, "surface done")
        return mesh, fit.cameras


def _closed(field: SplineField, floor_y: float | None, edge: float) -> Mesh:
    """The zero set in even triangles, flat where the neck is cut."""
    mesh = remesh(zero_surface(field, floor_y=floor_y), edge)
    vertices = onto_zero(field, mesh.vertices)
    if floor_y is not None:
        low = mesh.vertices[:, 1] < floor_y + 0.25 * edge
        vertices[low] = mesh.vertices[low]
        vertices[low, 1] = floor_y
    return Mesh(vertices, mesh.faces)


class _Fit:
    """The field and what else is learnt with it."""

    def __init__(self, views: Views, hull: Hull, *, keep_cameras: bool) -> None:
        self.views, self.cameras, self.keep_cameras = views, views.cameras, keep_cameras
        reach = _FAR_CELLS * hull.cell
        self.field = fitted_to(np.clip(hull.field, -reach, reach), hull.low, hull.cell)
        self.first_cell = hull.cell
        self.errors = NormalErrors()
        self.moving: Bool[np.ndarray, "v"] = np.zeros(len(views), bool)
        self.has_normals = bool(views.normals_world.any())
        self.noise_rad = _NO_NORMALS_RAD
        self.steps = 0

    def enter_level(self, halving: int) -> None:
        """Goes on with cells halved so often, and with pictures to suit."""
        if halving:
            self.field = self.field.halved()
        distance = np.linalg.norm(self.cameras.camera_from_world[:, :3, 3], axis=1)
        cell_px = np.median(self.field.cell * self.cameras.intrinsics_px[:, 0, 0] / distance)
        self.shrink = 2 ** max(0, round(np.log2(cell_px / _CELL_PX)))
        self.level = normal_level(self.views, self.shrink)
        self.pictures = picture_level(self.views, self.level)
        self.errors.resize(*self.level.trust.shape)
        self.look_noise = None

    def step(self) -> None:
        """One round: render, gather, solve."""
        mesh = zero_surface(self.field, floor_y=None)
        level = seen_from(self.level, self.cameras)
        depth = depth_maps(mesh.vertices, mesh.faces, level.cameras)
        outlines, outline_noise_px = outline_wishes(self.field, level)
        wishes = [outlines]
        if self.steps >= _STEPS_BEFORE_LOOKS and self.noise_rad > SURE_NORMAL_RAD:
            level, depth, looks = self._looks(mesh, level, depth, outline_noise_px)
            wishes.append(looks)
        if self.has_normals:
            votes = normal_votes(
                self.field, level, depth, self.errors,
                patient=self.field.cell == self.first_cell, learning=self.steps >= _STEPS_BEFORE_LOOKS,
            )  # fmt: skip
            self.noise_rad = votes.noise_rad
            wishes.append(votes.wishes)
        least = 1.0 if self.has_normals else _NO_NORMALS_STRESS
        stress = max(least, _FIRST_STRESS * _STRESS_DECAY**self.steps)
        free = free_nodes(self.field)
        wishes.append(eikonal_wishes(self.field, free, stress=stress))
        self.field = improved(self.field, free, joined(*wishes), smoothness=_SMOOTHNESS * stress, inertia=_INERTIA)
        self.steps += 1
        logger.debug(
            "neural surface: cells of %.4f, %d free, noise of normals %.2f deg, of outlines %.2f px, cameras moved %d",
            self.field.cell, free.max() + 1, np.degrees(self.noise_rad), outline_noise_px * self.shrink,
            self.moving.sum(),
        )  # fmt: skip

    def _looks(
        self, mesh: Mesh, level: NormalPyramidLevel, depth: Float[np.ndarray, "v h w"], outline_noise_px: float
    ) -> tuple[NormalPyramidLevel, Float[np.ndarray, "v h w"], Wishes]:
        """Where the pictures agree, once the cameras that are off have been turned; with the level seen from those."""
        points, normals = surface_points(self.field, mesh.vertices)
        tolerance = _TOLERANCE * self.field.cell
        looks = compared(points, normals, level, self.pictures, depth, self.look_noise, tolerance=tolerance)
        if not self.keep_cameras:
            twists = camera_twists(
                points,
                normals,
                level,
                self.pictures,
                depth,
                looks,
                outline_noise_px=outline_noise_px,
                tolerance=tolerance,
            )
            self.moving |= motion_px(mesh, self.cameras, twisted(self.cameras, twists)) / self.shrink > _STILL_PX
            if self.moving.any():
                twists[~self.moving] = 0
                twists[self.moving] -= twists[self.moving].mean(0)
                self.cameras = twisted(self.cameras, twists)
                level = seen_from(level, self.cameras)
                depth = depth_maps(mesh.vertices, mesh.faces, level.cameras)
                looks = compared(points, normals, level, self.pictures, depth, looks.noise, tolerance=tolerance)
        self.look_noise = looks.noise
        return level, depth, look_wishes(self.field, points, looks)
