"""COLMAP models: both encodings against layouts written out here, round trips, and models nobody should trust."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError, OutputError
from spinmeround.io import check_colmap_folder, read_views, write_colmap, write_views
from spinmeround.types import Views
from tests.io.views.folders import assert_same

_KINDS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5}


def _model(folder: Path, views: Views, *, binary: bool, lens: tuple[str, list[float]], place: str = "sparse/0") -> None:
    """The pictures of ``write_views`` under a model of our own making, with two points a picture."""
    write_views(folder, views)
    (folder / "transforms.json").unlink()
    model = folder / place
    model.mkdir(parents=True, exist_ok=True)
    size, (kind, values) = views.cameras.width_px, lens
    poses = []
    for pose in views.cameras.camera_from_world:
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        poses.append([w, x, y, z, *pose[:3, 3]])
    names = [f"{i:03d}.png" for i in range(len(views))]
    if not binary:
        cameras = f"# Camera list\n7 {kind} {size} {size} {' '.join(map(repr, values))}\n"
        pictures = "# Image list with two lines of data per image:\n"
        for i, (pose, name) in enumerate(zip(poses, names, strict=True)):
            points = "1.5 2.5 -1 3.5 4.5 12" if i % 2 else ""
            pictures += f"{i + 1} {' '.join(repr(float(v)) for v in pose)} 7 {name}\n{points}\n"
        (model / "cameras.txt").write_text(cameras)
        (model / "images.txt").write_text(pictures)
        return
    data = struct.pack("<QIiQQ", 1, 7, _KINDS[kind], size, size) + struct.pack(f"<{len(values)}d", *values)
    (model / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(names))
    for i, (pose, name) in enumerate(zip(poses, names, strict=True)):
        data += struct.pack("<I7dI", i + 1, *pose, 7) + name.encode() + b"\0"
        data += struct.pack("<Q", 2) + struct.pack("<ddqddq", 1.5, 2.5, -1, 3.5, 4.5, 12)
    (model / "images.bin").write_bytes(data)


def _named(views: Views) -> Views:
    return Views(views.cameras, views.rgb, views.normals_world, views.alpha, views.weight, ("000", "001", "002", "003"))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_text_and_binary_give_the_same_views(tmp_path: Path, make_views, binary: bool, place: str) -> None:
    views = make_views(4)
    matrix = views.cameras.intrinsics_px[0]
    values = [float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])]
    _model(tmp_path / "c", views, binary=binary, lens=("PINHOLE", values), place=place)
    back, test = read_views(tmp_path / "c")
    assert test is None
    assert_same(back, _named(views))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("SIMPLE_PINHOLE", "fl cx cy"),
        ("SIMPLE_RADIAL", "fl cx cy k1"),
        ("RADIAL", "fl cx cy k1 k2"),
        ("OPENCV", "fl_x fl_y cx cy k1 k2 p1 p2"),
    ],
)
def test_lenses_are_those_of_transforms_json(tmp_path: Path, make_views, binary: bool, model: str, names: str) -> None:
    """One set of pictures, described twice."""
    told = {"fl": 90.0, "fl_x": 92.0, "fl_y": 88.0, "cx": 11.0, "cy": 13.0, "k1": -0.2, "k2": 0.05}
    told |= {"p1": 0.002, "p2": -0.003}
    values = {name: told[name] for name in names.split()}
    views = make_views(4)
    _model(tmp_path / "c", views, binary=binary, lens=(model, list(values.values())))
    write_views(tmp_path / "t", views)
    path = tmp_path / "t/transforms.json"
    document = json.loads(path.read_text())
    if (focal := values.pop("fl", None)) is not None:
        values |= {"fl_x": focal, "fl_y": focal}
    path.write_text(json.dumps(document | values))
    by_colmap, by_json = (read_views(tmp_path / place)[0] for place in "ct")
    np.testing.assert_allclose(
        by_colmap.cameras.camera_from_world, by_json.cameras.camera_from_world, rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(by_colmap.cameras.intrinsics_px, by_json.cameras.intrinsics_px)
    for name in ("rgb", "alpha", "weight"):
        np.testing.assert_array_equal(getattr(by_colmap, name), getattr(by_json, name))


def test_round_trip_with_views_held_out(tmp_path: Path, make_views) -> None:
    views, test = make_views(4, names=("d", "c", "b", "a")), make_views(2, offset_deg=20, names=("e", "f"))
    write_colmap(tmp_path / "c", views, test=test)
    train_back, test_back = read_views(tmp_path / "c")
    assert_same(train_back, views)
    assert_same(test_back, test)
    assert (tmp_path / "c/sparse/0/test.txt").read_text() == "e.png\nf.png\n"
    write_views(tmp_path / "t", train_back, test=test_back)
    train_back, test_back = read_views(tmp_path / "t")
    write_colmap(tmp_path / "again", train_back, test=test_back)
    for file in ("cameras.txt", "points3D.txt", "test.txt"):
        first, second = (tmp_path / place / "sparse/0" / file for place in ("c", "again"))
        assert first.read_bytes() == second.read_bytes()


def test_cameras_that_differ_get_a_line_each_and_equal_ones_share(tmp_path: Path, make_views) -> None:
    views = make_views(4)
    views.cameras.intrinsics_px[2, 0, 0] *= 1.5
    write_colmap(tmp_path / "c", views)
    lines = (tmp_path / "c/sparse/0/cameras.txt").read_text().splitlines()[2:]
    assert [line.split()[:4] for line in lines] == [["1", "PINHOLE", "24", "24"], ["2", "PINHOLE", "24", "24"]]
    back, test = read_views(tmp_path / "c")
    assert test is None
    np.testing.assert_array_equal(back.cameras.intrinsics_px, views.cameras.intrinsics_px)


def test_masks_as_colmap_names_them_and_pictures_in_folders(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "c"
    write_colmap(folder, make_views(2))
    for place in ("images", "masks", "normals"):
        (folder / place / "left").mkdir()
        shutil.move(folder / place / "000.png", folder / place / "left/000.png")
    shutil.move(folder / "masks/001.png", folder / "masks/001.png.png")
    path = folder / "sparse/0/images.txt"
    path.write_text(path.read_text().replace(" 000.png", " left/000.png"))
    back, _ = read_views(folder)
    assert back.names == ("000", "001")
    assert all(0 < alpha.mean() < 1 for alpha in back.alpha)
    assert all(normals.any() for normals in back.normals_world)


def test_only_folders_of_our_own_are_replaced(tmp_path: Path, make_views) -> None:
    folder = tmp_path / "c"
    write_colmap(folder, make_views(3), test=make_views(1, offset_deg=9))
    write_colmap(folder, make_views(2))
    assert len(list((folder / "images").iterdir())) == 2
    for other in ("images/holiday.png", "notes.txt", "sparse/0/frames.bin", "sparse/1"):
        (folder / other).touch()
        with pytest.raises(OutputError, match="holds other files"):
            check_colmap_folder(folder)
        (folder / other).unlink()
    check_colmap_folder(folder)
    path = folder / "sparse/0/images.txt"
    path.write_text(path.read_text().replace("spinmeround", "COLMAP"))
    with pytest.raises(OutputError, match="holds other files"):
        write_colmap(folder, make_views(2))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cameras", "PINHOLE", "OPENCV_FISHEYE", "camera 1 is of the model 'OPENCV_FISHEYE'; known are .*; undistort"),
        (
            "cameras",
            "1 PINHOLE 24",
            "1 PINHOLE 25",
            r"000.png: 24 x 24 pixels, but its camera is of 25 x 24, another shape",
        ),
        ("cameras", "1 PINHOLE 24 24", "1 PINHOLE 24 24 5", "PINHOLE has 4 finite parameters: fx, fy, cx, cy"),
        ("cameras", "1 PINHOLE 24 24", "1 SIMPLE_PINHOLE 24 24 nan 1 2 #", "no camera: '1 SIMPLE_PINHOLE"),
        ("cameras", "1 PINHOLE 24", "1 PINHOLE 0", "camera 1: a picture cannot be 0 x 24"),
        ("cameras", "1 PINHOLE", "9 PINHOLE", "000.png: its camera 1 is not in the model"),
        ("images", " 000.png", " ../000.png", "'../000.png' leads out of the folder"),
        ("images", " 000.png", " /etc/passwd", "'/etc/passwd' leads out of the folder"),
        ("images", " 000.png", " none.png", "files that are not there: none.png"),
        ("images", " 001.png", " 000.png", "two entries for 000.png"),
        ("images", "1 ", "1 nan ", "000.png|no picture"),
        ("images", " 000.png", "", "no picture: '1 "),
    ],
)
def test_models_that_lie(tmp_path: Path, make_views, file: str, old: str, new: str, message: str) -> None:
    write_colmap(tmp_path / "c", make_views(2))
    path = tmp_path / f"c/sparse/0/{file}.txt"
    head, body = path.read_text().split("\n1 ", 1)
    path.write_text(head + "\n" + ("1 " + body).replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        read_views(tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_poses_without_a_turn_and_models_without_pictures(tmp_path: Path, make_views) -> None:
    write_colmap(tmp_path / "c", make_views(1))
    path = tmp_path / "c/sparse/0/images.txt"
    path.write_text("# nothing\n1 0 0 0 0 0 0 0 1 000.png\n\n")
    with pytest.raises(InputError, match=r"quaternion is .* must be of unit length"):
        read_views(tmp_path / "c")
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="the model has no registered pictures"):
        read_views(tmp_path / "c")


def test_held_out_lists_that_lie(tmp_path: Path, make_views) -> None:
    write_colmap(tmp_path / "c", make_views(2))
    path = tmp_path / "c/sparse/0/test.txt"
    path.write_text("000.png\n001.png\n")
    with pytest.raises(InputError, match="holds out all pictures; none are left to fit"):
        read_views(tmp_path / "c")
    path.write_text("9.png\n")
    with pytest.raises(InputError, match=r"names '9.png', which is no picture of the model"):
        read_views(tmp_path / "c")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("file", ["cameras", "images"])
def test_damage_is_refused_and_never_crashes(
    tmp_path: Path, make_views, survives_corruption, binary: bool, file: str
) -> None:
    folder, suffix = tmp_path / "c", ".bin" if binary else ".txt"
    _model(folder, make_views(2, size_px=8), binary=binary, lens=("PINHOLE", [30.0, 30.0, 4.0, 4.0]))
    path = folder / f"sparse/0/{file}{suffix}"
    (folder / f"source{suffix}").write_bytes(path.read_bytes())

    def read(source: Path) -> object:
        path.write_bytes(source.read_bytes())
        return read_views(folder)

    assert survives_corruption(folder / f"source{suffix}", read, flips=150) > 30


def test_a_name_without_an_end(tmp_path: Path, make_views) -> None:
    _model(tmp_path / "c", make_views(2), binary=True, lens=("SIMPLE_PINHOLE", [30.0, 12.0, 12.0]))
    path = tmp_path / "c/sparse/0/images.bin"
    path.write_bytes(path.read_bytes()[: 8 + 64 + 4])
    with pytest.raises(InputError, match="cut short"):
        read_views(tmp_path / "c")


def test_pycolmap_reads_ours_and_we_read_its_binary(tmp_path: Path, make_views) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="pip install pycolmap, to compare with COLMAP itself")
    views, model = make_views(4, names=("a", "b", "c", "d")), tmp_path / "c/sparse/0"
    write_colmap(tmp_path / "c", views)
    theirs = pycolmap.Reconstruction(str(model))
    point = np.array([0.05, -0.1, 0.08])
    for image in theirs.images.values():
        i = views.names.index(Path(image.name).stem)
        pose = views.cameras.camera_from_world[i]
        seen = views.cameras.intrinsics_px[i] @ (pose[:3, :3] @ point + pose[:3, 3])
        np.testing.assert_allclose(image.project_point(point), seen[:2] / seen[2], atol=1e-9)
    for file in model.glob("*.txt"):
        file.unlink()
    theirs.write_binary(str(model))
    back, _ = read_views(tmp_path / "c")
    order = [views.names.index(name) for name in back.names]
    np.testing.assert_allclose(
        back.cameras.camera_from_world, views.cameras.camera_from_world[order], rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(back.cameras.intrinsics_px, views.cameras.intrinsics_px[order])
