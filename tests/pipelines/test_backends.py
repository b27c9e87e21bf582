"""The parts of a run are those its settings name, and they work as hard as they are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from spinmeround import CaptureOptions, RunSettings, registry
from spinmeround.cli import fit, views
from spinmeround.configs import QUALITIES, preset
from spinmeround.errors import InputError, ResourceError
from spinmeround.io import read_splats, write_views
from spinmeround.orbits import ORBITS, orbit_cameras
from spinmeround.pipelines.backends import build_backends, make_rasterizer
from spinmeround.pipelines.settings import PhotoOptions
from spinmeround.protocols import HairModel, MatteModel, Rasterizer, SplatFitter, SurfaceFitter
from spinmeround.recon.mesh_surface.fitter import NormalSurfaceFitter
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.sdf.fitter import SdfSurfaceFitter
from spinmeround.recon.splats.fitter import SPLAT_PRESETS, GaussianFitter
from spinmeround.runtime.stages import check_memory
from tests.pipelines.fakes import RADIUS, sphere_views


def settings(**more) -> RunSettings:
    return RunSettings(**({"quality": "draft", "prior": "template", "device": "cpu"} | more))


@pytest.mark.parametrize(("most", "count"), [(None, SPLAT_PRESETS["draft"].count), (700, 700)])
def test_the_number_of_splats_is_the_one_asked_for_or_that_of_the_quality(most, count):
    fitter = build_backends(settings(splats=most)).splat_fitter
    assert isinstance(fitter, GaussianFitter) and isinstance(fitter, SplatFitter)
    assert (fitter.settings.count, fitter.settings.iterations) == (count, SPLAT_PRESETS["draft"].iterations)
    assert SPLAT_PRESETS["draft"].count == 60_000


@pytest.mark.parametrize(("name", "kind"), [("mesh", NormalSurfaceFitter), ("neural", SdfSurfaceFitter)])
@pytest.mark.parametrize("trust", ["keep", "auto"])
def test_the_surface_is_fitted_as_asked(name, kind, trust):
    fitter = build_backends(settings(surface=name, capture=CaptureOptions(cameras=trust))).surface_fitter
    assert isinstance(fitter, kind) and isinstance(fitter, SurfaceFitter)
    assert fitter.keep_cameras == (trust == "keep")


@pytest.mark.parametrize(("device", "expected"), [("cpu", None), ("cuda", torch.device("cuda"))])
def test_the_signed_distance_is_rendered_on_a_gpu_where_one_is_asked_for(device, expected):
    fitter = build_backends(settings(surface="neural", device=device)).surface_fitter
    assert isinstance(fitter, SdfSurfaceFitter) and fitter.device == expected


def test_every_built_in_part_keeps_its_protocol():
    backends = build_backends(settings(photo=PhotoOptions(hair="builtin")))
    assert isinstance(backends.matte_model, MatteModel)
    assert isinstance(backends.hair_model, HairModel)
    assert isinstance(make_rasterizer(settings()), NumbaRasterizer | Rasterizer)
    for parts in vars(registry).values():
        if isinstance(parts, registry.Registry):
            for name in parts.names():
                assert callable(parts.factory(name))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"prior": "magic"}, "no prior is called 'magic'; there are diffusion, template"),
        ({"surface": "magic"}, "no surface fitter is called 'magic'; there are mesh, neural"),
        ({"splat_fitter": "magic"}, "no splat fitter is called 'magic'"),
        ({"rasterizer": "magic"}, "no rasteriser is called 'magic'; there are cpu, cuda"),
    ],
)
def test_a_part_nobody_knows_is_one_line(more, told):
    with pytest.raises(InputError, match=told):
        _ = build_backends(settings(**more)).prior


def test_as_many_splats_as_show_a_head_and_memory_holds():
    check_memory("draft", splats=100)
    with pytest.raises(InputError, match="99 splats show no head; ask for 100 or more"):
        check_memory("draft", splats=99)
    with pytest.raises(ResourceError, match=r"999999999 splats need about \d+ MB of free memory and .*; ask for fewer"):
        check_memory("draft", splats=999_999_999)


def test_help_states_the_numbers_of_the_presets():
    counts = ", ".join(f"{preset(name).splats['count']} {name}" for name in QUALITIES)
    sizes = ", ".join(f"{preset(name).view_size_px} {name}" for name in QUALITIES)
    told = " ".join(fit.parser().format_help().split())
    assert counts in told and sizes in told
    told = " ".join(views.parser().format_help().split())
    assert all(name in told for name in ORBITS)


def test_the_example_of_a_swapped_part_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "STAGE_TWO.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    azimuths = [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]
    write_views(tmp_path / "views", sphere_views(orbit_cameras(azimuths, [0.0, 25.0] * 3, size_px=48)))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {"__name__": "example"})
    splats = read_splats(tmp_path / "head.ply")
    assert len(splats) > 100
    assert float(splats.means.norm(dim=1).median()) == pytest.approx(RADIUS, rel=0.05)
