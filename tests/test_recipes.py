"""The recipes of CONTRIBUTING.md, as they stand there: parts from outside the package, used by the commands by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh

from spinmeround import registry
from spinmeround.cli import fit, recon, views
from spinmeround.io import formats as formats_module
from spinmeround.io import read_splats, read_views, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import MatteModel, Prior, SurfaceFitter
from tests.pipelines.fakes import RADIUS, sphere_views

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
LONGEST = 30


def recipe(title: str) -> dict:
    """Runs the example below a heading; returns what it defines."""
    section = PAGE.split(f"### {title}")[1].split("\n### ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    written = [line for line in code.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
    assert len(written) <= LONGEST, f"{title}: {len(written)} lines"
    defined: dict = {"__name__": "recipe"}
    exec(compile(code, title, "exec"), defined)
    return defined


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What a recipe registers is gone after the test."""
    for parts in vars(registry).values():
        if isinstance(parts, registry.Registry):
            monkeypatch.setattr(parts, "_registered", dict(parts._registered))
    monkeypatch.setattr(formats_module, "_registered", [])


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    import skimage.data
    import skimage.io

    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    skimage.io.imsave(path, skimage.data.astronaut())
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    azimuths = [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]
    write_views(tmp_path / "views", sphere_views(orbit_cameras(azimuths, [0.0, 25.0] * 3, size_px=64)))
    return tmp_path / "views"


def run(command, *words) -> None:
    assert command.main([str(word) for word in (*words, "--quality", "draft", "--quiet")]) == 0


@pytest.mark.slow
def test_a_prior(photo, tmp_path):
    made = recipe("A prior")["SpherePrior"](None)
    assert isinstance(made, Prior)
    report = tmp_path / "r.json"
    run(recon, photo, "--prior", "sphere", "--out", tmp_path / "head.ply", "--splats", 2000, "--report", report)
    radii = read_splats(tmp_path / "head.ply").means.norm(dim=1)
    assert float(radii.median()) == pytest.approx(0.25, rel=0.05)
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["choices"]["prior"]["took"] == "sphere"
    assert [stage["stage"] for stage in told["stages"]] == ["photo", "portrait", "views", "surface", "splats", "files"]
    run(views, photo, "--prior", "sphere", "--out", tmp_path / "v", "--azimuths", "0,90")
    assert len(read_views(tmp_path / "v")[0]) == 2


@pytest.mark.slow
def test_a_matte_model(photo, tmp_path):
    defined = recipe("A matte model")
    assert isinstance(defined["EllipseMatte"](None), MatteModel)
    crops = []

    class Noting(defined["EllipseMatte"]):
        def matte(self, crop):
            crops.append(crop)
            return super().matte(crop)

    registry.MATTE_MODELS.register("ellipse", Noting)
    run(views, photo, "--matte", "ellipse", "--out", tmp_path / "v", "--azimuths", "0")
    assert crops and crops[0].rgb.shape[:2] == crops[0].observed.shape
    nose = crops[0].face.landmarks_px[1]
    alpha = Noting(None).matte(crops[0])
    assert alpha[int(nose[1]), int(nose[0])] == 1 and 0.1 < alpha.mean() < 0.6


def test_a_surface_fitter(folder, tmp_path):
    assert isinstance(recipe("A surface fitter")["HullFitter"](None), SurfaceFitter)
    run(fit, folder, "--surface", "hull", "--out", tmp_path / "head.ply", "--ply", "mesh")
    mesh = trimesh.load(tmp_path / "head.ply")
    assert mesh.is_watertight
    radii = np.linalg.norm(mesh.vertices, axis=1) / (0.23 / 0.56)
    assert np.median(radii) == pytest.approx(RADIUS, rel=0.1)


def test_an_export_format(folder, tmp_path):
    recipe("An export format")
    run(fit, folder, "--out", tmp_path / "head.xyz", "--out", tmp_path / "head.ply", "--ply", "mesh")
    points = np.loadtxt(tmp_path / "head.xyz")
    np.testing.assert_allclose(points, trimesh.load(tmp_path / "head.ply", process=False).vertices, atol=1e-6)
