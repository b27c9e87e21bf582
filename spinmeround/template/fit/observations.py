"""What one photo says about the head: landmarks, a jaw contour that slides, and the outline of bare skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import vertex_normals
from spinmeround.template.fit.residuals import PointTerm, Pose, SurfacePoints, across, isotropic
from spinmeround.template.fit.silhouette import Outline, head_outline, matte_edges
from spinmeround.template.model.head_model import HeadModel
from spinmeround.types import Portrait

# fmt: off
FACE_OVAL = np.array([
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
])
# fmt: on
"""Landmarks of the face's contour, once around, in the order of MediaPipe's face mesh."""
EYE_CORNERS = ((33, 133), (263, 362))
"""Outer and inner corner of the subject's right and left eye."""

_CHIN = 152
_IRIS_CENTRES = (468, 473)
_GAZE_WORTH = 8.0
"""Nothing but the irises says where the eyes look."""

_DETECTOR_SIGMA = 0.012
"""Noise of a landmark in distances between the eyes, besides the uncertainty of its place on the model."""
_LANDMARK_WORTH = 0.1
"""Errors of the detector on one face go together; so many independent landmarks is each of them worth."""
_ALONG_CONTOUR = 0.3
_LIMB_REACH = 0.12
_OUTLINE_SIGMA = 0.015
_OUTLINE_TOTAL = 15.0
_OUTLINE_REACH = 0.3
_HAIR_THICKNESS = 0.012
_NECK_BELOW_CHIN = 0.08
"""Outline points further below the chin are the collar, which no photo shows bare, head units."""


@dataclass(frozen=True)
class Surface:
    """The head model as the fit sees it: all vertices, the landmarks among them, and what never changes.

    Attributes:
        vertices: all coarse vertices with what moves them.
        landmarks: the 478 landmark points with what moves them.
    """

    model: HeadModel
    vertices: SurfacePoints
    landmarks: SurfacePoints

    @staticmethod
    def of(model: HeadModel, vertices: SurfacePoints) -> Surface:
        """Binds points that move differently from the model's own (for instance a personal neutral) to its topology."""
        corners = model.faces[model.landmark_faces]
        return Surface(model, vertices, vertices.inside(corners, model.landmark_barycentric))


def eye_distance_px(landmarks_px: Float[np.ndarray, "478 2"]) -> float:
    """Distance between the centres of the eyes, each midway between its corners, in the picture."""
    right, left = (landmarks_px[list(corners)].mean(0) for corners in EYE_CORNERS)
    return float(np.linalg.norm(left - right))


def eye_scale_px(surface: Surface, pose: Pose) -> float:
    """What the distance between the eyes would measure in the picture seen from the front: no turn shrinks it."""
    mean = surface.landmarks.mean
    right, left = (mean[list(corners)].mean(0) for corners in EYE_CORNERS)
    return float(np.linalg.norm(left - right) * pose.focal_px / pose.translation[2])


@dataclass(frozen=True)
class Sighting:
    """The posed model in one photo, and which landmarks of it the camera can see."""

    vertices: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    vertex_facing: Float[np.ndarray, "n"]
    facing: Float[np.ndarray, "478"]

    @staticmethod
    def of(surface: Surface, pose: Pose, shape: np.ndarray, expression: np.ndarray) -> Sighting:
        """Poses the model and computes the cosine between normal and line of sight everywhere."""
        model = surface.model
        vertices = surface.vertices.positions(shape, expression)
        normals = vertex_normals(vertices, model.faces)
        camera = pose.camera_points(vertices)
        toward = -camera / np.linalg.norm(camera, axis=1, keepdims=True)
        vertex_facing = ((normals @ pose.rotation.T) * toward).sum(1)
        corners = model.faces[model.landmark_faces]
        facing = (vertex_facing[corners] * model.landmark_barycentric).sum(1)
        return Sighting(vertices, normals, vertex_facing, facing)


def landmark_term(
    surface: Surface,
    portrait: Portrait,
    pose: Pose,
    sighting: Sighting,
    *,
    slide: bool,
    loosest: float = np.inf,
) -> PointTerm:
    """The 478 landmarks; with ``slide`` those of the contour may move along it.

    A contour landmark whose place on the model has turned out of sight is what the detector sees of the model's limb
    there, so it is tied to the nearest limb vertex around, across the contour only.

    Args:
        loosest: no landmark's place on the model is taken for less certain than this, head units.
    """
    scale = eye_scale_px(surface, pose)
    unit = pose.focal_px / pose.translation[2]
    place = np.minimum(surface.model.landmark_sigma, loosest).astype(np.float64)
    sigma = np.hypot(place * unit, _DETECTOR_SIGMA * scale)
    weight = _LANDMARK_WORTH * np.clip((sighting.facing + 0.15) / 0.45, 0.1, 1)
    weight[list(_IRIS_CENTRES)] *= _GAZE_WORTH
    points, whiten = surface.landmarks, isotropic(sigma)
    if slide:
        target = portrait.landmarks_px[FACE_OVAL]
        whiten[FACE_OVAL] = across(_polygon_normals(target), sigma[FACE_OVAL], along=_ALONG_CONTOUR)
        hidden = FACE_OVAL[sighting.facing[FACE_OVAL] < 0.25]
        limb, found = _nearest_limb(surface, portrait, pose, sighting, hidden)
        hidden, limb = hidden[found], limb[found]
        points = points.replaced(hidden, surface.vertices, limb)
        direction = (sighting.normals[limb] @ pose.rotation.T)[:, :2]
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        whiten[hidden] = across(direction, sigma[hidden])
        weight[hidden] = _LANDMARK_WORTH
    return PointTerm(points, portrait.landmarks_px, whiten, 3.0, weight)


