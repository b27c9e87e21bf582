"""The visual hull against bodies whose hull is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh

from spinmeround.errors import InputError
from spinmeround.geometry import select
from spinmeround.recon.hull import silhouettes, visual_hull, without_holes
from tests.recon import scenes


def as_trimesh(mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def head_on_neck(size_px: int = 128):
    body = scenes.union(scenes.sphere((0, 0.05, 0), (0.18, 0.24, 0.2)), scenes.tube(0.09, 0.0, -1.0))
    return scenes.draw(body, scenes.cameras([(30 * i, (12, -14, 0)[i % 3]) for i in range(12)], size_px=size_px))


def test_signed_distances_of_a_disc_are_right_to_a_fraction_of_a_pixel():
    x, y = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
    exact = 30.3 - np.hypot(x - 47.2, y - 50.1)
    distance = silhouettes(np.clip(exact + 0.5, 0, 1)[None]).distance_px[0]
    near = np.abs(exact) < 12
    assert np.abs(distance - exact)[near].max() < 0.1
    assert np.abs((distance - exact)[near].mean()) < 0.03


def test_the_picture_border_is_no_contour():
    mask = np.zeros((1, 64, 64))
    mask[:, 20:, 16:48] = 1
    masks = silhouettes(mask)
    np.testing.assert_array_equal(masks.cut, [[False, False, False, True]])
    assert masks.distance_px[0, 63, 32] > 14, "the lowest row is deep inside: the contour lies left, right and above"


def test_holes_in_single_masks_make_no_tunnels():
    cams = scenes.cameras()
    views = scenes.draw(scenes.sphere(), cams)
    pierced = views.alpha.copy()
    for view, mask in enumerate(pierced):
        cv2.circle(mask, (60 + view % 3, 66 - view % 5), 4, 0.0, -1)
    whole, masks = silhouettes(views.alpha), silhouettes(pierced)
    np.testing.assert_array_equal(masks.distance_px, whole.distance_px)
    assert as_trimesh(visual_hull(cams, masks).mesh).euler_number == 2


def test_holes_that_are_part_of_the_contour_stay():
    mask = np.zeros((100, 100), np.float32)
    cv2.circle(mask, (50, 50), 40, 1.0, 6)
    mask[:5, 40:60] = 1
    mask[0, 48:52] = 0
    np.testing.assert_array_equal(without_holes(mask), mask)


def test_specks_do_not_count():
    mask = np.zeros((1, 64, 64))
    mask[:, 20:44, 20:44] = 1
    mask[:, 2, 2] = 1
    assert silhouettes(mask).distance_px[0, 2, 2] < -10


def test_hull_of_a_sphere_is_the_sphere_closed_and_outward():
    views = scenes.draw(scenes.sphere((0.03, -0.02, 0.05)), scenes.cameras())
    hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=48)
    mesh = as_trimesh(hull.mesh)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.euler_number == 2
    ball, pixel = 4 / 3 * np.pi * 0.2**3, 2.7 / (3.877 * 128)
    assert ball * 0.99 < mesh.volume < ball * 1.12, "contains the body, and little more"
    assert np.linalg.norm(hull.mesh.vertices - [0.03, -0.02, 0.05], axis=1).min() > 0.2 - 0.6 * pixel
    assert hull.floor_y is None


def test_views_that_cut_the_neck_do_not_carve_it_and_it_is_closed_flat():
    views = head_on_neck()
    hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=48)
    mesh = as_trimesh(hull.mesh)
    assert hull.floor_y is not None and -0.42 < hull.floor_y < -0.36
    assert mesh.is_watertight
    assert mesh.bounds[0][1] == pytest.approx(hull.floor_y, abs=1e-3)
    just_above = hull.mesh.vertices[np.abs(hull.mesh.vertices[:, 1] - hull.floor_y - 0.03) < 0.01]
    assert np.hypot(just_above[:, 0], just_above[:, 2]).min() > 0.085, "the neck keeps its width down to the cut"


def test_a_close_view_that_cuts_the_sides_does_not_carve():
    views = scenes.draw(scenes.sphere(), scenes.cameras())
    close = views.cameras.intrinsics_px.copy()
    close[0, :2, :2] *= 3
    cameras = type(views.cameras)(views.cameras.camera_from_world, close, 128, 128)
    views = scenes.draw(scenes.sphere(), cameras)
    assert views.alpha[0].all()
    mesh = as_trimesh(visual_hull(cameras, silhouettes(views.alpha), cells=48).mesh)
    assert 4 / 3 * np.pi * 0.2**3 * 0.99 < mesh.volume < 4 / 3 * np.pi * 0.2**3 * 1.2


def test_bad_views_are_said_to_be_bad():
    views = scenes.draw(scenes.sphere(), scenes.cameras())
    with pytest.raises(InputError, match=r"at least two views.*got 1"):
        visual_hull(select(views.cameras, 0), silhouettes(views.alpha[:1]))
    empty = views.alpha.copy()
    empty[3] = 0
    with pytest.raises(InputError, match="mask of view 3 is empty"):
        silhouettes(empty)
    apart = views.cameras.camera_from_world.copy()
    apart[2, 0, 3] += 0.6
    cameras = type(views.cameras)(apart, views.cameras.intrinsics_px, 128, 128)
    with pytest.raises(InputError, match="masks"):
        visual_hull(cameras, silhouettes(views.alpha))
