"""Cameras of a folder that are off: which stages correct and get them, what is reported, and that it helps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.geometry import METRES_PER_UNIT, camera_centres
from spinmeround.recon.cameras.motion import describe_motion, interpolate_camera_motion
from spinmeround.recon.cameras.photometric import CameraCorrection
from tests.pipelines.fakes import sphere_views
from tests.recon import scenes


def test_the_report_says_how_far_each_camera_moved(caplog):
    views = dataclasses.replace(sphere_views(scenes.cameras(scenes.LEVEL)), names=tuple("abcdefgh"))
    poses = views.cameras.camera_from_world.copy()
    poses[2, :3, :3] @= Rotation.from_rotvec([0, np.radians(2), 0]).as_matrix()  # about the world's origin
    poses[5, 0, 3] += 0.001 / METRES_PER_UNIT
    found = dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, camera_from_world=poses))
    with caplog.at_level("INFO"):
        told = describe_motion(views.cameras, found)["cameras_moved"]
    assert told["count"] == 2 and set(told["each"]) == {"c", "f"}
    assert told["each"]["f"] == {"mm": 1.0, "deg": 0.0}
    assert told["each"]["c"]["deg"] == told["deg"]["most"] == 2.0
    level_m = np.linalg.norm(camera_centres(views.cameras)[2, [0, 2]]) * METRES_PER_UNIT
    assert told["each"]["c"]["mm"] == pytest.approx(2000 * np.sin(np.radians(1)) * level_m, abs=0.01)
    assert "2 of 8 cameras moved" in caplog.text
    assert describe_motion(views.cameras, views) == {"cameras_moved": {"count": 0}}


def test_views_that_were_not_used_move_as_their_neighbours_did():
    ring = sphere_views(scenes.cameras([(30.0 * k, 0.0) for k in range(12)], size_px=32))
    own = np.zeros((12, 6))
    own[:, 0] = np.radians(np.arange(12))
    found = CameraCorrection(np.array([0.0, 0.02, 0.0, 0.01, -0.01, 0.0]), own).apply(ring).cameras
    np.testing.assert_allclose(
        interpolate_camera_motion(ring, ring.cameras, found).cameras.camera_from_world,
        found.camera_from_world,
        atol=1e-6,
    )
    between = sphere_views(scenes.cameras([(45.0, 0.0)], size_px=32))
    pose = interpolate_camera_motion(between, ring.cameras, found).cameras.camera_from_world[0]
    turn = Rotation.from_matrix(pose[:3, :3] @ between.cameras.camera_from_world[0, :3, :3].T).as_rotvec()
    np.testing.assert_allclose(turn, [np.radians(1.5), 0.02, 0], atol=1e-4)
    np.testing.assert_allclose(pose[:3, 3] - between.cameras.camera_from_world[0, :3, 3], [0.01, -0.01, 0], atol=1e-6)
