"""The skin of several photos: no seam, no ghosts, no hair printed on a cheek."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.template.fit.photo_balance import balance_photos
from spinmeround.template.fit.photo_lookup import gather_evidence
from spinmeround.template.model.atlas import build_atlas
from spinmeround.template.model.head_model import PARTS, load_head_model
from spinmeround.template.texture.bake import bake_skin_texture, shared_atlas
from spinmeround.template.texture.fill import Layer, MembraneSolver
from spinmeround.template.texture.photo_merge import PhotoLayer, merge_photos, photo_fitness
from tests.template.photographed import photographed

SKIN = np.array([0.62, 0.47, 0.4])


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def atlas(model):
    return build_atlas(model, 400)


@pytest.fixture(scope="module")
def membrane(model):
    skin = model.dense_part == PARTS.index("skin")
    return MembraneSolver.on_faces(model.dense_faces[skin], len(model.dense(model.mean)))


def layer_of(rgb, weight, *, hair: float | np.ndarray = 0.0, fitness: float = 1.0) -> PhotoLayer:
    size = rgb.shape[:2]
    flat = [np.broadcast_to(np.float32(value), size).astype(np.float32) for value in (weight, fitness, hair)]
    nothing = Layer(np.zeros((*size, 3), np.float32), np.zeros(size, np.float32))
    return PhotoLayer(Layer(rgb.astype(np.float32), flat[0]), nothing, flat[1], flat[2])


def test_two_exposures_leave_no_step_where_they_meet(model):
    height = model.dense(model.mean)[:, 1:2]
    portraits, head = photographed(
        model, SKIN + 0.08 * np.sin(150 * height), (40.0, -40.0), [(1.0, 1.0, 1.0), (0.4, 0.5, 0.65)]
    )
    balanced = balance_photos(model, gather_evidence(model, head, portraits))
    uncovered = np.zeros(model.subdivision.shape[0])
    texture = bake_skin_texture(model, head, [photo.portrait for photo in balanced], uncovered)
    fine = shared_atlas(len(texture.albedo))
    x, y, z = np.moveaxis(fine.spread(model.dense(model.mean)), -1, 0)
    face = (fine.part == PARTS.index("skin")) & (texture.observed > 0.9) & (z > 0.1) & (abs(y) < 0.15)
    strips = [texture.albedo[face & (x > low) & (x < low + 0.02)] for low in np.arange(-0.1, 0.1, 0.02)]
    means, contrasts = (np.stack([of(strip, axis=0) for strip in strips]) for of in (np.mean, np.std))
    assert np.abs(np.diff(means, axis=0)).max() < 0.015
    np.testing.assert_allclose(means, np.broadcast_to(SKIN, means.shape), atol=0.03)
    np.testing.assert_allclose(contrasts[:4].mean(axis=0), contrasts[-4:].mean(axis=0), rtol=0.06)


def test_pictures_that_do_not_lie_on_each_other_are_not_averaged(atlas, membrane):
    columns = np.arange(400)[None, :, None] // 4
    stripes = [SKIN + 0.04 * (-1.0) ** (columns + shift) + np.zeros((400, 1, 1)) for shift in (0, 1)]
    skin = atlas.part == PARTS.index("skin")
    photos = [layer_of(stripes[0], 1.0), layer_of(stripes[1], 1.0, fitness=1.05)]
    merged = merge_photos(photos, atlas, membrane, skin, prior_weight=1e-3).skin
    np.testing.assert_allclose(merged.rgb[skin], stripes[0][skin], atol=0.005)


def test_hair_in_one_photo_gives_way_to_skin_in_another(atlas, membrane):
    skin = atlas.part == PARTS.index("skin")
    curl = np.zeros((400, 400), bool)
    curl[180:220, 150:250] = True
    dark = np.where(curl[..., None], 0.1, SKIN)
    photos = [layer_of(dark, 1.0, hair=curl, fitness=1.5), layer_of(SKIN + np.zeros((400, 400, 3)), 0.5)]
    merged = merge_photos(photos, atlas, membrane, skin, prior_weight=1e-3).skin
    assert (skin & curl).sum() > 500
    np.testing.assert_allclose(merged.rgb[skin & curl], np.broadcast_to(SKIN, (int((skin & curl).sum()), 3)), atol=0.03)


def test_a_smile_is_less_fit_for_a_face_at_rest(atlas, model):
    moved = np.zeros(len(model.dense(model.mean)))
    moved[model.dense(model.mean)[:, 1] < 0] = 0.03
    fitness = photo_fitness(np.full((400, 400), 2.0, np.float32), atlas, moved)[atlas.part >= 0]
    assert fitness.max() == pytest.approx(2.0, abs=1e-5) and fitness.min() == pytest.approx(0.4, abs=1e-3)


def test_one_photo_is_taken_as_it_is(atlas, membrane):
    photo = layer_of(SKIN + np.zeros((400, 400, 3)), 0.7)
    merged = merge_photos([photo], atlas, membrane, atlas.part == 0, prior_weight=1e-3)
    assert merged.skin is photo.skin and merged.inner is photo.inner
    np.testing.assert_array_equal(merged.shares, 1)
