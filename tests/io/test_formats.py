"""Extensions: what they mean, and what is said about those nobody knows; the façade is cheap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import spinmeround.io
from spinmeround.errors import OutputError
from spinmeround.io import files_written, output_kind


@pytest.mark.parametrize("name", ["a.ply", "dir.x/A.PLY", "a.spz", "a.splat"])
def test_splats(name: str) -> None:
    assert output_kind(name) == "splats"


@pytest.mark.parametrize("name", ["a.glb", "a.OBJ"])
def test_meshes(name: str) -> None:
    assert output_kind(name) == "mesh"
    assert output_kind("a.ply", ply="mesh") == "mesh"
    assert output_kind("a.spz", ply="mesh") == "splats"


def test_the_error_lists_what_is_known() -> None:
    with pytest.raises(OutputError) as caught:
        output_kind("head.stl")
    assert str(caught.value) == (
        "head.stl: cannot write the extension '.stl'; known are .ply .spz .splat (splats) and .glb .obj .usdz "
        "(meshes), and .ply with --ply mesh"
    )
    with pytest.raises(OutputError, match="a name without an extension"):
        output_kind("head")
    assert output_kind("head.vrm") == "mesh"


def test_companions_cannot_be_the_photo() -> None:
    assert files_written("out/me.glb") == (Path("out/me.glb"),)
    assert files_written("out/my own.OBJ") == (
        Path("out/my own.OBJ"),
        Path("out/my_own.mtl"),
        Path("out/my_own_albedo.png"),
        Path("out/my_own_normal.png"),
    )


def test_every_public_name_is_there() -> None:
    for name in spinmeround.io.__all__:
        assert callable(getattr(spinmeround.io, name))
    with pytest.raises(AttributeError, match="read_everything"):
        spinmeround.io.read_everything  # noqa: B018


def test_the_facade_loads_nothing_heavy() -> None:
    heavy = "print(sorted({'torch', 'cv2', 'numpy'} & {*sys.modules}))"
    code = f"import sys, spinmeround.io as io; io.output_kind('a.ply'); {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
