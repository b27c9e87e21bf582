"""Residuals of one photo: landmarks, a jaw contour that may slide, and the silhouette of bare skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import vertex_normals
from spinmeround.portrait import landmarks as face_mesh
from spinmeround.template.fit.lip_edges import lip_edges
from spinmeround.template.fit.residuals import (
    PointTerm,
    Pose,
    SurfacePoints,
    contour_whitening,
    isotropic_whitening,
)
from spinmeround.template.fit.settings import LandmarkSettings, LipEdgeSettings, SilhouetteSettings
from spinmeround.template.fit.silhouette import Silhouette, head_silhouette, matte_edges
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.types import Portrait

FACE_OVAL = np.array(face_mesh.FACE_OVAL)
"""Landmarks of the face's contour, once around, as an index array."""
EYE_CORNERS = ((33, 133), (263, 362))
"""Outer and inner corner of the subject's right and left eye."""

_CHIN = 152
_IRIS_CENTRES = (face_mesh.RIGHT_IRIS, face_mesh.LEFT_IRIS)

_LANDMARKS, _SILHOUETTE, _EDGES = LandmarkSettings(), SilhouetteSettings(), LipEdgeSettings()


@dataclass(frozen=True)
class MorphableSurface:
    """A head model with the points that the fit moves.

    Attributes:
        model: gives topology, landmarks and masks.
        vertices: all coarse vertices with what moves them.
        landmarks: the 478 landmark points with what moves them.
    """

    model: HeadModel
    vertices: SurfacePoints
    landmarks: SurfacePoints

    @staticmethod
    def from_vertices(model: HeadModel, vertices: SurfacePoints) -> MorphableSurface:
        """Bind vertices, which may move differently from the model's own, to the model's topology."""
        corners = model.faces[model.landmark_faces]
        return MorphableSurface(model, vertices, vertices.at_barycentric(corners, model.landmark_barycentric))


def eye_distance_px(landmarks_px: Float[np.ndarray, "478 2"]) -> float:
    """Return the distance in the picture between the centres of the eyes, each midway between its corners."""
    right, left = (landmarks_px[list(corners)].mean(0) for corners in EYE_CORNERS)
    return float(np.linalg.norm(left - right))


def frontal_eye_distance_px(surface: MorphableSurface, pose: Pose) -> float:
    """Return the distance between the eyes in the picture if the head faced the camera: no turn shortens it."""
    mean = surface.landmarks.mean
    right, left = (mean[list(corners)].mean(0) for corners in EYE_CORNERS)
    return float(np.linalg.norm(left - right) * pose.focal_px / pose.translation[2])


@dataclass(frozen=True)
class PosedSurface:
    """The surface in the state of one photo, and how it faces that photo's camera.

    Attributes:
        vertices: coarse vertices, world frame.
        normals: their unit normals, world frame; 0 at vertices no face uses.
        vertex_facing: cosine of the angle between normal and line of sight at each vertex.
        landmark_facing: the same at each landmark.
    """

    vertices: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    vertex_facing: Float[np.ndarray, "n"]
    landmark_facing: Float[np.ndarray, "478"]

    @staticmethod
    def from_state(surface: MorphableSurface, pose: Pose, shape: np.ndarray, expression: np.ndarray) -> PosedSurface:
        """Move the surface by shape and expression, and compute how it faces the camera."""
        vertices = surface.vertices.positions(shape, expression)
        normals = vertex_normals(vertices, surface.model.faces)
        camera = pose.camera_points(vertices)
        toward = -camera / np.linalg.norm(camera, axis=1, keepdims=True)
        vertex_facing = ((normals @ pose.rotation.T) * toward).sum(1)
        return PosedSurface(vertices, normals, vertex_facing, landmark_points(surface.model, vertex_facing))


def landmark_term(
    surface: MorphableSurface,
    portrait: Portrait,
    pose: Pose,
    posed: PosedSurface,
    *,
    slide: bool,
    edges: bool = False,
    max_sigma: float = np.inf,
) -> PointTerm:
    """Return the residuals of the 478 landmarks; with ``slide`` those of the face's contour may move along it.

    A contour landmark whose place on the model faces away shows where the detector sees the occluding contour. So it is
    matched to the nearest vertex of the occluding contour around that place, and only the error across the contour
    counts.

    Args:
        edges: match the mouth's opening to the visible edges of the lips, see ``lip_edges``.
        max_sigma: no landmark's place on the model counts as less certain than this, head units.
    """
    s = _LANDMARKS
    scale = frontal_eye_distance_px(surface, pose)
    unit_px = pose.focal_px / pose.translation[2]
    place_sigma = np.minimum(surface.model.landmark_sigma, max_sigma).astype(np.float64)
    sigma_px = np.hypot(place_sigma * unit_px, s.detector_sigma * scale)
    weight = s.weight * np.clip((posed.landmark_facing + s.facing_offset) / s.facing_range, s.min_facing_weight, 1)
    weight[list(_IRIS_CENTRES)] *= s.iris_weight
    points, whiten = surface.landmarks, isotropic_whitening(sigma_px)
    if slide:
        target = portrait.landmarks_px[FACE_OVAL]
        whiten[FACE_OVAL] = contour_whitening(_polygon_normals(target), sigma_px[FACE_OVAL], along=s.along_contour)
        hidden = FACE_OVAL[posed.landmark_facing[FACE_OVAL] < s.hidden_cosine]
        contour, found = _nearest_contour_vertices(surface, portrait, pose, posed, hidden)
        hidden, contour = hidden[found], contour[found]
        points = points.replaced(hidden, surface.vertices, contour)
        normal_px = (posed.normals[contour] @ pose.rotation.T)[:, :2]
        normal_px /= np.maximum(np.linalg.norm(normal_px, axis=1, keepdims=True), 1e-9)
        whiten[hidden] = contour_whitening(normal_px, sigma_px[hidden])
        weight[hidden] = s.weight
    if edges:
        lips, edge = lip_edges(surface.model, posed.vertices, pose, portrait.landmarks_px)
        points = points.replaced(lips, surface.vertices, edge)
        weight[lips] = s.weight
        edge_sigma_px = np.hypot(_EDGES.sigma * unit_px, s.detector_sigma * scale)
        whiten[lips] = isotropic_whitening(np.full(len(lips), edge_sigma_px))
    return PointTerm(points, portrait.landmarks_px, whiten, s.robust_sigmas, weight)


