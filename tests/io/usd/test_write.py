"""``.usdz``: what Pixar's own library reads back and what its validators say; what is said without it."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround.errors import MissingDependencyError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.images import to_float
from spinmeround.io import write_avatar, write_mesh
from spinmeround.io.pictures import decode_picture
from spinmeround.pipelines.outputs import OutputOptions, check_outputs
from spinmeround.pipelines.settings import RunSettings
from spinmeround.types import Avatar, FaceClip, Mesh, TexturedMesh
from tests.io.usd.usd_validation import validate


def test_an_avatar_is_whole_and_valid(tmp_path: Path, small_avatar: Avatar) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom, UsdSkel

    write_avatar(tmp_path / "a.usdz", small_avatar)
    assert validate(tmp_path / "a.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    assert (UsdGeom.GetStageMetersPerUnit(stage), UsdGeom.GetStageUpAxis(stage)) == (1.0, "Y")
    skeleton = UsdSkel.Skeleton.Get(stage, "/head/skeleton")
    assert list(skeleton.GetJointsAttr().Get()) == ["neck", "neck/head", "neck/head/leftEye", "neck/head/rightEye"]
    rest = np.array(skeleton.GetRestTransformsAttr().Get())[:, 3, :3]
    places = np.stack([joint.position for joint in small_avatar.joints]) * METRES_PER_UNIT
    np.testing.assert_allclose(rest[0] + rest[1] + rest[2], places[2], atol=1e-6)
    np.testing.assert_allclose(np.array(skeleton.GetBindTransformsAttr().Get())[:, 3, :3], places, atol=1e-6)
    for part in small_avatar.parts:
        mesh = UsdGeom.Mesh.Get(stage, f"/head/{part.name}")
        np.testing.assert_allclose(
            np.array(mesh.GetPointsAttr().Get()), part.mesh.vertices * METRES_PER_UNIT, atol=1e-7
        )
        st = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened())
        np.testing.assert_allclose(st, part.mesh.uv[part.mesh.uv_faces].reshape(-1, 2), atol=1e-6)
        binding = UsdSkel.BindingAPI(mesh)
        np.testing.assert_array_equal(np.array(binding.GetJointIndicesPrimvar().Get()).reshape(-1, 4), part.joints)
        np.testing.assert_allclose(np.array(binding.GetJointWeightsPrimvar().Get()).reshape(-1, 4), part.weights)
        for name, moved in part.morphs.items():
            shape = UsdSkel.BlendShape.Get(stage, f"/head/{part.name}/{name}")
            dense = np.zeros_like(part.mesh.vertices)
            dense[np.array(shape.GetPointIndicesAttr().Get())] = np.array(shape.GetOffsetsAttr().Get())
            np.testing.assert_allclose(dense, moved * METRES_PER_UNIT, atol=1e-7)


def test_hair_that_swings_hangs_on_bones_at_rest(tmp_path: Path, swinging_avatar: Avatar) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdSkel

    write_avatar(tmp_path / "a.usdz", swinging_avatar)
    assert validate(tmp_path / "a.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    joints = list(UsdSkel.Skeleton.Get(stage, "/head/skeleton").GetJointsAttr().Get())
    assert joints[-1] == "neck/head/hair0_0/hair0_1/hair0_2"
    indices = np.array(UsdSkel.BindingAPI(stage.GetPrimAtPath("/head/hair")).GetJointIndicesPrimvar().Get())
    np.testing.assert_array_equal(indices.reshape(-1, 4), swinging_avatar.parts[2].joints)


def test_a_normal_map_bends_the_surface(tmp_path: Path, bumpy: TexturedMesh) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdShade

    write_mesh(tmp_path / "a.usdz", bumpy)
    assert validate(tmp_path / "a.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    texture = UsdShade.Shader.Get(stage, "/head/materials/mesh/normal")
    assert texture.GetInput("sourceColorSpace").Get() == "raw"
    assert tuple(texture.GetInput("scale").Get()) == (2, 2, 2, 1)
    assert tuple(texture.GetInput("bias").Get()) == (-1, -1, -1, 0)
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        picture = decode_picture(archive.read("mesh_normal.png"), name="map")
    np.testing.assert_allclose(to_float(picture) * 2 - 1, bumpy.normal_map, atol=0.005)


def test_a_clip_becomes_an_animation(tmp_path: Path, small_avatar: Avatar, clip: FaceClip) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdSkel

    write_avatar(tmp_path / "a.usdz", small_avatar, clip=clip)
    write_avatar(tmp_path / "b.usdz", small_avatar, clip=clip)
    assert (tmp_path / "a.usdz").read_bytes() == (tmp_path / "b.usdz").read_bytes()
    assert validate(tmp_path / "a.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    rate = stage.GetTimeCodesPerSecond()
    np.testing.assert_allclose(stage.GetEndTimeCode() / rate, clip.times_s[-1])
    animation = UsdSkel.Animation.Get(stage, "/head/skeleton/face")
    names = list(animation.GetBlendShapesAttr().Get())
    for seconds, column in zip(clip.times_s, range(len(clip)), strict=True):
        weights = np.array(animation.GetBlendShapeWeightsAttr().Get(seconds * rate))
        np.testing.assert_allclose(weights, [clip.morphs[name][column] for name in names], atol=1e-6)
    joints = [path.rsplit("/", 1)[-1] for path in animation.GetJointsAttr().Get()]
    last = dict(zip(joints, animation.GetRotationsAttr().Get(stage.GetEndTimeCode()), strict=True))
    for name, degrees in (("neck", 8), ("head", 12)):  # of 20 about the vertical
        np.testing.assert_allclose(2 * np.degrees(np.arcsin(last[name].GetImaginary())), [0, degrees, 0], atol=1e-3)
    np.testing.assert_allclose(
        [last["leftEye"].GetReal(), *last["leftEye"].GetImaginary()], clip.turns_wxyz["leftEye"][-1], atol=1e-6
    )


def test_poses_are_variants_of_a_head_at_rest(
    tmp_path: Path, posing_avatar: Avatar, clip: FaceClip, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdSkel

    write_avatar(tmp_path / "a.usdz", posing_avatar)
    assert validate(tmp_path / "a.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    variants = stage.GetDefaultPrim().GetVariantSet("pose")
    assert (variants.GetVariantNames(), variants.GetVariantSelection()) == (["aside", "photo", "rest"], "rest")
    seen = {}
    for variant in variants.GetVariantNames():
        variants.SetVariantSelection(variant)
        query = UsdSkel.Cache().GetSkelQuery(UsdSkel.Skeleton.Get(stage, "/head/skeleton")).GetAnimQuery()
        if query:
            names, weights = query.GetBlendShapeOrder(), query.ComputeBlendShapeWeights(Usd.TimeCode.Default())
            seen[variant] = dict(zip(names, weights, strict=True))
            turned = query.ComputeJointLocalTransforms(Usd.TimeCode.Default())
            rest = UsdSkel.Skeleton.Get(stage, "/head/skeleton").GetRestTransformsAttr().Get()
            np.testing.assert_allclose(np.array(turned), np.array(rest), atol=1e-6)
    assert seen == posing_avatar.poses
    with caplog.at_level("INFO"):
        write_avatar(tmp_path / "b.usdz", posing_avatar, clip=clip)
    assert "a .usdz with a clip does not carry the pose photo or aside; a .glb does" in caplog.text
    assert not Usd.Stage.Open(str(tmp_path / "b.usdz")).GetDefaultPrim().HasVariantSets()


def test_without_angles_the_blend_shapes_turn_the_eyes(tmp_path: Path, small_avatar: Avatar, clip: FaceClip) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdSkel

    write_avatar(tmp_path / "a.usdz", small_avatar, clip=clip)
    write_avatar(tmp_path / "b.usdz", small_avatar, clip=replace(clip, turns_wxyz={}))
    shapes = []
    for name in ("a.usdz", "b.usdz"):
        stage = Usd.Stage.Open(str(tmp_path / name))
        shapes.append(list(UsdSkel.BindingAPI(stage.GetPrimAtPath("/head/eyes")).GetBlendShapesAttr().Get() or []))
    eyes = next(part for part in small_avatar.parts if part.name == "eyes")
    assert shapes == [[], list(eyes.morphs)]


@pytest.mark.parametrize("textured", [True, False])
def test_a_mesh_is_valid_and_repeats_to_the_byte(tmp_path: Path, sphere: TexturedMesh, textured: bool) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdShade

    mesh = sphere if textured else Mesh(sphere.vertices, sphere.faces)
    write_mesh(tmp_path / "a.usdz", mesh)
    write_mesh(tmp_path / "b.usdz", mesh)
    assert validate(tmp_path / "a.usdz") == []
    assert (tmp_path / "a.usdz").read_bytes() == (tmp_path / "b.usdz").read_bytes()
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    texture = UsdShade.Shader.Get(stage, "/head/materials/mesh/albedo")
    assert bool(texture) == textured
    if textured:
        assert texture.GetInput("file").Get().resolvedPath.endswith("[mesh_albedo.jpg]")


def test_without_the_library_it_is_said_at_once(tmp_path: Path, monkeypatch, sphere: TexturedMesh) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(MissingDependencyError) as caught:
        check_outputs([tmp_path / "a.usdz"], OutputOptions(), RunSettings())
    assert str(caught.value).endswith('a .usdz needs the package pxr: pip install "spinmeround[usd]", or write a .glb')
    with pytest.raises(MissingDependencyError):
        write_mesh(tmp_path / "a.usdz", sphere)
    assert list(tmp_path.iterdir()) == []
