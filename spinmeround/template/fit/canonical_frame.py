"""The canonical place of a head: shape changes must not move, turn or grow the face as a whole."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from spinmeround.template.fit.residuals import Pose, SurfacePoints
from spinmeround.template.model.head_model import PARTS, HeadModel


def face_weight(model: HeadModel) -> Float[np.ndarray, "n"]:
    """How much each vertex says where the head is: the area around it on the skin of the face, 0 elsewhere."""
    corners = model.faces[model.landmark_faces]
    landmarks = (model.mean[corners] * model.landmark_barycentric[..., None]).sum(1)
    near = np.linalg.norm(model.mean[:, None] - landmarks, axis=2).min(1) < 0.03
    edges = model.mean[model.faces[:, 1:]] - model.mean[model.faces[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    share = sum(np.bincount(model.faces[:, c], area, len(model.mean)) for c in range(3))
    return np.where(near & (model.part == PARTS.index("skin")), share, 0.0)


def stable_surface(model: HeadModel) -> SurfacePoints:
    """All vertices, with every shape change freed of the similarity motion of the face it contains.

    Otherwise the head could drift in its own frame while the camera drifts along, which no photo would show.
    """
    mean = np.asarray(model.mean, np.float64)
    motions = np.zeros((len(mean), 3, 7))
    motions[:, :, :3] = np.eye(3)
    motions[:, :, 3:6] = np.swapaxes(np.cross(np.eye(3)[None], mean[:, None]), 1, 2)
    motions[:, :, 6] = mean
    root = np.sqrt(face_weight(model))
    used = root > 0
    inverse = np.linalg.pinv((motions[used] * root[used, None, None]).reshape(-1, 7))

    def freed(displacement: np.ndarray) -> Float[np.ndarray, "n 3 k"]:
        moved = np.moveaxis(np.asarray(displacement, np.float64), 0, 2)
        amount = inverse @ (moved[used] * root[used, None, None]).reshape(-1, moved.shape[2])
        return moved - motions @ amount

    expression = np.moveaxis(np.asarray(model.expression_basis, np.float64), 0, 2)
    return SurfacePoints.of_vertices(mean, freed(model.shape_plus), freed(model.shape_minus), expression)


def canonical_from_fitted(
    model: HeadModel, neutral: Float[np.ndarray, "n 3"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Scale, rotation and translation that lay a fitted face on the mean face (Umeyama 1991, weighted)."""
    weight = face_weight(model)
    weight = (weight / weight.sum())[:, None]
    to, by = (weight * model.mean).sum(0), (weight * neutral).sum(0)
    left, values, right = np.linalg.svd((model.mean - to).T @ (weight * (neutral - by)))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ (flip[:, None] * right)
    scale = float((values * flip).sum() / (weight * (neutral - by) ** 2).sum())
    return scale, rotation, to - scale * rotation @ by


def pose_in_canonical(
    pose: Pose, scale: float, rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]
) -> Pose:
    """The camera that sees the moved head as ``pose`` saw the fitted one."""
    turned = pose.rotation @ rotation.T
    return Pose(turned, scale * pose.translation - turned @ translation, pose.log_focal, pose.centre_px)
