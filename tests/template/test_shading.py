"""Shading of samples against the same look-ups in plain numpy, sample by sample."""

import numpy as np
import pytest

from spinmeround.geometry import vertex_normals
from spinmeround.images import sample
from spinmeround.mesh_raster import FaceBuffer
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.shading import CoveringTexture, Shading, Surface, tilted_by_strands
from tests.template.hair.capped import cap, front_of, painted, photo_evidence, sampled, surface_of

SAMPLES, HEIGHT, WIDTH = 4, 20, 30


def shown(faces, seed):
    """A picture of faces at random places; the first pixels of four rows are hit on their rims only."""
    rng = np.random.default_rng(seed)
    face = rng.integers(-faces // 2, faces, (HEIGHT * SAMPLES, WIDTH * SAMPLES)).clip(-1).astype(np.int32)
    face[: 4 * SAMPLES, 1 : SAMPLES - 1] = -1
    weights = rng.dirichlet(np.ones(3), face.shape).astype(np.float32)
    return FaceBuffer(face, np.where(face[..., None] < 0, 0, weights), np.ones(face.shape, np.float32))


def interpolated(buffer, corners):
    """Values of corners, one row of three a face, at all samples that hit; 0 elsewhere."""
    values = np.einsum("hwk,hwkc->hwc", buffer.barycentric, corners[np.maximum(buffer.face, 0)])
    return np.where(buffer.face[..., None] < 0, 0, values)


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def of_pixels(samples):
    """Samples of each pixel, row by row."""
    blocks = samples.reshape(HEIGHT, SAMPLES, WIDTH, SAMPLES, -1)
    return blocks.swapaxes(1, 2)


def check(shading, buffer, colours, normals):
    """Compare sums with those of samples that were looked up one by one."""
    hit = buffer.face >= 0
    np.testing.assert_allclose(shading.alpha, of_pixels(hit).mean((2, 3))[..., 0], atol=1e-6)
    np.testing.assert_allclose(shading.colours, of_pixels(colours * hit[..., None]).sum((2, 3)), atol=2e-3)
    inner = of_pixels(normals)[:, :, 1:-1, 1:-1].sum((2, 3))
    hit_inside = of_pixels(hit)[:, :, 1:-1, 1:-1].any((2, 3))
    assert not hit_inside[:4, 0].any()
    assert hit_inside.any()
    expected = np.where(hit_inside, inner, of_pixels(normals).sum((2, 3)))
    np.testing.assert_allclose(shading.normals, expected, atol=5e-3)


@pytest.fixture(scope="module")
def patch():
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 60, (40, 3))
    return Surface(vertices, faces, unit(rng.normal(size=(60, 3))).astype(np.float32))


@pytest.fixture(scope="module")
def painted_hair():
    """Surface and texture of a cap of hair that a photo shows from the front."""
    model = load_head_model()
    front = front_of(model)
    evidence = photo_evidence(model, front, cap(model, front, 12))
    _, hair = surface_of(model, evidence)
    texture = painted(hair, evidence, seed=0)
    return hair, texture


def test_skin_is_looked_up_at_every_sample(patch):
    rng = np.random.default_rng(1)
    albedo = rng.uniform(size=(16, 24, 3)).astype(np.float32)
    corner_uv = rng.uniform(-0.02, 1.02, (40, 3, 2)).astype(np.float32)
    buffer = shown(40, 2)
    shading = Shading(buffer, SAMPLES)
    shading.add_textured(patch, corner_uv, albedo)
    uv = interpolated(buffer, corner_uv).reshape(-1, 2)
    colours = sample(albedo, np.stack([uv[:, 0] * 24, (1 - uv[:, 1]) * 16], axis=1)).reshape(*buffer.face.shape, 3)
    check(shading, buffer, colours, unit(interpolated(buffer, patch.normals[patch.faces])))


def test_strands_have_the_colours_of_their_vertices(patch):
    colours = np.random.default_rng(3).uniform(size=(60, 3)).astype(np.float32)
    buffer = shown(40, 4)
    shading = Shading(buffer, SAMPLES)
    shading.add_coloured(patch, 0, colours)
    normals = unit(interpolated(buffer, patch.normals[patch.faces]))
    check(shading, buffer, interpolated(buffer, colours[patch.faces]), normals)


def test_hair_has_the_photo_where_that_sees_it_and_the_map_elsewhere(painted_hair):
    hair, texture = painted_hair
    vertices, vertex_normal = hair.vertices.astype(np.float32), vertex_normals(hair.vertices, hair.faces)
    surface = Surface(vertices, hair.faces, vertex_normal.astype(np.float32))
    buffer, covering = shown(len(hair.faces), 5), CoveringTexture.of(texture)
    shading = Shading(buffer, SAMPLES)
    shading.add_covering(surface, 0, len(hair.faces), covering)

    hit = buffer.face >= 0
    points = interpolated(buffer, vertices[hair.faces])[hit].astype(np.float32)
    normals = unit(interpolated(buffer, vertex_normal[hair.faces])[hit]).astype(np.float32)
    of_map, _ = sampled(texture, points)
    of_photo, trust, _ = texture.photo.look_up(points, normals)
    assert 0.05 < (trust > 0.5).mean() < 0.9
    colours, tilted = np.zeros((2, *buffer.face.shape, 3))
    colours[hit] = of_map + trust[:, None] * (of_photo - of_map)
    tilted[hit] = tilted_by_strands(covering, points, normals)
    check(shading, buffer, colours, tilted)


def test_normals_tilt_by_the_slope_of_the_relief(painted_hair):
    hair, texture = painted_hair
    points = hair.vertices.astype(np.float32)
    normals = unit(vertex_normals(hair.vertices, hair.faces)).astype(np.float32)
    level = np.maximum(np.hypot(normals[:, 0], normals[:, 2]), 1e-6)
    x, z = normals[:, 2] / level, -normals[:, 0] / level
    around = np.stack([x, 0 * x, z], axis=1)
    step, height = 0.0015, 0.0003
    tilted = normals.copy()
    for tangent in (around, np.cross(normals, around)):
        ahead, behind = (sampled(texture, points + sign * step * tangent)[1] for sign in (1, -1))
        tilted -= np.clip((ahead - behind) * height / (2 * step), -0.7, 0.7)[:, None] * tangent
    np.testing.assert_allclose(tilted_by_strands(CoveringTexture.of(texture), points, normals), unit(tilted), atol=0.01)
