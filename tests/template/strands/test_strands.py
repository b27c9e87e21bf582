"""Strands on a head under a cap of hair that is known exactly."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.geometry import project, resized, vertex_normals
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.hair.texture import paint_hair
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.render import Covering, Skin, render_views
from spinmeround.template.strands.build import grow_strands
from spinmeround.template.strands.direction_field import photographed_orientations, surface_directions
from spinmeround.template.strands.growth import HairVolume
from spinmeround.template.strands.ribbons import Ribbons, drawn_strands, under_strands
from spinmeround.template.strands.settings import RibbonSettings, StrandGrowthSettings
from spinmeround.template.strands.styling import styled
from spinmeround.types import HairStrands, Mesh
from tests.template.hair.capped import CAMERA, HAIR_RGB, cap, front_of, photo_evidence, surface_of

TILT = 0.5
"""Of the painted strands against the vertical, radians: their lower ends lie to the left."""


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def scene(model):
    """Evidence, coverage and surface of a cap of hair."""
    buffer = front_of(model)
    evidence = photo_evidence(model, buffer, cap(model, buffer, 12), tilt=TILT)
    return evidence, *surface_of(model, evidence)


def grown(model, scene, seed):
    evidence, coverage, surface = scene
    texture = paint_hair(surface, evidence, rng=np.random.default_rng(0))
    skin = model.dense(model.mean)
    return grow_strands(model, skin, coverage, surface, texture, evidence, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def strands(model, scene):
    return grown(model, scene, 0)


def test_roots_lie_on_the_scalp_where_hair_is(model, scene, strands):
    skin, coverage = model.dense(model.mean), scene[1]
    normals = vertex_normals(skin, model.dense_faces)
    distance, nearest = cKDTree(skin).query(strands.points[:, 0])
    above = ((strands.points[:, 0] - skin[nearest]) * normals[nearest]).sum(1)
    assert distance.max() < 0.02
    assert np.abs(above).max() < 0.004, "a flat triangle between curved vertices"
    assert coverage[nearest].min() > 0.3
    assert ((strands.root_uv >= 0) & (strands.root_uv <= 1)).all()


def test_strands_fill_the_hair_and_stay_within_it(model, scene, strands):
    _, _, surface = scene
    skin = model.dense(model.mean)
    outer = outer_skin(model)
    volume = HairVolume.of(
        surface,
        surface_directions(
            surface,
            scene[0],
            [ProjectedPhoto.of(photo, surface) for photo in scene[0]],
            photographed_orientations(scene[0]),
        ),
        Mesh(skin[outer], np.zeros((0, 3), np.int64)),
        vertex_normals(skin, model.dense_faces)[outer],
    )
    s = StrandGrowthSettings()
    height = volume.above_hair(strands.points.reshape(-1, 3))
    assert np.quantile(height, 0.99) < 2 * s.max_overshoot
    # Strands pass close to all of the surface but its rim on the face.
    behind = surface.vertices[surface.vertices[:, 2] < 0]
    assert np.quantile(cKDTree(strands.points.reshape(-1, 3)).query(behind)[0], 0.9) < 0.02
    assert len(strands) * strands.points.shape[1] <= s.budget


def test_no_strand_stands_before_a_face_that_the_photo_shows(scene, strands):
    (photo,), _, _ = scene
    points = strands.points[:, 2:].reshape(-1, 3)
    pixels = project(points, photo.camera_from_world, photo.intrinsics_px)
    column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
    before = pixels[:, 2] < photo.skin_depth[row, column] + 0.004
    bare = (photo.portrait.hair[row, column] == 0) & np.isfinite(photo.skin_depth[row, column])
    assert (before & bare).mean() < 0.01


def test_strands_run_as_in_the_photo(scene, strands):
    (photo,), _, _ = scene
    pixels = project(strands.points.reshape(-1, 3), photo.camera_from_world, photo.intrinsics_px)
    pixels = pixels.reshape(strands.points.shape)
    along = np.diff(pixels[..., :2], axis=1).reshape(-1, 2)
    at = pixels[:, :-1].reshape(-1, 3)
    column, row = at[:, 0].astype(int), at[:, 1].astype(int)
    # On the front of the head, near the middle: beside it the surface turns away from the camera.
    front = (
        (np.abs(column - 192) < 40)
        & (at[:, 2] < photo.skin_depth[row, column])
        & (photo.portrait.hair[row, column] == 1)
    )
    painted = np.array([-np.sin(TILT), np.cos(TILT)])
    cosine = np.abs(along[front] @ painted) / np.maximum(np.linalg.norm(along[front], axis=1), 1e-9)
    assert front.sum() > 2000
    assert np.degrees(np.arccos(np.clip(np.median(cosine), 0, 1))) < 15


def test_colours_are_the_photos_and_everything_repeats_with_the_seed(model, scene, strands):
    assert np.abs(np.median(strands.colours, axis=(0, 1)) - HAIR_RGB).max() < 0.06
    again, other = grown(model, scene, 0), grown(model, scene, 1)
    for name in ("points", "widths", "colours", "root_uv"):
        np.testing.assert_array_equal(getattr(again, name), getattr(strands, name))
    assert not np.array_equal(other.points[:50], strands.points[:50])


def test_a_curl_winds_around_the_strand_with_its_amplitude_and_pitch():
    count, length = 400, 0.3
    straight = np.zeros((count, 61, 3))
    straight[..., 0] = np.linspace(0, 1, count)[:, None]
    straight[..., 1] = -np.linspace(0, length, 61)
    outward = np.broadcast_to([0.0, 0.0, 1.0], straight.shape)
    curl = Curl(amplitude=0.008, pitch=0.05, coherence=0.7)
    wound = styled(straight, outward, curl, rng=np.random.default_rng(0))
    np.testing.assert_allclose(wound[:, 0], straight[:, 0], atol=1e-12)
    depth = wound[:, 30:, 2]
    assert np.median(np.abs(depth).max(1)) == pytest.approx(0.6 * 0.008, rel=0.3)
    crossings = (np.diff(np.sign(depth), axis=1) != 0).sum(1)
    assert np.median(crossings) == pytest.approx(2 * (length / 2) / 0.05, abs=1)
    still = styled(straight, outward, Curl(0.0, 0.05, 1.0), rng=np.random.default_rng(0))
    np.testing.assert_allclose(still[..., 2], 0, atol=1e-12)


def test_ribbons_turn_their_width_to_the_camera_and_end_above_the_floor():
    points = np.array([[[0.0, 0.3, 0.0], [0.0, 0.1, 0.0], [0.0, -0.3, 0.0], [0.0, -0.6, 0.0]]])
    strands = HairStrands(points, np.full((1, 4), 0.01), np.zeros((1, 4, 3)), np.zeros((1, 2)))
    surface = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    ribbons = Ribbons.of(drawn_strands(strands, pixel=0.0, floor=-0.5), surface)
    assert len(ribbons.faces) == 4, "the segment through the floor is not drawn"
    left, right = ribbons.toward(np.array([0.0, 0.0, 3.0])).reshape(4, 2, 3).swapaxes(0, 1)
    np.testing.assert_allclose(np.abs(right - left)[:, 0], [0.01, 0.01, 0.01, 0.0], rtol=1e-6)
    np.testing.assert_allclose((right - left)[:, 2], 0, atol=1e-12)


def test_strands_thinner_than_a_pixel_are_drawn_fewer_and_wider():
    points = np.linspace([0.0, 0.5, 0.0], [0.0, 0.2, 0.0], 5)[None] + np.linspace(0, 0.3, 3000)[:, None, None]
    strands = HairStrands(points, np.full(points.shape[:2], 0.001), points * 0, np.zeros((3000, 2)))
    drawn = drawn_strands(strands, pixel=0.002, floor=-0.4)
    np.testing.assert_allclose(drawn.widths, 0.002)
    assert len(drawn) == pytest.approx(1500, abs=2)
    assert len(drawn_strands(strands, pixel=0.0005, floor=-0.4)) == len(strands)


def test_the_surface_retreats_only_beneath_strands(scene, strands):
    _, _, surface = scene
    behind = strands.points[:, :, 2].max(1) < 0
    some = HairStrands(*(getattr(strands, name)[behind] for name in ("points", "widths", "colours", "root_uv")))
    moved = np.linalg.norm(under_strands(surface, some, floor=-0.4).vertices - surface.vertices, axis=1)
    assert moved[surface.vertices[:, 2] > 0.1].max() == 0
    assert np.median(moved[surface.vertices[:, 2] < -0.15]) == pytest.approx(RibbonSettings().retreat)


def test_an_outline_of_strands_is_softer_than_that_of_the_surface(model, scene, strands):
    evidence, _, surface = scene
    texture = paint_hair(surface, evidence, rng=np.random.default_rng(0))
    skin = Skin(model, model.dense(model.mean), np.full((8, 8, 3), 0.6, np.float32))
    camera = resized(CAMERA, 768, 768)  # finer, since no strand is thinner than a pixel
    alone = render_views(skin, (Covering("hair", surface, texture),), camera).alpha[0]
    drawn = render_views(skin, (Covering("hair", surface, texture, strands),), camera)
    partial = [((alpha > 0.1) & (alpha < 0.9))[:300].sum() for alpha in (alone, drawn.alpha[0])]
    assert partial[1] > 1.3 * partial[0]
    assert ((alone > 0.5) == (drawn.alpha[0] > 0.5)).mean() > 0.98
    inside = drawn.alpha[0] > 0
    np.testing.assert_allclose(np.linalg.norm(drawn.normals_world[0][inside], axis=-1), 1, atol=1e-5)
