"""Skin that no photo shows has the colour of sure skin, whatever a beard, a light or a collar do to the photo."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from skimage.color import deltaE_ciede2000, rgb2lab

from spinmeround.geometry import MILLIMETRE, vertex_normals
from spinmeround.template.model.atlas import build_atlas
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.texture.bake import TEXTURE_PX, SkinTexture, bake_skin_texture, shared_atlas
from spinmeround.template.texture.fill import Layer, MembraneSolver, screening_weight, vertex_areas
from spinmeround.template.texture.hidden_skin import complete_skin
from spinmeround.template.texture.skin_tone import SkinCanvas, SkinPlaces, beardedness, unlikeness, usual_skin
from tests.template.texture.painted import painted_portrait

SKIN = np.array([0.72, 0.52, 0.43])
BEARD = np.array([0.3, 0.28, 0.27])
FRONTAL_LIGHT = 0.75 ** (1 / 2.2)
"""What light from the side leaves of the sRGB colour of skin that looks ahead: sure skin is taken for unshaded."""


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def places(model):
    return SkinPlaces.on(model)


def _side_light(model, points):
    """Light that falls from the subject's left, as a factor on sRGB colours."""
    return (0.75 + 0.5 * vertex_normals(points, model.dense_faces)[:, :1]) ** (1 / 2.2)


def _is_beard(points):
    return (points[:, 1] < -0.2) & (points[:, 1] > -0.33) & (points[:, 2] > 0.08)


def _is_collar(points):
    return points[:, 1] < -0.44


@pytest.fixture(scope="module")
def difficult(model) -> SkinTexture:
    """A bearded head in a light from the side, over a collar with a dark rim that is taken for skin."""

    def paint(points):
        colours = np.where(_is_beard(points)[:, None], BEARD, SKIN)
        rim = (points[:, 1] < -0.41) & ~_is_collar(points)
        colours = np.where(rim[:, None], 0.12, np.where(_is_collar(points)[:, None], [0.1, 0.15, 0.5], colours))
        return (colours * _side_light(model, points)).astype(np.float32)

    portrait, head = painted_portrait(model, paint, clothes=_is_collar)
    return bake_skin_texture(model, head, [portrait], np.zeros(model.subdivision.shape[0]), seed=0)


def _bare(model, texture):
    """Return texels of outer skin, without lids, lips, nostrils and the mouth's inside."""
    atlas = shared_atlas(TEXTURE_PX)
    other = np.maximum.reduce([model.masks[name] for name in ("cavity", "lips", "nostrils", "lids")])
    return (atlas.part == 0) & (atlas.spread(other[:, None])[..., 0] < 0.1)


def _difference(rgb, reference):
    lab = rgb2lab(np.asarray(rgb, np.float64).reshape(-1, 3))
    return deltaE_ciede2000(lab, np.broadcast_to(rgb2lab(reference), lab.shape))


def test_unseen_skin_has_the_colour_of_sure_skin(model, difficult):
    unseen = _bare(model, difficult) & (difficult.observed < 0.05)
    assert unseen.sum() > 500_000
    assert np.median(_difference(difficult.albedo[unseen], SKIN * FRONTAL_LIGHT)) < 3
    even = difficult.light.taken_out(shared_atlas(TEXTURE_PX), difficult.albedo, 1.0)
    difference = _difference(even[unseen], SKIN * FRONTAL_LIGHT)
    assert np.percentile(difference, 95) < 12, "no spot of beard, collar or its rim"


def test_a_collars_rim_is_not_printed_on_the_neck(model, difficult):
    atlas = shared_atlas(TEXTURE_PX)
    place = atlas.spread(np.asarray(model.dense(model.mean), np.float64))
    rim = _bare(model, difficult) & (place[..., 1] < -0.415) & (place[..., 1] > -0.43)
    assert np.median(_difference(difficult.albedo[rim], SKIN * FRONTAL_LIGHT)) < 8
    assert difficult.observed[rim].mean() < 0.2


def test_a_beard_stays_where_it_is(model, difficult):
    atlas = shared_atlas(TEXTURE_PX)
    place = atlas.spread(np.asarray(model.dense(model.mean), np.float64))
    chin = _bare(model, difficult) & _is_beard(place.reshape(-1, 3)).reshape(place.shape[:2])
    chin &= (np.abs(place[..., 0]) < 0.05) & (place[..., 1] < -0.24) & (place[..., 1] > -0.3)
    assert chin.sum() > 1000
    assert np.median(difficult.albedo[chin].mean(-1)) < 0.4
    behind = _bare(model, difficult) & (place[..., 2] < -0.05) & (place[..., 1] > -0.4)
    ears = np.maximum(model.masks["ear_left"], model.masks["ear_right"])
    folds = model.dense(model.mean)[ears > 0.1]
    near, _ = cKDTree(folds).query(place[behind], distance_upper_bound=0.02)
    away = difficult.albedo[behind][~np.isfinite(near)].mean(-1)
    assert len(away) > 10000
    assert np.percentile(away, 0.5) > 1.3 * (BEARD * FRONTAL_LIGHT).mean()


