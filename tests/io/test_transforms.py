"""Folders of posed views: round trips, the layout nerfstudio knows, and folders nobody should trust."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image

from spinmeround.errors import InputError, OutputError, ResourceError
from spinmeround.geometry import camera_centres, project
from spinmeround.io import check_views_folder, read_views, write_views
from spinmeround.types import Cameras, Views


def _edit(folder: Path, change: Callable[[dict], object]) -> None:
    document = json.loads((folder / "transforms.json").read_text())
    change(document)
    (folder / "transforms.json").write_text(json.dumps(document))


def _assert_same(back: Views, views: Views) -> None:
    np.testing.assert_allclose(back.cameras.camera_from_world, views.cameras.camera_from_world, atol=1e-14)
    np.testing.assert_array_equal(back.cameras.intrinsics_px, views.cameras.intrinsics_px)
    assert (back.cameras.width_px, back.cameras.height_px) == (views.cameras.width_px, views.cameras.height_px)
    inside = views.alpha > 0
    np.testing.assert_array_equal(back.rgb[inside], views.rgb[inside])
    np.testing.assert_array_equal(back.alpha, views.alpha)
    np.testing.assert_array_equal(back.weight, views.weight)
    np.testing.assert_allclose(back.normals_world, views.normals_world, atol=4e-5)
    assert back.names == views.names


def test_round_trip(tmp_path: Path, make_views) -> None:
    views, test = make_views(4, names=("a", "b", "c", "d")), make_views(2, offset_deg=20, names=("e", "f"))
    write_views(tmp_path / "views", views, test=test)
    train_back, test_back = read_views(tmp_path / "views")
    _assert_same(train_back, views)
    _assert_same(test_back, test)
    write_views(tmp_path / "again", train_back, test=test_back)
    first, second = (json.loads((tmp_path / f / "transforms.json").read_text()) for f in ("views", "again"))
    assert first["train_filenames"] == second["train_filenames"] == [f"images/{n}.png" for n in "abcd"]
    for place in ("images", "masks"):
        for name in "abcdef":
            path = f"{place}/{name}.png"
            assert (tmp_path / "views" / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_all_to_fit_soft_alpha_weights_and_own_cameras(tmp_path: Path, make_views) -> None:
    views = make_views(3)
    rng = np.random.default_rng(0)
    alpha = np.rint(rng.random(views.alpha.shape) * 255).astype(np.float32) / 255
    weight = np.rint(rng.random(views.alpha.shape) * 255).astype(np.float32) / 255
    intrinsics = views.cameras.intrinsics_px.copy()
    intrinsics[1, 0, 0] *= 1.1
    cameras = replace(views.cameras, intrinsics_px=intrinsics)
    soft = Views(cameras, views.rgb, np.zeros_like(views.rgb), alpha, weight)
    write_views(tmp_path / "views", soft)
    back, test = read_views(tmp_path / "views")
    assert test is None
    _assert_same(back, replace(soft, names=("000", "001", "002")))
    assert sorted(p.name for p in (tmp_path / "views").iterdir()) == ["images", "masks", "transforms.json", "weights"]


def test_the_file_says_what_nerfstudio_expects(tmp_path: Path, make_views, opengl_camera_to_world) -> None:
    views = make_views(3)
    write_views(tmp_path / "views", views, test=make_views(2, offset_deg=45))
    document = json.loads((tmp_path / "views/transforms.json").read_text())
    assert document["camera_model"] == "OPENCV"
    assert document["normal_frame"] == "world"
    assert (document["w"], document["h"]) == (24, 24)
    assert document["fl_x"] == document["fl_y"] == views.cameras.intrinsics_px[0, 0, 0]
    assert (document["cx"], document["cy"]) == tuple(views.cameras.intrinsics_px[0, :2, 2])
    assert document["test_filenames"] == document["val_filenames"] == ["images/test_000.png", "images/test_001.png"]
    frame = document["frames"][1]
    assert [frame[k] for k in ("file_path", "mask_path", "normal_path")] == [
        f"{place}/train_001.png" for place in ("images", "masks", "normals")
    ]
    expected = opengl_camera_to_world(views.cameras.camera_from_world[1])
    np.testing.assert_allclose(frame["transform_matrix"], expected, atol=1e-14)
    # The camera looks along its -Z at the origin, with +Y up, and stands where it says.
    matrix = np.array(frame["transform_matrix"])
    np.testing.assert_allclose(matrix[:3, 3], camera_centres(views.cameras)[1], atol=1e-12)
    assert matrix[:3, 2] @ matrix[:3, 3] == pytest.approx(2.7)
    assert matrix[1, 1] > 0.9
    normals = cv2.imread(str(tmp_path / "views/normals/train_000.png"), cv2.IMREAD_UNCHANGED)
    assert normals.dtype == np.uint16
    assert (normals[0, 0] == 32768).all()
    middle = normals[12, 12, ::-1] / 65535 * 2 - 1
    np.testing.assert_allclose(middle, views.normals_world[0, 12, 12], atol=1e-4)
    image = np.asarray(Image.open(tmp_path / "views/images/train_000.png"))
    assert image.dtype == np.uint8
    assert (image[0, 0] == 255).all()


def test_a_folder_written_by_the_formulas_of_the_house_tools(tmp_path: Path) -> None:
    """Pose, pixels and normals written out anew, in the way ``scan_views`` makes its folders."""
    size, focal, azimuth = 32, 3.877 * 32, np.radians(30)
    back = np.array([np.sin(azimuth), 0, np.cos(azimuth)])
    right = np.cross([0, 1, 0], back)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, [0, 1, 0], back, 2.7 * back], axis=1)
    for place in ("images", "masks", "normals"):
        (tmp_path / place).mkdir()
    image, normal = np.full((size, size, 3), 255, np.uint8), np.full((size, size, 3), 128, np.uint8)
    image[10, 20] = (10, 20, 30)  # cv2 counts blue first
    normal[10, 20, ::-1] = np.rint((back * 0.5 + 0.5) * 255)
    cv2.imwrite(str(tmp_path / "images/a.png"), image)
    cv2.imwrite(str(tmp_path / "normals/a.png"), normal)
    cv2.imwrite(str(tmp_path / "masks/a.png"), (image[..., 0] < 255).astype(np.uint8) * 255)
    frame = {
        "file_path": "./images/a.png",
        "mask_path": "masks\\a.png",
        "normal_path": "normals/a.png",
        "transform_matrix": matrix.tolist(),
    }
    document = {
        "fl_x": focal,
        "cx": 16,
        "cy": 0.45 * size,
        "w": size,
        "h": size,
        "normal_frame": "world",
        "frames": [frame],
    }
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    views, test = read_views(tmp_path)
    assert test is None
    assert views.names == ("a",)
    np.testing.assert_array_equal(np.argwhere(views.alpha[0]), [[10, 20]])
    np.testing.assert_allclose(views.rgb[0, 10, 20] * 255, [30, 20, 10], atol=1e-4)
    np.testing.assert_allclose(views.normals_world[0, 10, 20], back, atol=0.01)
    assert not views.normals_world[0][views.alpha[0] == 0].any()
    cameras = views.cameras
    seen = project(
        np.array([[0.0, 0, 0], right * 0.1, [0, 0.1, 0]]), cameras.camera_from_world[0], cameras.intrinsics_px[0]
    )
    step = 0.1 / 2.7 * focal
    np.testing.assert_allclose(seen, [[16, 14.4, 2.7], [16 + step, 14.4, 2.7], [16, 14.4 - step, 2.7]], atol=1e-9)


@pytest.mark.parametrize("size_px", [12, 48])
def test_resizing_keeps_the_field_of_view(tmp_path: Path, make_views, size_px: int) -> None:
    views = make_views(2)
    write_views(tmp_path / "views", views)
    back, _ = read_views(tmp_path / "views", size_px=size_px)
    assert back.rgb.shape == (2, size_px, size_px, 3)
    expected = views.cameras.intrinsics_px * np.array([size_px / 24, size_px / 24, 1])[:, None]
    np.testing.assert_allclose(back.cameras.intrinsics_px, expected)
    lengths = np.linalg.norm(back.normals_world, axis=-1)
    np.testing.assert_allclose(lengths[back.alpha > 0.5], 1, atol=1e-5)
    assert not lengths[back.alpha <= 0.5].any()
    assert back.alpha.mean() == pytest.approx(views.alpha.mean(), abs=0.02)
    with pytest.raises(InputError, match="0 pixels make no sense"):
        read_views(tmp_path / "views", size_px=0)


def test_alpha_comes_from_the_picture_when_there_is_no_mask(tmp_path: Path, make_views, caplog) -> None:
    write_views(tmp_path / "views", make_views(2))
    _edit(tmp_path / "views", lambda d: [frame.pop("mask_path") for frame in d["frames"]])
    with caplog.at_level(logging.WARNING):
        back, _ = read_views(tmp_path / "views")
    assert (back.alpha == 1).all()
    assert "neither masks nor alpha" in caplog.text
    rgba = np.zeros((24, 24, 4), np.uint8)
    rgba[5:9, :, 3] = 51
    Image.fromarray(rgba).save(tmp_path / "views/images/000.png")
    back, _ = read_views(tmp_path / "views")
    np.testing.assert_allclose(back.alpha[0, 5:9], 0.2)
    assert back.alpha[0].sum() == pytest.approx(0.2 * 4 * 24, rel=1e-5)


def test_grey_pictures_and_angles_instead_of_focal_lengths(tmp_path: Path, make_views) -> None:
    views = make_views(2)
    write_views(tmp_path / "views", views)
    Image.new("L", (24, 24), 51).save(tmp_path / "views/images/000.png")

    def angle(document: dict) -> None:
        document["camera_angle_x"] = 2 * np.arctan(12 / document.pop("fl_x"))
        del document["fl_y"], document["cx"], document["cy"]

    _edit(tmp_path / "views", angle)
    back, _ = read_views(tmp_path / "views")
    np.testing.assert_allclose(back.rgb[0], 0.2)
    assert back.cameras.intrinsics_px[0, 0, 0] == pytest.approx(views.cameras.intrinsics_px[0, 0, 0])
    np.testing.assert_array_equal(back.cameras.intrinsics_px[0, :2, 2], [12, 12])


def test_lens_distortion_is_taken_out(tmp_path: Path, make_views) -> None:
    """Points drawn where the distorting lens puts them end up where a pinhole sees them."""
    size, focal, lens = 160, 200.0, {"k1": -0.25, "k2": 0.08, "p1": 0.004, "p2": -0.003}
    ideal = np.array([[x, y] for x in (-0.3, -0.1, 0.2) for y in (-0.25, 0.05, 0.3)])
    x, y = ideal.T
    r2 = x * x + y * y
    radial = 1 + lens["k1"] * r2 + lens["k2"] * r2 * r2
    bent_x = x * radial + 2 * lens["p1"] * x * y + lens["p2"] * (r2 + 2 * x * x)
    bent_y = y * radial + lens["p1"] * (r2 + 2 * y * y) + 2 * lens["p2"] * x * y
    centre = np.array([78.0, 83.0])
    bent_px = np.stack([bent_x, bent_y], axis=1) * focal + centre
    columns, rows = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    picture = np.zeros((size, size))
    for u, v in bent_px:
        picture += np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)
    views = make_views(1, size_px=size)
    write_views(tmp_path / "views", replace(views, alpha=np.ones_like(views.alpha), normals_world=views.rgb * 0))
    Image.fromarray(np.rint(np.minimum(picture, 1) * 255).astype(np.uint8)).save(tmp_path / "views/images/000.png")
    _edit(tmp_path / "views", lambda d: d.update(lens, fl_x=focal, fl_y=focal, cx=78, cy=83))
    back, _ = read_views(tmp_path / "views")
    for u, v in ideal * focal + centre:
        near = np.hypot(columns - u, rows - v) < 8
        weights = back.rgb[0, ..., 0] * near
        found = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
        np.testing.assert_allclose(found, [u, v], atol=0.15)
    assert back.alpha[0, 80, 80] == back.weight[0, 80, 80] == 1


def _in_camera(folder: Path, views: Views, flip: tuple[float, float, float]) -> None:
    for i in range(len(views)):
        turned = views.normals_world[i] @ views.cameras.camera_from_world[i, :3, :3].T * flip
        picture = np.rint((turned * 0.5 + 0.5) * 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"normals/{i:03d}.png"), picture[..., ::-1])


@pytest.mark.parametrize(("frame", "flip"), [("camera_opengl", (1.0, -1.0, -1.0)), ("camera_opencv", (1.0, 1.0, 1.0))])
def test_normals_in_the_frame_of_the_camera(tmp_path: Path, make_views, frame: str, flip: tuple) -> None:
    views = make_views(8)
    folder = tmp_path / "views"
    write_views(folder, views)
    _in_camera(folder, views, flip)
    with pytest.raises(InputError, match=f'normal_frame is "world", but its normals turn away .* is it "{frame}"'):
        read_views(folder)
    _edit(folder, lambda d: d.pop("normal_frame"))
    with pytest.raises(InputError, match=f'do not look like world normals; say "normal_frame": "{frame}" if'):
        read_views(folder)
    _edit(folder, lambda d: d.update(normal_frame=frame))
    np.testing.assert_allclose(read_views(folder)[0].normals_world, views.normals_world, atol=1e-4)
    _edit(folder, lambda d: d.update(normal_frame="tangent"))
    with pytest.raises(InputError, match="normal_frame is 'tangent'; known are world, camera_opengl, camera_opencv"):
        read_views(folder)


def test_world_normals_need_no_declaration(tmp_path: Path, make_views) -> None:
    views = make_views(8)
    write_views(tmp_path / "views", views)
    _edit(tmp_path / "views", lambda d: d.pop("normal_frame"))
    np.testing.assert_allclose(read_views(tmp_path / "views")[0].normals_world, views.normals_world, atol=1e-4)


def test_frames_in_neither_list_and_in_both(tmp_path: Path, make_views, caplog) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(4))
    _edit(folder, lambda d: d.update(train_filenames=["images/002.png", "images/000.png"]))
    train, test = read_views(folder)
    assert (train.names, test) == (("002", "000"), None)
    _edit(folder, lambda d: d.update(test_filenames=["images/001.png"]))
    _edit(folder, lambda d: d.pop("train_filenames"))
    train, test = read_views(folder)
    assert (train.names, test.names) == (("000", "002", "003"), ("001",))
    _edit(folder, lambda d: d.update(train_filenames=["images/001.png"]))
    with caplog.at_level(logging.WARNING):
        read_views(folder)
    assert "both fitted and held out" in caplog.text


def test_stems_that_repeat_become_paths(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(2))
    (folder / "images/b").mkdir()
    shutil.move(folder / "images/001.png", folder / "images/b/000.png")
    _edit(folder, lambda d: d["frames"][1].update(file_path="images/b/000.png"))
    assert read_views(folder)[0].names == ("images-000.png", "images-b-000.png")


def _scaled(document: dict) -> None:
    matrix = np.array(document["frames"][1]["transform_matrix"])
    matrix[:3, :3] *= 1.01
    document["frames"][1]["transform_matrix"] = matrix.tolist()


def _mirrored(document: dict) -> None:
    matrix = np.array(document["frames"][1]["transform_matrix"])
    matrix[:3, 0] *= -1
    document["frames"][1]["transform_matrix"] = matrix.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["frames"][0].update(file_path="/etc/passwd"), "'/etc/passwd' leads out of the folder"),
        (lambda d: d["frames"][0].update(file_path="../a.png"), "'../a.png' leads out of the folder"),
        (lambda d: d["frames"][0].update(file_path="images/../../a.png"), "leads out of the folder"),
        (lambda d: d["frames"][0].update(mask_path="C:\\a.png"), "leads out of the folder"),
        (lambda d: d["frames"][0].update(normal_path="\\\\server\\share\\a.png"), "leads out of the folder"),
        (lambda d: d["frames"][0].update(file_path=7), "'7' is no file name"),
        (lambda d: d["frames"][0].update(file_path="a\0.png"), "is no file name"),
        (lambda d: d["frames"][0].pop("file_path"), "frame 0 has no file_path"),
        (lambda d: d["frames"][1].update(file_path="images/x.png"), "files that are not there: images/x.png$"),
        (lambda d: d["frames"][1].update(file_path="images/000.png"), "two frames show images/000.png"),
        (lambda d: d["frames"].__setitem__(0, 3), "frame 0 is no object"),
        (lambda d: d.update(frames=[]), "has no list of frames"),
        (lambda d: d.update(w=25), r"000.png: 24 x 24 pixels, but transforms.json says 25 x 24"),
        (lambda d: d.update(h=-1), "a picture cannot be 24 x -1 pixels"),
        (lambda d: d.update(fl_x="wide"), "fl_x is 'wide', not a sensible number"),
        (lambda d: d.update(fl_x=True), "fl_x is 'True'"),
        (lambda d: d.update(fl_x=0), "a focal length of 0, "),
        (lambda d: d.pop("fl_x"), r"has no focal length \(fl_x, in pixels\)"),
        (lambda d: d.update(camera_model="OPENCV_FISHEYE"), "'OPENCV_FISHEYE' is no pinhole; undistort"),
        (lambda d: d.update(k4=0.1), "k4 is not 0; undistort"),
        (_scaled, "frame 1: transform_matrix is not rigid: it scales"),
        (_mirrored, "frame 1: transform_matrix is left-handed"),
        (lambda d: d["frames"][1].pop("transform_matrix"), "no 4 x 4 matrix"),
        (lambda d: d["frames"][1].update(transform_matrix=[[1, 0], [0]]), "no 4 x 4 matrix"),
        (lambda d: d["frames"][1].update(transform_matrix=[["a"] * 4] * 4), "no 4 x 4 matrix"),
        (lambda d: d["frames"][1]["transform_matrix"][3].__setitem__(0, 1), "not rigid: it scales, shears or projects"),
        (lambda d: d["frames"][1]["transform_matrix"][0].__setitem__(3, 1e300), "numbers that are not finite"),
        (lambda d: d.update(train_filenames=["images/9.png"]), "train_filenames names images/9.png, which is no frame"),
        (lambda d: d.update(train_filenames=[]), "no frames are left to fit"),
        (lambda d: d.update(test_filenames="all"), "test_filenames is no list"),
    ],
)
def test_bad_files(tmp_path: Path, make_views, change, message: str) -> None:
    write_views(tmp_path / "views", make_views(2))
    _edit(tmp_path / "views", change)
    with pytest.raises(InputError, match=message) as caught:
        read_views(tmp_path / "views")
    assert "\n" not in str(caught.value)


def test_not_a_number_and_not_json(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(2))
    text = (folder / "transforms.json").read_text()
    for constant in ("NaN", "Infinity", "-Infinity"):
        (folder / "transforms.json").write_text(text.replace('"h": 24', f'"h": {constant}'))
        with pytest.raises(InputError, match=f"a number is {constant}; poses and intrinsics must be finite"):
            read_views(folder)
    for broken in ("", "[]", "{", text[:-100], "[" * 100_000, "\x00\xff"):
        (folder / "transforms.json").write_text(broken, encoding="latin-1")
        with pytest.raises(InputError, match=r"not valid JSON|no list of frames"):
            read_views(folder)
    (folder / "transforms.json").unlink()
    with pytest.raises(InputError, match=r"no transforms.json in .*views: give a folder of posed views"):
        read_views(folder)


def test_many_missing_files_are_counted(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(8))
    shutil.rmtree(tmp_path / "views/images")
    with pytest.raises(InputError, match=r"not there: images/000.png, images/001.png, images/002.png and 5 more$"):
        read_views(tmp_path / "views")


def test_pictures_that_do_not_go_together(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(2))
    Image.new("L", (23, 24)).save(folder / "masks/000.png")
    with pytest.raises(InputError, match=r"000.png: 23 x 24 pixels, but its image has 24 x 24"):
        read_views(folder)
    write_views(folder, make_views(2))
    Image.new("L", (24, 24)).save(folder / "normals/000.png")
    with pytest.raises(InputError, match="a grey picture; normals need three channels"):
        read_views(folder)
    write_views(folder, make_views(2))
    Image.new("RGB", (48, 24)).save(folder / "images/000.png")
    _edit(folder, lambda d: (d.pop("w"), d.pop("h")))
    with pytest.raises(InputError, match=r"pictures of 2 sizes \(24 x 24, 48 x 24\)"):
        read_views(folder)
    (folder / "images/000.png").write_text("hello")
    with pytest.raises(InputError, match=r"000.png: not a PNG"):
        read_views(folder)


def test_small_rounding_in_poses_is_evened_out(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    _edit(
        tmp_path / "views",
        lambda d: [f.update(transform_matrix=np.round(f["transform_matrix"][:3], 4).tolist()) for f in d["frames"]],
    )
    turn = read_views(tmp_path / "views")[0].cameras.camera_from_world[1, :3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-14)


def test_more_than_the_memory_holds_is_refused_first(tmp_path: Path, make_views, monkeypatch) -> None:
    write_views(tmp_path / "views", make_views(2))

    class Memory:
        available = 6 * 12 * 12 * 32

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(ResourceError, match=r"2 views of 24 x 24 pixels need .* read them at 12 pixels or less"):
        read_views(tmp_path / "views")
    assert len(read_views(tmp_path / "views", size_px=12)[0]) == 2


def test_same_views_same_bytes(tmp_path: Path, make_views) -> None:
    for name in ("a", "b"):
        write_views(tmp_path / name, make_views(2))
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_only_folders_of_our_own_are_replaced(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(3))
    write_views(folder, make_views(2))
    assert len(list((folder / "images").iterdir())) == 2
    (folder / "images" / "holiday.png").touch()
    with pytest.raises(OutputError, match="holds other files"):
        check_views_folder(folder)
    (folder / "images" / "holiday.png").unlink()
    check_views_folder(folder)
    (folder / "notes.txt").touch()
    with pytest.raises(OutputError, match="holds other files"):
        write_views(folder, make_views(2))
    (folder / "notes.txt").unlink()
    _edit(folder, lambda d: d.pop("generator"))
    with pytest.raises(OutputError, match="holds other files"):
        write_views(folder, make_views(2))


def test_an_interrupted_write_keeps_the_old_views(tmp_path: Path, make_views, monkeypatch) -> None:
    write_views(tmp_path / "views", make_views(3))

    def interrupt(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_views(tmp_path / "views", make_views(2))
    assert [p.name for p in tmp_path.iterdir()] == ["views"]
    assert len(list((tmp_path / "views/images").iterdir())) == 3


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b", "a:b", " a", "a."])
def test_names_that_are_no_stems(tmp_path: Path, make_views, name: str) -> None:
    with pytest.raises(ValueError, match="is no plain file stem"):
        write_views(tmp_path / "views", make_views(2, names=("ok", name)))
    assert list(tmp_path.iterdir()) == []


def test_views_that_one_file_cannot_hold(tmp_path: Path, make_views) -> None:
    with pytest.raises(ValueError, match="the same name"):
        write_views(tmp_path / "views", make_views(2, names=("a", "A")))
    with pytest.raises(ValueError, match="differ in image size"):
        write_views(tmp_path / "views", make_views(2), test=make_views(2, size_px=32))
    views = make_views(1)
    skewed = views.cameras.intrinsics_px.copy()
    skewed[0, 0, 1] = 1
    cameras = Cameras(views.cameras.camera_from_world, skewed, 24, 24)
    with pytest.raises(ValueError, match="no place for a camera with skew"):
        write_views(tmp_path / "views", replace(views, cameras=cameras))


def test_damage_is_refused_and_never_crashes(tmp_path: Path, make_views, survives_corruption) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(1, size_px=8))
    whole = (folder / "transforms.json").read_bytes()
    (folder / "source.json").write_bytes(whole)

    def read(path: Path) -> object:
        (folder / "transforms.json").write_bytes(path.read_bytes())
        return read_views(folder)

    assert survives_corruption(folder / "source.json", read, flips=300) > 100
