"""Posed normals and masks to a watertight surface: a visual hull whose faces are turned, coarse to fine.

Each step decides what every view sees of the present surface, gathers target normals at its faces and target outlines
at its rims, and moves the vertices along their normals by one sparse least-squares solve. Between levels the surface
is remeshed isotropically to half the edge length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, face_normals, vertex_normals
from spinmeround.recon.evidence import (
    NormalPyramidLevel,
    continue_normals,
    depth_maps,
    face_targets,
    normal_level,
    rim_offsets,
)
from spinmeround.recon.hull import Hull, Silhouettes, silhouettes, visual_hull
from spinmeround.recon.integrate import displacements
from spinmeround.recon.remesh import half_edge_ring, remesh
from spinmeround.types import Mesh, Views

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Told the share done in [0, 1] and what is being done."""

_HIDDEN_WEIGHT = 0.05
_RIM_WEIGHT = 2.0
"""On the first level, against 1 for a normal seen frontally; a quarter of it on each further level. Coarse meshes need
it to keep ears, fine ones are better placed by many normals than by outlines drawn to half a pixel."""
_STIFFNESS = 0.02
_RIM_REACH = 3.0
_HULL_EASE = 0.1
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
    "standard": SurfaceSettings(64, (6, 4, 3)),
    "high": SurfaceSettings(88, (8, 5, 4)),
}


class NormalSurfaceFitter:
    """``SurfaceFitter`` for views with world normals; without normals it returns the smoothed visual hull."""

    def __init__(self, settings: SurfaceSettings = SURFACE_PRESETS["standard"]) -> None:
        self.settings = settings

    def fit(self, views: Views, *, seed: int, progress: Progress | None = None) -> Mesh:
        """A watertight manifold mesh in the world frame, counter-clockwise seen from outside.

        Args:
            views: silhouettes count whole, normals by ``weight``. Masks cut by the picture's lower border in most views
                make a neck that is closed flat.
            seed: nothing here is random; part of the protocol.
            progress: told the share done and what is being done.

        Raises:
            InputError: too few views, empty masks, or masks and cameras that do not belong together.
        """
        tell = progress or (lambda fraction, message: None)
        _check(views)
        tell(0.0, "visual hull")
        outlines = silhouettes(views.alpha)
        hull = visual_hull(views.cameras, outlines, cells=self.settings.hull_cells)
        mesh = hull.mesh
        total, done = sum(self.settings.iterations), 0
        for halving, iterations in enumerate(self.settings.iterations):
            edge = hull.cell / 2**halving
            mesh = _on_floor(remesh(mesh, edge), hull.floor_y, edge)
            level = normal_level(views, _shrink(views, mesh, edge))
            for iteration in range(iterations):
                tell(0.1 + 0.9 * done / total, f"surface, {len(mesh.vertices)} vertices")
                if iteration:
                    mesh = _on_floor(remesh(mesh, edge, rounds=1), hull.floor_y, edge)
                mesh = _step(mesh, views, outlines, level, hull, edge)
                done += 1
        tell(1.0, "surface done")
        return mesh


def _check(views: Views) -> None:
    if not (np.isfinite(views.normals_world).all() and np.isfinite(views.alpha).all()):
        raise InputError("masks or normals hold NaN or infinite values; write the views again")
    if not views.normals_world.any():
        logger.warning("the views carry no normals: the surface will be their smoothed visual hull, without hollows")


def _shrink(views: Views, mesh: Mesh, edge: float) -> int:
    """Power of two by which pictures shrink so that one edge still covers a pixel and a half."""
    centre = mesh.vertices.mean(0)
    distance = np.linalg.norm(camera_centres(views.cameras) - centre, axis=1)
    edge_px = np.median(edge * views.cameras.intrinsics_px[:, 0, 0] / distance)
    return 2 ** max(0, int(np.log2(edge_px / _PIXELS_PER_EDGE)))


def _step(mesh: Mesh, views: Views, outlines: Silhouettes, level: NormalPyramidLevel, hull: Hull, edge: float) -> Mesh:
    """One round: look, gather, solve, move."""
    vertices, faces = mesh.vertices, mesh.faces
    normals = face_normals(vertices, faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    directions, pinned = _directions(mesh, hull.floor_y)
    ring = half_edge_ring(faces, len(vertices))
    depth = depth_maps(
        np.concatenate([vertices, hull.skirt.vertices]),
        np.concatenate([faces, hull.skirt.faces + len(vertices)]),
        level.cameras,
    )
    targets = face_targets(vertices[faces].mean(1), normals, level, depth, tolerance=0.75 * edge)
    seen = targets.weight > 0
    cap = np.zeros(len(faces), bool) if hull.floor_y is None else np.all(vertices[faces, 1] <= hull.floor_y, axis=1)
    wanted = np.where(seen[:, None], targets.normals, normals)
    wanted = continue_normals(wanted, ring, known=seen & ~cap, ignored=cap)
    # Without any normals smoothness is all there is beside the outlines, and must hold its own against their noise.
    weight = np.maximum(targets.weight, _HIDDEN_WEIGHT if seen.any() else 1.0)
    wanted[cap], weight[cap] = (0.0, -1.0, 0.0), 1.0
    steps, votes = rim_offsets(
        vertices, directions, views.cameras, outlines.distance_px, level.outline_px, depth,
        reach=_RIM_REACH * edge,
        ease=_HULL_EASE * edge if edge == hull.cell else 0.0,
    )  # fmt: skip
    pull_weight = np.where(pinned, 1e3, _RIM_WEIGHT * (edge / hull.cell) ** 2 * np.minimum(votes, 1.0))
    pull = np.where(pinned, 0.0, steps)
    moved = displacements(vertices, directions, ring, wanted, weight, pull, pull_weight, stiffness=_STIFFNESS)
    moved = np.clip(moved, -2 * edge, 2 * edge)
    logger.debug(
        "surface: %d vertices, step rms %.2e, rim rms %.2e, seen %.3f",
        len(vertices), np.sqrt((moved**2).mean()), np.sqrt((steps[votes > 0] ** 2).mean()), seen.mean(),
    )  # fmt: skip
    return _on_floor(Mesh(vertices + moved[:, None] * directions, faces), hull.floor_y, edge)


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
