"""Cameras of a folder that are off: which stages correct and get them, what is reported, and that it helps."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround import fit_views
from spinmeround.geometry import METRES_PER_UNIT, camera_centres
from spinmeround.inspection.drawing import mesh_drawer, splats_drawer
from spinmeround.inspection.held_out import measure
from spinmeround.io import write_views
from spinmeround.pipelines import fit_views as fit_views_module
from spinmeround.pipelines import stage_two
from spinmeround.recon.cameras.motion import describe_motion, interpolate_camera_motion
from spinmeround.recon.cameras.photometric import CameraCorrection
from spinmeround.recon.mesh_surface.fitter import NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.recon.texture.bake import bake_texture
from spinmeround.runtime.stages import Stages
from spinmeround.types import Cameras, Views
from tests.pipelines.fakes import fake_rooms, sphere_views
from tests.recon import scenes


def turned(views: Views, degrees: float) -> Views:
    """The same pictures from cameras turned about the origin, by so much on average and not at all in common."""
    turns = np.random.default_rng(0).normal(size=(len(views), 3))
    turns -= turns.mean(axis=0)
    turns *= np.radians(degrees) / np.linalg.norm(turns, axis=1).mean()
    poses = views.cameras.camera_from_world.copy()
    poses[:, :3, :3] @= Rotation.from_rotvec(turns).as_matrix()
    return dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, camera_from_world=poses))


def test_the_report_says_how_far_each_camera_moved(caplog):
    views = dataclasses.replace(sphere_views(scenes.cameras(scenes.LEVEL)), names=tuple("abcdefgh"))
    poses = views.cameras.camera_from_world.copy()
    poses[2, :3, :3] @= Rotation.from_rotvec([0, np.radians(2), 0]).as_matrix()  # about the world's origin
    poses[5, 0, 3] += 0.001 / METRES_PER_UNIT
    found = dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, camera_from_world=poses))
    with caplog.at_level("INFO"):
        told = describe_motion(views.cameras, found)["cameras_moved"]
    assert told["count"] == 2 and set(told["each"]) == {"c", "f"}
    assert told["each"]["f"] == {"mm": 1.0, "deg": 0.0}
    assert told["each"]["c"]["deg"] == told["deg"]["most"] == 2.0
    level_m = np.linalg.norm(camera_centres(views.cameras)[2, [0, 2]]) * METRES_PER_UNIT
    assert told["each"]["c"]["mm"] == pytest.approx(2000 * np.sin(np.radians(1)) * level_m, abs=0.01)
    assert "2 of 8 cameras moved" in caplog.text
    assert describe_motion(views.cameras, views) == {"cameras_moved": {"count": 0}}


def test_views_that_were_not_used_move_as_their_neighbours_did():
    ring = sphere_views(scenes.cameras([(30.0 * k, 0.0) for k in range(12)], size_px=32))
    own = np.zeros((12, 6))
    own[:, 0] = np.radians(np.arange(12))
    found = CameraCorrection(np.array([0.0, 0.02, 0.0, 0.01, -0.01, 0.0]), own).apply(ring).cameras
    np.testing.assert_allclose(
        interpolate_camera_motion(ring, ring.cameras, found).cameras.camera_from_world,
        found.camera_from_world,
        atol=1e-6,
    )
    between = sphere_views(scenes.cameras([(45.0, 0.0)], size_px=32))
    pose = interpolate_camera_motion(between, ring.cameras, found).cameras.camera_from_world[0]
    turn = Rotation.from_matrix(pose[:3, :3] @ between.cameras.camera_from_world[0, :3, :3].T).as_rotvec()
    np.testing.assert_allclose(turn, [np.radians(1.5), 0.02, 0], atol=1e-4)
    np.testing.assert_allclose(pose[:3, 3] - between.cameras.camera_from_world[0, :3, 3], [0.01, -0.01, 0], atol=1e-6)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Runs ``fit_views`` with rooms that note which cameras they were given."""
    rooms, seen = fake_rooms(), {}
    shift = CameraCorrection(np.array([0, np.radians(1), 0, 0, 0, 0.0]), np.zeros((8, 6)))

    def fit_surface(views, seed, progress):
        seen["surface"] = views.cameras
        poses = views.cameras.camera_from_world.copy()
        poses[0, 0, 3] += 0.01
        return rooms.fit_surface(views, seed, progress)[0], dataclasses.replace(views.cameras, camera_from_world=poses)

    def noting(name, room):
        def call(views, *rest):
            seen[name] = views.cameras
            return room(views, *rest)

        return call

    changed = dataclasses.replace(
        rooms,
        register_cameras=lambda *_: shift,
        fit_surface=fit_surface,
        fit_splats=noting("splats", rooms.fit_splats),
        paint_texture=noting("texture", rooms.paint_texture),
    )
    monkeypatch.setattr(fit_views_module, "rooms_of", lambda *_: changed)

    def run(*, normals: bool, **options) -> tuple[dict[str, Cameras], dict]:
        views = sphere_views(scenes.cameras(scenes.LEVEL, size_px=64), tuple("abcdefgh"))
        if not normals:
            views = dataclasses.replace(views, normals_world=np.zeros_like(views.normals_world))
        write_views(tmp_path / "views", views)
        result = fit_views(
            tmp_path / "views", out=[tmp_path / "a.ply", tmp_path / "a.obj"], report=tmp_path / "r.json",
            quality="draft", **options,
        )  # fmt: skip
        seen["result"] = result.views.cameras
        return dict(seen), json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))

    return run


