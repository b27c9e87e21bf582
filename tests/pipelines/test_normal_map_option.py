"""The option for normal maps: it reaches meshes, levels and avatars, survives a stop, and says where none fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround import fit_views, reconstruct
from spinmeround.io import read_avatar, read_mesh, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines import fit_views as fit_views_module
from spinmeround.pipelines import reconstruct as reconstruct_module
from spinmeround.pipelines.backends import rooms_of
from spinmeround.pipelines.mesh_levels import MeshLevels
from spinmeround.pipelines.resume import _arrays, _textured
from spinmeround.recon.texture import bake as texture_module
from tests.pipelines.fakes import MovingHead, fake_rooms, flat_map, sphere_mesh, sphere_texture, sphere_views


@pytest.fixture
def folder(tmp_path) -> Path:
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], [0.0] * 4, size_px=64)
    write_views(tmp_path / "views", sphere_views(cameras))
    return tmp_path


@pytest.fixture
def real_texture(monkeypatch):
    """The room that paints is the true one, but for what it paints."""
    monkeypatch.setattr(texture_module, "bake_texture", lambda views, surface, **_: sphere_texture(surface))
    monkeypatch.setattr(
        fit_views_module, "rooms_of", lambda *how: replace(fake_rooms(), paint_texture=rooms_of(*how).paint_texture)
    )


@pytest.mark.usefixtures("real_texture")
def test_all_levels_of_a_mesh_have_one_where_it_is_asked_for(folder):
    out = [folder / "a.glb", folder / "b.obj"]
    told = fit_views(folder / "views", out=out, levels=MeshLevels(9600, 1), normal_map=True, quality="draft")
    assert told.report["mesh"]["normal_map"] is True
    for name in ("a.glb", "a_lod1.glb"):
        normal_map = read_mesh(folder / name).normal_map
        assert normal_map is not None and np.median(normal_map[..., 2]) > 0.99
    assert (folder / "b_normal.png").is_file() and (folder / "b_lod1_normal.png").is_file()
    told = fit_views(folder / "views", out=folder / "c.glb", levels=MeshLevels(9600), quality="draft")
    assert told.report["mesh"]["normal_map"] is False
    assert read_mesh(folder / "c.glb").normal_map is None


@pytest.mark.parametrize("asked", [True, False])
def test_avatars_have_one_where_it_is_asked_for(tmp_path, monkeypatch, asked):
    rooms = replace(fake_rooms(), fit_head=lambda *_: MovingHead())
    monkeypatch.setattr(reconstruct_module, "rooms_of", lambda *_: rooms)
    (tmp_path / "face.jpg").write_bytes(b"stands for a photo")
    told = reconstruct(tmp_path / "face.jpg", out=tmp_path / "a.glb", normal_map=asked, quality="draft")
    assert told.report["avatar"]["normal_map"] is asked
    assert (read_avatar(tmp_path / "a.glb").parts[0].mesh.normal_map is not None) is asked


@pytest.mark.usefixtures("real_texture")
def test_files_that_hold_none_are_told_in_one_line(folder, caplog):
    told = fit_views(folder / "views", out=folder / "a.ply", ply="mesh", normal_map=True, quality="draft")
    said = [r.message for r in caplog.records if "normal-map" in r.message]
    assert said == ["--normal-map: no file asked for holds one; .glb .vrm .usdz .obj do"]
    assert "mesh" not in told.report


@pytest.mark.parametrize("normal_map", [None, flat_map()])
def test_a_mesh_that_waits_keeps_it(normal_map):
    mesh = replace(sphere_texture(sphere_mesh()), normal_map=normal_map)
    again = _textured(_arrays("", mesh))
    np.testing.assert_array_equal(again.albedo, mesh.albedo)
    assert (again.normal_map is None) == (normal_map is None)
