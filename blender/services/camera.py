"""The photo's camera as Blender describes cameras: lens, shift and a matrix, in Blender's world of +Z up."""
# SPDX-License-Identifier: GPL-3.0-or-later

from dataclasses import dataclass
from typing import Any

SENSOR_WIDTH_MM = 36.0

Matrix = list[list[float]]

_BLENDER_FROM_GLTF: Matrix = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
"""glTF's +Y up, +Z front to Blender's +Z up, -Y front: what Blender's importer does."""
_OPENCV_FROM_BLENDER: Matrix = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]
"""Axes of a camera: Blender's +Y up, -Z forward to OpenCV's +Y down, +Z forward."""


@dataclass(frozen=True)
class PhotoCamera:
    """A camera whose picture lies over the photo.

    Attributes:
        width_px: width of the photo.
        height_px: height of the photo.
        lens_mm: focal length on a sensor ``SENSOR_WIDTH_MM`` wide that fits the photo's width.
        shift_x: where the principal point lies, in widths of the photo.
        shift_y: likewise; up.
        pixel_aspect: width over height of a pixel.
        world_from_camera: Blender's matrix, metres.
    """

    width_px: int
    height_px: int
    lens_mm: float
    shift_x: float
    shift_y: float
    pixel_aspect: float
    world_from_camera: Matrix


def photo_camera(described: dict[str, Any]) -> PhotoCamera:
    """Read ``photo_camera`` of a head: OpenCV's camera in glTF's world, metres.

    Raises:
        ValueError: it describes no camera.
    """
    try:
        width, height = int(described["width_px"]), int(described["height_px"])
        (fx, _, cx), (_, fy, cy), _ = described["intrinsics_px"]
        camera_from_world = [[float(value) for value in row] for row in described["camera_from_world"]]
        # In units of the width, since the sensor fits it; half of what lies up is as much as a row is high.
        aspect = fy / fx
        return PhotoCamera(
            width_px=width,
            height_px=height,
            lens_mm=fx / width * SENSOR_WIDTH_MM,
            shift_x=(width / 2 - cx) / width,
            shift_y=(cy - height / 2) / aspect / width,
            pixel_aspect=aspect,
            world_from_camera=_times(_times(_BLENDER_FROM_GLTF, _inverse(camera_from_world)), _OPENCV_FROM_BLENDER),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"the head names no camera of its photo that can be read: {error!r}") from None


def _times(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(a[i][k] * b[k][j] for k in range(4)) for j in range(4)] for i in range(4)]


def _inverse(rigid: Matrix) -> Matrix:
    """Return the inverse of a rotation and translation."""
    turned = [[rigid[j][i] for j in range(3)] for i in range(3)]
    moved = [-sum(turned[i][k] * rigid[k][3] for k in range(3)) for i in range(3)]
    return [[*turned[i], moved[i]] for i in range(3)] + [[0.0, 0.0, 0.0, 1.0]]
