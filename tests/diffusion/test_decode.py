"""A textured ball through the model's kind of pictures and back: mask, colours, normals, and who is not believed."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.diffusion.camera import ModelRig, rig_of
from spinmeround.diffusion.decode import Matte, decode_views, head_alpha
from spinmeround.geometry import camera_centres, pixel_rays_world
from tests.diffusion.test_camera import turned

RADIUS = 0.18
SIZE = 128
NEAR_WHITE = np.array([0.98, 0.97, 0.975], np.float32)
GREY = np.full(3, 0.5, np.float32)


def ball(cameras, centre) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alpha (four by four samples a pixel), colour and world normal of a ball with coloured bands."""
    fine = 4
    alphas, colours, normals = [], [], []
    for view, eye in enumerate(camera_centres(cameras)):
        intrinsics = cameras.intrinsics_px[view] * np.array([[fine], [fine], [1]])
        rays = pixel_rays_world(cameras.camera_from_world[view], intrinsics, SIZE * fine, SIZE * fine)
        rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        half = rays @ (eye - centre)
        root = half**2 - (eye - centre) @ (eye - centre) + RADIUS**2
        hit = root > 0
        outward = (eye - centre + rays * (-half - np.sqrt(np.maximum(root, 0)))[..., None]) / RADIUS * hit[..., None]
        colour = (0.4 + 0.3 * np.sin(3 * outward)) * hit[..., None]

        def small(picture):
            return picture.reshape(SIZE, fine, SIZE, fine, -1).mean((1, 3))

        alphas.append(small(hit.astype(np.float64))[..., 0])
        coverage = np.maximum(alphas[-1], 1e-6)[..., None]
        colours.append(small(colour) / coverage)
        normals.append(small(outward) / coverage)
    return tuple(np.stack(part).astype(np.float32) for part in (alphas, colours, normals))


def pictures(rig: ModelRig, cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the model would draw: colours over near white, normals of its own frame over grey, a little noise."""
    alpha, colour, normal = ball(cameras, rig.world_from_rig[:3, 3])
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (2, *colour.shape)).astype(np.float32)
    rgb = colour * alpha[..., None] + NEAR_WHITE * (1 - alpha[..., None])
    in_rig = normal @ rig.world_from_rig[:3, :3].astype(np.float32)
    encoded = (in_rig * 0.5 + 0.5) * alpha[..., None] + GREY * (1 - alpha[..., None])
    return np.clip(rgb + noise[0], 0, 1), np.clip(encoded + noise[1], 0, 1), alpha, colour


@pytest.fixture(scope="module")
def scene():
    rig = rig_of(turned(25, 10))
    cameras = rig.cameras([(45.0 * k, 0.0) for k in range(8)], size_px=SIZE)
    return rig, cameras, *pictures(rig, cameras)


def decoded(scene, rgb=None, normals=None, mattes=None):
    rig, cameras, own_rgb, own_normals, _, _ = scene
    return decode_views(
        own_rgb if rgb is None else rgb,
        own_normals if normals is None else normals,
        cameras,
        world_from_rig=rig.world_from_rig,
        mattes=mattes or {},
    )


def test_mask_colours_and_normals_come_back(scene):
    rig, cameras, _, _, alpha, colour = scene
    views = decoded(scene)
    assert np.abs(views.alpha - alpha).mean() < 0.01
    union = ((views.alpha > 0.5) | (alpha > 0.5)).sum()
    assert ((views.alpha > 0.5) & (alpha > 0.5)).sum() / union > 0.98
    np.testing.assert_array_equal(views.alpha[alpha == 0], 0)
    _, _, truth = ball(cameras, rig.world_from_rig[:3, 3])
    inside = alpha > 0.99
    lengths = np.linalg.norm(views.normals_world, axis=-1)
    np.testing.assert_allclose(lengths[inside], 1, atol=1e-5)
    np.testing.assert_array_equal(lengths[views.alpha <= 0.5], 0)
    cosine = (views.normals_world * truth).sum(-1)[inside]
    assert np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1))) < 2, "half of it is the noise"
    edge = (alpha > 0.4) & (alpha < 0.9)
    assert np.abs(views.rgb - colour)[edge].mean() < 0.06, "the background still shows at the silhouette"


def test_views_that_agree_are_trusted(scene):
    views = decoded(scene)
    assert np.median(views.weight[views.alpha > 0.9]) > 0.7
    assert (views.weight[views.alpha == 0] > 0.6).mean() > 0.99
    assert views.weight.min() >= 0.1
    assert views.weight.max() <= 1


def test_a_view_that_disagrees_is_trusted_less(scene):
    rgb, normals = scene[2].copy(), scene[3].copy()
    rgb[2, 54:76, 54:76] = [0.9, 0.1, 0.1]
    normals[4, 54:76, 54:76] = normals[4, 54:76, 54:76][..., ::-1]
    fair, spoilt = decoded(scene), decoded(scene, rgb, normals)
    patch = np.s_[60:70, 60:70]
    assert spoilt.weight[2][patch].mean() < 0.4 * fair.weight[2][patch].mean()
    assert spoilt.weight[4][patch].mean() < 0.7 * fair.weight[4][patch].mean()
    away = np.s_[:, 80:90]
    assert spoilt.weight[2][away].mean() > 0.8 * fair.weight[2][away].mean()


def test_a_silhouette_nobody_else_shows_is_not_trusted(scene):
    rgb, normals = scene[2].copy(), scene[3].copy()
    rgb[1, 56:84, 90:116] = 0.3
    views = decoded(scene, rgb, normals)
    assert (views.alpha[1, 60:80, 104:112] > 0.5).all()
    assert views.weight[1, 64:76, 104:110].mean() < 0.45


def test_photos_keep_their_own_matte_and_trust(scene):
    matte = np.zeros((SIZE, SIZE), np.float32)
    matte[40:90, 40:90] = 0.8
    views = decoded(scene, mattes={0: Matte(matte, matte * 0.5 + 0.5)})
    np.testing.assert_array_equal(views.alpha[0], matte)
    np.testing.assert_array_equal(views.weight[0], matte * 0.5 + 0.5)


def test_white_hair_and_lost_normals_are_head():
    rgb = np.full((64, 64, 3), 0.97, np.float32)
    normals = np.full((64, 64, 3), 0.5, np.float32)
    normals[8:30, 20:44] = [0.5, 0.5, 1.0]
    rgb[30:56, 20:44] = 0.3
    rgb[2, 2] = 0
    alpha = head_alpha(rgb, normals, NEAR_WHITE)
    np.testing.assert_array_equal(alpha[10:54, 22:42], 1)
    assert alpha[8:56, 20:44].mean() > 0.98
    assert not alpha[:7].any()
    assert alpha[2, 2] == 0, "a speck is no head"
    rgb[40, 30], normals[40, 30] = NEAR_WHITE, 0.5
    assert head_alpha(rgb, normals, NEAR_WHITE)[40, 30] == 1, "a pinhole is no hole"


def test_normals_that_face_away_are_left_out_and_it_is_said(scene, caplog):
    views = decoded(scene, normals=1 - scene[3])
    assert not views.normals_world.any()
    assert "face the cameras" in caplog.text


def test_two_views_cannot_convict_each_other(scene):
    rig, cameras, rgb, normals, _, _ = scene
    pair = type(cameras)(cameras.camera_from_world[:2], cameras.intrinsics_px[:2], SIZE, SIZE)
    views = decode_views(rgb[:2], normals[:2], pair, world_from_rig=rig.world_from_rig, mattes={})
    np.testing.assert_array_equal(views.weight, 1)
