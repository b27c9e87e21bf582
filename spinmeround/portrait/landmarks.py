"""Face landmarks: 478 points and 52 expression scores, from the three models of MediaPipe's face landmarker.

Method: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (arXiv 1907.06724);
Grishchenko et al., "Attention Mesh" (arXiv 2006.10962). The models are run as they are; nothing leaves the machine.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from spinmeround.io.recordings.expressions import ARKIT_NAMES
from spinmeround.portrait import detection, tflite

BLENDSHAPE_NAMES = ARKIT_NAMES
"""The model's own order is this one with ``_neutral`` in front and without ``tongueOut``; the neutral score is dropped
and ``tongueOut``, which the model does not see, is always 0."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
FACE_TOP, CHIN = 10, 152
"""Landmarks at the middle of the hairline and of the chin; between them is the height of a face."""
RIGHT_IRIS, LEFT_IRIS = 468, 473
FACE_OVAL: tuple[int, ...] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The face oval, from the middle of the forehead over the subject's left side, chin and right side."""

_BLENDSHAPE_INPUT: tuple[int, ...] = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip

MIN_PRESENCE = 0.5
_SURE_SCORE, _DOUBTFUL_SCORE = 0.85, 0.7
"""Scores of the detectors: what is no face was seen to reach 0.65, faces rarely miss 0.85."""
_SAME_FACE = 0.4
"""Two meshes are of one face if their middles are nearer than this fraction of its height."""
_INPUT_PX = 256
_ROI_SCALE = 1.5
"""Side of the region the model was trained with, in sides of the face's box."""
_MAX_PASSES = 4
_CONVERGED = 0.004
"""Mean shift of the landmarks, in distances between the eyes, at which the region is left as it is."""
_CONTEXT_PX = 2
"""Pixels around a crop that interpolation may read."""
_MAX_LOGIT = 50.0
"""Beyond it presence is 0 or 1, and the exponential could overflow."""


@dataclass(frozen=True)
class FaceMesh:
    """Landmarks, expression and presence of one face.

    Attributes:
        landmarks_px: in pixels of the picture, MediaPipe's order; 468 and 473 are the centres of the irises.
        depth_px: per landmark, away from the camera, relative to the head's middle, at the scale of ``landmarks_px``.
        blendshapes: scores in [0, 1], in the order of ``BLENDSHAPE_NAMES``.
        presence: the landmark model's probability of a face, in (0, 1).
        detection: the box it started from; None if it started from known landmarks.
    """

    landmarks_px: Float[np.ndarray, "478 2"]
    depth_px: Float[np.ndarray, "478"]
    blendshapes: Float[np.ndarray, "52"]
    presence: float
    detection: detection.Detection | None = None

    @property
    def height_px(self) -> float:
        """Distance from the hairline to the chin."""
        return float(np.linalg.norm(self.landmarks_px[FACE_TOP] - self.landmarks_px[CHIN]))

    @property
    def eye_distance_px(self) -> float:
        """Distance of the outer corners of the eyes, in 3D so that a turned head does not make it small."""
        points = np.column_stack([self.landmarks_px, self.depth_px])[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER]]
        return float(np.linalg.norm(points[0] - points[1]))

    @property
    def box_px(self) -> Float[np.ndarray, "4"]:
        """Bounding box of the landmarks: left, top, right, bottom."""
        return np.concatenate([self.landmarks_px.min(0), self.landmarks_px.max(0)])


def find_faces(rgb: Float[np.ndarray, "h w 3"]) -> list[FaceMesh]:
    """Find all faces of a picture, largest first; boxes that the landmark model does not take for a face are dropped.

    Tiles of a large picture hold much that looks a little like a face: beside a sure face, doubtful ones are dropped.

    Args:
        rgb: sRGB in [0, 1], upright.
    """
    meshes: list[FaceMesh] = []
    for box in detection.detect(rgb):
        mesh = fit_mesh(rgb, box)
        if mesh is not None and not any(_same_face(mesh, other) for other in meshes):
            meshes.append(mesh)
    if any(_score(mesh) > _SURE_SCORE for mesh in meshes):
        meshes = [mesh for mesh in meshes if _score(mesh) > _DOUBTFUL_SCORE]
    return sorted(meshes, key=lambda m: -m.height_px)


def fit_mesh(rgb: Float[np.ndarray, "h w 3"], start: detection.Detection | FaceMesh) -> FaceMesh | None:
    """Find the landmarks of the face in a box, or refine landmarks that are roughly known.

    The model's region is placed again from the landmarks found in it until they converge, and the last two results are
    averaged: the landmarks depend a little on where the region lies.

    Returns:
        None if the landmark model finds no face there.
    """
    box = start if isinstance(start, detection.Detection) else start.detection
    roi = _roi_from_detection(start) if isinstance(start, detection.Detection) else _roi_from_points(start.landmarks_px)
    points = None
    presence = 0.0
    for _ in range(_MAX_PASSES):
        before = points
        points, presence = _run_landmarks(rgb, roi)
        if presence < MIN_PRESENCE:
            return None
        if before is not None:
            moved = np.linalg.norm(points[:, :2] - before[:, :2], axis=1).mean()
            eyes = np.linalg.norm(points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER])
            points = (points + before) / 2
            if moved < _CONVERGED * eyes:
                break
        roi = _roi_from_points(points[:, :2])
    assert points is not None
    return FaceMesh(
        points[:, :2].astype(np.float32), points[:, 2].astype(np.float32), _blendshapes(points), presence, box
    )