def outline_term(surface: Surface, portrait: Portrait, pose: Pose, sighting: Sighting) -> PointTerm:
    """The model's outline, pulled onto the matte's edge where that edge is bare skin.

    Where hair ends there instead, the head only has to stay inside, by the thickness of the shortest hair.
    """
    scale = eye_scale_px(surface, pose)
    outline = _outline_above_neck(surface, sighting, pose, portrait.alpha.shape[1])
    edges = matte_edges(portrait, outline, reach_px=_OUTLINE_REACH * scale)
    under_hair = edges.shift_px - _HAIR_THICKNESS * pose.focal_px / pose.translation[2]
    kept = edges.skin | (edges.hair & (under_hair < 0))
    shift = np.where(edges.skin, edges.shift_px, under_hair)[kept]
    outline = outline.take(kept)
    points = surface.vertices.inside(surface.model.faces[outline.face], outline.barycentric)
    target = outline.pixel + shift[:, None] * outline.normal
    # Neighbouring outline points repeat each other, and a long neck must not outvote the face.
    weight = np.full(len(target), min(1.0, _OUTLINE_TOTAL / max(len(target), 1)))
    sigma = np.full(len(target), _OUTLINE_SIGMA * scale)
    return PointTerm(points, target, across(outline.normal, sigma), 3.0, weight)


def _outline_above_neck(surface: Surface, sighting: Sighting, pose: Pose, width_px: int) -> Outline:
    """Outline points, without those where the model's neck is cut."""
    faces = surface.model.faces
    outline = head_outline(sighting.vertices, faces, pose, width_px)
    below = _below_neck(surface)
    return outline.take(np.logical_not(below[faces[outline.face]].any(1)))


def _below_neck(surface: Surface) -> Bool[np.ndarray, "n"]:
    return surface.model.mean[:, 1] < surface.landmarks.mean[_CHIN, 1] - _NECK_BELOW_CHIN


def _polygon_normals(polygon: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
    """Unit normals of a closed polygon at its corners."""
    tangent = np.roll(polygon, -1, axis=0) - np.roll(polygon, 1, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)


def _nearest_limb(
    surface: Surface, portrait: Portrait, pose: Pose, sighting: Sighting, hidden: Integer[np.ndarray, "h"]
) -> tuple[Integer[np.ndarray, "h"], Bool[np.ndarray, "h"]]:
    """For each hidden landmark the vertex of the limb around it that is nearest in the picture; and if there is one."""
    skin = surface.model.part == 0
    on_surface = np.linalg.norm(sighting.normals, axis=1) > 0.5
    limb = np.flatnonzero(skin & on_surface & (np.abs(sighting.vertex_facing) < 0.2))
    corners = surface.model.faces[surface.model.landmark_faces[hidden]]
    home = (sighting.vertices[corners] * surface.model.landmark_barycentric[hidden][..., None]).sum(1)
    if not len(limb) or not len(hidden):
        return np.zeros(len(hidden), int), np.zeros(len(hidden), bool)
    far = np.linalg.norm(sighting.vertices[limb] - home[:, None], axis=2) > _LIMB_REACH
    pixel = pose.project(sighting.vertices[limb])
    distance = np.linalg.norm(pixel - portrait.landmarks_px[hidden][:, None], axis=2) + np.where(far, np.inf, 0)
    return limb[distance.argmin(1)], np.isfinite(distance.min(1))


def lowest_row(surface: Surface, sighting: Sighting, pose: Pose) -> float:
    """Picture row above which the model has all of its neck."""
    return float(pose.project(sighting.vertices[_below_neck(surface)])[:, 1].min())


def landmark_errors_px(
    term: PointTerm, pose: Pose, shape: np.ndarray, expression: np.ndarray
) -> Float[np.ndarray, "m"]:
    """Pixel error of each landmark; of one that may slide, the error across its contour."""
    return np.linalg.norm(term.residuals(pose, shape, expression), axis=1) / np.linalg.norm(term.whiten, 2, axis=(1, 2))
