"""Face budgets and coarser meshes beside the finest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spinmeround import MeshOptions, OutputOptions, RunSettings, fit_views
from spinmeround.errors import InputError, OutputError
from spinmeround.io import read_mesh, write_views
from spinmeround.recon.texture.bake import bake_texture
from spinmeround.types import ColouredMesh
from tests.pipelines.fakes import FakeBackends, install, sphere_views
from tests.recon import scenes


class Baking(FakeBackends):
    """Backends that bake real textures, of an ellipsoid."""

    def bake_texture(self, views, surface, *, faces, progress):
        return bake_texture(views, scenes.sphere(radii=(0.17, 0.22, 0.19))[0], size_px=128, faces=faces)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    install(monkeypatch, Baking)
    write_views(tmp_path / "views", sphere_views(scenes.cameras(scenes.LEVEL, size_px=64)))
    return tmp_path


def draft(**mesh) -> RunSettings:
    return RunSettings(quality="draft", mesh=MeshOptions(**mesh))


def test_coarser_meshes_are_written_beside_the_finest(folder):
    result = fit_views(
        folder / "views",
        out=[folder / "a.glb", folder / "b.obj", folder / "c.ply"],
        settings=draft(faces=9600, lods=2),
        outputs=OutputOptions(report=folder / "r.json"),
    )
    for name, faces in (("a.glb", 9600), ("a_lod1.glb", 2400), ("a_lod2.glb", 600), ("b_lod2.obj", 600)):
        assert abs(len(read_mesh(folder / name).faces) - faces) <= 0.02 * faces
        assert folder / name in result.files
    assert not (folder / "c_lod1.ply").exists(), "splats have no levels"
    mesh = json.loads((folder / "r.json").read_text(encoding="utf-8"))["mesh"]
    assert [mesh["triangles"], *mesh["coarser_triangles"]] == [9600, 2400, 600]


def test_a_ply_holds_the_whole_surface_in_colours_unless_faces_are_asked_for(folder):
    out = [folder / "a.ply", folder / "a.obj"]
    outputs = OutputOptions(ply="mesh", preview=folder / "a.png")
    told = fit_views(folder / "views", out=out, settings=draft(), outputs=outputs).report
    surface = len(read_mesh(folder / "a.ply").faces)
    assert surface == told["whole_mesh"]["triangles"] != told["mesh"]["triangles"]
    alone = fit_views(folder / "views", out=folder / "b.ply", settings=draft(), outputs=outputs)
    assert isinstance(alone.mesh, ColouredMesh) and "mesh" not in alone.report
    assert (folder / "a.ply").read_bytes() == (folder / "b.ply").read_bytes()
    fit_views(folder / "views", out=folder / "c.ply", settings=draft(faces=2000), outputs=OutputOptions(ply="mesh"))
    assert abs(len(read_mesh(folder / "c.ply").faces) - 2000) <= 40


def test_too_few_faces_and_places_that_meet_are_refused(folder):
    with pytest.raises(InputError, match="a mesh of 312 faces is no head any more; ask for 500 or more"):
        MeshOptions(5000, 2)
    with pytest.raises(OutputError, match="written twice"):
        fit_views(folder / "views", out=[folder / "a.glb", folder / "a_lod1.glb"], settings=draft(lods=1))
