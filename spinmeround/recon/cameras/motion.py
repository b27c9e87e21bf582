"""Cameras that are not where they were said to be: what views nobody looked at make of it, what the report says."""

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


def follow(others: Views, given: Cameras, found: Cameras) -> Views:
    """Views of the same rig that were not looked at: moved as their two nearest neighbours were, each in its own axes.

    Args:
        given: the cameras that were looked at, as they were said to be.
        found: the same as they turned out to be.
    """
    turns = Rotation.from_matrix(_turns(given, found)).as_rotvec()
    motions = np.concatenate([turns, (found.camera_from_world - given.camera_from_world)[:, :3, 3]], axis=1)
    away = np.linalg.norm(camera_centres(others.cameras)[:, None] - camera_centres(given)[None], axis=2)
    nearest = np.argsort(away, axis=1, kind="stable")[:, :2]
    share = 1 / np.maximum(np.take_along_axis(away, nearest, axis=1), 1e-9)
    share /= share.sum(axis=1, keepdims=True)
    motions = (motions[nearest] * share[..., None]).sum(axis=1)
    poses = others.cameras.camera_from_world.copy()
    poses[:, :3, :3] = Rotation.from_rotvec(motions[:, :3]).as_matrix() @ poses[:, :3, :3]
    poses[:, :3, 3] += motions[:, 3:]
    return replace(others, cameras=replace(others.cameras, camera_from_world=poses))


def describe_motion(given: Cameras, views: Views) -> dict[str, Any]:
    """Each camera that moved, how far its centre went and by what angle it turned.

    Args:
        given: the cameras as they were said to be.
        views: the pictures with the cameras they turned out to have.

    Returns:
        ``cameras_moved``: how many; then mean and most over them, and each by name, in millimetres of a head 0.23 m
        high and in degrees. Nothing more than the count where none moved.
    """
    found = views.cameras
    moved_mm = 1000 * METRES_PER_UNIT * np.linalg.norm(camera_centres(found) - camera_centres(given), axis=1)
    turned_deg = np.degrees(Rotation.from_matrix(_turns(given, found)).magnitude())
    which = np.flatnonzero((found.camera_from_world != given.camera_from_world).any(axis=(1, 2)))
    if len(which) == 0:
        return {"cameras_moved": {"count": 0}}
    names = views.names or tuple(str(index) for index in range(len(views)))
    log.info(
        "%d of %d cameras moved: by %.2f mm and %.2f degrees on average, at most by %.2f mm and %.2f degrees",
        len(which), len(views), moved_mm[which].mean(), turned_deg[which].mean(), moved_mm.max(), turned_deg.max(),
    )  # fmt: skip
    return {
        "cameras_moved": {
            "count": len(which),
            "mm": _spread(moved_mm[which]),
            "deg": _spread(turned_deg[which]),
            "each": {
                names[index]: {"mm": round(float(moved_mm[index]), 3), "deg": round(float(turned_deg[index]), 3)}
                for index in which
            },
        }
    }


def _turns(given: Cameras, found: Cameras) -> Float[np.ndarray, "v 3 3"]:
    return found.camera_from_world[:, :3, :3] @ np.swapaxes(given.camera_from_world[:, :3, :3], 1, 2)


def _spread(values: Float[np.ndarray, "n"]) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 3), "most": round(float(values.max()), 3)}
