"""Landmarks against mediapipe's own, and against what moving, shrinking and turning a picture must do to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from spinmeround.portrait import detection, landmarks
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES, LEFT_EYE_OUTER, RIGHT_EYE_OUTER, find_faces, warp


@pytest.fixture(scope="module")
def face(models, astronaut):
    return find_faces(astronaut)[0]


@pytest.fixture(scope="module")
def reference() -> dict:
    return json.loads((Path(__file__).parent / "astronaut_mediapipe.json").read_text(encoding="utf-8"))


def _error(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance as a share of the distance between the eyes."""
    eyes = np.linalg.norm(truth[RIGHT_EYE_OUTER] - truth[LEFT_EYE_OUTER])
    return float(np.linalg.norm(points - truth, axis=1).mean() / eyes)


def test_landmarks_agree_with_mediapipe(face, reference):
    assert _error(face.landmarks_px, np.array(reference["landmarks_px"])) < 0.01
    assert face.presence > 0.99


def test_blendshapes_agree_with_mediapipe(face, reference):
    theirs = np.array([reference["blendshapes"].get(name, 0) for name in BLENDSHAPE_NAMES])
    assert np.abs(face.blendshapes - theirs).max() < 0.12
    assert np.corrcoef(face.blendshapes, theirs)[0, 1] > 0.99


def test_blendshape_names_are_arkits():
    assert len(set(BLENDSHAPE_NAMES)) == 52
    assert list(BLENDSHAPE_NAMES) == sorted(BLENDSHAPE_NAMES)
    assert BLENDSHAPE_NAMES[-1] == "tongueOut"
    left = [name for name in BLENDSHAPE_NAMES if name.endswith("Left")]
    assert all(name.removesuffix("Left") + "Right" in BLENDSHAPE_NAMES for name in left)


def test_only_one_face_is_seen(astronaut):
    assert len(find_faces(astronaut)) == 1


def test_landmarks_move_with_the_picture(astronaut, face):
    moved = np.zeros((700, 640, 3), np.float32)
    moved[150:662, 90:602] = astronaut
    found = find_faces(moved)[0]
    assert _error(found.landmarks_px - [90, 150], face.landmarks_px) < 0.01


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_landmarks_scale_with_the_picture(astronaut, face, scale):
    size = round(512 * scale)
    found = find_faces(cv2.resize(astronaut, (size, size), interpolation=cv2.INTER_AREA))[0]
    assert _error(found.landmarks_px / scale, face.landmarks_px) < 0.015


def test_landmarks_turn_with_the_picture_and_the_expression_stays(astronaut, face):
    turn = cv2.getRotationMatrix2D((224, 128), 25, 1.0)
    found = find_faces(cv2.warpAffine(astronaut, turn, (512, 512), flags=cv2.INTER_CUBIC).clip(0, 1))[0]
    expected = face.landmarks_px @ turn[:, :2].T + turn[:, 2]
    assert _error(found.landmarks_px, expected) < 0.02
    assert np.abs(found.blendshapes - face.blendshapes).max() < 0.25


def test_small_faces_in_a_large_picture_are_found(astronaut):
    large = cv2.resize(astronaut[300:, :100], (2400, 1600), interpolation=cv2.INTER_LINEAR)
    head = cv2.resize(astronaut[:260, 90:350], (150, 150), interpolation=cv2.INTER_AREA)
    places = [(30, 40), (1200, 700), (2230, 1430)]
    for x, y in places:
        large[y : y + 150, x : x + 150] = head
    found = [mesh.landmarks_px.mean(0) for mesh in find_faces(large)]
    assert len(found) == 3
    for x, y in places:
        assert min(np.linalg.norm(centre - [x + 77, y + 77]) for centre in found) < 20


