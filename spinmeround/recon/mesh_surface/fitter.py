"""Surface fit to posed normals and masks: a visual hull, refined coarse to fine into a watertight mesh.

Each step decides which views see each part of the present surface, gathers target normals for its faces and target
steps for its occluding contours, and moves the vertices along their normals by one sparse least-squares solve. Between
levels the surface is remeshed isotropically to half the edge length.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from spinmeround.configs import QUALITIES, Quality, preset
from spinmeround.errors import InputError
from spinmeround.recon.cameras.silhouettes import pan_cameras_if_needed
from spinmeround.recon.hull import silhouettes, visual_hull
from spinmeround.recon.mesh_surface.level_fit import Estimates, Level, LevelFit, Problem, set_on_floor
from spinmeround.recon.mesh_surface.remesh import remesh
from spinmeround.types import Mesh, Progress, SurfaceFit, Views, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SurfaceSettings:
    """How fine the surface is and how long it is fitted.

    Attributes:
        hull_cells: voxels along the longest side of the hull.
        iterations: steps on each level. The first level's edges are one voxel long, each further level's half as long.
    """

    hull_cells: int
    iterations: tuple[int, ...]


SURFACE_PRESETS: Mapping[Quality, SurfaceSettings] = MappingProxyType(
    {q: SurfaceSettings(**preset(q).surface) for q in QUALITIES}
)


class NormalSurfaceFitter:
    """``SurfaceFitter`` for views with world normals; without normals the colours carve a smooth hull."""

    def __init__(self, settings: SurfaceSettings = SURFACE_PRESETS["standard"], *, keep_cameras: bool = False) -> None:
        self.settings, self.keep_cameras = settings, keep_cameras

    def fit(self, views: Views, *, seed: int, progress: Progress = no_progress) -> SurfaceFit:
        """Fit a watertight manifold mesh, and correct cameras unless they are exact or ``keep_cameras`` is set.

        Cameras that are off by more than a fraction of a pixel are turned about the world's origin and shifted across
        their line of sight; their mean stays. If views have normals and their silhouettes contradict each other by far,
        all cameras are panned first until these agree. All others come back as they were given.

        Args:
            views: silhouettes count whole, normals by ``weight``. Masks cut by the picture's lower border in most views
                make a neck that is closed flat.
            seed: unused, since nothing here is random; part of the protocol.
            progress: called with the fraction done.

        Returns:
            The mesh in the world frame, counter-clockwise seen from outside, and the cameras that see it so.

        Raises:
            InputError: too few views, empty masks, or masks and cameras that do not belong together.
        """
        _check(views)
        keep_cameras = self.keep_cameras or views.exact_cameras
        if views.normals_world.any() and not keep_cameras:
            progress(0.0, "comparing silhouettes")
            views = replace(views, cameras=pan_cameras_if_needed(views.cameras, views.alpha))
        progress(0.0, "visual hull")
        masks = silhouettes(views.alpha)
        hull = visual_hull(views.cameras, masks, cells=self.settings.hull_cells)
        problem, estimates = Problem(views, masks, hull, keep_cameras), Estimates.before_fit(views)
        mesh = hull.mesh
        for halving in range(len(self.settings.iterations)):
            mesh = self._fit_level(problem, estimates, mesh, halving, progress)
        progress(1.0, "surface done")
        return SurfaceFit(mesh, estimates.cameras)

    def _fit_level(self, problem: Problem, estimates: Estimates, mesh: Mesh, halving: int, progress: Progress) -> Mesh:
        """Remesh to a level's edge length and do all steps on it; updates the estimates."""
        edge, floor_y = problem.hull.cell / 2**halving, problem.hull.floor_y
        mesh = set_on_floor(remesh(mesh, edge), floor_y, edge)
        fit = LevelFit(problem, estimates, Level.of(problem.views, mesh, edge))
        for iteration in range(self.settings.iterations[halving]):
            done = 0.9 * estimates.steps / sum(self.settings.iterations)
            progress(0.1 + done, f"surface, {len(mesh.vertices)} vertices")
            if iteration:
                mesh = set_on_floor(remesh(mesh, edge, rounds=1), floor_y, edge)
            mesh = fit.step(mesh, settled=iteration > 0 and halving + 1 == len(self.settings.iterations))
        return mesh


def _check(views: Views) -> None:
    if not all(np.isfinite(plane).all() for planes in (views.normals_world, views.alpha) for plane in planes):
        raise InputError("masks or normals hold NaN or infinite values; write the views again")
    if not views.normals_world.any():
        log.warning("the views carry no normals: hollows are found only where colours show them")
