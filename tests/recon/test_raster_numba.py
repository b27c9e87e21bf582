"""The CPU rasteriser against its float64 specification, and the laws it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.errors import ResourceError
from spinmeround.geometry import select
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster_numba import NumbaRasterizer
from spinmeround.types import Cameras, Rendering, Splats
from tests.recon import splat_specification

FIELDS = ("means", "scales", "quats_wxyz", "opacities", "sh")
PLANES = ("rgb", "alpha", "depth", "normals_world")


def random_splats(count: int, *, size: float = 0.02, spread: float = 0.15, degree: int = 0, seed: int = 0) -> Splats:
    source = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=source)

    return Splats(
        means=normal(count, 3) * spread,
        scales=torch.exp(normal(count, 3) * 0.7) * size,
        quats_wxyz=normal(count, 4),
        opacities=torch.rand(count, generator=source) * 0.98 + 0.01,
        sh=normal(count, (degree + 1) ** 2, 3) * 0.4,
    )


def camera(*, width: int = 72, height: int = 72, principal_px=None, focal_px: float = 280.0, distance: float = 2.7):
    square = orbit_cameras([20.0], [10.0], size_px=72, radius=distance)
    cx, cy = principal_px or (width / 2, height / 2)
    intrinsics_px = np.array([[[focal_px, 0, cx], [0, focal_px * 1.1, cy], [0, 0, 1.0]]])
    return Cameras(square.camera_from_world, intrinsics_px, width, height)


def needles() -> Splats:
    splats = random_splats(40, seed=3)
    return Splats(
        splats.means, splats.scales * torch.tensor([20.0, 0.2, 0.2]), splats.quats_wxyz, splats.opacities, splats.sh
    )


SCENES = {
    "overlapping": (random_splats(400, degree=1), camera()),
    "degree 2": (random_splats(60, degree=2), camera()),
    "degree 3": (random_splats(60, degree=3), camera()),
    "clipped at the borders": (random_splats(200, spread=0.5, size=0.05), camera()),
    "wide, principal point off centre": (random_splats(150), camera(width=90, height=37, principal_px=(13.0, 30.5))),
    "tall, smaller than a tile": (random_splats(60), camera(width=7, height=50, principal_px=(3.0, 20.0))),
    "tiny": (random_splats(150, size=1e-5), camera()),
    "huge": (random_splats(25, size=0.8), camera()),
    "needles": (needles(), camera()),
    "opaque stack": (random_splats(300, spread=0.02, size=0.04), camera()),
    "around and behind the camera": (random_splats(200, spread=0.6, size=0.05), camera(distance=0.5, focal_px=40.0)),
}


def leaves(splats: Splats, dtype: torch.dtype) -> Splats:
    return Splats(*(getattr(splats, name).clone().to(dtype).requires_grad_() for name in FIELDS))


def assert_same_bytes(a: Rendering, b: Rendering) -> None:
    for plane in PLANES:
        assert torch.equal(getattr(a, plane), getattr(b, plane)), plane


@pytest.mark.parametrize(
    ("name", "antialiased"), [(n, False) for n in SCENES] + [(n, True) for n in SCENES if n != "tiny"]
)
def test_values_and_gradients_match_the_specification(name, antialiased):
    splats, cameras = SCENES[name]
    fast, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
    poses = [torch.tensor(cameras.camera_from_world, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    drawn = NumbaRasterizer(antialiased=antialiased).render(fast, cameras, camera_from_world=poses[0])
    expected = splat_specification.render(plain, cameras, camera_from_world=poses[1], antialiased=antialiased)
    source = torch.Generator().manual_seed(1)
    loss_fast, loss_plain = torch.zeros(()), torch.zeros((), dtype=torch.float64)
    for plane in PLANES:
        ours, theirs = getattr(drawn, plane), getattr(expected, plane)
        assert float((ours - theirs).detach().abs().max()) < 1e-5 * max(1.0, float(theirs.detach().abs().max())), plane
        weight = torch.randn(ours.shape, generator=source)
        loss_fast = loss_fast + (weight * ours).sum()
        loss_plain = loss_plain + (weight.double() * theirs).sum()
    assert expected.alpha.max() > 0.3
    loss_fast.backward()
    loss_plain.backward()
    for field in FIELDS:
        ours, theirs = getattr(fast, field).grad, getattr(plain, field).grad
        assert ours is not None and theirs is not None
        assert float((ours - theirs).norm()) < 1e-4 * float(theirs.norm()), field
        worst = float((ours - theirs).abs().max()) / float(theirs.abs().max())
        assert worst < 1e-4, f"{field}: {worst}"
    ours, theirs = (pose.grad for pose in poses)
    assert ours is not None and theirs is not None
    assert float((ours - theirs).norm()) < 1e-4 * float(theirs.norm())


def test_dilation_is_the_specifications():
    splats, cameras = random_splats(100, size=0.004), camera()
    blurred = NumbaRasterizer(dilation_px2=0.3).render(splats, cameras).rgb
    expected = splat_specification.render(leaves(splats, torch.float64), cameras, dilation_px2=0.3).rgb
    torch.testing.assert_close(blurred.double(), expected.detach(), rtol=0, atol=1e-5)
    assert (blurred - NumbaRasterizer().render(splats, cameras).rgb).abs().max() > 0.01


def test_an_antialiased_splat_keeps_its_light_when_it_is_dilated():
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


def test_bytes_do_not_depend_on_threads():
    splats, cameras = random_splats(3000, degree=1), camera(width=200, height=150)
    results = []
    for threads in (1, 2, 5):
        fields = leaves(splats, torch.float32)
        drawn = NumbaRasterizer(threads=threads).render(fields, cameras)
        (drawn.rgb.square().sum() + drawn.normals_world.sum() + drawn.depth.sum()).backward()
        results.append((drawn, [getattr(fields, name).grad for name in FIELDS]))
    for drawn, gradients in results[1:]:
        assert_same_bytes(drawn, results[0][0])
        for ours, first in zip(gradients, results[0][1], strict=True):
            assert torch.equal(ours, first)


def test_several_cameras_are_the_single_ones_stacked():
    splats = random_splats(100)
    cameras = orbit_cameras([0.0, 90.0, 200.0], [0.0, 10.0, -20.0], size_px=40)
    rasterizer = NumbaRasterizer()
    together = rasterizer.render(splats, cameras)
    assert together.rgb.shape == (3, 40, 40, 3)
    for index in range(3):
        alone = rasterizer.render(splats, select(cameras, [index]))
        assert torch.equal(together.rgb[index], alone.rgb[0])


def test_a_crop_is_a_camera_with_a_shifted_principal_point():
    splats, whole = random_splats(200), camera(width=80, height=64)
    intrinsics_px = whole.intrinsics_px.copy()
    intrinsics_px[:, 0, 2] -= 21
    intrinsics_px[:, 1, 2] -= 10
    crop = Cameras(whole.camera_from_world, intrinsics_px, 40, 33)
    a, b = NumbaRasterizer().render(splats, whole), NumbaRasterizer().render(splats, crop)
    torch.testing.assert_close(a.rgb[:, 10:43, 21:61], b.rgb, rtol=0, atol=2e-5)


def test_no_splats_give_empty_pictures_and_empty_gradients():
    splats = leaves(random_splats(0), torch.float32)
    drawn = NumbaRasterizer().render(splats, camera())
    for plane in PLANES:
        assert not getattr(drawn, plane).any()
    drawn.rgb.sum().backward()
    assert splats.means.grad is not None and splats.means.grad.shape == (0, 3)


def test_splats_that_cannot_be_drawn_change_nothing():
    """NaN, zero rotation, behind the camera, invisible: the others look as if those were not there."""
    good = random_splats(50)
    bad = random_splats(6, seed=9)
    nan = float("nan")
    bad.means[0], bad.scales[1], bad.opacities[2] = nan, nan, nan
    bad.quats_wxyz[3] = 0
    bad.means[4] = torch.tensor([0.0, 0.0, 50.0])
    bad.opacities[5] = 1 / 255
    mixed = leaves(Splats(*(torch.cat([getattr(bad, n), getattr(good, n)]) for n in FIELDS)), torch.float32)
    rasterizer, cameras = NumbaRasterizer(), orbit_cameras([0.0], [0.0], size_px=64)
    drawn = rasterizer.render(mixed, cameras)
    assert_same_bytes(drawn, rasterizer.render(good, cameras))
    (drawn.rgb.sum() + drawn.depth.sum()).backward()
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


def test_the_normal_faces_the_camera_from_both_sides():
    disc = Splats(
        torch.zeros(1, 3),
        torch.tensor([[0.1, 0.1, 0.001]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.tensor([0.9]),
        torch.zeros(1, 1, 3),
    )
    drawn = NumbaRasterizer().render(disc, orbit_cameras([0.0, 180.0], [0.0, 0.0], size_px=64))
    assert float(drawn.normals_world[0, 30, 32, 2]) > 0.8
    assert float(drawn.normals_world[1, 30, 32, 2]) < -0.8


def test_unusable_input_is_said():
    splats, cameras = random_splats(3), camera()
    with pytest.raises(ValueError, match=r"float32 on the CPU, got means torch\.float64"):
        NumbaRasterizer().render(leaves(splats, torch.float64), cameras)
    with pytest.raises(ValueError, match="1, 4, 9 or 16 coefficients, got 2"):
        NumbaRasterizer().render(Splats(*(getattr(splats, n) for n in FIELDS[:4]), torch.zeros(3, 2, 3)), cameras)
    skewed = Cameras(cameras.camera_from_world, cameras.intrinsics_px + np.eye(3)[[1]], 72, 72)
    with pytest.raises(ValueError, match="skew"):
        NumbaRasterizer().render(splats, skewed)


def test_absurdly_large_splats_are_refused_before_memory_is_taken():
    count = 20_000
    splats = Splats(
        torch.zeros(count, 3),
        torch.full((count, 3), 50.0),
        torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4),
        torch.full((count,), 0.5),
        torch.zeros(count, 1, 3),
    )
    with pytest.raises(ResourceError, match="far too large"):
        NumbaRasterizer().render(splats, orbit_cameras([0.0], [0.0], size_px=1024))
