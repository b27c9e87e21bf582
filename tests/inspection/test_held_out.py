"""Figures for views that took no part in the fit: values against plain formulas, what is absent and why, the report."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spinmeround import OutputOptions, RunSettings, fit_views
from spinmeround.inspection import held_out
from spinmeround.io import write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.types import Views
from tests.pipelines.fakes import FakeBackends, install, sphere_views


@pytest.fixture
def truth() -> Views:
    views = sphere_views(orbit_cameras([0.0, 90.0, 200.0], [5.0, -5.0, 0.0], size_px=64))
    stripes = np.broadcast_to((np.arange(64) % 8 / 8)[None, None, :, None], views.rgb.shape)
    return dataclasses.replace(views, rgb=stripes.astype(np.float32))


def draws(views: Views, change=lambda rgb: rgb):
    """Draws the views themselves, one camera at a time, with other colours."""

    def draw(cameras):
        index = int(np.abs(views.cameras.camera_from_world - cameras.camera_from_world[0]).sum((1, 2)).argmin())
        part = slice(index, index + 1)
        return Views(cameras, change(views.rgb[part]), views.normals_world[part], views.alpha[part], views.weight[part])

    return draw


def silent(share: float, message: str) -> None:
    assert 0 <= share <= 1


def test_the_same_pictures_are_perfect(truth):
    pytest.importorskip("flip_evaluator")
    told = held_out.measure(draws(truth), truth, silent)
    assert (told["views"], told["psnr"], told["psnr_head"], told["ssim"], told["flip"]) == (3, 120, 120, 1, 0)


def test_psnr_of_a_constant_error_and_where_it_is_counted(truth):
    told = held_out.measure(draws(truth, lambda rgb: rgb + 0.1), truth, silent)
    assert told["psnr_head"] == pytest.approx(20.0, abs=0.01)
    share = (truth.alpha > 0.5).mean(axis=(1, 2))
    assert told["psnr"] == pytest.approx(np.mean(20 - 10 * np.log10(share)), abs=0.02)
    assert told["ssim"] < 1


def test_what_is_drawn_beside_the_head_counts_as_head(truth):
    def draw(cameras):
        drawn = draws(truth)(cameras)
        return dataclasses.replace(drawn, rgb=drawn.rgb * 0, alpha=np.ones_like(drawn.alpha))

    told = held_out.measure(draw, truth, silent)
    assert told["psnr_head"] == told["psnr"] < 5


def test_flip_is_that_of_its_authors_program(truth):
    flip = pytest.importorskip("flip_evaluator")
    told = held_out.measure(draws(truth, lambda rgb: rgb * 0.8), truth, silent)
    expected = []
    for rgb, alpha in zip(truth.rgb, truth.alpha, strict=True):
        pair = [(colour * alpha[..., None] + 1 - alpha[..., None]).astype(np.float32) for colour in (rgb, rgb * 0.8)]
        expected.append(flip.evaluate(*pair, "LDR")[1])
    assert told["flip"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_absent_metrics_say_why(truth, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    monkeypatch.setitem(sys.modules, "lpips", None)
    told = held_out.measure(draws(truth), truth, silent)
    assert "flip" not in told
    assert told["not_measured"]["flip"] == "pip install flip-evaluator"
    assert told["not_measured"]["lpips"].startswith("pip install lpips")
    assert held_out.sentence(told).endswith("AlexNet weights)")
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    told = held_out.measure(draws(truth), truth, silent)
    assert told["not_measured"]["lpips"].startswith("its AlexNet weights are not at ")


def test_lpips_with_its_weights_at_hand(truth, monkeypatch, tmp_path):
    class Network(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, first, second, normalize):
            assert normalize, "pictures are in 0 to 1, the network's are in -1 to 1"
            assert first.shape == second.shape == (1, 3, 64, 64)
            return (first - second).abs().max().reshape(1, 1, 1, 1)

    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Network))
    told = held_out.measure(draws(truth, lambda rgb: rgb + 0.1), truth, silent)
    assert told["lpips"] == pytest.approx(0.1, abs=1e-4)


def test_pictures_too_small_for_the_window_of_ssim():
    views = sphere_views(orbit_cameras([0.0], [0.0], size_px=8))
    told = held_out.measure(draws(views), views, silent)
    assert "ssim" not in told
    assert told["not_measured"]["ssim"] == "needs pictures of at least 11 pixels"


@pytest.mark.parametrize(("out", "of"), [("a.ply", "splats"), ("a.glb", "mesh")])
def test_frames_held_out_are_measured_and_never_fitted(tmp_path, monkeypatch, caplog, out, of):
    fitted = []

    class Noting(FakeBackends):
        def fit_surface(self, views, *, seed, progress):
            fitted.append(views.names)
            return super().fit_surface(views, seed=seed, progress=progress)

    install(monkeypatch, Noting)
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], [0.0] * 4, size_px=64)
    test = sphere_views(orbit_cameras([45.0, 200.0], [3.0, 0.0], size_px=64))
    write_views(tmp_path / "views", sphere_views(cameras), test=test)
    with caplog.at_level("INFO"):
        fit_views(
            tmp_path / "views",
            out=tmp_path / out,
            settings=RunSettings(quality="draft"),
            outputs=OutputOptions(report=tmp_path / "report.json"),
        )
    assert fitted == [("train_000", "train_001", "train_002", "train_003")]
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    told = report["held_out"]
    assert (told["of"], told["views"]) == (of, 2)
    assert {"psnr", "psnr_head", "ssim"} <= set(told)
    assert ("flip" in told) != ("flip" in told.get("not_measured", {}))
    assert report["stages"][-1]["stage"] == "held out"
    assert "2 held-out views: PSNR " in caplog.text
