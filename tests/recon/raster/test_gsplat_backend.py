"""The CUDA adapters: load late, fail in one clear line, hand gsplat what it expects; on a GPU, equal the CPU ones."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from spinmeround.errors import MissingDependencyError
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import Rasterizer
from spinmeround.recon.raster import gsplat_backend
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.raster.surfels import NumbaSurfelRasterizer
from spinmeround.types import Cameras, Splats
from tests.recon.raster import splat_specification, surfel_specification
from tests.recon.raster.raster_scenes import FIELDS, PLANES, leaves, pose_leaf, random_splats

BOTH = pytest.mark.parametrize("kind", [gsplat_backend.GsplatRasterizer, gsplat_backend.GsplatSurfelRasterizer])
BLENDED = ("rgb", "alpha", "depth", "normals_world")


def test_importing_the_adapter_imports_neither_gsplat_nor_the_cpu_kernels():
    code = "import sys, spinmeround.recon.raster.gsplat_backend; sys.exit(bool({'gsplat', 'numba'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@BOTH
def test_a_missing_gsplat_is_one_line_with_the_command(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "spinmeround\[cuda\]"') as caught:
        kind()
    assert "\n" not in str(caught.value)


@BOTH
def test_no_cuda_device_is_said(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "gsplat", ModuleType("gsplat"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDependencyError, match="sees no CUDA device"):
        kind()


def stand_in() -> ModuleType:
    """gsplat's functions by the float64 specifications: values as colours, depth last."""

    def spherical_harmonics(degree, directions, coefficients):
        assert coefficients.shape == (*directions.shape[:-1], (degree + 1) ** 2, 3)
        flat = splat_specification.sh_sum(coefficients.reshape(-1, (degree + 1) ** 2, 3), directions.reshape(-1, 3))
        return flat.reshape(directions.shape)

    def rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, eps2d, packed, render_mode,
        rasterize_mode,
    ):  # fmt: skip
        assert render_mode == "RGB+D" and packed is False
        assert colors.shape == (len(viewmats), len(means), 6) and Ks.shape == (len(viewmats), 3, 3)
        aliasing = {"classic": False, "antialiased": True}
        views = [
            splat_specification.blend(
                means, quats, scales, opacities, c, v, k, width, height, eps2d, aliasing[rasterize_mode]
            )
            for c, v, k in zip(colors, viewmats, Ks, strict=True)
        ]
        pictures, alphas, _ = zip(*views, strict=True)
        return torch.stack(pictures), torch.stack(alphas)[..., None], {}

    def rasterization_2dgs(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, packed, render_mode
    ):  # fmt: skip
        assert render_mode == "RGB+D" and packed is False
        assert colors.shape == (len(viewmats), len(means), 7) and Ks.shape == (len(viewmats), 3, 3)
        splats = Splats(means, scales, quats, opacities, torch.zeros(len(means), 1, 3))
        views = [blend_surfels(splats, c, v, k, height, width) for c, v, k in zip(colors, viewmats, Ks, strict=True)]
        pictures, alphas, medians = (torch.stack(planes) for planes in zip(*views, strict=True))
        return pictures, alphas[..., None], None, None, None, medians[..., None], {}

    module = ModuleType("gsplat")
    module.spherical_harmonics, module.rasterization = spherical_harmonics, rasterization
    module.rasterization_2dgs = rasterization_2dgs
    return module


def blend_surfels(splats, values, camera_from_world, k, height, width):
    """As gsplat does it: every surfel has the depth of its mean."""
    z = splats.means @ camera_from_world[2, :3] + camera_from_world[2, 3]
    order = torch.argsort(z, stable=True)
    raw, _ = surfel_specification.intersections(splats, order, camera_from_world, k, height, width)
    weights, median = splat_specification.blending_weights(raw)
    picture = weights @ torch.cat([values[order], z[order, None]], dim=1)
    depth = splat_specification.gather_median(z[order].expand_as(raw), median)
    return picture.reshape(height, width, -1), weights.sum(1).reshape(height, width), depth.reshape(height, width)


@pytest.fixture
def pretend(monkeypatch):
    """A card and a gsplat that are not there."""
    monkeypatch.setitem(sys.modules, "gsplat", stand_in())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gsplat_backend, "_DEVICE", "cpu")


