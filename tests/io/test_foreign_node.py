"""Our files in programs from npm: the Khronos glTF validator, three.js with three-vrm, PlayCanvas' splat-transform.

Needs node and either a package cache or a network; skips with the reason otherwise.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch

from spinmeround.geometry import vertex_normals
from spinmeround.io import read_splats, write_avatar, write_mesh, write_splats
from spinmeround.io.recordings.expressions import EXPRESSIONS, perfect_sync
from spinmeround.io.splats.turning import moved
from spinmeround.tangent_space import tangent_corners
from spinmeround.template.avatar.build import AvatarDetail, build_avatar
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, FaceClip, Mesh, Splats, TexturedMesh

_PACKAGES = (
    "gltf-validator@2.0.0-dev.3.10", "@playcanvas/splat-transform@3.7.0", "three@0.170.0", "@pixiv/three-vrm@3.3.3",
    "mikktspace@1.1.1",
)  # fmt: skip
_VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2]))).then(r => console.log(JSON.stringify(r)));
"""

_TANGENTS = """
const { generateTangents } = require('mikktspace'), fs = require('fs');
const read = name => new Float32Array(new Uint8Array(fs.readFileSync(`${process.argv[2]}/${name}`)).buffer);
const made = generateTangents(read('positions'), read('normals'), read('uv'));
fs.writeFileSync(`${process.argv[2]}/tangents`, new Uint8Array(made.buffer, made.byteOffset, made.byteLength));
"""

_VRM = """
import fs from 'fs';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
import { VRMLoaderPlugin } from '@pixiv/three-vrm';
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
globalThis.ProgressEvent ??= class extends Event {};
const bytes = fs.readFileSync(process.argv[2]);
const loader = new GLTFLoader();
loader.register(parser => new VRMLoaderPlugin(parser));
const { vrm } = (await loader.parseAsync(new Uint8Array(bytes).buffer, '')).userData;
const bound = vrm.expressionManager.expressions.map(e => [e.expressionName, (e._binds ?? e.binds).length]);
const eyes = ['leftEye', 'rightEye'].map(n => vrm.humanoid.getNormalizedBoneNode(n));
vrm.lookAt.yaw = 30; vrm.lookAt.pitch = 10; vrm.update(0.01); vrm.lookAt.yaw = 30; vrm.update(0.01);
const turned = eyes.map(e => 2 * Math.acos(Math.min(1, Math.abs(e.quaternion.w))));
vrm.expressionManager.setValue('photo', 1); vrm.update(0.01);
const skin = vrm.scene.getObjectByName('skin');
const jaw = skin.morphTargetInfluences[skin.morphTargetDictionary.jawOpen];
console.log(JSON.stringify({ expressions: Object.fromEntries(bound), turned, jaw, meta: vrm.meta.name }));
"""

_SWING = """
import fs from 'fs';
import { Vector3 } from 'three';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
import { VRMLoaderPlugin } from '@pixiv/three-vrm';
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
globalThis.ProgressEvent ??= class extends Event {};
const bytes = fs.readFileSync(process.argv[2]);
const loader = new GLTFLoader();
loader.register(parser => new VRMLoaderPlugin(parser));
const { vrm } = (await loader.parseAsync(new Uint8Array(bytes).buffer, '')).userData;
const springs = vrm.springBoneManager, joints = [...springs.joints];
const place = joint => joint.child.getWorldPosition(new Vector3());
vrm.scene.updateMatrixWorld(true);
const rest = joints.map(place);
const apart = () => Math.max(...joints.map((joint, k) => place(joint).distanceTo(rest[k])));
const depth = () => Math.max(...joints.flatMap(joint => joint.colliderGroups.flatMap(group => group.colliders.map(
  each => -each.shape.calculateCollision(each.colliderMatrix, place(joint), 0, new Vector3())))));
let still = 0, swung = 0, deepest = -1;
for (let frame = 0; frame < 200; frame++) { vrm.update(1 / 60); still = Math.max(still, apart()); }
const head = vrm.humanoid.getNormalizedBoneNode('head');
for (let frame = 0; frame < 200; frame++) {
  head.rotation.set(0.5 * Math.sin(7 * frame / 60), 1.2 * Math.sin(9 * frame / 60), 0);
  vrm.update(1 / 60);
  swung = Math.max(swung, apart());
  deepest = Math.max(deepest, depth());
}
console.log(JSON.stringify({ joints: joints.length, colliders: springs.colliders.length, still, swung, deepest }));
"""

