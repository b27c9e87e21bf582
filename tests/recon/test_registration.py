"""Registering cameras: wrong rigs are found out, right ones are left alone, and unseen views move along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.geometry import camera_centres
from spinmeround.recon.raster_numba import NumbaRasterizer
from spinmeround.recon.registration import Registration, register
from spinmeround.types import Cameras, Views
from tests.recon.scenes import cameras, draw, sphere, union

RING = [(30.0 * k, 0.0) for k in range(12)]


def patches(points):
    """Colours with texture a few pixels wide."""
    waves = [np.sin(40 * points @ direction) for direction in np.eye(3)[[1, 2, 0]] + np.eye(3) * 0.4]
    return 0.5 + 0.35 * np.stack(waves, axis=1)


@pytest.fixture(scope="module")
def scene() -> Views:
    body = union(sphere(radii=(0.17, 0.25, 0.2)), sphere((0.02, 0.0, 0.19), (0.05, 0.06, 0.06)))
    views = draw(body, cameras(RING), patches)
    return replace(views, normals_world=np.zeros_like(views.normals_world))


def pitched(views: Views, degrees: float) -> Views:
    """The same pictures, said to be taken by cameras turned about the origin by so much, each about its own x axis."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    poses = views.cameras.camera_from_world.copy()
    poses[:, :3, :3] = turn[:3, :3] @ poses[:, :3, :3]
    return replace(views, cameras=replace(views.cameras, camera_from_world=poses))


def off_deg(ours: Cameras, truth: Cameras) -> float:
    """Mean angle between the directions in which the cameras stand, about the world's vertical they share."""
    heights = [np.degrees(np.arcsin(c[:, 1] / np.linalg.norm(c, axis=1))) for c in map(camera_centres, (ours, truth))]
    return float(np.abs(heights[0] - heights[1]).mean())


def test_a_rig_said_to_be_level_that_is_not_is_found_out_and_a_right_one_is_left(scene):
    wrong = pitched(scene, 4.0)
    assert off_deg(wrong.cameras, scene.cameras) == pytest.approx(4.0, abs=0.01)
    found = register(wrong, NumbaRasterizer(), seed=0, progress=lambda share, doing: None)
    assert off_deg(found.applied(wrong).cameras, scene.cameras) < 1.0
    kept = register(scene, NumbaRasterizer(), seed=0, progress=lambda share, doing: None)
    assert off_deg(kept.applied(scene).cameras, scene.cameras) < 0.3


def test_views_between_move_as_their_neighbours_and_keep_their_distance(scene):
    own = np.zeros((len(scene), 6))
    own[:, 0] = np.radians(np.arange(len(scene)))
    shared = np.array([0.0, 0.02, 0.0, 0.01, -0.01, 0.5])
    moved = Registration(shared, own).applied(scene).cameras
    expected = camera_centres(moved)
    same = Registration(shared, own).between(scene, scene).cameras
    np.testing.assert_allclose(camera_centres(same), expected, atol=1e-6)
    np.testing.assert_allclose(moved.camera_from_world[:, 2, 3], scene.cameras.camera_from_world[:, 2, 3], atol=1e-6)
    turns = moved.camera_from_world[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-6)