DULL = SKIN * [0.82, 0.8, 0.72]
CLOTH = np.array([0.86, 0.7, 0.72])


@pytest.fixture(scope="module")
def unlike_its_sides(model) -> SkinTexture:
    """A head with duller temples and cheeks, a beard as far as the photo sees, and a collar that is taken for skin.

    The collar has a white edge right below the beard.
    """

    def paint(points):
        hairs = 1 + 0.2 * np.random.default_rng(0).standard_normal((len(points), 1))
        aside, low = np.abs(points[:, 0]) > 0.1, points[:, 1] < -0.2
        colours = np.where((aside & ~low)[:, None], DULL, SKIN)
        colours = np.where((low & (points[:, 1] > -0.34) & (points[:, 2] > -0.05))[:, None], BEARD * hairs, colours)
        colours = np.where((points[:, 1] < -0.35)[:, None], 0.95, colours)
        return np.where((points[:, 1] < -0.41)[:, None], CLOTH, colours).astype(np.float32)

    portrait, head = painted_portrait(model, paint)
    return bake_skin_texture(model, head, [portrait], np.zeros(model.subdivision.shape[0]), seed=0)


def _just_unseen(model, texture, low, high):
    """Return texels between two heights on the sides of the head that no photo sees, up to 18 mm from what one sees."""
    place = shared_atlas(TEXTURE_PX).spread(np.asarray(model.dense(model.mean), np.float64))
    band = _bare(model, texture) & (place[..., 1] > low) & (place[..., 1] < high) & (np.abs(place[..., 0]) > 0.08)
    band &= shared_atlas(TEXTURE_PX).spread((model.masks["ear_left"] + model.masks["ear_right"])[:, None])[..., 0] < 0.1
    unseen = band & (texture.observed < 0.02)
    distance = cKDTree(place[band & (texture.observed > 0.5)]).query(place[unseen])[0]
    near = np.zeros_like(unseen)
    near[unseen] = distance < 18 * MILLIMETRE
    assert near.sum() > 500
    return near


def test_hidden_skin_has_the_colour_of_what_adjoins_it(model, unlike_its_sides):
    near = _just_unseen(model, unlike_its_sides, -0.17, 0.0)
    place = shared_atlas(TEXTURE_PX).spread(np.asarray(model.dense(model.mean), np.float64))
    seen = _bare(model, unlike_its_sides) & (unlike_its_sides.observed > 0.5) & (np.abs(place[..., 0]) > 0.1)
    seen &= (place[..., 1] > -0.17) & (place[..., 1] < 0)
    colours = [np.median(unlike_its_sides.albedo[each], axis=0) for each in (near, seen)]
    assert _difference(*colours)[0] < 0.5 * _difference(DULL, SKIN)[0]


def test_a_beard_fades_beyond_what_is_seen(model, unlike_its_sides):
    near = _just_unseen(model, unlike_its_sides, -0.28, -0.22)
    level = np.median(unlike_its_sides.albedo[near].mean(-1))
    assert BEARD.mean() < level < 0.5 * (BEARD + SKIN).mean() + 0.05


def test_a_throat_of_another_tint_than_the_face_is_filled(model, unlike_its_sides):
    place = shared_atlas(TEXTURE_PX).spread(np.asarray(model.dense(model.mean), np.float64))
    throat = _bare(model, unlike_its_sides) & (place[..., 1] < -0.43) & (place[..., 2] > 0)
    colour = np.median(unlike_its_sides.albedo[throat], axis=0)
    assert _difference(colour, SKIN)[0] < 0.4 * _difference(CLOTH, SKIN)[0]


def test_a_white_collar_below_a_beard_is_filled(model, unlike_its_sides):
    place = shared_atlas(TEXTURE_PX).spread(np.asarray(model.dense(model.mean), np.float64))
    edge = _bare(model, unlike_its_sides) & (place[..., 1] < -0.37) & (place[..., 1] > -0.4) & (place[..., 2] > 0)
    assert np.percentile(unlike_its_sides.albedo[edge].mean(-1), 90) < 0.5 * (0.95 + SKIN.mean())


