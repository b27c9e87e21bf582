"""The option for normal maps: it reaches meshes, levels and avatars, survives a stop, and says where none fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinmeround import MeshOptions, OutputOptions, RunSettings, fit_views, reconstruct
from spinmeround.io import read_avatar, read_mesh, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines.backends import Backends
from spinmeround.recon.texture import bake as texture_module
from tests.pipelines.fakes import FakeBackends, MovingHead, install, sphere_texture, sphere_views


@pytest.fixture
def folder(tmp_path) -> Path:
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], [0.0] * 4, size_px=64)
    write_views(tmp_path / "views", sphere_views(cameras))
    return tmp_path


@pytest.fixture
def real_texture(monkeypatch):
    """Textures are baked as ever, but for what is painted."""

    class Baking(FakeBackends):
        def bake_texture(self, views, surface, *, faces, progress):
            return Backends.bake_texture(self, views, surface, faces=faces, progress=progress)

    monkeypatch.setattr(texture_module, "bake_texture", lambda views, surface, **_: sphere_texture(surface))
    install(monkeypatch, Baking)


def draft(**mesh) -> RunSettings:
    return RunSettings(quality="draft", mesh=MeshOptions(**mesh))


@pytest.mark.usefixtures("real_texture")
def test_all_levels_of_a_mesh_have_one_where_it_is_asked_for(folder):
    out = [folder / "a.glb", folder / "b.obj"]
    told = fit_views(folder / "views", out=out, settings=draft(faces=9600, lods=1, normal_map=True))
    assert told.report["mesh"]["normal_map"] is True
    for name in ("a.glb", "a_lod1.glb"):
        normal_map = read_mesh(folder / name).normal_map
        assert normal_map is not None and np.median(normal_map[..., 2]) > 0.99
    assert (folder / "b_normal.png").is_file() and (folder / "b_lod1_normal.png").is_file()
    told = fit_views(folder / "views", out=folder / "c.glb", settings=draft(faces=9600))
    assert told.report["mesh"]["normal_map"] is False
    assert read_mesh(folder / "c.glb").normal_map is None


@pytest.mark.parametrize("asked", [True, False])
def test_avatars_have_one_where_it_is_asked_for(tmp_path, monkeypatch, asked):
    install(monkeypatch, head=MovingHead())
    (tmp_path / "face.jpg").write_bytes(b"stands for a photo")
    told = reconstruct(tmp_path / "face.jpg", out=tmp_path / "a.glb", settings=draft(normal_map=asked))
    assert told.report["avatar"]["normal_map"] is asked
    assert (read_avatar(tmp_path / "a.glb").parts[0].mesh.normal_map is not None) is asked


@pytest.mark.usefixtures("real_texture")
def test_files_that_hold_none_are_told_in_one_line(folder, caplog):
    told = fit_views(
        folder / "views", out=folder / "a.ply", settings=draft(normal_map=True), outputs=OutputOptions(ply="mesh")
    )
    said = [r.message for r in caplog.records if "normal map" in r.message]
    assert said == ["normal map: no file asked for holds one; .glb .vrm .usdz .obj do"]
    assert "mesh" not in told.report
