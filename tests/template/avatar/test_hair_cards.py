"""Hair cards of a made-up head of hair: as many as asked for, on the strands, outside the skin, with opacity."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.io import read_avatar, write_avatar
from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.template.avatar.build import HAIR_CARDS, MAX_FACES, AvatarDetail, build_avatar
from spinmeround.template.avatar.hair_cards import cluster_strands
from spinmeround.template.hair.texture import HEIGHT, WIDTH, HairTexture
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel, load_head_model
from spinmeround.template.render import Covering
from spinmeround.template.strands.ribbons import visible_strands
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, HairStrands, Mesh, TexturedMesh

MM = 1000 * METRES_PER_UNIT
COUNT, POINTS, THICKNESS = 9000, 16, 0.045


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def hair(model) -> Covering:
    """Hair combed down from the crown over the scalp of the mean head, 18 mm thick, with a wave."""
    rng = np.random.default_rng(5)
    dense = model.dense(model.mean)
    normals = vertex_normals(dense, model.dense_faces)
    scalp = model.masks["scalp"] > 0.5
    faces = model.dense_faces[scalp[model.dense_faces].all(1)]
    used, compact = np.unique(faces, return_inverse=True)
    surface = Mesh(dense[used] + THICKNESS * normals[used], compact.reshape(-1, 3))
    root = rng.choice(used, COUNT)
    here, tree = dense[root] + rng.normal(0, 0.002, (COUNT, 3)), cKDTree(dense)
    height = THICKNESS * (1 - 0.6 * rng.random(COUNT) ** 2)
    points = []
    for step in range(POINTS):
        rise = np.minimum(height, 0.012 * step)
        _, nearest = tree.query(here)
        normal = normals[nearest]
        points.append(dense[nearest] + rise[:, None] * normal if step else here.copy())
        down = np.array([0, -1, 0]) + normal[:, 1:2] * normal + 0.3 * normal * (0, 1, 1)
        down -= (down * normal).sum(1, keepdims=True) * normal
        here = here + 0.012 * down / np.linalg.norm(down, axis=1, keepdims=True)
    widths = np.full((COUNT, POINTS), 0.0012)
    colours = np.broadcast_to([0.4, 0.25, 0.1], (COUNT, POINTS, 3)) * rng.uniform(0.7, 1.2, (COUNT, 1, 1))
    strands = HairStrands(np.stack(points, axis=1), widths, colours, np.zeros((COUNT, 2)))
    plain = np.full((HEIGHT, WIDTH, 3), [0.3, 0.2, 0.1], np.float32)
    blank = np.zeros((HEIGHT, WIDTH), np.float32)
    return Covering("hair", surface, HairTexture(np.zeros(3), plain, plain, blank, blank, blank > -1), strands)


def built(model: HeadModel, hair: Covering, detail: AvatarDetail) -> Avatar:
    grey = np.full((64, 64, 3), 0.5, np.float32)
    skin = SkinTexture(grey, grey[..., 0])
    return build_avatar(model, model.mean, np.zeros(model.subdivision.shape[0]), skin, (hair,), detail)


@pytest.fixture(scope="module")
def avatars(model, hair) -> dict[int, Avatar]:
    return {lod: built(model, hair, AvatarDetail(lod, 1024)) for lod in (0, 1, 2)}


def mesh_of(avatar: Avatar, name: str) -> TexturedMesh:
    (part,) = (part for part in avatar.parts if part.name == name)
    return part.mesh


@pytest.mark.parametrize("lod", [0, 1])
def test_hair_and_head_keep_their_budgets(avatars, lod):
    avatar = avatars[lod]
    count = sum(len(mesh_of(avatar, name).faces) for name in ("hair", "hair_cap"))
    assert count == pytest.approx(HAIR_CARDS[lod].faces, rel=0.05)
    assert sum(len(part.mesh.faces) for part in avatar.parts) == pytest.approx(MAX_FACES[lod], rel=0.02)
    assert mesh_of(avatar, "hair_cap").alpha is None


def test_the_coarsest_level_and_the_shell_are_closed_and_opaque(model, hair, avatars):
    for avatar in (avatars[2], built(model, hair, AvatarDetail(0, 256, hair="shell"))):
        assert mesh_of(avatar, "hair").alpha is None
        assert "hair_cap" not in {part.name for part in avatar.parts}


def test_little_hair_has_fewer_cards(model, hair):
    strands = hair.strands
    few = HairStrands(*(getattr(strands, each.name)[:600] for each in dataclasses.fields(strands)))
    cards = mesh_of(built(model, dataclasses.replace(hair, strands=few), AvatarDetail(0, 256)), "hair")
    assert 100 < len(cards.faces) < 2000


@pytest.mark.parametrize("lod", [0, 1])
def test_cards_lie_on_the_strands(avatars, hair, lod):
    cards = mesh_of(avatars[lod], "hair")
    distance, _ = cKDTree(hair.strands.points.reshape(-1, 3)).query(cards.vertices)
    assert np.quantile(distance * MM, 0.95) < 5
    assert (cards.vertices[:, 1] >= neck_cut.HEIGHT).all()
    points = visible_strands(hair.strands, np.zeros((COUNT, POINTS), bool), floor=neck_cut.HEIGHT).points
    centres = cards.vertices[cards.faces].mean(1)
    samples = np.concatenate([cards.vertices, centres])
    distance, _ = cKDTree(samples).query(points.reshape(-1, 3))
    assert np.quantile(distance * MM, 0.95) < 14, "every strand has a card near it"


def test_no_card_goes_through_the_face(model, avatars):
    dense = model.dense(model.mean)
    outer = outer_skin(model)
    normals = vertex_normals(dense, model.dense_faces)[outer]
    tree = cKDTree(dense[outer])
    for lod in (0, 1):
        vertices = mesh_of(avatars[lod], "hair").vertices
        _, nearest = tree.query(vertices)
        height = ((vertices - dense[outer][nearest]) * normals[nearest]).sum(1)
        assert height[vertices[:, 2] > 0.05].min() * MM > -1


def test_texture_coordinates_stay_in_their_atlas(avatars):
    for lod in (0, 1):
        cards = mesh_of(avatars[lod], "hair")
        assert cards.uv.min() >= 0 and cards.uv.max() <= 1
        assert cards.albedo.shape[:2] == cards.alpha.shape == (512, 512)


def test_the_atlas_holds_strands_with_gaps_and_no_dark_rims(avatars, hair):
    cards = mesh_of(avatars[0], "hair")
    assert 0.2 < (cards.alpha >= 0.5).mean() < 0.95
    layout = np.column_stack([(cards.uv * (1, -1) + (0, 1)) * 512, np.ones(len(cards.uv))])
    on_cards = rasterize_pixels(layout, cards.uv_faces, 512, 512).face >= 0
    assert 0.2 < (cards.alpha[on_cards] >= 0.5).mean() < 0.95
    assert cards.albedo.min() > 0.9 * hair.strands.colours.min()


def test_cards_face_outward_and_are_shaded_as_one_volume(avatars):
    cards = mesh_of(avatars[0], "hair")
    a, b, c = np.moveaxis(cards.vertices[cards.faces], 1, 0)
    facing = np.cross(b - a, c - a)
    area = np.linalg.norm(facing, axis=1)
    normals = cards.normals[cards.faces].mean(1)
    np.testing.assert_allclose(np.linalg.norm(cards.normals, axis=1), 1, atol=1e-6)
    outward = (facing * normals).sum(1) > 0
    assert area[outward].sum() > 0.9 * area.sum()


def test_cards_are_sorted_from_the_inside_out(avatars, hair):
    cards = mesh_of(avatars[1], "hair")
    tree = cKDTree(hair.mesh.vertices)
    _, nearest = tree.query(cards.vertices)
    normals = vertex_normals(hair.mesh.vertices, hair.mesh.faces)[nearest]
    height = ((cards.vertices - hair.mesh.vertices[nearest]) * normals).sum(1)[cards.faces].mean(1)
    first, last = np.array_split(height, 2)
    assert first.mean() < last.mean()


def test_the_same_hair_gives_the_same_cards(model, hair, avatars):
    again = mesh_of(built(model, hair, AvatarDetail(1, 1024)), "hair")
    for field in dataclasses.fields(again):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(mesh_of(avatars[1], "hair"), field.name))


def test_clusters_hold_strands_that_run_together():
    rng = np.random.default_rng(0)
    starts = np.repeat([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]], 30, axis=0) + rng.normal(0, 0.003, (90, 3))
    points = starts[:, None] + np.linspace(0, 0.3, 9)[None, :, None] * np.array([0, -1, 0])
    label = cluster_strands(points, 3, rng=rng)
    assert sorted(np.bincount(label).tolist()) == [30, 30, 30]
    assert all(len(np.unique(label[k : k + 30])) == 1 for k in (0, 30, 60))


def test_cards_pass_through_a_file(avatars, tmp_path):
    write_avatar(tmp_path / "a.glb", avatars[1])
    assert (tmp_path / "a.glb").stat().st_size < 6e6
    read, given = mesh_of(read_avatar(tmp_path / "a.glb"), "hair"), mesh_of(avatars[1], "hair")
    assert len(read.faces) == len(given.faces)
    np.testing.assert_allclose(read.alpha, given.alpha, atol=1 / 255)
    centres = [np.sort(np.asarray(each.vertices)[each.faces].mean(1), axis=0) for each in (read, given)]
    np.testing.assert_allclose(*centres, atol=1e-5)
