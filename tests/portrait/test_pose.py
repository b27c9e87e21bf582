"""Head pose: exact on points made from a known pose, mirrored with a mirrored photo, linear in a known turn."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest

from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import FaceMesh, find_faces
from spinmeround.portrait.pose import FACE_HEIGHT_CM, canonical_face_cm, fit_head
from spinmeround.types import HeadFrame


def _rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """``picture_from_head`` by the definition of the angles."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_up = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    about_right = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_view = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.diag([1.0, -1, -1]) @ about_view @ about_right @ about_up


def _mesh_of(frame: HeadFrame) -> FaceMesh:
    """The canonical face seen from 1.9 m."""
    points = canonical_face_cm() @ frame.picture_from_head.T
    distance = 11.0 * FACE_HEIGHT_CM
    pixels = points[:, :2] * frame.scale_px / (1 + points[:, 2:] / distance) + frame.origin_px
    full = np.concatenate([pixels, pixels[:10]])
    return FaceMesh(full, np.zeros(478), np.zeros(52), 1.0)


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (-40, 5, 0), (0, 18, 0), (10, -12, 20), (-15, 8, -30)])
def test_recovers_a_known_pose(models, angles):
    true = HeadFrame(_rotation(*angles), np.array([400.0, 300.0]), 14.0)
    np.testing.assert_allclose(true.angles_deg, angles, atol=1e-9)
    found = fit_head(_mesh_of(true))
    np.testing.assert_allclose(found.angles_deg, angles, atol=1.5)
    assert abs(found.scale_px / 14 - 1) < 0.06
    assert np.linalg.norm(found.origin_px - true.origin_px) < 8


def test_canonical_face_is_metric_and_upright(models):
    face = canonical_face_cm()
    assert face.shape == (468, 3)
    assert abs((face[10, 1] - face[152, 1]) - FACE_HEIGHT_CM) < 0.1
    assert face[263, 0] > 0 > face[33, 0], "the subject's left eye is at +X"
    assert face[1, 2] == pytest.approx(face[:, 2].max(), abs=1)


def test_a_mirrored_photo_mirrors_yaw_and_roll(models, astronaut):
    straight = fit_head(find_faces(astronaut)[0]).angles_deg
    mirrored = fit_head(find_faces(np.ascontiguousarray(astronaut[:, ::-1]))[0]).angles_deg
    np.testing.assert_allclose(mirrored, straight * [-1, 1, -1], atol=2)


def test_yaw_follows_a_known_turn(models, test_data):
    yaws = []
    for index in (46, 47, 0, 1, 2, 3, 4):  # -15 to 30 degrees
        frame = iio.imread(test_data / "spin_videos" / "video_e285.mp4", index=index)[..., :3]
        yaws.append(fit_head(find_faces(frame.astype(np.float32) / 255)[0]).angles_deg[0])
    slope = np.polyfit(np.arange(-15, 31, 7.5), yaws, 1)[0]
    assert 0.9 < slope < 1.1


def test_head_map_measures_in_the_head_frame(models):
    frame = HeadFrame(_rotation(0, 0, 20), np.array([100.0, 110.0]), 4.0)
    mesh = _mesh_of(frame)
    head = HeadMap(frame, mesh.landmarks_px, 220)

    def at(values: np.ndarray, point_cm: tuple[float, float, float]) -> float:
        x, y = frame.project(np.array(point_cm, float)).astype(int)
        return float(values[y, x])

    assert at(head.height, (0, -9.4, 4.3)) == pytest.approx(0, abs=0.03)
    assert at(head.height, (0, 8.26, 4.5)) == pytest.approx(1, abs=0.03)
    assert at(head.aside_cm, (5, 0, 0)) == pytest.approx(5, abs=0.3)
    assert at(head.depth_in_face_cm, (0, 0, 5)) > 4
    assert at(head.skull, (0, 13.9, -3.8)) == pytest.approx(1, abs=0.04)
    assert at(head.ear, (7.7, 0, -3)) > 0.9
    assert at(head.distance_to_person_cm, (0, 0, 0)) == 0
    assert at(head.distance_to_person_cm, (24, 8, 0)) > 8
