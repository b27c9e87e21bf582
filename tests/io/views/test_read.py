"""Folders of posed views read: other programs' dialects, lenses, frames of normals."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from spinmeround.errors import InputError
from spinmeround.geometry import project
from spinmeround.io import read_views, write_views
from spinmeround.types import Views
from tests.io.views.folders import edit


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
    with pytest.raises(InputError, match="0 pixels cannot be read"):
        read_views(tmp_path / "views", size_px=0)


def test_alpha_comes_from_the_picture_when_there_is_no_mask(tmp_path: Path, make_views, caplog) -> None:
    write_views(tmp_path / "views", make_views(2))
    edit(tmp_path / "views", lambda d: [frame.pop("mask_path") for frame in d["frames"]])
    shutil.rmtree(tmp_path / "views/masks")
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

    edit(tmp_path / "views", angle)
    back, _ = read_views(tmp_path / "views")
    np.testing.assert_allclose(back.rgb[0], 0.2)
    assert back.cameras.intrinsics_px[0, 0, 0] == pytest.approx(views.cameras.intrinsics_px[0, 0, 0])
    np.testing.assert_array_equal(back.cameras.intrinsics_px[0, :2, 2], [12, 12])


def test_pictures_of_another_size_but_one_shape_bring_their_cameras(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    write_views(tmp_path / "twice", make_views(2))
    for place in ("images", "normals"):  # masks stay as they are
        for path in sorted((tmp_path / "twice" / place).iterdir()):
            with Image.open(path) as picture:
                picture.resize((48, 48), Image.Resampling.NEAREST).save(path)
    once, twice = read_views(tmp_path / "views")[0], read_views(tmp_path / "twice")[0]
    np.testing.assert_allclose(twice.cameras.intrinsics_px[:, :2], once.cameras.intrinsics_px[:, :2] * 2)
    back, _ = read_views(tmp_path / "twice", size_px=24)
    np.testing.assert_allclose(back.rgb, once.rgb, atol=1e-6)
    assert np.abs(back.alpha - once.alpha).mean() < 0.05  # the mask was enlarged and shrunk again


@pytest.mark.parametrize(
    "name", ["masks/{0}.jpg", "masks/{0}_mask.png", "images/{0}_mask.png", "images/{0}.png.mask.png"]
)
def test_masks_are_found_by_their_usual_names(tmp_path: Path, make_views, name: str) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(2))
    expected, _ = read_views(folder)
    edit(folder, lambda d: [frame.pop("mask_path") for frame in d["frames"]])
    for stem in ("000", "001"):
        with Image.open(folder / f"masks/{stem}.png") as mask:
            whole = mask.convert("L").copy()
        (folder / f"masks/{stem}.png").unlink()
        whole.save(folder / name.format(stem), quality=100)
    back, _ = read_views(folder)
    assert 0 < back.alpha.mean() < 1
    np.testing.assert_allclose(back.alpha, expected.alpha, atol=0.05)


def test_only_shrunk_pictures_are_there(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    expected, _ = read_views(tmp_path / "views")
    (tmp_path / "views/images").rename(tmp_path / "views/images_4")
    back, _ = read_views(tmp_path / "views")
    np.testing.assert_array_equal(back.rgb, expected.rgb)


def test_frames_that_are_not_on_disk_may_be_skipped(tmp_path: Path, make_views, caplog) -> None:
    folder = tmp_path / "views"
    seen, held = make_views(4, names=tuple("abcd")), make_views(2, offset_deg=30, names=("held0", "held1"))
    write_views(folder, seen, test=held)
    (folder / "images/b.png").unlink()
    (folder / "masks/held1.png").unlink()
    with pytest.raises(InputError, match=r"names files that are not there: .*add --skip-missing"):
        read_views(folder)
    views, held_out = read_views(folder, skip_missing=True)
    assert held_out is not None
    assert views.names == ("a", "c", "d")
    assert held_out.names == ("held0",)
    assert "2 of 6 frames are left out" in caplog.text


def test_without_masks_undistortion_masks_nothing(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(2))
    shutil.rmtree(folder / "masks")
    edit(folder, lambda d: (d.update(k1=10.0), [frame.pop("mask_path") for frame in d["frames"]]))
    back, _ = read_views(folder)
    assert (back.alpha == 1).all()
    assert (back.weight == 0).any()


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
    edit(tmp_path / "views", lambda d: d.update(lens, fl_x=focal, fl_y=focal, cx=78, cy=83))
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
    with pytest.raises(InputError, match=f'normal_frame is "world", but its normals face away .* is it "{frame}"'):
        read_views(folder)
    edit(folder, lambda d: d.pop("normal_frame"))
    with pytest.raises(InputError, match=f'do not look like world normals; say "normal_frame": "{frame}" in'):
        read_views(folder)
    edit(folder, lambda d: d.update(normal_frame=frame))
    np.testing.assert_allclose(read_views(folder)[0].normals_world, views.normals_world, atol=1e-4)
    edit(folder, lambda d: d.update(normal_frame="tangent"))
    with pytest.raises(InputError, match="normal_frame is 'tangent'; known are world, camera_opengl, camera_opencv"):
        read_views(folder)


def test_world_normals_need_no_declaration(tmp_path: Path, make_views) -> None:
    views = make_views(8)
    write_views(tmp_path / "views", views)
    edit(tmp_path / "views", lambda d: d.pop("normal_frame"))
    np.testing.assert_allclose(read_views(tmp_path / "views")[0].normals_world, views.normals_world, atol=1e-4)


def test_frames_in_neither_list_and_in_both(tmp_path: Path, make_views, caplog) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(4))
    edit(folder, lambda d: d.update(train_filenames=["images/002.png", "images/000.png"]))
    train, test = read_views(folder)
    assert (train.names, test) == (("002", "000"), None)
    edit(folder, lambda d: d.update(test_filenames=["images/001.png"]))
    edit(folder, lambda d: d.pop("train_filenames"))
    train, test = read_views(folder)
    assert (train.names, test.names) == (("000", "002", "003"), ("001",))
    edit(folder, lambda d: d.update(train_filenames=["images/001.png"]))
    with caplog.at_level(logging.WARNING):
        read_views(folder)
    assert "both fitted and held out" in caplog.text


def test_stems_that_repeat_become_paths(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(2))
    (folder / "images/b").mkdir()
    shutil.move(folder / "images/001.png", folder / "images/b/000.png")
    edit(folder, lambda d: d["frames"][1].update(file_path="images/b/000.png"))
    assert read_views(folder)[0].names == ("images-000.png", "images-b-000.png")


def test_small_rounding_in_poses_is_evened_out(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    edit(
        tmp_path / "views",
        lambda d: [f.update(transform_matrix=np.round(f["transform_matrix"][:3], 4).tolist()) for f in d["frames"]],
    )
    turn = read_views(tmp_path / "views")[0].cameras.camera_from_world[1, :3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-14)


def test_shrunk_pictures_without_a_stated_size_are_refused(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    edit(tmp_path / "views", lambda d: (d.pop("w"), d.pop("h")))
    (tmp_path / "views/images").rename(tmp_path / "views/images_2")
    with pytest.raises(InputError, match="without w and h intrinsics are not known"):
        read_views(tmp_path / "views")
