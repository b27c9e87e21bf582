"""The diffusion prior as a user meets it: a tiny model with random weights, a real photo, all passes, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spinmeround import weights
from spinmeround.cli import recon, views
from spinmeround.errors import InputError, MissingDependencyError, ResourceError, WeightsError
from spinmeround.io import read_views
from spinmeround.pipelines.priors.diffusion import check_ready, directions_of
from spinmeround.pipelines.settings import DiffusionOptions
from tests.diffusion import tiny

SIZE = 64


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory) -> Path:
    """A folder of model files as a user has it, with a tiny model of random weights and an identity."""
    from spinmeround.diffusion.model.convert import convert

    folder = tmp_path_factory.mktemp("weights")
    for entry in weights.entries():
        if entry.needed_by_all and not entry.optional:
            (folder / entry.name).write_bytes(weights.path(entry.name).read_bytes())
    made, config = tiny.write(tmp_path_factory.mktemp("published"), tiny.tensors())
    convert(made, folder / "spinmeround", config=config)
    values = np.random.default_rng(0).normal(size=512)
    np.save(folder / "me.npy", values / np.linalg.norm(values))
    return folder


@pytest.fixture
def photo(tmp_path) -> Path:
    import skimage.data
    import skimage.io

    skimage.io.imsave(tmp_path / "astronaut.png", skimage.data.astronaut())
    return tmp_path / "astronaut.png"


@pytest.fixture
def small(weights_folder, monkeypatch) -> None:
    """Small pictures, so that a run takes seconds; the pull toward the photo is a mean over the latents' size."""
    monkeypatch.setenv("SPMR_WEIGHTS", str(weights_folder))
    monkeypatch.setattr("spinmeround.diffusion.portrait_crop.MODEL_PX", SIZE)
    monkeypatch.setattr("spinmeround.diffusion.sampling.loop.PHOTO_GUIDANCE", 1e5 * (SIZE / 512) ** 2)


def views_command(photo: Path, weights_folder: Path, out: Path) -> list[str]:
    identity = weights_folder / "me.npy"
    return [str(photo), "--prior", "diffusion", "--identity", str(identity), "--out", str(out), "--quiet"]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_real_photo_through_all_passes_and_stage_two_to_files(weights_folder, photo, tmp_path, capsys):
    """Random weights paint no head: what counts is that every pass runs, and that stage two takes what comes."""
    arguments = [photo, "--prior", "diffusion", "--identity", weights_folder / "me.npy", "--quality", "draft"]
    arguments += ["--views", 48, "--steps", 2, "--views-out", tmp_path / "views", "--out", tmp_path / "head.ply"]
    arguments += ["--out", tmp_path / "head.glb", "--report", tmp_path / "report.json", "--seed", 3]
    assert recon.main([str(a) for a in arguments]) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    assert "on this CPU the diffusion model needs about" in said
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["choices"]["prior"]["took"] == "diffusion"
    assert report["diffusion"]["views"] == 48
    assert [s["stage"] for s in report["stages"]][:5] == ["photo", "portrait", "identity", "views", "surface"]
    named = {entry["name"] for entry in report["licences"]}
    assert "spmr.ckpt" in named
    assert not {"glintr100.onnx", "spinmeround/template/head.npz"} & named
    assert (tmp_path / "head.ply").stat().st_size > 1000
    assert (tmp_path / "head.glb").stat().st_size > 1000
    written, _ = read_views(tmp_path / "views")
    assert len(written) == 48
    assert written.names[:3] == ("photo", "az+7p5_el+0", "az+15_el+0")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_asked_directions_and_the_same_bytes_for_the_same_seed(weights_folder, photo, tmp_path, capsys):
    made = {}
    for name in ("a", "b"):
        arguments = [photo, "--prior", "diffusion", "--identity", weights_folder / "me.npy", "--steps", 2]
        arguments += ["--azimuths", "0,90", "--elevations", "10", "--out", tmp_path / name, "--seed", 1]
        assert views.main([str(a) for a in arguments]) == 0, capsys.readouterr().err
        made[name] = sorted((p.name, p.read_bytes()) for p in (tmp_path / name / "images").iterdir())
    assert [name for name, _ in made["a"]] == ["az+0_el+10.png", "az+90_el+10.png"]
    assert made["a"] == made["b"]


