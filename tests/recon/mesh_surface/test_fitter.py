"""The remesher's promises, the least-squares step against dense algebra, and the surface fit against exact bodies."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from spinmeround.errors import FitError, InputError
from spinmeround.geometry import METRES_PER_UNIT, face_normals, vertex_normals
from spinmeround.mesh_raster import rasterize
from spinmeround.recon.hull import silhouettes
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.mesh_surface.normal_integration import IntegrationTargets, integrate_normals
from spinmeround.recon.mesh_surface.remesh import half_edge_ring, half_edge_twins, remesh
from spinmeround.types import Mesh
from tests.recon import scenes
from tests.recon.test_hull import as_trimesh, head_on_neck

QUICK = SurfaceSettings(32, (5, 3))
ROUGH = SurfaceSettings(20, (3, 2))


def edges_of(mesh: Mesh) -> np.ndarray:
    return np.linalg.norm(mesh.vertices[mesh.faces] - mesh.vertices[mesh.faces[:, [1, 2, 0]]], axis=2)


def torus() -> Mesh:
    ring = trimesh.creation.torus(0.3, 0.1)
    return Mesh(np.array(ring.vertices), np.array(ring.faces))


@pytest.mark.parametrize("edge_length", [0.012, 0.03, 0.05])
@pytest.mark.parametrize("make", [lambda: scenes.sphere(subdivisions=3)[0], torus], ids=["sphere", "torus"])
def test_remeshing_gives_even_triangles_and_keeps_topology(make, edge_length):
    before = make()
    after = remesh(before, edge_length, rounds=3)
    edges, solid = edges_of(after), as_trimesh(after)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.euler_number == as_trimesh(before).euler_number
    assert solid.volume == pytest.approx(as_trimesh(before).volume, rel=0.08)
    assert 0.85 < np.median(edges) / edge_length < 1.15
    assert np.percentile(edges, [1, 99]) == pytest.approx(edge_length, rel=0.5)
    assert np.degrees(np.percentile(solid.face_angles.min(axis=1), 1)) > 30


def test_remeshing_is_deterministic():
    one, two = (remesh(torus(), 0.02) for _ in range(2))
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.faces, two.faces)


def test_twins_run_the_other_way_and_open_meshes_are_refused():
    faces = torus().faces
    twin = half_edge_twins(faces)
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    np.testing.assert_array_equal(twin[twin], np.arange(len(twin)))
    np.testing.assert_array_equal(start[twin], end)
    with pytest.raises(FitError, match="not a closed manifold"):
        half_edge_twins(faces[1:])


def test_integration_solves_the_stated_least_squares_problem():
    mesh, _ = scenes.sphere(subdivisions=1)
    rng = np.random.default_rng(0)
    vertices, faces = mesh.vertices + rng.normal(scale=0.01, size=mesh.vertices.shape), mesh.faces
    directions = vertex_normals(vertices, faces)
    targets = face_normals(vertices, faces) + rng.normal(scale=0.01, size=faces.shape)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    weight, steps = rng.uniform(0.1, 1, len(faces)), rng.normal(scale=0.01, size=len(vertices))
    step_weight = np.where(rng.random(len(vertices)) < 0.2, 0.5, 0.0)
    rows, right = [], []
    for f, corners in enumerate(faces):
        for i, j in ((0, 1), (1, 2), (2, 0)):
            a, b = corners[i], corners[j]
            row = np.zeros(len(vertices))
            row[a], row[b] = targets[f] @ directions[a], -targets[f] @ directions[b]
            rows.append(np.sqrt(weight[f]) * row)
            right.append(-np.sqrt(weight[f]) * targets[f] @ (vertices[a] - vertices[b]))
            stiff = np.zeros(len(vertices))
            stiff[a], stiff[b] = np.sqrt(0.01), -np.sqrt(0.01)
            rows.append(stiff)
            right.append(0.0)
    rows.extend(np.diag(np.sqrt(step_weight + 1e-3)))
    right.extend(step_weight * steps / np.sqrt(step_weight + 1e-3))
    expected = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    ring = half_edge_ring(faces, len(vertices))
    got = integrate_normals(
        vertices,
        directions,
        ring,
        IntegrationTargets(targets, weight, steps, step_weight),
        stiffness=0.02,
        iterations=500,
        tolerance=1e-12,
    )
    # Each edge is met from both sides, with half of the stiffness from each.
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_an_ellipsoid_is_found_to_a_tenth_of_a_pixel():
    radii = np.array([0.16, 0.21, 0.19])
    mesh = NormalSurfaceFitter(QUICK).fit(scenes.draw(scenes.sphere(radii=radii), scenes.cameras()), seed=0).mesh
    solid = as_trimesh(mesh)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    off = (np.linalg.norm(mesh.vertices / radii, axis=1) - 1) * radii.mean()
    pixel = 2.7 / (3.877 * 128)
    assert np.median(np.abs(off)) < 0.1 * pixel
    exact = mesh.vertices / radii**2
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosine = (vertex_normals(mesh.vertices, mesh.faces) * exact).sum(1)
    assert np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))) < 1.0


def test_a_hollow_no_silhouette_shows_is_found():
    """A dent in the front of a ball lies inside every outline; only the normals know of it."""
    ball, _ = scenes.sphere(subdivisions=6)
    x, y, z = ball.vertices.T
    dent = 0.05 * np.exp(-(x**2 + y**2) / 0.05**2) * (z > 0)
    dented = Mesh(ball.vertices - np.stack([0 * x, 0 * y, dent], 1), ball.faces)
    views = scenes.draw((dented, vertex_normals(dented.vertices, dented.faces)), scenes.cameras())
    mesh = NormalSurfaceFitter(SurfaceSettings(32, (8, 3))).fit(views, seed=0).mesh
    axis = mesh.vertices[(np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]) < 0.012) & (mesh.vertices[:, 2] > 0)]
    assert np.abs(axis[:, 2] - 0.15).mean() < 0.003, "hull would be at 0.2"


def test_two_spheres_keep_their_crease():
    body = scenes.union(scenes.sphere((0, 0.09, 0), (0.13,) * 3), scenes.sphere((0, -0.09, 0), (0.13,) * 3))
    mesh = NormalSurfaceFitter(QUICK).fit(scenes.draw(body, scenes.cameras()), seed=0).mesh
    gap = np.minimum(*(np.abs(np.linalg.norm(mesh.vertices - [0, s, 0], axis=1) - 0.13) for s in (0.09, -0.09)))
    assert np.median(gap) < 0.0008
    waist = mesh.vertices[np.abs(mesh.vertices[:, 1]) < 0.006]
    assert np.hypot(waist[:, 0], waist[:, 2]).mean() == pytest.approx(np.sqrt(0.13**2 - 0.09**2), abs=0.006)


def test_a_cut_neck_stays_flat_and_where_it_was_cut():
    mesh = NormalSurfaceFitter(QUICK).fit(head_on_neck(), seed=0).mesh
    solid = as_trimesh(mesh)
    assert solid.is_watertight
    bottom = mesh.vertices[:, 1].min()
    assert -0.42 < bottom < -0.36
    downward = (solid.face_normals[:, 1] < -0.95) & (solid.triangles_center[:, 1] < bottom + 0.02)
    assert solid.area_faces[downward].sum() == pytest.approx(np.pi * 0.09**2, rel=0.15)
    wall = mesh.vertices[np.abs(mesh.vertices[:, 1] - bottom - 0.05) < 0.02]
    assert np.abs(np.hypot(wall[:, 0], wall[:, 2]) - 0.09).mean() < 0.001


def test_without_normals_the_hull_is_smoothed_and_the_user_told(caplog):
    views = scenes.draw(scenes.sphere(), scenes.cameras())
    bare = replace(views, normals_world=np.zeros_like(views.normals_world))
    with caplog.at_level(logging.WARNING):
        mesh = NormalSurfaceFitter(QUICK).fit(bare, seed=0).mesh
    assert "no normals" in caplog.text
    assert as_trimesh(mesh).is_watertight
    assert np.median(np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.2)) < 0.004


def test_distrusted_normals_do_not_count():
    views = scenes.draw(scenes.sphere(), scenes.cameras())
    wrong, weight = views.normals_world.copy(), views.weight.copy()
    wrong[0] = views.alpha[0][..., None] * np.float32([0.6, 0.0, 0.8])
    weight[0] = 0
    mesh = NormalSurfaceFitter(QUICK).fit(replace(views, normals_world=wrong, weight=weight), seed=0).mesh
    assert np.median(np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.2)) < 0.001


def test_progress_rises_to_one_and_the_result_repeats():
    views, told = scenes.draw(scenes.sphere(), scenes.cameras()), []
    one = NormalSurfaceFitter(ROUGH).fit(views, seed=0, progress=lambda share, what: told.append((share, what))).mesh
    two = NormalSurfaceFitter(ROUGH).fit(views, seed=1).mesh
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.faces, two.faces)


@pytest.mark.parametrize("half_thickness", [0.012, 0.009])
def test_an_ear_thin_as_two_pixels_does_not_melt_away(half_thickness):
    """A thin plate on a ball, thinner than the edges of the first level."""
    ear = scenes.sphere((0.22, 0, 0), (0.06, 0.07, half_thickness))
    views = scenes.draw(scenes.union(scenes.sphere(), ear), scenes.cameras())
    mesh = NormalSurfaceFitter(QUICK).fit(views, seed=0).mesh
    assert mesh.vertices[:, 0].max() == pytest.approx(0.28, abs=0.006)


def test_a_crown_cut_in_every_view_is_closed_by_a_dome():
    """The normals around the hole tell how the crown goes on."""
    views = scenes.draw(scenes.sphere((0, 0.15, 0), (0.17, 0.2, 0.19)), scenes.cameras(scenes.LEVEL))
    assert silhouettes(views.alpha).cut[:, 1].sum() >= 6
    mesh = NormalSurfaceFitter(QUICK).fit(views, seed=0).mesh
    assert as_trimesh(mesh).is_watertight
    off = np.linalg.norm((mesh.vertices - [0, 0.15, 0]) / [0.17, 0.2, 0.19], axis=1) - 1
    assert np.median(np.abs(off)) < 0.01
    assert mesh.vertices[:, 1].max() == pytest.approx(0.35, abs=0.02)


def test_hair_cut_at_the_side_of_every_profile_does_not_trail_off():
    """Nobody sees the back end: front and rear views do not show depth, profiles are cut there."""
    cams = scenes.cameras([(45 * i, 0) for i in range(8)])
    views = scenes.draw(scenes.sphere((0, 0, -0.14), (0.19, 0.22, 0.27)), cams)
    cut = silhouettes(views.alpha).cut
    assert cut[:, [0, 2]].any() and not cut[0, [0, 2]].any()
    mesh = NormalSurfaceFitter(QUICK).fit(views, seed=0).mesh
    assert mesh.vertices[:, 2].min() > -0.5


def test_what_stands_below_the_cut_leaves_no_mark_on_the_chin():
    """Shoulders below the cut fill the background beside the chin in views from above."""
    chin = scenes.sphere((0, 0.03, 0.06), (0.16, 0.2, 0.16))
    body = scenes.union(chin, scenes.tube(0.08, 0.0, -1.0), scenes.sphere((0, -0.55, 0), (0.4, 0.17, 0.3)))
    ring = scenes.cameras([(30 * i, (16, -10, 8)[i % 3]) for i in range(12)])
    mesh = NormalSurfaceFitter(QUICK).fit(scenes.draw(body, ring), seed=0).mesh
    at = mesh.vertices - [0, 0.03, 0.06]
    under = (at[:, 1] < -0.1) & (at[:, 2] > 0.08) & (mesh.vertices[:, 1] > -0.2)
    assert under.sum() > 50
    assert np.percentile(np.abs(np.linalg.norm(at[under] / [0.16, 0.2, 0.16], axis=1) - 1), 95) < 0.02


@pytest.mark.slow
def test_a_laser_scan_is_met(test_data):
    """The scan of the benchmark at the first two levels, from 16 views of 256 pixels."""
    raw = trimesh.load(test_data / "scans" / "igea.ply", force="mesh", process=False)
    low, high = raw.bounds
    truth = Mesh((raw.vertices - (low + high) / 2) * (0.56 / (high - low).max()), np.array(raw.faces))
    ring = [(22.5 * i, (0, 25, -20)[i % 3]) for i in range(16)]
    views = scenes.draw((truth, vertex_normals(truth.vertices, truth.faces)), scenes.cameras(ring, size_px=256))
    mesh = NormalSurfaceFitter(SURFACE_PRESETS["draft"]).fit(views, seed=0).mesh
    assert as_trimesh(mesh).is_watertight
    held_out = scenes.cameras([(30, 12), (150, -10), (270, 22)], size_px=256)
    depths = []
    for index in range(3):
        ours, theirs = (rasterize(m.vertices, m.faces, held_out, index) for m in (mesh, truth))
        both = (ours.face >= 0) & (theirs.face >= 0)
        depths.append(np.abs(ours.depth[both] - theirs.depth[both]))
    assert np.median(np.concatenate(depths)) * METRES_PER_UNIT * 1000 < 0.15


def test_nan_is_refused():
    views = scenes.draw(scenes.sphere(), scenes.cameras())
    broken = views.normals_world.copy()
    broken[1, 5, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        NormalSurfaceFitter(QUICK).fit(replace(views, normals_world=broken), seed=0)
