"""Locks on a ball whose hair falls straight down."""

import numpy as np
import pytest
from skimage.measure import marching_cubes

from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.locks import Canvas, lay_locks, shown_contrast
from spinmeround.types import Mesh

RADIUS = 0.25
CANVAS = Canvas(
    lambda points: np.stack(
        [
            (np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.5) * 512,
            np.arccos(np.clip(points[:, 1] / np.linalg.norm(points, axis=1), -1, 1)) / np.pi * 256,
        ],
        axis=1,
    ),
    512,
    256,
)
STRAIGHT = Curl(0.0, 0.3, 1.0)
BAND = slice(80, 176)
"""Rows about the ball's equator."""


@pytest.fixture(scope="module")
def ball():
    grid = np.stack(np.meshgrid(*[np.linspace(-0.3, 0.3, 41)] * 3, indexing="ij"), axis=-1)
    vertices, faces, _, _ = marching_cubes(np.linalg.norm(grid, axis=-1), RADIUS)
    vertices = vertices * 0.015 - 0.3
    normals = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    down = np.array([0, -1.0, 0]) + normals[:, 1:2] * normals
    return Mesh(vertices, faces[:, ::-1].astype(np.int64)), down / np.maximum(
        np.linalg.norm(down, axis=1, keepdims=True), 1e-9
    )


@pytest.fixture(scope="module")
def locks(ball):
    return lay_locks(ball[0], ball[1], STRAIGHT, CANVAS, length=0.3, rng=np.random.default_rng(0))


def test_locks_cover_the_surface_and_run_along_the_growth(locks):
    assert (locks.height[BAND] > 0.05).mean() > 0.95
    assert locks.height.max() <= 1
    across, along = np.diff(locks.tone[BAND], axis=1), np.diff(locks.tone[BAND], axis=0)
    assert np.abs(along).mean() < 0.35 * np.abs(across).mean()


def test_locks_go_on_across_the_seam_of_the_map(locks):
    step = np.abs(np.diff(locks.height[BAND], axis=1)).mean()
    assert np.abs(locks.height[BAND, 0] - locks.height[BAND, -1]).mean() < 2 * step


def test_waves_of_the_photo_bend_locks(ball, locks):
    wavy = lay_locks(ball[0], ball[1], Curl(0.01, 0.08, 1.0), CANVAS, length=0.3, rng=np.random.default_rng(0))
    steps = [np.abs(np.diff(each.tone[BAND], axis=0)).mean() for each in (locks, wavy)]
    assert steps[1] > 1.3 * steps[0]


def test_shading_has_the_contrast_that_it_is_given(locks):
    normal = np.zeros((256, 512, 3))
    normal[..., 2] = 2
    shading = np.log(locks.shading(normal, 0.15))[locks.height > 0]
    assert shading.std() == pytest.approx(0.15, rel=1e-3)
    assert shading.mean() == pytest.approx(0, abs=1e-3)
    assert np.corrcoef(shading, locks.height[locks.height > 0])[0, 1] > 0.2, "gaps are dark"


def test_strands_rise_and_fall_with_their_lock(locks):
    along, normal = np.zeros((256, 512, 3)), np.zeros((256, 512, 3))
    along[..., 1], normal[..., 2] = -1, 3
    turned = locks.turned(along, normal)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=2), 1, atol=1e-6)
    assert turned[..., 2].min() < -0.05
    assert turned[..., 2].max() > 0.05


def test_contrast_of_locks_is_that_of_the_photo_within_bounds():
    trust = np.ones((256, 512), np.float32)
    columns = np.arange(512)[None, :, None] * np.ones((256, 1, 3))
    shown = [
        shown_contrast(0.4 * np.exp(strength * np.sin(2 * np.pi * columns / 64)), trust) for strength in (0, 0.15, 3)
    ]
    assert shown[0] < shown[1] < shown[2]
    assert shown[0] == pytest.approx(shown_contrast(columns, 0 * trust)), "that of plain hair where nothing is seen"
    assert shown[1] == pytest.approx(0.15 / np.sqrt(2), rel=0.35)


def test_the_same_seed_gives_the_same_locks(ball, locks):
    again = lay_locks(ball[0], ball[1], STRAIGHT, CANVAS, length=0.3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again.height, locks.height)
    np.testing.assert_array_equal(again.lean, locks.lean)
