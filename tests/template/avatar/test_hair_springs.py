"""Long hair hangs on chains that swing beside the head, rest at rest, and follow nothing but long hair."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.template.avatar.build import MAX_FACES, AvatarDetail, build_avatar
from spinmeround.template.avatar.hair_springs import hang_chains
from spinmeround.template.avatar.skeleton import HEAD, NAMES, NECK, skeleton
from spinmeround.template.hair.texture import HEIGHT, WIDTH, HairTexture
from spinmeround.template.model import neck_cut
from spinmeround.template.model.expression_transfer import personal_morphs
from spinmeround.template.model.head_model import HeadModel, landmark_points, load_head_model
from spinmeround.template.render import Covering
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, HairStrands, Mesh
from tests.template.avatar.depths import deepest_mm

MM = 1000 * METRES_PER_UNIT
COUNT, POINTS, STEP, THICKNESS = 2500, 45, 0.02, 0.04
FRAMES_PER_SECOND = 60


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def hair(model) -> Covering:
    """Hair down to the shoulders over the scalp of the mean head, straight below the ears; the face is free."""
    rng = np.random.default_rng(3)
    dense = model.dense(model.mean)
    normals, tree = vertex_normals(dense, model.dense_faces), cKDTree(dense)
    scalp = model.masks["scalp"] > 0.5
    faces = model.dense_faces[scalp[model.dense_faces].all(1)]
    used, compact = np.unique(faces, return_inverse=True)
    surface = Mesh(dense[used] + THICKNESS * normals[used], compact.reshape(-1, 3))
    here = dense[rng.choice(used[dense[used, 2] < 0.05], COUNT)]
    height, points = THICKNESS * rng.uniform(0.4, 1, COUNT), [here]
    ears = skeleton(model, model.mean)[HEAD].position[1]
    for step in range(1, POINTS):
        _, nearest = tree.query(here)
        normal = normals[nearest]
        down = np.array([0, -1, 0]) + normal[:, 1:2] * normal + 0.4 * normal * (0, 1, 1)
        down -= (down * normal).sum(1, keepdims=True) * normal
        on_skin = dense[nearest] + np.minimum(height, STEP * step)[:, None] * normal
        on_skin = on_skin + STEP * down / np.linalg.norm(down, axis=1, keepdims=True)
        here = np.where(here[:, 1:2] < ears + 0.05, here - [0, STEP, 0], on_skin)
        points.append(here)
    strands = HairStrands(
        np.stack(points, axis=1),
        np.full((COUNT, POINTS), 0.0012),
        np.full((COUNT, POINTS, 3), 0.3),
        np.zeros((COUNT, 2)),
    )
    plain, blank = np.full((HEIGHT, WIDTH, 3), 0.3, np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    return Covering("hair", surface, HairTexture(np.zeros(3), plain, plain, blank, blank, blank > -1), strands)


def shortened(hair: Covering, floor: float) -> HairStrands:
    """The strands, ended at some height."""
    widths = np.where(hair.strands.points[..., 1] > floor, hair.strands.widths, 0)
    return dataclasses.replace(hair.strands, widths=widths)


@pytest.fixture(scope="module")
def avatars(model, hair) -> dict[int, Avatar]:
    grey = np.full((64, 64, 3), 0.5, np.float32)
    skin, bare = SkinTexture(grey, grey[..., 0]), np.zeros(model.subdivision.shape[0])
    return {lod: build_avatar(model, model.mean, bare, skin, (hair,), AvatarDetail(lod, 256)) for lod in (1, 2)}


def test_long_hair_has_chains_from_the_ears_to_below_the_jaw(model, avatars):
    avatar = avatars[1]
    chin = landmark_points(model, model.mean, (152,))[0, 1]
    assert 6 <= len(avatar.springs) <= 10
    for spring in avatar.springs:
        joints = [avatar.joints[k] for k in spring.joints]
        assert 3 <= len(joints) <= 5
        assert [joint.parent for joint in joints] == [HEAD, *spring.joints[:-1]]
        assert joints[0].position[1] == pytest.approx(avatar.joints[HEAD].position[1])
        assert neck_cut.HEIGHT < joints[-1].position[1] < chin
        assert len(spring.hit_radii) == len(spring.stiffness) == len(joints) - 1
    assert {collider.joint for collider in avatar.colliders} == {HEAD, NECK}


def test_chains_run_through_the_hair(avatars, hair):
    tree = cKDTree(hair.strands.points.reshape(-1, 3))
    places = np.stack([avatars[1].joints[k].position for spring in avatars[1].springs for k in spring.joints])
    distance, _ = tree.query(places)
    assert distance.max() * MM < 8


def test_hair_to_the_jaw_has_none(model, hair):
    head = skeleton(model, model.mean)[HEAD]
    chin = landmark_points(model, model.mean, (152,))[0, 1]
    assert len(hang_chains(model, model.mean, hair.strands, head)) > 5
    assert hang_chains(model, model.mean, shortened(hair, chin), head) == []


def test_levels_of_detail_share_bones_and_keep_their_faces(avatars):
    assert [(j.name, j.parent) for j in avatars[1].joints] == [(j.name, j.parent) for j in avatars[2].joints]
    for lod, avatar in avatars.items():
        np.testing.assert_array_equal(*(np.stack([j.position for j in a.joints]) for a in (avatar, avatars[1])))
        assert sum(len(part.mesh.faces) for part in avatar.parts) <= 1.02 * MAX_FACES[lod]


@pytest.mark.parametrize("name", ["hair", "hair_cap"])
def test_hair_hangs_on_the_head_above_and_on_chains_below(avatars, name):
    avatar = avatars[1]
    (part,) = (part for part in avatar.parts if part.name == name)
    _, height, z = part.mesh.vertices.T
    top = avatar.joints[HEAD].position[1]
    on_head = (part.weights * (part.joints == HEAD)).sum(1)
    np.testing.assert_allclose(part.weights.sum(1), 1)
    assert (on_head[height > top] == 1).all()
    low = height < np.mean([avatar.joints[spring.joints[1]].position[1] for spring in avatar.springs])
    low &= z < 0  # single strands fall over the cheeks
    assert low.sum() > 5 and on_head[low].max() < 0.01
    ends = [spring.joints[-1] for spring in avatar.springs]
    assert not np.isin(part.joints[part.weights > 0], ends).any()


def test_weights_change_evenly_from_place_to_place(avatars):
    avatar = avatars[1]
    (part,) = (part for part in avatar.parts if part.name == "hair")
    dense = np.zeros((len(part.weights), len(avatar.joints)))
    np.add.at(dense, (np.arange(len(dense))[:, None], part.joints), part.weights)
    pairs = cKDTree(part.mesh.vertices).query_pairs(2.5 / MM, output_type="ndarray")
    assert len(pairs) > 100
    assert np.abs(dense[pairs[:, 0]] - dense[pairs[:, 1]]).max() < 0.2


@pytest.mark.parametrize("name", ["hair", "hair_cap"])
def test_no_card_goes_through_the_face_in_any_expression(avatars, model, name):
    (part,) = (part for part in avatars[1].parts if part.name == name)
    points = part.mesh.vertices[part.mesh.vertices[:, 2] > -0.05]
    assert len(points) > 100
    assert deepest_mm(model, personal_morphs(model, model.mean), points) > -2


def test_a_bald_head_and_the_rest_of_a_hairy_one_have_none(avatars, model):
    grey = np.full((64, 64, 3), 0.5, np.float32)
    bare = np.zeros(model.subdivision.shape[0])
    bald = build_avatar(model, model.mean, bare, SkinTexture(grey, grey[..., 0]), (), AvatarDetail(2, 64))
    assert bald.springs == bald.colliders == () and len(bald.joints) == len(NAMES)
    for part in avatars[1].parts:
        if not part.name.startswith("hair"):
            assert part.joints.max() < len(NAMES)


class Swing:
    """Springs in the Verlet integration that VRMC_springBone 1.0 describes, on a head that turns about its joint."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar = avatar
        self.places = np.stack([joint.position for joint in avatar.joints]) * METRES_PER_UNIT
        self.before, self.rest = self.places.copy(), self.places.copy()

    def step(self, head: np.ndarray) -> None:
        """One frame, after which the head is turned like this, by a rotation matrix."""
        past, self.before = self.before, self.places.copy()
        pivot = self.rest[HEAD]
        for spring in self.avatar.springs:
            turn = head
            self.places[spring.joints[0]] = pivot + head @ (self.rest[spring.joints[0]] - pivot)
            for k, (joint, end) in enumerate(zip(spring.joints[:-1], spring.joints[1:], strict=True)):
                bone = turn @ (self.rest[end] - self.rest[joint])
                length, start = np.linalg.norm(bone), self.places[joint]
                pull = spring.stiffness[k] * bone / length - [0, spring.gravity, 0]
                now = self.before[end]
                tail = now + (now - past[end]) * (1 - spring.drag) + pull / FRAMES_PER_SECOND
                tail = start + length * (tail - start) / np.linalg.norm(tail - start)
                for depth, way in self.depths(tail, head, spring.hit_radii[k] * METRES_PER_UNIT):
                    if depth > 0:
                        tail = tail + depth * way
                        tail = start + length * (tail - start) / np.linalg.norm(tail - start)
                self.places[end] = tail
                turn = rotation(bone, tail - start) @ turn

    def depths(self, point: np.ndarray, head: np.ndarray, ball: float):
        """How deep a ball is in each collider, and the way out; metres."""
        pivot = self.rest[HEAD]
        for collider in self.avatar.colliders:
            start, end = (METRES_PER_UNIT * place for place in (collider.start, collider.end))
            if collider.joint == HEAD:
                start, end = (pivot + head @ (place - pivot) for place in (start, end))
            along = np.clip((point - start) @ (end - start) / max((end - start) @ (end - start), 1e-12), 0, 1)
            out = point - start - along * (end - start)
            distance = np.linalg.norm(out)
            yield METRES_PER_UNIT * collider.radius + ball - distance, out / distance

    def deepest(self, head: np.ndarray) -> float:
        ends = [end for spring in self.avatar.springs for end in spring.joints[1:]]
        return max(depth for end in ends for depth, _ in self.depths(self.places[end], head, 0.0))


def rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The least rotation from one direction to another."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    x, y, z = np.cross(start, end)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + start @ end)


def turned(yaw: float, pitch: float) -> np.ndarray:
    (a, b), (c, d) = (np.cos([yaw, pitch]), np.sin([yaw, pitch]))
    return np.array([[a, 0, c], [0, 1, 0], [-c, 0, a]]) @ np.array([[1, 0, 0], [0, b, -d], [0, d, b]])


def test_at_rest_nothing_moves_whichever_way_the_head_faces(avatars):
    swing = Swing(avatars[1])
    for _ in range(200):
        swing.step(np.eye(3))
    np.testing.assert_allclose(swing.places, swing.rest, atol=1e-9)
    for _ in range(300):
        swing.step(turned(2.0, 0))
    pivot = swing.rest[HEAD]
    for spring in avatars[1].springs:
        for k in spring.joints:
            np.testing.assert_allclose(swing.places[k], pivot + turned(2.0, 0) @ (swing.rest[k] - pivot), atol=1e-6)


def test_hair_swings_after_a_head_that_turns_fast_and_stays_out_of_it(avatars):
    swing, deepest, lag = Swing(avatars[1]), 0.0, 0.0
    ends = [spring.joints[-1] for spring in avatars[1].springs]
    for frame in range(200):
        time = frame / FRAMES_PER_SECOND
        head = turned(1.2 * np.sin(9 * time), 0.5 * np.sin(7 * time))
        swing.step(head)
        deepest = max(deepest, swing.deepest(head))
        carried = swing.rest[HEAD] + (swing.rest[ends] - swing.rest[HEAD]) @ head.T
        lag = max(lag, np.linalg.norm(swing.places[ends] - carried, axis=1).max())
    assert deepest < 0.005
    assert 0.02 < lag < 0.2
    for _ in range(180):
        swing.step(np.eye(3))
    np.testing.assert_allclose(swing.places, swing.rest, atol=1e-4)


def test_a_bowed_head_lets_its_hair_fall_forward(avatars):
    swing = Swing(avatars[1])
    bowed = turned(0, 0.8)
    for _ in range(300):
        swing.step(bowed)
    for spring in avatars[1].springs:
        hanging = swing.places[spring.joints[-1]] - swing.places[spring.joints[0]]
        stiff = bowed @ (swing.rest[spring.joints[-1]] - swing.rest[spring.joints[0]])
        assert hanging[1] < stiff[1] - 1e-3
