"""The signed distance fitter against exact shapes, with biased normals and pictures that contradict each other."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround.errors import InputError
from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.protocols import SurfaceFitter
from spinmeround.recon.mesh_surface.fitter import SurfaceSettings
from spinmeround.recon.sdf.fitter import SdfSettings, SdfSurfaceFitter
from tests.recon import scenes
from tests.recon.test_hull import as_trimesh, head_on_neck

QUICK = SdfSettings(SurfaceSettings(20, (3,)), (3,))
RADIUS = 0.2
_MM = METRES_PER_UNIT * 1000


def spotted(points: np.ndarray) -> np.ndarray:
    return 0.5 + 0.4 * np.sin(110 * points[:, [1, 2, 0]]) * np.sin(70 * points)


def radial_error_mm(mesh) -> float:
    return float(np.median(np.abs(np.linalg.norm(mesh.vertices, axis=1) - RADIUS))) * _MM


def test_a_sphere_comes_out_round_closed_and_the_same_again():
    views = scenes.draw(scenes.sphere(), scenes.cameras(size_px=64))
    fitter = SdfSurfaceFitter(QUICK)
    assert isinstance(fitter, SurfaceFitter)
    said: list[float] = []
    fitted = fitter.fit(views, seed=0, progress=lambda fraction, what: said.append(fraction))
    mesh, cameras = fitted.mesh, fitted.cameras
    solid = as_trimesh(mesh)
    assert solid.is_watertight and solid.is_winding_consistent and solid.euler_number == 2 and solid.volume > 0
    assert radial_error_mm(mesh) < 0.4, "a pixel is 4 mm"
    np.testing.assert_array_equal(cameras.camera_from_world, views.cameras.camera_from_world)
    assert said == sorted(said) and said[-1] == 1.0
    again = fitter.fit(views, seed=1).mesh
    np.testing.assert_array_equal(mesh.vertices, again.vertices)


def test_low_frequency_bias_of_normals_is_corrected_by_the_pictures():
    rng = np.random.default_rng(0)
    views = scenes.draw(scenes.sphere(), scenes.cameras(size_px=96), colour=spotted)
    tilt = np.stack(
        [cv2.resize(rng.normal(size=(3, 3, 3)), (96, 96), interpolation=cv2.INTER_CUBIC) for _ in views.alpha]
    )
    normals = views.normals_world + 0.15 * tilt.astype(np.float32)
    normals *= views.alpha[..., None] / np.linalg.norm(normals, axis=-1, keepdims=True)
    mesh = SdfSurfaceFitter(QUICK).fit(replace(views, normals_world=normals), seed=0).mesh
    away = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    cosine = (vertex_normals(mesh.vertices, mesh.faces) * away).sum(1)
    assert radial_error_mm(mesh) < 0.7
    assert np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))) < 3.5, "a single normal is off by 9 degrees"


def test_a_neck_is_cut_flat():
    views = head_on_neck(64)
    mesh = SdfSurfaceFitter(QUICK).fit(views, seed=0).mesh
    low = mesh.vertices[:, 1].min()
    assert as_trimesh(mesh).is_watertight
    assert (mesh.vertices[:, 1] == low).sum() > 20


@pytest.mark.parametrize("field", ["alpha", "normals_world"])
def test_what_is_not_a_number_is_refused(field):
    views = scenes.draw(scenes.sphere(subdivisions=2), scenes.cameras(size_px=32))
    bad = getattr(views, field).copy()
    bad[0, 5, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        SdfSurfaceFitter(QUICK).fit(replace(views, **{field: bad}), seed=0)


def test_pictures_that_contradict_each_other_leave_no_bumps_where_there_are_no_normals():
    rng = np.random.default_rng(1)
    views = scenes.draw(scenes.sphere(), scenes.cameras(size_px=64))
    painted = np.stack([cv2.GaussianBlur(rng.random((64, 64, 3)), (0, 0), 1.5) for _ in views.alpha])
    blank = replace(views, normals_world=np.zeros_like(views.normals_world), rgb=painted.astype(np.float32))
    mesh = SdfSurfaceFitter(QUICK).fit(blank, seed=0).mesh
    away = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    cosine = (vertex_normals(mesh.vertices, mesh.faces) * away).sum(1)
    assert np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))) < 2
