"""One level of the surface fit: targets from the views, camera corrections, and steps of the vertices.

What the steps find out beside the surface (cameras, noise) is kept in ``Estimates`` and carried from level to level.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import camera_centres, face_normals, vertex_normals
from spinmeround.recon.evidence.patch_matching import PatchTerms, patch_level, patch_terms
from spinmeround.recon.evidence.photo_consistency import (
    apply_twists,
    band_pass_level,
    camera_twists,
    image_motion_px,
    photo_consensus,
)
from spinmeround.recon.evidence.targets import (
    NormalPyramidLevel,
    depth_maps,
    face_targets,
    fill_unseen_normals,
    normal_level,
    occluding_contour_steps,
    with_cameras,
)
from spinmeround.recon.evidence.view_sampling import PictureLevel, SurfaceInViews
from spinmeround.recon.hull import Hull, Silhouettes
from spinmeround.recon.mesh_surface.normal_integration import IntegrationTargets, integrate_normals
from spinmeround.recon.mesh_surface.remesh import half_edge_ring
from spinmeround.types import Cameras, Mesh, Views

log = logging.getLogger(__name__)

Ring = tuple[Integer[np.ndarray, "f 3"], Integer[np.ndarray, "h"], Integer[np.ndarray, "v"]]
"""Faces, half-edge twins and one leaving half-edge per vertex (see ``remesh``)."""


@dataclass(frozen=True)
class _NormalSettings:
    """How much target normals count; a normal seen frontally counts 1.

    Attributes:
        unseen_weight: of normals that are continued from the faces around.
        contradicted_deg: a face held this far off its target, by silhouettes and its neighbours, counts a quarter on a
            settled surface (Geman-McClure). Normals shaded smoothly across a crease of the body are such.
        contradicted_noises: the same limit in standard deviations of the normals; the larger of both holds.
        certain_rad: normals that agree this well place the surface better than the pictures' detail can.
        missing_rad: noise assumed if the views have no normals.
    """

    unseen_weight: float = 0.05
    contradicted_deg: float = 10.0
    contradicted_noises: float = 2.5
    certain_rad: float = 0.03
    missing_rad: float = 0.35


@dataclass(frozen=True)
class _SilhouetteSettings:
    """How much silhouettes count against normals.

    Attributes:
        weight: on the first level; a quarter of it on each further level. Coarse meshes need it to keep ears, fine ones
            are better placed by many normals than by silhouettes drawn to half a pixel.
        reach_edges: contours further than this from the mask's, edge lengths, are left alone.
        hull_ease_edges: contours of the hull nearer than this to the mask's, edge lengths, count less.
        fair_normals_rad: noise of the normals from which on silhouettes count more.
        fair_px: noise of the silhouettes from which on they count less, pixels of the level; the silhouette of a coarse
            surface is drawn no better than that.
        min_noise_px: smallest noise assumed of silhouettes when cameras are corrected, pixels of the level.
    """

    weight: float = 2.0
    reach_edges: float = 3.0
    hull_ease_edges: float = 0.1
    fair_normals_rad: float = 0.05
    fair_px: float = 0.15
    min_noise_px: float = 0.1


@dataclass(frozen=True)
class _CameraSettings:
    """When cameras are corrected; distances are root mean squares over the surface, pixels of the level.

    Attributes:
        min_error_px: below it, a camera error cannot be told from the errors of a coarse surface.
        converged_px: corrections below this end the corrections on a level.
    """

    min_error_px: float = 0.12
    converged_px: float = 0.03


@dataclass(frozen=True)
class _StepSettings:
    """How vertices move; lengths in edge lengths.

    Attributes:
        tolerance_edges: how far off the depth map a point still counts as seen.
        max_step_edges: longest step of a vertex.
        stiffness: weight of the difference between the steps of neighbours.
        pinned_weight: of a zero step at vertices that must not move.
        floor_edges: vertices this little above the neck's cut are set onto it.
        steps_before_pictures: steps until the surface is good enough to compare pictures on it.
        patch_gain: weight of patches beside normals, found by trial on shapes with noise. Errors of normals reach over
            many edges, those of patches over a few pixels.
        edge_px: pixels that an edge covers at least in the pictures of its level.
    """

    tolerance_edges: float = 0.75
    max_step_edges: float = 2.0
    stiffness: float = 0.02
    pinned_weight: float = 1e3
    floor_edges: float = 0.25
    steps_before_pictures: int = 3
    patch_gain: float = 6.0
    edge_px: float = 1.5


_NORMALS, _SILHOUETTES, _CAMERAS, _STEP = _NormalSettings(), _SilhouetteSettings(), _CameraSettings(), _StepSettings()

_MIN_HORIZONTAL = 0.3
"""Horizontal part of a unit normal above which a vertex on the neck's cut lies at its edge, not inside it."""
_SIGMA_PER_MAD = 1.48
"""Standard deviations in a median absolute deviation, rounded."""


