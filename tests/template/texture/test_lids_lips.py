"""Lids without streaks and lips without teeth: parts of a moving face that no picture at rest shows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.generator import TemplateHead
from spinmeround.template.model.atlas import Atlas, build_atlas
from spinmeround.template.model.head_model import PARTS, load_head_model
from spinmeround.template.texture.bake import SkinTexture, shared_atlas
from spinmeround.template.texture.fill import Layer
from spinmeround.template.texture.lids import best_lid_trust, lid_trust, repaint_lids
from spinmeround.template.texture.lips import complete_lips

SIZE = 512
MM = 1000 * METRES_PER_UNIT
SKIN, BROW, LIP, TOOTH = (
    np.array(c) for c in ([0.8, 0.6, 0.5], [0.15, 0.1, 0.08], [0.7, 0.35, 0.35], [0.9, 0.88, 0.82])
)
FRONT = np.array([0.0, 0.0, 2.7])


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def atlas(model) -> Atlas:
    return build_atlas(model, SIZE)


def acted(model, **weights: float) -> np.ndarray:
    return model.mean + sum(w * model.expression_basis[model.expression_names.index(n)] for n, w in weights.items())


def test_an_open_eye_shows_little_of_its_lid_and_a_closed_one_all(model):
    rest = model.dense(model.mean)
    opened = lid_trust(model, rest, rest, FRONT)
    shut = model.dense(acted(model, eyeBlinkLeft=1.0, eyeBlinkRight=1.0))
    closed = lid_trust(model, shut, rest, FRONT)
    drop = np.linalg.norm(model.dense(acted(model, eyeBlinkLeft=1.0)) - rest, axis=1) * MM
    assert opened[drop < 0.4].min() >= 0 and (opened[(drop < 0.4) & (rest[:, 0] > 0)] == 1).all()
    doubted = opened < 0.3
    assert (doubted & (rest[:, 0] > 0)).sum() > 100
    assert np.median(closed[doubted & (vertex_normals(shut, model.dense_faces)[:, 2] > 0.3)]) > 0.9
    assert (doubted & (rest[:, 0] > 0)).sum() == pytest.approx((doubted & (rest[:, 0] < 0)).sum(), rel=0.05)


def test_brows_and_lashes_are_not_drawn_out_over_lids(model, atlas):
    rest = model.dense(model.mean)
    trust = lid_trust(model, rest, rest, FRONT)
    doubt = atlas.spread(1 - trust[:, None])[..., 0] * (atlas.part == 0)
    streaks = (np.arange(SIZE) % 4 < 2)[None, :, None]
    photo = np.where((doubt > 0.05)[..., None] & streaks, BROW, SKIN).astype(np.float32)
    mended = repaint_lids(model, atlas, photo, trust)
    lid = doubt > 0.95
    assert lid.sum() > 100
    assert photo[lid].std(0).max() > 0.25 > 0.12 > mended[lid].std(0).max()
    assert (mended[lid] > 0.4 * SKIN).all()
    np.testing.assert_array_equal(mended[doubt == 0], photo[doubt == 0])
    np.testing.assert_allclose(
        repaint_lids(model, atlas, np.tile(SKIN, (SIZE, SIZE, 1)).astype(np.float32), trust)[lid],
        np.tile(SKIN, (int(lid.sum()), 1)),
        atol=0.01,
    )


def test_avatars_have_repainted_lids(model):
    camera = orbit_cameras([0.0], [0.0], size_px=64)
    still, mean = np.zeros(len(model.expression_names)), model.mean.astype(np.float64)
    photo = FittedPhoto(camera, still, 0 * mean, 1.0, 0.01, 0.99)
    head = FittedHead(model, np.zeros(len(model.shape_names)), 0 * mean, mean, (photo,))
    streaks = np.where((np.arange(256) % 4 < 2)[None, :, None], BROW, SKIN).repeat(256, axis=0).astype(np.float32)
    uncovered = np.zeros(model.subdivision.shape[0])
    given = TemplateHead(model, head, SkinTexture(streaks, streaks[..., 0]), None, uncovered, {})
    albedo = given.avatar(lod=2, texture_px=256).parts[0].mesh.albedo
    lid = shared_atlas(256).spread(1 - best_lid_trust(head)[:, None])[..., 0] > 0.95
    assert lid.sum() > 20
    assert albedo[lid].std(0).max() < 0.6 * streaks[lid].std(0).max()


@pytest.fixture(scope="module")
def mouth(model, atlas) -> tuple[np.ndarray, np.ndarray]:
    """Per texel of the outer skin how far the border of the mouth is, in millimetres, and whether it is a lip."""
    dense = np.asarray(model.dense(model.mean), np.float64)
    skin, cavity = (
        set(model.dense_faces[model.dense_part == PARTS.index(n)].ravel()) for n in ("skin", "mouth_cavity")
    )
    away = cKDTree(dense[sorted(skin & cavity)]).query(dense)[0] * MM
    skin = atlas.part == PARTS.index("skin")
    lips = atlas.spread(model.masks["lips"][:, None])[..., 0]
    return np.where(skin, atlas.spread(away[:, None])[..., 0], np.inf), skin & (lips > 0.5)


def painted(mouth, inner: np.ndarray) -> np.ndarray:
    away, lips = mouth
    rgb = np.where(lips[..., None], LIP, SKIN)
    return np.where((away < 2)[..., None], inner, rgb).astype(np.float32)


def test_teeth_on_lips_become_lips(model, atlas, mouth):
    photo = painted(mouth, TOOTH)
    seen = Layer(photo, np.ones((SIZE, SIZE), np.float32))
    mended = complete_lips(model, atlas, seen, acted(model, jawOpen=0.3), model.mean)
    taken = mended[mouth[0] < 1.8]
    assert (taken.mean(1) < LIP.mean() * 1.1).all()
    assert ((taken[:, 0] - taken[:, 1]) / taken.mean(1) > 0.4).all()
    np.testing.assert_allclose(mended[mouth[0] > 14], photo[mouth[0] > 14], atol=0.005)


def test_lips_that_were_shut_keep_their_highlights(model, atlas, mouth):
    photo = painted(mouth, TOOTH)
    seen = Layer(photo, np.ones((SIZE, SIZE), np.float32))
    np.testing.assert_array_equal(complete_lips(model, atlas, seen, model.mean, model.mean), photo)


def test_what_no_view_saw_of_lips_is_lip(model, atlas, mouth):
    photo = painted(mouth, SKIN)
    seen = Layer(photo, np.where(mouth[0] < 2.2, 0, 1).astype(np.float32))
    mended = complete_lips(model, atlas, seen, model.mean, model.mean)
    inner = mended[mouth[0] < 1.8]
    assert ((inner[:, 0] - inner[:, 1]) / inner.mean(1) > 0.4).all()
