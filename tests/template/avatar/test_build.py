"""The avatar: morph targets do what they say, bones carry what they should, levels have their number of faces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import trimesh

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.mesh_raster import rasterize, rasterize_pixels
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from spinmeround.template.avatar.build import MAX_FACES, AvatarDetail, build_avatar, remove_hair_in_mouth
from spinmeround.template.avatar.levels_of_detail import level_of_detail
from spinmeround.template.avatar.skeleton import HEAD, JAW, NAMES, NECK, skeleton, skin_weights
from spinmeround.template.model import neck_cut
from spinmeround.template.model.expression_transfer import EYES, eyeball, personal_morphs, transfer_expressions
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points, load_head_model
from spinmeround.template.registration.fitter import register_template
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, Mesh
from tests.template.unseen_heads import stranger

MM = 1000 * METRES_PER_UNIT
CHIN, UPPER_LIP, LOWER_LIP = 152, 13, 14
CORNER = {"Left": 291, "Right": 61}


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


def person(model: HeadModel, number: int) -> np.ndarray:
    """Coarse vertices of somebody made up; 0 is the mean head."""
    generator = np.random.default_rng(number)
    count = len(model.shape_names)
    spread = np.where(np.arange(count) < 20, 0.8, 0.1) * (number > 0)
    return model.vertices(spread * generator.normal(size=count))


@pytest.fixture(scope="module", params=[0, 1, 2, "registered"])
def somebody(model, request) -> tuple[np.ndarray, np.ndarray]:
    """Coarse vertices at rest, and dense displacements per action."""
    if request.param == "registered":
        given = stranger(model, 1)
        neutral = register_template(model, given.surface, given.landmarks).neutral
    else:
        neutral = person(model, request.param)
    return neutral, personal_morphs(model, neutral)


def row(name: str) -> int:
    return BLENDSHAPE_NAMES.index(name)


def dense_marks(model: HeadModel, dense: np.ndarray, numbers) -> np.ndarray:
    """Dense vertices nearest to landmarks of the mean head, in another state of the mesh."""
    marks = landmark_points(model, model.mean, numbers)
    mean = model.dense(model.mean)
    return dense[[int(np.linalg.norm(mean - mark, axis=1).argmin()) for mark in marks]]


def test_on_the_mean_head_the_transfer_changes_nothing(model):
    free = np.zeros(len(model.mean), bool)
    free[np.linalg.norm(model.expression_basis, axis=2).max(0) < 1e-6] = True
    np.testing.assert_allclose(transfer_expressions(model, model.mean, free), model.expression_basis, atol=1e-4)


def test_a_larger_head_moves_by_as_much_more(model):
    held = np.linalg.norm(model.expression_basis, axis=2).max(0) < 1e-6
    small, large = (transfer_expressions(model, model.mean * size, held) for size in (1.0, 1.25))
    skin = model.part == PARTS.index("skin")
    np.testing.assert_allclose(large[:, skin], 1.25 * small[:, skin], atol=1e-3)


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_blink_leaves_no_eye_to_see(model, somebody, side):
    neutral, morphs = somebody
    rest = model.dense(neutral)
    centre, radius = eyeball(model, neutral, f"eye_{side.lower()}")

    def seen_mm(vertices: np.ndarray) -> float:
        """Height of the eye between its lids, at its highest, from the front without perspective."""
        size, span = 400, 2.2 * radius
        x, y = ((vertices - centre)[:, :2] / span * (1, -1) + 0.5).T * size
        drawn = rasterize_pixels(np.stack([x, y, 5 - vertices[:, 2]], 1), model.dense_faces, size, size)
        part = np.where(drawn.face >= 0, model.dense_part[np.maximum(drawn.face, 0)], -1)
        return (part == PARTS.index(f"eye_{side.lower()}")).sum(0).max() * span / size * MM

    assert seen_mm(rest) > 4
    assert seen_mm(rest + morphs[row(f"eyeBlink{side}")]) < 0.5
    other = "Right" if side == "Left" else "Left"
    assert seen_mm(rest + morphs[row(f"eyeBlink{other}")]) > 4


def test_closed_lids_stay_off_the_eyeball(model, somebody):
    neutral, morphs = somebody
    rest = model.dense(neutral)
    lids = (model.masks["lids"] > 0.5) & (model.masks["cavity"] < 0.1)
    for side in ("Left", "Right"):
        moved = morphs[row(f"eyeBlink{side}")]
        centre, radius = eyeball(model, neutral, f"eye_{side.lower()}")
        outside = np.linalg.norm(rest - centre, axis=1) > radius
        moving = lids & outside & (np.linalg.norm(moved, axis=1) > 1e-3)
        assert moving.sum() > 50
        assert np.linalg.norm((rest + moved)[moving] - centre, axis=1).min() > radius * 0.999


def test_the_jaw_lowers_the_chin(model, somebody):
    neutral, morphs = somebody
    opened = dense_marks(model, morphs[row("jawOpen")], [CHIN, UPPER_LIP, LOWER_LIP])[:, 1] * MM
    assert -45 < opened[0] < -15
    assert opened[2] < opened[1] - 10
    shut = dense_marks(model, (morphs[row("jawOpen")] + morphs[row("mouthClose")]), [UPPER_LIP, LOWER_LIP])
    rest = dense_marks(model, model.dense(neutral), [UPPER_LIP, LOWER_LIP])
    assert abs(((rest + shut)[0] - (rest + shut)[1])[1]) * MM < 8


def test_left_stays_left(model, somebody):
    _, morphs = somebody
    across = model.dense(model.mean)[:, 0]
    for name in BLENDSHAPE_NAMES:
        if name.endswith(("Left", "Right")) and name[:-4].rstrip("R") not in ("jaw", "mouth") and name not in (
            "jawLeft", "jawRight", "mouthLeft", "mouthRight",
        ):  # fmt: skip
            length = np.linalg.norm(morphs[row(name)], axis=1)
            own = across > 0.03 if name.endswith("Left") else across < -0.03
            other = across < -0.03 if name.endswith("Left") else across > 0.03
            assert length[own].max() > 1.5 * length[other].max(), name


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_sides_move_the_way_they_are_called(model, somebody, side):
    _, morphs = somebody
    corner = [CORNER[side]]
    assert dense_marks(model, morphs[row(f"mouthSmile{side}")], corner)[0, 1] > 0.005
    assert dense_marks(model, morphs[row(f"mouthFrown{side}")], corner)[0, 1] < -0.003
    sign = 1 if side == "Left" else -1
    assert sign * dense_marks(model, morphs[row(f"mouthStretch{side}")], corner)[0, 0] > 0.003
    assert sign * dense_marks(model, morphs[row(f"jaw{side}")], [CHIN])[0, 0] > 0.005


def test_no_action_moves_the_scalp(model, somebody):
    _, morphs = somebody
    scalp = (model.masks["scalp"] > 0.99) & (model.dense(model.mean)[:, 1] > 0.1)
    assert scalp.sum() > 1000
    assert np.abs(morphs[:, scalp]).max() * MM < 0.1


def test_eyes_turn_about_their_centres(model, somebody):
    neutral, morphs = somebody
    rest = model.dense(neutral)
    for side in EYES:
        ball = np.unique(model.dense_faces[model.dense_part == PARTS.index(side)])
        centre, radius = eyeball(model, neutral, side)
        before = np.linalg.norm(rest[ball] - centre, axis=1)
        for direction in ("Up", "Down", "In", "Out"):
            moved = morphs[row(f"eyeLook{direction}{side.removeprefix('eye_').title()}")][ball]
            assert np.linalg.norm(moved, axis=1).max() > 0.2 * radius
            after = np.linalg.norm(rest[ball] + moved - centre, axis=1)
            np.testing.assert_allclose(after, before, atol=0.05 / MM)


def test_bones_are_where_they_turn(model, somebody):
    neutral, _ = somebody
    neck, head, jaw, left, right = (joint.position for joint in skeleton(model, neutral))
    rest = model.dense(neutral)
    ears = rest[model.masks["ear_left"] > 0.5]
    assert neck[1] == neck_cut.HEIGHT < head[1] < jaw[1]
    assert ears[:, 1].min() < jaw[1] < ears[:, 1].max()
    assert 0 < jaw[2] - ears[:, 2].mean() < 0.12
    assert left[0] > 0.04 and right[0] < -0.04
    np.testing.assert_allclose(left, eyeball(model, neutral, "eye_left")[0])


def test_weights_are_smooth_and_sum_to_1(model):
    weights = skin_weights(model)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights.min() >= 0
    edges = model.dense_faces[:, :2]
    skin = np.isin(model.dense_part, [PARTS.index("skin")])
    step = np.abs(weights[edges[skin, 0]] - weights[edges[skin, 1]]).max(1)
    assert np.quantile(step, 0.999) < 0.4
    teeth = {
        n: np.unique(model.dense_faces[model.dense_part == PARTS.index(n)]) for n in ("teeth_upper", "teeth_lower")
    }
    assert (weights[teeth["teeth_upper"], HEAD] == 1).all()
    assert (weights[teeth["teeth_lower"], JAW] == 1).all()
    chin, lip = (dense_marks(model, weights, [mark])[0] for mark in (CHIN, UPPER_LIP))
    assert chin[JAW] > 0.8 and lip[JAW] < 0.2
    height = model.dense(model.mean)[:, 1]
    assert weights[(height > 0) & (height < 0.2)][:, NECK].max() == 0


def painted(model: HeadModel) -> SkinTexture:
    grey = np.full((256, 256, 3), 0.5, np.float32)
    return SkinTexture(grey, grey[..., 0])


@pytest.fixture(scope="module")
def avatars(model) -> dict[int, Avatar]:
    skin = painted(model)
    uncovered = np.zeros(model.subdivision.shape[0])
    return {
        lod: build_avatar(model, person(model, 1), uncovered, skin, (), AvatarDetail(lod, 128)) for lod in (0, 1, 2)
    }


@pytest.mark.parametrize("lod", [0, 1, 2])
def test_levels_have_their_faces_and_all_morphs(avatars, lod):
    avatar = avatars[lod]
    assert sum(len(part.mesh.faces) for part in avatar.parts) == pytest.approx(MAX_FACES[lod], rel=0.02)
    parts = {part.name: part for part in avatar.parts}
    assert list(parts) == ["skin", "eyes", "teeth", "tongue"]
    assert tuple(parts["skin"].morphs) == avatar.morph_names == BLENDSHAPE_NAMES
    assert set(parts["eyes"].morphs) == {n for n in BLENDSHAPE_NAMES if n.startswith("eyeLook")}
    assert "jawOpen" in parts["teeth"].morphs and "tongueOut" in parts["tongue"].morphs
    assert tuple(joint.name for joint in avatar.joints) == NAMES
    for part in avatar.parts:
        assert part.mesh.albedo.shape == (128, 128, 3)
        assert part.mesh.faces.max() == len(part.mesh.vertices) - 1
        np.testing.assert_allclose(part.weights.sum(1), 1, atol=1e-6)
        assert all(moved.shape == part.mesh.vertices.shape for moved in part.morphs.values())


def test_coarse_levels_look_like_fine_ones(avatars):
    camera = orbit_cameras([20.0], [0.0], size_px=200)
    shape = []
    for avatar in avatars.values():
        skin = avatar.parts[0]
        opened = skin.mesh.vertices + skin.morphs["jawOpen"]
        shape.append([rasterize(v, skin.mesh.faces, camera, 0).face >= 0 for v in (skin.mesh.vertices, opened)])
    for coarse in shape[1:]:
        for a, b in zip(shape[0], coarse, strict=True):
            assert (a & b).sum() / (a | b).sum() > 0.985


def test_the_skin_ends_at_the_neck_and_is_closed(avatars):
    for avatar in avatars.values():
        mesh = avatar.parts[0].mesh
        assert mesh.vertices[:, 1].min() == pytest.approx(neck_cut.HEIGHT)
        _, same = np.unique(np.round(mesh.vertices, 7), axis=0, return_inverse=True)
        faces = same.reshape(-1)[mesh.faces]
        edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
        pairs = {tuple(edge) for edge in edges.tolist()}
        assert sum((b, a) not in pairs for a, b in pairs) <= 0.001 * len(pairs)


def test_nothing_of_the_mouth_shows_at_rest(avatars):
    cameras = orbit_cameras([0.0, 35.0], [0.0, 0.0], size_px=256)
    for lod, avatar in avatars.items():
        vertices, faces, owner = [], [], []
        for number, part in enumerate(avatar.parts):
            faces.append(part.mesh.faces + sum(map(len, vertices)))
            vertices.append(part.mesh.vertices)
            owner.append(np.full(len(part.mesh.faces), number))
        owners = np.concatenate(owner)
        for index in range(len(cameras)):
            drawn = rasterize(np.concatenate(vertices), np.concatenate(faces), cameras, index).face
            assert (owners[drawn[drawn >= 0]] >= 2).sum() <= (3 if lod < 2 else 8)


def test_no_hair_shows_in_the_open_mouth(model):
    rest = model.dense(model.mean)
    ball = trimesh.creation.icosphere(3, 0.24)
    ball.vertices = np.asarray(ball.vertices) * [0.8, 1, 0.8] + [0, 0, -0.05]
    hair = Mesh(np.asarray(ball.vertices, np.float64), np.asarray(ball.faces, np.int64))
    left = remove_hair_in_mouth(model, rest, hair)
    assert 0.5 * len(hair.faces) < len(left.faces) < len(hair.faces)
    cavity = rest[np.unique(model.dense_faces[model.dense_part == PARTS.index("mouth_cavity")])]
    assert not ((left.vertices > cavity.min(0)) & (left.vertices < cavity.max(0))).all(1).any()


def test_levels_are_subsets_whose_faces_never_lie_upside_down(model):
    chosen = level_of_detail(model, 8000, len)
    assert len(chosen.faces) <= 8000
    dense = model.dense(model.mean)
    assert set(np.unique(chosen.part)) == set(range(len(PARTS)))
    assert np.isin(chosen.faces, model.dense_faces).all()
    a, b, c = (model.uv[chosen.uv_faces[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]
    assert area.min() > 0
    corner = dict(zip(model.uv_faces.ravel().tolist(), model.dense_faces.ravel().tolist(), strict=True))
    assert all(
        corner[u] == v for u, v in zip(chosen.uv_faces.ravel().tolist(), chosen.faces.ravel().tolist(), strict=True)
    )
    assert len(dense) > len(np.unique(chosen.faces))


def test_the_same_head_gives_the_same_avatar(model, avatars):
    uncovered = np.zeros(model.subdivision.shape[0])
    again = build_avatar(model, person(model, 1), uncovered, painted(model), (), AvatarDetail(2, 128))
    for one, two in zip(avatars[2].parts, again.parts, strict=True):
        for field in dataclasses.fields(one.mesh):
            np.testing.assert_array_equal(getattr(one.mesh, field.name), getattr(two.mesh, field.name))
        for name, moved in one.morphs.items():
            np.testing.assert_array_equal(moved, two.morphs[name])
