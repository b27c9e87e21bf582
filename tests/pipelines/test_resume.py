"""A run that is killed, and the same command again."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spinmeround import fit_views
from spinmeround.io import write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines import fit_views as fit_views_module
from spinmeround.pipelines.mesh_levels import MeshLevels
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.resume import Unfinished
from spinmeround.recon.cameras.photometric import CameraCorrection
from tests.pipelines.fakes import fake_rooms, sphere_mesh, sphere_splats, sphere_texture, sphere_views

_STOPS_AT_TEXTURE = """
import sys, time
from pathlib import Path
from spinmeround.pipelines import fit_views
from tests.pipelines.fakes import fake_rooms

def before(room):
    if room == "texture":
        Path(sys.argv[1], "there").touch()
        time.sleep(60)

fit_views.rooms_of = lambda *_: fake_rooms(before=before)
folder = Path(sys.argv[1])
fit_views.fit_views(folder / "views", out=[folder / "a.ply", folder / "a.obj"], quality="draft")
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], [0.0] * 4, size_px=64)
    write_views(tmp_path / "views", sphere_views(cameras))
    return tmp_path


@pytest.fixture
def entered(monkeypatch) -> list[str]:
    rooms: list[str] = []
    monkeypatch.setattr(fit_views_module, "rooms_of", lambda *_: fake_rooms(before=rooms.append))
    return rooms


def fitted(folder: Path, **options):
    return fit_views(folder / "views", out=[folder / "a.ply", folder / "a.obj"], quality="draft", **options)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("a*")}


def test_a_killed_process_goes_on_from_its_last_finished_stage(folder, entered, caplog):
    program = subprocess.Popen(
        [sys.executable, "-c", _STOPS_AT_TEXTURE, str(folder)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    started = time.monotonic()
    while not (folder / "there").exists():
        assert program.poll() is None and time.monotonic() - started < 120
        time.sleep(0.05)
    program.kill()
    program.wait()
    assert not bytes_of(folder)
    with caplog.at_level("INFO"):
        result = fitted(folder)
    assert entered == ["texture"]
    assert result.report["resumed"] == ["surface", "splats"]
    assert "surface: as a run that did not end had finished it" in caplog.text
    resumed = bytes_of(folder)
    assert not list(folder.glob(".*")), "nothing waits any more"
    result = fitted(folder)
    assert entered == ["texture", "surface", "splats", "texture"] and result.report["resumed"] == []
    assert bytes_of(folder) == resumed


@pytest.fixture
def failed(folder, monkeypatch, entered):
    """A run that ended at the texture."""

    def stop(room):
        if room == "texture":
            raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(fit_views_module, "rooms_of", lambda *_: fake_rooms(before=stop))
        with pytest.raises(RuntimeError):
            fitted(folder)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"quality": "standard"},
        {"cameras": "keep"},
        {"surface": "neural"},
        {"splats": 700},
        {"size_px": 60},
    ],
)
def test_another_run_finds_nothing(failed, entered, change):
    options = {"quality": "draft"} | change
    result = fit_views(failed / "views", out=[failed / "a.ply", failed / "a.obj"], **options)
    assert entered == ["surface", "splats", "texture"] and result.report["resumed"] == []


def test_another_mesh_takes_what_it_shares(failed, entered):
    result = fitted(failed, levels=MeshLevels(2_000))
    assert entered == ["texture"] and result.report["resumed"] == ["surface", "splats"]


def test_a_run_of_its_own_shares_nothing(failed, entered):
    """Another first output: what waits beside the one that failed stays for its own command."""
    fit_views(failed / "views", out=[failed / "b.ply"], quality="draft")
    assert entered == ["surface", "splats"]
    assert fitted(failed).report["resumed"] == ["surface", "splats"]


def test_another_picture_finds_nothing(failed, entered):
    write_views(failed / "views", sphere_views(orbit_cameras([0.0, 90.0, 180.0, 271.0], [0.0] * 4, size_px=64)))
    assert fitted(failed).report["resumed"] == []
    assert entered == ["surface", "splats", "texture"]


def test_damaged_results_are_made_anew(failed, entered, caplog):
    for path in (failed / ".a.ply.unfinished").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    assert fitted(failed).report["resumed"] == []
    assert entered == ["surface", "splats", "texture"]
    assert "is damaged and is made anew" in caplog.text


def test_results_come_back_as_they_were(tmp_path):
    mesh = sphere_mesh()
    views = sphere_views(orbit_cameras([0.0, 90.0], [0.0] * 2, size_px=16), ("a", "b"))
    results = {
        "paint_views": views,
        "register_cameras": CameraCorrection(np.arange(6.0), np.ones((2, 6))),
        "fit_surface": (mesh, views.cameras),
        "fit_splats": sphere_splats(mesh),
        "paint_texture": sphere_texture(mesh),
    }
    outputs = Outputs(splats=(tmp_path / "a.ply",))
    made = dataclasses.replace(fake_rooms(), **{name: lambda *_, r=result: r for name, result in results.items()})
    barred = dataclasses.replace(fake_rooms(), **{name: lambda *_: pytest.fail("entered") for name in results})
    first, second = (Unfinished(outputs, "draft").resumable(rooms) for rooms in (made, barred))
    for name, result in results.items():
        getattr(first, name)(views, 7, print)
        again = getattr(second, name)(views, 7, None)
        assert type(again) is type(result)
        same(again, result)
    no_registration = dataclasses.replace(fake_rooms(), register_cameras=lambda *_: None)
    for rooms in (no_registration, barred):
        assert Unfinished(outputs, "draft").resumable(rooms).register_cameras(views, 8, print) is None


def same(one: object, other: object) -> None:
    if dataclasses.is_dataclass(one):
        one, other = (tuple(getattr(x, f.name) for f in dataclasses.fields(x)) for x in (one, other))
    if isinstance(one, tuple):
        assert len(one) == len(other)
        for each, its in zip(one, other, strict=True):
            same(each, its)
    else:
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_a_place_that_cannot_be_written_only_costs_the_resuming(folder, entered, monkeypatch, caplog):
    def no_room(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spinmeround.pipelines.resume.np.savez", no_room)
    assert fitted(folder).report["resumed"] == []
    assert "could not be kept, and were this run killed it would start anew" in caplog.text
