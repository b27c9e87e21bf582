"""The CPU rasteriser against its float64 specification, and the laws it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.errors import ResourceError
from spinmeround.geometry import select
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import Rasterizer
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.raster.surfels import NumbaSurfelRasterizer
from spinmeround.types import Cameras, Splats
from tests.recon.raster import splat_specification
from tests.recon.raster.raster_scenes import (
    FIELDS,
    PLANES,
    SCENES,
    assert_matches,
    assert_same_bytes,
    camera,
    disc,
    leaves,
    random_splats,
)

BOTH = pytest.mark.parametrize("kind", [NumbaRasterizer, NumbaSurfelRasterizer])


@pytest.mark.parametrize(
    ("name", "antialiased"), [(n, False) for n in SCENES] + [(n, True) for n in SCENES if n != "tiny"]
)
def test_values_and_gradients_match_the_specification(name, antialiased):
    def specify(splats, cameras, **poses):
        return splat_specification.render(splats, cameras, antialiased=antialiased, **poses)

    assert_matches(NumbaRasterizer(antialiased=antialiased).render, specify, SCENES[name])


@BOTH
def test_it_is_a_rasterizer(kind):
    assert isinstance(kind(), Rasterizer)


def test_dilation_is_the_specifications():
    splats, cameras = random_splats(100, size=0.004), camera()
    blurred = NumbaRasterizer(dilation_px2=0.3).render(splats, cameras).rgb
    expected = splat_specification.render(leaves(splats, torch.float64), cameras, dilation_px2=0.3).rgb
    torch.testing.assert_close(blurred.double(), expected.detach(), rtol=0, atol=1e-5)
    assert (blurred - NumbaRasterizer().render(splats, cameras).rgb).abs().max() > 0.01


def test_an_antialiased_splat_covers_as_much_when_it_is_dilated():
    """One faint splat, sharp and blurred: the pictures differ, their sums do not."""
    one = Splats(
        torch.zeros(1, 3), torch.full((1, 3), 0.02), torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([0.5]),
        torch.zeros(1, 1, 3),
    )  # fmt: skip
    sharp, kept, bold = (
        NumbaRasterizer(dilation_px2=d, antialiased=a).render(one, camera()).alpha
        for d, a in ((1e-4, True), (4.0, True), (4.0, False))
    )
    assert float(kept.max()) < 0.8 * float(sharp.max())
    assert float(kept.sum()) == pytest.approx(float(sharp.sum()), rel=0.03)
    assert float(bold.sum()) > 1.5 * float(sharp.sum())


def test_each_output_has_a_gradient_of_its_own():
    """Only one picture enters the loss; the missing gradients of the others count as zero."""
    splats, cameras = random_splats(50), camera()
    for plane in PLANES:
        fast, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
        getattr(NumbaRasterizer().render(fast, cameras), plane).square().sum().backward()
        getattr(splat_specification.render(plain, cameras), plane).square().sum().backward()
        assert fast.means.grad is not None and plain.means.grad is not None
        torch.testing.assert_close(
            fast.means.grad.double(), plain.means.grad, rtol=1e-3, atol=1e-4 * plain.means.grad.abs().max()
        )


@BOTH
def test_bytes_do_not_depend_on_threads(kind):
    splats, cameras = random_splats(3000, degree=1), camera(width=200, height=150)
    results = []
    for threads in (1, 2, 5):
        fields = leaves(splats, torch.float32)
        drawn = kind(threads=threads).render(fields, cameras)
        (drawn.rgb.square().sum() + drawn.normals_world.sum() + drawn.median_depth.sum()).backward()
        results.append((drawn, [getattr(fields, name).grad for name in FIELDS]))
    for drawn, gradients in results[1:]:
        assert_same_bytes(drawn, results[0][0])
        for ours, first in zip(gradients, results[0][1], strict=True):
            assert torch.equal(ours, first)


@BOTH
def test_several_cameras_are_the_single_ones_stacked(kind):
    splats = random_splats(100)
    cameras = orbit_cameras([0.0, 90.0, 200.0], [0.0, 10.0, -20.0], size_px=40)
    rasterizer = kind()
    together = rasterizer.render(splats, cameras)
    assert together.rgb.shape == (3, 40, 40, 3)
    for index in range(3):
        alone = rasterizer.render(splats, select(cameras, [index]))
        assert torch.equal(together.rgb[index], alone.rgb[0])


@BOTH
def test_a_crop_is_a_camera_with_a_shifted_principal_point(kind):
    splats, whole = random_splats(200), camera(width=80, height=64)
    intrinsics_px = whole.intrinsics_px.copy()
    intrinsics_px[:, 0, 2] -= 21
    intrinsics_px[:, 1, 2] -= 10
    crop = Cameras(whole.camera_from_world, intrinsics_px, 40, 33)
    a, b = kind().render(splats, whole), kind().render(splats, crop)
    torch.testing.assert_close(a.rgb[:, 10:43, 21:61], b.rgb, rtol=0, atol=2e-5)


@BOTH
def test_no_splats_give_empty_pictures_and_empty_gradients(kind):
    splats = leaves(random_splats(0), torch.float32)
    drawn = kind().render(splats, camera())
    for plane in PLANES:
        assert not getattr(drawn, plane).any()
    drawn.rgb.sum().backward()
    assert splats.means.grad is not None and splats.means.grad.shape == (0, 3)


@BOTH
def test_splats_that_cannot_be_drawn_change_nothing(kind):
    """NaN, zero rotation, behind the camera, invisible: the others look as if those were not there."""
    good = random_splats(50)
    bad = random_splats(6, seed=9)
    nan = float("nan")
    bad.means[0], bad.scales[1], bad.opacities[2] = nan, nan, nan
    bad.quats_wxyz[3] = 0
    bad.means[4] = torch.tensor([0.0, 0.0, 50.0])
    bad.opacities[5] = 1 / 255
    mixed = leaves(Splats(*(torch.cat([getattr(bad, n), getattr(good, n)]) for n in FIELDS)), torch.float32)
    rasterizer, cameras = kind(), orbit_cameras([0.0], [0.0], size_px=64)
    drawn = rasterizer.render(mixed, cameras)
    assert_same_bytes(drawn, rasterizer.render(good, cameras))
    (drawn.rgb.sum() + drawn.depth.sum() + drawn.median_depth.sum()).backward()
    for name in FIELDS:
        gradient = getattr(mixed, name).grad
        assert not gradient[:6].any(), name
        assert torch.isfinite(gradient).all()


def test_a_lone_flat_splat_shows_its_own_depth_normal_and_colour():
    """A disc at the origin, facing +Z, seen from the front: depth 2.7, normal +Z, colour 1/2 + SH."""
    disc = Splats(
        means=torch.zeros(1, 3),
        scales=torch.tensor([[0.1, 0.1, 0.001]]),
        quats_wxyz=torch.tensor([[1.0, 0, 0, 0]]),
        opacities=torch.tensor([0.8]),
        sh=torch.tensor([[[1.0, 0.0, -3.0]]]),
    )
    drawn = NumbaRasterizer().render(disc, orbit_cameras([0.0], [0.0], size_px=100))
    middle = (0, 45, 50)
    alpha = float(drawn.alpha[middle])
    assert alpha == pytest.approx(0.8, abs=0.01)
    assert float(drawn.depth[middle]) == pytest.approx(2.7 * alpha, rel=1e-5)
    np.testing.assert_allclose(drawn.normals_world[middle].numpy(), [0, 0, alpha], atol=1e-5)
    np.testing.assert_allclose(drawn.rgb[middle].numpy(), [alpha * 0.7820948, alpha * 0.5, 0], rtol=1e-5)


@BOTH
def test_the_normal_faces_the_camera_from_both_sides(kind):
    drawn = kind().render(disc(), orbit_cameras([0.0, 180.0], [0.0, 0.0], size_px=64))
    assert float(drawn.normals_world[0, 30, 32, 2]) > 0.8
    assert float(drawn.normals_world[1, 30, 32, 2]) < -0.8


@BOTH
@pytest.mark.parametrize(("opacity", "seen"), [(0.4, 1), (0.6, 0)])
def test_median_depth_is_where_the_transmittance_is_one_half(kind, opacity, seen):
    """Two discs; a pixel whose transmittance stays above one half shows the last."""
    front, back = disc(opacity=opacity, depth=0.0), disc(opacity=0.9, depth=0.3)
    both = Splats(*(torch.cat([getattr(front, n), getattr(back, n)]) for n in FIELDS))
    for splats, expected in ((both, 2.7 + 0.3 * seen), (disc(opacity=0.1, depth=0.2), 2.9)):
        drawn = kind().render(splats, orbit_cameras([0.0], [0.0], size_px=65))
        assert float(drawn.median_depth[0, 32, 32]) == pytest.approx(expected, rel=1e-6)
        assert float(drawn.median_depth[0, 0, 0]) == 0


def test_unusable_input_is_said():
    splats, cameras = random_splats(3), camera()
    with pytest.raises(ValueError, match=r"float32 on the CPU, got means torch\.float64"):
        NumbaRasterizer().render(leaves(splats, torch.float64), cameras)
    with pytest.raises(ValueError, match="1, 4, 9 or 16 coefficients, got 2"):
        NumbaRasterizer().render(Splats(*(getattr(splats, n) for n in FIELDS[:4]), torch.zeros(3, 2, 3)), cameras)
    skewed = Cameras(cameras.camera_from_world, cameras.intrinsics_px + np.eye(3)[[1]], 72, 72)
    with pytest.raises(ValueError, match="skew"):
        NumbaRasterizer().render(splats, skewed)


@BOTH
def test_absurdly_large_splats_are_refused_before_memory_is_taken(kind):
    count = 20_000
    splats = Splats(
        torch.zeros(count, 3),
        torch.full((count, 3), 50.0),
        torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4),
        torch.full((count,), 0.5),
        torch.zeros(count, 1, 3),
    )
    with pytest.raises(ResourceError, match="far too large"):
        kind().render(splats, orbit_cameras([0.0], [0.0], size_px=1024))
