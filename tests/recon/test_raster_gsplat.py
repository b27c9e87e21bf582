"""The CUDA adapter: loads late, fails in one clear line, hands gsplat what it expects; on a GPU, equals the CPU one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from spinmeround.errors import MissingDependencyError
from spinmeround.orbits import orbit_cameras
from spinmeround.recon import raster_gsplat
from spinmeround.recon.raster_numba import NumbaRasterizer
from spinmeround.types import Splats
from tests.recon import splat_specification
from tests.recon.test_raster_numba import FIELDS, PLANES, leaves, random_splats


def test_importing_the_adapter_does_not_import_gsplat():
    code = "import sys, spinmeround.recon.raster_gsplat; sys.exit('gsplat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_gsplat_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "spinmeround\[cuda\]"') as caught:
        raster_gsplat.GsplatRasterizer()
    assert "\n" not in str(caught.value)


def test_no_cuda_device_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", ModuleType("gsplat"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDependencyError, match="sees no CUDA device"):
        raster_gsplat.GsplatRasterizer()


def stand_in() -> ModuleType:
    """gsplat's two functions by the float64 specification: values as colours, depth last."""

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
        pictures, alphas = zip(*views, strict=True)
        return torch.stack(pictures), torch.stack(alphas)[..., None], {}

    module = ModuleType("gsplat")
    module.spherical_harmonics, module.rasterization = spherical_harmonics, rasterization
    return module


@pytest.mark.parametrize(("degree", "antialiased"), [(0, False), (2, True)])
def test_the_adapter_around_the_specification_is_the_specification(monkeypatch, degree, antialiased):
    """Colours, normals, depth and cameras arrive where they belong, gradients come back."""
    monkeypatch.setitem(sys.modules, "gsplat", stand_in())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(raster_gsplat, "_DEVICE", "cpu")
    splats, cameras = random_splats(80, degree=degree), orbit_cameras([0.0, 130.0], [0.0, 20.0], size_px=40)
    ours, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
    poses = [torch.tensor(cameras.camera_from_world, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    drawn = raster_gsplat.GsplatRasterizer(antialiased=antialiased).render(ours, cameras, camera_from_world=poses[0])
    expected = splat_specification.render(plain, cameras, antialiased=antialiased, camera_from_world=poses[1])
    for plane in PLANES:
        torch.testing.assert_close(getattr(drawn, plane).double(), getattr(expected, plane), rtol=0, atol=2e-5)
    drawn.normals_world.square().sum().backward()
    expected.normals_world.square().sum().backward()
    torch.testing.assert_close(ours.quats_wxyz.grad.double(), plain.quats_wxyz.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(poses[0].grad, poses[1].grad, rtol=1e-3, atol=1e-3 * float(poses[1].grad.abs().max()))


def test_the_installed_gsplat_takes_these_arguments():
    gsplat = pytest.importorskip("gsplat", reason="gsplat is not installed")
    parameters = list(inspect.signature(gsplat.rasterization).parameters)
    positional = ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height"]
    assert parameters[:9] == positional
    assert {"eps2d", "packed", "render_mode", "rasterize_mode"} <= set(parameters)
    assert list(inspect.signature(gsplat.spherical_harmonics).parameters)[:3] == ["degrees_to_use", "dirs", "coeffs"]


@pytest.mark.gpu
@pytest.mark.parametrize("degree", [0, 3])
def test_equals_the_cpu_rasteriser(degree):
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    splats, cameras = random_splats(2000, degree=degree), orbit_cameras([0.0, 130.0], [0.0, 20.0], size_px=128)
    on_cpu, on_gpu = leaves(splats, torch.float32), leaves(splats, torch.float32)
    expected, drawn = (
        NumbaRasterizer().render(on_cpu, cameras),
        raster_gsplat.GsplatRasterizer().render(on_gpu, cameras),
    )
    for plane in PLANES:
        ours, theirs = getattr(drawn, plane), getattr(expected, plane)
        assert ours.device.type == "cpu"
        assert float((ours - theirs).detach().abs().mean()) < 1e-4, plane
        assert float((ours - theirs).detach().abs().max()) < 2e-2, plane
    for rendering in (expected, drawn):
        (rendering.rgb.square().sum() + rendering.normals_world.square().sum() + rendering.depth.sum()).backward()
    for field in FIELDS:
        ours, theirs = getattr(on_gpu, field).grad, getattr(on_cpu, field).grad
        assert float((ours - theirs).norm()) < 2e-2 * float(theirs.norm()), field


def test_fields_may_be_any_float(monkeypatch):
    """float64 splats are drawn as float32, as gsplat has no other."""
    monkeypatch.setitem(sys.modules, "gsplat", stand_in())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(raster_gsplat, "_DEVICE", "cpu")
    splats = random_splats(5)
    doubled = Splats(*(getattr(splats, name).double() for name in FIELDS))
    drawn = raster_gsplat.GsplatRasterizer().render(doubled, orbit_cameras([0.0], [0.0], size_px=16))
    assert drawn.rgb.dtype == torch.float32