def test_faces_come_largest_first(astronaut):
    both = np.concatenate([cv2.resize(astronaut[:320, 64:384], (256, 256)), np.zeros((64, 256, 3))], axis=0)
    picture = np.concatenate([both, astronaut[:320, 64:384]], axis=1).astype(np.float32)
    heights = [mesh.height_px for mesh in find_faces(picture)]
    assert len(heights) == 2
    assert heights[0] > 1.15 * heights[1]


def test_doubtful_faces_count_only_where_there_is_no_sure_one(astronaut, monkeypatch):
    sure = detection.detect(astronaut)[0]
    picture = np.concatenate([astronaut, np.roll(astronaut, 40, axis=1)], axis=0)
    moved = np.array([40, 512])
    beside = replace(sure, box_px=sure.box_px + np.tile(moved, 2), keypoints_px=sure.keypoints_px + moved, score=0.6)
    monkeypatch.setattr(detection, "detect", lambda _: [sure, beside])
    assert [mesh.detection for mesh in find_faces(picture)] == [sure]
    monkeypatch.setattr(detection, "detect", lambda _: [beside])
    assert [mesh.detection for mesh in find_faces(picture)] == [beside]
    monkeypatch.setattr(detection, "detect", lambda _: [sure, replace(beside, score=0.8)])
    assert len(find_faces(picture)) == 2


def test_nothing_is_found_where_nothing_is(astronaut):
    rng = np.random.default_rng(0)
    assert find_faces(rng.random((300, 400, 3), np.float32)) == []
    assert find_faces(np.zeros((64, 64, 3), np.float32)) == []
    assert find_faces(astronaut[280:, :]) == []


def test_repeats_exactly(astronaut, face):
    again = find_faces(astronaut)[0]
    np.testing.assert_array_equal(again.landmarks_px, face.landmarks_px)
    np.testing.assert_array_equal(again.blendshapes, face.blendshapes)


def test_warp_reads_pixel_centres():
    y, x = np.mgrid[:40, :50] + 0.5
    ramp = np.stack([x / 50, y / 40, x * 0], axis=-1).astype(np.float32)
    crop = warp(ramp, np.array([[0.5, 0, 7.25], [0, 0.5, 9.5]]), 20)
    places = (np.arange(20) + 0.5) * 0.5
    np.testing.assert_allclose(crop[3, :, 0], (places + 7.25) / 50, atol=1e-3)
    np.testing.assert_allclose(crop[:, 3, 1], (places + 9.5) / 40, atol=1e-3)
    shrunk = warp(ramp, np.array([[2.0, 0, 4], [0, 2.0, 0]]), 18)
    np.testing.assert_allclose(shrunk[5, :, 0], ((np.arange(18) + 0.5) * 2 + 4) / 50, atol=2e-3)
    assert (warp(ramp, np.array([[1.0, 0, 500], [0, 1.0, 0]]), 8) == 0).all()


def test_suppression_averages_what_overlaps():
    rows = np.zeros((3, 17))
    rows[0, :5] = [0.9, 0, 0, 1, 1]
    rows[1, :5] = [0.6, 0.1, 0, 1.1, 1]
    rows[2, :5] = [0.7, 3, 3, 4, 4]
    kept = detection._weighted_nms(rows)
    np.testing.assert_allclose(kept[:, 0], [0.9, 0.7])
    np.testing.assert_allclose(kept[0, 1:5], [0.04, 0, 1.04, 1])
    np.testing.assert_allclose(kept[1, 1:5], [3, 3, 4, 4])


def test_tiles_cover_the_picture():
    for length, tile in ((1000, 300.0), (640, 640.0), (641, 320.5), (900, 333.3)):
        starts = detection._starts(length, tile)
        assert starts[0] <= 0
        assert starts[-1] + tile >= length - 1e-6
        assert (np.diff(starts) <= tile / 2 + 1e-6).all()


def test_looking_again_from_landmarks_finds_the_same(astronaut, face):
    again = landmarks.fit_mesh(astronaut, face)
    assert again is not None
    assert _error(again.landmarks_px, face.landmarks_px) < 0.01
