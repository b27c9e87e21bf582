"""Layers, fills and lighting of the skin texture, and a whole texture of a painted head."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround.geometry import vertex_normals
from spinmeround.template.fit.lip_edges import LOWER_EDGE, UPPER_EDGE
from spinmeround.template.model.atlas import build_atlas
from spinmeround.template.model.head_model import PARTS, load_head_model
from spinmeround.template.texture.bake import TEXTURE_PX, bake_skin_texture, shared_atlas
from spinmeround.template.texture.fill import Layer, MembraneSolver, blend_under, synthesise_grain
from spinmeround.template.texture.lighting import fit_light
from spinmeround.template.texture.projection import project_photo
from tests.template.texture.painted import painted_portrait


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def atlas(model):
    return build_atlas(model, 256)


def test_every_texel_lies_on_the_face_that_holds_it(model, atlas):
    place = atlas.spread(np.column_stack([model.dense(model.mean), np.ones(model.subdivision.shape[0])]))
    assert np.allclose(place[atlas.face >= 0, 3], 1, atol=1e-5)
    left = place[..., 0][atlas.part == PARTS.index("eye_left")]
    assert len(left) > 20
    assert left.min() > 0, "the subject's left is +X"


def test_mirrored_texels_lie_mirrored_on_the_head(model, atlas):
    place = atlas.spread(np.asarray(model.dense(model.mean), np.float64))
    other = atlas.mirrored(place)
    inner = cv2.erode((atlas.face >= 0).astype(np.uint8), np.ones((5, 5))) > 0
    inner &= (atlas.mirror > 3).all(-1) & (atlas.mirrored(inner.astype(np.float32)) > 0.999)
    assert inner.sum() > 5000
    error = np.linalg.norm(other[inner] * [-1, 1, 1] - place[inner], axis=1)
    assert np.percentile(error, 95) < 0.004
    assert np.abs(atlas.mirrored(place[..., 0])[inner] + place[..., 0][inner]).mean() < 0.002


def test_gather_inverts_spread_on_smooth_values(model, atlas):
    values = np.asarray(model.dense(model.mean), np.float64)
    back, mass = atlas.gather(atlas.spread(values), (atlas.face >= 0).astype(np.float32), len(values))
    heavy = mass > 4  # of all texels around them
    assert heavy.sum() > 3000
    assert np.abs(back[heavy] - values[heavy]).max() < 0.03


def test_a_window_of_spread_values_is_cut_out_of_all(model, atlas):
    values, window = model.dense(model.mean), np.s_[20:90, 35:160]
    assert np.array_equal(atlas.spread(values, window), atlas.spread(values)[window])


def test_padding_reaches_every_gutter_with_the_nearest_colour(atlas):
    inside = atlas.face >= 0
    image = np.where(inside[..., None], np.float32(0.7), np.float32(0)) * np.ones(3, np.float32)
    assert np.allclose(atlas.padded(image, inside), 0.7)


def test_membrane_is_constant_for_constant_and_prior_far_away(model):
    skin = model.dense_faces[model.dense_part == 0]
    count = model.subdivision.shape[0]
    membrane = MembraneSolver.on_faces(skin, count)
    known = np.zeros(count)
    known[np.unique(skin)[::50]] = 5.0
    value = np.tile([0.2, 0.4, 0.6], (count, 1))
    assert np.allclose(membrane.interpolate(value, known, value, prior_weight=1e-3), value, atol=1e-8)
    unknown = membrane.interpolate(value, np.zeros(count), np.ones((count, 3)), prior_weight=1e-3)
    assert np.allclose(unknown, 1.0)


def test_a_layer_below_takes_the_tone_of_the_one_above(model, atlas):
    """A mirror image that is darker throughout must not show a border."""
    skin = atlas.part == 0
    place = atlas.spread(np.asarray(model.dense(model.mean), np.float64))
    trusted = np.where(skin, np.clip((place[..., 0] + 0.05) / 0.1, 0, 1), 0).astype(np.float32)
    top = Layer(np.full((256, 256, 3), 0.6, np.float32), trusted)
    below = Layer(np.full((256, 256, 3), 0.5, np.float32), skin.astype(np.float32))
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == 0], model.subdivision.shape[0])
    blended = blend_under(top, below, atlas, membrane, skin, prior_weight=1e-5)
    assert np.allclose(blended.weight[skin], 1)
    assert np.abs(blended.rgb[skin] - 0.6).max() < 0.03


def test_untrusted_colours_do_not_show(model, atlas):
    skin = atlas.part == 0
    nothing = Layer(np.zeros((256, 256, 3), np.float32), np.zeros((256, 256), np.float32))
    below = Layer(np.full((256, 256, 3), 0.5, np.float32), np.where(skin, 0.3, 0).astype(np.float32))
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == 0], model.subdivision.shape[0])
    blended = blend_under(nothing, below, atlas, membrane, skin, prior_weight=0.02)
    assert np.allclose(blended.rgb[skin], 0.5, atol=1e-5)
    assert np.allclose(blended.weight[skin], 0.3)


def test_light_from_one_side_is_found():
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    weight = (normals[:, 2] > 0.2).astype(float)
    sure = (normals[:, 2] > 0.9).astype(float)
    skin = np.array([0.8, 0.6, 0.5])
    light = (1 + 0.5 * normals[:, :1]) ** (1 / 2.2)
    shaded = skin * light
    shaded[::10] = 0.1
    fitted = fit_light(shaded, normals, weight, sure=sure, skin_rgb=skin)
    shading = fitted.shading(normals)
    seen = (weight > 0) & (np.arange(4000) % 10 != 0)
    assert np.abs(shading / light - 1)[seen].max() < 0.08
    assert np.std((shaded / shading)[seen], axis=0).max() < 0.2 * np.std(shaded[seen], axis=0).min()
    assert np.average(np.log(shading[:, 0]), weights=weight * sure) == pytest.approx(0, abs=0.02)
    left, right = fitted.radiance(np.array([[1.0, 0, 0], [-1.0, 0, 0]]))
    assert left > 2 * right > 0
    nothing = fit_light(shaded, normals, np.zeros(4000), sure=sure, skin_rgb=skin)
    assert np.allclose(nothing.shading(normals), 1), "nothing seen, nothing changed"
    assert np.allclose(nothing.radiance(normals), 1)


def test_grain_has_the_strength_of_the_patch_and_no_mean():
    rng = np.random.default_rng(1)
    rgb = np.repeat((0.5 + 0.005 * rng.standard_normal((400, 400, 1))).astype(np.float32), 3, axis=2)
    layer = Layer(rgb, np.ones((400, 400), np.float32))
    grain = synthesise_grain(layer, np.array([[200, 200]]), max_deviation=0.015, rng=np.random.default_rng(0))
    assert abs(grain.mean()) < 1e-4
    assert 0.003 < grain.std() < 0.007
    unseen = Layer(rgb, np.zeros((400, 400), np.float32))
    weak = synthesise_grain(layer, np.array([[200, 200]]), max_deviation=0.003, rng=np.random.default_rng(0))
    assert weak.std() < 0.003 * 0.55
    none = synthesise_grain(unseen, np.array([[200, 200]]), max_deviation=0.015, rng=np.random.default_rng(0))
    assert not none.any()


EYES = [PARTS.index("eye_left"), PARTS.index("eye_right")]


def test_whole_texture_keeps_what_is_seen_and_completes_the_rest(model):
    def paint(points):
        colours = np.array([0.7, 0.5, 0.42]) + 0.04 * np.sin(30 * points[:, 1:2]) + 0 * points[:, :1]
        for eye in EYES:
            ball = np.unique(model.dense_faces[model.dense_part == eye])
            aside = np.abs(points[ball, 0]) - np.abs(points[ball, 0]).mean()
            colours[ball] = np.where(aside > 0.6 * aside.max(), 0.2, 0.75)[:, None]
        return colours.astype(np.float32)

    portrait, head = painted_portrait(model, paint)
    texture = bake_skin_texture(model, head, [portrait], np.zeros(model.subdivision.shape[0]), seed=3)
    again = bake_skin_texture(model, head, [portrait], np.zeros(model.subdivision.shape[0]), seed=3)
    assert np.array_equal(texture.albedo, again.albedo)
    assert texture.albedo.min() >= 0
    assert texture.albedo.max() <= 1
    fine = build_atlas(model, len(texture.albedo))
    skin = fine.part == 0
    seen = skin & (texture.observed > 0.95)
    assert seen.sum() > 50_000
    truth = fine.spread(paint(model.dense(model.mean)).astype(np.float64))
    assert np.abs(texture.albedo - truth)[seen].mean() < 0.05
    eyes = np.isin(fine.part, EYES) & (texture.observed > 0.95)
    assert np.abs(texture.albedo - truth)[eyes].mean() < 0.05, "a still picture has the photo's eyes, lashes and all"
    lashes = eyes & (truth.mean(-1) < 0.25)
    assert lashes.sum() > 100
    rim = (fine.part == 0) & (fine.spread(model.masks["lids"].astype(np.float64)[:, None])[..., 0] > 0.9)
    facing = fine.spread(vertex_normals(model.dense(model.mean), model.dense_faces)[:, 2:])[..., 0] > 0.3
    assert np.percentile(np.abs(texture.albedo - truth)[rim & facing], 90) < 0.1, "lids are seen up to their margins"
    assert (texture.observed[rim & facing] > 0.9).mean() > 0.9
    whole = texture.animatable_albedo
    assert whole is not None
    assert whole[lashes].mean() > texture.albedo[lashes].mean() + 0.2, "lashes would turn with a moving eye"
    hidden = (
        skin
        & (texture.observed < 0.01)
        & (fine.spread(model.masks["cavity"].astype(np.float64)[:, None])[..., 0] < 0.1)
    )
    mean = texture.albedo[hidden].mean(0)
    assert np.abs(mean - [0.7, 0.5, 0.42]).max() < 0.15
    assert mean[0] > mean[1] > mean[2]


def test_teeth_show_up_to_the_lips_with_the_expression_and_not_on_closed_lips(model):
    def paint(points):
        return np.full((len(points), 3), [0.7, 0.45, 0.4], np.float32)

    portrait, head = painted_portrait(model, paint)
    landmarks_px, rgb = portrait.landmarks_px.copy(), portrait.rgb.copy()
    landmarks_px[LOWER_EDGE, 1] += 14
    mouth = np.concatenate([landmarks_px[UPPER_EDGE], landmarks_px[LOWER_EDGE][::-1]])
    cv2.fillPoly(rgb, [np.round(mouth).astype(np.int32)], (0.95, 0.95, 0.95))
    smiling = replace(portrait, landmarks_px=landmarks_px, rgb=rgb, foreground=rgb)
    texture = bake_skin_texture(model, head, [smiling], np.zeros(model.subdivision.shape[0]))
    atlas = shared_atlas(TEXTURE_PX)
    lips = (atlas.part == 0) & (atlas.spread(model.masks["lips"].astype(np.float64)[:, None])[..., 0] > 0.5)
    white = lips & (texture.albedo[..., 2] > 0.8)
    assert white.sum() > 300, "the picture of the photo's expression has its teeth, whatever the model says is there"
    assert texture.resting_albedo is not None
    assert texture.resting_albedo[white][:, 2].mean() < 0.6


def test_headwear_is_not_looked_up_as_skin(model, atlas):
    portrait, head = painted_portrait(model, lambda points: np.full((len(points), 3), 0.6, np.float32))
    worn = np.zeros_like(portrait.alpha)
    worn[: len(worn) // 2] = 1
    dense = model.dense(head.posed(0))
    for portrait_seen, expected in ((portrait, True), (replace(portrait, headwear=worn), False)):
        projection = project_photo(model, atlas, portrait_seen, head.photos[0].camera, dense, np.zeros(len(dense)))
        forehead = (atlas.part == 0) & (atlas.spread(dense)[..., 1] > 0.1) & (atlas.spread(dense)[..., 2] > 0.15)
        assert forehead.sum() > 50
        assert (projection.weight[forehead] > 0).any() == expected
