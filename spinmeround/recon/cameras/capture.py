"""Views from elsewhere: does every camera see the head, and how does their world become that of a head?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, project
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)

_HEAD_HEIGHT = 0.56
_HEIGHTS = (0.2, 1.8)
"""Head units between which what the masks show may be a head, with or without shoulders."""
_OFF_CENTRE, _TILT_DEG, _AXIS_DEG = 0.5, 35.0, 20.0
_ROUNDS = 12
_LEAST_PX, _LEAST_HEAD_PX = 32, 16
_LEAST_APART_DEG = 1.0
"""Between two cameras, seen from the head: nearer ones are one view, an error of a pixel is 57 pixels in depth."""


@dataclass(frozen=True)
class Placement:
    """``scale · turn · (x - centre)`` takes the folder's world to that of a head."""

    turn: Float[np.ndarray, "3 3"]
    scale: float
    centre: Float[np.ndarray, "3"]

    def applied(self, views: Views) -> Views:
        """The same pictures, seen from where the cameras stand in the head's world."""
        cameras, pose = views.cameras, views.cameras.camera_from_world.copy()
        pose[:, :3, 3] = self.scale * (pose[:, :3, :3] @ self.centre + pose[:, :3, 3])
        pose[:, :3, :3] = pose[:, :3, :3] @ self.turn.T
        normals = views.normals_world
        if normals.any():
            normals = normals @ self.turn.T.astype(np.float32)
        placed = Cameras(pose, cameras.intrinsics_px, cameras.width_px, cameras.height_px)
        return replace(views, cameras=placed, normals_world=normals)

    @property
    def report(self) -> dict[str, Any]:
        """The transform as a matrix, row by row."""
        linear = self.scale * self.turn
        matrix = np.vstack([np.column_stack([linear, -linear @ self.centre]), [0, 0, 0, 1]])
        return {"head_from_folder": [[round(float(value), 9) for value in row] for row in matrix]}


def check_sight(views: Views) -> None:
    """Asks whether there is more than one view and each camera sees the head.

    Raises:
        InputError: one view, tiny pictures, masks that are empty or inverted, or cameras that look elsewhere than the
            others.
    """
    if len(views) < 2:
        raise InputError("one view to fit: a surface needs at least two views; add views from other sides")
    width_px, height_px = views.cameras.width_px, views.cameras.height_px
    if min(width_px, height_px) < _LEAST_PX:
        raise InputError(
            f"pictures of {width_px} x {height_px} pixels show too little of a head; give at least {_LEAST_PX} each way"
        )
    names = views.names or tuple(str(index) for index in range(len(views)))
    empty = [name for name, alpha in zip(names, views.alpha, strict=True) if not (alpha > 0.5).any()]
    if len(empty) == len(views):
        raise InputError("every mask is empty: masks are white, 255, on the head, and black elsewhere")
    if empty:
        raise InputError(
            f"the head is in no pixel of {len(empty)} of {len(views)} masks: {_some(empty)}; remove these frames or "
            "repair their masks"
        )
    _check_masks(views, names)
    _check_cameras(views, names)


def _check_masks(views: Views, names: Sequence[str]) -> None:
    inverted = [name for name, alpha in zip(names, views.alpha, strict=True) if _inside_out(alpha)]
    if inverted:
        raise InputError(
            f"masks cover the pictures' borders all round and leave out what is inside: {_some(inverted)}; they seem "
            "inverted: white, 255, is the head"
        )
    full = [name for name, alpha in zip(names, views.alpha, strict=True) if (alpha > 0.5).all()]
    if full:
        raise InputError(
            f"{len(full)} of {len(views)} pictures would be head from border to border: {_some(full)}; give them "
            "masks, white, 255, on the head and black elsewhere, or an alpha channel"
        )
    high_px = int(np.median(_rows(views)))
    if high_px < _LEAST_HEAD_PX:
        raise InputError(
            f"the head is {high_px} pixels high in the middle of the masks, too little for a surface; repair the "
            f"masks, crop the pictures, or read them larger, --view-size: {_LEAST_HEAD_PX} or more"
        )


def _check_cameras(views: Views, names: Sequence[str]) -> None:
    eyes = camera_centres(views.cameras)
    rays = _meeting_point(views) - eyes
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    apart_deg = np.degrees(np.arccos(np.clip(rays @ rays.T, -1, 1))).max()
    if np.ptp(eyes, axis=0).max() == 0 or apart_deg < _LEAST_APART_DEG:
        raise InputError(
            f"all cameras stand at one point, or within {apart_deg:.2g} degrees of each other seen from the head: a "
            "surface needs views from other sides"
        )
    away = _away(views)
    if not away.any():
        return
    for habit, turned in _habits(views).items():
        if not _away(turned).any():
            raise InputError(
                f"{away.sum()} of {len(views)} cameras do not look at the head, and all of them do if their matrices "
                f"are {habit}: transforms.json wants OpenGL's camera-to-world, x right, y up, z toward the viewer; "
                "convert them"
            )
    if np.median(_seen(views, _meeting_point(views))[:, 2]) <= 0:
        raise InputError(
            "most cameras have the head behind them: transforms.json wants OpenGL's camera-to-world, x right, y up, z "
            "toward the viewer; correct their poses"
        )
    lost = [name for name, one in zip(names, away, strict=True) if one]
    raise InputError(
        f"{len(lost)} of {len(views)} cameras do not look at the place the others look at: {_some(lost)}; correct "
        "their poses or remove these frames"
    )


