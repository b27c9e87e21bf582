"""Splats in glTF: what the extension says, files of others, splats beside a head, and files that lie."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pygltflib
import pytest
import torch
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError, OutputError
from spinmeround.io import read_avatar, read_mesh, read_splats, write_avatar, write_mesh, write_splats
from spinmeround.io.gltf.buffer import container
from spinmeround.recon.raster.spherical_harmonics import _basis
from spinmeround.types import Avatar, Splats, TexturedMesh

NAME = "KHR_gaussian_splatting"


def _document(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def _rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the JSON of a file."""
    document, binary = _document(path)
    change(document)
    path.write_bytes(container(document, binary))
    return path


def _accessor(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_round_trip_is_exact_to_float32(tmp_path: Path, make_splats, degree: int) -> None:
    splats = make_splats(degree=degree)
    write_splats(tmp_path / "a.glb", splats)
    back = read_splats(tmp_path / "a.glb")
    for name in ("means", "scales", "quats_wxyz", "opacities", "sh"):
        torch.testing.assert_close(getattr(back, name), getattr(splats, name), rtol=1e-6, atol=1e-7)
    write_splats(tmp_path / "b.glb", splats)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_values_are_those_of_the_extension(tmp_path: Path, make_splats) -> None:
    """Linear scales, opacities in [0, 1], xyzw, three numbers to a harmonic, colours of points in linear light."""
    splats = make_splats(degree=1)
    write_splats(tmp_path / "a.glb", splats, metres_per_unit=2.0)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    primitive = file.meshes[0].primitives[0]
    kinds = {5126: "<f4", 5123: "<u2"}

    def values(name: str) -> np.ndarray:
        accessor = file.accessors[getattr(primitive.attributes, name)]
        view = file.bufferViews[accessor.bufferView]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
        kind = kinds[accessor.componentType]
        return np.frombuffer(file.binary_blob(), kind, accessor.count * width, view.byteOffset).reshape(-1, width)

    assert file.extensionsUsed == [NAME] and not file.extensionsRequired
    assert primitive.mode == 0
    assert primitive.extensions[NAME] == {
        "kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }  # fmt: skip
    np.testing.assert_array_equal(values("POSITION"), splats.means.numpy() * 2)
    np.testing.assert_array_equal(values(f"{NAME}:SCALE"), splats.scales.numpy() * 2)
    np.testing.assert_allclose(values(f"{NAME}:ROTATION"), splats.quats_wxyz.numpy()[:, [1, 2, 3, 0]], atol=1e-6)
    np.testing.assert_array_equal(values(f"{NAME}:OPACITY")[:, 0], splats.opacities.numpy())
    for name, index in (("0_COEF_0", 0), ("1_COEF_0", 1), ("1_COEF_1", 2), ("1_COEF_2", 3)):
        np.testing.assert_array_equal(values(f"{NAME}:SH_DEGREE_{name}"), splats.sh[:, index].numpy())
    seen = np.clip(0.5 + 0.28209479 * splats.sh[:, 0].numpy(), 0, 1)
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    colours = values("COLOR_0") / 65535
    np.testing.assert_allclose(colours[:, :3], linear, atol=1e-5)
    np.testing.assert_allclose(colours[:, 3], splats.opacities.numpy(), atol=1e-5)


@pytest.mark.parametrize("degree", [0, 3])
def test_a_node_moves_turns_and_scales_its_splats(tmp_path: Path, make_splats, covariances, degree: int) -> None:
    splats = make_splats(degree=degree)
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0])
    write_splats(tmp_path / "a.glb", splats, metres_per_unit=1)
    shift, factor = np.array([0.1, -2.0, 3.0]), 1.5
    node = {"translation": shift.tolist(), "rotation": turn.as_quat().tolist(), "scale": [factor] * 3}
    _rewritten(tmp_path / "a.glb", lambda document: document["nodes"][0].update(node))
    back = read_splats(tmp_path / "a.glb", metres_per_unit=1)
    matrix = torch.from_numpy(turn.as_matrix())
    expected = splats.means.double() @ matrix.T * factor + torch.from_numpy(shift)
    torch.testing.assert_close(back.means.double(), expected, rtol=1e-5, atol=1e-6)
    shapes = matrix @ covariances(splats) @ matrix.T * factor**2
    torch.testing.assert_close(covariances(back), shapes, rtol=1e-4, atol=1e-9)
    for direction in np.random.default_rng(0).normal(size=(5, 3)):
        seen = _colours(back, direction)
        np.testing.assert_allclose(seen, _colours(splats, turn.inv().apply(direction)), atol=1e-5)


def _colours(splats: Splats, direction: np.ndarray) -> np.ndarray:
    basis = np.zeros(16)
    _fill(*(direction / np.linalg.norm(direction)), splats.sh.shape[1], basis)
    return np.einsum("k,nkc->nc", basis[: splats.sh.shape[1]], splats.sh.double().numpy())