@pytest.mark.parametrize(("degree", "antialiased"), [(0, False), (2, True)])
def test_the_adapter_around_the_specification_is_the_specification(pretend, degree, antialiased):
    """Colours, normals, depth and cameras arrive where they belong, gradients come back."""
    splats, cameras = random_splats(80, degree=degree), orbit_cameras([0.0, 130.0], [0.0, 20.0], size_px=40)
    ours, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
    poses = pose_leaf(cameras), pose_leaf(cameras)
    drawn = gsplat_backend.GsplatRasterizer(antialiased=antialiased).render(ours, cameras, camera_from_world=poses[0])
    expected = splat_specification.render(plain, cameras, antialiased=antialiased, camera_from_world=poses[1])
    for plane in BLENDED:
        torch.testing.assert_close(getattr(drawn, plane).double(), getattr(expected, plane), rtol=0, atol=2e-5)
    drawn.normals_world.square().sum().backward()
    expected.normals_world.square().sum().backward()
    torch.testing.assert_close(ours.quats_wxyz.grad.double(), plain.quats_wxyz.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(poses[0].grad, poses[1].grad, rtol=1e-3, atol=1e-3 * float(poses[1].grad.abs().max()))


def test_the_surfel_adapter_around_the_specification_is_the_specification(pretend):
    """But for depth, which gsplat takes from the means: surfels that face the camera have no other."""
    splats, cameras = random_splats(80, degree=1), orbit_cameras([0.0, 130.0], [0.0, 20.0], size_px=40)
    drawn = gsplat_backend.GsplatSurfelRasterizer().render(splats, cameras)
    expected = surfel_specification.render(leaves(splats, torch.float64), cameras)
    for plane in ("rgb", "alpha", "normals_world"):
        torch.testing.assert_close(getattr(drawn, plane).double(), getattr(expected, plane).detach(), rtol=0, atol=2e-5)
    facing = Splats(
        splats.means, splats.scales, torch.tensor([[1.0, 0, 0, 0]]).expand(80, 4), splats.opacities, splats.sh
    )
    front = orbit_cameras([0.0], [0.0], size_px=40)
    ours, plain = leaves(facing, torch.float32), leaves(facing, torch.float64)
    drawn = gsplat_backend.GsplatSurfelRasterizer().render(ours, front)
    expected = surfel_specification.render(plain, front)
    for plane, tolerance in (("depth", 2e-5), ("median_depth", 2e-5), ("distortion", 1e-6)):
        torch.testing.assert_close(getattr(drawn, plane).double(), getattr(expected, plane), rtol=0, atol=tolerance)
    drawn.distortion.sum().backward()
    expected.distortion.sum().backward()
    torch.testing.assert_close(ours.opacities.grad.double(), plain.opacities.grad, rtol=1e-3, atol=1e-4)


@BOTH
def test_unusable_input_is_said(pretend, kind):
    splats, cameras = random_splats(3), orbit_cameras([0.0], [0.0], size_px=16)
    with pytest.raises(ValueError, match="1, 4, 9 or 16 coefficients, got 2"):
        kind().render(Splats(*(getattr(splats, n) for n in FIELDS[:4]), torch.zeros(3, 2, 3)), cameras)
    skewed = Cameras(cameras.camera_from_world, cameras.intrinsics_px + np.eye(3)[[1]], 16, 16)
    with pytest.raises(ValueError, match="skew"):
        kind().render(splats, skewed)
    with pytest.raises(ValueError, match=r"1 of 4 by 4, got \(2, 4, 4\)"):
        kind().render(splats, cameras, camera_from_world=torch.eye(4).expand(2, 4, 4))


@BOTH
def test_fields_may_be_any_float(pretend, kind):
    """float64 splats are drawn as float32, as gsplat has no other."""
    splats = random_splats(5)
    doubled = Splats(*(getattr(splats, name).double() for name in FIELDS))
    rasterizer = kind()
    assert isinstance(rasterizer, Rasterizer)
    assert rasterizer.render(doubled, orbit_cameras([0.0], [0.0], size_px=16)).rgb.dtype == torch.float32


def test_the_installed_gsplat_takes_these_arguments():
    gsplat = pytest.importorskip("gsplat", reason="gsplat is not installed")
    positional = ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height"]
    for function, named in (
        (gsplat.rasterization, {"eps2d", "packed", "render_mode", "rasterize_mode"}),
        (gsplat.rasterization_2dgs, {"packed", "render_mode"}),
    ):
        parameters = list(inspect.signature(function).parameters)
        assert parameters[:9] == positional
        assert named <= set(parameters)
    assert len(inspect.signature(gsplat.rasterization_2dgs).return_annotation.__args__) == 7
    assert list(inspect.signature(gsplat.spherical_harmonics).parameters)[:3] == ["degrees_to_use", "dirs", "coeffs"]


@pytest.mark.gpu
@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize(
    ("on_card", "on_cpu", "slack"),
    [
        (gsplat_backend.GsplatRasterizer, NumbaRasterizer, 1.0),
        (gsplat_backend.GsplatSurfelRasterizer, NumbaSurfelRasterizer, 10.0),
    ],
)
def test_equals_the_cpu_rasteriser(on_card, on_cpu, slack, degree):
    """``slack``: surfels of gsplat have the depth of their means, and their filter is cut off at tiles."""
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    splats, cameras = random_splats(2000, degree=degree), orbit_cameras([0.0, 130.0], [0.0, 20.0], size_px=128)
    there, here = leaves(splats, torch.float32), leaves(splats, torch.float32)
    drawn, expected = on_card().render(there, cameras), on_cpu().render(here, cameras)
    for plane in PLANES:
        ours, theirs = getattr(drawn, plane), getattr(expected, plane)
        if ours is None:
            continue
        assert ours.device.type == "cpu"
        assert float((ours - theirs).detach().abs().mean()) < slack * (1e-3 if "depth" in plane else 1e-4), plane
        assert plane == "median_depth" or float((ours - theirs).detach().abs().max()) < slack * 2e-2, plane
    for rendering in (expected, drawn):
        (rendering.rgb.square().sum() + rendering.normals_world.square().sum()).backward()
    for field in FIELDS:
        ours, theirs = getattr(there, field).grad, getattr(here, field).grad
        assert float((ours - theirs).norm()) < slack * 2e-2 * float(theirs.norm()), field