_PLAY = """
import fs from 'fs';
import { AnimationClip, AnimationMixer } from 'three';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
globalThis.ProgressEvent ??= class extends Event {};
const bytes = fs.readFileSync(process.argv[2]);
const gltf = await new GLTFLoader().parseAsync(new Uint8Array(bytes).buffer, '');
const mixer = new AnimationMixer(gltf.scene);
mixer.clipAction(AnimationClip.findByName(gltf.animations, process.argv[3])).play();
mixer.update(0.25); mixer.update(0.25);
const skin = gltf.scene.getObjectByName('skin');
const turn = name => gltf.scene.getObjectByName(name).quaternion.toArray();
console.log(JSON.stringify({
  first: gltf.animations[0].name, duration: gltf.animations[0].duration,
  jaw: skin.morphTargetInfluences[skin.morphTargetDictionary.jawOpen],
  neck: turn('neck'), head: turn('head'), eye: turn('leftEye'),
}));
"""

_EXPRESS = """
import fs from 'fs';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
import { express, look } from './head.mjs';
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
globalThis.ProgressEvent ??= class extends Event {};
const bytes = fs.readFileSync(process.argv[2]);
const { scene } = await new GLTFLoader().parseAsync(new Uint8Array(bytes).buffer, '');
express(scene, { jawOpen: 0.6, eyeLookUpLeft: 0.25 });
look(scene, 0.3, 0.1);
let refused = '';
try { express(scene, { smirk: 1 }); } catch (error) { refused = error.message; }
express(scene, { jawOpen: 0.6 });
const seen = {};
scene.traverse(part => {
  if (!part.isMesh) return;
  part.skeleton?.update();
  const at = part.morphTargetDictionary ?? {};
  seen[part.name] = Object.fromEntries(Object.keys(at).map(name => [name, part.morphTargetInfluences[at[name]]]));
});
const gaze = scene.getObjectByName('leftEye').quaternion.toArray();
console.log(JSON.stringify({ seen, gaze, refused }));
"""


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true}')
    command = [shutil.which("npm"), "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        subprocess.run([*command, *_PACKAGES], cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install {' '.join(_PACKAGES)}: {str(error.stderr)[-200:]}")
    (folder / "validate.js").write_text(_VALIDATE)
    (folder / "tangents.cjs").write_text(_TANGENTS)
    (folder / "vrm.mjs").write_text(_VRM)
    (folder / "swing.mjs").write_text(_SWING)
    (folder / "play.mjs").write_text(_PLAY)
    (folder / "express.mjs").write_text(_EXPRESS)
    shutil.copy(Path(__file__).parents[2] / "docs" / "avatar" / "head.mjs", folder)
    return folder


