"""From portraits to views through a painter that stands in for the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spinmeround import weights
from spinmeround.diffusion.generator import DiffusionGenerator, cameras_toward, rig_cameras
from spinmeround.diffusion.inputs import ModelViews, Sampling
from spinmeround.errors import FitError, InputError, WeightsError
from spinmeround.orbits import ORBITS
from spinmeround.portrait.pose import canonical_face_cm
from tests.pipelines.fakes import portrait

SIZE = 64


def person(yaw: float = 0.0, pitch: float = -6.1):
    """A portrait with the mean face's landmarks, looking aside by name only."""
    face = np.concatenate([canonical_face_cm(), np.zeros((10, 3))])
    landmarks = np.stack([32 + 1.4 * face[:, 0], 32 - 1.4 * face[:, 1]], axis=1).astype(np.float32)
    return dataclasses.replace(
        portrait(64),
        landmarks_px=landmarks,
        alpha=np.ones((64, 64), np.float32),
        head_pose_deg=np.array([yaw, pitch, 0], np.float32),
        identity=np.eye(512, dtype=np.float32)[0],
    )


class Painter:
    """Paints a grey disc with normals toward the asked camera; remembers what it was asked."""

    def __call__(self, conditioning, poses, *, seed, sampling, progress):
        self.asked = (conditioning, tuple(poses), seed, sampling)
        progress(1.0, "painted")
        y, x = np.mgrid[:SIZE, :SIZE]
        disc = ((x - 32) ** 2 + (y - 35) ** 2 < 20**2)[..., None]
        rgb, normals = [], []
        for azimuth, _ in poses:
            toward = np.array([np.sin(np.radians(azimuth)), 0, np.cos(np.radians(azimuth))])
            rgb.append(np.where(disc, 0.4, 0.98).repeat(3, -1))
            normals.append(np.where(disc, toward * 0.5 + 0.5, 0.5))
        made = [np.stack(part).astype(np.float32) for part in (rgb, normals)]
        return ModelViews(*made, tuple(poses), made[1][:1])


@pytest.fixture(scope="module", autouse=True)
def models() -> None:
    try:
        weights.fetch()
    except WeightsError as error:
        pytest.skip(f"the models are not to be had: {error}")


def test_the_model_is_asked_for_its_own_poses_and_answers_with_true_cameras():
    painter, people = Painter(), [person(yaw=20)]
    sampling = Sampling(steps=7)
    generator = DiffusionGenerator(painter, sampling=sampling)
    cameras, photos = rig_cameras(people, ORBITS["anchors"], size_px=SIZE)
    views = generator.generate(people, cameras, seed=5)
    conditioning, poses, seed, used = painter.asked
    assert photos == 1
    assert poses == ((0.0, 0.0), *ORBITS["anchors"])
    assert (seed, used) == (5, sampling)
    assert conditioning.rgb.shape == (1, SIZE, SIZE, 3)
    assert tuple(conditioning.poses) == ((0.0, 0.0),)
    np.testing.assert_array_equal(conditioning.identity, people[0].identity)
    assert views.cameras is cameras
    # The normals follow the head's turn into the world: toward each camera, as they were painted.
    axes = cameras.camera_from_world[:, 2, :3]
    for view in range(1, len(views)):
        normals = views.normals_world[view][views.alpha[view] > 0.9]
        assert (normals @ axes[view] < -0.97).all()


def test_the_photo_keeps_its_matte_and_is_not_believed_beyond_its_border():
    alone = person()
    half = np.arange(64) < 30
    cut = dataclasses.replace(alone, observed=np.broadcast_to(half, (64, 64)).copy())
    cameras, _ = rig_cameras([cut], ORBITS["orbit-8"], size_px=SIZE)
    views = DiffusionGenerator(Painter()).generate([cut], cameras, seed=0)
    assert set(np.unique(views.weight[0])) == {0.0, 1.0}
    edge = int(np.flatnonzero(views.weight[0, 32] == 0)[0])
    np.testing.assert_array_equal(views.alpha[0][:, edge : edge + 8], 1, err_msg="the head goes on beyond the border")


def test_beside_the_head_nothing_goes_on_beyond_the_border():
    rows, columns = np.mgrid[:64, :64]
    alone = dataclasses.replace(
        person(),
        alpha=((columns > 24) & (columns < 40) & (rows > 20)).astype(np.float32),
        observed=rows > 20,
    )
    cameras, _ = rig_cameras([alone], ORBITS["orbit-8"], size_px=SIZE)
    views = DiffusionGenerator(Painter()).generate([alone], cameras, seed=0)
    unseen = views.weight[0] == 0
    row = int(np.flatnonzero(unseen.any(1))[-1]) - 2
    width = (views.alpha[0, row] > 0.5).sum()
    cut = (views.alpha[0, row + 5] > 0.5).sum()
    assert cut <= width < cut + 12
    assert width < 0.75 * SIZE


def test_two_photos_are_two_views_and_two_conditions():
    people = [person(), person(yaw=30)]
    cameras, photos = rig_cameras(people, [(0.0, 0.0), (90.0, 0.0)], size_px=SIZE)
    painter = Painter()
    views = DiffusionGenerator(painter).generate(people, cameras, seed=0)
    assert photos == 2
    assert len(views) == 3
    assert tuple(painter.asked[0].poses) == ((0.0, 0.0), (30.0, 0.0))
    assert painter.asked[1] == ((0.0, 0.0), (30.0, 0.0), (90.0, 0.0))


def test_pictures_without_numbers_are_not_passed_on():
    class Broken(Painter):
        def __call__(self, *arguments, **how):
            made = super().__call__(*arguments, **how)
            made.rgb[1, 5, 5] = np.nan
            return made

    cameras, _ = rig_cameras([person()], [(90.0, 0.0)], size_px=SIZE)
    with pytest.raises(FitError, match="use precision float32"):
        DiffusionGenerator(Broken()).generate([person()], cameras, seed=0)


def test_what_cannot_be_asked():
    generator = DiffusionGenerator(Painter())
    cameras, _ = rig_cameras([person()], [(90.0, 0.0)], size_px=SIZE)
    with pytest.raises(InputError, match="at least one"):
        generator.generate([], cameras, seed=0)
    with pytest.raises(InputError, match="who it is"):
        generator.generate([dataclasses.replace(person(), identity=None)], cameras, seed=0)
    with pytest.raises(InputError, match="elevations lie within"):
        cameras_toward([person()], [(0.0, 89.0)], size_px=SIZE)
