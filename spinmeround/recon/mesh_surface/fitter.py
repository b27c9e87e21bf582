"""Posed normals and masks to a watertight surface: a visual hull whose faces are turned, coarse to fine.

Each step decides what every view sees of the present surface, gathers target normals at its faces and target outlines
at its rims, and moves the vertices along their normals by one sparse least-squares solve. Between levels the surface
is remeshed isotropically to half the edge length.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, face_normals, vertex_normals
from spinmeround.recon.cameras.silhouettes import panned_if_needed
from spinmeround.recon.evidence.patch_matching import PatchPulls, patch_level, patch_pulls
from spinmeround.recon.evidence.photo_consistency import (
    Looks,
    PictureLevel,
    camera_twists,
    compared,
    motion_px,
    picture_level,
    twisted,
)
from spinmeround.recon.evidence.targets import (
    NormalPyramidLevel,
    continue_normals,
    depth_maps,
    face_targets,
    normal_level,
    rim_offsets,
    seen_from,
)
from spinmeround.recon.hull import Hull, Silhouettes, silhouettes, visual_hull
from spinmeround.recon.mesh_surface.normal_integration import displacements
from spinmeround.recon.mesh_surface.remesh import half_edge_ring, remesh
from spinmeround.types import Cameras, Mesh, Progress, SurfaceFit, Views, no_progress

logger = logging.getLogger(__name__)

Ring = tuple[Integer[np.ndarray, "f 3"], Integer[np.ndarray, "h"], Integer[np.ndarray, "v"]]
"""Faces, half-edge twins and one leaving half-edge per vertex (see ``remesh``)."""


_HIDDEN_WEIGHT = 0.05
_RIM_WEIGHT = 2.0
"""On the first level, against 1 for a normal seen frontally; a quarter of it on each further level. Coarse meshes need
it to keep ears, fine ones are better placed by many normals than by outlines drawn to half a pixel."""
_STIFFNESS = 0.02
_RIM_REACH = 3.0
_HULL_EASE = 0.1
_TOLERANCE = 0.75
"""How far off the depth map, in edge lengths, a point still counts as seen."""
_STEPS_BEFORE_LOOKS = 3
_PATCH_GAIN = 6.0
"""Errors of normals reach over many edges, those of patches over a few pixels; found by trial on shapes with noise."""
_CONTRADICTED_DEG, _CONTRADICTED_NOISES = 10.0, 2.5
"""A face held this far off the normal it should have, by outlines and its neighbours, counts a quarter (Geman-McClure).
Normals shaded smoothly across a crease of the body are such. Where normals are noisy, so many noises."""
_SURE_NORMALS_RAD = 0.03
"""Normals that agree this well place the surface better than the pictures' detail can."""
_FAIR_NORMALS_RAD, _FAIR_OUTLINE_PX = 0.05, 0.15
"""Errors up to which outlines have their full say: of normals, and of outlines in the level's pixels, to a fraction of
which a coarse surface's own outline is drawn."""
_NO_NORMALS_RAD = 0.35
_LEAST_OUTLINE_NOISE_PX = 0.1
_STILL_PX, _SETTLED_PX = 0.12, 0.03
"""Of the level's pixels: errors of a camera that are not told from those of a coarse surface, and steps that are no
longer worth the work."""
_SIGMA_PER_MEDIAN = 1.48
_PIXELS_PER_EDGE = 1.5


@dataclass(frozen=True)
class SurfaceSettings:
    """How fine and how long.

    Attributes:
        hull_cells: voxels along the longest side of the hull.
        iterations: steps on each level. The first level's edges are one voxel long, each further level's half as long.
    """

    hull_cells: int
    iterations: tuple[int, ...]


SURFACE_PRESETS: dict[Literal["draft", "standard", "high"], SurfaceSettings] = {
    "draft": SurfaceSettings(64, (5, 3)),
    "standard": SurfaceSettings(64, (6, 4, 4)),
    "high": SurfaceSettings(88, (8, 5, 5)),
}


