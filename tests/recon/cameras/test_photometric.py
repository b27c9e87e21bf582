"""Camera refinement: wrong rigs are corrected, right ones are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.geometry import camera_centres
from spinmeround.recon.cameras import photometric
from spinmeround.recon.cameras.photometric import CameraCorrection, refine_cameras, refine_cameras_if_needed
from spinmeround.recon.cameras.silhouettes import silhouette_gap
from spinmeround.recon.raster.gaussians import NumbaRasterizer
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


def test_a_rig_wrongly_said_to_be_level_is_corrected_and_a_right_one_is_left(scene):
    wrong = pitched(scene, 4.0)
    assert off_deg(wrong.cameras, scene.cameras) == pytest.approx(4.0, abs=0.01)
    found = refine_cameras(wrong, NumbaRasterizer(), seed=0, progress=lambda share, doing: None)
    assert off_deg(found.apply(wrong).cameras, scene.cameras) < 1.0
    kept = refine_cameras(scene, NumbaRasterizer(), seed=0, progress=lambda share, doing: None)
    assert off_deg(kept.apply(scene).cameras, scene.cameras) < 0.3


def test_cameras_turn_and_shift_but_keep_their_distance(scene):
    own = np.zeros((len(scene), 6))
    own[:, 0] = np.radians(np.arange(len(scene)))
    moved = CameraCorrection(np.array([0.0, 0.02, 0.0, 0.01, -0.01, 0.5]), own).apply(scene).cameras
    np.testing.assert_allclose(moved.camera_from_world[:, 2, 3], scene.cameras.camera_from_world[:, 2, 3], atol=1e-6)
    turns = moved.camera_from_world[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-6)


@pytest.fixture(scope="module")
def profile() -> Views:
    """A head with a profile, that looks different from a little higher."""
    parts = [((0, 0, 0), (0.17, 0.25, 0.2)), ((0, -0.02, 0.22), (0.03, 0.03, 0.06))]
    parts += [((0, -0.2, 0.12), (0.06, 0.05, 0.08)), ((0, 0.12, -0.2), (0.07, 0.06, 0.08))]
    views = draw(union(*(sphere(centre, radii) for centre, radii in parts)), cameras(RING), patches)
    return replace(views, normals_world=np.zeros_like(views.normals_world))


def test_silhouettes_tell_whether_cameras_need_refinement(profile, monkeypatch, caplog):
    def no_need(*_, **__):
        raise AssertionError("refined")

    assert silhouette_gap(profile.cameras, profile.alpha) < 0.002
    monkeypatch.setattr(photometric, "refine_cameras", no_need)
    with caplog.at_level("INFO"):
        assert refine_cameras_if_needed(profile, NumbaRasterizer(), seed=0, progress=lambda share, doing: None) is None
    assert "the cameras are taken as they are" in caplog.text


@pytest.mark.parametrize(("found_deg", "taken"), [(-4.0, True), (0.0, False), (3.0, False)])
def test_refined_cameras_are_taken_only_if_silhouettes_agree_better(profile, found_deg, taken, monkeypatch, caplog):
    found = CameraCorrection(np.array([np.radians(found_deg), 0, 0, 0, 0, 0]), np.zeros((len(profile), 6)))
    monkeypatch.setattr(photometric, "refine_cameras", lambda *_, **__: found)
    wrong = pitched(profile, 4.0)
    gaps = [silhouette_gap(views.cameras, views.alpha) for views in (wrong, profile)]
    assert gaps[0] > 2 * gaps[1]
    with caplog.at_level("INFO"):
        got = refine_cameras_if_needed(wrong, NumbaRasterizer(), seed=0, progress=lambda share, doing: None)
    assert got is (found if taken else None)
    assert ("these are taken" if taken else "these are left aside") in caplog.text
