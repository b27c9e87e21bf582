"""View interpolation: which views are neighbours, and whether what is made of two is what a camera there sees."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround.geometry import camera_centres
from spinmeround.images import composite
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.splats.view_interpolation import concatenate_views, interpolate_views, neighbouring_pairs
from spinmeround.types import Views
from tests.recon.scenes import draw, sphere

SIZE_PX = 256


def ring(step_deg: float, count: int):
    return orbit_cameras([step_deg * k for k in range(count)], [0.0] * count, size_px=SIZE_PX)


def patches(points):
    waves = [np.sin(50 * points @ direction) for direction in np.eye(3)[[1, 2, 0]] + np.eye(3) * 0.4]
    return 0.5 + 0.35 * np.stack(waves, axis=1)


@pytest.fixture(scope="module")
def views() -> Views:
    return draw(sphere(radii=(0.17, 0.25, 0.2)), ring(15.0, 6), patches)


def test_neighbours_are_near_and_have_none_between_them():
    closed = neighbouring_pairs(ring(15.0, 24))
    assert len(closed) == 24
    assert {tuple(pair) for pair in closed.tolist()} == {(i, i + 1) for i in range(23)} | {(0, 23)}
    assert len(neighbouring_pairs(ring(7.5, 48))) == 48
    assert len(neighbouring_pairs(ring(22.5, 16))) == 0
    assert neighbouring_pairs(ring(15.0, 1)).shape == (0, 2)


def test_a_view_between_stands_half_way_and_shows_what_is_seen_from_there(views):
    found = interpolate_views(views)
    assert found is not None
    between = found.views
    assert len(between) == 5
    there = orbit_cameras([15.0 * k + 7.5 for k in range(5)], [0.0] * 5, size_px=SIZE_PX)
    np.testing.assert_allclose(camera_centres(between.cameras), camera_centres(there), atol=1e-6)
    truth = draw(sphere(radii=(0.17, 0.25, 0.2)), there, patches)
    expected = composite(truth.rgb, truth.alpha)
    off = np.abs(composite(between.rgb, between.alpha) - expected).mean()
    as_they_are = composite(views.rgb, views.alpha)
    assert off < 0.3 * np.abs((as_they_are[:-1] + as_they_are[1:]) / 2 - expected).mean()
    assert np.abs(between.alpha - truth.alpha).mean() < 0.01
    assert between.rgb.dtype == np.float32 and not between.normals_world.any()


def test_colours_inside_go_along_the_arc_of_a_turn(views):
    """Along straight lines they would lie off by what a turn bulges: the error here would be four times as large."""
    found = interpolate_views(views)
    assert found is not None
    truth = draw(
        sphere(radii=(0.17, 0.25, 0.2)), orbit_cameras([15.0 * k + 7.5 for k in range(5)], [0.0] * 5, size_px=SIZE_PX),
        patches,
    )  # fmt: skip
    inside = cv2.erode(truth.alpha.min(axis=0).astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(found.views.rgb - truth.rgb)[:, inside].mean() < 0.002


def test_doubt_is_carried_along(views):
    weight = views.weight.copy()
    weight[0] = 0.25
    found = interpolate_views(replace(views, weight=weight))
    assert found is not None
    assert found.views.weight[0].max() == pytest.approx(0.25) and found.views.weight[1].min() == pytest.approx(1)


def test_views_that_contradict_each_other_are_told_from_those_that_do_not(views):
    other = views.rgb.copy()
    other[::2] = other[::2, ..., ::-1]
    agreeing, opposed = interpolate_views(views), interpolate_views(replace(views, rgb=other))
    assert agreeing is not None and opposed is not None
    assert agreeing.inconsistency < 0.25 and opposed.inconsistency > 0.4


def test_the_same_bytes_whatever_the_number_of_threads(views):
    before = cv2.getNumThreads()
    made = []
    for threads in (1, 3):
        cv2.setNumThreads(threads)
        made.append(interpolate_views(views))
        assert cv2.getNumThreads() == threads
    cv2.setNumThreads(before)
    np.testing.assert_array_equal(made[0].views.rgb, made[1].views.rgb)


def test_far_apart_there_is_nothing_between():
    assert interpolate_views(draw(sphere(radii=(0.2, 0.2, 0.2)), ring(45.0, 3), patches)) is None


def test_concatenated_views_keep_their_order(views):
    found = interpolate_views(views)
    assert found is not None
    both = concatenate_views(views, found.views)
    assert len(both) == 11
    np.testing.assert_array_equal(both.rgb[:6], views.rgb)
    np.testing.assert_array_equal(both.cameras.camera_from_world[6:], found.views.cameras.camera_from_world)
