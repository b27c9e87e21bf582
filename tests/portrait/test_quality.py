"""Measures of a photo: each follows what was done to the picture, and little else."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround.portrait import quality
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import CHIN, FACE_TOP
from spinmeround.types import FaceGeometry, HeadFrame

SIDE_PX = 384


@pytest.fixture(scope="module")
def found(astronaut_portrait):
    return astronaut_portrait.portrait


@pytest.fixture(scope="module")
def head(found):
    frame = HeadFrame(np.eye(3), np.zeros(2), 16.0)
    return HeadMap.of(FaceGeometry(found.landmarks_px, frame), picture_px=len(found.rgb), side_px=SIDE_PX)


@pytest.fixture(scope="module")
def small(found):
    return np.clip(cv2.resize(found.rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), 0, 1)


def exposed(rgb, stops):
    """The picture as taken with so many stops more light at each pixel."""
    return np.clip(rgb.astype(np.float64) ** 2.2 * 2.0**stops, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)


def test_a_good_photo_has_nothing_against_it(astronaut_portrait):
    measured = astronaut_portrait.measures
    assert measured.blur_px < 1.2
    assert measured.face_height_px == pytest.approx(astronaut_portrait.face_heights_px[0], abs=0.1)
    assert measured.light_stops < 2
    assert measured.burnt_out < 0.05
    assert measured.black < 0.05
    assert (measured.yaw_deg, measured.pitch_deg) == tuple(map(float, astronaut_portrait.portrait.head_pose_deg[:2]))
    assert measured.covered < 0.05
    assert measured.matte_doubt < 0.08
    assert measured.head_cut == 0


def edge(blur_px: float, height: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A face of two dark bars, where eyes and brows are, with edges of a known blur."""
    points = np.full((478, 2), 150.0)
    points[FACE_TOP], points[CHIN] = (150, 50), (150, 50 + height)
    for polygons, row in ((quality._EYES, 120), (quality._BROWS, 100)):
        for polygon, column in zip(polygons, (110, 190), strict=True):
            points[list(polygon)] = np.array([column, row]) + np.linspace(-20, 20, len(polygon))[:, None] * [1, 0]
    picture = np.full((300, 300), 0.8, np.float32)
    picture[115:300] = 0.2
    return cv2.GaussianBlur(picture, (0, 0), blur_px)[..., None].repeat(3, 2), points


@pytest.mark.parametrize("blur_px", [0.7, 1.5, 2.5])
def test_blur_is_that_of_the_edges_whatever_their_contrast(blur_px):
    picture, points = edge(blur_px)
    assert quality.edge_blur_px(picture, points) == pytest.approx(blur_px, abs=0.25)
    assert quality.edge_blur_px(0.4 + picture * 0.2, points) == pytest.approx(blur_px, abs=0.25)


def test_blur_is_measured_at_the_size_of_a_crop():
    picture, points = edge(2.0)
    large = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    assert quality.edge_blur_px(large, points * 4) == pytest.approx(2.0 * 295 / 200, abs=0.4)


def test_a_picture_without_edges_is_blurred():
    _, points = edge(1.0)
    assert quality.edge_blur_px(np.full((300, 300, 3), 0.5, np.float32), points) > 5


def test_a_blurred_photo_is_blurred_in_spite_of_noise(astronaut, found):
    landmarks = (found.landmarks_px - found.crop_from_source[:2, 2]) / found.crop_from_source[0, 0]
    noise = np.random.default_rng(0).normal(0, 0.012, astronaut.shape).astype(np.float32)
    soft = cv2.GaussianBlur(astronaut, (0, 0), 2.0) + noise
    assert quality.edge_blur_px(soft, landmarks) > quality.edge_blur_px(astronaut, landmarks) + 0.8


def test_light_from_one_side_is_told_in_stops(small, head):
    across = np.linspace(-1, 1, SIDE_PX)[None, :, None]
    flat, _, _ = quality.measure_light(small, head)
    lit, _, _ = quality.measure_light(exposed(small, 6 * across), head)
    assert lit > flat + 1.5


def test_clipped_faces_are_told(small, head):
    _, burnt_out, _ = quality.measure_light(exposed(small, 3), head)
    _, _, black = quality.measure_light(exposed(small, -6), head)
    assert burnt_out > 0.5
    assert black > 0.5


def test_what_covers_the_face_is_told_and_a_shadow_is_not(small, head, found):
    bare = quality.covered_fraction(small, found.hair, head)
    points = head.landmarks_px
    bar = small.copy()
    low, high = points[2, 1], points[CHIN, 1]
    bar[int(low) : int(high), int(points[2, 0]) : int(points[454, 0])] = 0.03
    assert quality.covered_fraction(bar, found.hair, head) > bare + 0.08
    shade = small.copy()
    shade[:, : int(points[2, 0])] = exposed(shade[:, : int(points[2, 0])], -2)
    assert quality.covered_fraction(shade, found.hair, head) < bare + 0.04


def test_a_fringe_and_a_beard_cover_nothing(small, head, found):
    bare = quality.covered_fraction(small, found.hair, head)
    rows = np.arange(SIDE_PX)
    dark = np.array([0.12, 0.11, 0.1], np.float32)
    beard, fringe = small.copy(), small.copy()
    beard[rows > head.landmarks_px[2, 1] + 2] = dark
    assert quality.covered_fraction(beard, found.hair, head) < bare + 0.03
    above = rows < head.landmarks_px[9, 1]
    fringe[above] = dark
    hair = cv2.resize(np.repeat(above[:, None], SIDE_PX, 1).astype(np.float32), found.hair.shape)
    assert quality.covered_fraction(fringe, hair, head) < bare + 0.03


def test_a_network_that_disagrees_makes_the_matte_doubtful(found):
    assert quality.matte_doubt(found, found.alpha) == 0
    half = found.alpha.copy()
    half[:, : half.shape[1] // 2] = 0
    assert quality.matte_doubt(found, half) > 0.2
    assert quality.matte_doubt(found, found.alpha * 0.5) > 0.2


def test_a_head_on_the_photos_border_is_cut(found):
    assert quality.head_on_border(found) == 0
    seen = found.observed.copy()
    seen[: int(found.landmarks_px[FACE_TOP, 1])] = False
    cut = replace(found, observed=seen, alpha=found.alpha * seen, hair=found.hair * seen)
    assert 0.4 < quality.head_on_border(cut) < 1.6
