"""Pictures of the result: both drawers agree on a shape both can draw, and the sheet shows what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.inspection import drawing
from spinmeround.inspection.drawing import SHEET_AZIMUTHS_DEG, mesh_drawer, splats_drawer, write_contact_sheet
from spinmeround.inspection.expressions import ROW, expression_tiles, posed
from spinmeround.io.pictures import read_picture
from spinmeround.orbits import orbit_cameras
from spinmeround.types import Avatar, AvatarPart, TexturedMesh
from tests.pipelines.fakes import sphere_mesh, sphere_splats, sphere_texture


def iou(a, b) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_both_drawers_show_the_sphere_where_it_is():
    cameras = orbit_cameras([0.0, 90.0], [0.0, 0.0], size_px=96)
    mesh = sphere_mesh()
    drawn = mesh_drawer(sphere_texture(mesh))(cameras)
    splatted = splats_drawer(sphere_splats(mesh))(cameras)
    for view in range(2):
        assert iou(drawn.alpha[view] > 0.5, splatted.alpha[view] > 0.5) > 0.85
    middle = 48, 43
    np.testing.assert_allclose(drawn.normals_world[0][middle[1], middle[0]], [0, 0, 1], atol=0.1)
    np.testing.assert_allclose(drawn.normals_world[1][middle[1], middle[0]], [1, 0, 0], atol=0.1)
    np.testing.assert_allclose(drawn.rgb[0][middle[1], middle[0]], 0.5, atol=1e-3)
    inside = drawn.alpha[0] > 0.99
    np.testing.assert_allclose(np.linalg.norm(drawn.normals_world[0][inside], axis=-1), 1, atol=1e-5)


def test_normal_maps_bend_the_normals_that_are_drawn():
    """A quad that fills the view: what leans up and right in the map leans to +Y and +X, mirrored pictures included."""
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    leaning = np.tile(np.array([0.48, 0.36, 0.8], np.float32), (8, 8, 1))
    camera = orbit_cameras([0.0], [0.0], size_px=32)
    for left, right in ((0.0, 1.0), (1.0, 0.0)):
        uv = np.array([[left, 0], [right, 0], [right, 1], [left, 1]])
        mesh = TexturedMesh(corners, faces, uv, faces, np.zeros((8, 8, 3), np.float32), leaning)
        expected = [0.48 * (right - left), 0.36, 0.8]
        np.testing.assert_allclose(mesh_drawer(mesh)(camera).normals_world[0, 16, 16], expected, atol=1e-5)


def test_texture_is_the_right_way_up():
    """A quad that fills the view: the top rows of the texture appear at the top of the picture."""
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    albedo = np.zeros((64, 64, 3), np.float32)
    albedo[:32, :, 0] = 1  # top red
    albedo[:, 32:, 2] = 1  # right blue
    views = mesh_drawer(TexturedMesh(corners, faces, uv, faces, albedo))(orbit_cameras([0.0], [0.0], size_px=64))
    picture = views.rgb[0]
    np.testing.assert_allclose(picture[8, 8], [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(picture[8, 56], [1, 0, 1], atol=1e-3)
    np.testing.assert_allclose(picture[56, 8], [0, 0, 0], atol=1e-3)


def ellipsoid(centre, radii) -> TexturedMesh:
    mesh = sphere_mesh()
    unit = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    return sphere_texture(replace(mesh, vertices=unit * radii + np.array(centre)))


AFRO = ellipsoid((0, 0.2, -0.1), (0.5, 0.45, 0.5))
WIDE = ellipsoid((0, -0.05, -0.05), (0.55, 0.2, 0.2))
SHOULDERS = ellipsoid((0, -0.5, 0), (0.7, 0.2, 0.3))


@pytest.mark.parametrize("head", [(AFRO,), (WIDE,), (sphere_texture(sphere_mesh()), SHOULDERS)])
def test_nothing_is_cut_and_all_tiles_have_one_scale(head, tmp_path):
    write_contact_sheet(tmp_path / "sheet.png", mesh_drawer(*head))
    sheet = read_picture(tmp_path / "sheet.png")
    captions = np.zeros((256, 256), bool)
    captions[:22, :60] = True
    extents = []
    for tile in np.split(sheet[256:], len(SHEET_AZIMUTHS_DEG), axis=1):
        drawn = (tile < 250).any(-1) & ~captions
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        assert min(rows[0], columns[0], 255 - rows[-1], 255 - columns[-1]) >= 5
        extents.append((rows[-1] - rows[0], columns[-1] - columns[0]))
    heights, widths = zip(*extents, strict=True)
    np.testing.assert_allclose(heights[1:4], heights[:4:-1], atol=2)  # left and right alike
    assert max(heights) < 1.25 * min(heights)  # what is behind the middle is nearer from behind
    assert max(*heights, *widths) > 0.75 * 256


def test_the_film_holds_the_whole_head():
    frames = [frame for index, frame in enumerate(drawing._turn(mesh_drawer(WIDE))) if index % 8 == 3]
    for frame in frames:
        edge = np.concatenate([frame[:10].reshape(-1, 3), frame[-10:].reshape(-1, 3), *frame[:, [*range(10), -9, -1]]])
        assert (edge == 255).all()
    assert max((frame < 250).any(-1).any(0).sum() for frame in frames) > 0.85 * 512


def test_tiles_of_expressions_hold_the_whole_head():
    avatar = smiling_sphere()
    tall = replace(avatar, parts=(replace(avatar.parts[0], mesh=AFRO),))
    for tile in expression_tiles(tall, {"jawOpen": 1}).values():
        rows, columns = np.nonzero((tile < 250).any(axis=-1))
        assert min(rows.min(), columns.min()) >= 5 and max(rows.max(), columns.max()) < 250


def test_photos_that_are_not_square_are_shown_whole(tmp_path):
    photo = np.full((80, 40, 3), 0.25, np.float32)
    write_contact_sheet(tmp_path / "sheet.png", mesh_drawer(WIDE), [photo])
    sheet = read_picture(tmp_path / "sheet.png")
    assert (sheet[:, :256] == 64).all() and (sheet[:, 256:512] == 255).all()


@pytest.mark.parametrize(("photos", "columns"), [(0, 0), (1, 2), (2, 1), (3, 2)])
def test_contact_sheet_has_the_photos_and_two_rows(photos, columns, tmp_path):
    path = tmp_path / "sheet.png"
    write_contact_sheet(
        path, mesh_drawer(sphere_texture(sphere_mesh())), [np.full((80, 80, 3), 0.25, np.float32)] * photos
    )
    sheet = read_picture(path)
    assert sheet.shape == (512, 256 * (columns + len(SHEET_AZIMUTHS_DEG)), 3)
    if photos:
        assert (sheet[100, 100] == 64).all()
    front_normal = sheet[256 + 115, 256 * columns + 128].astype(float) / 255 * 2 - 1
    np.testing.assert_allclose(front_normal, [0, 0, 1], atol=0.1)


def quad(left: float, right: float, depth: float, albedo: np.ndarray, *, turns: float = 0) -> TexturedMesh:
    corners = np.array([[left, -1, depth], [right, -1, depth], [right, 1, depth], [left, 1, depth]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.array([[turns, 0.0], [turns + 1, 0], [turns + 1, 1], [turns, 1]])
    return TexturedMesh(corners, faces, uv, faces, albedo.astype(np.float32))


def test_meshes_hide_one_another_and_textures_begin_anew():
    red, half = np.zeros((8, 8, 3)), np.zeros((8, 8, 3))
    red[..., 0], half[:, 4:, 2] = 1, 1
    behind, before = quad(-1, 1, 0.0, half, turns=1.0), quad(-1, 0, 0.1, red)
    picture = mesh_drawer(behind, before)(orbit_cameras([0.0], [0.0], size_px=64)).rgb[0]
    np.testing.assert_allclose(picture[30, 16], [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(picture[30, 56], [0, 0, 1], atol=1e-3)


def smiling_sphere() -> Avatar:
    mesh = sphere_mesh()
    upper = np.where(mesh.vertices[:, 1:2] > 0, mesh.vertices, 0)
    count = len(mesh.vertices)
    still = np.zeros((count, 4), np.int64), np.eye(4)[np.zeros(count, np.int64)]
    return Avatar((AvatarPart("skin", sphere_texture(mesh), *still, {"jawOpen": upper}, 0.5),), (), ("jawOpen",))


def test_expressions_are_drawn_with_their_morph_targets(tmp_path):
    avatar = smiling_sphere()
    rest = avatar.parts[0].mesh.vertices
    np.testing.assert_allclose(
        posed(avatar.parts[0], {"jawOpen": 0.5, "tongueOut": 1}).vertices,
        rest + 0.5 * avatar.parts[0].morphs["jawOpen"],
    )
    tiles = expression_tiles(avatar, {})
    assert list(tiles) == list(ROW) == ["neutral", "blink", "smile", "jaw open", "look left"]
    np.testing.assert_array_equal(tiles["neutral"], tiles["blink"])
    assert (tiles["jaw open"] < 200).sum() > 1.1 * (tiles["neutral"] < 200).sum()
    posing = replace(avatar, poses={"photo": {"jawOpen": 1}})
    own = expression_tiles(posing, {})
    assert list(own) == [*ROW, "photo"]
    np.testing.assert_array_equal(own["photo"], tiles["jaw open"])
    asked = expression_tiles(posing, {"jawOpen": 1})
    assert "photo" not in asked and len(asked) == 8
    np.testing.assert_array_equal(asked["asked for"], tiles["jaw open"])
    write_contact_sheet(
        tmp_path / "sheet.png",
        mesh_drawer(avatar.parts[0].mesh),
        [np.zeros((80, 80, 3), np.float32)],
        expressions=asked,
    )
    sheet = read_picture(tmp_path / "sheet.png")
    assert sheet.shape == (768, 512 + 8 * 256, 3)
    assert (sheet[600, 100] == 255).all()
    np.testing.assert_array_equal(sheet[600:768, 512 + 3 * 256 : 512 + 4 * 256], tiles["jaw open"][88:])
