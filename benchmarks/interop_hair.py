"""Our hair strands as read by Blender: places, widths, colours and roots compared with what was written.

They are attached to a head and rendered by docs/hair/blender.py. Blender is found as in ``interop_blender.py``:

    python benchmarks/interop_hair.py --blender-python blender-env/bin/python [--picture out.png]

The strands are green and grow on the mean head's scalp, which is grey. ``make bench`` runs it where the environment
variable BLENDER_PYTHON names a Python with bpy, or the project's own has it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from inside_blender import print_findings, read_findings, run_blender
from tables import Figure, print_figures_and_exit

_SCRIPT = Path(__file__).parent.parent / "docs" / "hair" / "blender.py"
_STRANDS, _POINTS = 2000, 12
_SUFFIXES = ("usdc", "usda")


def inside_blender(folder: Path) -> None:
    """Import the curves, in Blender's Python; save their attributes and print what becomes of them on a head."""
    import bpy

    seen: dict[str, Any] = {}
    for suffix in _SUFFIXES:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.wm.usd_import(filepath=str(folder / f"hair.{suffix}"))
        things = list(bpy.context.scene.objects)
        strands = next(thing for thing in things if thing.type == "CURVES")
        kinds = strands.data.attributes.get("curve_type")  # absent where all are Catmull-Rom, which is 0
        catmull_rom = kinds is None or not any(entry.value for entry in kinds.data)
        seen[suffix] = {"objects": len(things), "catmull_rom": catmull_rom}
        np.savez(folder / f"{suffix}.npz", **_described(strands))
    seen["attached"] = _attached(folder)
    print_findings(seen)


def _described(strands: Any) -> dict[str, np.ndarray]:
    attributes = strands.data.attributes
    return {
        "counts": np.array([curve.points_length for curve in strands.data.curves]),
        "points": _world_points(strands),
        "radii": np.array([entry.value for entry in attributes["radius"].data]),
        "colours": np.array([entry.color[:3] for entry in attributes["displayColor"].data]),
        "st": np.array([entry.vector for entry in attributes["st"].data]),
        "surface_uv": np.array([entry.vector for entry in attributes["surface_uv_coordinate"].data]),
    }


def _world_points(strands: Any) -> np.ndarray:
    placed = np.array(strands.matrix_world)
    points = np.array([entry.vector for entry in strands.data.attributes["position"].data])
    return points @ placed[:3, :3].T + placed[:3, 3]


