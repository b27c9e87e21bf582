"""The baked head: its laws (mirrors, injective texture, closed skin) and that every named action does what it says."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT, face_normals
from spinmeround.mesh_raster import rasterize, rasterize_pixels
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES, LEFT_EYE_OUTER, LEFT_IRIS, RIGHT_EYE_OUTER
from spinmeround.template.model.head_model import MASKS, PARTS, HeadModel, landmark_points, load_head_model

FLIP = np.array([-1.0, 1.0, 1.0])
UPPER_LID, LOWER_LID = {"Left": 386, "Right": 159}, {"Left": 374, "Right": 145}
MOUTH_CORNER = {"Left": 291, "Right": 61}
BROW = {"Left": 334, "Right": 105}
NOSE_WING = {"Left": 358, "Right": 129}
UPPER_LIP, LOWER_LIP, CHIN, NOSE_TIP, FOREHEAD = 13, 14, 152, 1, 10


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def landmarks(head: HeadModel, coarse: np.ndarray) -> np.ndarray:
    # Written out, so that ``landmark_points`` is checked against it.
    return (coarse[head.faces[head.landmark_faces]] * head.landmark_barycentric[..., None]).sum(1)


def acted(head: HeadModel, **amounts: float) -> np.ndarray:
    """Movement of the 478 landmarks under some actions, on the neutral mean head."""
    expression = np.zeros(52)
    for name, amount in amounts.items():
        expression[head.expression_names.index(name)] = amount
    still = np.zeros(len(head.shape_names))
    return landmarks(head, head.vertices(still, expression)) - landmarks(head, head.mean)


def part_vertices(head: HeadModel, name: str) -> np.ndarray:
    return np.flatnonzero(head.part == PARTS.index(name))


class TestArrays:
    def test_everything_is_finite_and_in_range(self, head):
        for value in (
            head.mean,
            head.shape_plus,
            head.shape_minus,
            head.expression_basis,
            head.uv,
            head.landmark_sigma,
        ):
            assert np.isfinite(value).all()
        count, dense = len(head.mean), head.subdivision.shape[0]
        assert 4000 <= count <= 6000
        assert head.faces.max() == count - 1 and head.faces.min() == 0
        assert head.dense_faces.max() == dense - 1
        assert set(np.unique(head.part)) == set(range(len(PARTS))) == set(np.unique(head.dense_part))
        assert tuple(head.masks) == MASKS
        assert all(m.shape == (dense,) and m.min() >= 0 and m.max() == 1 for m in head.masks.values())

    def test_names_are_those_of_the_landmark_model(self, head):
        assert head.expression_names == BLENDSHAPE_NAMES
        assert len(set(head.shape_names)) == len(head.shape_names)
        assert head.shape_names[:20] == tuple(f"pca_{i:02d}" for i in range(20))

    def test_the_asset_is_small_and_loads_fast(self):
        size = resources.files("spinmeround.template").joinpath("head.npz").stat().st_size
        assert size < 4e6
        code = (
            "import time; from spinmeround.template.model.head_model import load_head_model as load;"
            "start = time.process_time(); load(); print(time.process_time() - start)"
        )
        seconds = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))
        assert seconds < 0.3

    def test_a_head_has_the_size_of_a_head(self, head):
        marks = landmarks(head, head.mean)
        between_eyes = np.linalg.norm(marks[RIGHT_EYE_OUTER] - marks[LEFT_EYE_OUTER]) * METRES_PER_UNIT
        assert 0.085 < between_eyes < 0.110
        skull = head.dense(head.mean)[head.masks["scalp"] > 0.5]
        assert 0.21 < (skull[:, 1].max() - marks[CHIN, 1]) * METRES_PER_UNIT < 0.27


class TestMirror:
    def test_maps_are_involutions(self, head):
        for mirror in (head.vertex_mirror, head.landmark_mirror, head.shape_mirror):
            assert (mirror[mirror] == np.arange(len(mirror))).all()

    def test_mean_is_symmetric(self, head):
        np.testing.assert_allclose(head.mean[head.vertex_mirror] * FLIP, head.mean, atol=1e-6)

    def test_mirrored_parameters_make_mirrored_heads(self, head):
        for side in (head.shape_plus, head.shape_minus):
            np.testing.assert_allclose(side[:, head.vertex_mirror] * FLIP, side[head.shape_mirror], atol=2e-4)

    def test_left_actions_mirror_right_ones(self, head):
        for row, name in enumerate(head.expression_names):
            if name.endswith("Left"):
                twin = head.expression_names.index(name.removesuffix("Left") + "Right")
                mirrored = head.expression_basis[row][head.vertex_mirror] * FLIP
                np.testing.assert_allclose(mirrored, head.expression_basis[twin], atol=3e-4, err_msg=name)

    def test_left_landmarks_and_parts_are_at_the_left(self, head):
        marks = landmarks(head, head.mean)
        np.testing.assert_allclose(marks[head.landmark_mirror] * FLIP, marks, atol=1e-3)
        assert head.landmark_mirror[LEFT_EYE_OUTER] == RIGHT_EYE_OUTER
        assert marks[LEFT_IRIS, 0] > 0.05
        assert head.mean[part_vertices(head, "eye_left"), 0].min() > 0
        assert head.dense(head.mean)[head.masks["ear_left"] > 0.5, 0].min() > 0.1

    def test_the_skins_texture_is_symmetric(self, head):
        dense = head.dense(head.mean)
        skin = head.dense_part == PARTS.index("skin")
        place = np.full((len(dense), 2), np.nan)
        place[head.dense_faces[skin]] = head.uv[head.uv_faces[skin]]
        left = np.flatnonzero((head.masks["face"] > 0.9) & (dense[:, 0] > 1e-3))
        distance, twin = cKDTree(dense).query(dense[left] * FLIP)
        assert len(left) > 2000 and distance.max() < 1e-5
        np.testing.assert_allclose(place[twin], place[left] * [-1, 1] + [1, 0], atol=1e-5)


class TestShape:
    def test_vertices_are_piecewise_linear(self, head):
        generator = np.random.default_rng(3)
        shape, expression = generator.normal(size=len(head.shape_names)), generator.random(52)
        plain = head.mean.astype(np.float64)
        for value, plus, minus in zip(shape, head.shape_plus, head.shape_minus, strict=True):
            plain = plain + (value * plus if value >= 0 else -value * minus)
        for value, basis in zip(expression, head.expression_basis, strict=True):
            plain = plain + value * basis
        np.testing.assert_allclose(head.vertices(shape, expression), plain, atol=1e-5)

    def test_components_have_two_sides_and_shifts_one(self, head):
        np.testing.assert_array_equal(head.shape_plus[:20], -head.shape_minus[:20])
        for name in ("nose-trans-left", "mouth-trans-right"):
            assert not head.shape_minus[head.shape_names.index(name)].any()

    def test_eyeballs_stay_whole_spheres_inside_their_lids(self, head):
        generator = np.random.default_rng(4)
        for _ in range(5):
            shape = np.where(np.arange(len(head.shape_names)) < 20, 1.0, 0.2) * generator.normal(
                size=len(head.shape_names)
            )
            coarse = head.vertices(shape)
            for name in ("eye_left", "eye_right"):
                ball = coarse[part_vertices(head, name)]
                centre = (ball.min(0) + ball.max(0)) / 2
                radius = np.linalg.norm(ball - centre, axis=1)
                assert np.ptp(radius) < 0.03 * radius.mean()
                directions = (ball - centre) / radius[:, None]
                assert directions.min(0).max() < -0.98 and directions.max(0).min() > 0.98

    def test_teeth_stand_in_gums(self, head):
        gums = head.masks["gums"]
        teeth = np.isin(head.dense_part, [PARTS.index(name) for name in ("teeth_upper", "teeth_lower")])
        assert gums[np.unique(head.dense_faces[~teeth])].max() == 0
        dense = head.dense(head.mean)
        for name, up in (("teeth_upper", 1), ("teeth_lower", -1)):
            row = np.unique(head.dense_faces[head.dense_part == PARTS.index(name)])
            front = row[np.abs(dense[row, 0]) < 0.03]
            assert (up * dense[front[gums[front] > 0.5], 1]).mean() > (
                up * dense[front[gums[front] < 0.5], 1]
            ).max() - 0.02
            assert 0.2 < gums[row].mean() < 0.6

    def test_light_fades_into_the_mouth(self, head):
        light, depth = head.masks["mouth_light"], head.dense(head.mean)[:, 2]
        inside = np.zeros(len(light), bool)
        inside[head.dense_faces[head.dense_part >= PARTS.index("teeth_upper")]] = True
        assert light[~inside].max() == 0
        teeth = np.unique(head.dense_faces[head.dense_part == PARTS.index("teeth_upper")])
        incisors, molars = teeth[depth[teeth] > 0.16], teeth[depth[teeth] < 0.1]
        assert np.percentile(light[incisors], 95) > 0.5 > 0.3 > np.percentile(light[molars], 95)
        cavity = np.unique(head.dense_faces[head.dense_part == PARTS.index("mouth_cavity")])
        assert light[cavity[depth[cavity] < 0.05]].max() < 0.08

    def test_nothing_shows_between_closed_lips(self, head):
        cameras = orbit_cameras([0.0, 40.0, -20.0], [0.0, 10.0, 20.0], size_px=256)
        inner = [PARTS.index(name) for name in ("teeth_upper", "teeth_lower", "tongue", "mouth_cavity")]
        generator = np.random.default_rng(5)
        for shape in (0 * generator.normal(size=20), *generator.normal(size=(4, 20))):
            dense = head.dense(head.vertices(np.pad(shape, (0, len(head.shape_names) - 20))))
            for index in range(len(cameras)):
                face = rasterize(dense, head.dense_faces, cameras, index).face
                assert np.isin(head.dense_part[face[face >= 0]], inner).sum() <= (3 if shape.any() else 0)


class TestExpression:
    @pytest.mark.parametrize("side", ["Left", "Right"])
    def test_blink_closes_the_lids_of_its_own_side(self, head, side):
        other = "Right" if side == "Left" else "Left"
        marks = landmarks(head, head.mean)
        moved = acted(head, **{f"eyeBlink{side}": 1.0})
        gap = marks[UPPER_LID[side], 1] - marks[LOWER_LID[side], 1]
        closed = gap + moved[UPPER_LID[side], 1] - moved[LOWER_LID[side], 1]
        assert closed < 0.3 * gap
        assert np.abs(moved[[UPPER_LID[other], LOWER_LID[other]]]).max() < 1e-3

    @pytest.mark.parametrize("side", ["Left", "Right"])
    def test_sided_actions_pull_their_own_side(self, head, side):
        other = "Right" if side == "Left" else "Left"
        out = 1 if side == "Left" else -1
        for action, mark, direction in (
            (f"mouthSmile{side}", MOUTH_CORNER, (0, 1, 0)),
            (f"mouthFrown{side}", MOUTH_CORNER, (0, -1, 0)),
            (f"mouthStretch{side}", MOUTH_CORNER, (out, 0, 0)),
            (f"browDown{side}", BROW, (0, -1, 0)),
            (f"browOuterUp{side}", BROW, (0, 1, 0)),
            (f"noseSneer{side}", NOSE_WING, (0, 1, 0)),
            (f"eyeWide{side}", UPPER_LID, (0, 1, 0)),
            (f"eyeSquint{side}", LOWER_LID, (0, 1, 0)),
        ):
            moved = acted(head, **{action: 1.0})
            own = moved[mark[side]] @ direction
            assert own > 1e-3, action
            assert own > 3 * np.abs(moved[mark[other]]).max(), action

    def test_jaw_opens_shifts_and_takes_the_lower_teeth(self, head):
        moved = acted(head, jawOpen=1.0)
        assert moved[CHIN, 1] < -0.03
        assert moved[LOWER_LIP, 1] < moved[UPPER_LIP, 1] - 0.03
        assert np.abs(moved[FOREHEAD]).max() < 1e-3
        assert acted(head, jawLeft=1.0)[CHIN, 0] > 0.008
        assert acted(head, jawRight=1.0)[CHIN, 0] < -0.008
        assert acted(head, jawForward=1.0)[CHIN, 2] > 0.008
        opened = head.expression_basis[head.expression_names.index("jawOpen")]
        assert opened[part_vertices(head, "teeth_lower"), 1].max() < -0.005
        assert np.abs(opened[part_vertices(head, "teeth_upper")]).max() < 1e-6

    def test_mouth_and_brow_actions(self, head):
        assert acted(head, mouthLeft=1.0)[UPPER_LIP, 0] > 0.005
        assert acted(head, mouthRight=1.0)[UPPER_LIP, 0] < -0.005
        pucker = acted(head, mouthPucker=1.0)
        assert pucker[MOUTH_CORNER["Left"], 0] < -0.005 < 0.005 < pucker[MOUTH_CORNER["Right"], 0]
        assert acted(head, browInnerUp=1.0)[[107, 336], 1].min() > 0.003
        assert np.linalg.norm(acted(head, cheekPuff=1.0)[[205, 425]], axis=1).min() > 0.005
        closing = acted(head, jawOpen=1.0, mouthClose=1.0)
        assert abs(closing[UPPER_LIP, 1] - closing[LOWER_LIP, 1]) < 0.015
        tongue = head.expression_basis[head.expression_names.index("tongueOut")][part_vertices(head, "tongue")]
        assert tongue[:, 2].max() > 0.06

    def test_a_tongue_stuck_out_lies_over_the_lower_lip(self, head):
        moved = head.mean + sum(
            amount * head.expression_basis[head.expression_names.index(name)]
            for name, amount in (("jawOpen", 0.4), ("tongueOut", 1.0))
        )
        tip = max(moved[part_vertices(head, "tongue")], key=lambda point: point[2])
        lip = landmarks(head, moved)[17]
        assert 0.01 < tip[2] - lip[2] < 0.08
        assert tip[1] < landmarks(head, moved)[LOWER_LIP, 1]

    @pytest.mark.parametrize("side", ["Left", "Right"])
    def test_upper_lids_follow_the_gaze(self, head, side):
        down, up = (acted(head, **{f"eyeLook{way}{side}": 1.0})[UPPER_LID[side], 1] for way in ("Down", "Up"))
        assert -0.02 < down < -0.011 < 0.006 < up < 0.02

    @pytest.mark.parametrize("side", ["Left", "Right"])
    def test_gaze_turns_the_iris_about_the_eyeballs_centre(self, head, side):
        eye = part_vertices(head, f"eye_{side.lower()}")
        centre = (head.mean[eye].min(0) + head.mean[eye].max(0)) / 2
        out = 1 if side == "Left" else -1
        front = eye[head.mean[eye, 2].argmax()]
        for action, axis, sign in (("Up", 1, 1), ("Down", 1, -1), ("In", 0, -out), ("Out", 0, out)):
            basis = head.expression_basis[head.expression_names.index(f"eyeLook{action}{side}")]
            assert sign * basis[front, axis] > 0.01
            before = np.linalg.norm(head.mean[eye] - centre, axis=1)
            after = np.linalg.norm(head.mean[eye] + basis[eye] - centre, axis=1)
            np.testing.assert_allclose(after, before, atol=2e-4)

    def test_the_scalp_does_not_move(self, head):
        scalp = head.masks["scalp"] > 0.99
        top = scalp & (head.dense(head.mean)[:, 1] > 0.12)
        for name, basis in zip(head.expression_names, head.expression_basis, strict=True):
            assert np.abs(head.dense(basis)[top]).max() < 2e-3, name


class TestDense:
    def test_rows_of_the_subdivision_are_averages(self, head):
        np.testing.assert_allclose(np.asarray(head.subdivision.sum(1)).ravel(), 1, atol=1e-5)

    def test_the_skin_sheet_is_closed_and_faces_outward(self, head):
        sheet = np.isin(head.dense_part, [PARTS.index("skin"), PARTS.index("mouth_cavity")])
        faces = head.dense_faces[sheet]
        edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
        forward = set(map(tuple, edges.tolist()))
        assert len(forward) == len(edges)
        assert all((b, a) in forward for a, b in forward)
        dense = head.dense(head.mean)
        volume = (dense[faces[:, 0]] * face_normals(dense, faces)).sum() / 6
        assert 0.05 < volume < 0.3

    def test_eyeballs_and_tongue_face_outward(self, head):
        dense = head.dense(head.mean)
        for name in ("eye_left", "eye_right", "tongue"):
            faces = head.dense_faces[head.dense_part == PARTS.index(name)]
            centred = dense - dense[np.unique(faces)].mean(0)
            assert (centred[faces[:, 0]] * face_normals(centred, faces)).sum() > 0

    def test_the_texture_layout_is_injective(self, head):
        size = 1024
        corners = head.uv[head.uv_faces] * size
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        areas = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
        assert areas.min() > 0
        assert head.uv.min() >= 0 and head.uv.max() <= 1
        # Painted front to back and back to front, a texel may change hands only along an edge two triangles share.
        pixels = np.column_stack([head.uv[:, 0] * size, (1 - head.uv[:, 1]) * size, np.ones(len(head.uv))])
        first = rasterize_pixels(pixels, head.uv_faces, size, size).face
        last = rasterize_pixels(pixels, head.uv_faces[::-1].copy(), size, size).face
        last = np.where(last >= 0, len(head.uv_faces) - 1 - last, -1)
        assert (first >= 0).mean() == pytest.approx(areas.sum() / size**2, abs=2e-3)
        for one, two in zip(first[first != last], last[first != last], strict=True):
            assert len(set(head.uv_faces[one]) & set(head.uv_faces[two])) == 2

    def test_the_face_is_large_in_the_texture(self, head):
        corners = head.uv[head.uv_faces]
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        areas = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
        in_face = head.masks["face"][head.dense_faces].mean(1) > 0.5
        assert areas[in_face].sum() > 0.22


class TestMasks:
    def test_regions_do_not_overlap_and_cover_the_outer_skin(self, head):
        regions = [head.masks[name] for name in ("ear_left", "ear_right", "scalp", "neck", "face")]
        total = np.sum(regions, axis=0)
        skin = np.unique(head.dense_faces[head.dense_part == PARTS.index("skin")])
        outer = skin[head.masks["cavity"][skin] == 0]
        np.testing.assert_allclose(total[outer], 1, atol=0.02)

    def test_places(self, head):
        dense = head.dense(head.mean)
        marks = landmarks(head, head.mean)
        middle = {name: dense[mask > 0.5].mean(0) for name, mask in head.masks.items()}
        assert middle["ear_left"][0] > 0.15 and middle["ear_right"][0] < -0.15
        assert np.linalg.norm(middle["lips"] - (marks[UPPER_LIP] + marks[LOWER_LIP]) / 2) < 0.03
        assert np.linalg.norm(middle["nostrils"] - marks[NOSE_TIP]) < 0.06
        assert middle["neck"][1] < marks[CHIN, 1]
        # The hairline crosses the middle of the forehead about one third of the face above the brows.
        forehead = (np.abs(dense[:, 0]) < 0.01) & (dense[:, 2] > 0) & (head.masks["hairline"] > 0.4)
        height = dense[forehead & (head.masks["hairline"] < 0.6), 1].mean()
        third = marks[[107, 336], 1].mean() - marks[2, 1]
        assert 0.7 * third < height - marks[[107, 336], 1].mean() < 1.3 * third

    def test_scalp_has_vertices_enough_for_hair(self, head):
        assert (head.masks["scalp"] > 0.5).sum() > 5000


def test_landmark_points_interpolate_positions_and_scalars(head):
    np.testing.assert_array_equal(landmark_points(head, head.mean), landmarks(head, head.mean))
    np.testing.assert_array_equal(landmark_points(head, head.mean, (152, 10)), landmarks(head, head.mean)[[152, 10]])
    np.testing.assert_allclose(landmark_points(head, head.mean[:, 1]), landmarks(head, head.mean)[:, 1], atol=1e-7)


def test_landmarks_lie_on_skin_and_irises_on_eyes(head):
    parts = head.part[head.faces[head.landmark_faces]]
    assert (parts[:468] == 0).all()
    assert (parts[468:473] == PARTS.index("eye_right")).all()
    assert (parts[473:] == PARTS.index("eye_left")).all()
    np.testing.assert_allclose(head.landmark_barycentric.sum(1), 1, atol=1e-5)
    assert head.landmark_barycentric.min() >= -1e-6
    assert np.median(head.landmark_sigma) < 0.01


def test_landmarks_of_each_lip_lie_on_it(head):
    drop = head.expression_basis[head.expression_names.index("jawOpen")][:, 1]
    at_landmark = (drop[head.faces[head.landmark_faces]] * head.landmark_barycentric).sum(1)
    upper, lower = [191, 80, 81, 82, 13, 312, 311, 310, 415], [95, 88, 178, 87, 14, 317, 402, 318, 324]
    assert (at_landmark[lower] < at_landmark[upper] - 0.02).all()
    assert (head.landmark_mirror[upper] == upper[::-1]).all()
