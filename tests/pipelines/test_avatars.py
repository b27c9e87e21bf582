"""Whether a file holds a head that moves: the template on the surface, or a plain mesh and the reason why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround import AvatarOptions, MeshOptions, OutputOptions, RunSettings, fit_views
from spinmeround.errors import OutputError, WeightsError
from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.io import read_avatar, read_mesh, read_splats, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines.registered_head import RegisteredHeadOnSurface, head_on_surface
from spinmeround.template.model.head_model import PARTS, load_head_model
from spinmeround.template.registration.fitter import register_template
from spinmeround.template.registration.leftover_parts import ear_coverage, hair_and_clothes
from spinmeround.template.registration.target import Similarity
from spinmeround.template.texture.bake import shared_atlas
from spinmeround.types import Mesh
from tests.pipelines.fakes import FakeBackends, install, sphere_mesh, sphere_views
from tests.template.unseen_heads import stranger


@pytest.fixture(scope="module")
def rigged() -> RegisteredHeadOnSurface:
    """Somebody with a ball of hair on top, registered."""
    given = stranger(load_head_model(), 4)
    top = given.surface.vertices[given.surface.vertices[:, 1].argmax()]
    ball = sphere_mesh()
    hair = Mesh(0.3 * ball.vertices + top, ball.faces + len(given.surface.vertices))
    surface = Mesh(
        np.concatenate([given.surface.vertices, hair.vertices]), np.concatenate([given.surface.faces, hair.faces])
    )
    registered = register_template(load_head_model(), given.surface, given.landmarks)
    return RegisteredHeadOnSurface(
        registered, surface, sphere_views(orbit_cameras([0.0, 40.0], [0.0, 0.0], size_px=96)), 2
    )


def fitted(tmp_path: Path, monkeypatch, register_head, *out: str, **more) -> dict:
    """Fits a folder with that registration; returns the report."""

    class Registering(FakeBackends):
        def register_head(self, views, surface, *, progress):
            return register_head()

    install(monkeypatch, Registering)
    write_views(tmp_path / "views", sphere_views(orbit_cameras([0.0, 90.0, 180.0, 270.0], [0.0] * 4, size_px=64)))
    fit_views(
        tmp_path / "views",
        out=[tmp_path / name for name in out],
        settings=RunSettings(quality="draft", **more),
        outputs=OutputOptions(report=tmp_path / "r.json"),
    )
    return json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))


def test_views_of_a_face_become_an_avatar(tmp_path, monkeypatch, caplog, rigged):
    with caplog.at_level("INFO"):
        told = fitted(tmp_path, monkeypatch, lambda: rigged, "a.glb", avatar=AvatarOptions(lod=2, texture_px=256))
    assert "a face was found in 2 pictures" in caplog.text
    avatar = read_avatar(tmp_path / "a.glb")
    assert {part.name for part in avatar.parts} == {"skin", "eyes", "teeth", "tongue", "hair"}
    assert len(avatar.morph_names) == 52
    assert told["avatar"]["made"] is True
    assert sum(told["avatar"]["triangles"].values()) == pytest.approx(4000, rel=0.02)
    assert told["avatar"]["registration"]["face_distance_mm"]["median"] < 0.3


def test_the_height_of_a_bust_is_that_of_its_head(tmp_path, monkeypatch, rigged):
    """The world of a bust is smaller than the head's; the sphere stands for the surface with its shoulders."""
    head = rigged.registered
    smaller = Similarity(0.4, head.world_from_head.rotation, 0.4 * head.world_from_head.translation)
    surface = Mesh(0.4 * rigged.surface.vertices, rigged.surface.faces)
    bust = replace(rigged, registered=replace(head, world_from_head=smaller), surface=surface)
    heights_m = {}
    for name, given in (("head", rigged), ("bust", bust)):
        avatar = AvatarOptions(lod=2, texture_px=256)
        fitted(
            tmp_path, monkeypatch, lambda given=given: given, f"{name}.glb", f"{name}.ply", avatar=avatar, height_m=0.3
        )
        parts = read_avatar(tmp_path / f"{name}.glb", metres_per_unit=1.0).parts
        assert np.ptp(np.concatenate([part.mesh.vertices for part in parts])[:, 1]) == pytest.approx(0.3, rel=1e-3)
        splats = read_splats(tmp_path / f"{name}.ply", metres_per_unit=1.0)
        heights_m[name] = float(np.ptp(splats.means[:, 1].numpy()))
    assert heights_m["bust"] == pytest.approx(heights_m["head"] / 0.4, rel=1e-2), (
        "the sphere is 2.5 times as many heads"
    )