def test_a_beard_that_is_not_seen_has_hairs(model, unlike_its_sides):
    atlas = shared_atlas(TEXTURE_PX)
    place = atlas.spread(np.asarray(model.dense(model.mean), np.float64))
    hidden = _bare(model, unlike_its_sides) & (unlike_its_sides.observed < 0.02)
    beard = hidden & (atlas.spread(SkinPlaces.on(model).beard[:, None])[..., 0] > 0.9) & (place[..., 1] < -0.22)
    grain = unlike_its_sides.albedo.mean(-1)
    grain = grain[:, 1:] - grain[:, :-1]
    nape = hidden & (place[..., 2] < -0.1) & (place[..., 1] < -0.2)
    assert np.abs(grain[beard[:, 1:] & beard[:, :-1]]).mean() > 2 * np.abs(grain[nape[:, 1:] & nape[:, :-1]]).mean()


def test_beards_grow_along_the_jaw_up_to_the_ears(model, places):
    points = model.dense(model.mean)
    ears = np.maximum(model.masks["ear_left"], model.masks["ear_right"])
    lobe = points[model.masks["ear_left"] > 0.5][:, 1].min()
    before_ears = (np.abs(points[:, 0]) > 0.15) & (np.abs(points[:, 2]) < 0.03) & (ears < 0.01)
    assert places.beard[before_ears & (np.abs(points[:, 1] - lobe) < 0.02)].min() > 0.9
    assert places.beard[before_ears & (points[:, 1] < lobe - 0.15)].max() < 0.1
    assert places.beard[ears > 0.9].max() < 0.1


@pytest.mark.parametrize("edge", [0.5, 1.0])
def test_a_screened_membrane_falls_to_1_over_e_at_its_reach(edge):
    rows, columns, reach = 81, 41, 8.0
    row, column = np.divmod(np.arange(rows * columns), columns)
    points = edge * np.stack([column + 0.5 * (row % 2), row * np.sqrt(3) / 2, 0 * row], axis=1)
    square = (row[:, None] < rows - 1) & (column[:, None] < columns - 1)
    corner = np.flatnonzero(square[:, 0])
    right, up = corner + 1, corner + columns
    odd = (row[corner] % 2 == 1)[:, None]
    faces = np.concatenate(
        [
            np.where(odd, np.stack([corner, up + 1, up], 1), np.stack([corner, right, up], 1)),
            np.where(odd, np.stack([corner, right, up + 1], 1), np.stack([right, up + 1, up], 1)),
        ]
    )
    known = (row == 0).astype(float)
    weight = screening_weight(vertex_areas(points, faces), reach)
    solved = MembraneSolver.on_faces(faces, len(points)).interpolate(
        known[:, None], 1e6 * known, np.zeros((len(points), 1)), prior_weight=weight
    )
    at_reach = np.abs(points[:, 1] - reach) < edge / 2
    assert np.allclose(solved[at_reach, 0], np.exp(-points[at_reach, 1] / reach), atol=0.03)


def test_no_seam_at_the_border_of_what_is_seen_in_a_light_from_the_side(model):
    def paint(points):
        return (SKIN * _side_light(model, points)).astype(np.float32)

    portrait, head = painted_portrait(model, paint)
    texture = bake_skin_texture(model, head, [portrait], np.zeros(model.subdivision.shape[0]), seed=0)
    atlas = shared_atlas(TEXTURE_PX)
    place = atlas.spread(np.asarray(model.dense(model.mean), np.float64))
    cheek = _bare(model, texture) & (np.abs(place[..., 1] + 0.1) < 0.04) & (np.abs(place[..., 0]) > 0.1)
    smooth = texture.albedo.mean(-1)
    inner = cheek[:, :-8] & cheek[:, 8:] & (atlas.face[:, :-8] >= 0)
    border = inner & (np.abs(texture.observed[:, 4:-4] - 0.5) < 0.4)
    assert border.sum() > 500
    steps = np.abs(smooth[:, 8:] - smooth[:, :-8])[border]
    assert np.percentile(steps, 98) < 0.06
    seen = cheek & (texture.observed > 0.95)
    truth = atlas.spread(paint(model.dense(model.mean)).astype(np.float64))
    assert np.abs(texture.albedo - truth)[seen].mean() < 0.02, "what is seen looks as in the photo"
    left, right = (cheek & (texture.observed > 0.5) & (side * place[..., 0] > 0) for side in (1, -1))
    assert texture.light is not None
    even = texture.light.taken_out(atlas, texture.albedo, 1.0)
    lit_step, even_step = (abs(rgb[left].mean() - rgb[right].mean()) for rgb in (texture.albedo, even))
    assert lit_step > 0.1
    assert even_step < 0.25 * lit_step


