"""The crop of the model's training pictures, PanoHead's, from our own landmarks and head pose.

PanoHead (An et al., arXiv 2303.13071) starts from FFHQ's square around eyes and mouth, which defines the roll, and
moves and scales it to the middle and the size of a fitted 3D face. The SpinMeRound authors then add a tenth of
that square on top and a twentieth on either side. Here the middle and the size come from the landmarks and the head's
pose instead of a 3D face model; the three numbers below were fitted to frames of published turns, whose first frame is
such a crop.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from spinmeround.images import composite
from spinmeround.portrait.landmarks import CHIN, FACE_TOP, LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from spinmeround.portrait.pose import fit_landmarks
from spinmeround.types import HeadFrame, Portrait

MODEL_PX = 512
PAD_TOP, PAD_SIDE = 0.10, 0.05
"""What the authors add around PanoHead's square, fractions of its side."""

_LEFT_EYE, _RIGHT_EYE = (263, 362, 386, 374), (33, 133, 159, 145)
_MOUTH_CORNERS = (61, 291)
_SIDE_IN_EYE_DISTANCES = 4.074
"""Side of PanoHead's square in distances between the eyes' middles seen from the front."""
_EYE_DISTANCE_CM = 6.47
"""That distance on the canonical face."""
_DOWN_TO_MOUTH = 0.385
"""Height of the square's middle as a fraction of the way from the eyes to the mouth."""
_BEHIND_FACE_CM = 5.85
"""Depth of the square's middle behind the face."""
_USUAL_DOWN, _DOWN_NOISE = 0.12, 0.09
"""Component of the head's +Z down the picture: usual value, and the error of an estimate of it."""


def model_picture(portrait: Portrait, *, size_px: int = MODEL_PX) -> Float[np.ndarray, "s s 3"]:
    """Composite the portrait over white and warp it to the model's crop."""
    over_white = composite(portrait.rgb, portrait.alpha)
    return warp_similarity(over_white, model_from_crop(portrait.landmarks_px, size_px=size_px), size_px=size_px)


def model_from_crop(landmarks_px: Float[np.ndarray, "478 2"], *, size_px: int = MODEL_PX) -> Float[np.ndarray, "3 3"]:
    """Return the similarity from pixels of any picture of a face to pixels of the model's picture.

    Args:
        landmarks_px: of the face, in the order of MediaPipe's face mesh.
    """
    points = np.asarray(landmarks_px, np.float64)
    frame = head_frame(points)
    left, right = points[list(_LEFT_EYE)].mean(0), points[list(_RIGHT_EYE)].mean(0)
    eyes, mouth = (left + right) / 2, points[list(_MOUTH_CORNERS)].mean(0)
    along, down = left - right, mouth - eyes
    upright = along + np.array([down[1], -down[0]])
    upright /= np.linalg.norm(upright)
    eye_distance = _eye_distance_px(along, frame)
    cm = eye_distance / _EYE_DISTANCE_CM
    crop_axes = np.array([[upright[0], upright[1]], [-upright[1], upright[0]]])
    behind = -_BEHIND_FACE_CM * cm * _out_of_face(crop_axes @ frame.picture_from_head[:2, 2])
    centre = eyes + _DOWN_TO_MOUTH * down + crop_axes.T @ behind
    linear = size_px / (_SIDE_IN_EYE_DISTANCES * eye_distance) * crop_axes
    middle = size_px * np.array([0.5, (0.5 + PAD_TOP) / (1 + PAD_TOP)])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, middle - linear @ centre
    return matrix


def head_frame(landmarks_px: Float[np.ndarray, "478 2"]) -> HeadFrame:
    """Fit the head pose to landmarks."""
    points = np.asarray(landmarks_px, np.float64)
    height = np.linalg.norm(points[FACE_TOP] - points[CHIN])
    width = np.linalg.norm(points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER])
    return fit_landmarks(points, face_height_px=float(max(height, width)))


def warp_similarity(
    picture: Float[np.ndarray, "h w 3"], target_from_picture: Float[np.ndarray, "3 3"], *, size_px: int
) -> Float[np.ndarray, "s s 3"]:
    """Cut out a square through a similarity: white beyond the picture, averaged or Lanczos as it shrinks or grows."""
    scale = float(np.hypot(*target_from_picture[:2, 0]))
    ratio = np.ones(2)
    if scale < 1:
        size = [max(1, round(n * scale)) for n in picture.shape[1::-1]]
        ratio = np.array(size) / picture.shape[1::-1]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    linear = target_from_picture[:2, :2] / ratio
    shift = target_from_picture[:2, 2] + linear @ np.full(2, 0.5) - 0.5  # OpenCV counts from pixel centres
    flags = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_LINEAR
    matrix = np.column_stack([linear, shift])
    cut = cv2.warpAffine(
        np.asarray(picture, np.float32), matrix, (size_px, size_px), flags=flags, borderValue=(1.0, 1.0, 1.0)
    )
    return np.clip(cut, 0, 1)


def _out_of_face(shown: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """Return the head's +Z in the upright crop: right and down.

    Perspective-n-point has an error of a few degrees of pitch from the shape of a face, so that small departures from
    the usual pitch are shrunk toward it.
    """
    departure = shown[1] - _USUAL_DOWN
    return np.array([shown[0], _USUAL_DOWN + departure**3 / (departure**2 + _DOWN_NOISE**2)])


def _eye_distance_px(along: Float[np.ndarray, "2"], frame: HeadFrame) -> float:
    """Estimate the distance between the eyes as seen from the front.

    In a frontal view the eyes themselves are the best estimate (1 % over the published turns). From the side a small
    error of the yaw would be a large one of the distance, and the size of the whole face is better: both are blended.
    """
    shown = float(np.linalg.norm(frame.picture_from_head[:2, 0]))
    weight = shown**2
    return weight * float(np.linalg.norm(along)) / shown + (1 - weight) * frame.scale_px * _EYE_DISTANCE_CM
