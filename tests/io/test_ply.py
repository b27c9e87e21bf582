"""The PLY container against plyfile, in both directions and all encodings, and against damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plyfile
import pytest

from spinmeround.errors import InputError
from spinmeround.io.ply import Lists, read_ply, write_ply

_KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]


def _rows(count: int = 9) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = np.zeros(count, [(f"p{i}", kind) for i, kind in enumerate(_KINDS)])
    for i in range(len(_KINDS)):
        rows[f"p{i}"] = rng.integers(0, 100, count)
    return rows


def _polygons() -> np.ndarray:
    polygons = np.empty(6, [("vertex_indices", object), ("flag", "u1"), ("weights", object)])
    for i, size in enumerate([3, 3, 4, 5, 3, 0]):
        polygons[i] = (np.arange(size, dtype="i4") + i, i, np.ones(i, "f4"))
    return polygons


@pytest.mark.parametrize(("text", "order"), [(True, "="), (False, "<"), (False, ">")])
def test_reads_what_plyfile_writes(tmp_path: Path, text: bool, order: str) -> None:
    rows, polygons = _rows(), _polygons()
    lists = {"vertex_indices": "i4", "weights": "f4"}
    elements = [
        plyfile.PlyElement.describe(rows, "vertex", comments=["a remark"]),
        plyfile.PlyElement.describe(polygons, "face", val_types=lists, len_types=dict.fromkeys(lists, "u2")),
        plyfile.PlyElement.describe(rows, "after"),
    ]
    plyfile.PlyData(elements, text=text, byte_order=order, obj_info=["made for a test"]).write(str(tmp_path / "a.ply"))
    read = read_ply(tmp_path / "a.ply")
    for name in ("vertex", "after"):
        for column in rows.dtype.names:
            np.testing.assert_array_equal(read[name].columns[column], rows[column])
    faces, weights = read["face"].columns["vertex_indices"], read["face"].columns["weights"]
    assert isinstance(faces, Lists)
    assert isinstance(weights, Lists)
    np.testing.assert_array_equal(faces.lengths, [3, 3, 4, 5, 3, 0])
    np.testing.assert_array_equal(faces.flat, np.concatenate(list(polygons["vertex_indices"])))
    np.testing.assert_array_equal(weights.lengths, range(6))
    np.testing.assert_array_equal(read["face"].columns["flag"], range(6))


def test_plyfile_reads_what_we_write(tmp_path: Path) -> None:
    vertex = np.zeros(4, [("x", "f4"), ("red", "u1")])
    vertex["x"], vertex["red"] = [1.5, -2, 3, 1e-30], [0, 1, 254, 255]
    face = np.zeros(2, [("vertex_indices", "i4", 3)])
    face["vertex_indices"] = [[0, 1, 2], [1, 2, 3]]
    write_ply(tmp_path / "a.ply", {"vertex": vertex, "face": face}, comments=("metres",))
    read = plyfile.PlyData.read(str(tmp_path / "a.ply"))
    assert read.comments == ["metres"]
    np.testing.assert_array_equal(read["vertex"]["x"], vertex["x"])
    np.testing.assert_array_equal(read["vertex"]["red"], vertex["red"])
    np.testing.assert_array_equal(np.stack(read["face"]["vertex_indices"]), face["vertex_indices"])


@pytest.mark.parametrize("text", [True, False])
def test_damage_is_refused_and_never_crashes(tmp_path: Path, text: bool, survives_corruption) -> None:
    elements = [
        plyfile.PlyElement.describe(_rows(), "vertex"),
        plyfile.PlyElement.describe(_polygons(), "face", val_types={"vertex_indices": "i4", "weights": "f4"}),
    ]
    plyfile.PlyData(elements, text=text).write(str(tmp_path / "a.ply"))
    assert survives_corruption(tmp_path / "a.ply", read_ply, flips=300) > 50


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "format ascii 1.0\nelement vertex 99999999999\nproperty float x",
            "cut short: the header promises 99999999999",
        ),
        ("format ascii 1.0\nelement vertex 9999999999999\nproperty float x", "is not valid"),
        ("format ascii 1.0\nelement vertex -1\nproperty float x", "is not valid: 'element vertex -1'"),
        ("format ascii 2.0\nelement vertex 1\nproperty float x", "is not valid: 'format ascii 2.0'"),
        ("element vertex 0\nproperty float x", "names no format"),
        ("format ascii 1.0\nproperty float x", "is not valid"),
        ("format ascii 1.0\nelement vertex 1\nproperty quad x", "is not valid"),
        ("format ascii 1.0\nelement vertex 1\nproperty list float int x", "is not valid"),
        ("format ascii 1.0\nelement vertex 1\nproperty float x\nproperty int x", "names a property of 'vertex' twice"),
        ("format binary_little_endian 1.0\nelement face 99999999999\nproperty list uchar int v", "cut short"),
    ],
)
def test_lying_headers(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "a.ply").write_text(f"ply\n{header}\nend_header\n")
    with pytest.raises(InputError, match=message):
        read_ply(tmp_path / "a.ply")


def test_text_that_is_no_number_and_numbers_that_do_not_fit(tmp_path: Path) -> None:
    head = "ply\nformat ascii 1.0\nelement vertex 2\nproperty uchar x\nend_header\n"
    (tmp_path / "a.ply").write_text(head + "1 two\n")
    with pytest.raises(InputError, match="no number"):
        read_ply(tmp_path / "a.ply")
    for value in ("256", "-1", "nan"):
        (tmp_path / "a.ply").write_text(head + f"1 {value}\n")
        with pytest.raises(InputError, match="does not fit"):
            read_ply(tmp_path / "a.ply")
