"""Photos to portraits: the first two stages of every run that begins with photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spinmeround.errors import InputError
from spinmeround.pipelines.backends import Backends, LoadedPortrait
from spinmeround.protocols import PhotographedHead
from spinmeround.runtime.stages import Stages

log = logging.getLogger(__name__)

PORTRAIT_STAGES = ("photo", "portrait")
_DIGITS = 9


def check_photos(photos: Sequence[Path]) -> None:
    """Check that there is anything to read before anything heavy is loaded.

    Raises:
        InputError: no photo was given, or one is not there.
    """
    if not photos:
        raise InputError("no photo given; name one or several photos of one person")
    for path in photos:
        if not path.exists():
            raise InputError(f"{path}: no such file")


def load_portraits(photos: Sequence[Path], backends: Backends, stages: Stages) -> list[LoadedPortrait]:
    """Read the photos and find the person in each.

    Raises:
        InputError: a photo that cannot be read or has no usable face; with several photos the message names it.
    """
    with stages("photo") as progress:
        pictures = []
        for index, path in enumerate(photos):
            pictures.append(backends.read_photo(path))
            progress((index + 1) / len(photos), path.name)
    with stages("portrait") as progress:
        loaded = []
        for index, (path, picture) in enumerate(zip(photos, pictures, strict=True)):
            loaded.append(backends.find_portrait(path, picture))
            progress((index + 1) / len(photos), path.name)
    for each in loaded:
        for note in each.notes:
            log.warning("%s: %s", each.photo, note)
    return loaded


def describe_photo_camera(head: object | None, loaded: Sequence[LoadedPortrait], *, metres_per_unit: float) -> Any:
    """Return what the report says about the camera of the first photo, so that the photo can be laid over the head.

    Args:
        head: what stage one fitted, if it did.
        metres_per_unit: of the files, whose world the camera stands in.

    Returns:
        A pinhole camera in pixels of the upright photo, OpenCV's axes, in metres; None if the prior knows none.
    """
    if not isinstance(head, PhotographedHead):
        return None
    camera, first = head.photo_cameras[0], loaded[0]
    source_from_crop = np.linalg.inv(first.portrait.crop_from_source)
    scale = np.sqrt(abs(np.linalg.det(source_from_crop[:2, :2])))
    turn = source_from_crop[:2, :2] / scale  # the photo was turned by quarters until its face was upright
    crop_intrinsics_px = camera.intrinsics_px[0]
    intrinsics_px = np.eye(3)
    intrinsics_px[[0, 1], [0, 1]] = scale * np.abs(turn) @ np.diag(crop_intrinsics_px)[:2]
    intrinsics_px[:2, 2] = source_from_crop[:2, :2] @ crop_intrinsics_px[:2, 2] + source_from_crop[:2, 2]
    rolled_from_camera = np.eye(4)
    rolled_from_camera[:2, :2] = turn
    camera_from_world = rolled_from_camera @ camera.camera_from_world[0]
    camera_from_world[:3, 3] *= metres_per_unit
    return {
        "width_px": first.size_px[0],
        "height_px": first.size_px[1],
        "intrinsics_px": np.round(intrinsics_px, _DIGITS).tolist(),
        "camera_from_world": np.round(camera_from_world, _DIGITS).tolist(),
    }


def describe_photos(loaded: Sequence[LoadedPortrait]) -> list[dict[str, Any]]:
    """Return what the report says about the photos."""
    return [
        {
            "file": each.photo.name,
            "faces_seen": each.faces_seen,
            "face_taken": each.face_taken,
            "notes": list(each.notes),
        }
        for each in loaded
    ]
