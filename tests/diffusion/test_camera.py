"""Where the model's pictures were seen from: the measured camera, the head's own frame, and the way back to poses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spinmeround.diffusion import camera
from spinmeround.diffusion.camera import ModelRig, photo_poses, rig_of
from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, project
from spinmeround.orbits import orbit_cameras
from tests.pipelines.fakes import portrait

POSES = ((0.0, 0.0), (45.0, 0.0), (-90.0, 0.0), (180.0, 0.0), (-7.5, 20.0))


def turned(yaw: float, pitch: float):
    return dataclasses.replace(portrait(), head_pose_deg=np.array([yaw, pitch, 0.0], np.float32))


def directions(cameras) -> np.ndarray:
    centres = camera_centres(cameras) - camera._WORLD_FROM_AXIS
    azimuths = np.degrees(np.arctan2(centres[:, 0], centres[:, 2]))
    return np.stack([azimuths, np.degrees(np.arcsin(centres[:, 1] / np.linalg.norm(centres, axis=1)))], axis=1)


def test_the_measured_camera():
    cameras = ModelRig(np.eye(4)).cameras(POSES, size_px=512)
    np.testing.assert_allclose(
        cameras.intrinsics_px[0], [[1985.02, 0, 256], [0, 1985.02, 279.27], [0, 0, 1]], atol=0.02
    )
    centres = camera_centres(cameras)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.7)
    np.testing.assert_allclose(centres[0], 2.7 * np.array([0, np.sin(np.radians(6.1)), np.cos(np.radians(6.1))]))
    assert centres[1, 0] > 1.8
    assert centres[2, 0] < -2.6
    for index in range(len(cameras)):
        seen = project(np.zeros((1, 3)), cameras.camera_from_world[index], cameras.intrinsics_px[index])[0]
        np.testing.assert_allclose(seen, [256, 279.27, 2.7], atol=0.01)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, -6.1), (25, -6.1), (-40, 20), (10, -30)])
def test_the_photo_was_taken_from_where_the_head_says(yaw, pitch):
    rig = rig_of(turned(yaw, pitch))
    azimuth, elevation = directions(rig.cameras([(0.0, 0.0)], size_px=512))[0]
    assert azimuth == pytest.approx(yaw, abs=1e-3)
    assert elevation == pytest.approx(-pitch, abs=3.0)


def test_a_level_photo_turned_aside_moves_all_cameras_along():
    straight, aside = (directions(rig_of(turned(yaw, -6.1)).cameras(POSES, size_px=64)) for yaw in (0, 20))
    np.testing.assert_allclose((aside[:, 0] - straight[:, 0]) % 360, 20, atol=1e-5)
    np.testing.assert_allclose(aside[:, 1], straight[:, 1], atol=1e-6)


@pytest.mark.parametrize("pose", [(0, -6.1), (30, 10), (-20, -35)])
def test_poses_come_back_from_cameras(pose):
    rig = rig_of(turned(*pose))
    assert rig.poses(rig.cameras(POSES, size_px=512)) == POSES


def test_a_direction_of_the_head_is_where_the_camera_stands():
    rig = rig_of(turned(-30, 15))
    asked = [(0.0, 0.0), (90.0, 10.0), (-150.0, -20.0)]
    np.testing.assert_allclose(directions(rig.cameras(rig.toward(asked), size_px=64)), asked, atol=1e-4)


def test_other_cameras_are_not_the_models():
    rig = rig_of(turned(0, 0))
    with pytest.raises(ValueError, match="its own rig"):
        rig.poses(orbit_cameras([0, 45], [0, 0], size_px=512))


def test_absurd_angles():
    for pose in ((0.0, 80.0), (0.0, -92.0), (0.0, float("nan")), (float("inf"), 0.0)):
        with pytest.raises(InputError, match=r"no camera of the model at azimuth .*elevations lie within ±85"):
            ModelRig(np.eye(4)).cameras([(0.0, 0.0), pose], size_px=64)


def test_several_photos_are_counted_from_the_first():
    poses = photo_poses([turned(-10, -5), turned(25, -6), turned(-10, 20)])
    assert poses[0] == (0.0, 0.0)
    assert poses[1][0] == pytest.approx(35)
    assert poses[1][1] == pytest.approx(0, abs=0.1)
    assert poses[2][0] == 0
    assert poses[2][1] == pytest.approx(-25, abs=1.5)
