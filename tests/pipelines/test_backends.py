"""The rooms do as much work as they are told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from spinmeround.cli.fit import parser
from spinmeround.configs import preset
from spinmeround.errors import InputError, ResourceError
from spinmeround.io import read_splats, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines import fit_views as fit_views_module
from spinmeround.pipelines import reconstruct as reconstruct_module
from spinmeround.pipelines.backends import rooms_of
from spinmeround.recon.mesh_surface import fitter as surface_module
from spinmeround.recon.sdf import fitter as neural_module
from spinmeround.recon.splats import fitter as splats_module
from spinmeround.recon.splats.fitter import SPLAT_PRESETS
from spinmeround.runtime.stages import check_memory
from spinmeround.types import Mesh, Views
from tests.pipelines.fakes import RADIUS, fake_rooms, sphere_mesh, sphere_splats, sphere_views


@pytest.mark.parametrize(("most", "count"), [(None, SPLAT_PRESETS["draft"].count), (700, 700)])
def test_the_number_of_splats_is_the_one_asked_for_or_that_of_the_quality(most, count, monkeypatch):
    settings, made = [], sphere_splats(sphere_mesh())

    class Noting:
        def __init__(self, rasterizer, given, *, progress):
            settings.append(given)

        def fit(self, views, surface, *, seed):
            return made

    monkeypatch.setattr(splats_module, "GaussianFitter", Noting)
    cameras, blank = orbit_cameras([0.0], [0.0], size_px=8), np.zeros((1, 8, 8, 3), np.float32)
    views = Views(cameras, blank, blank, blank[..., 0], blank[..., 0])
    no_surface = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    assert rooms_of("draft", "cpu", "auto", most).fit_splats(views, no_surface, 0, lambda share, doing: None) is made
    assert (settings[0].count, settings[0].iterations) == (count, SPLAT_PRESETS["draft"].iterations)
    assert SPLAT_PRESETS["draft"].count == 60_000


@pytest.mark.parametrize(
    ("kind", "module", "fitter"),
    [("mesh", surface_module, "NormalSurfaceFitter"), ("neural", neural_module, "SdfSurfaceFitter")],
)
def test_the_surface_is_fitted_as_asked(kind, module, fitter, monkeypatch):
    made = (sphere_mesh(), orbit_cameras([0.0], [0.0], size_px=8))
    told = {}

    class Noting:
        def __init__(self, given, **where):
            told.update(where)

        def fit_with_cameras(self, views, **how):
            told.update(how)
            return made

    monkeypatch.setattr(module, fitter, Noting)
    blank = np.zeros((1, 8, 8, 3), np.float32)
    views = Views(made[1], blank, blank, blank[..., 0], blank[..., 0])
    rooms = rooms_of("draft", "cpu", "keep", surface=kind)
    assert rooms.fit_surface(views, 3, lambda share, doing: None) is made
    assert told["keep_cameras"] is True and told["seed"] == 3


@pytest.mark.parametrize(("device", "card"), [("cpu", None), ("cuda", torch.device("cuda"))])
def test_the_neural_surface_is_rendered_on_a_card_where_one_is_asked_for(device, card, monkeypatch):
    told = {}

    class Noting:
        def __init__(self, given, **where):
            told.update(where)

        def fit_with_cameras(self, views, **how):
            return sphere_mesh(), cameras

    cameras, blank = orbit_cameras([0.0], [0.0], size_px=8), np.zeros((1, 8, 8, 3), np.float32)
    views = Views(cameras, blank, blank, blank[..., 0], blank[..., 0])
    monkeypatch.setattr(neural_module, "SdfSurfaceFitter", Noting)
    rooms_of("draft", device, surface="neural").fit_surface(views, 0, lambda share, doing: None)
    assert told == {"device": card}


@pytest.mark.parametrize("module", [fit_views_module, reconstruct_module])
def test_the_number_reaches_the_rooms(module, tmp_path, monkeypatch):
    asked = []

    def noting(*how):
        asked.append(how)
        return fake_rooms()

    monkeypatch.setattr(module, "rooms_of", noting)
    if module is reconstruct_module:
        photo = tmp_path / "face.jpg"
        photo.write_bytes(b"stands for a photo")
        module.reconstruct(photo, out=tmp_path / "a.ply", quality="draft", splats=700)
    else:
        with pytest.raises(FileNotFoundError):
            monkeypatch.setattr(module, "files_of_views", lambda _: ())
            monkeypatch.setattr(module, "read_views", _missing)
            module.fit_views(tmp_path, out=tmp_path / "a.ply", splats=700)
    assert asked[0][3] == 700


def _missing(*_, **__):
    raise FileNotFoundError


def test_as_many_splats_as_show_a_head_and_memory_holds():
    check_memory("draft", splats=100)
    with pytest.raises(InputError, match="99 splats show no head; ask for 100 or more"):
        check_memory("draft", splats=99)
    with pytest.raises(ResourceError, match=r"999999999 splats need about \d+ MB of free memory and .*; ask for fewer"):
        check_memory("draft", splats=999_999_999)


def test_help_states_the_numbers_of_the_presets():
    counts = ", ".join(f"{settings.count} {name}" for name, settings in SPLAT_PRESETS.items())
    sizes = ", ".join(f"{preset(name).view_size_px} {name}" for name in SPLAT_PRESETS)
    told = " ".join(parser().format_help().split())
    assert counts in told and sizes in told


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