def test_what_stands_off_a_bust_is_what_stands_off_a_head(rigged):
    head = rigged.registered
    smaller = Similarity(0.4, head.world_from_head.rotation, head.world_from_head.translation)
    bust = Mesh(smaller(head.world_from_head.inverse()(rigged.surface.vertices)), rigged.surface.faces)
    small_head = replace(head, world_from_head=smaller)
    parts, own = hair_and_clothes(small_head, bust), hair_and_clothes(head, rigged.surface)
    assert {name: len(mesh.faces) for name, mesh in parts.items()} == {n: len(mesh.faces) for n, mesh in own.items()}
    np.testing.assert_array_equal(ear_coverage(small_head, bust), ear_coverage(head, rigged.surface))


def test_bumps_of_the_surface_become_a_normal_map(rigged):
    """Waves on the face that the template, registered without them, does not have."""
    head, still = rigged.registered, rigged.surface
    normals = vertex_normals(still.vertices, still.faces)
    height = 0.001 / METRES_PER_UNIT * np.sin(still.vertices[:, 1:2] * 2 * np.pi / 0.05)
    waved = RegisteredHeadOnSurface(
        head, Mesh(still.vertices + height * normals, still.faces), rigged.views, rigged.face_view_count
    )
    tilt_deg = []
    for given in (rigged, waved):
        avatar = given.avatar(lod=2, texture_px=256, normal_map=True)
        assert all(part.mesh.normal_map is not None for part in avatar.parts)
        skin = next(part.mesh for part in avatar.parts if part.name == "skin")
        tilt_deg.append(np.degrees(np.arccos(np.clip(skin.normal_map[..., 2], -1, 1))))
    face = shared_atlas(256).spread(head.model.masks["face"].astype(float)) > 0.9
    assert np.median(tilt_deg[1][face]) > np.median(tilt_deg[0][face]) + 5
    eyes = np.isin(shared_atlas(256).part, [PARTS.index("eye_left"), PARTS.index("eye_right")])
    assert np.abs(tilt_deg[1] - tilt_deg[0])[eyes].max() < 1e-3


def test_what_stands_off_is_kept_apart(rigged):
    parts = hair_and_clothes(rigged.registered, rigged.surface)
    assert set(parts) == {"hair"}
    head = rigged.registered
    assert head.world_from_head.inverse()(parts["hair"].vertices)[:, 1].min() > 0.15
    assert hair_and_clothes(head, Mesh(rigged.surface.vertices, rigged.surface.faces[:1000])) == {}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"avatar": AvatarOptions(rig=False)}, "the rig was left out"),
        ({"mesh": MeshOptions(5000, 1)}, "numbers of faces and levels of detail are for plain meshes"),
    ],
)
def test_plain_meshes_do_not_look_for_a_face(tmp_path, monkeypatch, more, why):
    def never():
        pytest.fail("nobody asked for a rig")

    told = fitted(tmp_path, monkeypatch, never, "a.glb", **more)
    assert told["avatar"] == {"made": False, "why": why}
    assert len(read_mesh(tmp_path / "a.glb").faces) > 100


def test_without_a_face_there_is_a_plain_mesh_and_a_reason(tmp_path, monkeypatch, caplog):
    told = fitted(tmp_path, monkeypatch, lambda: None, "a.glb")
    assert told["avatar"]["why"].startswith("no face was found")
    assert "holds a plain mesh: no face was found" in caplog.text
    with pytest.raises(OutputError, match=r"a \.vrm must move, but no face was found"):
        fitted(tmp_path, monkeypatch, lambda: None, "a.vrm")


def test_without_the_face_finders_files_too(tmp_path, monkeypatch):
    def absent():
        raise WeightsError("face_landmarker.task: no network")

    told = fitted(tmp_path, monkeypatch, absent, "a.glb")
    assert told["avatar"]["why"] == "no face could be looked for: face_landmarker.task: no network"


def test_a_ball_with_a_face_painted_on_is_no_head(monkeypatch):
    given = stranger(load_head_model(), 1)
    monkeypatch.setattr(
        "spinmeround.template.registration.landmarks.find_surface_landmarks", lambda *_: given.landmarks
    )
    assert head_on_surface(sphere_views(orbit_cameras([0.0], [0.0], size_px=64)), sphere_mesh()) is None
