"""Captures by other programs: check that every camera sees the head, and bring their world to that of a head."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, distances_to_lines, project, ray_normal_equations
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _NormalisationSettings:
    """When a capture's world is changed, and to what.

    Attributes:
        head_height: height that the masks get if they are scaled, head units.
        min_height, max_height: heights between which the masks may show a head, with or without shoulders, and are not
            scaled, head units.
        max_off_centre: heads further than this from the origin are moved there, head units.
        max_tilt_deg: cameras whose mean up is off +Y by more are turned upright.
        axis_deg: a mean up this near to an axis of the capture's world is taken for that axis.
        min_up: shortest mean of the cameras' unit up vectors that says where up is; cameras that roll all the way
            round do not.
        min_sine: of the angle to +Y; below it, up points down and any axis across would do.
    """

    head_height: float = 0.56
    min_height: float = 0.2
    max_height: float = 1.8
    max_off_centre: float = 0.5
    max_tilt_deg: float = 35.0
    axis_deg: float = 20.0
    min_up: float = 0.3
    min_sine: float = 1e-6


@dataclass(frozen=True)
class _VisibilitySettings:
    """What a capture must show.

    Attributes:
        min_picture_px: shorter side of the pictures.
        min_head_px: median height of the masks.
        min_parallax_deg: largest angle between two cameras seen from the head. At less they are one view: an error of
            one pixel is 57 pixels in depth at one degree.
        max_off_picture: how far from its middle a picture may show the place that the others look at, picture sizes.
        inverted_border, inverted_cover: a mask that covers more than the first fraction of the border and less than the
            second of the picture is taken for inverted.
    """

    min_picture_px: int = 32
    min_head_px: int = 16
    min_parallax_deg: float = 1.0
    max_off_picture: float = 1.5
    inverted_border: float = 0.9
    inverted_cover: float = 0.98


_WORLD, _VISIBILITY = _NormalisationSettings(), _VisibilitySettings()

_ROUNDS = 12
"""Reweighted least-squares rounds to the point nearest to the rays."""
_MIN_DISTANCE = 0.02
"""Distance to the point below which rays get no further weight, fraction of the cameras' median distance."""


@dataclass(frozen=True)
class WorldNormalisation:
    """Similarity that takes a capture's world to that of a head: ``scale · rotation · (x - centre)``."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float
    centre: Float[np.ndarray, "3"]

    def apply(self, views: Views) -> Views:
        """Return the same pictures with their cameras and normals in the head's world."""
        cameras, pose = views.cameras, views.cameras.camera_from_world.copy()
        pose[:, :3, 3] = self.scale * (pose[:, :3, :3] @ self.centre + pose[:, :3, 3])
        pose[:, :3, :3] = pose[:, :3, :3] @ self.rotation.T
        normals = views.normals_world
        if normals.any():
            normals = normals @ self.rotation.T.astype(np.float32)
        moved = Cameras(pose, cameras.intrinsics_px, cameras.width_px, cameras.height_px)
        return replace(views, cameras=moved, normals_world=normals)

    @property
    def report(self) -> dict[str, Any]:
        """The transform as a 4 x 4 matrix, row by row."""
        linear = self.scale * self.rotation
        matrix = np.vstack([np.column_stack([linear, -linear @ self.centre]), [0, 0, 0, 1]])
        return {"head_from_folder": [[round(float(value), 9) for value in row] for row in matrix]}


