"""STL, 3MF and OFF: what trimesh reads back, in which unit, and that the bytes repeat."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from spinmeround.io import write_mesh
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh

MILLIMETRES = {".stl": 1000.0, ".3mf": 1000.0, ".off": 1.0}
"""Of the file's unit in a metre."""


@pytest.fixture(params=[*MILLIMETRES])
def suffix(request: pytest.FixtureRequest) -> str:
    if request.param == ".3mf":
        pytest.importorskip("lxml", reason="lxml is not installed; 3MF needs it")
    return request.param


def test_trimesh_reads_the_same_surface(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    write_mesh(tmp_path / f"a{suffix}", sphere, metres_per_unit=0.5)
    back = trimesh.load(tmp_path / f"a{suffix}", force="mesh", process=False)
    expected = sphere.vertices[sphere.faces] * 0.5 * MILLIMETRES[suffix]
    np.testing.assert_allclose(back.triangles, expected, rtol=1e-6, atol=1e-4)
    assert trimesh.load(tmp_path / f"a{suffix}", force="mesh").is_watertight
    assert back.volume > 0


def test_the_bytes_repeat_whatever_the_mesh_carries(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    kinds = (
        Mesh(sphere.vertices, sphere.faces),
        ColouredMesh(sphere.vertices, sphere.faces, np.ones_like(sphere.vertices)),
        sphere,
        sphere,
    )
    for index, mesh in enumerate(kinds):
        write_mesh(tmp_path / f"{index}{suffix}", mesh)
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_3mf_states_its_unit_and_its_identifiers_differ(tmp_path: Path, sphere: TexturedMesh) -> None:
    pytest.importorskip("lxml", reason="lxml is not installed; 3MF needs it")
    from lxml import etree

    write_mesh(tmp_path / "a.3mf", sphere)
    with zipfile.ZipFile(tmp_path / "a.3mf") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert {"3D/3dmodel.model", "_rels/.rels", "[Content_Types].xml"} <= {*archive.namelist()}
        model = etree.fromstring(archive.read("3D/3dmodel.model"))
    assert model.get("unit") == "millimeter"
    identifiers = [value for node in model.iter() for key, value in node.attrib.items() if key.endswith("UUID")]
    assert len(identifiers) == len(set(identifiers)) > 1
