"""The canonical frame of a head: changes of shape must not move, turn or scale the face as a whole."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from spinmeround.template.fit.residuals import Pose, SurfacePoints
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points

_FACE_REACH = 0.03
"""Vertices within this distance of a landmark belong to the face, head units (12 mm)."""


def face_weight(model: HeadModel) -> Float[np.ndarray, "n"]:
    """Return the weight of each coarse vertex in the face's position: the area around it, 0 outside the face's skin."""
    landmarks = landmark_points(model, model.mean)
    near = cKDTree(landmarks).query(model.mean)[0] < _FACE_REACH
    edges = model.mean[model.faces[:, 1:]] - model.mean[model.faces[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    area_around = sum(np.bincount(model.faces[:, c], area, len(model.mean)) for c in range(3))
    return np.where(near & (model.part == PARTS.index("skin")), area_around, 0.0)


def similarity_free_surface(model: HeadModel) -> SurfacePoints:
    """Return all coarse vertices, with the similarity motion of the face removed from every change of shape.

    Otherwise the head could drift in its own frame while the camera follows, which no photo constrains.
    """
    mean = np.asarray(model.mean, np.float64)
    # Translations, infinitesimal rotations and scaling, as displacements of each vertex.
    motions = np.zeros((len(mean), 3, 7))
    motions[:, :, :3] = np.eye(3)
    motions[:, :, 3:6] = np.swapaxes(np.cross(np.eye(3)[None], mean[:, None]), 1, 2)
    motions[:, :, 6] = mean
    root = np.sqrt(face_weight(model))
    used = root > 0
    inverse = np.linalg.pinv((motions[used] * root[used, None, None]).reshape(-1, 7))

    def without_motion(displacement: np.ndarray) -> Float[np.ndarray, "n 3 k"]:
        moved = np.moveaxis(np.asarray(displacement, np.float64), 0, 2)
        amount = inverse @ (moved[used] * root[used, None, None]).reshape(-1, moved.shape[2])
        return moved - motions @ amount

    expression = np.moveaxis(np.asarray(model.expression_basis, np.float64), 0, 2)
    return SurfacePoints.of_vertices(
        mean, without_motion(model.shape_plus), without_motion(model.shape_minus), expression
    )


def canonical_from_fitted(
    model: HeadModel, neutral: Float[np.ndarray, "n 3"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Return the similarity that maps a fitted face onto the mean face (Umeyama 1991, weighted).

    Args:
        neutral: coarse vertices of the fitted head.

    Returns:
        Scale, rotation and translation, canonical from fitted.
    """
    weight = face_weight(model)
    weight = (weight / weight.sum())[:, None]
    centre, fitted_centre = (weight * model.mean).sum(0), (weight * neutral).sum(0)
    left, values, right = np.linalg.svd((model.mean - centre).T @ (weight * (neutral - fitted_centre)))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ (flip[:, None] * right)
    scale = float((values * flip).sum() / (weight * (neutral - fitted_centre) ** 2).sum())
    return scale, rotation, centre - scale * rotation @ fitted_centre


def pose_in_canonical(
    pose: Pose, scale: float, rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]
) -> Pose:
    """Return the pose that projects the canonical head as ``pose`` projects the fitted one."""
    turned = pose.rotation @ rotation.T
    return Pose(turned, scale * pose.translation - turned @ translation, pose.log_focal, pose.centre_px)
