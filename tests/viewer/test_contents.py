"""What is shown, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from spinmeround.errors import InputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io import read_splats, write_splats, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.viewer.contents import camera_json, gathered
from tests.pipelines.fakes import sphere_views


def test_an_obj_brings_the_files_it_names_in_its_folder_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl b\n")
    folder = tmp_path / "mesh"
    (folder / "maps").mkdir(parents=True)
    (folder / "head.obj").write_text("mtllib my head.mtl\nmtllib ../secret.mtl\nv 0 0 0\n")
    (folder / "my head.mtl").write_text(
        "newmtl a\nmap_Kd -s 1 1 1 maps\\skin.png\nmap_d ../secret.mtl\nnorm /etc/hostname\n"
    )
    (folder / "maps" / "skin.png").write_bytes(b"png")
    (folder / "other.png").write_bytes(b"png")
    with gathered([folder / "head.obj"]) as shown:
        assert [file.name for file in shown.files] == ["head.obj", "my head.mtl", "skin.png"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("head.txt", b"x", "cannot be shown; known are .ply"),
        ("absent.ply", None, "is not there"),
        ("head.glb", b"", "is empty"),
        ("head.spz", b"NGSPrest", "head.spz"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(tmp_path: Path, name, content, said) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said), gathered([tmp_path / name]):
        pass


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "head.stl").write_bytes(b"solid")
    both = [tmp_path / "a" / "head.stl", tmp_path / "b" / "head.stl"]
    with pytest.raises(InputError, match=r"two files are called head\.stl"), gathered(both):
        pass
    with gathered([tmp_path / "a" / "head.stl"] * 2) as shown:
        assert len(shown.files) == 1


def test_an_spz_without_gzip_becomes_one_that_browsers_read(tmp_path: Path, splats_ply: Path) -> None:
    packed = tmp_path / "packed.spz"
    write_splats(packed, read_splats(splats_ply))
    raw = tmp_path / "raw.spz"
    raw.write_bytes(gzip.decompress(packed.read_bytes()))
    with gathered([raw]) as shown:
        (file,) = shown.files
        assert file.name == "raw.spz"
        assert file.path != raw
        assert file.path.read_bytes()[:2] == b"\x1f\x8b"
        before, after = read_splats(packed), read_splats(file.path)
        assert np.allclose(before.means, after.means, atol=1e-4)
    assert not file.path.exists()


def test_a_folder_gives_its_cameras_in_metres_with_or_without_pictures(tmp_path: Path) -> None:
    cameras = orbit_cameras([0.0, 90.0], [0.0, 10.0], size_px=32)
    write_views(tmp_path / "views", sphere_views(cameras))
    with gathered([tmp_path / "views"]) as shown:
        assert not shown.files
        first, second = shown.views
        assert first.path is not None
        assert first.path.is_file()
        told = camera_json(second)
        pose = np.array(told["camera_from_world"])
        assert np.allclose(pose[:3, 3], cameras.camera_from_world[1, :3, 3] * METRES_PER_UNIT, atol=1e-6)
        assert np.allclose(told["intrinsics_px"], cameras.intrinsics_px[1], atol=1e-6)
        assert (told["width_px"], told["height_px"]) == (32, 32)
    for picture in (tmp_path / "views" / "images").iterdir():
        picture.unlink()
    with gathered([tmp_path / "views"]) as shown:
        assert [view.path for view in shown.views] == [None, None]
        assert np.allclose(camera_json(shown.views[1])["camera_from_world"], pose)
