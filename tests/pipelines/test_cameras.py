"""Cameras of a folder that are off: when they are refined, who gets them, and that the result is better for it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround import CaptureOptions, OutputOptions, RunSettings, fit_views
from spinmeround.inspection.drawing import mesh_drawer, splats_drawer
from spinmeround.inspection.held_out import measure
from spinmeround.io import write_views
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.resume import ResumeStore
from spinmeround.pipelines.stage_two import RequestedResults, fit_results
from spinmeround.recon.cameras.motion import describe_motion
from spinmeround.recon.cameras.photometric import CameraCorrection
from spinmeround.recon.mesh_surface.fitter import NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.recon.texture.bake import bake_texture
from spinmeround.runtime.stages import Stages
from spinmeround.types import Cameras, Views, no_progress
from tests.pipelines.fakes import FakeBackends, install, sphere_views
from tests.recon import scenes


def turned(views: Views, degrees: float) -> Views:
    """The same pictures from cameras turned about the origin, by so much on average and not at all in common."""
    turns = np.random.default_rng(0).normal(size=(len(views), 3))
    turns -= turns.mean(axis=0)
    turns *= np.radians(degrees) / np.linalg.norm(turns, axis=1).mean()
    poses = views.cameras.camera_from_world.copy()
    poses[:, :3, :3] @= Rotation.from_rotvec(turns).as_matrix()
    return dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, camera_from_world=poses))


SHIFT = CameraCorrection(np.array([0, np.radians(1), 0, 0, 0, 0.0]), np.zeros((8, 6)))


@pytest.fixture
def fitted(monkeypatch, tmp_path):
    """Fits a folder with backends that note which cameras they were given."""
    seen: dict[str, Cameras] = {}

    class Noting(FakeBackends):
        def refine_cameras(self, views, *, seed, progress):
            return SHIFT

        def fit_surface(self, views, *, seed, progress):
            seen["surface"] = views.cameras
            poses = views.cameras.camera_from_world.copy()
            poses[0, 0, 3] += 0.01
            found = super().fit_surface(views, seed=seed, progress=progress)
            return dataclasses.replace(found, cameras=dataclasses.replace(views.cameras, camera_from_world=poses))

        def fit_splats(self, views, surface, *, seed, progress):
            seen["splats"] = views.cameras
            return super().fit_splats(views, surface, seed=seed, progress=progress)

        def bake_texture(self, views, surface, *, faces, progress):
            seen["texture"] = views.cameras
            return super().bake_texture(views, surface, faces=faces, progress=progress)

    install(monkeypatch, Noting)

    def run(*, normals: bool, capture: CaptureOptions, exact: bool = False) -> tuple[dict[str, Cameras], dict]:
        views = sphere_views(scenes.cameras(scenes.LEVEL, size_px=64), tuple("abcdefgh"))
        if not normals:
            views = dataclasses.replace(views, normals_world=np.zeros_like(views.normals_world))
        views = dataclasses.replace(views, exact_cameras=exact)
        write_views(tmp_path / "views", views)
        result = fit_views(
            tmp_path / "views",
            out=[tmp_path / "a.ply", tmp_path / "a.obj"],
            settings=RunSettings(quality="draft", capture=capture),
            outputs=OutputOptions(report=tmp_path / "r.json"),
        )
        seen["result"] = result.views.cameras
        return dict(seen), json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))

    return run


def test_splats_and_texture_get_the_cameras_the_surface_found(fitted):
    seen, report = fitted(normals=True, capture=CaptureOptions())
    moved = seen["surface"].camera_from_world.copy()
    moved[0, 0, 3] += 0.01
    for part in ("splats", "texture", "result"):
        np.testing.assert_allclose(seen[part].camera_from_world, moved, atol=1e-12)
    assert report["views"]["cameras_moved"]["each"].keys() == {"a"}
    assert "cameras" not in [stage["stage"] for stage in report["stages"]]


@pytest.mark.parametrize(
    ("trust", "normals", "exact", "refined"),
    [
        ("auto", True, False, False),
        ("auto", False, False, True),
        ("auto", False, True, False),
        ("keep", False, False, False),
        ("register", True, True, True),
    ],
)
def test_when_cameras_are_refined(fitted, trust, normals, exact, refined):
    seen, report = fitted(normals=normals, exact=exact, capture=CaptureOptions(cameras=trust))
    assert ("cameras" in [stage["stage"] for stage in report["stages"]]) == refined
    assert report["views"]["cameras_moved"]["count"] == (8 if refined else 1)
    given = scenes.cameras(scenes.LEVEL, size_px=64).camera_from_world
    assert np.allclose(seen["surface"].camera_from_world, given, atol=1e-6) != refined


def patches(points: np.ndarray) -> np.ndarray:
    """A solid pattern about as fine as a head's features."""
    return np.clip(0.5 + 0.4 * np.sin(points[:, [1, 2, 0]] * 90 + np.sin(points[:, [2, 0, 1]] * 60 + [0, 2, 4])), 0, 1)


class Quick(FakeBackends):
    """Real fits, as small as they can be."""

    keep_cameras = False

    def fit_surface(self, views, *, seed, progress):
        return NormalSurfaceFitter(SurfaceSettings(32, (5, 3)), keep_cameras=self.keep_cameras).fit(views, seed=seed)

    def fit_splats(self, views, surface, *, seed, progress):
        settings = SplatSettings(count=6000, iterations=48)
        return GaussianFitter(NumbaRasterizer(), settings).fit(views, surface, seed=seed)

    def bake_texture(self, views, surface, *, faces, progress):
        return bake_texture(views, surface, size_px=512, faces=3000)


def test_noisy_cameras_are_refined_and_held_out_views_look_better():
    body = scenes.sphere(radii=(0.19, 0.22, 0.2))
    views = turned(scenes.draw(body, scenes.cameras(), patches), 0.8)
    held_out = scenes.draw(body, scenes.cameras([(22, 5), (112, -10), (250, 8)]), patches)

    def figures(*, keep: bool) -> tuple[int, float, float]:
        backends, stages = Quick(), Stages(["surface", "splats", "texture"], expected_s={})
        backends.keep_cameras = keep
        requested = RequestedResults(splats=True, mesh=True)
        built = fit_results(views, requested, backends, ResumeStore(Outputs(), key=""), stages)
        drawn = splats_drawer(built.splats), mesh_drawer(built.mesh)
        moved = describe_motion(views.cameras, built.views)["cameras_moved"]["count"]
        return (moved, *(measure(draw, held_out, no_progress)["psnr_head"] for draw in drawn))

    (none, *plain), (moved, *better) = figures(keep=True), figures(keep=False)
    assert none == 0 and moved > 8
    assert better[0] > plain[0] + 0.2 and better[1] > plain[1] + 1, (plain, better)
