"""Captures by other programs: what is refused in which words, and what brings their world to a head's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.cameras.capture import check_visibility, normalise_world
from spinmeround.types import Cameras, Views
from tests.pipelines.fakes import sphere_views

NAMES = tuple("abcdef")


def ring() -> Views:
    azimuths, elevations = [0.0, 60.0, 120.0, 180.0, 240.0, 300.0], [0.0, 20.0] * 3
    return sphere_views(orbit_cameras(azimuths, elevations, size_px=64), NAMES)


def moved(views: Views, turn, scale: float, shift) -> Views:
    """The same pictures in another world: ``scale · turn · x + shift``."""
    poses = views.cameras.camera_from_world.copy()
    for pose in poses:
        rotation = pose[:3, :3] @ turn.T
        pose[:3, 3] = scale * pose[:3, 3] - rotation @ np.asarray(shift)
        pose[:3, :3] = rotation
    cameras = Cameras(poses, views.cameras.intrinsics_px, views.cameras.width_px, views.cameras.height_px)
    return replace(views, cameras=cameras, normals_world=views.normals_world @ np.asarray(turn, np.float32).T)


def with_pose(views: Views, index: int, change) -> Views:
    poses = views.cameras.camera_from_world.copy()
    poses[index] = change(poses[index])
    return replace(views, cameras=replace(views.cameras, camera_from_world=poses))


def test_views_of_a_head_stay_where_they_are():
    check_visibility(ring())
    assert normalise_world(ring()) is None


@pytest.mark.parametrize(
    ("turn", "scale", "shift"),
    [
        (np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), 1.0, (0, 0, 0)),  # +Z up
        (np.diag([1.0, -1, -1]), 40.0, (3, -200, 80)),  # COLMAP's convention, y down
        (np.eye(3), 1000.0, (0, 0, 0)),  # millimetres
        (np.eye(3), 1.0, (5, 1, -2)),
        (np.eye(3), 0.02, (0, 0, 0)),
    ],
)
def test_other_worlds_become_that_of_a_head(turn, scale, shift, caplog):
    views = ring()
    other = moved(views, turn, scale, shift)
    check_visibility(other)
    with caplog.at_level("INFO"):
        found = normalise_world(other)
    assert found is not None
    assert "the folder's world is not a head's" in caplog.text
    back = found.apply(other)
    rotation = slice(None), slice(3), slice(3)
    np.testing.assert_allclose(
        back.cameras.camera_from_world[rotation], views.cameras.camera_from_world[rotation], atol=1e-9
    )
    np.testing.assert_allclose(back.normals_world, views.normals_world, atol=1e-6)
    radius = np.linalg.norm(back.cameras.camera_from_world[:, :3, 3], axis=1)
    np.testing.assert_allclose(radius / radius.mean(), 1, atol=0.02)
    assert radius.mean() == pytest.approx(2.7, rel=0.15)
    matrix = np.array(found.report["head_from_folder"])
    for pose, old in zip(back.cameras.camera_from_world, other.cameras.camera_from_world, strict=True):
        centres = (-p[:3, :3].T @ p[:3, 3] for p in (pose, old))
        np.testing.assert_allclose(next(centres), (matrix @ [*next(centres), 1])[:3], atol=1e-5)


def test_a_world_that_leans_is_set_upright():
    turn = Rotation.from_euler("xz", [60, 10], degrees=True).as_matrix()
    found = normalise_world(moved(ring(), turn, 1.0, (0, 0, 0)))
    up = found.apply(moved(ring(), turn, 1.0, (0, 0, 0))).cameras.camera_from_world[:, 1, :3].mean(axis=0)
    np.testing.assert_allclose(-up / np.linalg.norm(up), [0, 1, 0], atol=1e-9)


def test_one_view_only():
    views = sphere_views(orbit_cameras([0.0], [0.0], size_px=64))
    with pytest.raises(InputError, match="one view to fit: a surface needs at least two"):
        check_visibility(views)


def test_masks_without_a_head():
    views = ring()
    with pytest.raises(InputError, match="every mask is empty: masks are white"):
        check_visibility(replace(views, alpha=views.alpha * 0))
    alpha = views.alpha.copy()
    alpha[[1, 4]] = 0
    with pytest.raises(InputError, match="the head is in no pixel of 2 of 6 masks: b, e; remove these frames"):
        check_visibility(replace(views, alpha=alpha))


def test_cameras_that_see_nothing():
    def turned_away(pose):
        return np.vstack([Rotation.from_euler("y", 120, degrees=True).as_matrix() @ pose[:3], pose[3]])

    with pytest.raises(InputError, match="1 of 6 cameras do not look at the place the others look at: c; correct"):
        check_visibility(with_pose(ring(), 2, turned_away))

    def elsewhere(pose):
        return pose + np.array([[0, 0, 0, 6.0], [0] * 4, [0] * 4, [0] * 4])

    with pytest.raises(InputError, match="1 of 6 cameras do not look at the place the others look at: f; correct"):
        check_visibility(with_pose(ring(), 5, elsewhere))


FLIP = np.diag([1.0, -1, -1, 1])


@pytest.mark.parametrize(
    ("convention", "matrix"),
    [
        ("OpenCV's camera-to-world", np.linalg.inv),
        ("OpenGL's world-to-camera", lambda pose: FLIP @ pose),
        ("OpenCV's world-to-camera", lambda pose: pose),
    ],
)
def test_matrices_in_other_conventions_are_recognised(convention, matrix):
    """Views as read from such a folder: the reader takes every matrix for OpenGL's camera-to-world."""
    views = ring()
    for index in range(len(views)):
        views = with_pose(views, index, lambda pose: np.linalg.inv(matrix(pose) @ FLIP))
    with pytest.raises(
        InputError, match=rf"and all of them do if their matrices are {convention}.*: transforms.json wants"
    ):
        check_visibility(views)


