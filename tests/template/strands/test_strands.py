"""Strands on a head under a cap of hair that is known exactly."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.geometry import project, resized, vertex_normals
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.locks import LIFT
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.render import Covering, Skin, render_views
from spinmeround.template.strands.build import HairSurface, grow_strands
from spinmeround.template.strands.direction_field import _falling
from spinmeround.template.strands.growth import HairVolume, grow
from spinmeround.template.strands.ribbons import Ribbons, drawn_strands, under_strands
from spinmeround.template.strands.settings import (
    DirectionSettings,
    GrowthSettings,
    RibbonSettings,
    StrandGrowthSettings,
)
from spinmeround.template.strands.styling import styled
from spinmeround.types import HairStrands, Mesh
from tests.template.hair.capped import (
    CAMERA,
    HAIR_RGB,
    cap,
    front_of,
    measured_and_painted,
    painted,
    photo_evidence,
    surface_of,
)

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
    directions, curl, texture = measured_and_painted(surface, evidence, seed=0)
    skin, rng = model.dense(model.mean), np.random.default_rng(seed)
    measured = HairSurface(surface, directions, curl, texture)
    return grow_strands(model, skin, coverage, measured, evidence, rng=rng)


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
        measured_and_painted(surface, scene[0], seed=0)[0],
        Mesh(skin[outer], np.zeros((0, 3), np.int64)),
        vertex_normals(skin, model.dense_faces)[outer],
    )
    s = StrandGrowthSettings()
    height = volume.above_hair(strands.points.reshape(-1, 3))
    assert np.quantile(height, 0.99) < 2 * s.max_overshoot
    # Strands pass close to all of the surface but its rim on the face, and to gaps between locks.
    behind = surface.vertices[surface.vertices[:, 2] < 0]
    assert np.quantile(cKDTree(strands.points.reshape(-1, 3)).query(behind)[0], 0.9) < 0.02 + LIFT / 2
    assert len(strands) * strands.points.shape[1] <= s.budget


def test_no_strand_stands_before_a_face_that_the_photo_shows(scene, strands):
    (photo,), _, _ = scene
    points = strands.points.reshape(-1, 3)
    pixels = project(points, photo.camera_from_world, photo.intrinsics_px)
    column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
    before = pixels[:, 2] < photo.skin_depth[row, column] + 0.02
    bare = (photo.portrait.hair[row, column] == 0) & np.isfinite(photo.skin_depth[row, column])
    assert (before & bare).mean() < 1e-3


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


def test_the_tone_of_a_strand_that_no_photo_shows_runs_along_it(strands):
    behind = (strands.points[..., 2] < -0.1).all(1)
    grey = strands.colours[behind].mean(axis=2)
    grey = grey[np.ptp(grey, axis=1) > 0]
    assert len(grey) > 500
    along = (grey - grey.mean(axis=1, keepdims=True)).std()
    assert along < 0.5 * grey.mean(axis=1).std()


def test_a_curl_winds_around_the_strand_with_its_amplitude_and_pitch():
    count, length = 400, 0.3
    straight = np.zeros((count, 61, 3))
    straight[..., 0] = np.linspace(0, 1, count)[:, None]
    straight[..., 1] = -np.linspace(0, length, 61)
    outward = np.broadcast_to([0.0, 0.0, 1.0], straight.shape)
    curl = Curl(amplitude=0.008, pitch=0.05, coherence=0.7)
    high = np.ones(straight.shape[:2])
    wound = styled(straight, outward, high, curl, rng=np.random.default_rng(0))
    np.testing.assert_allclose(wound[:, 0], straight[:, 0], atol=1e-12)
    depth = wound[:, 30:, 2]
    assert np.median(np.abs(depth).max(1)) == pytest.approx(0.6 * 0.008, rel=0.3)
    crossings = (np.diff(np.sign(depth), axis=1) != 0).sum(1)
    assert np.median(crossings) == pytest.approx(2 * (length / 2) / 0.05, abs=1)
    still = styled(straight, outward, high, Curl(0.0, 0.05, 1.0), rng=np.random.default_rng(0))
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
    texture = painted(surface, evidence, seed=0)
    skin = Skin(model, model.dense(model.mean), np.full((8, 8, 3), 0.6, np.float32))
    camera = resized(CAMERA, 768, 768)  # finer, since no strand is thinner than a pixel
    alone = render_views(skin, (Covering("hair", surface, texture),), camera).alpha[0]
    drawn = render_views(skin, (Covering("hair", surface, texture, strands),), camera)
    partial = [((alpha > 0.1) & (alpha < 0.9))[:300].sum() for alpha in (alone, drawn.alpha[0])]
    assert partial[1] > 1.3 * partial[0]
    assert ((alone > 0.5) == (drawn.alpha[0] > 0.5)).mean() > 0.98
    inside = drawn.alpha[0] > 0
    np.testing.assert_allclose(np.linalg.norm(drawn.normals_world[0][inside], axis=-1), 1, atol=1e-5)


def test_strands_take_no_leap_where_a_distance_has_the_wrong_sign():
    # As below the open end of the neck: deep under the skin by sign, though the strand hangs beside it.
    fields = np.zeros((4, 4, 4, 8), np.float32)
    fields[..., 1], fields[..., 3], fields[..., 6], fields[..., 7] = -1, 1, -0.05, -0.2
    one = np.ones(1)
    points, counts = grow(
        HairVolume(np.full(3, -1.0), 1.0, fields),
        np.zeros((1, 3)),
        np.array([[1.0, 0, 0]]),
        depths=0.02 * one,
        lengths=0.3 * one,
        overshoots=0 * one,
    )
    steps = np.linalg.norm(np.diff(points[0, : counts[0]], axis=0), axis=1)
    assert counts[0] > 40
    assert steps.max() < 2.01 * GrowthSettings().step


def test_strands_that_part_do_not_gather_between():
    # Half of the hair falls before the ear, half behind it, all from one place.
    points = np.zeros((300, 30, 3))
    points[..., 0] = np.linspace(0, 0.02, 300)[:, None]
    points[..., 1] = -np.linspace(0, 0.3, 30)
    points[..., 2] = np.where(np.arange(300) % 2, 1, -1)[:, None] * np.linspace(0, 0.15, 30)
    outward = np.broadcast_to([1.0, 0.0, 0.0], points.shape)
    gathered = styled(points, outward, np.ones(points.shape[:2]), Curl(0.0, 0.05, 1.0), rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(gathered[:, -1, 2]), 0.15, atol=0.03)


def test_hair_grows_finer_toward_the_hairline(scene, model, strands):
    coverage = scene[1]
    distance, nearest = cKDTree(model.dense(model.mean)).query(strands.points[:, 0])
    at_root, width = coverage[nearest], strands.widths[:, 0]
    s = StrandGrowthSettings()
    assert distance.max() < 0.02
    assert width[at_root > 0.9].min() == pytest.approx(s.width, rel=0.05)
    assert width[at_root < np.quantile(at_root, 0.01)].mean() < 0.97 * s.width


def test_hair_that_is_cut_off_turns_in_and_ends_lock_by_lock():
    s, floor = RibbonSettings(), -0.4
    angle = np.linspace(-np.pi, np.pi, 400, endpoint=False)
    height = np.linspace(0.2, -0.6, 81)
    ring = 0.3 * np.stack([np.sin(angle), np.zeros(400), np.cos(angle)], axis=1)
    points = ring[:, None] + height[None, :, None] * [0.0, 1.0, 0.0]
    drawn = drawn_strands(
        HairStrands(points, np.full(points.shape[:2], 1e-3), points * 0, np.zeros((400, 2))), pixel=0.0, floor=floor
    )
    above = height > floor + s.tuck_height
    np.testing.assert_array_equal(drawn.points[:, above], points[:, above])
    radius = np.linalg.norm((drawn.points - [0, 0, s.neck_depth])[..., [0, 2]], axis=2)
    assert (np.diff(radius[:, ~above & (height > floor)], axis=1) < 0).all()
    ends = np.where(drawn.widths > 0, height, np.inf).min(1)
    assert ends.min() > floor
    assert np.ptp(ends) > 0.7 * s.ends
    faces = np.array([[81 * k + j, 81 * k + j + 1, 81 * k + 81 + j] for k in range(399) for j in range(80)])
    surface = under_strands(Mesh(points.reshape(-1, 3), faces), drawn, floor=floor)
    lowest = surface.vertices[np.unique(surface.faces), 1].min()
    assert floor - 0.02 < lowest < floor + s.ends


def test_curls_lie_flat_near_the_skin():
    straight = np.zeros((200, 61, 3))
    straight[..., 0] = np.linspace(0, 1, 200)[:, None]
    straight[..., 1] = -np.linspace(0, 0.3, 61)
    outward = np.broadcast_to([0.0, 0.0, 1.0], straight.shape)
    curl = Curl(amplitude=0.008, pitch=0.05, coherence=0.7)
    low = styled(straight, outward, np.full(straight.shape[:2], 0.005), curl, rng=np.random.default_rng(0))
    assert np.abs(low[..., 2]).max() < 0.002


def test_hair_grows_out_of_its_whorl_in_a_spiral():
    grid = np.stack(np.meshgrid(*[np.linspace(-0.3, 0.3, 41)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    dome = np.stack([grid[:, 0], np.sqrt(np.maximum(0.2 - (grid**2).sum(1), 0.01)), grid[:, 1]], axis=1)
    normals = dome / np.linalg.norm(dome, axis=1, keepdims=True)
    falling = _falling(dome, normals)
    whorl = dome[np.argmax(dome @ np.array(DirectionSettings().whorl))]
    distance = np.linalg.norm(dome - whorl, axis=1)
    outward = ((dome - whorl) * falling).sum(1) / np.maximum(distance, 1e-9)
    near, far = (distance > 0) & (distance < 0.03), (distance > 0.2) & (normals[:, 1] > 0.8)
    assert near.sum() > 3
    assert np.abs(outward[near]).max() < 0.6, "around the whorl"
    assert outward[far].min() > 0.75, "away from it"
