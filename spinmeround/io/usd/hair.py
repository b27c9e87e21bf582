"""Hair strands as curves in ``.usdc`` and ``.usda`` (UsdGeomBasisCurves), by the package usd-core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from spinmeround.errors import InputError
from spinmeround.images import linear_to_srgb, srgb_to_linear
from spinmeround.types import HairStrands

if TYPE_CHECKING:
    from pxr import Usd, UsdGeom

_ROOT = "/hair"
_CURVES = "/hair/strands"
_ROOT_UV = ("st", "surface_uv_coordinate")
"""Primvars that hold the roots' texture coordinates: the one USD knows, and the one by which Blender's hair curves find
their place on a mesh, so that nothing has to be renamed there."""


def write_hair_curves(path: Path, strands: HairStrands, *, metres_per_unit: float) -> None:
    """Write strands in metres, +Y up and +Z to the front, as one prim of Catmull-Rom curves that end in their tips.

    Each strand becomes one curve of its points up to its tip; strands of fewer than two points are left out. Widths and
    colours belong to the points, texture coordinates of the root to the curves. Colours are linear, as USD wants
    ``displayColor``. The same strands give the same bytes.
    """
    from pxr import Sdf, Usd, UsdGeom, Vt

    used = points_used(strands)
    kept = used.any(axis=1)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    root = UsdGeom.Xform.Define(stage, _ROOT)
    stage.SetDefaultPrim(root.GetPrim())
    Usd.ModelAPI(root.GetPrim()).SetKind("component")
    curves = UsdGeom.BasisCurves.Define(stage, _CURVES)
    curves.CreateTypeAttr(UsdGeom.Tokens.cubic)
    curves.CreateBasisAttr(UsdGeom.Tokens.catmullRom)
    curves.CreateWrapAttr(UsdGeom.Tokens.pinned)
    counts = used.sum(axis=1)[kept]
    curves.CreateCurveVertexCountsAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(counts, np.int32)))
    curves.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(_float32(strands.points[used] * metres_per_unit)))
    curves.CreateWidthsAttr(Vt.FloatArray.FromNumpy(_float32(strands.widths[used] * metres_per_unit)))
    curves.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    primvars = UsdGeom.PrimvarsAPI(curves)
    linear = srgb_to_linear(np.clip(np.asarray(strands.colours[used], np.float64), 0, 1))
    colour = primvars.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex)
    colour.Set(Vt.Vec3fArray.FromNumpy(_float32(linear)))
    for name in _ROOT_UV:
        uv = primvars.CreatePrimvar(name, Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.uniform)
        uv.Set(Vt.Vec2fArray.FromNumpy(_float32(strands.root_uv[kept])))
    extent = UsdGeom.Boundable.ComputeExtentFromPlugins(curves, Usd.TimeCode.Default())
    curves.CreateExtentAttr(extent)
    UsdGeom.ModelAPI(root.GetPrim()).SetExtentsHint(extent, Usd.TimeCode.Default())
    stage.GetRootLayer().Save()


def points_used(strands: HairStrands) -> Bool[np.ndarray, "s p"]:
    """Return which points lie on a strand: those before the first width of 0, and none of a strand of one point."""
    used = np.logical_and.accumulate(np.asarray(strands.widths) > 0, axis=1)
    return used & (used.sum(axis=1) >= 2)[:, None]


def read_hair_curves(path: Path) -> HairStrands:
    """Read the strands of ``write_hair_curves`` in metres; beyond its tip a strand stays there, with width 0.

    Raises:
        InputError: no such file, damaged, or without curves of the names that are written.
    """
    from pxr import UsdGeom

    stage = _open(path)
    curves = UsdGeom.BasisCurves.Get(stage, _CURVES)
    if not curves or not curves.GetCurveVertexCountsAttr().Get():
        raise InputError(f"{path}: has no curves at {_CURVES}; give a file that was written as hair")
    counts = np.asarray(curves.GetCurveVertexCountsAttr().Get(), np.int64)
    points, widths, colours, root_uv = _values(curves, path, counts)
    step = np.arange(counts.max())
    starts = np.cumsum(counts) - counts
    rows = starts[:, None] + np.minimum(step, counts[:, None] - 1)
    return HairStrands(
        points[rows], np.where(step < counts[:, None], widths[rows], 0), linear_to_srgb(colours[rows]), root_uv
    )


def _open(path: Path) -> Usd.Stage:
    from pxr import Tf, Usd

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise InputError(f"{path}: no USD, or damaged; write it again") from error


def _values(
    curves: UsdGeom.BasisCurves, path: Path, counts: np.ndarray
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "s 2"]]:
    """Return points, widths and linear colours of all strands, one after the other, and the roots' coordinates."""
    from pxr import UsdGeom

    colour, uv = (UsdGeom.PrimvarsAPI(curves).GetPrimvar(name) for name in ("displayColor", _ROOT_UV[0]))
    total, empty = int(counts.sum()), np.zeros(0, np.float32)
    found = (
        (curves.GetPointsAttr().Get(), (total, 3)),
        (curves.GetWidthsAttr().Get(), (total,)),
        (colour.Get() if colour else None, (total, 3)),
        (uv.Get() if uv else None, (len(counts), 2)),
    )
    arrays = [np.array(empty if values is None else values, np.float32) for values, _ in found]
    if counts.min() < 1 or any(array.shape != shape for array, (_, shape) in zip(arrays, found, strict=True)):
        raise InputError(f"{path}: its curves lack points, widths, colours or coordinates of roots; write it again")
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