def test_heads_behind_all_cameras():
    views = ring()
    for index in range(len(views)):
        behind = Rotation.from_euler("y", 140 + 10 * index, degrees=True).as_matrix()
        views = with_pose(views, index, lambda pose, turn=behind: np.vstack([turn @ pose[:3], pose[3]]))
    with pytest.raises(InputError, match=r"cameras have the head behind them|do not look at the place the others"):
        check_visibility(views)


@pytest.mark.parametrize("apart", [0.0, 1e-3])
def test_cameras_at_one_point(apart):
    views = ring()
    poses = np.broadcast_to(views.cameras.camera_from_world[0], (6, 4, 4)).copy()
    poses[:, 0, 3] += apart * np.arange(6)
    same = replace(views, alpha=np.repeat(views.alpha[:1], 6, axis=0))
    with pytest.raises(InputError, match=r"all cameras stand at one point, or within \S+ degrees"):
        check_visibility(replace(same, cameras=replace(views.cameras, camera_from_world=poses)))


def test_inverted_masks_and_tiny_pictures():
    views = ring()
    with pytest.raises(InputError, match="they seem inverted: white, 255, is the head"):
        check_visibility(replace(views, alpha=1 - views.alpha))
    with pytest.raises(InputError, match="6 of 6 pictures would be head from border to border: a, b, c and 3 more"):
        check_visibility(replace(views, alpha=np.ones_like(views.alpha)))
    for index, value in ((2, 1 - views.alpha[2]), (3, np.ones((64, 64), np.float32))):
        alpha = views.alpha.copy()
        alpha[index] = value
        with pytest.raises(InputError, match=f": {NAMES[index]}; "):
            check_visibility(replace(views, alpha=alpha))
    dots = np.zeros_like(views.alpha)
    dots[:, 30:36, 30:36] = 1
    with pytest.raises(InputError, match="the head is 6 pixels high in the middle of the masks, too little"):
        check_visibility(replace(views, alpha=dots))
    tiny = sphere_views(orbit_cameras([0.0, 90.0, 180.0], [0.0] * 3, size_px=16))
    with pytest.raises(InputError, match="pictures of 16 x 16 pixels show too little of a head; give at least 32"):
        check_visibility(tiny)