def _converted(node_folder: Path, source: Path, suffix: str, *options: str) -> Splats:
    """The file as splat-transform understands it, written by it in another format; units of the file."""
    target = source.with_name(f"{source.stem}_{source.suffix[1:]}.{suffix}")
    program = node_folder / "node_modules/@playcanvas/splat-transform/bin/cli.mjs"
    command = ["node", str(program), "-q", "-w", *options, str(source), str(target)]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return read_splats(target, metres_per_unit=1)


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_splat_transform_reads_every_format(
    node_folder: Path, tmp_path: Path, make_splats, covariances, suffix: str
) -> None:
    splats = make_splats(200, degree=3)
    write_splats(tmp_path / f"a.{suffix}", splats)
    expected = read_splats(tmp_path / f"a.{suffix}", metres_per_unit=1)
    theirs = _converted(node_folder, tmp_path / f"a.{suffix}", "ply")
    torch.testing.assert_close(theirs.means, expected.means, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(theirs.opacities, expected.opacities, rtol=0, atol=1e-5)
    assert theirs.sh.shape == expected.sh.shape
    torch.testing.assert_close(theirs.sh, expected.sh, rtol=0, atol=1e-5)
    shapes = covariances(expected)
    error = (covariances(theirs) - shapes).flatten(1).norm(dim=1) / shapes.flatten(1).norm(dim=1)
    assert float(error.max()) < (0.03 if suffix == "splat" else 1e-4)  # programs differ in where an 8-bit 0 lies


def test_we_read_the_spz_of_splat_transform(node_folder: Path, tmp_path: Path, make_splats, covariances) -> None:
    splats = make_splats(200, degree=3)
    write_splats(tmp_path / "a.ply", splats, metres_per_unit=1)
    theirs = _converted(node_folder, tmp_path / "a.ply", "spz", "--spz-version", "3")
    torch.testing.assert_close(theirs.means, splats.means, rtol=0, atol=2e-4)
    torch.testing.assert_close(theirs.sh[:, 0], splats.sh[:, 0], rtol=0, atol=0.014)
    shapes = covariances(splats)
    error = (covariances(theirs) - shapes).flatten(1).norm(dim=1) / shapes.flatten(1).norm(dim=1)
    assert float(error.max()) < 0.08


def test_we_read_the_glb_of_splat_transform(node_folder: Path, tmp_path: Path, make_splats, covariances) -> None:
    """It takes a .ply for y down, and turns it by half a turn about z."""
    splats = make_splats(200, degree=3)
    write_splats(tmp_path / "a.ply", splats, metres_per_unit=1)
    theirs = _converted(node_folder, tmp_path / "a.ply", "glb")
    expected = moved(splats, rotation=np.diag([-1.0, -1, 1]), scale=1.0, shift=np.zeros(3))
    torch.testing.assert_close(theirs.means.double(), expected.means, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(theirs.opacities.double(), expected.opacities, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(theirs.sh.double(), expected.sh, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(covariances(theirs), covariances(expected), rtol=1e-4, atol=1e-9)


def _validated(node_folder: Path, path: Path) -> dict:
    command = ["node", str(node_folder / "validate.js"), str(path)]
    done = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.parametrize("textured", [True, False])
def test_the_khronos_validator_finds_nothing(
    node_folder: Path, tmp_path: Path, sphere: TexturedMesh, textured: bool
) -> None:
    # A vertex that no face uses and a triangle without area are what real meshes bring along.
    vertices = np.concatenate([sphere.vertices, [[0.0, 0, 0]]])
    faces = np.concatenate([sphere.faces, [[5, 5, 5]]])
    mesh = (
        TexturedMesh(vertices, faces, sphere.uv, np.concatenate([sphere.uv_faces, [[3, 3, 3]]]), sphere.albedo)
        if textured
        else Mesh(vertices, faces)
    )
    write_mesh(tmp_path / "a.glb", mesh)
    report = _validated(node_folder, tmp_path / "a.glb")
    assert report["mimeType"] == "model/gltf-binary"
    assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0), report["issues"]["messages"]
    assert report["info"]["totalTriangleCount"] == len(faces)
    assert report["info"]["hasTextures"] == textured


def test_the_khronos_validator_finds_nothing_in_normal_maps(
    node_folder: Path, tmp_path: Path, bumpy: TexturedMesh, avatar: Avatar
) -> None:
    write_mesh(tmp_path / "mesh.glb", bumpy)
    parts = [replace(part, mesh=replace(part.mesh, normal_map=bumpy.normal_map)) for part in avatar.parts]
    write_avatar(tmp_path / "avatar.vrm", replace(avatar, parts=tuple(parts)))
    for name in ("mesh.glb", "avatar.vrm"):
        report = _validated(node_folder, tmp_path / name)
        assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0), report["issues"]["messages"]
        assert {"NORMAL", "TANGENT"} <= {a for m in _attributes(tmp_path / name) for a in m}


@pytest.mark.parametrize("beside", [False, True])
def test_the_khronos_validator_finds_nothing_in_splats_but_names_it_does_not_know(
    node_folder: Path, tmp_path: Path, make_splats, avatar: Avatar, beside: bool
) -> None:
    """The validator is older than the extension, whose attributes it takes for misspelt ones of glTF itself."""
    splats = make_splats(50, degree=3)
    if beside:
        write_avatar(tmp_path / "a.glb", avatar, splats=splats)
    else:
        write_splats(tmp_path / "a.glb", splats)
    report = _validated(node_folder, tmp_path / "a.glb")
    errors = [each for each in report["issues"]["messages"] if each["severity"] < 2]
    assert {each["code"] for each in errors} == {"MESH_PRIMITIVE_INVALID_ATTRIBUTE"}
    assert len(errors) == 3 + 16
    assert all("/attributes/KHR_gaussian_splatting:" in each["pointer"] for each in errors)


def _attributes(path: Path) -> list[list[str]]:
    file = pygltflib.GLTF2().load_binary(str(path))
    return [[k for k, v in vars(mesh.primitives[0].attributes).items() if v is not None] for mesh in file.meshes]


@pytest.mark.parametrize("mirrored", [False, True])
def test_tangents_are_those_of_mikktspace(
    node_folder: Path, tmp_path: Path, sphere: TexturedMesh, mirrored: bool
) -> None:
    if mirrored:  # the picture folds along a meridian, and both halves of the globe meet there
        sphere = replace(sphere, uv=np.abs(sphere.uv - [0.5, 0]))
    normals = vertex_normals(sphere.vertices, sphere.faces).astype(np.float32).astype(np.float64)
    made = tangent_corners(sphere, normals)
    ours = made.tangents[made.faces.ravel()]
    for name, values in (
        ("positions", sphere.vertices[sphere.faces]),
        ("normals", normals[sphere.faces]),
        ("uv", sphere.uv[sphere.uv_faces]),
    ):
        (tmp_path / name).write_bytes(np.ascontiguousarray(values, "<f4").tobytes())
    command = ["node", str(node_folder / "tangents.cjs"), str(tmp_path)]
    subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True, timeout=120)
    theirs = np.frombuffer((tmp_path / "tangents").read_bytes(), "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(ours[:, 3], theirs[:, 3])
    pole = np.abs(sphere.vertices[sphere.faces.ravel(), 1]) > 0.279  # there u grows all ways at once
    np.testing.assert_allclose(ours[~pole, :3], theirs[~pole, :3], atol=1e-4)
    assert (len(made.vertex) > len(sphere.uv)) == mirrored


def test_the_validator_would_find_something(node_folder: Path, tmp_path: Path, sphere: TexturedMesh) -> None:
    write_mesh(tmp_path / "a.glb", sphere)
    data = (tmp_path / "a.glb").read_bytes().replace(b'"componentType":5126', b'"componentType":5123', 1)
    (tmp_path / "b.glb").write_bytes(data)
    assert _validated(node_folder, tmp_path / "b.glb")["issues"]["numErrors"] > 0


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    """The mean head, bald, moving, with a pose."""
    model = load_head_model()
    skin = SkinTexture(np.full((128, 128, 3), 0.5, np.float32), np.zeros((128, 128), np.float32))
    uncovered = np.zeros(model.subdivision.shape[0])
    built = build_avatar(model, model.mean, uncovered, skin, (), AvatarDetail(lod=1, texture_px=128))
    return replace(built, poses={"photo": {"jawOpen": 0.25, "mouthSmileLeft": 0.5, "eyeLookUpLeft": 0.125}})


@pytest.mark.parametrize("suffix", ["glb", "vrm"])
def test_the_khronos_validator_finds_nothing_in_avatars(
    node_folder: Path, tmp_path: Path, avatar: Avatar, suffix: str
) -> None:
    write_avatar(tmp_path / f"a.{suffix}", avatar)
    report = _validated(node_folder, tmp_path / f"a.{suffix}")
    assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0), report["issues"]["messages"]
    assert report["info"]["hasSkins"] and report["info"]["hasMorphTargets"]
    assert report["info"]["totalTriangleCount"] == sum(len(part.mesh.faces) for part in avatar.parts)
    assert (tmp_path / f"a.{suffix}").stat().st_size < 8e6
    again = tmp_path / f"again.{suffix}"
    write_avatar(again, avatar)
    if suffix == "glb":
        assert again.read_bytes() == (tmp_path / "a.glb").read_bytes()


def test_three_vrm_binds_all_expressions_and_turns_both_eyes(node_folder: Path, tmp_path: Path, avatar: Avatar) -> None:
    write_avatar(tmp_path / "me.vrm", avatar)
    command = ["node", str(node_folder / "vrm.mjs"), str(tmp_path / "me.vrm")]
    done = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True, timeout=120)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["meta"] == "me"
    assert set(seen["expressions"]) == {*EXPRESSIONS, *map(perfect_sync, avatar.morph_names), "photo"}
    assert all(count > 0 for name, count in seen["expressions"].items() if name != "neutral")
    assert min(seen["turned"]) > 0.1
    assert seen["jaw"] == pytest.approx(0.25)


