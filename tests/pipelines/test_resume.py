"""A run that is killed, and the same command again."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinmeround import RunSettings, fit_views
from spinmeround.io import write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines import resume
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.resume import ResumeStore
from spinmeround.pipelines.settings import MeshOptions, run_key
from spinmeround.recon.cameras.photometric import CameraCorrection
from spinmeround.types import PriorResult, SurfaceFit
from tests.pipelines.fakes import flat_map, install, sphere_mesh, sphere_splats, sphere_texture, sphere_views

DRAFT = RunSettings(quality="draft")
_STOPS_AT_TEXTURE = """
import sys, time
from pathlib import Path
from spinmeround import RunSettings, fit_views
from spinmeround.pipelines import run
from tests.pipelines.fakes import FakeBackends

def before(part):
    if part == "texture":
        Path(sys.argv[1], "there").touch()
        time.sleep(60)

run.build_backends = lambda settings: FakeBackends(settings, before=before)
folder = Path(sys.argv[1])
fit_views(folder / "views", out=[folder / "a.ply", folder / "a.obj"], settings=RunSettings(quality="draft"))
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], [0.0] * 4, size_px=64)
    write_views(tmp_path / "views", sphere_views(cameras))
    return tmp_path


@pytest.fixture
def entered(monkeypatch) -> list[str]:
    parts: list[str] = []
    install(monkeypatch, before=parts.append)
    return parts


def fitted(folder: Path, settings: RunSettings = DRAFT):
    return fit_views(folder / "views", out=[folder / "a.ply", folder / "a.obj"], settings=settings)


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

    def stop(part):
        if part == "texture":
            raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        install(patch, before=stop)
        with pytest.raises(RuntimeError):
            fitted(folder)
    return folder


def test_the_same_run_takes_what_waits(failed, entered):
    assert fitted(failed).report["resumed"] == ["surface", "splats"]
    assert entered == ["texture"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"height_m": 0.3}, {"mesh": MeshOptions(faces=2000)}])
def test_another_run_finds_nothing(failed, entered, change):
    result = fitted(failed, dataclasses.replace(DRAFT, **change))
    assert entered == ["surface", "splats", "texture"] and result.report["resumed"] == []


@pytest.mark.parametrize("picture", ["images", "masks", "normals", "transforms.json"])
def test_another_byte_of_an_input_finds_nothing(failed, entered, picture):
    path = failed / "views" / picture
    path = sorted(path.iterdir())[-1] if path.is_dir() else path
    path.write_bytes(path.read_bytes() + b"\n")
    assert fitted(failed).report["resumed"] == []
    assert entered == ["surface", "splats", "texture"]


def test_a_run_of_its_own_shares_nothing(failed, entered):
    """Another first output: what waits beside the one that failed stays for its own command."""
    fit_views(failed / "views", out=[failed / "b.ply"], settings=DRAFT)
    assert entered == ["surface", "splats"]
    assert fitted(failed).report["resumed"] == ["surface", "splats"]


def test_damaged_results_are_made_anew(failed, entered, caplog):
    for path in (failed / ".a.ply.unfinished").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    assert fitted(failed).report["resumed"] == []
    assert entered == ["surface", "splats", "texture"]
    assert "is damaged and is made anew" in caplog.text


OTHER: dict[str, Any] = {
    "quality": "high", "prior": "diffusion", "surface": "neural", "splat_fitter": "other", "rasterizer": "cuda",
    "device": "cuda", "normal_frame": "camera", "skip_missing": True, "cameras": "keep", "expression": {"jawOpen": 0.5},
    "animate": Path("take.csv"), "identity": Path("me.npy"), "solver": "unipc", "precision": "bfloat16",
    "faces": 5000, "lods": 1, "lod": 2, "glasses": "remove", "matte": "other", "hair": "shell",
    "height_m": 0.3, "guidance": 1.0, "delight": 0.2,
}  # fmt: skip
"""Another value for fields whose type does not tell one."""


