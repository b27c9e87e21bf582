"""Opacity of textured meshes through every format that holds it, and in drawings."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.io import read_avatar, read_mesh, write_avatar, write_mesh
from spinmeround.orbits import orbit_cameras
from spinmeround.types import ALPHA_CUTOFF, Avatar, AvatarPart, Joint, TexturedMesh


@pytest.fixture
def sheet() -> TexturedMesh:
    """A square facing +Z, its left half transparent, whose normals lean outward as those of no flat face do."""
    corners = np.array([[-0.2, -0.2, 0], [0.2, -0.2, 0], [0.2, 0.2, 0], [-0.2, 0.2, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    alpha = np.repeat(np.repeat([[0.0, 1.0]], 4, axis=0), 4, axis=1).astype(np.float32)
    albedo = np.full((4, 8, 3), 0.5, np.float32)
    normals = corners + np.array([0, 0, 0.5])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return TexturedMesh(corners, faces, corners[:, :2] * 2.5 + 0.5, faces, albedo, alpha=alpha, normals=normals)


@pytest.fixture
def avatar(sheet) -> Avatar:
    weights = np.eye(4)[np.zeros(4, int)]
    opaque = TexturedMesh(sheet.vertices - [0, 0, 0.1], sheet.faces, sheet.uv, sheet.uv_faces, sheet.albedo)
    parts = tuple(
        AvatarPart(name, mesh, np.zeros((4, 4), int), weights, {"jawOpen": np.full((4, 3), 0.1)}, 0.8, two_sided=True)
        for name, mesh in (("hair", sheet), ("cap", opaque))
    )
    joints = tuple(Joint(name, min(k, 1) - 1, np.zeros(3)) for k, name in enumerate(("head", "leftEye", "rightEye")))
    return Avatar(parts, joints, ("jawOpen",))


def document(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def test_a_drawing_leaves_transparent_texels_out(sheet):
    views = mesh_drawer(sheet)(orbit_cameras([0.0, 180.0], [0.0, 0.0], size_px=64))
    left, right = views.alpha[0][:, :32].sum(), views.alpha[0][:, 32:].sum()
    assert left < 0.01 * right
    assert views.alpha[1][:, 32:].sum() < 0.01 * views.alpha[1][:, :32].sum(), "from behind the sides are swapped"


@pytest.mark.parametrize("suffix", [".glb", ".vrm"])
def test_gltf_masks_the_part_that_has_opacity_and_no_other(avatar, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_avatar(path, avatar, metres_per_unit=1.0)
    described, binary = document(path)
    hair, cap = described["materials"]
    assert (hair["alphaMode"], hair["alphaCutoff"], hair["doubleSided"]) == ("MASK", ALPHA_CUTOFF, True)
    assert "alphaMode" not in cap and "alphaCutoff" not in cap
    texture = described["textures"][hair["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    image = described["images"][texture["source"]]
    view = described["bufferViews"][image["bufferView"]]
    picture = Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
    assert image["mimeType"] == "image/png" and picture.mode == "RGBA"
    again = read_avatar(path, metres_per_unit=1.0)
    read, given = again.parts[0].mesh, avatar.parts[0].mesh
    np.testing.assert_allclose(read.alpha, given.alpha, atol=1 / 255)
    order = [int(np.abs(read.uv - uv).sum(1).argmin()) for uv in given.uv]
    assert read.normals is not None and given.normals is not None
    np.testing.assert_allclose(read.normals[order], given.normals, atol=1e-6)
    assert again.parts[1].mesh.alpha is None and again.parts[1].mesh.normals is None


def test_another_reader_finds_the_opacity(avatar, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    write_avatar(tmp_path / "a.glb", avatar)
    shapes = trimesh.load(tmp_path / "a.glb").geometry
    hair, cap = (shapes[name].visual.material for name in ("hair", "cap"))
    assert (hair.alphaMode, hair.alphaCutoff, hair.doubleSided) == ("MASK", ALPHA_CUTOFF, True)
    assert hair.baseColorTexture.mode == "RGBA"
    assert cap.alphaMode is None


def test_plain_meshes_carry_opacity(sheet, tmp_path):
    for name in ("a.glb", "a.obj"):
        write_mesh(tmp_path / name, sheet)
    material = document(tmp_path / "a.glb")[0]["materials"][0]
    assert material["alphaMode"] == "MASK" and material["doubleSided"]
    assert "map_d a_opacity.png" in (tmp_path / "a.mtl").read_text().splitlines()
    read = read_mesh(tmp_path / "a.obj")
    assert isinstance(read, TexturedMesh)
    np.testing.assert_allclose(read.alpha, sheet.alpha, atol=1 / 255)


def test_usd_has_opacity_with_a_threshold(avatar, tmp_path):
    pytest.importorskip("pxr")
    from pxr import Usd, UsdShade

    write_avatar(tmp_path / "a.usdz", avatar)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    surface = UsdShade.Shader(stage.GetPrimAtPath("/head/materials/hair/surface"))
    assert surface.GetInput("opacityThreshold").Get() == pytest.approx(ALPHA_CUTOFF)
    assert str(surface.GetInput("opacity").GetAttr().GetConnections()[0]).endswith("albedo.outputs:a")
    cap = UsdShade.Shader(stage.GetPrimAtPath("/head/materials/cap/surface"))
    assert not cap.GetInput("opacity")
