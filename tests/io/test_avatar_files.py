"""Avatars to files and back, whole or as one mesh, and the animation baked into them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest

from spinmeround.errors import InputError, OutputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io import read_avatar, read_mesh, write_avatar, write_mesh
from spinmeround.types import Avatar, AvatarPart, FaceClip, TexturedMesh


def corners(part: AvatarPart) -> np.ndarray:
    return part.mesh.vertices[part.mesh.faces]


@pytest.mark.parametrize("suffix", ["glb", "vrm"])
def test_an_avatar_comes_back_whole(tmp_path: Path, small_avatar: Avatar, suffix: str) -> None:
    write_avatar(tmp_path / f"a.{suffix}", small_avatar)
    back = read_avatar(tmp_path / f"a.{suffix}")
    lifted = back.joints[0].position - small_avatar.joints[0].position
    assert (np.abs(lifted[1]) > 1) == (suffix == "vrm")
    assert [(j.name, j.parent) for j in back.joints] == [(j.name, j.parent) for j in small_avatar.joints]
    assert back.morph_names == small_avatar.morph_names
    for mine, theirs in zip(small_avatar.parts, back.parts, strict=True):
        assert (mine.name, mine.roughness, mine.two_sided) == (
            theirs.name,
            pytest.approx(theirs.roughness),
            theirs.two_sided,
        )
        assert len(theirs.mesh.vertices) == len(mine.mesh.vertices)  # joined over the seam
        np.testing.assert_allclose(corners(theirs), corners(mine) + lifted, atol=1e-6)
        np.testing.assert_allclose(theirs.mesh.uv[theirs.mesh.uv_faces], mine.mesh.uv[mine.mesh.uv_faces], atol=1e-6)
        assert list(theirs.morphs) == list(mine.morphs)
        for name, moved in mine.morphs.items():
            np.testing.assert_allclose(theirs.morphs[name][theirs.mesh.faces], moved[mine.mesh.faces], atol=1e-7)
        by_joint = np.zeros((2, *mine.mesh.faces.shape, 3))
        for row, part in zip(by_joint, (mine, theirs), strict=True):
            for k in range(3):
                row[..., k] = ((part.joints == k) * part.weights).sum(1)[part.mesh.faces]
        np.testing.assert_allclose(by_joint[0], by_joint[1], atol=1e-6)
        assert np.abs(theirs.mesh.albedo - mine.mesh.albedo).mean() < 0.05  # JPEG
    assert back.parts[0].mesh.albedo is back.parts[1].mesh.albedo


@pytest.mark.parametrize("suffix", ["glb", "vrm"])
def test_springs_come_back(tmp_path: Path, swinging_avatar: Avatar, suffix: str, survives_corruption) -> None:
    write_avatar(tmp_path / f"a.{suffix}", swinging_avatar)
    back = read_avatar(tmp_path / f"a.{suffix}")
    lifted = back.joints[0].position - swinging_avatar.joints[0].position
    assert [(j.name, j.parent) for j in back.joints] == [(j.name, j.parent) for j in swinging_avatar.joints]
    np.testing.assert_array_equal(np.unique(back.parts[2].joints[back.parts[2].weights > 0]), [4])
    (mine,), (theirs,) = swinging_avatar.springs, back.springs
    assert theirs.joints == mine.joints
    assert (theirs.gravity, theirs.drag) == (mine.gravity, mine.drag)
    np.testing.assert_allclose(theirs.hit_radii, mine.hit_radii)
    np.testing.assert_allclose(theirs.stiffness, mine.stiffness)
    for one, other in zip(swinging_avatar.colliders, back.colliders, strict=True):
        assert (other.joint, other.radius) == (one.joint, pytest.approx(one.radius))
        np.testing.assert_allclose([other.start, other.end], np.array([one.start, one.end]) + lifted, atol=1e-6)
    assert survives_corruption(tmp_path / f"a.{suffix}", read_avatar, flips=20) > 15


def test_springs_are_an_extension_that_only_springy_files_use(
    tmp_path: Path, swinging_avatar: Avatar, small_avatar: Avatar
) -> None:
    for name, avatar in (("still", small_avatar), ("swinging", swinging_avatar)):
        for suffix in ("glb", "vrm"):
            write_avatar(tmp_path / f"{name}.{suffix}", avatar)
    assert not pygltflib.GLTF2().load_binary(str(tmp_path / "still.glb")).extensionsUsed
    assert pygltflib.GLTF2().load_binary(str(tmp_path / "still.vrm")).extensionsUsed == ["VRMC_vrm"]
    glb, vrm = (pygltflib.GLTF2().load_binary(str(tmp_path / f"swinging.{suffix}")) for suffix in ("glb", "vrm"))
    assert glb.extensionsUsed == ["VRMC_springBone"]
    assert vrm.extensionsUsed == ["VRMC_vrm", "VRMC_springBone"]
    assert not any("hair" in bone for bone in vrm.extensions["VRMC_vrm"]["humanoid"]["humanBones"])
    for file, groups in ((glb, ["head"]), (vrm, ["head", "shoulders"])):
        springs = file.extensions["VRMC_springBone"]
        assert springs["specVersion"] == "1.0"
        assert [group["name"] for group in springs["colliderGroups"]] == groups
        assert sum(len(group["colliders"]) for group in springs["colliderGroups"]) == len(springs["colliders"])
        (spring,) = springs["springs"]
        assert [file.nodes[joint["node"]].name for joint in spring["joints"]] == ["hair0_0", "hair0_1", "hair0_2"]
        assert spring["joints"][0]["hitRadius"] == pytest.approx(0.04 * METRES_PER_UNIT)
        assert spring["joints"][0]["gravityDir"] == [0, -1, 0]
        assert set(spring["joints"][2]) == {"node"}
        shapes = [next(iter(collider["shape"])) for collider in springs["colliders"]]
        assert shapes[:2] == ["capsule", "sphere"]


def test_parts_share_a_normal_map_in_the_file_and_when_it_is_read(
    tmp_path: Path, small_avatar: Avatar, bumpy: TexturedMesh
) -> None:
    skin, eyes, hair = small_avatar.parts
    skin, eyes = (replace(part, mesh=replace(part.mesh, normal_map=bumpy.normal_map)) for part in (skin, eyes))
    write_avatar(tmp_path / "a.glb", replace(small_avatar, parts=(skin, eyes, hair)))
    file = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert [image.name for image in file.images] == ["skin_albedo", "skin_normal", "hair_albedo"]
    assert [m.normalTexture.index if m.normalTexture else None for m in file.materials] == [1, 1, None]
    assert [mesh.primitives[0].attributes.TANGENT is None for mesh in file.meshes] == [False, False, True]
    back = read_avatar(tmp_path / "a.glb")
    np.testing.assert_allclose(back.parts[0].mesh.normal_map, bumpy.normal_map, atol=0.01)
    assert back.parts[1].mesh.normal_map is back.parts[0].mesh.normal_map
    assert back.parts[2].mesh.normal_map is None
    for mine, theirs in zip((skin, eyes, hair), back.parts, strict=True):
        np.testing.assert_allclose(corners(theirs), corners(mine), atol=1e-6)
        assert list(theirs.morphs) == list(mine.morphs)


def test_an_avatar_is_read_as_one_mesh(tmp_path: Path, small_avatar: Avatar) -> None:
    write_avatar(tmp_path / "a.glb", small_avatar)
    whole = read_mesh(tmp_path / "a.glb")
    assert isinstance(whole, TexturedMesh)
    expected = np.concatenate([corners(part) for part in small_avatar.parts])
    np.testing.assert_allclose(whole.vertices[whole.faces], expected, atol=1e-6)
    assert whole.uv.min() >= 0 and whole.uv.max() <= 1
    colours = np.concatenate([colours_of_faces(part.mesh) for part in small_avatar.parts])
    # Every channel but the noisy one, which JPEG smears; faces over the hair's seam are among them.
    assert np.abs(colours_of_faces(whole) - colours)[:1056, :2].max() < 0.1
    assert np.quantile(np.abs(colours_of_faces(whole) - colours)[1056:, 1:], 0.95) < 0.1
    write_mesh(tmp_path / "b.obj", whole)
    assert len(read_mesh(tmp_path / "b.obj").faces) == len(whole.faces)


def colours_of_faces(mesh: TexturedMesh) -> np.ndarray:
    """The texel in the middle of each face; left and right of the texture it begins anew."""
    height, width = mesh.albedo.shape[:2]
    u, v = mesh.uv[mesh.uv_faces].mean(1).T
    row = np.clip(((1 - v) * height).astype(int), 0, height - 1)
    return mesh.albedo[row, (u * width).astype(int) % width]


def test_parts_without_a_texture_bring_their_colour(tmp_path: Path, small_avatar: Avatar) -> None:
    write_avatar(tmp_path / "a.glb", small_avatar)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    surface = file.materials[1].pbrMetallicRoughness
    surface.baseColorTexture, surface.baseColorFactor = None, [1.0, 0.2140411, 0.0, 1.0]
    file.save_binary(str(tmp_path / "b.glb"))
    whole = read_mesh(tmp_path / "b.glb")
    assert isinstance(whole, TexturedMesh)
    count = len(small_avatar.parts[0].mesh.faces)
    np.testing.assert_allclose(colours_of_faces(whole)[count : 2 * count], [[1, 0.5, 0]] * count, atol=1e-3)
    eyes = read_avatar(tmp_path / "b.glb").parts[1].mesh
    np.testing.assert_allclose(colours_of_faces(eyes), [[1, 0.5, 0]] * len(eyes.faces), atol=1e-3)


def test_a_skinned_mesh_stands_where_its_bones_are(tmp_path: Path, small_avatar: Avatar) -> None:
    write_avatar(tmp_path / "a.glb", small_avatar)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    file.nodes[0].translation = [0.5, 0.0, 0.0]  # of the neck; it was below the origin
    file.nodes[4].translation = [9.0, 9.0, 9.0]  # of the skin itself, which a skeleton overrules
    file.save_binary(str(tmp_path / "b.glb"))
    moved = (
        read_mesh(tmp_path / "b.glb", metres_per_unit=1).vertices
        - read_mesh(tmp_path / "a.glb", metres_per_unit=1).vertices
    )
    np.testing.assert_allclose(moved, [[0.5, 0.3 * 0.23 / 0.56, 0]] * len(moved), atol=1e-6)


def test_what_is_no_avatar_is_refused(
    tmp_path: Path, sphere: TexturedMesh, posing_avatar: Avatar, survives_corruption
) -> None:
    write_mesh(tmp_path / "a.glb", sphere)
    with pytest.raises(InputError, match="no mesh with a skeleton, so no avatar; read_mesh reads plain meshes"):
        read_avatar(tmp_path / "a.glb")
    write_avatar(tmp_path / "b.glb", posing_avatar)
    assert survives_corruption(tmp_path / "b.glb", read_avatar, flips=40) > 30


def test_morph_targets_with_values_that_are_none_are_refused(tmp_path: Path, small_avatar: Avatar) -> None:
    first, *others = small_avatar.parts
    beyond = replace(first, morphs={"jawOpen": np.full_like(first.mesh.vertices, 1e30)})
    write_avatar(tmp_path / "a.glb", replace(small_avatar, parts=(beyond, *others)))
    with pytest.raises(InputError, match="'skin': some values of jawOpen are not finite numbers"):
        read_avatar(tmp_path / "a.glb")


def test_bones_in_a_circle_are_refused(tmp_path: Path, small_avatar: Avatar) -> None:
    write_avatar(tmp_path / "a.glb", small_avatar)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    first = file.skins[0].joints[0]
    file.nodes += [pygltflib.Node(children=[len(file.nodes) + 1]), pygltflib.Node(children=[len(file.nodes), first])]
    file.save_binary(str(tmp_path / "b.glb"))
    with pytest.raises(InputError, match="nodes in a circle"):
        read_avatar(tmp_path / "b.glb")


@pytest.mark.parametrize("suffix", ["glb", "vrm"])
def test_poses_come_back_and_leave_the_head_at_rest(tmp_path: Path, posing_avatar: Avatar, suffix: str) -> None:
    write_avatar(tmp_path / f"a.{suffix}", posing_avatar)
    write_avatar(tmp_path / f"b.{suffix}", replace(posing_avatar, poses={}))
    back, without = (read_avatar(tmp_path / f"{name}.{suffix}") for name in "ab")
    assert back.poses == posing_avatar.poses
    assert without.poses == {}
    np.testing.assert_array_equal(corners(back.parts[0]), corners(without.parts[0]))


def test_poses_are_animations_of_one_key_behind_the_clip(tmp_path: Path, posing_avatar: Avatar, clip: FaceClip) -> None:
    write_avatar(tmp_path / "a.glb", posing_avatar, clip=clip)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    assert [animation.name for animation in file.animations] == ["face", "photo", "aside"]
    np.testing.assert_allclose(track(file, "skin", "weights", number=1)[:, 0], [0.375, 0, 0.25])
    np.testing.assert_allclose(track(file, "eyes", "weights", number=1)[:, 0], [0.25])  # no bone turns it
    assert [channel.target.path for channel in file.animations[1].channels] == ["weights", "weights"]
    assert read_avatar(tmp_path / "a.glb").poses == posing_avatar.poses  # and not the clip


def test_a_pose_of_a_vrm_is_a_custom_expression(tmp_path: Path, posing_avatar: Avatar) -> None:
    write_avatar(tmp_path / "a.vrm", posing_avatar)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.vrm"))
    assert file is not None and not file.animations
    expressions = file.extensions["VRMC_vrm"]["expressions"]["custom"]
    assert list(expressions) == ["JawOpen", "EyeBlinkLeft", "EyeLookOutLeft", "photo", "aside"]
    photo = expressions["photo"]
    assert (photo["overrideBlink"], photo["overrideLookAt"]) == ("block", "block")
    bound = [(file.nodes[bind["node"]].name, bind["index"], bind["weight"]) for bind in photo["morphTargetBinds"]]
    assert bound == [("skin", 0, 0.375), ("skin", 2, 0.25), ("eyes", 0, 0.25)]


def test_animations_that_are_no_poses_are_left_out(tmp_path: Path, posing_avatar: Avatar) -> None:
    """One that turns a bone, one whose target an extension names, and one that names no pose."""
    write_avatar(tmp_path / "a.glb", posing_avatar)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    photo, aside = file.animations
    photo.channels[0].target.path, aside.name = "rotation", None
    file.save_binary(str(tmp_path / "b.glb"))
    assert read_avatar(tmp_path / "b.glb").poses == {"pose1": {"eyeLookOutLeft": 1.0}}
    aside.channels[0].target.node = None
    file.save_binary(str(tmp_path / "c.glb"))
    assert read_avatar(tmp_path / "c.glb").poses == {}


def track(file: pygltflib.GLTF2, name: str, path: str, *, number: int = 0) -> np.ndarray:
    """The keys of an animation's channel."""
    data = file.binary_blob()
    animation = file.animations[number]
    channel = next(c for c in animation.channels if file.nodes[c.target.node].name == name and c.target.path == path)
    accessor = file.accessors[animation.samplers[channel.sampler].output]
    view = file.bufferViews[accessor.bufferView]
    width = {"SCALAR": 1, "VEC4": 4}[accessor.type]
    return np.frombuffer(data, np.float32, accessor.count * width, view.byteOffset).reshape(accessor.count, width)


