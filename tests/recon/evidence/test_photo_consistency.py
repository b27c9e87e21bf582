"""Views against each other, and camera corrections: against plain numpy, and cameras that are known to be off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.geometry import project, vertex_normals
from spinmeround.recon.evidence.photo_consistency import (
    apply_twists,
    band_pass_level,
    camera_twists,
    photo_consensus,
)
from spinmeround.recon.evidence.targets import depth_maps, normal_level, projection_matrices, with_cameras
from spinmeround.recon.evidence.view_sampling import SurfaceInViews
from spinmeround.recon.mesh_surface.fitter import NormalSurfaceFitter, SurfaceSettings
from spinmeround.types import Mesh, Views
from tests.recon import scenes

PIXEL = 2.7 / (3.877 * 128)
RADII = np.array([0.19, 0.22, 0.2])


def waves(points):
    """A solid pattern about as fine as a head's features at 128 pixels."""
    return np.clip(0.5 + 0.5 * np.sin(points[:, [1, 2, 0]] * 130 + np.sin(points[:, [2, 0, 1]] * 90 + [0, 2, 4])), 0, 1)


@pytest.fixture(scope="module")
def body() -> Mesh:
    return scenes.sphere(radii=RADII)[0]


@pytest.fixture(scope="module")
def views() -> Views:
    return scenes.draw(scenes.sphere(radii=RADII), scenes.cameras(), waves)


def consensus_on(mesh: Mesh, views: Views, noise=None):
    level = normal_level(views, 1)
    depth, normals = depth_maps(mesh.vertices, mesh.faces, level.cameras), vertex_normals(mesh.vertices, mesh.faces)
    surface, pictures = SurfaceInViews(mesh, normals, level, depth, tolerance=0.01), band_pass_level(views, level)
    return surface, pictures, photo_consensus(surface, pictures, noise)


def plain_consensus(point, direction, level, pictures, noise):
    """The robust mean of the views at one vertex that nothing hides, and their weight."""
    values, weights = [], []
    for view, matrix in enumerate(level.projections):
        toward = level.eyes[view] - point
        cosine = toward @ direction / np.linalg.norm(toward)
        if cosine < 0.35:
            continue
        u, v, w = matrix @ np.append(point, 1)
        column, row = u / w - 0.5, v / w - 0.5
        c, r = int(column), int(row)
        a, b = column - c, row - r
        p = pictures.pictures[view, r : r + 2, c : c + 2].astype(np.float64)
        values.append((1 - b) * ((1 - a) * p[0, 0] + a * p[0, 1]) + b * ((1 - a) * p[1, 0] + a * p[1, 1]))
        weights.append(pictures.trust[view, int(row + 0.5), int(column + 0.5)] * cosine**2)
    values, weights = np.array(values), np.array(weights)
    robust = weights
    for _ in range(3):
        agreed = robust @ values / robust.sum()
        robust = weights / (1 + (((values - agreed) / noise) ** 2).mean(1) / 4) ** 2
    return robust @ values / robust.sum(), robust.sum()


def test_the_consensus_is_that_of_the_plain_equations(body, views):
    noise = np.linspace(0.02, 0.07, 6)
    larger = Mesh(body.vertices * 1.01, body.faces)
    surface, pictures, consensus = consensus_on(larger, views, noise)
    for vertex in (0, 100, 2345, 7000):
        mean, weight = plain_consensus(larger.vertices[vertex], surface.normals[vertex], surface.level, pictures, noise)
        np.testing.assert_allclose(consensus.mean[vertex], mean, rtol=1e-6, atol=1e-9)
        assert consensus.weight[vertex] == pytest.approx(weight, rel=1e-6)


def test_the_right_body_is_seen_without_noise(body, views):
    *_, consensus = consensus_on(body, views)
    assert (consensus.weight > 0).mean() > 0.95
    assert consensus.noise.max() < 0.08


def test_a_turned_camera_is_turned_back(body, views):
    turn, shift = np.radians([0.3, -0.5, 0.2]), views.cameras.camera_from_world[3, 0, :3] * 0.003
    twists = np.zeros((len(views), 6))
    twists[3] = np.concatenate([turn, shift])
    wrong = replace(views, cameras=apply_twists(views.cameras, twists))
    total = np.zeros((len(views), 6))
    for _ in range(4):
        given = replace(wrong, cameras=apply_twists(wrong.cameras, total))
        total += camera_twists(*consensus_on(body, given), contour_noise_px=0.3)
    before, after = (
        np.linalg.norm(np.cross(twist[:3], body.vertices) + twist[3:], axis=1).mean()
        for twist in (twists[3], twists[3] + total[3])
    )
    assert after < 0.15 * PIXEL and after < 0.25 * before
    assert np.abs(np.delete(total, 3, axis=0)).max() < 0.5 * PIXEL


