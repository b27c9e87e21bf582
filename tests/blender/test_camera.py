"""The photo's camera in Blender's words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation


def seen_by_blender(camera, point: np.ndarray) -> np.ndarray:
    """Pixel of a point in Blender's world, as Blender's manual describes lens, sensor, shift and aspect."""
    world_from_camera = np.array(camera.world_from_camera)
    x, y, z = np.linalg.inv(world_from_camera)[:3] @ [*point, 1]
    width, height = camera.width_px, camera.height_px
    # In widths of the picture, from its middle; up is positive. Pixels are `pixel_aspect` as wide as high.
    right = camera.lens_mm / 36 * x / -z - camera.shift_x
    up = camera.lens_mm / 36 * y / -z - camera.shift_y
    return np.array([width / 2 + right * width, height / 2 - up * width * camera.pixel_aspect])


@pytest.mark.parametrize("seed", range(8))
def test_points_are_seen_where_the_photo_shows_them(services, seed):
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(200, 4000, 2))
    fx, fy = rng.uniform(0.8, 3) * width * np.array([1, rng.uniform(0.9, 1.1)])
    cx, cy = rng.uniform(0.2, 0.8, 2) * [width, height]
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
    camera_from_world[:3, 3] = [0.1, -0.05, 0.9]
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    described = {
        "width_px": width,
        "height_px": height,
        "intrinsics_px": intrinsics.tolist(),
        "camera_from_world": camera_from_world.tolist(),
    }
    camera = services("camera").photo_camera(described)
    for x, y, z in rng.uniform(-0.1, 0.1, (5, 3)):
        pixel = intrinsics @ (camera_from_world @ [x, y, z, 1])[:3]
        in_blender = np.array([x, -z, y])  # as its importer of glTF places it
        np.testing.assert_allclose(seen_by_blender(camera, in_blender), pixel[:2] / pixel[2], atol=1e-6 * width)


@pytest.mark.parametrize(
    "described",
    [{}, {"width_px": 0, "height_px": 1, "intrinsics_px": [[1, 0, 1], [0, 1, 1], [0, 0, 1]], "camera_from_world": []}],
)
def test_what_is_no_camera_is_refused(services, described):
    with pytest.raises(ValueError, match="no camera of its photo"):
        services("camera").photo_camera(described)