def _score(mesh: FaceMesh) -> float:
    return mesh.detection.score if mesh.detection is not None else 1.0


def _same_face(a: FaceMesh, b: FaceMesh) -> bool:
    gap = np.linalg.norm(a.landmarks_px.mean(0) - b.landmarks_px.mean(0))
    return bool(gap < _SAME_FACE * max(a.height_px, b.height_px))


@functools.cache
def _landmark_model() -> tflite.TfliteModel:
    return tflite.TfliteModel(tflite.load_bundle_member(detection.BUNDLE, "face_landmarks_detector.tflite"))


@functools.cache
def _blendshape_model() -> tflite.TfliteModel:
    return tflite.TfliteModel(tflite.load_bundle_member(detection.BUNDLE, "face_blendshapes.tflite"))


def _roi_from_detection(box: detection.Detection) -> Float[np.ndarray, "2 3"]:
    left, top, right, bottom = box.box_px
    axis = box.keypoints_px[1] - box.keypoints_px[0]
    return _roi(np.array([(left + right) / 2, (top + bottom) / 2]), axis, _ROI_SCALE * box.side_px)


def _roi_from_points(points_px: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "2 3"]:
    """Return the region of the square around the landmarks, in axes turned by the line of the eyes."""
    axis = points_px[LEFT_EYE_OUTER] - points_px[RIGHT_EYE_OUTER]
    axis = axis / np.linalg.norm(axis)
    turn = np.array([axis, [-axis[1], axis[0]]])
    turned = points_px @ turn.T
    low, high = turned.min(0), turned.max(0)
    return _roi(((low + high) / 2) @ turn, axis, _ROI_SCALE * float((high - low).max()))


def _roi(centre_px: Float[np.ndarray, "2"], axis: Float[np.ndarray, "2"], side_px: float) -> Float[np.ndarray, "2 3"]:
    """Return ``picture_from_roi`` for a square whose +X runs along ``axis``; pixels to pixels, centres at +0.5."""
    x = axis / np.linalg.norm(axis) * side_px / _INPUT_PX
    linear = np.array([[x[0], -x[1]], [x[1], x[0]]])
    return np.column_stack([linear, centre_px - linear @ np.full(2, _INPUT_PX / 2)])


def warp(
    rgb: Float[np.ndarray, "h w 3"], picture_from_crop: Float[np.ndarray, "2 3"], side_px: int
) -> Float[np.ndarray, "s s 3"]:
    """Cut out a square through a similarity transform, black beyond the picture, averaged where it shrinks."""
    scale = float(np.hypot(*picture_from_crop[:, 0]))
    corners = np.array([[0, 0], [side_px, 0], [0, side_px], [side_px, side_px]])
    corners_px = corners @ picture_from_crop[:, :2].T + picture_from_crop[:, 2]
    low = np.clip(np.floor(corners_px.min(0)).astype(int) - _CONTEXT_PX, 0, None)
    high = np.clip(np.ceil(corners_px.max(0)).astype(int) + _CONTEXT_PX, 0, rgb.shape[1::-1])
    if (high - low < 1).any():
        return np.zeros((side_px, side_px, 3), np.float32)
    patch = rgb[low[1] : high[1], low[0] : high[0]]
    shrink = max(1.0, scale)
    size = [max(1, round(n / shrink)) for n in patch.shape[1::-1]]
    ratio = np.array(size) / patch.shape[1::-1]
    patch = cv2.resize(patch, size, interpolation=cv2.INTER_AREA) if shrink > 1 else patch
    matrix = (picture_from_crop - np.column_stack([np.zeros((2, 2)), low])) * ratio[:, None]
    matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5) - 0.5  # OpenCV counts from pixel centres
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(patch, matrix, (side_px, side_px), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def _run_landmarks(
    rgb: Float[np.ndarray, "h w 3"], picture_from_roi: Float[np.ndarray, "2 3"]
) -> tuple[Float[np.ndarray, "478 3"], float]:
    """Run the model once: points (x, y in pixels of the picture, depth at the same scale) and presence."""
    outputs = _landmark_model()(np.clip(warp(rgb, picture_from_roi, _INPUT_PX), 0, 1))
    raw = outputs[(1, 1, 1, 1434)].reshape(478, 3).astype(np.float64)
    logit = float(outputs[(1, 1, 1, 1)].item())
    scale = np.hypot(*picture_from_roi[:, 0])
    points = np.column_stack([raw[:, :2] @ picture_from_roi[:, :2].T + picture_from_roi[:, 2], raw[:, 2] * scale])
    return points, float(1 / (1 + np.exp(-np.clip(logit, -_MAX_LOGIT, _MAX_LOGIT))))


def _blendshapes(points: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "52"]:
    """Score the expression of the face turned upright: the model takes a leaning head for an expression."""
    axis = points[LEFT_EYE_OUTER, :2] - points[RIGHT_EYE_OUTER, :2]
    axis = axis / np.linalg.norm(axis)
    upright = points[list(_BLENDSHAPE_INPUT), :2] @ np.array([axis, [-axis[1], axis[0]]]).T
    scores = _blendshape_model()(upright)[(52,)]
    return np.append(np.clip(scores[1:], 0, 1), 0).astype(np.float32)