def test_three_vrm_swings_the_hair_beside_the_head_and_leaves_it_alone_at_rest(
    node_folder: Path, tmp_path: Path, swinging_avatar: Avatar
) -> None:
    for suffix in ("glb", "vrm"):
        write_avatar(tmp_path / f"a.{suffix}", swinging_avatar)
        report = _validated(node_folder, tmp_path / f"a.{suffix}")
        assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0), report["issues"]["messages"]
    command = ["node", str(node_folder / "swing.mjs"), str(tmp_path / "a.vrm")]
    done = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True, timeout=120)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["joints"], seen["colliders"]) == (2, 4)
    assert seen["still"] < 1e-6
    assert seen["swung"] > 0.02
    assert seen["deepest"] < 0.005


def _played(node_folder: Path, path: Path, name: str) -> dict:
    """The head after half a second of an animation."""
    command = ["node", str(node_folder / "play.mjs"), str(path), name]
    done = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


def test_three_plays_a_clip_that_the_validator_likes(
    node_folder: Path, tmp_path: Path, avatar: Avatar, clip: FaceClip
) -> None:
    write_avatar(tmp_path / "a.glb", avatar, clip=clip)
    report = _validated(node_folder, tmp_path / "a.glb")
    assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0), report["issues"]["messages"]
    assert report["info"]["animationCount"] == 2
    pose, seen = (_played(node_folder, tmp_path / "a.glb", name) for name in ("photo", "face"))
    assert (pose["jaw"], pose["eye"]) == (pytest.approx(0.25), [0, 0, 0, 1])
    assert (seen["first"], seen["duration"]) == ("face", pytest.approx(1))
    assert seen["jaw"] == pytest.approx(0.5, abs=1e-5)
    for bone, turned_deg in (("neck", 4), ("head", 6), ("eye", 10)):
        half = np.radians(turned_deg) / 2
        np.testing.assert_allclose(seen[bone], [0, np.sin(half), 0, np.cos(half)], atol=1e-5)


def test_the_script_of_the_documentation_moves_all_parts(node_folder: Path, tmp_path: Path, avatar: Avatar) -> None:
    write_avatar(tmp_path / "a.glb", avatar)
    command = ["node", str(node_folder / "express.mjs"), str(tmp_path / "a.glb")]
    done = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True, timeout=120)
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["seen"]) == {part.name for part in avatar.parts}
    for part in avatar.parts:
        expected = {name: 0.6 if name == "jawOpen" else 0.0 for name in part.morphs}
        assert told["seen"][part.name] == pytest.approx(expected)
    assert told["refused"] == "no morph target is called smirk"
    x, y, z, w = told["gaze"]
    forward = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]  # where (0, 0, 1) goes
    np.testing.assert_allclose(forward, [np.sin(0.3) * np.cos(0.1), -np.sin(0.1), np.cos(0.3) * np.cos(0.1)], atol=1e-6)
