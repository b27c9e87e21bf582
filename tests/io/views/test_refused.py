"""Folders of posed views nobody should trust: one line for each, and no crash."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from spinmeround.errors import InputError, ResourceError
from spinmeround.io import read_views, write_views
from tests.io.views.folders import edit


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
        (
            lambda d: d["frames"][1].update(file_path="images/x.png"),
            "files that are not there: images/x.png; add --skip-missing",
        ),
        (lambda d: d["frames"][1].update(file_path="images/000.png"), "two frames show images/000.png"),
        (lambda d: d["frames"].__setitem__(0, 3), "frame 0 is not an object"),
        (lambda d: d.update(frames=[]), "has no list of frames"),
        (lambda d: d.update(w=25), r"000.png: 24 x 24 pixels, but its camera is of 25 x 24, another shape"),
        (lambda d: d.update(h=-1), "a picture cannot be 24 x -1 pixels"),
        (lambda d: d.update(fl_x="wide"), "fl_x is 'wide', not a sensible number"),
        (lambda d: d.update(fl_x=True), "fl_x is 'True'"),
        (lambda d: d.update(fl_x=0), "a focal length of 0, "),
        (
            lambda d: d.update(fl_x=35, fl_y=1),
            "a focal length of 1 for 24 pixels is a field of view of 170 degrees; give it in pixels",
        ),
        (lambda d: d.update(fl_x=1e8), "a focal length of 1e\\+08 for 24 pixels is a field of view of"),
        (lambda d: d.update(k1=1e6), "its distortion would move pixels by .* in a picture of 24; check k1"),
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
    edit(tmp_path / "views", change)
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
    with pytest.raises(InputError, match=r"transforms\.json is a file: give a folder of posed views"):
        read_views(folder / "transforms.json")
    with pytest.raises(InputError, match="nowhere is not there: give a folder"):
        read_views(folder / "nowhere")
    (folder / "transforms.json").unlink()
    with pytest.raises(InputError, match=r"no transforms.json in .*views, and no COLMAP model .*: give a folder of"):
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
    edit(folder, lambda d: (d.pop("w"), d.pop("h")))
    with pytest.raises(InputError, match=r"pictures of 2 sizes \(24 x 24, 48 x 24\)"):
        read_views(folder)
    (folder / "images/000.png").write_text("hello")
    with pytest.raises(InputError, match=r"000.png: not a PNG"):
        read_views(folder)


def test_pictures_read_too_large(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    with pytest.raises(InputError, match="pictures of 20000 x 20000 pixels, more than the 64 million allowed"):
        read_views(tmp_path / "views", size_px=20_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda normals: -normals, "face their cameras in no frame; they seem to point into the head"),
        (lambda normals: normals[..., ::-1], "face their cameras in no frame; channels may be swapped"),
        (
            lambda normals: np.concatenate([normals[:5], -normals[5:]]),
            "normals of 3 of 8 views face away from their cameras, those of the others do not: 005, 006, 007; write",
        ),
    ],
)
def test_normals_that_turn_away(tmp_path: Path, make_views, change, message: str) -> None:
    views = make_views(8)
    write_views(tmp_path / "views", replace(views, normals_world=np.ascontiguousarray(change(views.normals_world))))
    with pytest.raises(InputError, match=message):
        read_views(tmp_path / "views")


def test_normals_of_one_colour(tmp_path: Path, make_views) -> None:
    write_views(tmp_path / "views", make_views(2))
    Image.new("RGB", (24, 24)).save(tmp_path / "views/normals/001.png")
    with pytest.raises(InputError, match=r"001.png: one colour all over, no normals; leave it out"):
        read_views(tmp_path / "views")


def test_wrong_poses_are_told_before_wrong_normals(tmp_path: Path, make_views) -> None:
    views = make_views(2)
    write_views(tmp_path / "views", replace(views, normals_world=-views.normals_world))

    def refuse(given) -> None:
        assert len(given) == 2
        raise InputError("wrong poses")

    with pytest.raises(InputError, match="wrong poses"):
        read_views(tmp_path / "views", check=refuse)


def test_more_than_memory_and_disk_hold_is_refused_first(tmp_path: Path, make_views, monkeypatch) -> None:
    write_views(tmp_path / "views", make_views(2))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match=r"the pictures need .* fit fewer or smaller pictures"):
        read_views(tmp_path / "views")


def test_damage_is_refused_and_never_crashes(tmp_path: Path, make_views, survives_corruption) -> None:
    folder = tmp_path / "views"
    write_views(folder, make_views(1, size_px=8))
    whole = (folder / "transforms.json").read_bytes()
    (folder / "source.json").write_bytes(whole)

    def read(path: Path) -> object:
        (folder / "transforms.json").write_bytes(path.read_bytes())
        return read_views(folder)

    assert survives_corruption(folder / "source.json", read, flips=300) > 100
