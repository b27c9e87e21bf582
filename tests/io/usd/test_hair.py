"""Hair strands as USD curves: what Pixar's own library reads back, what its validators say, and round trips."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinmeround.errors import InputError, MissingDependencyError, OutputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io import read_hair, write_hair
from spinmeround.types import HairStrands
from tests.io.usd.usd_validation import validate

SUFFIXES = (".usdc", ".usda")
LENGTHS = (5, 2, 4)


@pytest.fixture
def strands() -> HairStrands:
    """Three strands of different lengths; what lies beyond their tips is nonsense."""
    rng = np.random.default_rng(0)
    on_strand = np.arange(5) < np.array(LENGTHS)[:, None]
    return HairStrands(
        points=np.where(on_strand[..., None], rng.normal(size=(3, 5, 3)) * 0.2, 9.0),
        widths=np.where(on_strand, rng.uniform(1e-4, 4e-4, (3, 5)), 0.0),
        colours=rng.uniform(size=(3, 5, 3)),
        root_uv=rng.uniform(size=(3, 2)),
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_curves_are_whole_and_valid(suffix: str, tmp_path: Path, strands: HairStrands) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    path = tmp_path / f"hair{suffix}"
    write_hair(path, strands)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert validate(path) == []
    stage = Usd.Stage.Open(str(path))
    assert (UsdGeom.GetStageMetersPerUnit(stage), UsdGeom.GetStageUpAxis(stage)) == (1.0, "Y")
    curves = UsdGeom.BasisCurves.Get(stage, "/hair/strands")
    shape = [a.Get() for a in (curves.GetTypeAttr(), curves.GetBasisAttr(), curves.GetWrapAttr())]
    assert shape == ["cubic", "catmullRom", "pinned"]
    counts, used = list(curves.GetCurveVertexCountsAttr().Get()), strands.widths > 0
    assert counts == list(LENGTHS)
    np.testing.assert_allclose(curves.GetPointsAttr().Get(), strands.points[used] * METRES_PER_UNIT, atol=1e-7)
    np.testing.assert_allclose(curves.GetWidthsAttr().Get(), strands.widths[used] * METRES_PER_UNIT, rtol=1e-6)
    assert curves.GetWidthsInterpolation() == "vertex"
    low, high = np.array(curves.GetExtentAttr().Get())
    points = strands.points[used] * METRES_PER_UNIT
    assert (low <= points.min(axis=0)).all() and (points.max(axis=0) <= high).all()
    assert (high - low < np.ptp(points, axis=0) + 1e-3).all()
    primvars = UsdGeom.PrimvarsAPI(curves)
    for name, interpolation, count in (("displayColor", "vertex", 11), ("st", "uniform", 3)):
        primvar = primvars.GetPrimvar(name)
        assert (primvar.GetInterpolation(), len(primvar.Get())) == (interpolation, count)
    linear = np.array(primvars.GetPrimvar("displayColor").Get())
    np.testing.assert_allclose(linear, ((strands.colours[used] + 0.055) / 1.055) ** 2.4, atol=5e-3)
    for name in ("st", "surface_uv_coordinate"):
        np.testing.assert_allclose(primvars.GetPrimvar(name).Get(), strands.root_uv, atol=1e-7)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_strands_come_back_up_to_their_tips(suffix: str, tmp_path: Path, strands: HairStrands) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    path = tmp_path / f"hair{suffix}"
    write_hair(path, strands, metres_per_unit=0.5)
    back, used = read_hair(path, metres_per_unit=0.5), strands.widths > 0
    np.testing.assert_allclose(back.points[used], strands.points[used], atol=1e-6)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(
            back.points[row, length:], np.broadcast_to(back.points[row, length - 1], (5 - length, 3))
        )
    np.testing.assert_allclose(back.widths, strands.widths, rtol=1e-6)
    np.testing.assert_allclose(back.colours[used], strands.colours[used], atol=1e-5)
    np.testing.assert_allclose(back.root_uv, strands.root_uv, atol=1e-7)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_strands_give_the_same_bytes(suffix: str, tmp_path: Path, strands: HairStrands) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    for name in ("a", "b"):
        write_hair(tmp_path / f"{name}{suffix}", strands)
    write_hair(tmp_path / f"a{suffix}", strands)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_what_is_no_strand_is_left_out(tmp_path: Path, strands: HairStrands) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    widths = strands.widths.copy()
    widths[0, 1] = 0  # the root alone is left, whatever comes after
    write_hair(tmp_path / "a.usdc", replace(strands, widths=widths))
    np.testing.assert_allclose(read_hair(tmp_path / "a.usdc").root_uv, strands.root_uv[1:], atol=1e-7)


def test_what_cannot_be_written_is_said(tmp_path: Path, strands: HairStrands) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    with pytest.raises(ValueError, match="no strand has two points"):
        write_hair(tmp_path / "a.usdc", replace(strands, widths=strands.widths * 0))
    with pytest.raises(ValueError, match="3 of 3 strands have colours that are not finite numbers"):
        write_hair(tmp_path / "a.usdc", replace(strands, colours=strands.colours * np.nan))
    with pytest.raises(OutputError, match=r"hair strands are written as \.usdc \.usda, not as '\.abc'"):
        write_hair(tmp_path / "a.abc", strands)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    for suffix in SUFFIXES:
        (tmp_path / f"text{suffix}").write_text("no USD")
        with pytest.raises(InputError, match="no USD, or damaged"):
            read_hair(tmp_path / f"text{suffix}")
    with pytest.raises(InputError, match="no such file"):
        read_hair(tmp_path / "missing.usdc")
    stage = Usd.Stage.CreateNew(str(tmp_path / "empty.usda"))
    stage.GetRootLayer().Save()
    with pytest.raises(InputError, match="has no curves at /hair/strands"):
        read_hair(tmp_path / "empty.usda")
    curves = UsdGeom.BasisCurves.Define(stage, "/hair/strands")
    curves.CreateCurveVertexCountsAttr([2])
    curves.CreatePointsAttr([(0, 0, 0), (0, 1, 0)])
    stage.GetRootLayer().Save()
    with pytest.raises(InputError, match="lack points, widths, colours or coordinates of roots"):
        read_hair(tmp_path / "empty.usda")


def test_without_the_library_it_is_said_at_once(tmp_path: Path, monkeypatch, strands: HairStrands) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    for use in (lambda path: write_hair(path, strands), read_hair):
        with pytest.raises(MissingDependencyError) as caught:
            use(tmp_path / "a.usdc")
        assert str(caught.value).endswith('a .usdc needs the package pxr: pip install "spinmeround[usd]"')
    assert list(tmp_path.iterdir()) == []