def check_visibility(views: Views) -> None:
    """Check that there is more than one view and each camera sees the head.

    Raises:
        InputError: one view, tiny pictures, masks that are empty or inverted, or cameras that look elsewhere than the
            others.
    """
    if len(views) < 2:
        raise InputError("one view to fit: a surface needs at least two views; add views from other sides")
    width_px, height_px = views.cameras.width_px, views.cameras.height_px
    if min(width_px, height_px) < _VISIBILITY.min_picture_px:
        raise InputError(
            f"pictures of {width_px} x {height_px} pixels show too little of a head; give at least "
            f"{_VISIBILITY.min_picture_px} each way"
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
    inverted = [name for name, alpha in zip(names, views.alpha, strict=True) if _is_inverted(alpha)]
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
    high_px = int(np.median(_height_px(views)))
    if high_px < _VISIBILITY.min_head_px:
        raise InputError(
            f"the head is {high_px} pixels high in the middle of the masks, too little for a surface; repair the "
            f"masks, crop the pictures, or read them at a larger size: {_VISIBILITY.min_head_px} or more"
        )


def _check_cameras(views: Views, names: Sequence[str]) -> None:
    eyes = camera_centres(views.cameras)
    rays = _point_of_interest(views) - eyes
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    parallax_deg = np.degrees(np.arccos(np.clip(rays @ rays.T, -1, 1))).max()
    if np.ptp(eyes, axis=0).max() == 0 or parallax_deg < _VISIBILITY.min_parallax_deg:
        raise InputError(
            f"all cameras stand at one point, or within {parallax_deg:.2g} degrees of each other seen from the head: a "
            "surface needs views from other sides"
        )
    away = _looks_elsewhere(views)
    if not away.any():
        return
    for convention, converted in _other_conventions(views).items():
        if not _looks_elsewhere(converted).any():
            raise InputError(
                f"{away.sum()} of {len(views)} cameras do not look at the head, and all of them do if their matrices "
                f"are {convention}: transforms.json wants OpenGL's camera-to-world, x right, y up, z toward the "
                "viewer; convert them"
            )
    if np.median(_project(views, _point_of_interest(views))[:, 2]) <= 0:
        raise InputError(
            "most cameras have the head behind them: transforms.json wants OpenGL's camera-to-world, x right, y up, z "
            "toward the viewer; correct their poses"
        )
    lost = [name for name, one in zip(names, away, strict=True) if one]
    raise InputError(
        f"{len(lost)} of {len(views)} cameras do not look at the place the others look at: {_some(lost)}; correct "
        "their poses or remove these frames"
    )


def _looks_elsewhere(views: Views) -> Bool[np.ndarray, "v"]:
    """Return which cameras do not look at the place that most look at."""
    projected = _project(views, _point_of_interest(views))
    size = np.array([views.cameras.width_px, views.cameras.height_px])
    return (projected[:, 2] <= 0) | (np.abs(projected[:, :2] - size / 2) > _VISIBILITY.max_off_picture * size).any(
        axis=1
    )


def _other_conventions(views: Views) -> dict[str, Views]:
    """Return the same views with the poses that they have if their matrices follow another convention."""
    poses, flip = views.cameras.camera_from_world, np.diag([1.0, -1.0, -1.0, 1.0])
    inverse = np.linalg.inv(poses)
    others = {
        "OpenCV's camera-to-world, x right, y down, z forward": flip @ poses,
        "OpenGL's world-to-camera": flip @ inverse @ flip,
        "OpenCV's world-to-camera": inverse @ flip,
    }
    return {
        convention: replace(views, cameras=replace(views.cameras, camera_from_world=each))
        for convention, each in others.items()
    }


def normalise_world(views: Views) -> WorldNormalisation | None:
    """Return what brings views of a head upright to the origin in head units; None if they already are.

    Up is the mean of the cameras' up vectors, or the axis of the capture's world near it. The direction of the face is
    not changed. Rotation, shift and scale are each left out if the views do not need it.
    """
    centre, height = _point_of_interest(views), _height(views)
    scale = 1.0 if _WORLD.min_height <= height <= _WORLD.max_height else _WORLD.head_height / height
    if scale * np.linalg.norm(centre) <= _WORLD.max_off_centre:
        centre = np.zeros(3)
    rotation = _upright(-views.cameras.camera_from_world[:, 1, :3].mean(axis=0))
    angle_deg = float(np.degrees(Rotation.from_matrix(rotation).magnitude()))
    if scale == 1 and angle_deg < 1e-9 and not centre.any():
        return None
    log.info(
        "the folder's world is not a head's: turned by %.0f degrees, moved by %s, scaled by %.4g; the face may not "
        "look along +Z",
        angle_deg,
        np.array2string(-centre, precision=3),
        scale,
    )
    return WorldNormalisation(rotation, scale, centre)


def _is_inverted(alpha: Float[np.ndarray, "h w"]) -> bool:
    """Check whether a mask covers nearly all of the picture's border but not nearly all of the picture."""
    head = alpha > 0.5
    border = np.concatenate([head[0], head[-1], head[:, 0], head[:, -1]])
    return bool(border.mean() > _VISIBILITY.inverted_border and head.mean() < _VISIBILITY.inverted_cover)


def _some(names: list[str]) -> str:
    """Return at most three of the names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _point_of_interest(views: Views) -> Float[np.ndarray, "3"]:
    """Return the point nearest to the rays through the middles of the masks, robustly.

    It minimises the sum of distances, not of squares, by iteratively reweighted least squares.
    """
    eyes, rays = camera_centres(views.cameras), _middle_rays(views)
    weight = np.ones(len(views))
    for _ in range(_ROUNDS):
        matrix, right = ray_normal_equations(eyes, rays, weight)
        point = np.linalg.lstsq(matrix, right, rcond=None)[0]
        distance = distances_to_lines(point, eyes, rays)
        smallest = _MIN_DISTANCE * np.median(np.linalg.norm(eyes - point, axis=1)) + 1e-12
        weight = 1 / np.maximum(distance, smallest)
    return point


def _middle_rays(views: Views) -> Float[np.ndarray, "v 3"]:
    """Return unit directions from the cameras through the centroids of the masks."""
    rays = []
    for index, alpha in enumerate(views.alpha):
        rows, columns = np.nonzero(alpha > 0.5)
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5, 1.0])
        camera = np.linalg.inv(views.cameras.intrinsics_px[index]) @ middle
        rays.append(views.cameras.camera_from_world[index, :3, :3].T @ (camera / np.linalg.norm(camera)))
    return np.array(rays)


def _project(views: Views, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "v 3"]:
    """Return column and row in pixels and depth of a world point in every view."""
    cameras = zip(views.cameras.camera_from_world, views.cameras.intrinsics_px, strict=True)
    return np.concatenate([project(point[None], pose, intrinsics_px) for pose, intrinsics_px in cameras])


def _height(views: Views) -> float:
    """Return the median height of what the masks show, in the unit of the capture."""
    depth = _project(views, _point_of_interest(views))[:, 2]
    return float(np.median(_height_px(views) / views.cameras.intrinsics_px[:, 1, 1] * depth))


def _height_px(views: Views) -> Integer[np.ndarray, "v"]:
    """Return the number of rows that each mask spans."""
    return np.array([np.ptp(np.flatnonzero((alpha > 0.5).any(axis=1))) + 1 for alpha in views.alpha])


def _upright(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Return the smallest rotation of ``up`` to +Y, or of the axis near it; none if it points there roughly.

    Half a turn goes about x, as between the cameras of OpenCV and of OpenGL.
    """
    if np.linalg.norm(up) < _WORLD.min_up:
        return np.eye(3)
    up = up / np.linalg.norm(up)
    if up[1] > np.cos(np.radians(_WORLD.max_tilt_deg)):
        return np.eye(3)
    axis = np.zeros(3)
    axis[np.abs(up).argmax()] = np.sign(up[np.abs(up).argmax()])
    if up @ axis > np.cos(np.radians(_WORLD.axis_deg)):
        up = axis
    about = np.cross(up, [0.0, 1.0, 0.0])
    sine = np.linalg.norm(about)
    if sine < _WORLD.min_sine:
        return np.diag([1.0, -1.0, -1.0])
    return np.round(Rotation.from_rotvec(about / sine * np.arctan2(sine, up[1])).as_matrix(), 15)
