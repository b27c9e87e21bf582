"""Folders of posed views written: round trips, the layout nerfstudio knows, nobody's files lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from spinmeround.errors import OutputError
from spinmeround.geometry import camera_centres
from spinmeround.io import check_views_folder, read_views, write_views
from spinmeround.types import Cameras, Views
from tests.io.views.folders import assert_same, edit


def test_round_trip(tmp_path: Path, make_views) -> None:
    views, test = make_views(4, names=("a", "b", "c", "d")), make_views(2, offset_deg=20, names=("e", "f"))
    write_views(tmp_path / "views", views, test=test)
    train_back, test_back = read_views(tmp_path / "views")
    assert_same(train_back, views)
    assert_same(test_back, test)
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
    assert_same(back, replace(soft, names=("000", "001", "002")))
    assert sorted(p.name for p in (tmp_path / "views").iterdir()) == ["images", "masks", "transforms.json", "weights"]


@pytest.mark.parametrize("exact", [True, False])
def test_exact_cameras_are_known_to_be_so(tmp_path: Path, make_views, exact) -> None:
    write_views(tmp_path / "views", replace(make_views(3), exact_cameras=exact), test=make_views(2, offset_deg=20))
    train, test = read_views(tmp_path / "views")
    assert test is not None
    assert train.exact_cameras == test.exact_cameras == exact
    assert ("exact_cameras" in json.loads((tmp_path / "views/transforms.json").read_text())) == exact


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
    edit(folder, lambda d: d.pop("generator"))
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
    with pytest.raises(ValueError, match="is not a plain file stem"):
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
