"""Skin at a photo's occluding contour: its tint goes, skin that faces the camera and high frequencies stay."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.template.model.atlas import build_atlas
from spinmeround.template.model.head_model import PARTS, load_head_model
from spinmeround.template.texture.fill import Layer, MembraneSolver
from spinmeround.template.texture.occluding_contour import border_change, contour_light

SKIN = np.array([0.75, 0.55, 0.45])
GREY = np.array([0.45, 0.47, 0.5])


@pytest.fixture(scope="module")
def scene():
    model = load_head_model()
    atlas = build_atlas(model, 512)
    place = model.dense(model.mean).astype(np.float64)
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == PARTS.index("skin")], len(place))
    return atlas, membrane, place, atlas.part == PARTS.index("skin")


def _evened(scene, rgb, facing, side):
    atlas, membrane, _, skin = scene
    texels = atlas.spread(facing[:, None])[..., 0]
    seen = Layer(rgb.astype(np.float32), (skin & (texels > 0.05)).astype(np.float32))
    return rgb / np.maximum(atlas.spread(contour_light(atlas, membrane, seen, facing, skin, side)), 1e-3)


def _lit_from_the_front(scene):
    atlas, _, place, _ = scene
    facing = np.clip(1 - np.abs(place[:, 0]) / 0.28, 0, 1)
    texels = atlas.spread(facing[:, None])[..., 0]
    flat = np.clip((0.55 - texels) / 0.3, 0, 1)[..., None]
    return facing, texels, SKIN * (1 - flat) + GREY * flat


def test_a_grey_contour_turns_to_skin_and_the_front_stays(scene):
    atlas, _, place, skin = scene
    facing, texels, rgb = _lit_from_the_front(scene)
    side = np.clip((np.abs(place[:, 0]) - 0.085) / 0.05, 0, 1)
    out = _evened(scene, rgb, facing, side)
    front = skin & (texels > 0.75)  # but for a few triangles, one corner of which is oblique
    assert np.percentile(np.abs(out - rgb)[front], 99.8) < 1e-6
    contour = skin & (texels > 0.1) & (texels < 0.3) & (atlas.spread(side[:, None])[..., 0] > 0.99)
    assert contour.sum() > 1000

    def tint_error(x):
        return np.abs(x[contour] / x[contour].sum(-1, keepdims=True) - SKIN / SKIN.sum()).mean()

    assert tint_error(out) < 0.25 * tint_error(rgb)
    assert rgb[contour].mean() < out[contour].mean() < SKIN.mean(), "some fall-off is left"


def test_fall_off_is_evened_out_most_at_the_contour_and_a_flare_further_in(scene):
    facing, texels, _ = _lit_from_the_front(scene)
    side = np.ones(len(scene[2]))
    shaded = SKIN * np.where(texels < 0.7, 0.75, 1)[..., None]
    flaring = SKIN * np.where(texels < 0.7, 1.25, 1)[..., None]
    brighter, darker = _evened(scene, shaded, facing, side) / shaded, _evened(scene, flaring, facing, side) / flaring
    between = scene[3] & (texels > 0.52) & (texels < 0.6)
    contour = scene[3] & (texels > 0.1) & (texels < 0.2)
    assert np.median(brighter[contour]) > 1.07
    assert 1 < np.median(brighter[between]) < np.median(brighter[contour]) - 0.03
    assert np.median(darker[between]) < 0.98


def test_spots_at_the_contour_stay(scene):
    facing, texels, rgb = _lit_from_the_front(scene)
    side = np.ones(len(scene[2]))
    spots = (np.indices(rgb.shape[:2]).sum(0) % 2 * 0.1 + 0.95)[..., None]
    plain, spotted = _evened(scene, rgb, facing, side), _evened(scene, rgb * spots, facing, side)
    contour = scene[3] & (texels > 0.1) & (texels < 0.3)
    np.testing.assert_allclose((spotted / plain)[contour], np.broadcast_to(spots, rgb.shape)[contour], atol=0.02)


def test_slopes_of_the_face_itself_are_no_contour(scene):
    facing, _, rgb = _lit_from_the_front(scene)
    skin = scene[3]
    np.testing.assert_allclose(_evened(scene, rgb, facing, np.zeros(len(scene[2])))[skin], rgb[skin], atol=1e-6)


def test_nothing_seen_changes_nothing(scene):
    facing, _, rgb = _lit_from_the_front(scene)
    assert np.isfinite(_evened(scene, rgb, np.zeros_like(facing), np.ones(len(scene[2])))).all()


def test_skin_at_the_border_of_what_is_seen_takes_the_tone_further_in_and_of_the_other_side(scene):
    _, membrane, place, _ = scene
    distance_mm = np.clip((0.17 - np.abs(place[:, 0])) * 400, 0, None)
    twin = load_head_model().dense_mirror()
    hidden_left = place[:, 0] > 0.02  # the left is dark, and nothing but its border is seen
    shaded = np.where((distance_mm < 8) | hidden_left, 0.5, 1.0)[:, None]
    logs = np.log(SKIN * shaded)
    skin = np.where(hidden_left, np.where(distance_mm < 8, 1.0, 0.0), 1.0)
    change = border_change(
        membrane, logs, skin, distance_mm, twin=twin, prior=np.log(GREY), screen=np.full(len(place), 1e-5)
    )
    border = (distance_mm < 6) & (place[:, 2] > 0)
    assert border.sum() > 200
    assert np.abs(np.exp(logs + change)[border] - SKIN).max() < 0.03
    assert np.abs(change[distance_mm > 40]).max() == 0
    assert np.abs(change[skin == 0]).max() == 0
