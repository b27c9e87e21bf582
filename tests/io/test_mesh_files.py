"""Mesh files: round trips, readers written by others, colours, heights, damage."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import plyfile
import pygltflib
import pytest
import trimesh

from spinmeround.errors import InputError, OutputError
from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.images import to_float
from spinmeround.io import metres_per_unit, read_mesh, write_mesh
from spinmeround.io.gltf import scene
from spinmeround.io.gltf.buffer import container
from spinmeround.io.meshes import obj
from spinmeround.io.meshes.corners import fan_triangles, merge_duplicates
from spinmeround.io.pictures import read_picture
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh


def corners(mesh: Mesh | TexturedMesh) -> np.ndarray:
    return np.asarray(mesh.vertices)[mesh.faces]


@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_textured_round_trip(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    write_mesh(tmp_path / f"a.{suffix}", sphere)
    back = read_mesh(tmp_path / f"a.{suffix}")
    assert isinstance(back, TexturedMesh)
    np.testing.assert_allclose(corners(back), corners(sphere), atol=2e-8)
    np.testing.assert_allclose(back.uv[back.uv_faces], sphere.uv[sphere.uv_faces], atol=1e-7)
    np.testing.assert_array_equal(back.albedo, sphere.albedo)
    assert len(back.vertices) == len(sphere.vertices)  # merged again over the seam
    assert trimesh.Trimesh(back.vertices, back.faces, process=False).is_watertight
    write_mesh(tmp_path / f"b.{suffix}", back)
    assert read_mesh(tmp_path / f"b.{suffix}").vertices.tobytes() == back.vertices.tobytes()


def test_a_normal_map_brings_tangents_and_comes_back(tmp_path: Path, bumpy: TexturedMesh) -> None:
    write_mesh(tmp_path / "a.glb", bumpy)
    back = read_mesh(tmp_path / "a.glb")
    assert isinstance(back, TexturedMesh)
    np.testing.assert_allclose(back.normal_map, bumpy.normal_map, atol=0.01)
    file = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert file.materials[0].normalTexture.index == 1
    rows = {}
    for name in ("POSITION", "NORMAL", "TANGENT", "TEXCOORD_0"):
        accessor = file.accessors[getattr(file.meshes[0].primitives[0].attributes, name)]
        view = file.bufferViews[accessor.bufferView]
        data = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
        rows[name] = np.frombuffer(data, "<f4").reshape(accessor.count, -1)
    tangent, sign = rows["TANGENT"][:, :3], rows["TANGENT"][:, 3]
    np.testing.assert_allclose(np.linalg.norm(tangent, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((tangent * rows["NORMAL"]).sum(1), 0, atol=1e-6)
    assert (sign == 1).all()
    # Round the globe u grows eastward, and what is green points to the pole.
    off_poles = np.abs(rows["POSITION"][:, 1]) < 0.1
    east = np.cross([0.0, 1.0, 0.0], rows["POSITION"][off_poles])
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    assert (tangent[off_poles] * east).sum(1).min() > 0.99
    assert np.cross(rows["NORMAL"], tangent)[off_poles, 1].min() > 0.4
    green = np.asarray(back.normal_map)[:, :, 1]
    assert green[0].mean() > 0.3 and green[-1].mean() < -0.3


def test_without_a_normal_map_there_are_no_tangents(tmp_path: Path, sphere: TexturedMesh) -> None:
    write_mesh(tmp_path / "a.glb", sphere)
    file = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert file.meshes[0].primitives[0].attributes.TANGENT is None
    assert file.materials[0].normalTexture is None


def test_an_obj_has_its_normal_map_beside_it(tmp_path: Path, bumpy: TexturedMesh) -> None:
    write_mesh(tmp_path / "a b.obj", bumpy)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a b.obj", "a_b.mtl", "a_b_albedo.png", "a_b_normal.png"]
    assert "norm a_b_normal.png" in (tmp_path / "a_b.mtl").read_text().splitlines()
    normals = to_float(read_picture(tmp_path / "a_b_normal.png")) * 2 - 1
    np.testing.assert_allclose(normals, bumpy.normal_map, atol=0.005)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_plain_round_trip(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    plain = Mesh(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32))
    write_mesh(tmp_path / f"a.{suffix}", plain)
    back = read_mesh(tmp_path / f"a.{suffix}")
    assert isinstance(back, Mesh)
    np.testing.assert_allclose(corners(back), corners(plain), atol=2e-8)
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_ply_keeps_shared_vertices_exactly(tmp_path: Path, sphere: TexturedMesh) -> None:
    write_mesh(tmp_path / "a.ply", sphere)
    back = read_mesh(tmp_path / "a.ply", metres_per_unit=1)
    np.testing.assert_array_equal(back.faces, sphere.faces)
    np.testing.assert_array_equal(back.vertices, (sphere.vertices * METRES_PER_UNIT).astype(np.float32))


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_trimesh_sees_the_same_mesh(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    write_mesh(tmp_path / f"my head.{suffix}", sphere)
    theirs = trimesh.load(tmp_path / f"my head.{suffix}", force="mesh", process=False)
    np.testing.assert_allclose(theirs.vertices[theirs.faces], corners(sphere) * METRES_PER_UNIT, atol=1e-7)
    assert (theirs.extents[1] / 0.23) == pytest.approx(1, abs=1e-6)
    if suffix == "ply":
        return
    # Both OBJ and trimesh count v upward; trimesh turns glTF's.
    np.testing.assert_allclose(theirs.visual.uv[theirs.faces], sphere.uv[sphere.uv_faces], atol=1e-6)
    material = theirs.visual.material
    image = material.baseColorTexture if suffix == "glb" else material.image
    np.testing.assert_array_equal(np.asarray(image), np.rint(sphere.albedo * 255))


def test_normals_are_those_of_the_whole_surface_even_at_the_seam(tmp_path: Path, sphere: TexturedMesh) -> None:
    expected = vertex_normals(sphere.vertices, sphere.faces)
    write_mesh(tmp_path / "a.ply", sphere)
    vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    np.testing.assert_allclose(np.stack([vertex["nx"], vertex["ny"], vertex["nz"]], axis=1), expected, atol=1e-6)
    write_mesh(tmp_path / "a.glb", sphere)
    document = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    attributes = document.meshes[0].primitives[0].attributes
    read = {}
    for name in ("POSITION", "NORMAL"):
        view = document.bufferViews[document.accessors[getattr(attributes, name)].bufferView]
        values = np.frombuffer(document.binary_blob(), "<f4", view.byteLength // 4, view.byteOffset)
        read[name] = values.reshape(-1, 3) / (METRES_PER_UNIT if name == "POSITION" else 1)
    nearest = np.linalg.norm(read["POSITION"][:, None] - sphere.vertices[None], axis=2).argmin(axis=1)
    np.testing.assert_allclose(read["NORMAL"], expected[nearest], atol=1e-6)
    write_mesh(tmp_path / "a.obj", sphere)
    rows = [line.split()[1:] for line in (tmp_path / "a.obj").read_text().splitlines() if line.startswith("vn ")]
    np.testing.assert_allclose(np.array(rows, float), expected, atol=1e-6)


def test_pygltflib_sees_what_gltf_asks_for(tmp_path: Path, sphere: TexturedMesh) -> None:
    write_mesh(tmp_path / "a.glb", sphere)
    document = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert document.asset.version == "2.0"
    material = document.materials[0].pbrMetallicRoughness
    assert (material.metallicFactor, material.roughnessFactor) == (0, 0.9)
    assert document.images[0].mimeType == "image/png"
    position = document.accessors[document.meshes[0].primitives[0].attributes.POSITION]
    limit = np.float32(0.28 * METRES_PER_UNIT)
    np.testing.assert_allclose(position.max, [limit] * 3, rtol=1e-6)
    np.testing.assert_allclose(position.min, [-limit] * 3, rtol=1e-6)
    assert position.count > len(sphere.vertices)  # split along the seam
    assert document.accessors[document.meshes[0].primitives[0].indices].componentType == pygltflib.UNSIGNED_SHORT
    # The first texel of the picture is at the top left, where v is 0 in glTF and 1 in OBJ.
    uv_view = document.bufferViews[
        document.accessors[document.meshes[0].primitives[0].attributes.TEXCOORD_0].bufferView
    ]
    blob = document.binary_blob()
    uv = np.frombuffer(blob, "<f4", uv_view.byteLength // 4, uv_view.byteOffset).reshape(-1, 2)
    heights = np.frombuffer(blob, "<f4", position.count * 3, 0).reshape(-1, 3)[:, 1]
    assert np.corrcoef(uv[:, 1], heights)[0, 1] < -0.9


def test_large_meshes_take_wide_indices(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.random((70_000, 3)), np.arange(69_999).reshape(-1, 3))
    write_mesh(tmp_path / "a.glb", mesh)
    document = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert document.accessors[document.meshes[0].primitives[0].indices].componentType == pygltflib.UNSIGNED_INT
    np.testing.assert_allclose(corners(read_mesh(tmp_path / "a.glb")), corners(mesh), atol=1e-7)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_height(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    scale = metres_per_unit(sphere, height_m=0.25)
    assert scale == pytest.approx(0.25 / 0.56)
    write_mesh(tmp_path / f"a.{suffix}", sphere, metres_per_unit=scale)
    metric = read_mesh(tmp_path / f"a.{suffix}", metres_per_unit=1)
    assert np.ptp(metric.vertices[:, 1]) == pytest.approx(0.25, rel=1e-6)
    np.testing.assert_allclose(
        corners(read_mesh(tmp_path / f"a.{suffix}", metres_per_unit=scale)), corners(sphere), atol=5e-8
    )
    for height in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="give a height in metres"):
            metres_per_unit(sphere, height_m=height)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_same_mesh_same_bytes_and_no_trace(tmp_path: Path, sphere: TexturedMesh, suffix: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_mesh(tmp_path / folder / f"head.{suffix}", sphere)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == (["head.mtl", "head.obj", "head_albedo.png"] if suffix == "obj" else [f"head.{suffix}"])
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_colours_of_vertices(tmp_path: Path, sphere: TexturedMesh) -> None:
    """A texture that is linear in v gives each vertex, but for the poles, the colour at its own place."""
    ramp = np.broadcast_to((np.arange(256)[::-1, None, None] + 0.5) / 256, (256, 64, 3)).astype(np.float32)
    write_mesh(tmp_path / "a.ply", replace(sphere, albedo=ramp))
    vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    v = np.zeros(len(sphere.vertices))
    v[sphere.faces] = sphere.uv[sphere.uv_faces][..., 1]
    inner = np.abs(sphere.vertices[:, 1]) < 0.26
    for channel in ("red", "green", "blue"):
        np.testing.assert_allclose(vertex[channel][inner] / 255, v[inner], atol=0.02)


def test_vertices_with_colours_keep_them_in_a_ply(tmp_path: Path, sphere: TexturedMesh) -> None:
    colours = np.random.default_rng(0).random((len(sphere.vertices), 3))
    mesh = ColouredMesh(sphere.vertices, sphere.faces, colours)
    write_mesh(tmp_path / "a.ply", mesh)
    vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    for channel, name in enumerate(("red", "green", "blue")):
        np.testing.assert_allclose(vertex[name] / 255, colours[:, channel], atol=0.5 / 255 + 1e-9)
    write_mesh(tmp_path / "a.obj", mesh)
    assert not isinstance(read_mesh(tmp_path / "a.obj"), TexturedMesh)


def test_colours_of_vertices_are_means_and_not_samples(tmp_path: Path, sphere: TexturedMesh) -> None:
    chequered = np.repeat((np.indices((512, 512)).sum(0) % 2)[..., None], 3, axis=2).astype(np.float32)
    write_mesh(tmp_path / "a.ply", replace(sphere, albedo=chequered))
    red = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]["red"].astype(float)
    assert red.std() < 25  # single texels would give 0 and 255, and a deviation of 127
    assert red.mean() == pytest.approx(127.5, abs=8)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_damage_is_refused_and_never_crashes(
    tmp_path: Path, sphere: TexturedMesh, suffix: str, survives_corruption
) -> None:
    write_mesh(tmp_path / f"a.{suffix}", sphere)
    assert survives_corruption(tmp_path / f"a.{suffix}", read_mesh, flips=150) > 20


def test_broken_meshes_are_not_written(tmp_path: Path, sphere: TexturedMesh) -> None:
    nan = sphere.vertices.copy()
    nan[3] = np.nan
    broken = [
        (replace(sphere, vertices=nan), "1 of 266 vertices are not finite"),
        (replace(sphere, faces=sphere.faces + 1), r"faces refer to vertices 1 to 266, of 266"),
        (replace(sphere, uv_faces=sphere.uv_faces - 1), "faces refer to texture coordinates -1"),
        (replace(sphere, albedo=sphere.albedo * np.float32("nan")), "texels are not finite"),
        (Mesh(np.zeros((3, 3)), np.zeros((0, 3), int)), "no triangles"),
    ]
    for mesh, message in broken:
        for suffix in ("glb", "obj", "ply"):
            with pytest.raises(ValueError, match=message):
                write_mesh(tmp_path / f"a.{suffix}", mesh)
    assert list(tmp_path.iterdir()) == []


def test_obj_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, sphere: TexturedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spinmeround.io.meshes.obj.smooth_normals", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_mesh(tmp_path / "head.obj", sphere)
    assert list(tmp_path.iterdir()) == []


def test_obj_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "# by hand\nv 0 0 0 1 0 0\nv 1 0 0\nv 1 1 0\n\nv 0 1 0\nvt 0 0 0\nvn 0 0 1\ng a b\nf -4/1/1 -3/1 -2 4\nl 1 2\n"
    )
    mesh = read_mesh(tmp_path / "a.obj", metres_per_unit=1)
    assert isinstance(mesh, Mesh)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(mesh.vertices[2], [1, 1, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 x\n", "line 1 is not valid: 'v 0 0 x'"),
        ("v 0 0\nf 1 1 1\n", "a vertex with fewer than 3 numbers"),
        ("v 0 0 0\nf 1 2 9\n", "faces refer to vertices 0 to 8, of 1"),
        ("v 0 0 nan\nf 1 1 1\n", "not finite"),
        ("v 0 0 0\nf 0 1 1\n", "faces refer to vertices"),
        ("v 0 0 0\n", "no triangles in it"),
        ("mtllib ../secret.mtl\nv 0 0 0\nf 1 1 1\n", "lies outside its folder"),
        ("mtllib C:\\secret.mtl\nv 0 0 0\nf 1 1 1\n", "lies outside its folder"),
        ("mtllib a\0b.mtl\nv 0 0 0\nf 1 1 1\n", "which no system can hold"),
        ("v 0 0 0\nf 1 1 99999999999999999999\n", "line 2 is not valid"),
    ],
)
def test_bad_obj(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mesh(tmp_path / "a.obj")


def test_an_obj_whose_material_was_not_copied_along_has_no_texture(tmp_path: Path, caplog) -> None:
    (tmp_path / "a.obj").write_text("mtllib none.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    assert isinstance(read_mesh(tmp_path / "a.obj"), Mesh)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a.obj'}: none.mtl is not beside it, so the mesh has no texture"
    ]


def test_a_material_whose_name_is_too_long_for_a_file_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(f"mtllib {'m' * 5000}\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert isinstance(read_mesh(tmp_path / "a.obj"), Mesh)


def test_an_obj_opens_a_material_once_however_often_it_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "m.mtl").write_text("newmtl a\n")
    (tmp_path / "a.obj").write_text("mtllib m.mtl\n" * 2000 + "usemtl a\nv 0 0 0\nf 1 1 1\n")
    opened: list[str] = []
    read = obj._text
    monkeypatch.setattr(obj, "_text", lambda path: opened.append(path.name) or read(path))
    read_mesh(tmp_path / "a.obj")
    assert opened == ["a.obj", "m.mtl"]


def test_obj_with_two_textures(tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a.png\nnewmtl b\nmap_Kd b.png\nnewmtl c\nmap_Kd c.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl a\nusemtl b\nv 0 0 0\nf 1 1 1\n")
    with pytest.raises(InputError, match=r"2 textures \(a.png, b.png\); bake them into one first"):
        read_mesh(tmp_path / "a.obj")


def _edited(tmp_path: Path, sphere: TexturedMesh, edit) -> Path:
    write_mesh(tmp_path / "a.glb", sphere)
    data = (tmp_path / "a.glb").read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    edit(document)
    (tmp_path / "b.glb").write_bytes(container(document, data[28 + length :]))
    return tmp_path / "b.glb"


def test_glb_nodes_place_their_mesh(tmp_path: Path, sphere: TexturedMesh) -> None:
    half = np.sqrt(0.5)

    def place(document: dict) -> None:
        document["nodes"] = [
            {"children": [1], "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 0, 0, 1]},
            {"mesh": 0, "translation": [0, 1, 0], "rotation": [half, 0, 0, half], "scale": [2, 2, 2]},
        ]

    path = _edited(tmp_path, sphere, place)
    back = read_mesh(path, metres_per_unit=1)
    theirs = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(
        np.sort(back.vertices[back.faces], 1), np.sort(theirs.vertices[theirs.faces], 1), atol=1e-6
    )
    assert trimesh.Trimesh(back.vertices, back.faces, process=False).volume > 0  # a mirror turns faces over


def _shown_often(document: dict) -> None:
    """A scene of 65536 nodes that all show the same mesh."""
    document["nodes"] += [dict(document["nodes"][0]) for _ in range(2**16)]
    document["scenes"][0]["nodes"] = list(range(len(document["nodes"])))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]), "needs KHR_draco_mesh_compression"),
        (lambda d: d["meshes"][0]["primitives"][0].update(mode=1), "lines, points or strips"),
        (lambda d: d["nodes"].append({"children": [0]}) or d["scenes"][0].update(nodes=[]), "no mesh in its scene"),
        (lambda d: d["accessors"][0].update(count=10**7), "reaches over the end"),
        (lambda d: d["accessors"][0].update(count=-5), "reaches over the end"),
        (lambda d: d["accessors"][3].update(componentType=9999), "damaged glTF"),
        (lambda d: d["bufferViews"][0].update(byteOffset=10**9), "reaches over the end"),
        (lambda d: d["bufferViews"][0].update(byteStride=1), "reaches over the end"),
        (lambda d: d["images"][0].update(bufferView=0), "the texture: not a PNG"),
        (lambda d: d["images"].__setitem__(0, {"uri": "../secret.png"}), "the texture lies outside the file"),
        (lambda d: d.update(nodes="none"), "damaged glTF"),
        (lambda d: d["nodes"][0].update(matrix=[1, 2]), "damaged glTF"),
        (lambda d: d["nodes"][0].update(translation=[1e300, 0, 0]), "not finite"),
        (_shown_often, "at most 16777216 are read"),
    ],
)
def test_bad_glb(tmp_path: Path, sphere: TexturedMesh, edit, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_mesh(_edited(tmp_path, sphere, edit))


def test_infinite_counts_of_a_glb_are_damage(tmp_path: Path, sphere: TexturedMesh) -> None:
    path = _edited(tmp_path, sphere, lambda d: d["accessors"][0].update(count=123456))
    path.write_bytes(path.read_bytes().replace(b"123456", b"1e9999"))
    with pytest.raises(InputError, match="damaged glTF"):
        read_mesh(path)


def test_pictures_of_a_glb_are_measured_together(tmp_path: Path, sphere: TexturedMesh, monkeypatch) -> None:
    path = _edited(tmp_path, sphere, lambda d: d.update(images=d["images"] * 100))
    pixels = 100 * sphere.albedo[..., 0].size
    monkeypatch.setattr(scene, "MAX_PIXELS", pixels)
    read_mesh(path)
    monkeypatch.setattr(scene, "MAX_PIXELS", pixels - 1)
    with pytest.raises(InputError, match="shrink them first"):
        read_mesh(path)


def test_glb_cycles_end(tmp_path: Path, sphere: TexturedMesh) -> None:
    back = read_mesh(_edited(tmp_path, sphere, lambda d: d["nodes"][0].update(children=[0])))
    assert len(back.faces) == len(sphere.faces)


def test_strangers(tmp_path: Path, sphere: TexturedMesh, make_splats) -> None:
    with pytest.raises(OutputError, match=r"written as \.glb \.obj \.ply \.usdz \.stl \.3mf \.off, not as '\.fbx'"):
        write_mesh(tmp_path / "a.fbx", sphere)
    with pytest.raises(InputError, match=r"read from \.glb \.obj \.ply \.vrm, not from '\.fbx'"):
        read_mesh(tmp_path / "a.fbx")
    for suffix in ("glb", "obj", "ply"):
        with pytest.raises(InputError, match="cannot be read: no such file"):
            read_mesh(tmp_path / f"none.{suffix}")
    from spinmeround.io import write_splats

    write_splats(tmp_path / "a.ply", make_splats())
    with pytest.raises(InputError, match="a PLY of splats, without faces; a mesh is needed here"):
        read_mesh(tmp_path / "a.ply")


def test_the_scan_of_the_evaluation_data(test_data: Path) -> None:
    path = test_data / "scans" / "igea.ply"
    ours, theirs = read_mesh(path, metres_per_unit=1), trimesh.load(path, process=False)
    np.testing.assert_array_equal(ours.vertices, theirs.vertices)
    np.testing.assert_array_equal(ours.faces, theirs.faces)


def test_fans() -> None:
    triangles = fan_triangles(np.array([3, 2, 5, 0, 4]), np.arange(14))
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [5, 6, 7], [5, 7, 8], [5, 8, 9], [10, 11, 12], [10, 12, 13]])


def test_joining_keeps_the_order_of_first_use() -> None:
    points = np.array([[3.0, 0], [1, 0], [3, 0], [2, 0]])
    kept, faces = merge_duplicates(points, np.array([[0, 1, 2], [3, 2, 1]]))
    np.testing.assert_array_equal(kept, [[3, 0], [1, 0], [2, 0]])
    np.testing.assert_array_equal(faces, [[0, 1, 0], [2, 0, 1]])
