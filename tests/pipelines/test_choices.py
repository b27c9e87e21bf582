"""What is left open is told with its reason; what is asked for and cannot be had is an error."""

from __future__ import annotations

import importlib.util

import pytest

from spinmeround.errors import MissingDependencyError, WeightsError
from spinmeround.pipelines.choices import choose_device, choose_prior


@pytest.fixture
def weights_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPMR_WEIGHTS", str(tmp_path))
    return tmp_path


def test_auto_says_what_it_took_and_why(weights_folder, caplog):
    caplog.set_level("INFO", logger="spinmeround")
    assert choose_prior("auto").took == "template"
    assert choose_device("auto").took == "cpu"
    assert "prior: template (the one prior that needs no large weights)" in caplog.text
    assert "device: cpu (" in caplog.text
    (weights_folder / "spmr.ckpt").write_bytes(b"x")
    assert "cannot run it yet" in choose_prior("auto").why


def test_diffusion_names_what_to_put_where(weights_folder):
    with pytest.raises(WeightsError) as raised:
        choose_prior("diffusion")
    told = str(raised.value)
    assert str(weights_folder / "spmr.ckpt") in told
    assert "arXiv 2504.10716" in told
    assert "--prior template" in told
    assert "\n" not in told
    (weights_folder / "spmr.ckpt").write_bytes(b"x")
    with pytest.raises(MissingDependencyError, match="cannot run it yet; use --prior template"):
        choose_prior("diffusion")


@pytest.mark.skipif(importlib.util.find_spec("gsplat") is not None, reason="gsplat is installed here")
def test_cuda_without_gsplat_names_the_command():
    with pytest.raises(MissingDependencyError, match=r"pip install .*cuda"):
        choose_device("cuda")
