"""Motion of corrected cameras: carry it over to views that were not used, and describe it for the report."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from spinmeround.geometry import METRES_PER_UNIT, camera_centres
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)


def interpolate_camera_motion(others: Views, given: Cameras, corrected: Cameras) -> Views:
    """Return views of the same rig that were not used, moved as their two nearest neighbours were.

    Each motion is taken in the axes of its own camera; neighbours count by the inverse of their distance.

    Args:
        given: the cameras that were used, before their correction.
        corrected: the same cameras after it.
    """
    rotations = Rotation.from_matrix(_relative_rotations(given, corrected)).as_rotvec()
    shifts = (corrected.camera_from_world - given.camera_from_world)[:, :3, 3]
    motions = np.concatenate([rotations, shifts], axis=1)
    distance = np.linalg.norm(camera_centres(others.cameras)[:, None] - camera_centres(given)[None], axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :2]
    weight = 1 / np.maximum(np.take_along_axis(distance, nearest, axis=1), 1e-9)
    weight /= weight.sum(axis=1, keepdims=True)
    motions = (motions[nearest] * weight[..., None]).sum(axis=1)
    poses = others.cameras.camera_from_world.copy()
    poses[:, :3, :3] = Rotation.from_rotvec(motions[:, :3]).as_matrix() @ poses[:, :3, :3]
    poses[:, :3, 3] += motions[:, 3:]
    return replace(others, cameras=replace(others.cameras, camera_from_world=poses))


def describe_motion(given: Cameras, views: Views) -> dict[str, Any]:
    """Describe how far each corrected camera moved and by what angle it turned.

    Args:
        given: the cameras before their correction.
        views: the pictures with the corrected cameras.

    Returns:
        ``cameras_moved``: how many; then mean and most over them, and each by name, in millimetres of a head 0.23 m
        high and in degrees. Only the count if none moved.
    """
    corrected = views.cameras
    moved = np.flatnonzero((corrected.camera_from_world != given.camera_from_world).any(axis=(1, 2)))
    if len(moved) == 0:
        return {"cameras_moved": {"count": 0}}
    moved_mm = 1000 * METRES_PER_UNIT * np.linalg.norm(camera_centres(corrected) - camera_centres(given), axis=1)
    turned_deg = np.degrees(Rotation.from_matrix(_relative_rotations(given, corrected)).magnitude())
    names = views.names or tuple(str(index) for index in range(len(views)))
    log.info(
        "%d of %d cameras moved: by %.2f mm and %.2f degrees on average, at most by %.2f mm and %.2f degrees",
        len(moved), len(views), moved_mm[moved].mean(), turned_deg[moved].mean(), moved_mm.max(), turned_deg.max(),
    )  # fmt: skip
    return {
        "cameras_moved": {
            "count": len(moved),
            "mm": _spread(moved_mm[moved]),
            "deg": _spread(turned_deg[moved]),
            "each": {
                names[index]: {"mm": round(float(moved_mm[index]), 3), "deg": round(float(turned_deg[index]), 3)}
                for index in moved
            },
        }
    }


def _relative_rotations(given: Cameras, corrected: Cameras) -> Float[np.ndarray, "v 3 3"]:
    """Return the rotation that each correction added, in the camera's axes."""
    return corrected.camera_from_world[:, :3, :3] @ np.swapaxes(given.camera_from_world[:, :3, :3], 1, 2)


def _spread(values: Float[np.ndarray, "n"]) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 3), "most": round(float(values.max()), 3)}