@numba.njit
def _fill(x, y, z, count, basis):
    _basis(x, y, z, count, basis)


def test_parts_of_several_degrees_are_joined(tmp_path: Path, make_splats) -> None:
    splats = make_splats(20, degree=1)
    write_splats(tmp_path / "a.glb", splats, metres_per_unit=1)

    def add(document: dict[str, Any]) -> None:
        attributes = document["meshes"][0]["primitives"][0]["attributes"]
        plain = {name: at for name, at in attributes.items() if "DEGREE_1" not in name}
        extension = document["meshes"][0]["primitives"][0]["extensions"]
        document["meshes"].append({"primitives": [{"attributes": plain, "mode": 0, "extensions": extension}]})
        document["nodes"].append({"mesh": 1})
        document["scenes"].append({"nodes": [1]})

    back = read_splats(_rewritten(tmp_path / "a.glb", add), metres_per_unit=1)
    assert len(back) == 40
    assert torch.equal(back.sh[:20], splats.sh)
    assert torch.equal(back.sh[20:, 0], splats.sh[:, 0])
    assert not back.sh[20:, 1:].any()


def test_integers_are_read(tmp_path: Path) -> None:
    """Normalised bytes and shorts, as the extension allows them."""
    quats, opacities = np.array([[0, 0, 0, 127]], "<i1"), np.array([[51, 0, 0, 0]], "<u1")
    floats = np.array([1, 2, 3, 0.5, 0.25, 0.125, 0.1, 0.2, 0.3], "<f4")
    binary = floats.tobytes() + quats.tobytes() + opacities.tobytes()
    vector = {"componentType": 5126, "count": 1, "type": "VEC3"}
    document = {
        "asset": {"version": "2.0"},
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{
            "mode": 0,
            "attributes": {"POSITION": 0, f"{NAME}:SCALE": 1, f"{NAME}:SH_DEGREE_0_COEF_0": 2, f"{NAME}:ROTATION": 3,
                           f"{NAME}:OPACITY": 4},
            "extensions": {NAME: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
        }]}],
        "accessors": [
            *({"bufferView": 0, "byteOffset": 12 * k} | vector for k in range(3)),
            {"bufferView": 0, "byteOffset": 36, "componentType": 5120, "normalized": True, "count": 1, "type": "VEC4"},
            {"bufferView": 0, "byteOffset": 40, "componentType": 5121, "normalized": True, "count": 1,
             "type": "SCALAR"},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(binary)}],
        "buffers": [{"byteLength": len(binary)}],
        "extensionsUsed": [NAME], "extensionsRequired": [NAME],
    }  # fmt: skip
    (tmp_path / "a.glb").write_bytes(container(document, binary))
    one = read_splats(tmp_path / "a.glb", metres_per_unit=1)
    assert one.means.tolist() == [[1, 2, 3]] and one.scales.tolist() == [[0.5, 0.25, 0.125]]
    assert one.quats_wxyz.tolist() == [[1, 0, 0, 0]]
    assert one.opacities.tolist() == pytest.approx([0.2])


def test_splats_beside_an_avatar(tmp_path: Path, small_avatar: Avatar, make_splats) -> None:
    splats = make_splats(degree=0)
    write_avatar(tmp_path / "alone.glb", small_avatar)
    write_avatar(tmp_path / "both.glb", small_avatar, splats=splats)
    alone, both = read_avatar(tmp_path / "alone.glb"), read_avatar(tmp_path / "both.glb")
    assert [part.name for part in both.parts] == [part.name for part in alone.parts]
    for one, other in zip(alone.parts, both.parts, strict=True):
        np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
    assert len(read_mesh(tmp_path / "both.glb").vertices) == len(read_mesh(tmp_path / "alone.glb").vertices)
    torch.testing.assert_close(read_splats(tmp_path / "both.glb").means, splats.means, rtol=1e-6, atol=1e-7)
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "both.glb"))
    assert file.scene == 0 and [scene.name for scene in file.scenes] == ["head", "splats"]
    assert file.buffers[0].byteLength == len(file.binary_blob())


def test_splats_beside_a_mesh(tmp_path: Path, sphere: TexturedMesh, make_splats) -> None:
    write_mesh(tmp_path / "a.glb", sphere, splats=make_splats())
    assert len(read_splats(tmp_path / "a.glb")) == 40
    assert len(read_mesh(tmp_path / "a.glb").faces) == len(sphere.faces)
    with pytest.raises(OutputError, match=r"a\.obj: only a \.glb holds splats beside"):
        write_mesh(tmp_path / "a.obj", sphere, splats=make_splats())


def test_other_formats_hold_an_avatar_alone(tmp_path: Path, small_avatar: Avatar, make_splats) -> None:
    with pytest.raises(OutputError, match=r"a\.vrm: only a \.glb holds splats beside"):
        write_avatar(tmp_path / "a.vrm", small_avatar, splats=make_splats())
    with pytest.raises(ValueError, match="no splats in it"):
        write_avatar(tmp_path / "a.glb", small_avatar, splats=make_splats(0))
    assert not [*tmp_path.iterdir()]