@dataclass(frozen=True)
class Problem:
    """What stays the same through a fit.

    Attributes:
        masks: silhouettes of the views.
        hull: the surface the fit starts from.
        keep_cameras: whether cameras are left as they are.
    """

    views: Views
    masks: Silhouettes
    hull: Hull
    keep_cameras: bool


@dataclass
class Estimates:
    """What is estimated beside the surface; updated by every step and carried from level to level.

    Attributes:
        corrected: which cameras have been found to be off.
        normal_noise_rad: standard deviation of the views' normals.
        contour_noise_px: standard deviation of the masks' contours from the surface's, pixels of the views.
        steps: done so far.
    """

    cameras: Cameras
    corrected: Bool[np.ndarray, "v"]
    normal_noise_rad: float
    contour_noise_px: float = 0.0
    steps: int = 0

    @classmethod
    def before_fit(cls, views: Views) -> Estimates:
        """Return the cameras as given, and normals without noise if there are any."""
        noise_rad = 0.0 if views.normals_world.any() else _NORMALS.missing_rad
        return cls(views.cameras, np.zeros(len(views), bool), noise_rad)

    @property
    def normals_in_doubt(self) -> bool:
        """Whether the pictures' detail can place the surface better than its normals do."""
        return self.normal_noise_rad > _NORMALS.certain_rad


@dataclass(frozen=True)
class Level:
    """One level of the fit, never changed: an edge length, and the views at a resolution that suits it.

    Attributes:
        edge: length, head units.
        shrink: factor by which the pictures are smaller than the views'.
        normals: of the views, with the cameras as they were given.
    """

    views: Views
    edge: float
    shrink: int
    normals: NormalPyramidLevel

    @classmethod
    def of(cls, views: Views, mesh: Mesh, edge: float) -> Level:
        """Return the level of a mesh with edges of that length."""
        shrink = _shrink(views, mesh, edge)
        return cls(views, edge, shrink, normal_level(views, shrink))

    @cached_property
    def band_passed(self) -> PictureLevel:
        """Pictures to correct cameras by; made only if that is tried on this level."""
        return band_pass_level(self.views, self.normals)

    @cached_property
    def patches(self) -> PictureLevel:
        """Pictures to match patches in; made only if normals are in doubt on this level."""
        return patch_level(self.views, self.normals)


def _shrink(views: Views, mesh: Mesh, edge: float) -> int:
    """Return the power of two by which pictures may shrink if one edge is to cover ``edge_px`` pixels."""
    centre = mesh.vertices.mean(0)
    distance = np.linalg.norm(camera_centres(views.cameras) - centre, axis=1)
    edge_px = np.median(edge * views.cameras.intrinsics_px[:, 0, 0] / distance)
    return 2 ** max(0, int(np.log2(edge_px / _STEP.edge_px)))


