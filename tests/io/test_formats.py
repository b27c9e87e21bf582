"""Extensions: what they mean, and what is said about those nobody knows; the façade is cheap."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spinmeround.io
from spinmeround.errors import InputError, MissingDependencyError, OutputError
from spinmeround.io import Format, files_written, output_kinds, read_mesh, register_format, write_mesh, write_splats
from spinmeround.io.formats import FORMATS, check_available, find_format, find_readable, formats, suffixes
from spinmeround.types import Mesh, TexturedMesh

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["a.ply", "dir.x/A.PLY", "a.spz", "a.splat"])
def test_splats(name: str) -> None:
    assert output_kinds(name) == ("splats",)


@pytest.mark.parametrize("name", ["a.glb", "a.OBJ", "a.stl"])
def test_meshes(name: str) -> None:
    assert output_kinds(name) == ("mesh",)
    assert output_kinds("a.ply", ply="mesh") == ("mesh",)
    assert output_kinds("a.spz", ply="mesh") == ("splats",)


def test_a_glb_holds_what_is_asked_for() -> None:
    assert output_kinds("a.GLB", glb="splats") == ("splats",)
    assert output_kinds("a.glb", glb="both") == ("splats", "mesh")
    assert output_kinds("a.glb", ply="splats") == ("mesh",)
    assert output_kinds("a.vrm", glb="splats") == ("mesh",)


def test_the_error_lists_what_is_known() -> None:
    with pytest.raises(OutputError) as caught:
        output_kinds("head.fbx")
    assert str(caught.value) == (
        "head.fbx: cannot write the extension '.fbx'; known are .ply .spz .splat .glb (splats), .glb .obj .ply .usdz "
        ".stl .3mf .off (meshes), .glb .vrm .usdz (avatars)"
    )
    with pytest.raises(OutputError, match="a name without an extension"):
        output_kinds("head")
    assert output_kinds("head.vrm") == ("mesh",)


def test_companions_cannot_be_the_photo() -> None:
    assert files_written("out/me.glb") == (Path("out/me.glb"),)
    assert files_written("out/my own.OBJ") == (
        Path("out/my own.OBJ"),
        Path("out/my_own.mtl"),
        Path("out/my_own_albedo.png"),
        Path("out/my_own_normal.png"),
        Path("out/my_own_opacity.png"),
    )


def test_every_public_name_is_there() -> None:
    for name in spinmeround.io.__all__:
        assert callable(getattr(spinmeround.io, name))
    with pytest.raises(AttributeError, match="read_everything"):
        spinmeround.io.read_everything  # noqa: B018


def test_the_facade_loads_nothing_heavy() -> None:
    heavy = "print(sorted({'torch', 'cv2', 'numpy'} & {*sys.modules}))"
    code = f"import sys, spinmeround.io as io; io.output_kinds('a.ply'); {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_format_has_its_functions() -> None:
    for known in FORMATS:
        assert known.writer or known.reader
        if known.writer is not None:
            assert callable(known.load_writer())
            assert find_format(f"a{known.suffix.upper()}", known.holds) is known
        if known.reader is not None:
            assert callable(known.load_reader())
            assert find_readable(f"a{known.suffix}", known.holds) is known
        assert bool(known.extra) == bool(known.requires)
    keys = [(known.suffix, known.holds) for known in FORMATS]
    assert len(keys) == len(set(keys))


def test_the_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {known.extra for known in FORMATS if known.extra} <= {*project["optional-dependencies"]}


def test_every_format_is_documented() -> None:
    page = (ROOT / "CONVENTIONS.md").read_text(encoding="utf-8")
    rows = ["|".join(line.split("|")[1:3]) for line in page.splitlines() if line.startswith("| `.")]
    for known in FORMATS:
        if known.writer is not None:
            assert any(f"`{known.suffix}`" in row and known.holds in row for row in rows), known


def test_what_only_goes_one_way_is_refused() -> None:
    assert ".vrm" in suffixes("avatar") and ".vrm" not in suffixes("mesh")
    with pytest.raises(OutputError, match=r"meshes are written as .*, not as '.vrm'"):
        find_format("a.vrm", "mesh")
    with pytest.raises(InputError, match=r"meshes are read from \.glb \.obj \.ply \.vrm, not from '\.stl'"):
        read_mesh("a.stl")


def test_what_is_missing_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in FORMATS:
        for package in known.requires:
            with monkeypatch.context() as patched:
                patched.setitem(sys.modules, package, None)
                with pytest.raises(MissingDependencyError) as caught:
                    check_available(known, "head" + known.suffix)
            assert package in str(caught.value)
            instead = "" if known.holds == "hair" else ", or write a .glb"
            assert str(caught.value).endswith(f': pip install "spinmeround[{known.extra}]"{instead}')
            assert "\n" not in str(caught.value)
    foreign = Format(".xyz", "splats", "points", write_xyz, requires=("not_there",))
    with pytest.raises(MissingDependencyError, match=r"the package not_there: pip install not_there, or .* \.ply"):
        check_available(foreign, "head.xyz")


def test_hair_is_no_result_of_its_own() -> None:
    for path in ("a.usdc", "a.USDA"):
        with pytest.raises(OutputError, match=r"holds hair strands, which are an output of their own") as caught:
            output_kinds(path)
        assert caught.value.settings == ("hair",)
    with pytest.raises(OutputError, match=r"hair strands are written as \.usdc \.usda, not as '\.glb'"):
        find_format("a.glb", "hair")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget at the end what a test registers."""
    monkeypatch.setattr("spinmeround.io.formats._registered", [])
    spinmeround.io.formats._register_entry_points.cache_clear()
    yield
    spinmeround.io.formats._register_entry_points.cache_clear()


