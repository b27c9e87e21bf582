"""What is left open is told with its reason; what is asked for and cannot be had is an error."""

from __future__ import annotations

import importlib.util

import pytest

from spinmeround.errors import InputError, MissingDependencyError, WeightsError
from spinmeround.pipelines import choices
from spinmeround.pipelines.choices import choose_device, choose_prior, resolve
from spinmeround.pipelines.priors.diffusion import DiffusionPrior
from spinmeround.pipelines.settings import DiffusionOptions, PhotoOptions, RunSettings
from spinmeround.portrait import hair_segmentation


@pytest.fixture
def weights_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPMR_WEIGHTS", str(tmp_path))
    return tmp_path


def test_auto_says_what_it_took_and_why(weights_folder, caplog, monkeypatch):
    caplog.set_level("INFO", logger="spinmeround")
    monkeypatch.setattr(
        "spinmeround.portrait.hair_segmentation.choose_hair_network", lambda: ("builtin", "the other one is absent")
    )
    settings, choices = resolve(RunSettings(seed=3), with_prior=True)
    assert settings == RunSettings(seed=3, prior="template", device="cpu", photo=PhotoOptions(hair="builtin"))
    assert [choices[name].requested for name in ("prior", "hair", "device")] == ["auto"] * 3
    assert "hair: builtin (the other one is absent)" in caplog.text
    assert "prior: template (the one prior that needs no large weights)" in caplog.text
    assert "device: cpu (" in caplog.text
    (weights_folder / "spmr.ckpt").write_bytes(b"x")
    assert "hours without a GPU" in choose_prior("auto", device="cpu", options=DiffusionOptions()).reason
    lacking = choose_prior("auto", device="cuda", options=DiffusionOptions())
    assert lacking.selected == "template"
    assert "glintr100.onnx" in lacking.reason
    at_rest = choose_prior("auto", device="cuda", options=DiffusionOptions(), neutral=True)
    assert (at_rest.selected, "keeps the photo's expression" in at_rest.reason) == ("template", True)


def test_diffusion_asked_for_and_absent_is_an_error(weights_folder):
    with pytest.raises(WeightsError) as raised:
        DiffusionPrior(RunSettings(prior="diffusion", device="cpu"))
    told = str(raised.value)
    assert str(weights_folder / "spmr.ckpt") in told
    assert "template prior" in told
    assert "\n" not in told


def test_a_face_at_rest_is_not_asked_of_the_diffusion_prior():
    with pytest.raises(InputError, match="take the template prior for a face at rest") as raised:
        choose_prior("diffusion", device="cpu", options=DiffusionOptions(), neutral=True)
    assert raised.value.settings == ("photo.neutral", "prior")


@pytest.mark.parametrize("asked", ["auto", "template"])
def test_options_of_the_diffusion_prior_belong_to_it(asked):
    with pytest.raises(InputError, match="steps, low_memory: only the diffusion prior") as raised:
        choose_prior(asked, device="cpu", options=DiffusionOptions(steps=20, low_memory=True))
    assert raised.value.settings == ("prior", "diffusion.steps", "diffusion.low_memory")


@pytest.mark.skipif(importlib.util.find_spec("gsplat") is not None, reason="gsplat is installed here")
def test_cuda_without_gsplat_names_the_command():
    with pytest.raises(MissingDependencyError, match=r"pip install .*cuda"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("asked", "took", "warned"), [("auto", "builtin", 1), ("auto", "mediapipe", 0), ("builtin", "", 0)]
)
def test_a_substitute_for_the_best_hair_network_is_told(asked, took, warned, monkeypatch, caplog):
    monkeypatch.setattr(hair_segmentation, "choose_hair_network", lambda: (took, "so it is"))
    settings, chosen = choices.resolve(RunSettings(prior="template", photo=PhotoOptions(hair=asked)), with_prior=True)
    assert settings.photo.hair == (took or asked)
    with caplog.at_level("WARNING"):
        choices.warn_of_substitutes(chosen)
    assert len(caplog.records) == warned
