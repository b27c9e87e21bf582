"""Pictures of the result: both drawers agree on a shape both can draw, and the sheet shows what it says."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.io.pictures import read_picture
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines.drawing import SHEET_AZIMUTHS_DEG, mesh_drawer, splats_drawer, write_contact_sheet
from spinmeround.types import TexturedMesh
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