class NormalSurfaceFitter:
    """``SurfaceFitter`` for views with world normals; without normals the colours carve a smooth hull."""

    def __init__(self, settings: SurfaceSettings = SURFACE_PRESETS["standard"], *, keep_cameras: bool = False) -> None:
        self.settings, self.keep_cameras = settings, keep_cameras

    def fit(self, views: Views, *, seed: int, progress: Progress = no_progress) -> SurfaceFit:
        """Fit a watertight manifold mesh, and correct the cameras unless ``keep_cameras`` is set.

        Cameras that are off by more than a fraction of a pixel are turned about the world's origin and shifted across
        their line of sight; their mean stays. Where normals come with outlines that contradict each other by far, all
        cameras are panned first until these agree. All others come back as they were given.

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
        if views.normals_world.any() and not self.keep_cameras:
            progress(0.0, "comparing outlines")
            views = replace(views, cameras=panned_if_needed(views.cameras, views.alpha))
        progress(0.0, "visual hull")
        outlines = silhouettes(views.alpha)
        hull = visual_hull(views.cameras, outlines, cells=self.settings.hull_cells)
        mesh, fit = hull.mesh, _Fit(views, outlines, hull, keep_cameras=self.keep_cameras)
        total, done = sum(self.settings.iterations), 0
        for halving, iterations in enumerate(self.settings.iterations):
            edge = hull.cell / 2**halving
            mesh = _on_floor(remesh(mesh, edge), hull.floor_y, edge)
            fit.enter_level(edge, _shrink(views, mesh, edge))
            for iteration in range(iterations):
                progress(0.1 + 0.9 * done / total, f"surface, {len(mesh.vertices)} vertices")
                if iteration:
                    mesh = _on_floor(remesh(mesh, edge, rounds=1), hull.floor_y, edge)
                mesh = fit.step(mesh, settled=iteration > 0 and halving + 1 == len(self.settings.iterations))
                done += 1
        progress(1.0, "surface done")
        return SurfaceFit(mesh, fit.cameras)


def _check(views: Views) -> None:
    if not all(np.isfinite(plane).all() for planes in (views.normals_world, views.alpha) for plane in planes):
        raise InputError("masks or normals hold NaN or infinite values; write the views again")
    if not views.normals_world.any():
        logger.warning("the views carry no normals: hollows are found only where colours show them")


def _shrink(views: Views, mesh: Mesh, edge: float) -> int:
    """Power of two by which pictures shrink so that one edge still covers a pixel and a half."""
    centre = mesh.vertices.mean(0)
    distance = np.linalg.norm(camera_centres(views.cameras) - centre, axis=1)
    edge_px = np.median(edge * views.cameras.intrinsics_px[:, 0, 0] / distance)
    return 2 ** max(0, int(np.log2(edge_px / _PIXELS_PER_EDGE)))


class _Fit:
    """What is known so far beside the surface: the cameras, and how far normals, outlines and looks can be trusted."""

    def __init__(self, views: Views, outlines: Silhouettes, hull: Hull, *, keep_cameras: bool) -> None:
        self.views, self.outlines, self.hull, self.keep_cameras = views, outlines, hull, keep_cameras
        self.cameras = views.cameras
        self.moving = np.zeros(len(views), bool)
        self.normal_noise_rad = 0.0 if views.normals_world.any() else _NO_NORMALS_RAD
        self.steps = 0

    def enter_level(self, edge: float, shrink: int) -> None:
        """Goes on with edges of this length and pictures shrunk so far."""
        for outdated in ("level", "pictures", "patches"):
            self.__dict__.pop(outdated, None)
        self.edge, self.shrink = edge, shrink
        self.level = normal_level(self.views, shrink)
        self.look_noise = self.patch_noise = None
        tried = self.steps > 0 and not self.moving.any() and not self._normals_in_doubt
        self.trying_cameras = not (self.keep_cameras or tried)

    def step(self, mesh: Mesh, *, settled: bool = False) -> Mesh:
        """One round: look, gather, solve, move. On a settled surface normals that it does not follow count less."""
        vertices, faces = mesh.vertices, mesh.faces
        directions, pinned = _directions(mesh, self.hull.floor_y)
        ring = half_edge_ring(faces, len(vertices))
        level = seen_from(self.level, self.cameras)
        depth = self._depth(mesh, level)
        pulls = None
        if self.steps >= _STEPS_BEFORE_LOOKS:
            if self.trying_cameras and self._cameras_moved(mesh, directions, level, depth):
                level = seen_from(self.level, self.cameras)
                depth = self._depth(mesh, level)
            if self._normals_in_doubt:
                pulls = self._patch_pulls(mesh, directions, level, depth)
        wanted, weight = self._wanted_normals(mesh, ring, level, depth, settled=settled)
        pull, pull_weight = self._pulls(vertices, directions, level, depth, pulls)
        pull, pull_weight = np.where(pinned, 0.0, pull), np.where(pinned, 1e3, pull_weight)
        moved = displacements(vertices, directions, ring, wanted, weight, pull, pull_weight, stiffness=_STIFFNESS)
        moved = np.clip(moved, -2 * self.edge, 2 * self.edge)
        logger.debug(
            "surface: %d vertices, step rms %.2e, noise of normals %.2f deg, of outlines %.2f px, cameras moved %d",
            len(vertices), np.sqrt((moved**2).mean()), np.degrees(self.normal_noise_rad), self.outline_noise_px,
            self.moving.sum(),
        )  # fmt: skip
        self.steps += 1
        return _on_floor(Mesh(vertices + moved[:, None] * directions, faces), self.hull.floor_y, self.edge)

    @property
    def _normals_in_doubt(self) -> bool:
        """Whether the pictures' detail can place the surface better than its normals do."""
        return self.normal_noise_rad > _SURE_NORMALS_RAD

    @cached_property
    def pictures(self) -> PictureLevel:
        """Made for a level only if cameras are tried on it."""
        return picture_level(self.views, self.level)

    @cached_property
    def patches(self) -> PictureLevel:
        """Made for a level only if normals are in doubt."""
        return patch_level(self.views, self.level)

    def _depth(self, mesh: Mesh, level: NormalPyramidLevel) -> Float[np.ndarray, "n y x"]:
        skirt = self.hull.skirt
        return depth_maps(
            np.concatenate([mesh.vertices, skirt.vertices]),
            np.concatenate([mesh.faces, skirt.faces + len(mesh.vertices)]),
            level.cameras,
        )

    def _looks(
        self,
        mesh: Mesh,
        directions: Float[np.ndarray, "v 3"],
        level: NormalPyramidLevel,
        depth: Float[np.ndarray, "n y x"],
    ) -> Looks:
        tolerance = _TOLERANCE * self.edge
        looks = compared(mesh.vertices, directions, level, self.pictures, depth, self.look_noise, tolerance=tolerance)
        self.look_noise = looks.noise
        return looks

    def _patch_pulls(
        self,
        mesh: Mesh,
        directions: Float[np.ndarray, "v 3"],
        level: NormalPyramidLevel,
        depth: Float[np.ndarray, "n y x"],
    ) -> PatchPulls:
        pulls = patch_pulls(
            mesh, directions, level, self.patches, depth, self.patch_noise,
            edge=self.edge, tolerance=_TOLERANCE * self.edge,
        )  # fmt: skip
        self.patch_noise = pulls.noise
        return pulls

    def _cameras_moved(
        self,
        mesh: Mesh,
        directions: Float[np.ndarray, "v 3"],
        level: NormalPyramidLevel,
        depth: Float[np.ndarray, "n y x"],
    ) -> bool:
        """Turns the cameras that are off; what a camera must be off before it is first touched is beyond doubt."""
        twists = camera_twists(
            mesh.vertices, directions, level, self.pictures, depth, self._looks(mesh, directions, level, depth),
            outline_noise_px=max(self.outline_noise_px / self.shrink, _LEAST_OUTLINE_NOISE_PX),
            tolerance=_TOLERANCE * self.edge,
        )  # fmt: skip
        apart_px = motion_px(mesh, self.cameras, twisted(self.cameras, twists)) / self.shrink
        self.moving |= apart_px > _STILL_PX
        self.trying_cameras = bool((apart_px[self.moving] > _SETTLED_PX).any())
        if not self.moving.any():
            return False
        twists[~self.moving] = 0
        twists[self.moving] -= twists[self.moving].mean(0)
        self.cameras = twisted(self.cameras, twists)
        return True

    def _wanted_normals(
        self,
        mesh: Mesh,
        ring: Ring,
        level: NormalPyramidLevel,
        depth: Float[np.ndarray, "n y x"],
        *,
        settled: bool,
    ) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f"]]:
        """Target normals of the faces and their weights."""
        vertices, faces, floor_y = mesh.vertices, mesh.faces, self.hull.floor_y
        normals = face_normals(vertices, faces)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        targets = face_targets(
            vertices[faces].mean(1), normals, level, depth,
            tolerance=_TOLERANCE * self.edge, noise_rad=self.normal_noise_rad,
        )  # fmt: skip
        seen, sure = targets.weight > 0, targets.weight
        if settled:
            limit = max(np.radians(_CONTRADICTED_DEG), _CONTRADICTED_NOISES * self.normal_noise_rad)
            sure = sure / (1 + ((targets.normals - normals) ** 2).sum(1) / limit**2) ** 2
        cap = np.zeros(len(faces), bool) if floor_y is None else np.all(vertices[faces, 1] <= floor_y, axis=1)
        wanted = np.where(seen[:, None], targets.normals, normals)
        wanted = continue_normals(wanted, ring, known=seen & ~cap, ignored=cap)
        # Without any normals smoothness is all there is beside the outlines, and must hold its own against their noise.
        weight = np.maximum(sure, _HIDDEN_WEIGHT if seen.any() else 1.0)
        wanted[cap], weight[cap] = (0.0, -1.0, 0.0), 1.0
        if seen.any():
            self.normal_noise_rad = targets.noise_rad
        return wanted, weight

    def _pulls(
        self,
        vertices: Float[np.ndarray, "v 3"],
        directions: Float[np.ndarray, "v 3"],
        level: NormalPyramidLevel,
        depth: Float[np.ndarray, "n y x"],
        patches: PatchPulls | None,
    ) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"]]:
        """Steps that outlines and patches ask for and their weights, against 1 for a normal seen frontally."""
        edge = self.edge
        first = edge == self.hull.cell
        steps, votes = rim_offsets(
            vertices, directions, self.cameras, self.outlines.distance_px, level.outline_px, depth,
            reach=_RIM_REACH * edge, ease=_HULL_EASE * edge if first else 0.0,
        )  # fmt: skip
        self.outline_noise_px = _outline_noise_px(self.cameras, vertices, steps[votes > 0])
        weight = self._rim_weights(steps) * np.minimum(votes, 1.0)
        if patches is None:
            return steps, weight
        # An edge's end is known from normals to its length times their error.
        scale = _PATCH_GAIN * (edge * self.normal_noise_rad) ** 2
        total = weight + scale * patches.information
        return (weight * steps + scale * patches.pull) / np.maximum(total, 1e-12), total

    def _rim_weights(self, steps: Float[np.ndarray, "v"]) -> Float[np.ndarray, "v"]:
        """Outlines that contradict the surface count less, unless its normals are no better.

        Where outlines are good, a rim that is off by an edge or more has lost something thin, an ear, which no normals
        bring back: it counts in full on every level.
        """
        normals = 1 + (self.normal_noise_rad / _FAIR_NORMALS_RAD) ** 2
        outlines = 1 + (self.outline_noise_px / (_FAIR_OUTLINE_PX * self.shrink)) ** 2
        near = min(1.0, normals / outlines) * (self.edge / self.hull.cell) ** 2
        return _RIM_WEIGHT * np.maximum(near, np.minimum(np.abs(steps) / self.edge, 1.0) ** 4 / outlines)