def silhouette_term(surface: MorphableSurface, portrait: Portrait, pose: Pose, posed: PosedSurface) -> PointTerm:
    """Return the residuals between the model's silhouette and the matte's edge where that edge is bare skin.

    Where the edge is hair, the head only has to stay inside it, by the thickness of the shortest hair.
    """
    s = _SILHOUETTE
    scale = frontal_eye_distance_px(surface, pose)
    silhouette = _silhouette_above_neck(surface, posed, pose, portrait.alpha.shape[1])
    edges = matte_edges(portrait, silhouette, reach_px=s.reach * scale)
    under_hair = edges.shift_px - s.hair_thickness * pose.focal_px / pose.translation[2]
    kept = edges.skin | (edges.hair & (under_hair < 0))
    shift = np.where(edges.skin, edges.shift_px, under_hair)[kept]
    silhouette = silhouette.take(kept)
    corners = surface.model.faces[silhouette.face]
    points = surface.vertices.at_barycentric(corners, silhouette.barycentric)
    target = silhouette.pixel + shift[:, None] * silhouette.normal
    weight = np.full(len(target), min(1.0, s.total_weight / max(len(target), 1)))
    sigma_px = np.full(len(target), s.sigma * scale)
    return PointTerm(points, target, contour_whitening(silhouette.normal, sigma_px), s.robust_sigmas, weight)


def _silhouette_above_neck(surface: MorphableSurface, posed: PosedSurface, pose: Pose, width_px: int) -> Silhouette:
    """Silhouette points, without those where the model's neck is cut."""
    faces = surface.model.faces
    silhouette = head_silhouette(posed.vertices, faces, pose, width_px)
    below = _below_neck(surface)
    return silhouette.take(np.logical_not(below[faces[silhouette.face]].any(1)))


def _below_neck(surface: MorphableSurface) -> Bool[np.ndarray, "n"]:
    """Coarse vertices too far below the chin to be seen bare."""
    return surface.model.mean[:, 1] < surface.landmarks.mean[_CHIN, 1] - _SILHOUETTE.neck_below_chin


def _polygon_normals(polygon: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
    """Unit normals of a closed polygon at its corners."""
    tangent = np.roll(polygon, -1, axis=0) - np.roll(polygon, 1, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)


def _nearest_contour_vertices(
    surface: MorphableSurface, portrait: Portrait, pose: Pose, posed: PosedSurface, hidden: Integer[np.ndarray, "h"]
) -> tuple[Integer[np.ndarray, "h"], Bool[np.ndarray, "h"]]:
    """Find for each hidden landmark the vertex of the occluding contour near it that projects nearest to it.

    Returns:
        The vertices, and whether there is one.
    """
    s = _LANDMARKS
    skin = surface.model.part == PARTS.index("skin")
    has_normal = np.linalg.norm(posed.normals, axis=1) > 0.5
    contour = np.flatnonzero(skin & has_normal & (np.abs(posed.vertex_facing) < s.contour_cosine))
    place = landmark_points(surface.model, posed.vertices, hidden)
    if not len(contour) or not len(hidden):
        return np.zeros(len(hidden), int), np.zeros(len(hidden), bool)
    far = np.linalg.norm(posed.vertices[contour] - place[:, None], axis=2) > s.contour_reach
    pixel = pose.project(posed.vertices[contour])
    distance = np.linalg.norm(pixel - portrait.landmarks_px[hidden][:, None], axis=2) + np.where(far, np.inf, 0)
    return contour[distance.argmin(1)], np.isfinite(distance.min(1))


def lowest_row(surface: MorphableSurface, posed: PosedSurface, pose: Pose) -> float:
    """Return the picture row above which the model has all of its neck, pixels."""
    return float(pose.project(posed.vertices[_below_neck(surface)])[:, 1].min())


def landmark_errors_px(
    term: PointTerm, pose: Pose, shape: np.ndarray, expression: np.ndarray
) -> Float[np.ndarray, "m"]:
    """Return the pixel error of each landmark; of one that may slide, the error across its contour."""
    return np.linalg.norm(term.residuals(pose, shape, expression), axis=1) / np.linalg.norm(term.whiten, 2, axis=(1, 2))
