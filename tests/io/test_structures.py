"""Our meshes and splats as objects of other libraries, and what is said where these are missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from spinmeround.errors import MissingDependencyError
from spinmeround.io import structures
from spinmeround.io.gltf.mesh_write import write_glb
from spinmeround.types import Mesh, TexturedMesh


def test_trimesh_sees_the_texture_where_it_belongs(sphere: TexturedMesh) -> None:
    mesh = structures.to_trimesh(sphere)
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    np.testing.assert_allclose(mesh.triangles, sphere.vertices[sphere.faces], atol=1e-12)
    colours = mesh.visual.to_color().vertex_colors[:, :3] / 255
    size = np.array(sphere.albedo.shape[1::-1])
    texel = np.clip(np.rint(mesh.visual.uv * [1, -1] * (size - 1) + [0, size[1] - 1]), 0, size - 1).astype(int)
    np.testing.assert_allclose(colours, sphere.albedo[texel[:, 1], texel[:, 0]], atol=0.01)


def test_plain_meshes_and_splats_in_trimesh(sphere: TexturedMesh, make_splats) -> None:
    mesh = structures.to_trimesh(Mesh(sphere.vertices, sphere.faces))
    assert mesh.is_watertight
    splats = make_splats(50)
    cloud = structures.to_trimesh(splats)
    np.testing.assert_allclose(cloud.vertices, splats.means.numpy())
    expected = np.clip(0.5 + splats.sh[:, 0].numpy() / (2 * np.sqrt(np.pi)), 0, 1) * 255
    np.testing.assert_allclose(cloud.colors[:, :3], expected, atol=0.51)


def _recorded(monkeypatch, **modules: SimpleNamespace) -> None:
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name.replace("_", "."), module)


def test_what_open3d_is_given(monkeypatch, sphere: TexturedMesh, make_splats) -> None:
    utility = dict.fromkeys(("Vector2dVector", "Vector3dVector", "Vector3iVector", "IntVector"), np.asarray)
    geometry = {
        "TriangleMesh": lambda vertices, triangles: SimpleNamespace(vertices=vertices, triangles=triangles),
        "PointCloud": lambda points: SimpleNamespace(points=points),
        "Image": np.asarray,
    }
    fake = SimpleNamespace(utility=SimpleNamespace(**utility), geometry=SimpleNamespace(**geometry))
    _recorded(monkeypatch, open3d=fake)
    mesh = structures.to_open3d(sphere)
    assert (mesh.vertices.dtype, mesh.triangles.dtype) == (np.float64, np.int32)
    np.testing.assert_array_equal(mesh.triangle_uvs, sphere.uv[sphere.uv_faces].reshape(-1, 2))
    np.testing.assert_allclose(mesh.textures[0][0] / 255, sphere.albedo[-1], atol=0.002)
    assert len(mesh.triangle_material_ids) == len(sphere.faces)
    assert structures.to_open3d(make_splats(5)).colors.shape == (5, 3)


def test_what_pytorch3d_is_given(monkeypatch, sphere: TexturedMesh, make_splats) -> None:
    def given(**fields) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    _recorded(
        monkeypatch,
        pytorch3d=ModuleType("pytorch3d"),
        pytorch3d_structures=SimpleNamespace(Meshes=given, Pointclouds=given),
        pytorch3d_renderer=SimpleNamespace(TexturesUV=given),
    )
    mesh = structures.to_pytorch3d(sphere)
    assert (mesh.verts[0].dtype, mesh.faces[0].dtype) == (torch.float32, torch.int64)
    assert mesh.textures.maps.shape == (1, 32, 64, 3)
    np.testing.assert_array_equal(mesh.textures.faces_uvs[0], sphere.uv_faces)
    assert structures.to_pytorch3d(Mesh(sphere.vertices, sphere.faces)).textures is None
    assert structures.to_pytorch3d(make_splats(5)).features[0].shape == (5, 3)


@pytest.mark.parametrize(
    ("convert", "package", "command"),
    [
        (structures.to_trimesh, "trimesh", "pip install trimesh"),
        (structures.to_open3d, "open3d", "pip install open3d"),
        (structures.to_pytorch3d, "pytorch3d", 'pip install "git+https'),
    ],
)
def test_what_is_missing_is_one_line(monkeypatch, sphere: TexturedMesh, convert, package: str, command: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as caught:
        convert(sphere)
    assert f"{package} cannot be used" in str(caught.value)
    assert command in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_optional_loads_by_itself() -> None:
    code = (
        "import sys, spinmeround.io.structures, spinmeround.io.views.nerfstudio_plugin\n"
        "sys.exit(str({'trimesh', 'open3d', 'pytorch3d', 'nerfstudio'} & set(sys.modules)) if "
        "{'trimesh', 'open3d', 'pytorch3d', 'nerfstudio'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _entry_point() -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(
        "spinmeround-data", "spinmeround.io.views.nerfstudio_plugin:dataparser", "nerfstudio.dataparser_configs"
    )


def test_the_plugin_is_inert_without_nerfstudio(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nerfstudio", None)
    plugin = importlib.import_module("spinmeround.io.views.nerfstudio_plugin")
    with pytest.raises(AttributeError, match="has no attribute 'method'"):
        plugin.method  # noqa: B018
    with pytest.raises(MissingDependencyError, match=r"nerfstudio is not installed .*; pip install nerfstudio"):
        _entry_point().load()


def test_the_plugin_leaves_poses_alone(monkeypatch) -> None:
    def given(**fields) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    for name in ("nerfstudio", "nerfstudio.data", "nerfstudio.data.dataparsers", "nerfstudio.plugins"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    parser = SimpleNamespace(NerfstudioDataParserConfig=given)
    monkeypatch.setitem(sys.modules, "nerfstudio.data.dataparsers.nerfstudio_dataparser", parser)
    registry = SimpleNamespace(DataParserSpecification=given)
    monkeypatch.setitem(sys.modules, "nerfstudio.plugins.registry_dataparser", registry)
    config = _entry_point().load().config
    assert vars(config) == {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}


def test_the_entry_point_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][_entry_point().group] == {_entry_point().name: _entry_point().value}


def test_trimesh_agrees_with_our_glb(tmp_path, sphere: TexturedMesh) -> None:
    write_glb(tmp_path / "a.glb", sphere, metres_per_unit=1)
    theirs = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    ours = structures.to_trimesh(sphere)
    np.testing.assert_allclose(theirs.visual.uv, ours.visual.uv, atol=1e-6)
    np.testing.assert_allclose(theirs.vertices, ours.vertices, atol=1e-6)
