"""Hair strands of a run: written beside the results, of the same size, or not at all, and why."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround import fit_views, reconstruct
from spinmeround.errors import MissingDependencyError, OutputError, ResourceError
from spinmeround.io import read_hair, read_splats
from spinmeround.pipelines.outputs import OutputOptions
from spinmeround.pipelines.settings import RunSettings
from spinmeround.types import HairStrands
from tests.pipelines.fakes import RADIUS, install

DRAFT = RunSettings(quality="draft")


@dataclass
class HairedSphere:
    strands: HairStrands | None

    def hair_strands(self) -> HairStrands | None:
        return self.strands


def fringe(count: int = 5) -> HairStrands:
    """Strands that hang at the front of the sphere."""
    across, down = np.meshgrid(np.linspace(-0.1, 0.1, count), np.linspace(0.2, 0, 4), indexing="ij")
    points = np.stack([across, down, np.full_like(down, RADIUS)], axis=-1)
    return HairStrands(points, np.full((count, 4), 3e-4), np.full((count, 4, 3), 0.3), np.full((count, 2), 0.5))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "face.jpg"
    path.write_bytes(b"stands for a photo")
    return path


def test_strands_have_the_size_of_the_head(monkeypatch, photo, tmp_path):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    install(monkeypatch, head=HairedSphere(fringe()))
    outputs = OutputOptions(hair=tmp_path / "hair.usdc", report=tmp_path / "r.json")
    settings = replace(DRAFT, height_m=2 * RADIUS * 3)
    result = reconstruct(photo, out=tmp_path / "a.ply", settings=settings, outputs=outputs)
    assert result.files == (tmp_path / "a.ply", tmp_path / "hair.usdc", tmp_path / "r.json")
    np.testing.assert_allclose(
        read_hair(tmp_path / "hair.usdc", metres_per_unit=1.0).points, 3 * fringe().points, rtol=1e-3
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["hair_strands"] == {"made": True, "count": 5}
    stages = [record["stage"] for record in report["stages"]]
    assert stages.index("hair") + 1 == stages.index("files")


def test_strands_alone_come_with_the_objects(monkeypatch, photo, tmp_path):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    install(monkeypatch, head=HairedSphere(fringe()))
    result = reconstruct(photo, settings=DRAFT, outputs=OutputOptions(hair=tmp_path / "hair.usda"))
    assert result.files == (tmp_path / "hair.usda",)
    assert len(read_hair(tmp_path / "hair.usda")) == 5


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (HairedSphere(None), "the head has no hair"),
        (HairedSphere(fringe(0)), "the head has no hair"),
        ("a head without strands", "this prior makes no hair strands"),
    ],
)
def test_without_hair_there_is_no_file_and_a_warning(head, why, monkeypatch, photo, tmp_path, caplog):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    install(monkeypatch, head=head)
    outputs = OutputOptions(hair=tmp_path / "hair.usdc")
    result = reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT, outputs=outputs)
    assert result.files == (tmp_path / "a.ply",) and not (tmp_path / "hair.usdc").exists()
    assert result.report["hair_strands"] == {"made": False, "why": why}
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [f"{tmp_path / 'hair.usdc'} is not written: {why}"]


def test_strands_that_cannot_be_written_leave_the_rest_whole(monkeypatch, photo, tmp_path):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    install(monkeypatch, head=HairedSphere(fringe()))

    def fail(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("spinmeround.io.usd.hair.write_hair_curves", fail)
    with pytest.raises(ResourceError, match=r"hair\.usdc was not written"):
        reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT, outputs=OutputOptions(hair=tmp_path / "hair.usdc"))
    assert len(read_splats(tmp_path / "a.ply")) > 0
    assert not (tmp_path / "hair.usdc").exists()


def test_what_cannot_be_had_is_said_before_any_work(monkeypatch, photo, tmp_path):
    install(monkeypatch, before=lambda name: pytest.fail("work began"))

    def refused(name, error, about=(), **how):
        outputs = OutputOptions(hair=tmp_path / name)
        with pytest.raises(error) as caught:
            reconstruct(photo, out=tmp_path / "a.ply", outputs=outputs, **how)
        assert caught.value.settings == about
        return str(caught.value)

    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pxr", None)
        assert refused("a.usdc", MissingDependencyError).endswith('pip install "spinmeround[usd]"')
    pytest.importorskip("pxr", reason="usd-core is not installed")
    assert "hair strands are written as .usdc .usda, not as '.abc'" in refused("a.abc", OutputError)
    assert "create it first" in refused("nowhere/a.usdc", OutputError)
    diffusion = RunSettings(prior="diffusion")
    assert "the prior is diffusion" in refused("a.usdc", OutputError, ("hair", "prior"), settings=diffusion)
    with pytest.raises(OutputError, match="hair strands come from photos only"):
        fit_views(tmp_path, out=tmp_path / "a.ply", outputs=OutputOptions(hair=tmp_path / "a.usdc"))
    assert [path.name for path in tmp_path.iterdir()] == ["face.jpg"]