def changed(options: Any) -> Iterator[tuple[str, Any]]:
    """The options with each field, at any depth, changed in turn, and the field's dotted name."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            for name, other in changed(value):
                yield f"{field.name}.{name}", dataclasses.replace(options, **{field.name: other})
            continue
        if field.name in OTHER:
            other = OTHER[field.name]
        elif isinstance(value, bool):
            other = not value
        else:
            other = (value or 0) + 1_000
        yield field.name, dataclasses.replace(options, **{field.name: other})


def test_every_field_of_the_settings_has_a_part_in_the_key(tmp_path):
    photo = tmp_path / "face.jpg"
    photo.write_bytes(b"a photo")
    keys = {"nothing": run_key(RunSettings(), [photo])}
    for name, settings in changed(RunSettings()):
        keys[name] = run_key(settings, [photo])
    assert len(keys) > 30 and len(set(keys.values())) == len(keys)
    assert run_key(RunSettings(), [photo]) == keys["nothing"]


def test_every_byte_of_every_input_has_a_part_in_the_key(tmp_path):
    photo, clip = tmp_path / "face.jpg", tmp_path / "take.csv"
    photo.write_bytes(bytes(range(256)))
    clip.write_bytes(b"Timecode")
    settings = RunSettings(avatar=dataclasses.replace(RunSettings().avatar, animate=clip))
    keys = {run_key(settings, [photo])}
    for path in (photo, clip):
        content = path.read_bytes()
        for index in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
            keys.add(run_key(settings, [photo]))
        path.write_bytes(content)
    keys.add(run_key(settings, [photo, photo]))
    assert len(keys) == 8


def test_a_folder_as_input_counts_with_all_its_files(tmp_path):
    (tmp_path / "sparse").mkdir()
    keys = set()
    for content in (b"1", b"2"):
        (tmp_path / "sparse" / "cameras.bin").write_bytes(content)
        keys.add(run_key(RunSettings(), [tmp_path / "sparse"]))
    assert len(keys) == 2


MESH = sphere_mesh()
VIEWS = dataclasses.replace(
    sphere_views(orbit_cameras([0.0, 90.0], [0.0] * 2, size_px=16), ("a", "b")), exact_cameras=True
)
RESULTS = {
    "prior": (PriorResult(VIEWS, {"diffusion": {"views": 2, "trust": 0.5}}), resume.load_prior_result),
    "correction": (CameraCorrection(np.arange(6.0), np.ones((2, 6))), resume.load_correction),
    "no correction": (None, resume.load_correction),
    "surface": (SurfaceFit(MESH, VIEWS.cameras), resume.load_surface),
    "splats": (sphere_splats(MESH), resume.load_splats),
    "texture": (sphere_texture(MESH), resume.load_textured),
    "normal map": (dataclasses.replace(sphere_texture(MESH), normal_map=flat_map()), resume.load_textured),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_come_back_as_they_were(tmp_path, name):
    made, load = RESULTS[name]
    outputs = Outputs(splats=(tmp_path / "a.ply",))
    first, second, other = (ResumeStore(outputs, key=key) for key in ("k", "k", "l"))
    assert first.get_or_make("stage", lambda: made, load) is made
    again = second.get_or_make("stage", lambda: pytest.fail("made again"), load)
    assert second.resumed == ["stage"]
    same(again, made)
    assert other.get_or_make("stage", lambda: "anew", load) == "anew"
    assert second.get_or_make("stage", lambda: "another", load, variant="-1") == "another"


def _kept(tmp_path, change):
    """The file of a kept surface after a change of its arrays."""
    store = ResumeStore(Outputs(splats=(tmp_path / "a.ply",)), key="k")
    store.get_or_make("surface", lambda: RESULTS["surface"][0], resume.load_surface)
    (path,) = store.folder.iterdir()
    with np.load(path) as opened:
        arrays = {name: opened[name] for name in opened.files}
    change(path, arrays)
    return store


def _rewrite(path, arrays, *, digest: bool):
    if digest:
        del arrays["digest"]
        arrays["digest"] = np.asarray(resume._digest(arrays))
    np.savez(path, **arrays)


def _planted(path, arrays):
    elsewhere = path.parent.with_name("planted.npz")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


CHANGES = {
    "another byte": lambda path, arrays: _rewrite(path, arrays | {".cameras.width_px": np.asarray(9)}, digest=False),
    "faces of no vertex": lambda path, arrays: _rewrite(path, arrays | {".mesh.faces": MESH.faces + 9}, digest=True),
    "too few arrays": lambda path, arrays: _rewrite(path, {"digest": arrays["digest"]}, digest=True),
    "packed": lambda path, arrays: np.savez_compressed(path, **arrays),
    "a link": _planted,
    "no zip": lambda path, _: path.write_bytes(b"PK\3\4" + bytes(200)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_meanwhile_is_not_believed(tmp_path, name, caplog):
    store = _kept(tmp_path, CHANGES[name])
    assert store.get_or_make("surface", lambda: RESULTS["surface"][0], resume.load_surface) is RESULTS["surface"][0]
    assert store.resumed == []
    assert "is damaged and is made anew" in caplog.text


def test_what_cannot_be_kept_is_made_again(tmp_path):
    outputs = Outputs(splats=(tmp_path / "a.ply",))
    for count in (1, 2):
        store = ResumeStore(outputs, key="k")
        made = PriorResult(VIEWS, {}, head=object())
        assert (
            store.get_or_make("views", lambda made=made: made, resume.load_prior_result, keep=lambda _: False) is made
        )
        assert store.resumed == [], count


def same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert one == other
    else:
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_a_place_that_cannot_be_written_only_costs_the_resuming(folder, entered, monkeypatch, caplog):
    def no_room(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spinmeround.pipelines.resume.np.savez", no_room)
    assert fitted(folder).report["resumed"] == []
    assert "could not be kept, and were this run killed it would start anew" in caplog.text
