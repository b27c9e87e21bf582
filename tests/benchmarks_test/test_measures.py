"""The measures of the benchmarks on cases whose answer is known."""

from __future__ import annotations

import heads
import numpy as np
import pytest
from datasets import near_white_mask, turn_frame_index
from likeness import AZIMUTHS_DEG, FRONTAL, ON_BACKGROUND, figures_of
from measures import mask_iou
from model_camera import Camera, calibrate, middle_view_error_px, sampson_distances_px
from splats_heldout import psnr_on_head
from tables import Figure

from spinmeround.geometry import camera_centres, project, select
from spinmeround.orbits import FOCAL_WIDTHS, PRINCIPAL_POINT, orbit_cameras
from spinmeround.types import Cameras


def test_figures_know_whether_they_keep_their_bar():
    assert Figure("x", 0.2, 0.2).holds is True
    assert Figure("x", 0.21, 0.2).holds is False
    assert Figure("x", 0.9, 0.85, at_most=False).holds is True
    assert Figure("x", 1.0).holds is None


def test_mask_iou():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert mask_iou(a, b) == 1
    a[:, :2], b[:, 1:3] = True, True
    assert mask_iou(a, b) == pytest.approx(1 / 3)


def test_psnr_looks_at_the_head_and_two_pixels_around_it():
    truth, ours, alpha = np.zeros((32, 32, 3)), np.zeros((32, 32, 3)), np.zeros((32, 32))
    alpha[10:20, 10:20] = 1
    ours[8:22, 8:22] = 0.1
    assert psnr_on_head(ours, truth, alpha) == pytest.approx(20)
    ours[:, 25:] = 1
    assert psnr_on_head(ours, truth, alpha) == pytest.approx(20)


def test_near_white_mask_drops_specks():
    frame = np.full((64, 64, 3), 250, np.uint8)
    frame[20:50, 20:50] = 90
    frame[5:7, 5:7] = 90
    mask = near_white_mask(frame)
    assert mask[25:45, 25:45].all()
    assert not mask[:15].any()


def test_frames_of_a_turntable_video():
    assert [turn_frame_index(a) for a in (0, 45, -45, 180, -180)] == [0, 6, 42, 24, 24]


def test_orbiting_a_camera_is_the_rig():
    rig = orbit_cameras([0, 30, -45], [10, 10, 10], size_px=100)
    ours = heads.orbited(select(rig, [0]), [0, 30, -45])
    np.testing.assert_allclose(ours.camera_from_world, rig.camera_from_world, atol=1e-12)


def _fitted_camera() -> Cameras:
    camera = orbit_cameras([20], [5], size_px=300, radius=3.4)
    pose = camera.camera_from_world.copy()
    pose[0, :3, 3] += [0.04, -0.03, 0]
    intrinsics = np.array([[[1200.0, 0, 160], [0, 1200, 140], [0, 0, 1]]])
    return Cameras(pose, intrinsics, 300, 300)


def test_the_videos_first_frame_sees_the_head_where_the_photo_does():
    """Near the head's centre, where exchanging focal length for distance changes nothing."""
    crop_from_source = np.array([[0.5, 0, -20], [0, 0.5, 10], [0, 0, 1.0]])
    turn = orbit_cameras([0, 90], [0, 0], size_px=512)
    photo = _fitted_camera()
    placed = heads.turntable_cameras_of_head(photo, crop_from_source, turn, select(turn, [0]))
    near_centre = np.random.default_rng(0).normal(size=(20, 3)) * 0.002
    source = np.linalg.inv(crop_from_source)
    in_crop = project(near_centre, photo.camera_from_world[0], photo.intrinsics_px[0])[:, :2]
    expected = in_crop @ source[:2, :2].T + source[:2, 2]
    found = project(near_centre, placed.camera_from_world[0], placed.intrinsics_px[0])[:, :2]
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_the_video_circles_the_head_once_it_is_placed():
    photo = orbit_cameras([0], [0], size_px=512)
    turn = orbit_cameras([0, 45, 90, 180], [0] * 4, size_px=512)
    placed = heads.turntable_cameras_of_head(photo, np.eye(3), turn, select(turn, [0]))
    np.testing.assert_allclose(placed.camera_from_world, turn.camera_from_world, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(camera_centres(placed), axis=1), 2.7, atol=1e-9)


def test_epipolar_error_is_zero_for_the_true_rig_only():
    rng, size = np.random.default_rng(1), 512
    points = rng.uniform(-0.2, 0.2, (40, 3))
    cameras = orbit_cameras([7.5 * k for k in range(9)], [4.0] * 9, size_px=size)
    seen = [project(points, cameras.camera_from_world[k], cameras.intrinsics_px[k])[:, :2] for k in range(9)]
    turn = {span: np.concatenate([seen[0], seen[span]], axis=1) for span in (1, 2, 4)}
    turn[8] = np.concatenate([seen[0], seen[4], seen[8]], axis=1)
    true, level = (Camera(FOCAL_WIDTHS, *PRINCIPAL_POINT, elevation_deg) for elevation_deg in (4.0, 0.0))
    for span, matches in turn.items():
        assert np.abs(sampson_distances_px(true, matches, span=span)).max() < 1e-6
        assert np.median(np.abs(sampson_distances_px(level, matches, span=span))) > 0.2
    assert middle_view_error_px(true, turn[8]) < 1e-6 < 0.2 < middle_view_error_px(level, turn[8])
    found, _, _ = calibrate([turn], focal_widths=FOCAL_WIDTHS, principal_y=PRINCIPAL_POINT[1])
    assert found.elevation_deg == pytest.approx(4.0, abs=1e-3)


def test_likeness_figures_name_the_worst_and_the_margin():
    angles = [*map(str, AZIMUTHS_DEG)]
    ours = {"a": dict.fromkeys([*angles, FRONTAL, *(angle + ON_BACKGROUND for angle in angles)], 0.3), "b": {}}
    ours["b"] = {**ours["a"], "45.0": 0.6, f"45.0{ON_BACKGROUND}": 0.7}
    real = {"b": {"30.0": 0.35, "45.0": 0.5}}
    by_name = {figure.what: figure for figure in figures_of(ours, real)}
    assert by_name["likeness, worst single picture"].value == 0.6
    assert by_name["likeness, worst single picture"].note == "b at 45.0°"
    assert by_name["closer than the published model by, at least"].value == pytest.approx(-0.1)
    assert by_name["likeness at ±45°"].value == pytest.approx((0.3 * 3 + 0.6) / 4)
    assert by_name["likeness at ±45°, photo's background"].value == pytest.approx((0.3 * 3 + 0.7) / 4)
