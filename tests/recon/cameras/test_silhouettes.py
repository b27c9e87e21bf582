"""Panning cameras by silhouettes: what was turned where it stands is turned back, what is right stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.geometry import camera_centres
from spinmeround.recon.cameras import silhouettes as silhouette_cameras
from spinmeround.recon.cameras.silhouettes import find_wrong_masks, pan_cameras_if_needed, silhouette_gap
from spinmeround.recon.hull import silhouettes, visual_hull
from spinmeround.recon.mesh_surface.fitter import NormalSurfaceFitter, SurfaceSettings
from spinmeround.types import Cameras, Views
from tests.recon.scenes import cameras, draw, sphere, union


@pytest.fixture(scope="module")
def head() -> Views:
    parts = [((0, 0, 0), (0.17, 0.25, 0.2)), ((0, -0.02, 0.22), (0.03, 0.03, 0.06))]
    rig = cameras([(30.0 * k, (0.0, 20.0, -15.0)[k % 3]) for k in range(12)])
    return draw(union(*(sphere(centre, radii) for centre, radii in parts)), rig)


def turned(views: Views) -> Views:
    """Each camera half a degree off, where it stands."""
    turns = np.random.default_rng(0).normal(size=(len(views), 3)) * np.radians(0.5) / np.sqrt(3)
    poses = views.cameras.camera_from_world.copy()
    poses[:, :3] = Rotation.from_rotvec(turns).as_matrix() @ poses[:, :3]
    return replace(views, cameras=replace(views.cameras, camera_from_world=poses))


def apart_px(found: Cameras, truth: Cameras) -> float:
    """How differently the cameras see the middle of the head, less what one motion of the head explains."""
    middle = [
        (c.intrinsics_px @ c.camera_from_world[:, :3, 3:])[:, :2, 0] / c.camera_from_world[:, 2, 3:]
        for c in (found, truth)
    ]
    off_px = middle[0] - middle[1]
    return float(np.sqrt(((off_px - silhouette_cameras._common_shifts_px(truth, off_px, np.zeros(3))) ** 2).mean()))


def test_cameras_turned_where_they_stand_are_turned_back(head):
    wrong = turned(head)
    found = pan_cameras_if_needed(wrong.cameras, wrong.alpha)
    assert apart_px(wrong.cameras, head.cameras) > 1.5
    assert apart_px(found, head.cameras) < 0.25
    np.testing.assert_allclose(camera_centres(found), camera_centres(wrong.cameras), atol=1e-5)
    assert silhouette_gap(found, wrong.alpha) < 0.5 * silhouette_gap(wrong.cameras, wrong.alpha)


def test_cameras_whose_silhouettes_agree_are_not_touched(head, monkeypatch):
    monkeypatch.setattr(silhouette_cameras, "pan_cameras", lambda *_: pytest.fail("panned"))
    assert pan_cameras_if_needed(head.cameras, head.alpha) is head.cameras


def test_pans_that_do_not_help_are_left_aside(head, monkeypatch):
    wrong = turned(head)
    monkeypatch.setattr(silhouette_cameras, "pan_cameras", lambda given, _: given)
    assert pan_cameras_if_needed(wrong.cameras, wrong.alpha) is wrong.cameras


def test_a_mask_that_is_not_of_this_head_is_found(head):
    assert find_wrong_masks(head.cameras, head.alpha) == []
    shifted = head.alpha.copy()
    shifted[4] = np.roll(shifted[4], head.cameras.width_px // 3, axis=1)
    assert find_wrong_masks(head.cameras, shifted) == [4]


def test_many_masks_that_disagree_are_the_cameras_fault(head):
    shifted = np.stack([np.roll(alpha, 80 * (k % 3 - 1), axis=1) for k, alpha in enumerate(head.alpha)])
    assert find_wrong_masks(head.cameras, shifted) == []


def test_outlier_views_do_not_carve_the_hull(head):
    bitten = head.alpha.copy()
    bitten[0, 50:80, :64] = 0
    whole = visual_hull(head.cameras, silhouettes(head.alpha), cells=32)
    believed, outvoted = (visual_hull(head.cameras, silhouettes(bitten), cells=32, max_outlier_views=n) for n in (0, 1))
    inside = [int((hull.field < 0).sum()) for hull in (believed, whole, outvoted)]
    assert inside[0] < 0.9 * inside[1] <= 0.9 * inside[2]


def test_the_surface_keeps_cameras_that_it_is_told_to_keep(head):
    wrong = turned(head)
    settings = SurfaceSettings(24, (2,))
    assert NormalSurfaceFitter(settings, keep_cameras=True).fit(wrong, seed=0).cameras is wrong.cameras
    exact = replace(wrong, exact_cameras=True)
    assert NormalSurfaceFitter(settings).fit(exact, seed=0).cameras is wrong.cameras
    assert apart_px(NormalSurfaceFitter(settings).fit(wrong, seed=0).cameras, head.cameras) < 0.5
