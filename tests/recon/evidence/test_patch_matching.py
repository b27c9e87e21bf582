"""Patches of the surface in several views: against plain numpy, and against bodies that are known to be off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.geometry import vertex_normals
from spinmeround.recon.evidence.patch_matching import PatchTerms, curvatures, patch_level, patch_terms, tangent_frames
from spinmeround.recon.evidence.targets import depth_maps, normal_level
from spinmeround.recon.evidence.view_sampling import PictureLevel, SurfaceInViews
from spinmeround.types import Mesh, Views
from tests.recon import scenes
from tests.recon.evidence.test_photo_consistency import PIXEL, RADII, waves

EDGE = 0.008


@pytest.fixture(scope="module")
def body() -> Mesh:
    return scenes.sphere(radii=RADII)[0]


@pytest.fixture(scope="module")
def views() -> Views:
    return scenes.draw(scenes.sphere(radii=RADII), scenes.cameras(), waves)


def bare(views: Views) -> Views:
    return replace(views, normals_world=np.zeros_like(views.normals_world))


def terms_on(mesh: Mesh, views: Views, noise=None) -> tuple[PictureLevel, PatchTerms]:
    level = normal_level(views, 1)
    patches, depth = patch_level(views, level), depth_maps(mesh.vertices, mesh.faces, level.cameras)
    surface = SurfaceInViews(mesh, vertex_normals(mesh.vertices, mesh.faces), level, depth, tolerance=0.75 * EDGE)
    return patches, patch_terms(surface, patches, noise, edge=EDGE)


def shown(picture, matrix, point) -> np.ndarray:
    """Bilinear value of a picture where a world point lies."""
    u, v, w = matrix @ np.append(point, 1)
    column, row = u / w - 0.5, v / w - 0.5
    c, r = int(column), int(row)
    a, b = column - c, row - r
    p = picture[r : r + 2, c : c + 2].astype(np.float64)
    return (1 - b) * ((1 - a) * p[0, 0] + a * p[0, 1]) + b * ((1 - a) * p[1, 0] + a * p[1, 1])


def plain_terms(point, direction, curvature, level, patches, noise):
    """Right side and information of one vertex that nothing hides; slopes are differences of what is shown."""
    raster = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if abs(i) + abs(j) <= 2])
    sample_weight = np.exp(-(raster**2).sum(1) / (2 * 1.3**2))
    sample_weight /= sample_weight.sum()
    x, y, z = direction
    across = np.array([z, 0, -x]) if abs(y) < 0.9 else np.array([0, z, -y])
    across = across / np.linalg.norm(across)
    a, b = 0.8 * EDGE * raster.T
    sag = -0.5 * (curvature[0] * a**2 + 2 * curvature[1] * a * b + curvature[2] * b**2)
    points = point + np.stack([a, b, sag], 1) @ np.stack([across, np.cross(direction, across), direction])
    values, slopes, weights = [], [], []
    for view, matrix in enumerate(level.projections):
        toward = level.eyes[view] - point
        cosine = toward @ direction / np.linalg.norm(toward)
        if cosine < 0.35:
            continue
        picture, nudge = patches.pictures[view], 1e-7
        value = np.stack([shown(picture, matrix, p) for p in points])
        slope = np.stack(
            [
                (shown(picture, matrix, p + nudge * direction) - shown(picture, matrix, p - nudge * direction))
                / (2 * nudge)
                for p in points
            ]
        )
        u, v, w = matrix @ np.append(point, 1)
        values.append(value - sample_weight @ value)
        slopes.append(slope - sample_weight @ slope)
        weights.append(patches.trust[view, int(v / w), int(u / w)] * cosine**2)
    values, slopes, weights = np.array(values), np.array(slopes), np.array(weights)
    robust = weights
    for _ in range(3):
        agreed = np.einsum("v,vkc->kc", robust, values) / robust.sum()
        off = np.einsum("k,vkc->v", sample_weight, ((values - agreed) / noise) ** 2) / len(noise)
        robust = weights / (1 + off / 4) ** 2
    off = (values - np.einsum("v,vkc->kc", robust, values) / robust.sum()) / noise
    slope = (slopes - np.einsum("v,vkc->kc", robust, slopes) / robust.sum()) / noise
    return -np.einsum("v,k,vkc->", robust, sample_weight, off * slope), np.einsum(
        "v,k,vkc->", robust, sample_weight, slope**2
    )


@pytest.mark.parametrize("with_normals", [True, False])
def test_terms_are_those_of_the_plain_equations(body, views, with_normals):
    given = views if with_normals else bare(views)
    noise = np.linspace(0.02, 0.07, 6 if with_normals else 3)
    larger = Mesh(body.vertices * 1.01, body.faces)
    level, directions = normal_level(given, 1), vertex_normals(larger.vertices, larger.faces)
    patches, found = terms_on(larger, given, noise)
    curvature = curvatures(larger, directions, *tangent_frames(directions))
    for vertex in (0, 100, 2345, 7000):
        right, information = plain_terms(
            larger.vertices[vertex], directions[vertex], curvature[vertex], level, patches, noise
        )
        assert found.information[vertex] == pytest.approx(information, rel=1e-4)
        assert found.right[vertex] == pytest.approx(right, rel=1e-4, abs=1e-4 * information * PIXEL)


def test_curvatures_are_those_of_an_ellipsoid(body):
    exact = body.vertices / RADII**2
    slope = np.linalg.norm(exact, axis=1)
    normals = exact / slope[:, None]
    across, along = tangent_frames(normals)
    np.testing.assert_allclose(np.cross(across, along), normals, atol=1e-12)
    found = curvatures(body, normals, across, along)
    # The Hessian of the quadratic form between tangents, over the length of its gradient.
    for k, (one, other) in enumerate([(across, across), (across, along), (along, along)]):
        np.testing.assert_allclose(found[:, k], (one * other / RADII**2).sum(1) / slope, rtol=0.03, atol=0.1)


@pytest.mark.parametrize("factor", [0.985, 1.02])
def test_a_body_of_the_wrong_size_gets_steps_toward_the_right_one(body, views, factor):
    _, found = terms_on(Mesh(body.vertices * factor, body.faces), bare(views))
    step = found.right.sum() / found.information.sum()
    assert step == pytest.approx((1 - factor) * RADII.mean(), rel=0.3)


def test_the_right_body_is_left_alone_and_seen_without_noise(body, views):
    _, found = terms_on(body, views)
    assert abs(found.right.sum() / found.information.sum()) < 0.1 * PIXEL
    assert (found.information > 0).mean() > 0.9
    assert found.noise.max() < 0.08


def test_light_and_tint_of_single_views_change_nothing(body, views):
    tint = np.random.default_rng(0).uniform(-0.2, 0.2, (len(views), 1, 1, 3)).astype(np.float32)
    _, plain = terms_on(body, bare(views))
    _, tinted = terms_on(body, bare(replace(views, rgb=views.rgb + tint)))
    np.testing.assert_allclose(tinted.right, plain.right, rtol=1e-3, atol=1e-3 * plain.information.max() * PIXEL)


def test_views_without_trust_do_not_count(body, views):
    _, found = terms_on(body, replace(bare(views), weight=np.zeros_like(views.weight)))
    assert not found.right.any() and not found.information.any()
