"""Lips at rest are whole and have their own colours; creases that the expression pressed go, moles stay elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.template.model.atlas import build_atlas
from spinmeround.template.model.head_model import PARTS, landmark_points, load_head_model
from spinmeround.template.texture.at_rest import _contact_shadow, skin_at_rest
from spinmeround.template.texture.fill import Layer, MembraneSolver, vertex_areas
from spinmeround.template.texture.skin_tone import SkinCanvas, SkinPlaces

SIZE = 1024
SKIN, LIP, DARK, TOOTH = (
    np.array(rgb) for rgb in ([0.75, 0.55, 0.46], [0.65, 0.35, 0.35], [0.15, 0.05, 0.05], [0.9, 0.87, 0.8])
)


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def canvas(model) -> SkinCanvas:
    atlas, skin = build_atlas(model, SIZE), PARTS.index("skin")
    count = model.subdivision.shape[0]
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == skin], count)
    areas = vertex_areas(model.dense(model.mean), model.dense_faces)
    return SkinCanvas(model, atlas, atlas.part == skin, membrane, np.zeros(count), areas, SkinPlaces.on(model))


def acted(model, **weights: float) -> np.ndarray:
    rows = [model.expression_names.index(name) for name in weights]
    return model.mean + np.tensordot(list(weights.values()), model.expression_basis[rows], 1)


def near(canvas, landmarks, radius: float) -> np.ndarray:
    """Texels of skin near some landmarks."""
    places = canvas.atlas.spread(np.asarray(canvas.model.dense(canvas.model.mean), np.float64))
    points = landmark_points(canvas.model, canvas.model.mean, landmarks)
    distance = np.linalg.norm(places[:, :, None] - points, axis=-1).min(-1)
    return canvas.inside & (distance < radius)


def lit_face(canvas) -> np.ndarray:
    lips = canvas.spread(canvas.model.masks["lips"])[..., None]
    return (SKIN * (1 - lips) + LIP * lips).astype(np.float32)


def seen(canvas, rgb: np.ndarray) -> Layer:
    return Layer(rgb.astype(np.float32), canvas.inside.astype(np.float32))


def test_nothing_changes_on_a_face_that_was_photographed_at_rest(model, canvas):
    rgb = lit_face(canvas)
    rgb[near(canvas, (61, 291), 0.012)] = DARK
    rgb[near(canvas, (13, 14), 0.008)] = TOOTH
    np.testing.assert_allclose(skin_at_rest(canvas, seen(canvas, rgb), model.mean, model.mean), rgb, atol=1e-6)


def test_teeth_and_dark_corners_of_an_open_mouth_are_not_on_closed_lips(model, canvas):
    clean, rgb = lit_face(canvas), lit_face(canvas)
    corners, middle = near(canvas, (61, 291), 0.006), near(canvas, (13, 14, 82, 87), 0.006)
    rgb[corners], rgb[middle] = DARK, TOOTH
    rest = skin_at_rest(canvas, seen(canvas, rgb), acted(model, jawOpen=0.3), model.mean)
    assert rest[middle].mean() < LIP.mean() * 1.15
    assert (rest[middle][:, 0] / rest[middle][:, 1]).mean() > 1.6, "lips are red"
    assert rest[corners].mean() > 2 * DARK.mean()
    assert rest[corners].mean() < 0.97 * clean[corners].mean(), "a shadow is left in the corners"


def test_lips_that_were_apart_are_darkest_where_they_meet(model, canvas):
    rgb = lit_face(canvas)
    rest = skin_at_rest(canvas, seen(canvas, rgb), acted(model, jawOpen=0.3), model.mean)
    line, border = near(canvas, (87, 14, 317), 0.002), near(canvas, (84, 17, 314), 0.004)
    assert rest[line].mean() < 0.9 * rgb[line].mean()
    np.testing.assert_allclose(rest[border].mean(), rgb[border].mean(), rtol=0.05)


def test_the_shadow_between_lips_is_that_of_touching_cylinders():
    distance_mm, lip = np.array([0.0, 1.0, 2.0, 4.0, np.inf]), np.tile(LIP, (5, 1))
    shadow = _contact_shadow(distance_mm, lip)
    assert (np.diff(shadow, axis=0) > 0).all()
    assert (shadow[:-1, 0] > shadow[:-1, 1]).all(), "lips reflect red onto each other"
    np.testing.assert_allclose(shadow[-1], 1)


def test_a_wide_fold_takes_the_tone_around_it_and_keeps_its_pores(model, canvas):
    rgb = lit_face(canvas)
    fold = near(canvas, (207, 427), 0.015)
    grain = 1 + 0.05 * np.random.default_rng(0).standard_normal(rgb.shape[:2]).astype(np.float32)[..., None]
    rgb[fold] *= 0.75
    posed = acted(model, mouthSmileLeft=1.0, mouthSmileRight=1.0)
    rest = skin_at_rest(canvas, seen(canvas, rgb * grain), posed, model.mean)
    assert rest[fold].mean() > 0.9 * SKIN.mean()
    assert (rest / rgb)[fold].std() > 0.03


def test_a_crease_goes_where_a_smile_presses_the_skin_and_stays_on_the_forehead(model, canvas):
    rgb = lit_face(canvas)
    cheek, forehead = near(canvas, (207, 427), 0.006), near(canvas, (151,), 0.006)
    rgb[cheek | forehead] *= 0.8
    posed = acted(model, mouthSmileLeft=1.0, mouthSmileRight=1.0)
    rest = skin_at_rest(canvas, seen(canvas, rgb), posed, model.mean)
    assert rest[cheek].mean() > rgb[cheek].mean() + 0.02
    np.testing.assert_allclose(rest[forehead], rgb[forehead], atol=0.01)