def test_what_is_missing_is_named_with_source_licence_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("SPMR_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError) as raised:
        check_ready(DiffusionOptions(), device="cpu")
    told = str(raised.value)
    for part in ("arXiv 2504.10716", "OpenRAIL-M", str(tmp_path / "spmr.ckpt"), "Arc2Face", str(tmp_path / "models")):
        assert part in told
    assert "template prior" in told
    (tmp_path / "spmr.ckpt").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"non-commercial.*spmr-weights fetch glintr100\.onnx.*\.npy file"):
        check_ready(DiffusionOptions(), device="cpu")
    (tmp_path / "glintr100.onnx").write_bytes(b"x")
    monkeypatch.setattr("spinmeround.diffusion.identity.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "spinmeround\[identity\]"'):
        check_ready(DiffusionOptions(), device="cpu")


def test_an_identity_that_is_none_is_refused_before_any_work(weights_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("SPMR_WEIGHTS", str(weights_folder))
    np.save(tmp_path / "long.npy", np.ones(512))
    with pytest.raises(InputError, match="divide it by its length"):
        check_ready(DiffusionOptions(identity=tmp_path / "long.npy"), device="cpu")
    check_ready(DiffusionOptions(identity=weights_folder / "me.npy"), device="cpu")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--steps 5000", "5000 steps: 1 to 1000 are possible"),
        ("--guidance 1000", "guidance 1000: it lies between 0 and 100"),
        ("--views-at-once 1", "1 views at once: a pass needs 2, one of them given"),
        (
            "--precision float16",
            "on a CPU use bfloat16, or choose the device cuda (--precision, --device)",
        ),
        ("--azimuths nan", "no camera at azimuth nan, elevation 0"),
        ("--azimuths 1e9", "azimuths lie within ±3600 degrees"),
        ("--elevations 200", "elevations within ±85"),
    ],
)
def test_settings_out_of_range_are_one_line_before_any_work(
    words, told, weights_folder, monkeypatch, photo, tmp_path, capsys
):
    monkeypatch.setenv("SPMR_WEIGHTS", str(weights_folder))
    command = views_command(photo, weights_folder, tmp_path / "v")
    assert views.main([*command, *words.split()]) == InputError.exit_code
    error = capsys.readouterr().err
    assert error.startswith("spmr-views: ")
    assert error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "v").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "spmr-recon: stopped; no half-written file was left behind"),
        (RuntimeError("can't allocate memory"), ResourceError.exit_code, "precision bfloat16"),
    ],
)
def test_stopped_or_out_of_memory_while_painting(
    raised, code, told, weights_folder, photo, tmp_path, monkeypatch, capsys
):
    def fails(*_args, **_kwargs):
        raise raised

    monkeypatch.setattr("spinmeround.diffusion.model.latents.LatentCodec.encode", fails)
    out = tmp_path / "out"
    out.mkdir()
    command = [photo, "--prior", "diffusion", "--identity", weights_folder / "me.npy", "--quality", "draft"]
    command += ["--out", out / "head.ply", "--views-out", out / "views", "--quiet"]
    assert recon.main([str(word) for word in command]) == code
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert list(out.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_a_model_larger_than_memory_is_not_loaded(weights_folder, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("spinmeround.diffusion.model.checkpoint.count_numbers", lambda path: 1_067_000_000)
    monkeypatch.setattr("spinmeround.pipelines.priors.diffusion.free_bytes", lambda: 4_000_000_000)
    command = views_command(photo, weights_folder, tmp_path / "v")
    assert views.main(command) == ResourceError.exit_code
    told = capsys.readouterr().err
    assert "needs 6.6 GB of free memory and 4.0 GB are free; try fewer views at once than 8" in told


def test_how_many_views():
    for count in (8, 48, 88):
        directions = directions_of(DiffusionOptions(views=count), "draft")
        assert len(set(directions)) == count
        assert (0.0, 0.0) in directions
    assert [len(directions_of(DiffusionOptions(), q)) for q in ("draft", "standard", "high")] == [8, 48, 88]
    with pytest.raises(InputError, match="7 views: there are 8, 48, 88"):
        directions_of(DiffusionOptions(views=7), "draft")