class LevelFit:
    """The steps on one level. What they find out beside the surface goes into the estimates."""

    def __init__(self, problem: Problem, estimates: Estimates, level: Level) -> None:
        self.problem, self.estimates, self.level = problem, estimates, level
        self.consensus_noise: Float[np.ndarray, "6"] | None = None
        self.patch_noise: Float[np.ndarray, "c"] | None = None
        cameras_fit = estimates.steps > 0 and not estimates.corrected.any() and not estimates.normals_in_doubt
        self.correcting_cameras = not (problem.keep_cameras or cameras_fit)

    def step(self, mesh: Mesh, *, settled: bool = False) -> Mesh:
        """Gather targets, solve for displacements and move the vertices.

        Args:
            settled: whether normals that the surface does not follow count less.
        """
        vertices, faces, edge = mesh.vertices, mesh.faces, self.level.edge
        estimates, floor_y = self.estimates, self.problem.hull.floor_y
        directions, pinned = _directions(mesh, floor_y)
        ring = half_edge_ring(faces, len(vertices))
        surface = self._in_views(mesh, directions)
        patches = None
        if estimates.steps >= _STEP.steps_before_pictures:
            if self.correcting_cameras and self._correct_cameras(surface):
                surface = self._in_views(mesh, directions)
            if estimates.normals_in_doubt:
                patches = self._patch_terms(surface)
        targets, weight = self._target_normals(surface, ring, settled=settled)
        steps, step_weight = self._target_steps(surface, patches)
        steps, step_weight = np.where(pinned, 0.0, steps), np.where(pinned, _STEP.pinned_weight, step_weight)
        moved = integrate_normals(
            vertices,
            directions,
            ring,
            IntegrationTargets(targets, weight, steps, step_weight),
            stiffness=_STEP.stiffness,
        )
        moved = np.clip(moved, -_STEP.max_step_edges * edge, _STEP.max_step_edges * edge)
        log.debug(
            "surface: %d vertices, step rms %.2e, noise of normals %.2f deg, of silhouettes %.2f px, cameras moved %d",
            len(vertices), np.sqrt((moved**2).mean()), np.degrees(estimates.normal_noise_rad),
            estimates.contour_noise_px, estimates.corrected.sum(),
        )  # fmt: skip
        estimates.steps += 1
        return set_on_floor(Mesh(vertices + moved[:, None] * directions, faces), floor_y, edge)

    def _in_views(self, mesh: Mesh, directions: Float[np.ndarray, "v 3"]) -> SurfaceInViews:
        """Return what the present cameras see of the mesh; the hull below the neck's cut may hide it."""
        level, skirt = with_cameras(self.level.normals, self.estimates.cameras), self.problem.hull.skirt
        depth = depth_maps(
            np.concatenate([mesh.vertices, skirt.vertices]),
            np.concatenate([mesh.faces, skirt.faces + len(mesh.vertices)]),
            level.cameras,
        )
        return SurfaceInViews(mesh, directions, level, depth, _STEP.tolerance_edges * self.level.edge)

    def _patch_terms(self, surface: SurfaceInViews) -> PatchTerms:
        terms = patch_terms(surface, self.level.patches, self.patch_noise, edge=self.level.edge)
        self.patch_noise = terms.noise
        return terms

    def _correct_cameras(self, surface: SurfaceInViews) -> bool:
        """Correct the cameras that are off; return whether there are any.

        A camera is first corrected when its error is above what a coarse surface explains, and from then on each time.
        """
        estimates, shrink = self.estimates, self.level.shrink
        consensus = photo_consensus(surface, self.level.band_passed, self.consensus_noise)
        self.consensus_noise = consensus.noise
        noise_px = max(estimates.contour_noise_px / shrink, _SILHOUETTES.min_noise_px)
        twists = camera_twists(surface, self.level.band_passed, consensus, contour_noise_px=noise_px)
        cameras = estimates.cameras
        motion_px = image_motion_px(surface.mesh, cameras, apply_twists(cameras, twists)) / shrink
        estimates.corrected |= motion_px > _CAMERAS.min_error_px
        self.correcting_cameras = bool((motion_px[estimates.corrected] > _CAMERAS.converged_px).any())
        if not estimates.corrected.any():
            return False
        twists[~estimates.corrected] = 0
        twists[estimates.corrected] -= twists[estimates.corrected].mean(0)
        estimates.cameras = apply_twists(cameras, twists)
        return True

    def _target_normals(
        self, surface: SurfaceInViews, ring: Ring, *, settled: bool
    ) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f"]]:
        """Return target normals of the faces and their weights; updates the noise of the normals."""
        vertices, faces, floor_y = surface.mesh.vertices, surface.mesh.faces, self.problem.hull.floor_y
        noise_rad = self.estimates.normal_noise_rad
        normals = face_normals(vertices, faces)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        targets = face_targets(
            vertices[faces].mean(1), normals, surface.level, surface.depth,
            tolerance=surface.tolerance, noise_rad=noise_rad,
        )  # fmt: skip
        seen, seen_weight = targets.weight > 0, targets.weight
        if settled:
            limit = max(np.radians(_NORMALS.contradicted_deg), _NORMALS.contradicted_noises * noise_rad)
            seen_weight = seen_weight / (1 + ((targets.normals - normals) ** 2).sum(1) / limit**2) ** 2
        cap = np.zeros(len(faces), bool) if floor_y is None else np.all(vertices[faces, 1] <= floor_y, axis=1)
        wanted = np.where(seen[:, None], targets.normals, normals)
        wanted = fill_unseen_normals(wanted, ring, known=seen & ~cap, ignored=cap)
        # Without any normals, smoothness alone stands against the noise of the silhouettes and needs full weight.
        weight = np.maximum(seen_weight, _NORMALS.unseen_weight if seen.any() else 1.0)
        wanted[cap], weight[cap] = (0.0, -1.0, 0.0), 1.0
        if seen.any():
            self.estimates.normal_noise_rad = targets.noise_rad
        return wanted, weight

    def _target_steps(
        self, surface: SurfaceInViews, patches: PatchTerms | None
    ) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"]]:
        """Return steps of the vertices by silhouettes and patches, and their weights; updates the contours' noise."""
        vertices, estimates, edge = surface.mesh.vertices, self.estimates, self.level.edge
        on_hull = edge == self.problem.hull.cell
        steps, contour_weight = occluding_contour_steps(
            vertices, surface.normals, estimates.cameras, self.problem.masks.distance_px, surface.level.contour_px,
            surface.depth, reach=_SILHOUETTES.reach_edges * edge,
            ease=_SILHOUETTES.hull_ease_edges * edge if on_hull else 0.0,
        )  # fmt: skip
        estimates.contour_noise_px = _contour_noise_px(estimates.cameras, vertices, steps[contour_weight > 0])
        weight = self._silhouette_weight(steps) * np.minimum(contour_weight, 1.0)
        if patches is None:
            return steps, weight
        # Normals place one end of an edge against the other to their error times its length.
        scale = _STEP.patch_gain * (edge * estimates.normal_noise_rad) ** 2
        total = weight + scale * patches.information
        return (weight * steps + scale * patches.right) / np.maximum(total, 1e-12), total

    def _silhouette_weight(self, steps: Float[np.ndarray, "v"]) -> Float[np.ndarray, "v"]:
        """Return the weight of silhouettes at vertices that should take these steps.

        Silhouettes that contradict the surface count less, unless its normals are no better. Where silhouettes are
        good, a contour that is off by an edge or more has lost something thin, such as an ear, that no normals bring
        back: it counts in full on every level.
        """
        edge, estimates = self.level.edge, self.estimates
        normals = 1 + (estimates.normal_noise_rad / _SILHOUETTES.fair_normals_rad) ** 2
        contours = 1 + (estimates.contour_noise_px / (_SILHOUETTES.fair_px * self.level.shrink)) ** 2
        near = min(1.0, normals / contours) * (edge / self.problem.hull.cell) ** 2
        return _SILHOUETTES.weight * np.maximum(near, np.minimum(np.abs(steps) / edge, 1.0) ** 4 / contours)