def test_splats_and_texture_get_the_cameras_the_surface_found(asked):
    seen, report = asked(normals=True)
    moved = seen["surface"].camera_from_world.copy()
    moved[0, 0, 3] += 0.01
    for room in ("splats", "texture", "result"):
        np.testing.assert_allclose(seen[room].camera_from_world, moved, atol=1e-12)
    assert report["views"]["cameras_moved"]["each"].keys() == {"a"}
    assert "cameras" not in [stage["stage"] for stage in report["stages"]]


@pytest.mark.parametrize(
    ("options", "normals", "registered"),
    [
        ({}, True, False),
        ({}, False, True),
        ({"cameras": "keep"}, False, False),
        ({"cameras": "register"}, True, True),
    ],
)
def test_when_cameras_are_registered(asked, options, normals, registered):
    seen, report = asked(normals=normals, **options)
    assert ("cameras" in [stage["stage"] for stage in report["stages"]]) == registered
    assert report["views"]["cameras_moved"]["count"] == (8 if registered else 1)
    given = scenes.cameras(scenes.LEVEL, size_px=64).camera_from_world
    assert np.allclose(seen["surface"].camera_from_world, given, atol=1e-6) != registered


def patches(points: np.ndarray) -> np.ndarray:
    """A solid pattern about as fine as a head's features."""
    return np.clip(0.5 + 0.4 * np.sin(points[:, [1, 2, 0]] * 90 + np.sin(points[:, [2, 0, 1]] * 60 + [0, 2, 4])), 0, 1)


def silent(fraction: float, message: str) -> None:
    """Progress nobody watches."""


def test_noisy_cameras_are_refined_and_held_out_views_look_better():
    splatter = SplatSettings(count=6000, iterations=48)
    body = scenes.sphere(radii=(0.19, 0.22, 0.2))
    views = turned(scenes.draw(body, scenes.cameras(), patches), 0.8)
    held_out = scenes.draw(body, scenes.cameras([(22, 5), (112, -10), (250, 8)]), patches)

    def figures(*, keep: bool) -> tuple[int, float, float]:
        fitter = NormalSurfaceFitter(SurfaceSettings(32, (5, 3)), keep_cameras=keep)

        def fit_surface(views, seed, _):
            fitted = fitter.fit(views, seed=seed)
            return fitted.mesh, fitted.cameras

        rooms = dataclasses.replace(
            fake_rooms(),
            fit_surface=fit_surface,
            fit_splats=lambda views, surface, seed, _: GaussianFitter(NumbaRasterizer(), splatter).fit(
                views, surface, seed=seed
            ),
            paint_texture=lambda views, surface, *_: bake_texture(views, surface, size_px=512, faces=3000),
        )
        stages = Stages(["surface", "splats", "texture"], expected_s={})
        built = stage_two.build(views, stage_two.Wanted(splats=True, mesh=True), rooms, stages, seed=0)
        drawn = splats_drawer(built.splats), mesh_drawer(built.mesh)
        moved = describe_motion(views.cameras, built.views)["cameras_moved"]["count"]
        return (moved, *(measure(draw, held_out, silent)["psnr_head"] for draw in drawn))

    (none, *plain), (moved, *better) = figures(keep=True), figures(keep=False)
    assert none == 0 and moved > 8
    assert better[0] > plain[0] + 0.2 and better[1] > plain[1] + 1, (plain, better)