def test_a_twisted_camera_sees_the_moved_world(views):
    twists = np.random.default_rng(0).normal(scale=0.1, size=(len(views), 6))
    moved = apply_twists(views.cameras, twists)
    point = np.array([[0.1, -0.2, 0.05]])
    for view in (0, 5):
        world = Rotation.from_rotvec(twists[view, :3]).apply(point) + twists[view, 3:]
        intrinsics_px = views.cameras.intrinsics_px[view]
        np.testing.assert_allclose(
            project(point, moved.camera_from_world[view], intrinsics_px),
            project(world, views.cameras.camera_from_world[view], intrinsics_px),
        )


def test_a_level_with_other_cameras_keeps_its_pictures(views):
    level = normal_level(views, 2)
    other = apply_twists(views.cameras, np.full((len(views), 6), 0.01))
    elsewhere = with_cameras(level, other)
    assert elsewhere.normals is level.normals and elsewhere.cameras.width_px == 64
    np.testing.assert_allclose(elsewhere.projections, projection_matrices(elsewhere.cameras))
    np.testing.assert_allclose(elsewhere.cameras.camera_from_world, other.camera_from_world)


def test_exact_cameras_come_back_as_given(views):
    cameras = NormalSurfaceFitter(SurfaceSettings(32, (4, 3))).fit(views, seed=0).cameras
    np.testing.assert_array_equal(cameras.camera_from_world, views.cameras.camera_from_world)


def test_noisy_normals_and_cameras_are_overruled_by_colours(views):
    rng = np.random.default_rng(0)
    tilt = np.repeat(np.repeat(rng.normal(scale=0.1, size=(len(views), 6, 6, 3)), 22, 1), 22, 2)[:, :128, :128]
    normals = (views.normals_world + tilt) * views.alpha[..., None]
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    twists = np.concatenate([rng.normal(scale=0.008, size=(len(views), 3)), np.zeros((len(views), 3))], 1)
    noisy = replace(
        views, normals_world=normals.astype(np.float32), cameras=apply_twists(views.cameras, twists - twists.mean(0))
    )
    fitter = NormalSurfaceFitter(SurfaceSettings(32, (5, 3)))
    fitted = fitter.fit(noisy, seed=0)
    mesh, cameras = fitted.mesh, fitted.cameras
    grey = fitter.fit(replace(noisy, rgb=np.full_like(noisy.rgb, 0.5)), seed=0).mesh
    off, plain = (np.median(np.abs(np.linalg.norm(m.vertices / RADII, axis=1) - 1)) for m in (mesh, grey))
    assert off < 0.003 and off < 0.9 * plain
    before, after = (
        np.linalg.norm((c.camera_from_world - views.cameras.camera_from_world)[:, :3, :3], axis=(1, 2)).mean()
        for c in (noisy.cameras, cameras)
    )
    assert after < 0.5 * before


def test_colours_alone_find_a_hollow():
    """No normals at all: the hull spans the dent, the pattern in it lies where the views agree."""
    ball, _ = scenes.sphere(subdivisions=6)
    x, y, z = ball.vertices.T
    dent = 0.03 * np.exp(-(x**2 + y**2) / 0.07**2) * (z > 0)
    dented = Mesh(ball.vertices - np.stack([0 * x, 0 * y, dent], 1), ball.faces)
    directions = [*scenes.RING, (25, 0), (-25, 5), (0, 30), (0, -30)]
    drawn = scenes.draw(
        (dented, vertex_normals(dented.vertices, dented.faces)), scenes.cameras(directions, size_px=192), waves
    )
    bare = replace(drawn, normals_world=np.zeros_like(drawn.normals_world))
    mesh = NormalSurfaceFitter(SurfaceSettings(32, (8, 5))).fit(bare, seed=0).mesh
    axis = mesh.vertices[(np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]) < 0.015) & (mesh.vertices[:, 2] > 0)]
    assert abs(axis[:, 2].mean() - 0.17) < 0.006, "hull would be at 0.2"