def _away(views: Views) -> Bool[np.ndarray, "v"]:
    """Which cameras do not look at the place that most look at."""
    seen = _seen(views, _meeting_point(views))
    size = np.array([views.cameras.width_px, views.cameras.height_px])
    return (seen[:, 2] <= 0) | (np.abs(seen[:, :2] - size / 2) > 1.5 * size).any(axis=1)


def _habits(views: Views) -> dict[str, Views]:
    """The same views with poses as they would be had the file been written by another habit."""
    poses, flip = views.cameras.camera_from_world, np.diag([1.0, -1.0, -1.0, 1.0])
    inverse = np.linalg.inv(poses)
    others = {
        "OpenCV's camera-to-world, x right, y down, z forward": flip @ poses,
        "OpenGL's world-to-camera": flip @ inverse @ flip,
        "OpenCV's world-to-camera": inverse @ flip,
    }
    return {
        habit: replace(views, cameras=replace(views.cameras, camera_from_world=each)) for habit, each in others.items()
    }


def placement(views: Views) -> Placement | None:
    """What brings views of a head from any world upright to the origin, in head units; None where they are already.

    Up is the mean of the cameras' up, and an axis of the folder's world where it lies near one. Which way the face
    looks is not asked. Each of turn, shift and scale is left out where the views have no need of it.
    """
    centre, height = _meeting_point(views), _height(views)
    scale = 1.0 if _HEIGHTS[0] <= height <= _HEIGHTS[1] else _HEAD_HEIGHT / height
    if scale * np.linalg.norm(centre) <= _OFF_CENTRE:
        centre = np.zeros(3)
    turn = _upright(-views.cameras.camera_from_world[:, 1, :3].mean(axis=0))
    angle_deg = float(np.degrees(Rotation.from_matrix(turn).magnitude()))
    if scale == 1 and angle_deg < 1e-9 and not centre.any():
        return None
    log.info(
        "the folder's world is not a head's: turned by %.0f degrees, moved by %s, scaled by %.4g; the face may not "
        "look along +Z",
        angle_deg,
        np.array2string(-centre, precision=3),
        scale,
    )
    return Placement(turn, scale, centre)


def _inside_out(alpha: Float[np.ndarray, "h w"]) -> bool:
    """Whether a mask holds nearly all of the picture's border but not nearly all of the picture."""
    head = alpha > 0.5
    border = np.concatenate([head[0], head[-1], head[:, 0], head[:, -1]])
    return bool(border.mean() > 0.9 and head.mean() < 0.98)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _meeting_point(views: Views) -> Float[np.ndarray, "3"]:
    """Where the rays through the middles of the masks pass closest, most of them: strays count little."""
    eyes, rays = camera_centres(views.cameras), _middle_rays(views)
    across = np.eye(3) - rays[:, :, None] * rays[:, None]
    weight = np.ones(len(views))
    for _ in range(_ROUNDS):
        right = (weight[:, None] * np.einsum("vij,vj->vi", across, eyes)).sum(axis=0)
        point = np.linalg.lstsq((weight[:, None, None] * across).sum(axis=0), right, rcond=None)[0]
        missed = np.linalg.norm(np.einsum("vij,vj->vi", across, point - eyes), axis=1)
        weight = 1 / np.maximum(missed, 0.02 * np.median(np.linalg.norm(eyes - point, axis=1)) + 1e-12)
    return point


def _middle_rays(views: Views) -> Float[np.ndarray, "v 3"]:
    rays = []
    for index, alpha in enumerate(views.alpha):
        rows, columns = np.nonzero(alpha > 0.5)
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5, 1.0])
        camera = np.linalg.inv(views.cameras.intrinsics_px[index]) @ middle
        rays.append(views.cameras.camera_from_world[index, :3, :3].T @ (camera / np.linalg.norm(camera)))
    return np.array(rays)


def _seen(views: Views, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "v 3"]:
    cameras = zip(views.cameras.camera_from_world, views.cameras.intrinsics_px, strict=True)
    return np.concatenate([project(point[None], pose, intrinsics_px) for pose, intrinsics_px in cameras])


def _height(views: Views) -> float:
    """Median height of what the masks show, in the folder's units."""
    depth = _seen(views, _meeting_point(views))[:, 2]
    return float(np.median(_rows(views) / views.cameras.intrinsics_px[:, 1, 1] * depth))


def _rows(views: Views) -> Integer[np.ndarray, "v"]:
    """How many rows of pixels each mask reaches over."""
    return np.array([np.ptp(np.flatnonzero((alpha > 0.5).any(axis=1))) + 1 for alpha in views.alpha])


def _upright(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest turn of ``up`` to +Y, by way of the nearest axis; none where it points there roughly already.

    Half a turn goes about x, as between the cameras of OpenCV and of OpenGL.
    """
    if np.linalg.norm(up) < 0.3:  # cameras that roll all the way round tell nothing
        return np.eye(3)
    up = up / np.linalg.norm(up)
    if up[1] > np.cos(np.radians(_TILT_DEG)):
        return np.eye(3)
    axis = np.zeros(3)
    axis[np.abs(up).argmax()] = np.sign(up[np.abs(up).argmax()])
    if up @ axis > np.cos(np.radians(_AXIS_DEG)):
        up = axis
    about = np.cross(up, [0.0, 1.0, 0.0])
    sine = np.linalg.norm(about)
    if sine < 1e-6:
        return np.diag([1.0, -1.0, -1.0])
    return np.round(Rotation.from_rotvec(about / sine * np.arctan2(sine, up[1])).as_matrix(), 15)