def _outline_noise_px(cameras: Cameras, vertices: Float[np.ndarray, "v 3"], steps: Float[np.ndarray, "r"]) -> float:
    """Standard deviation of the outlines from the surface's, robust, pixels of the views."""
    distance = np.linalg.norm(camera_centres(cameras) - vertices.mean(0), axis=1)
    pixels_per_unit = float(np.median(cameras.intrinsics_px[:, 0, 0] / distance))
    return float(_SIGMA_PER_MEDIAN * np.median(np.abs(steps)) * pixels_per_unit) if len(steps) else 0.0


def _directions(mesh: Mesh, floor_y: float | None) -> tuple[Float[np.ndarray, "v 3"], Bool[np.ndarray, "v"]]:
    """Directions the vertices may take, and which may not move: vertices of the neck's cut stay in its plane."""
    directions = vertex_normals(mesh.vertices, mesh.faces)
    if floor_y is None:
        return directions, np.zeros(len(directions), bool)
    on_floor = mesh.vertices[:, 1] <= floor_y
    flat = directions * [1.0, 0.0, 1.0]
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    rim = on_floor[:, None] & (length > 0.3)
    return np.where(rim, flat / np.maximum(length, 1e-30), directions), on_floor & (length[:, 0] <= 0.3)


def _on_floor(mesh: Mesh, floor_y: float | None, edge: float) -> Mesh:
    """Sets vertices below or just above the neck's cut onto it."""
    if floor_y is None:
        return mesh
    vertices = mesh.vertices.copy()
    vertices[vertices[:, 1] < floor_y + 0.25 * edge, 1] = floor_y
    return Mesh(vertices, mesh.faces)
