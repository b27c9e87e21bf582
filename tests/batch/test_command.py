"""``spmr-batch`` as a user meets it, without Ray: what is foretold, what is said, which status."""

from __future__ import annotations

import importlib.util

import pytest

from spinmeround.batch import estimate, ray_executor, work
from spinmeround.batch.head import Recipe
from spinmeround.batch.needs import memory_mb
from spinmeround.cli import batch
from spinmeround.configs import preset
from spinmeround.pipelines.settings import AvatarOptions, RunSettings
from tests.batch.stand_ins import fake_reconstruct, inline

pytest.importorskip("pyarrow")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_reconstruct", fake_reconstruct)
    monkeypatch.setattr(ray_executor, "RayExecutor", lambda options: inline)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_text("no face" if name == "c" else name)
    return folder


def run(*arguments) -> int:
    try:
        return batch.main([str(each) for each in arguments])
    except SystemExit as left:
        return int(left.code or 0)


def test_a_failed_head_is_told_and_is_the_status(photos, tmp_path, capsys):
    assert run(photos, "--out", tmp_path / "out") == 9
    said = capsys.readouterr().err
    assert "3 heads, 0 of them are there; 3 to make" in said
    assert "warning: c: NoFaceError: no face found" in said
    assert "spmr-batch: 1 of 3 heads failed (1 NoFaceError); " in said
    (photos / "c.jpg").unlink()
    assert run(photos, "--out", tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_a_dry_run_foretells_and_writes_nothing(photos, tmp_path, capsys):
    assert run(photos, "--out", tmp_path / "out", "--dry-run", "--quality", "draft") == 0
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().out
    assert "3 heads, 0 of them are there, 3 to make" in told
    assert "a guess; --limit 10 tells" in told
    run(photos, "--out", tmp_path / "out", "--quiet")
    (photos / "a.jpg").write_text("new")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    capsys.readouterr()
    assert run(photos, "--out", tmp_path / "out", "--dry-run") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    told = capsys.readouterr().out
    assert "3 heads, 1 of them are there, 1 to make" in told
    assert "1 failed before, and would again" in told
    assert "(2 s a head, as the 2 heads in the table took)" in told


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--shard", "3/2"), 2, "expected a part of how many, such as 1/10, got '3/2'"),
        (("--formats", "ply,jpeg"), 3, "cannot write the extension '.jpeg'"),
        (("--formats", ""), 3, "cannot write a name without an extension"),
        (("--quality", "draft", "--steps", "3", "--prior", "template"), 2, "only the diffusion prior"),
    ],
)
def test_mistakes_are_one_line(photos, tmp_path, capsys, arguments, status, said):
    assert run(photos, "--out", tmp_path / "out", *arguments) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_ray_it_says_how_to_get_it(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    assert run(photos, "--out", tmp_path / "out") == 5
    assert capsys.readouterr().err == (
        'spmr-batch: a batch needs ray, which is not installed: pip install "spinmeround[ray]"\n'
    )


def test_only_stages_that_will_run_are_foretold():
    seconds = preset("draft").seconds

    def guessed(*formats, glb="avatar", **settings):
        return estimate._guessed_seconds(Recipe("out", RunSettings(quality="draft", **settings), formats, glb=glb))

    plain = guessed("glb", avatar=AvatarOptions(rig=False))
    mesh = seconds["views"] + seconds["surface"] + seconds["texture"]
    assert plain - guessed("glb") == pytest.approx(mesh - seconds["avatar"])
    assert guessed("obj") == plain
    assert guessed("obj", "glb") - guessed("glb") == pytest.approx(mesh)
    assert guessed("glb", "usdc") - guessed("glb") == pytest.approx(seconds["hair"])
    assert guessed("glb", "ply") - guessed("glb") == pytest.approx(seconds["views"] + seconds["polish"])
    assert guessed("glb", glb="both") == pytest.approx(guessed("glb", "ply"))
    assert guessed("glb", glb="splats") == pytest.approx(guessed("ply"))


def test_memory_is_that_of_what_is_fitted():
    def needed(*formats, **settings):
        return memory_mb(Recipe("out", RunSettings(quality="standard", **settings), formats))

    known = preset("standard")
    assert needed("ply", "glb") == known.head_memory_mb < known.memory_mb
    assert needed("ply", "obj") == needed("ply", prior="sphere") == known.memory_mb