def write_xyz(path: Path, mesh: Mesh, *, metres_per_unit: float) -> None:
    """A format from outside, as its author would write it."""
    np.savetxt(path, mesh.vertices * metres_per_unit)
    path.with_name(path.stem + ".count").write_text(str(len(mesh.vertices)))


def read_xyz(path: Path) -> Mesh:
    return Mesh(np.loadtxt(path), np.array([[0, 1, 2]]))


@pytest.mark.usefixtures("registry")
def test_a_format_from_outside(tmp_path: Path, sphere: TexturedMesh) -> None:
    with pytest.raises(OutputError, match=r"cannot write the extension '\.xyz'"):
        output_kinds("head.xyz")
    xyz = Format(".xyz", "mesh", "points as text", write_xyz, read_xyz, companions=(".count",))
    register_format(xyz)
    assert output_kinds("head.xyz") == ("mesh",)
    assert formats(holds="mesh")[-1] is xyz
    assert files_written("my head.xyz") == (Path("my head.xyz"), Path("my_head.count"))
    write_mesh(tmp_path / "head.xyz", sphere, metres_per_unit=2)
    assert {file.name for file in tmp_path.iterdir()} == {"head.xyz", "head.count"}
    np.testing.assert_allclose(read_mesh(tmp_path / "head.xyz", metres_per_unit=2).vertices, sphere.vertices)
    with pytest.raises(OutputError, match=r"splats are written as .*, not as '\.xyz'"):
        find_format("head.xyz", "splats")
    for wrong in (xyz, replace(xyz, suffix="xyz"), replace(xyz, suffix=".XYZ")):
        with pytest.raises(ValueError, match=r"suffix|registered already"):
            register_format(wrong)


@pytest.mark.usefixtures("registry")
def test_a_failed_writer_leaves_nothing_behind(tmp_path: Path, sphere: TexturedMesh) -> None:
    def fail(path: Path, mesh: Mesh, *, metres_per_unit: float) -> None:
        write_xyz(path, mesh, metres_per_unit=metres_per_unit)
        raise KeyboardInterrupt

    register_format(Format(".xyz", "mesh", "points as text", fail, companions=(".count",)))
    (tmp_path / "head.xyz").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_mesh(tmp_path / "head.xyz", sphere)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("head.xyz", "before")]


PLUGIN = """
from spinmeround.io import Format


def write_points(path, splats, *, metres_per_unit):
    with open(path, "w") as file:
        for x, y, z in (splats.means * metres_per_unit).tolist():
            file.write(f"{x:.6f} {y:.6f} {z:.6f}\\n")


points = Format(".points", "splats", "means as text", "points_plugin:write_points")
"""


@pytest.mark.usefixtures("registry")
def test_a_format_of_an_installed_package(
    tmp_path: Path, make_splats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "points_plugin.py").write_text(PLUGIN)
    installed = tmp_path / "points-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: points\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[spinmeround.formats]\npoints = points_plugin:points\nbroken = points_plugin:absent\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert output_kinds("a.ply") == ("splats",)
    assert "points_plugin" not in sys.modules
    assert output_kinds("a.points", ply="mesh") == ("splats",)
    assert "the format broken (points_plugin:absent) cannot be used" in caplog.text
    write_splats(tmp_path / "a.points", make_splats(7))
    assert np.loadtxt(tmp_path / "a.points").shape == (7, 3)
