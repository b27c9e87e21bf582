"""The CPU rasteriser of surfels against its float64 specification, and what makes a surfel a surfel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster.surfels import NumbaSurfelRasterizer
from spinmeround.types import Cameras, Splats
from tests.recon.raster import surfel_specification
from tests.recon.raster.raster_scenes import (
    FIELDS,
    PLANES,
    SCENES,
    assert_matches,
    camera,
    disc,
    edge_on,
    leaves,
    random_splats,
)

ALL_PLANES = (*PLANES, "distortion")
FRONT = Cameras(
    orbit_cameras([0.0], [0.0], size_px=65).camera_from_world,
    np.array([[[250.0, 0, 32.5], [0, 250.0, 32.5], [0, 0, 1]]]),
    65,
    65,
)


@pytest.mark.parametrize("name", SCENES)
def test_values_and_gradients_match_the_specification(name):
    assert_matches(NumbaSurfelRasterizer().render, surfel_specification.render, SCENES[name], ALL_PLANES)


@pytest.mark.parametrize("plane", ["depth", "median_depth", "distortion"])
def test_each_output_has_a_gradient_of_its_own(plane):
    splats, cameras = random_splats(150), camera()
    fast, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
    getattr(NumbaSurfelRasterizer().render(fast, cameras), plane).square().sum().backward()
    getattr(surfel_specification.render(plain, cameras), plane).square().sum().backward()
    for field in ("means", "quats_wxyz"):
        ours, theirs = getattr(fast, field).grad, getattr(plain, field).grad
        assert ours is not None and theirs is not None
        assert float((ours - theirs).norm()) < 1e-4 * float(theirs.norm()), field


def test_a_slanted_disc_shows_the_depth_of_its_plane():
    """Turned by 60 degrees about +Y; a 3D Gaussian would show the depth of its mean everywhere."""
    half = np.deg2rad(30.0)
    slanted = disc(opacity=0.95, quat_wxyz=(np.cos(half), 0.0, np.sin(half), 0.0))
    drawn = NumbaSurfelRasterizer().render(slanted, FRONT)
    alpha, depth, median = drawn.alpha[0, 32], drawn.depth[0, 32], drawn.median_depth[0, 32]
    x = (np.arange(65) + 0.5 - 32.5) / FRONT.intrinsics_px[0, 0, 0]
    normal = np.array([np.sin(2 * half), 0.0, np.cos(2 * half)])
    # The plane normal . X = 0 through the origin, met by the ray (0, 0, 2.7) + z (x, 0, -1).
    plane = 2.7 * normal[2] / (normal[2] - x * normal[0])
    shown = alpha.numpy() > 0.3
    assert 5 < shown.sum() < 65 and np.ptp(plane[shown]) > 0.1
    np.testing.assert_allclose((depth / alpha).numpy()[shown], plane[shown], rtol=1e-6)
    np.testing.assert_allclose(median.numpy()[shown], plane[shown], rtol=1e-6)


def test_distortion_of_two_discs_is_the_product_of_their_weights_times_the_squared_gap():
    front, back = disc(opacity=0.5), disc(opacity=0.8, depth=0.1)
    both = Splats(*(torch.cat([getattr(front, n), getattr(back, n)]) for n in FIELDS))
    drawn = NumbaSurfelRasterizer().render(both, FRONT).distortion
    assert drawn is not None
    assert float(drawn[0, 32, 32]) == pytest.approx(0.5 * (0.5 * 0.8) * 0.1**2, rel=1e-4)
    alone = NumbaSurfelRasterizer().render(front, FRONT).distortion
    assert alone is not None and float(alone.max()) < 1e-9


def test_the_third_scale_means_nothing():
    splats = random_splats(80)
    thicker = splats.scales * torch.tensor([1.0, 1.0, 50.0])
    thick = Splats(splats.means, thicker, *(getattr(splats, name) for name in FIELDS[2:]))
    fields = leaves(thick, torch.float32)
    drawn, thin = (NumbaSurfelRasterizer().render(s, camera()) for s in (fields, splats))
    assert torch.equal(drawn.rgb, thin.rgb)
    drawn.rgb.square().sum().backward()
    assert fields.scales.grad is not None
    assert not fields.scales.grad[:, 2].any() and fields.scales.grad[:, :2].any()


def test_however_small_a_surfel_looks_at_least_as_large_as_the_filter():
    """Whether far too small or seen exactly edge-on: a Gaussian of half a squared pixel, down to alpha 1/255."""
    tiny, half_turn = disc(opacity=0.8, size=1e-7), float(np.sqrt(0.5))
    on_edge = disc(opacity=0.8, size=1e-3, quat_wxyz=(half_turn, 0.0, half_turn, 0.0))
    distance = np.hypot(*np.meshgrid(np.arange(65) - 32, np.arange(65) - 32))
    expected = 0.8 * np.exp(-(distance**2))
    expected[expected < 1 / 255] = 0
    for splat in (tiny, on_edge):
        drawn = NumbaSurfelRasterizer().render(splat, FRONT).alpha[0].numpy()
        np.testing.assert_allclose(drawn, expected, atol=1e-6)


def test_surfels_seen_exactly_edge_on_have_finite_gradients():
    splats = leaves(edge_on(0.0, camera()), torch.float32)
    drawn = NumbaSurfelRasterizer().render(splats, camera())
    (drawn.rgb.sum() + drawn.depth.sum() + drawn.distortion.sum() + drawn.median_depth.sum()).backward()
    for name in FIELDS:
        assert torch.isfinite(getattr(splats, name).grad).all(), name


def test_a_floor_under_the_camera_ends_at_the_horizon():
    """One vast surfel, 0.3 below the eye, reaching behind it: its conic is open, its depth that of the floor."""
    level = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0.3], [0, 0, -1.0, 0], [0, 0, 0, 1.0]])
    cameras = Cameras(level[None], np.array([[[30.0, 0, 32], [0, 30.0, 24], [0, 0, 1]]]), 64, 48)
    quarter = float(np.sqrt(0.5))
    floor = Splats(
        torch.tensor([[0.0, 0.0, -2.0]]),
        torch.tensor([[50.0, 50.0, 1.0]]),
        torch.tensor([[quarter, quarter, 0.0, 0.0]]),
        torch.tensor([0.9]),
        torch.zeros(1, 1, 3),
    )
    drawn = NumbaSurfelRasterizer().render(floor, cameras)
    down = (np.arange(48) + 0.5 - 24) / 30
    assert float(drawn.alpha[0, :24].max()) < 0.9 * float(drawn.alpha[0, 30:].min())
    shown = down > 0.1
    np.testing.assert_allclose(drawn.median_depth[0, shown, 10].numpy(), 0.3 / down[shown], rtol=1e-4)
