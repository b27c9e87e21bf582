"""What nerfstudio and instant-ngp write in a ``transforms.json``, and normals whose frame the user tells."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError
from spinmeround.io import read_views, write_views
from spinmeround.types import Views
from tests.io.views.folders import assert_same, edit


def _bare(document: dict, *keys: str) -> None:
    for key in keys:
        document.pop(key, None)


def test_a_scene_as_instant_ngp_writes_it(tmp_path: Path, make_views) -> None:
    """An angle for a focal length, no size, names without their ending, and keys that only its own viewer needs."""
    views = make_views(4, names=("a", "b", "c", "d"))
    folder = tmp_path / "views"
    write_views(folder, views)

    def change(document: dict) -> None:
        angle = float(2 * np.arctan(12 / document["fl_x"]))
        _bare(document, "generator", "camera_model", "fl_x", "fl_y", "cx", "cy", "w", "h")
        document.update(camera_angle_x=angle, aabb_scale=4, scale=0.33, offset=[0.5, 0.5, 0.5], is_fisheye=False)
        for frame in document["frames"]:
            frame.update(file_path="./images/" + Path(frame["file_path"]).stem, sharpness=31.5)

    edit(folder, change)
    back, test = read_views(folder)
    assert test is None
    focal = views.cameras.intrinsics_px[0, 0, 0]
    np.testing.assert_allclose(back.cameras.intrinsics_px, [[[focal, 0, 12], [0, focal, 12], [0, 0, 1]]] * 4)
    np.testing.assert_array_equal(back.alpha, views.alpha)
    assert back.names == views.names


@pytest.mark.parametrize(
    ("told", "focal"),
    [
        ({"x_fov": 60.0}, (12 / np.tan(np.radians(30)),) * 2),
        ({"camera_angle_x": 1.0, "camera_angle_y": 0.5}, (12 / np.tan(0.5), 12 / np.tan(0.25))),
        ({"camera_angle_x": 1.0, "fl_y": 40.0}, (12 / np.tan(0.5), 40.0)),
    ],
)
def test_ways_to_tell_a_focal_length(tmp_path: Path, make_views, told: dict, focal: tuple[float, float]) -> None:
    write_views(tmp_path / "views", make_views(2))
    edit(tmp_path / "views", lambda d: (_bare(d, "fl_x", "fl_y", "w", "h"), d.update(told)))
    intrinsics_px = read_views(tmp_path / "views")[0].cameras.intrinsics_px
    np.testing.assert_allclose(intrinsics_px[:, [0, 1], [0, 1]], [focal] * 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(is_fisheye=True), "'fisheye' is no pinhole; undistort"),
        (lambda d: d["frames"][1].update(camera_model="OPENCV_FISHEYE"), "'OPENCV_FISHEYE' is no pinhole"),
        (lambda d: d.update(k6=0.1), "k6 is not 0; undistort"),
        (
            lambda d: (_bare(d, "fl_x"), d.update(camera_angle_x=3.5)),
            "no pinhole has a field of view of 200.535 degrees",
        ),
        (lambda d: d.update(applied_transform=[[1, 0, 0, 0]]), "applied_transform is no 4 x 4 matrix"),
        (lambda d: d.update(applied_transform=np.diag([1, 1, -1, 1]).tolist()), "applied_transform mirrors"),
        (lambda d: d.update(applied_transform=np.diag([1, 1, 2, 1]).tolist()), "applied_transform is not rigid"),
        (
            lambda d: d["frames"][0].update(file_path="images/900"),
            "files that are not there: images/900; add --skip-missing",
        ),
    ],
)
def test_dialects_that_are_refused(tmp_path: Path, make_views, change, message: str) -> None:
    write_views(tmp_path / "views", make_views(2))
    edit(tmp_path / "views", change)
    with pytest.raises(InputError, match=message):
        read_views(tmp_path / "views")


def test_each_frame_may_have_a_lens_of_its_own(tmp_path: Path, make_views) -> None:
    views = make_views(3)
    write_views(tmp_path / "views", views)
    own = {"fl_x": 50.0, "fl_y": 51.0, "cx": 10.0, "cy": 14.0, "k1": 0.1}
    edit(tmp_path / "views", lambda d: d["frames"][1].update(own))
    back, _ = read_views(tmp_path / "views")
    np.testing.assert_array_equal(back.cameras.intrinsics_px[[0, 2]], views.cameras.intrinsics_px[[0, 2]])
    np.testing.assert_array_equal(back.cameras.intrinsics_px[1], [[50, 0, 10], [0, 51, 14], [0, 0, 1]])
    np.testing.assert_array_equal(back.rgb[[0, 2]], views.rgb[[0, 2]])
    assert np.abs(back.rgb[1] - views.rgb[1]).max() > 0.1


@pytest.mark.parametrize("normals_too", [True, False])
def test_an_applied_transform_is_taken_back(tmp_path: Path, make_views, caplog, normals_too: bool) -> None:
    """Half a turn, a shift and a scale; whoever applied them may have turned the pictures of normals too, or not."""
    views = make_views(8)
    folder = tmp_path / "views"
    write_views(folder, views)
    turn = Rotation.from_euler("xyz", [90, 0, 70], degrees=True).as_matrix()
    applied = np.concatenate([2.5 * turn, [[0.3], [-1.0], [2.0]]], axis=1)

    def change(document: dict) -> None:
        document["applied_transform"] = applied.tolist()
        for frame in document["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, 3] = applied[:, :3] @ matrix[:3, 3] + applied[:, 3]
            matrix[:3, :3] = turn @ matrix[:3, :3]
            frame["transform_matrix"] = matrix.tolist()

    edit(folder, change)
    if normals_too:
        for i in range(len(views)):
            picture = np.rint((views.normals_world[i] @ turn.T * 0.5 + 0.5) * 65535).astype(np.uint16)
            cv2.imwrite(str(folder / f"normals/{i:03d}.png"), picture[..., ::-1])
    with caplog.at_level("INFO"):
        back, _ = read_views(folder)
    np.testing.assert_allclose(back.cameras.camera_from_world, views.cameras.camera_from_world, atol=1e-12)
    np.testing.assert_allclose(back.normals_world, views.normals_world, atol=1e-4)
    assert ("normals are in the frame world of the file" in caplog.text) == normals_too


def test_the_transform_that_nerfstudio_applies_to_colmap(tmp_path: Path, make_views) -> None:
    views = make_views(4)
    write_views(tmp_path / "views", views)
    applied = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])

    def change(document: dict) -> None:
        document["applied_transform"] = applied.tolist()
        for frame in document["frames"]:
            frame["transform_matrix"] = (np.vstack([applied, [0, 0, 0, 1]]) @ frame["transform_matrix"]).tolist()

    edit(tmp_path / "views", change)
    assert_same(read_views(tmp_path / "views")[0], Views(**(vars(views) | {"names": ("000", "001", "002", "003")})))


@pytest.mark.parametrize("flip", [(1.0, -1.0, -1.0), (1.0, 1.0, 1.0)])
def test_normals_of_the_camera_are_turned_when_told(tmp_path: Path, make_views, caplog, flip: tuple) -> None:
    """Told ``camera``, either of the two conventions is recognised."""
    views = make_views(8)
    folder = tmp_path / "views"
    write_views(folder, views)
    with pytest.raises(
        InputError,
        match=r"normal frame asked for is .camera_op.* is it \"world\"\? Read them in the normal frame \"world\"",
    ):
        read_views(folder, normal_frame="camera")
    for i in range(len(views)):
        turned = views.normals_world[i] @ views.cameras.camera_from_world[i, :3, :3].T * flip
        picture = np.rint((turned * 0.5 + 0.5) * 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"normals/{i:03d}.png"), picture[..., ::-1])
    with pytest.raises(InputError, match=r"face away from their cameras; is it .* in the normal frame \"camera\""):
        read_views(folder)
    with caplog.at_level("INFO"):
        back, _ = read_views(folder, normal_frame="camera")
    np.testing.assert_allclose(back.normals_world, views.normals_world, atol=1e-4)
    convention = "camera_opengl" if flip[1] < 0 else "camera_opencv"
    assert f"normals are in the frame {convention} and are rotated" in caplog.text
    with pytest.raises(InputError, match='the normal frame asked for is "world", but its normals face away'):
        read_views(folder, normal_frame="world")


def test_normals_that_are_missing_need_no_frame(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(3))
    shutil.rmtree(tmp_path / "views/normals")
    edit(tmp_path / "views", lambda d: [frame.pop("normal_path") for frame in d["frames"]])
    assert not read_views(tmp_path / "views", normal_frame="camera")[0].normals_world.any()
