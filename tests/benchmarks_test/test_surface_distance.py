"""The shape metric: known distances, and blindness to size and place."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from surface_distance import (
    Alignment,
    Surface,
    closest_on_triangles,
    distance_after_alignment,
    sample_surface,
    similarity,
)


def _bumpy_head() -> trimesh.Trimesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=1.0)
    x, y, z = ball.vertices.T
    bumps = 1 + 0.15 * np.sin(3 * x) + 0.1 * np.cos(4 * y) + 0.2 * np.exp(-8 * ((x - 0.2) ** 2 + y**2)) * (z > 0)
    return trimesh.Trimesh(ball.vertices * bumps[:, None] * [80, 110, 95], ball.faces, process=False)


def test_closest_point_agrees_with_trimesh():
    rng = np.random.default_rng(0)
    corners = rng.normal(size=(200, 3, 3))
    points = rng.normal(size=(200, 3)) * 2
    expected = trimesh.triangles.closest_point(corners, points)
    np.testing.assert_allclose(closest_on_triangles(points, *corners.transpose(1, 0, 2)), expected, atol=1e-9)


def test_samples_lie_on_the_surface():
    head = _bumpy_head()
    points = sample_surface(head.vertices, head.faces, 500, rng=np.random.default_rng(1))
    nearest, _ = Surface(head.vertices, head.faces).nearest(points)
    assert np.abs(nearest - points).max() < 1e-9


def test_similarity_is_recovered_from_matches():
    rng = np.random.default_rng(2)
    source, rotation = rng.normal(size=(50, 3)), Rotation.from_rotvec([0.3, -0.8, 0.2]).as_matrix()
    found = similarity(source, 2.5 * source @ rotation.T + [1, 2, 3])
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, [1, 2, 3], atol=1e-9)


def test_size_and_place_do_not_count():
    head = _bumpy_head()
    rotation = Rotation.from_rotvec([0.1, 0.15, -0.08]).as_matrix()
    moved = 0.004 * head.vertices @ rotation.T + [0.02, -0.03, 0.05]
    truth = sample_surface(head.vertices, head.faces, 800, rng=np.random.default_rng(3))
    start = Alignment(0.0043, np.eye(3), np.zeros(3))
    gaps = distance_after_alignment(truth, Surface(moved, head.faces), start)
    assert np.median(gaps) < 0.02


def test_an_offset_that_no_similarity_hides_is_measured():
    head = _bumpy_head()
    normals = head.vertex_normals
    ripple = 2.0 * np.sign(np.sin(head.vertices[:, 1] / 3.0))[:, None]
    truth = head.vertices[::3]
    surface = Surface(head.vertices + normals * ripple, head.faces)
    gaps = distance_after_alignment(truth, surface, Alignment(1.0, np.eye(3), np.zeros(3)))
    assert 0.8 < np.median(gaps) < 2.1
