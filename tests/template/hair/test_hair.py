"""Hair from mattes that are known exactly: a bare head, a cap of known thickness, hair that hangs."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround import images, mesh_raster
from spinmeround.geometry import project
from spinmeround.orbits import orbit_cameras
from spinmeround.template.hair import volume
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.nearest_on_grid import Grid
from spinmeround.template.hair.orientation import LUMINANCE
from spinmeround.template.hair.strand_texture import synthesise_strands
from spinmeround.template.hair.unseen_colour import continued_colour, lit, shading_of_form
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.render import Covering, Skin, render_views
from tests.template.hair.capped import (
    CAMERA,
    HAIR_RGB,
    SIZE,
    SKIN_RGB,
    cap,
    front_of,
    painted,
    photo_evidence,
    sampled,
    surface_of,
)


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def camera():
    return CAMERA


@pytest.fixture(scope="module")
def buffer(model):
    return front_of(model)


@pytest.fixture(scope="module")
def capped(model, camera, buffer):
    evidence = photo_evidence(model, buffer, cap(model, buffer, 12))
    return evidence, *surface_of(model, evidence)


def test_a_bare_head_stays_bare_all_round(model, camera, buffer):
    evidence = photo_evidence(model, buffer, np.zeros((SIZE, SIZE), bool))
    coverage, surface = surface_of(model, evidence)
    assert coverage.max() < 0.3
    assert surface is None


def test_a_cap_is_as_thick_as_its_silhouette_and_closed_behind(model, camera, capped):
    _, coverage, surface = capped
    unit_px = camera.intrinsics_px[0, 0, 0] / camera.camera_from_world[0, 2, 3]
    top = model.dense(model.mean)[:, 1].max()
    assert surface.vertices[:, 1].max() - top == pytest.approx(12 / unit_px, abs=0.012)
    back = coverage[(model.masks["hairline"] > 0.8) & (model.dense(model.mean)[:, 2] < -0.2)]
    assert back.min() > 0.4, "the scalp behind is covered, though no photo shows it"
    assert coverage[model.masks["face"] > 0.9].max() < 0.5


def test_hair_never_stands_before_a_face_that_the_photo_shows(model, camera, buffer, capped):
    evidence, _, surface = capped
    pixels = project(surface.vertices, camera.camera_from_world[0], camera.intrinsics_px[0])
    column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
    bare = cv2.erode((evidence[0].portrait.hair < 0.5).astype(np.uint8), np.ones((9, 9), np.uint8))[row, column] > 0
    before = np.where(bare, buffer.depth[row, column] - pixels[:, 2], 0)
    assert before.max() < 0.04 and (before > 0.02).sum() <= 6, "a voxel and its blur are as large as an ear is thick"
    assert before[np.abs(surface.vertices[:, 0]) < 0.18].max() < 0.02, "none before the face"


def test_normals_of_the_hair_point_outward(capped):
    _, _, surface = capped
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    normal, middle = np.cross(b - a, c - a), (a + b + c) / 3
    outward = (normal * (middle - [0, 0.05, -0.05])).sum(1) > 0
    assert outward.mean() > 0.9


def test_hair_over_the_top_of_an_ear_leaves_it_bare_and_hair_down_to_the_lobe_covers_it(model, buffer):
    seen = mesh_raster.interpolate(model.masks["ear_left"][:, None], model.dense_faces, buffer)[..., 0] > 0.3
    rows = np.flatnonzero(seen.any(axis=1))
    top = seen & (np.arange(SIZE)[:, None] < rows[0] + 0.45 * (rows[-1] - rows[0]))
    ear = model.masks["ear_left"] > 0.9
    for hidden, covered in ((top, False), (seen, True)):
        hair = cap(model, buffer, 12) | cv2.dilate(hidden.astype(np.uint8), np.ones((3, 3))).astype(bool)
        coverage = volume.hair_coverage(model, photo_evidence(model, buffer, hair))
        assert (coverage[ear].mean() > 0.5) == covered


def test_hair_tapers_at_the_nape_and_not_at_the_brow(model, capped):
    evidence, coverage, _ = capped
    thickness = volume.hair_thickness(model, coverage, evidence)
    skin, middle = model.dense(model.mean), np.abs(model.dense(model.mean)[:, 0]) < 0.05
    nape = middle & (skin[:, 2] < -0.15) & (coverage > 0.5) & (skin[:, 1] < -0.15)
    occiput = middle & (skin[:, 2] < -0.15) & (skin[:, 1] > 0.05)
    assert nape.any() and np.quantile(thickness[nape], 0.75) < 0.4 * np.median(thickness[occiput])
    brow = middle & (skin[:, 2] > 0.0) & (coverage > 0.5) & (skin[:, 1] < 0.25)
    assert np.quantile(thickness[brow], 0.75) > 0.6 * np.median(thickness[occiput])


def test_a_side_that_is_not_seen_is_as_the_other_one(model, buffer):
    """The photo shows the left half alone, on which hair grows down over the temple."""
    hair = cap(model, buffer, 12)
    temple = mesh_raster.interpolate(model.dense(model.mean), model.dense_faces, buffer)
    hair |= (buffer.face >= 0) & (temple[..., 0] > 0.12) & (temple[..., 1] > -0.02)
    evidence = photo_evidence(model, buffer, hair)
    half = np.arange(SIZE)[None] > SIZE / 2
    observed = np.broadcast_to(half, (SIZE, SIZE))
    skin = model.dense(model.mean)
    hidden = [replace(each, portrait=replace(each.portrait, observed=observed)) for each in evidence]
    coverage = volume.hair_coverage(model, hidden)
    there = (np.abs(skin[:, 0]) > 0.15) & (np.abs(skin[:, 1] - 0.04) < 0.02) & (skin[:, 2] > 0.02) & (skin[:, 2] < 0.08)
    left, right = (coverage[there & (side * skin[:, 0] > 0)].mean() for side in (1, -1))
    assert left > 0.5
    assert abs(left - right) < 0.25


def test_long_hair_hangs_behind_the_neck_and_covers_the_ears(model, camera, buffer):
    hair = cap(model, buffer, 12)
    ears = np.abs(
        project(model.dense(model.mean), camera.camera_from_world[0], camera.intrinsics_px[0])[:, 0] - SIZE / 2
    )
    half = int(ears[model.masks["ear_left"] > 0.5].max()) + 6
    middle = SIZE // 2
    for sign in (-1, 1):
        inner, outer = sorted((middle + sign * (half - 45), middle + sign * (half + 12)))
        hair[110:330, inner:outer] = True
    evidence = photo_evidence(model, buffer, hair)
    coverage, surface = surface_of(model, evidence)
    assert coverage[model.masks["ear_left"] > 0.9].min() > 0.5
    below = surface.vertices[surface.vertices[:, 1] < -0.2]
    assert len(below) > 500
    assert below[:, 2].min() < -0.2, "it closes behind the neck"


def test_long_hair_opens_beside_ears_that_the_photo_shows(model, camera, buffer):
    """The hair hangs beside the head, further out than the ears, which are bare."""
    hair = cap(model, buffer, 12)
    inside = (buffer.face >= 0).astype(np.uint8)
    hair[110:330] |= (cv2.dilate(inside, np.ones((51, 51), np.uint8)) > inside)[110:330]
    coverage, surface = surface_of(model, photo_evidence(model, buffer, hair))
    skin = model.dense(model.mean)
    for name, side in (("ear_left", 1), ("ear_right", -1)):
        ear = skin[model.masks[name] > 0.9]
        assert coverage[model.masks[name] > 0.9].max() < 0.5
        low, high = ear.min(0)[1:], ear.max(0)[1:]
        across = (surface.vertices[:, 1:] - (low + high) / 2) / ((high - low) / 2)
        beside = (side * surface.vertices[:, 0] > 0.2) & (np.linalg.norm(across, axis=1) < 0.7)
        assert not beside.any(), "nothing hides it from the side"
    assert (surface.vertices[:, 1] < skin[model.masks["ear_left"] > 0.9, 1].min() - 0.05).any(), "it hangs below"


def test_nothing_far_from_the_skin_lies_under_it(model):
    skin = model.dense(model.mean).astype(np.float64)
    grid = Grid.covering(np.full(3, -0.8), np.full(3, 0.8), 0.04)
    points = grid.points()
    bare = np.zeros(len(skin))
    _, _, skin_distance, _ = volume._shell_distance(model, skin, bare, bare, grid, points)
    beside = (points[:, 1] < skin[:, 1].max()) & (np.hypot(points[:, 0], points[:, 2]) > 0.5)
    assert beside.sum() > 500
    assert (skin_distance[beside] > 0).all(), "below the ears the nearest vertex is on the open end of the neck"


def test_flattened_ears_lie_within_the_hair(model):
    vertices = model.dense(model.mean)
    flat = volume.flatten_covered_ears(model, vertices, np.ones(len(vertices)))
    ear = model.masks["ear_left"] > 0.9
    assert flat[ear, 0].max() < vertices[ear, 0].max() - 0.02
    untouched = (model.masks["ear_left"] < 0.01) & (model.masks["ear_right"] < 0.01)
    np.testing.assert_array_equal(flat[untouched], vertices[untouched])


def test_strands_keep_their_contrast_and_the_tone_of_combed_ones_runs_along_them(capped):
    def alike(coherence, shift):
        down = np.broadcast_to(np.float32([0.0, 1.0]), (192, 256, 2))
        curl, rng = Curl(0.0, 0.1, coherence), np.random.default_rng(0)
        strands = synthesise_strands(capped[0], down, curl, texel=0.0015, stretch=np.ones(len(down)), rng=rng)
        assert 0.5 < strands.std() / (0.1 / np.sqrt(2)) < 1.5
        grey = strands.mean(axis=2)[16:-16, 16:-16]
        moved = np.roll(strands.mean(axis=2), shift, axis=(0, 1))[16:-16, 16:-16]
        return np.corrcoef(grey.ravel(), moved.ravel())[0, 1]

    assert alike(1.0, (8, 0)) > 0.5
    assert alike(1.0, (0, 8)) < 0.2
    assert alike(0.0, (8, 0)) < 0.25


def test_colour_is_the_photos_where_seen_and_repeats_with_the_seed(capped):
    evidence, _, surface = capped
    texture = painted(surface, evidence, seed=3)
    again = painted(surface, evidence, seed=3)
    np.testing.assert_array_equal(texture.albedo, again.albedo)
    colours, relief = sampled(texture, surface.vertices)
    np.testing.assert_allclose(colours.mean(0), HAIR_RGB, atol=0.04)
    assert relief.std() > 0.1
    assert 0.02 < texture.observed_fraction < 0.6


def test_unseen_hair_has_the_tone_of_most_seen_hair_and_a_dyed_lock_keeps_its_own():
    colour, trust = np.zeros((608, 1024, 3), np.float32), np.zeros((608, 1024), np.float32)
    blue = np.array([0.1, 0.2, 0.7])
    colour[:, 362:662], trust[:, 362:662] = HAIR_RGB, 1
    colour[:, 602:662] = blue
    base = continued_colour(colour, trust)
    np.testing.assert_allclose(base[:, 0], np.broadcast_to(HAIR_RGB, (608, 3)), atol=0.05)
    np.testing.assert_allclose(base[:, 640], np.broadcast_to(blue, (608, 3)), atol=0.05)
    np.testing.assert_array_equal(continued_colour(0 * colour, 0 * trust), 0)


def test_unseen_hair_is_that_of_its_height_and_not_that_of_a_shadow():
    colour, trust = np.zeros((608, 1024, 3), np.float32), np.zeros((608, 1024), np.float32)
    tips = np.array([0.2, 0.6, 0.6])
    colour[:300, 362:662], colour[300:, 362:662] = HAIR_RGB, tips
    trust[:, 362:662] = 1
    colour[:, 362:382] *= 0.2
    colour[:, 642:662] *= 0.2
    base = continued_colour(colour, trust)
    np.testing.assert_allclose(base[100, [0, 150, 900]], np.broadcast_to(HAIR_RGB, (3, 3)), atol=0.05)
    np.testing.assert_allclose(base[500, [0, 150, 900]], np.broadcast_to(tips, (3, 3)), atol=0.05)


def test_a_round_head_is_lighter_above_than_below_and_the_more_so_the_more_contrast_its_hair_has():
    slope = np.linspace(0, np.pi, 608)[:, None]
    up, out, none = (np.repeat(each, 1024, axis=1) for each in (np.cos(slope), np.sin(slope), 0 * slope))
    normal, along = np.dstack([out, up, none]), np.dstack([up, -out, none])
    trust = np.ones((608, 1024), np.float32)
    stripes = np.where(np.arange(1024) // 64 % 2, 1.0, 0.5)[None, :, None]
    striped, plain = (
        shading_of_form(normal, along, np.broadcast_to(HAIR_RGB * each, normal.shape), trust)[:, 0, 0]
        for each in (stripes, 1 + 0 * stripes)
    )
    assert striped[150] > 1.1 * striped[304] > 1.1 * striped[500]
    assert striped.argmax() == pytest.approx(152, abs=25), "the highlight lies where the surface faces up and outward"
    assert 1 < plain[150] / plain[500] < striped[150] / striped[500]


def test_a_highlight_is_paler_than_the_hair_and_shade_is_not():
    colour = np.broadcast_to([0.4, 0.2, 0.1], (4, 8, 3))
    bright, dark = lit(colour, np.full((4, 8, 1), 1.5)), lit(colour, np.full((4, 8, 1), 0.5))
    luminance = np.array(LUMINANCE)
    np.testing.assert_allclose(bright @ luminance, 1.5 * (colour @ luminance))
    assert (bright[..., 0] / bright[..., 2]).max() < 3.6
    np.testing.assert_allclose(dark, 0.5 * colour)


def test_the_map_wraps_without_a_seam(capped):
    evidence, _, surface = capped
    texture = painted(surface, evidence, seed=0)
    behind = texture.centre + np.array([[-1e-6, 0.0, -0.25], [1e-6, 0.0, -0.25]])
    left, right = sampled(texture, behind)[0]
    np.testing.assert_allclose(left, right, atol=0.02)


def test_render_gives_straight_colour_unit_normals_and_soft_edges(model):
    cameras = orbit_cameras([0.0, 90.0], [0.0, 0.0], size_px=96)
    colour = np.broadcast_to(np.float32(SKIN_RGB), (8, 8, 3))
    views = render_views(Skin(model, model.dense(model.mean), colour), (), cameras, names=("front", "side"))
    inside = views.alpha > 0
    np.testing.assert_allclose(views.rgb[inside], np.broadcast_to(SKIN_RGB, views.rgb[inside].shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(views.normals_world[views.alpha == 1], axis=-1), 1, atol=1e-4)
    assert ((views.alpha > 0) & (views.alpha < 1)).any()
    assert views.normals_world[1][views.alpha[1] > 0.5][:, 0].mean() > 0.4, "from azimuth 90 one sees normals along +X"


def test_hair_hides_the_skin_below_it(model, capped):
    evidence, _, surface = capped
    hair = Covering("hair", surface, painted(surface, evidence, seed=0))
    colour = np.broadcast_to(np.float32(SKIN_RGB), (8, 8, 3))
    views = render_views(Skin(model, model.dense(model.mean), colour), (hair,), orbit_cameras([180], [0], size_px=64))
    back_of_head = images.composite(views.rgb, views.alpha)[0, 10:24, 26:38]
    assert np.abs(back_of_head - HAIR_RGB).mean() < 0.15