def test_a_clip_is_baked_as_an_animation(tmp_path: Path, small_avatar: Avatar, clip: FaceClip) -> None:
    write_avatar(tmp_path / "a.glb", small_avatar, clip=clip)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    skin = track(file, "skin", "weights").reshape(len(clip), 3)
    np.testing.assert_allclose(skin, np.stack([clip.times_s, 0 * clip.times_s, clip.times_s / 2], axis=1), atol=1e-7)
    # The bone turns the eye, so that the morph target must not.
    assert not track(file, "eyes", "weights").any()
    np.testing.assert_allclose(
        track(file, "leftEye", "rotation"), np.roll(clip.turns_wxyz["leftEye"], -1, 1), atol=1e-7
    )
    neck, head = (2 * np.degrees(np.arcsin(track(file, name, "rotation")[-1])) for name in ("neck", "head"))
    np.testing.assert_allclose(neck[:3], [0, 8, 0], atol=1e-4)
    np.testing.assert_allclose(head[:3], [0, 12, 0], atol=1e-4)
    times = file.accessors[file.animations[0].samplers[0].input]
    assert (times.min, times.max) == ([0.0], [1.0])
    assert read_avatar(tmp_path / "a.glb").morph_names == small_avatar.morph_names


def test_without_angles_the_morph_targets_turn_the_eyes(tmp_path: Path, small_avatar: Avatar, clip: FaceClip) -> None:
    write_avatar(tmp_path / "a.glb", small_avatar, clip=replace(clip, turns_wxyz={}))
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    np.testing.assert_allclose(track(file, "eyes", "weights")[:, 0], clip.times_s / 2, atol=1e-7)
    assert {channel.target.path for channel in file.animations[0].channels} == {"weights"}


def test_a_vrm_takes_no_clip(tmp_path: Path, small_avatar: Avatar, clip: FaceClip) -> None:
    with pytest.raises(OutputError, match=r"animations go into a .glb or .usdz; write one"):
        write_avatar(tmp_path / "a.vrm", small_avatar, clip=clip)
    assert list(tmp_path.iterdir()) == []