def _attached(folder: Path) -> dict[str, float]:
    """Attach the curves as the script does and rotate the head's bone; return what moved, and how far from skin."""
    import bpy

    spec = importlib.util.spec_from_file_location("script", _SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    skin, strands = script.load(str(folder / "head.glb"), str(folder / "hair.usdc"))
    before = _world_points(strands)
    script.attach(strands, skin)
    at_rest, off_rest = _evaluated(strands, skin)
    armature = next(thing for thing in bpy.context.scene.objects if thing.type == "ARMATURE")
    bone = armature.pose.bones["head"]
    bone.rotation_mode = "XYZ"
    bone.rotation_euler = (0.3, 0.2, 0)
    bpy.context.view_layer.update()
    turned, off_turned = _evaluated(strands, skin)
    return {
        "moved by attaching": float(np.linalg.norm(at_rest - before, axis=1).max()),
        "moved by the bone": float(np.median(np.linalg.norm(turned - at_rest, axis=1))),
        "roots off the skin at rest": off_rest,
        "roots off the skin when turned": off_turned,
    }


def _evaluated(strands: Any, skin: Any) -> tuple[np.ndarray, float]:
    """Return all points as Blender shows them, and how far the furthest root lies from the skin it shows."""
    import bpy
    from mathutils import Vector
    from mathutils.bvhtree import BVHTree

    graph = bpy.context.evaluated_depsgraph_get()
    shown = strands.evaluated_get(graph)
    points = _world_points(shown)
    surface = BVHTree.FromObject(skin, graph)
    to_skin = skin.matrix_world.inverted()
    roots = (points[curve.first_point_index] for curve in shown.data.curves)
    return points, max(surface.find_nearest(to_skin @ Vector(root))[3] for root in roots)


def scalp_strands(head: Any) -> Any:
    """Return curved green strands on the upper part of a head's skin, a third of them of half the length.

    Args:
        head: an avatar.
    """
    from spinmeround.types import HairStrands

    rng = np.random.default_rng(0)
    skin = head.parts[0].mesh
    middles = skin.vertices[skin.faces].mean(axis=1)
    scalp = np.flatnonzero((middles[:, 1] > 0.1) & ((middles[:, 2] < 0.05) | (middles[:, 1] > 0.2)))
    faces, shares = rng.choice(scalp, _STRANDS), rng.dirichlet((1, 1, 1), _STRANDS)[..., None]
    roots = (skin.vertices[skin.faces[faces]] * shares).sum(axis=1)
    root_uv = (skin.uv[skin.uv_faces[faces]] * shares).sum(axis=1)
    outward = roots / np.linalg.norm(roots, axis=1, keepdims=True)
    along = np.linspace(0, 1, _POINTS)
    points = roots[:, None] + 0.06 * outward[:, None] * along[:, None] - np.array([0, 0.1, 0]) * along[:, None] ** 2
    widths = np.broadcast_to(0.003 * (1 - 0.8 * along), (_STRANDS, _POINTS)).copy()
    widths[::3, _POINTS // 2 :] = 0
    colours = (
        np.array([0.1, 0.6, 0.1]) * rng.uniform(0.5, 1.5, (_STRANDS, 1, 1)) * np.linspace(0.8, 1, _POINTS)[:, None]
    )
    return HairStrands(points, widths, np.clip(colours, 0, 1), root_uv)


def _import_figures(kind: str, seen: dict[str, Any], read: dict[str, np.ndarray], strands: Any) -> list[Figure]:
    from spinmeround.geometry import METRES_PER_UNIT
    from spinmeround.images import linear_to_srgb

    used = strands.widths > 0
    points = (strands.points[used] * METRES_PER_UNIT)[:, [0, 2, 1]] * (1, -1, 1)  # our front (+Z) is Blender's -Y
    first = np.cumsum(used.sum(axis=1)) - used.sum(axis=1)
    off = 1000 * np.linalg.norm(read["points"] - points, axis=1)
    radii = strands.widths[used] * METRES_PER_UNIT / 2
    uv_off = max(float(np.abs(read[name] - strands.root_uv).max()) for name in ("st", "surface_uv"))
    return [
        Figure(f"{kind}: objects beyond one", seen["objects"] - 1, 0),
        Figure(f"{kind}: curves lost", len(strands) - len(read["counts"]), 0),
        Figure(f"{kind}: curves of another length", float((read["counts"] != used.sum(axis=1)).sum()), 0),
        Figure(f"{kind}: no Catmull-Rom curves", float(not seen["catmull_rom"]), 0),
        Figure(f"{kind}: roots off by", float(off[first].max()), 0.2, unit=" mm"),
        Figure(f"{kind}: points off by", float(off.max()), 0.2, unit=" mm"),
        Figure(f"{kind}: radii off by", 100 * float(np.abs(read["radii"] / radii - 1).max()), 0.01, unit=" %"),
        Figure(
            f"{kind}: colours off by",
            float(np.abs(linear_to_srgb(read["colours"].astype(np.float64)) - strands.colours[used]).max()),
            1e-3,
            note="sRGB",
        ),
        Figure(f"{kind}: coordinates of roots off by", uv_off, 1e-6),
    ]


def _attached_figures(seen: dict[str, float]) -> list[Figure]:
    return [
        Figure("attached: moved by attaching", 1000 * seen["moved by attaching"], 0.2, unit=" mm"),
        Figure("attached: roots off the skin at rest", 1000 * seen["roots off the skin at rest"], 0.2, unit=" mm"),
        Figure("the head turned: roots off the skin", 1000 * seen["roots off the skin when turned"], 0.2, unit=" mm"),
        Figure("the head turned: strands moved", 1000 * seen["moved by the bone"], 10, at_most=False, unit=" mm"),
    ]


def _hair_share(picture: Path) -> float:
    """Return the fraction of the pixels of the head that are green."""
    from spinmeround.io.pictures import read_picture

    pixels = read_picture(picture).astype(float)
    head = pixels[..., 3] > 127
    green = pixels[..., 1] > 1.2 * np.maximum(pixels[..., 0], pixels[..., 2])
    return float((green & head).sum() / head.sum())


def main() -> None:
    """Write the files, read them in Blender, print a table; exit with 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blender-python", default=sys.executable, help="a Python that can import bpy")
    parser.add_argument("--picture", type=Path, help="keep the picture that the script of docs/hair renders")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside_blender(given.inside)
        return
    print_figures_and_exit(compare(given.blender_python, given.picture), title="Our hair strands in Blender")


def measure(*, quick: bool) -> list[Figure]:
    """Check strands on the mean head in Blender; ``quick`` is ignored.

    Raises:
        ModuleNotFoundError: no Python with bpy is known, or usd-core is not installed.
    """
    del quick
    importlib.import_module("pxr")
    program = os.environ.get("BLENDER_PYTHON")
    if program is None:
        importlib.import_module("bpy")
    return compare(program or sys.executable)


def compare(blender_python: str, picture: Path | None = None) -> list[Figure]:
    """Compare what Blender reads, attaches and renders of strands with what was written.

    Args:
        blender_python: a Python that can import bpy.
        picture: where to keep what the script of docs/hair renders.
    """
    from heads import mean_avatar

    from spinmeround.io import write_avatar, write_hair

    avatar = mean_avatar(skin_px=128, lod=1, texture_px=128)
    strands = scalp_strands(avatar)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_avatar(folder / "head.glb", avatar)
        for suffix in _SUFFIXES:
            write_hair(folder / f"hair.{suffix}", strands)
        seen = read_findings(run_blender(blender_python, __file__, "--inside", name))
        read = {suffix: dict(np.load(folder / f"{suffix}.npz")) for suffix in _SUFFIXES}
        picture = picture or folder / "picture.png"
        files = (str(folder / "head.glb"), str(folder / "hair.usdc"), str(picture.resolve()))
        run_blender(blender_python, str(_SCRIPT), *files)
        share = _hair_share(picture)
    figures = [each for kind in _SUFFIXES for each in _import_figures(kind, seen[kind], read[kind], strands)]
    figures += _attached_figures(seen["attached"])
    figures.append(Figure("rendered by the script: hair's share of the head", share, 0.05, at_most=False))
    return [replace(figure, what=f"Blender, hair, {figure.what}") for figure in figures]


if __name__ == "__main__":
    main()
