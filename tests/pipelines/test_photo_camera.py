"""The camera of the first photo, as the report has it: a point of the files falls where the photo shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround.geometry import look_at, project
from spinmeround.io.photo import Photo
from spinmeround.pipelines.backends import LoadedPortrait
from spinmeround.pipelines.portraits import describe_photo_camera
from spinmeround.portrait.portrait import _turned
from spinmeround.types import Cameras
from tests.pipelines.fakes import GOOD_PHOTO, portrait


@dataclass
class PhotographedSphere:
    photo_cameras: tuple[Cameras, ...]


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("metres_per_unit", [0.41, 1.7])
def test_a_point_of_the_files_falls_where_the_photo_shows_it(quarters, metres_per_unit):
    """The photo was read at half its size and turned; the portrait is a part of it, enlarged."""
    width, height = 300, 200
    read = Photo(np.zeros((height // 2, width // 2, 3), np.float32), photo_from_source=np.diag([0.5, 0.5, 1.0]))
    upright = _turned(read, quarters) if quarters else read
    crop_from_photo = np.array([[1.7, 0, -31.0], [0, 1.7, 12.0], [0, 0, 1]])
    crop_from_source = crop_from_photo @ upright.photo_from_source
    in_crop = Cameras(
        look_at(np.array([0.4, 0.3, 2.5]), np.zeros(3))[None],
        np.array([[[500.0, 0, 64], [0, 500, 60], [0, 0, 1]]]),
        128,
        128,
    )
    loaded = LoadedPortrait(
        Path("a.jpg"), replace(portrait(), crop_from_source=crop_from_source), 1, 1, GOOD_PHOTO, size_px=(width, height)
    )
    described = describe_photo_camera(PhotographedSphere((in_crop,)), [loaded], metres_per_unit=metres_per_unit)
    points = np.random.default_rng(0).normal(scale=0.2, size=(20, 3))
    seen_in_crop = project(points, in_crop.camera_from_world[0], in_crop.intrinsics_px[0])[:, :2]
    expected = np.column_stack([seen_in_crop, np.ones(20)]) @ np.linalg.inv(crop_from_source)[:2].T
    camera, intrinsics_px = np.array(described["camera_from_world"]), np.array(described["intrinsics_px"])
    np.testing.assert_allclose(project(points * metres_per_unit, camera, intrinsics_px)[:, :2], expected, atol=1e-5)
    np.testing.assert_allclose(camera[:3, :3] @ camera[:3, :3].T, np.eye(3), atol=1e-8)
    assert np.linalg.det(camera[:3, :3]) == pytest.approx(1)
    assert intrinsics_px[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]].tolist() == [0, 0, 0, 0, 1]
    assert (described["width_px"], described["height_px"]) == (width, height)


def test_a_prior_that_knows_no_camera_has_none():
    loaded = LoadedPortrait(Path("a.jpg"), portrait(), 1, 1, GOOD_PHOTO, size_px=(64, 64))
    assert describe_photo_camera(None, [loaded], metres_per_unit=1.0) is None