def test_usual_skin_ignores_what_covers_less_than_half_of_the_sure_places(model, places):
    points = model.dense(model.mean)
    colours = np.tile(SKIN, (len(points), 1))
    weight = np.full(len(points), 5.0)
    assert np.allclose(usual_skin(colours, weight, places.sure), SKIN)
    shadow = points[:, 0] > 0.02
    colours[shadow] *= 0.45
    assert np.abs(usual_skin(colours, weight, places.sure) - SKIN).max() < 0.04
    assert 0.3 < usual_skin(colours, np.zeros(len(points)), places.sure).mean() < 0.8, "nothing seen, an average"


def test_a_face_is_bearded_if_its_chin_and_lip_are(model, places):
    points = model.dense(model.mean)
    weight = np.full(len(points), 5.0)
    bearded = np.where((places.beard > 0.1)[:, None], BEARD, SKIN)
    assert beardedness(unlikeness(bearded, SKIN), weight, places).max() > 0.95
    curl = np.where(((points[:, 0] > 0.1) & (points[:, 1] < 0))[:, None], BEARD, SKIN)
    assert beardedness(unlikeness(curl, SKIN), weight, places).max() == 0


@pytest.fixture(scope="module")
def canvas(model, places) -> SkinCanvas:
    atlas, count = build_atlas(model, 512), model.subdivision.shape[0]
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == 0], count)
    areas = vertex_areas(model.dense(model.mean), model.dense_faces)
    return SkinCanvas(model, atlas, atlas.part == 0, membrane, np.zeros(count), areas, places)


def test_a_smooth_shadow_on_a_sharp_photo_is_no_beard(canvas, places):
    """Dark chins of faces with hairy brows: one with hairs, one without."""
    chin, brows = (canvas.spread(each)[..., None] for each in (places.beard, places.brows))
    shape = (*canvas.inside.shape, 1)
    noise = 1 + 0.2 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    unlike = unlikeness(np.where(places.beard[:, None] > 0.5, BEARD, SKIN), SKIN)

    def bearded(hairs, sharp):
        rgb = (SKIN * (1 - chin) + BEARD * chin * (noise if hairs else 1)) * (noise if sharp else 1) ** brows
        layer = Layer(rgb.astype(np.float32), canvas.inside.astype(np.float32))
        return canvas.beard(layer, unlike, np.full(len(unlike), 5.0)).max()

    assert bearded(hairs=True, sharp=True) > 0.95
    assert bearded(hairs=False, sharp=True) < 0.05
    assert bearded(hairs=False, sharp=False) > 0.95, "where nothing is sharp a beard is smooth, too"


FLUSHED = SKIN * [1.05, 0.88, 0.88]


@pytest.fixture(scope="module")
def flushed(model, canvas):
    """A face with red cheeks that is seen from the front, with a dark rim where it ends; and how it is completed."""
    points = model.dense(model.mean)
    cheeks = (points[:, 1] < 0) & (points[:, 1] > -0.2) & (np.abs(points[:, 0]) > 0.03)
    seen = np.where((points[:, 2] > 0.06) & (points[:, 1] > -0.35), 1.0, 0.0)
    rim = (points[:, 2] < 0.08)[:, None]
    colours = np.where(rim, 0.4, 1) * np.where(cheeks[:, None], FLUSHED, SKIN)
    layer = Layer(canvas.atlas.spread(colours), canvas.spread(seen) * canvas.inside)
    plain = np.ones((len(points), 3))
    border = canvas.spread((points[:, 2] < 0.12).astype(float))
    return complete_skin(canvas, layer, border, plain, rng=np.random.default_rng(0)).rgb


def _median(canvas, rgb, chosen):
    return np.median(rgb[canvas.inside & (canvas.spread(chosen.astype(float)) > 0.9)], axis=0)


def test_hidden_skin_is_less_flushed_than_cheeks_and_ears_are_as_red(model, canvas, flushed):
    neck, ears = (_median(canvas, flushed, each > 0.9) for each in (model.masks["neck"], canvas.ears))
    redness = [rgb[0] / rgb[1:].mean() for rgb in (neck, ears, SKIN, FLUSHED)]
    assert redness[0] < redness[1] < redness[3] * 1.05
    assert abs(redness[0] / redness[2] - 1) < 0.06


def test_a_dark_rim_where_the_view_ends_is_not_on_the_skin(model, canvas, flushed):
    points = model.dense(model.mean)
    around = (points[:, 2] > 0.02) & (points[:, 2] < 0.1) & (np.abs(points[:, 1]) < 0.1)
    around &= (canvas.ears < 0.01) & (canvas.places.core_features < 0.01) & model.dense_vertices_of("skin")
    shown = flushed[canvas.inside & (canvas.spread(around.astype(float)) > 0.9)].mean(-1)
    assert len(shown) > 1000
    assert np.percentile(shown, 2) > 0.8 * SKIN.mean()