def test_what_is_no_splats_says_what_reads_it(tmp_path: Path, sphere: TexturedMesh, make_splats) -> None:
    write_mesh(tmp_path / "mesh.glb", sphere)
    with pytest.raises(InputError, match=r"no splats in it .* read_mesh and read_avatar read meshes"):
        read_splats(tmp_path / "mesh.glb")
    write_splats(tmp_path / "splats.glb", make_splats())
    with pytest.raises(InputError, match="no mesh in its scene; only splats, which read_splats reads"):
        read_mesh(tmp_path / "splats.glb")
    with pytest.raises(InputError, match="no mesh with a skeleton"):
        read_avatar(tmp_path / "splats.glb")


def _extension(document: dict[str, Any]) -> dict[str, Any]:
    return document["meshes"][0]["primitives"][0]["extensions"][NAME]


def _attributes(document: dict[str, Any]) -> dict[str, Any]:
    return document["meshes"][0]["primitives"][0]["attributes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: _extension(d).update(kernel="cube"), "the kernel 'cube'; this reads 'ellipse'"),
        (lambda d: _extension(d).update(colorSpace="lin_rec709_display"), "the colorSpace 'lin_rec709_display'"),
        (lambda d: _extension(d).pop("colorSpace"), "the colorSpace None"),
        (lambda d: _extension(d).update(extensions={"KHR_x": {}}), "need KHR_x, which is not read here"),
        (lambda d: d.update(extensionsRequired=[NAME, "KHR_x"]), "needs KHR_x, which is not read here"),
        (lambda d: _accessor(d, f"{NAME}:OPACITY").update(count=39), "attributes of 39 and 40 splats"),
        (lambda d: _accessor(d, f"{NAME}:ROTATION").update(type="VEC3"), "ROTATION is VEC3, not VEC4"),
        (lambda d: [a.update(count=10**12) for a in d["accessors"]], "1000000000000 splats in"),
        (lambda d: [a.update(count=-1) for a in d["accessors"]], "attributes of -1 splats"),
        (lambda d: [a.update(count=0) for a in d["accessors"]], "no splats in it"),
        (lambda d: _attributes(d).pop(f"{NAME}:SCALE"), "damaged glTF file"),
        (lambda d: _attributes(d).pop(f"{NAME}:SH_DEGREE_0_COEF_0"), "3 harmonics"),
        (lambda d: _attributes(d).pop(f"{NAME}:SH_DEGREE_1_COEF_2"), "3 harmonics"),
        (lambda d: d["nodes"][0].update(scale=[1, 1, 2]), "a node stretches or mirrors its splats"),
        (lambda d: d["nodes"][0].update(scale=[-1, 1, 1]), "a node stretches or mirrors its splats"),
        (lambda d: d["nodes"][0].update(scale=[0, 0, 0]), "a node stretches or mirrors its splats"),
    ],
)
def test_files_that_lie_are_refused(tmp_path: Path, make_splats, change, message: str) -> None:
    write_splats(tmp_path / "a.glb", make_splats(degree=1))
    with np.errstate(all="ignore"), pytest.raises(InputError, match=message) as caught:
        read_splats(_rewritten(tmp_path / "a.glb", change))
    assert "\n" not in str(caught.value)


def test_one_mesh_in_many_nodes_does_not_fill_the_memory(tmp_path: Path, make_splats) -> None:
    write_splats(tmp_path / "a.glb", make_splats(degree=1))

    def repeat(document: dict[str, Any]) -> None:
        document["nodes"] = [{"mesh": 0}] * 1000
        document["scenes"][0]["nodes"] = [*range(1000)]

    with pytest.raises(InputError, match="40000 splats in"):
        read_splats(_rewritten(tmp_path / "a.glb", repeat))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scales", -0.5, "splats of negative scale, as drafts of"),
        ("scales", float("nan"), "1 of 40 splats have scales that are not finite"),
        ("opacities", 1.5, "some opacities lie outside 0 to 1"),
        ("quats_wxyz", 0.0, "1 of 40 splats have quats_wxyz that are not finite"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, make_splats, monkeypatch, field, value, message) -> None:
    splats = make_splats()
    getattr(splats, field)[3] = value
    monkeypatch.setattr("spinmeround.io.splats.faults.splats_fault", lambda _: "")
    write_splats(tmp_path / "a.glb", splats)
    monkeypatch.undo()
    with pytest.raises(InputError, match=message):
        read_splats(tmp_path / "a.glb")


def test_damage(tmp_path: Path, make_splats, survives_corruption) -> None:
    write_splats(tmp_path / "a.glb", make_splats(5, degree=1))
    assert survives_corruption(tmp_path / "a.glb", read_splats) > 50