def _contour_noise_px(cameras: Cameras, vertices: Float[np.ndarray, "v 3"], steps: Float[np.ndarray, "r"]) -> float:
    """Return the robust standard deviation of the masks' contours from the surface's, pixels of the views."""
    distance = np.linalg.norm(camera_centres(cameras) - vertices.mean(0), axis=1)
    pixels_per_unit = float(np.median(cameras.intrinsics_px[:, 0, 0] / distance))
    return float(_SIGMA_PER_MAD * np.median(np.abs(steps)) * pixels_per_unit) if len(steps) else 0.0


def _directions(mesh: Mesh, floor_y: float | None) -> tuple[Float[np.ndarray, "v 3"], Bool[np.ndarray, "v"]]:
    """Return the directions vertices may move in, and which may not move: those on the neck's cut stay in its plane."""
    directions = vertex_normals(mesh.vertices, mesh.faces)
    if floor_y is None:
        return directions, np.zeros(len(directions), bool)
    on_floor = mesh.vertices[:, 1] <= floor_y
    flat = directions * [1.0, 0.0, 1.0]
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    edge_of_cut = on_floor[:, None] & (length > _MIN_HORIZONTAL)
    return np.where(edge_of_cut, flat / np.maximum(length, 1e-30), directions), on_floor & (
        length[:, 0] <= _MIN_HORIZONTAL
    )


def set_on_floor(mesh: Mesh, floor_y: float | None, edge: float) -> Mesh:
    """Return the mesh with vertices below or just above the neck's cut set onto it."""
    if floor_y is None:
        return mesh
    vertices = mesh.vertices.copy()
    vertices[vertices[:, 1] < floor_y + _STEP.floor_edges * edge, 1] = floor_y
    return Mesh(vertices, mesh.faces)
