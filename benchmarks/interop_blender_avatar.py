"""Our avatar in Blender: read from .glb with a clip and from .usdz, rendered by docs/avatar/blender.py, exported.

Blender is found as in ``interop_blender.py``:

    python benchmarks/interop_blender_avatar.py --blender-python blender-env/bin/python [--glb head.glb]

``make bench`` runs it where the environment variable BLENDER_PYTHON names such a Python, or the project's own has bpy.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from inside_blender import print_findings, read_findings, run_blender
from tables import Figure, print_figures_and_exit

_SCRIPT = Path(__file__).parent.parent / "docs" / "avatar" / "blender.py"
_SIZE_PX = 512
_CAMERA_M, _ANGLE_DEG = 1.1, 17.0
"""Distance and angle of view of the script's camera."""
_BONES = ("neck", "head", "jaw", "leftEye", "rightEye")


def inside_blender(folder: Path) -> None:
    """Import the files, in Blender's Python, and print what Blender sees."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(folder / "head.glb"))
    seen = {"glb": _described(), "clip": _halfway()}
    bpy.context.scene.frame_set(0)
    bpy.ops.export_scene.gltf(filepath=str(folder / "again.glb"))
    if (folder / "head.usdz").exists():
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.wm.usd_import(filepath=str(folder / "head.usdz"))
        seen["usdz"] = _described()
    print_findings(seen)


def _parts() -> dict[str, Any]:
    """Return meshes by part; an object is ``skin.001`` if its weights are animated. Other meshes are bones' icons."""
    import bpy

    rigged = [
        t for t in bpy.context.scene.objects if t.type == "MESH" and any(m.type == "ARMATURE" for m in t.modifiers)
    ]
    return {thing.name.split(".")[0]: thing for thing in rigged}


def _described() -> dict[str, Any]:
    import bpy

    objects, meshes = bpy.context.scene.objects, _parts()
    places = {n: np.array([t.matrix_world @ v.co for v in t.data.vertices]) for n, t in meshes.items()}
    armatures = [thing for thing in objects if thing.type == "ARMATURE"]
    keys = meshes["skin"].data.shape_keys.key_blocks
    return {
        "armatures": len(armatures),
        "bones": [bone.name for bone in armatures[0].data.bones],
        "keys": [key.name for key in keys if key.name.lower() != "basis"],
        "packed": all(image.packed_file for image in bpy.data.images if image.source == "FILE"),
        "normal maps": sum(_has_normal_map(t.data.materials[0]) for t in meshes.values()),
        "crown_m": float(places["skin"][:, 2].max()),
        "teeth before the middle": float(places["skin"][:, 1].mean() - places["teeth"][:, 1].mean()),
        "triangles": sum(len(thing.data.polygons) for thing in meshes.values()),
    }


def _has_normal_map(material: Any) -> bool:
    """Check whether normals come from a tangent-space picture that is read as non-colour data."""
    nodes = [node for node in material.node_tree.nodes if node.type == "NORMAL_MAP" and node.space == "TANGENT"]
    pictures = [link.from_node.image for node in nodes for link in node.inputs["Color"].links]
    return any(picture.colorspace_settings.name == "Non-Color" for picture in pictures)


def _halfway() -> dict[str, Any]:
    """Return the pose in the middle of the clip, and its length."""
    import bpy

    scene = bpy.context.scene
    start, end = (max(limits) for limits in zip(*(action.frame_range for action in bpy.data.actions), strict=True))
    middle = (start + end) / 2
    scene.frame_set(int(middle), subframe=middle % 1)
    armature = next(thing for thing in scene.objects if thing.type == "ARMATURE")
    turned = {bone.name: np.degrees(bone.matrix_basis.to_quaternion().angle) for bone in armature.pose.bones}
    jaw = _parts()["skin"].data.shape_keys.key_blocks["jawOpen"].value
    return {"seconds": (end - start) / scene.render.fps, "jawOpen": jaw, "turned_deg": turned}


def _mean_head() -> Any:
    from heads import mean_avatar

    return mean_avatar(skin_px=128, lod=1, texture_px=128, normal_map=True)


def _clip() -> Any:
    """Return a clip of one second: the jaw opens, head and eyes turn by 20 degrees."""
    from spinmeround.types import FaceClip

    times = np.linspace(0, 1, 31)
    half = np.radians(20) * times / 2
    turn = np.stack([np.cos(half), 0 * half, np.sin(half), 0 * half], axis=1)
    return FaceClip(times, {"jawOpen": times}, {"head": turn, "leftEye": turn, "rightEye": turn})


def _count_warnings(output: str) -> int:
    return len(re.findall(r"^.*\b(?:warning|error)\b.*$", output, re.IGNORECASE | re.MULTILINE))


def _import_figures(kind: str, seen: dict[str, Any], avatar: Any) -> list[Figure]:
    names, triangles = avatar.morph_names, sum(len(part.mesh.faces) for part in avatar.parts)
    normal_maps = sum(part.mesh.normal_map is not None for part in avatar.parts)
    return [
        Figure(f"{kind}: armatures beyond one", seen["armatures"] - 1, 0),
        Figure(f"{kind}: bones missing or too many", len({*_BONES} ^ {*seen["bones"]}), 0),
        Figure(f"{kind}: shape keys missing or too many", len({*names} ^ {*seen["keys"]}), 0),
        Figure(f"{kind}: parts without their normal map", normal_maps - seen["normal maps"], 0),
        Figure(f"{kind}: pictures not packed", float(not seen["packed"]), 0),
        Figure(f"{kind}: faces +Y or lies down", float(not (seen["teeth before the middle"] > 0 < seen["crown_m"])), 0),
        Figure(f"{kind}: triangles lost", triangles - seen["triangles"], 0),
    ]


def _clip_figures(seen: dict[str, Any]) -> list[Figure]:
    turned = seen["turned_deg"]
    return [
        Figure("clip: length off by", abs(seen["seconds"] - 1), 0.05, unit=" s"),
        Figure("clip: jaw halfway off by", abs(seen["jawOpen"] - 0.5), 0.02),
        Figure(
            "clip: neck, head halfway off by", max(abs(turned["neck"] - 4), abs(turned["head"] - 6)), 0.3, unit=" deg"
        ),
        Figure(
            "clip: eyes halfway off by", max(abs(turned[n] - 10) for n in ("leftEye", "rightEye")), 0.3, unit=" deg"
        ),
    ]


def _chin_to_crown_m(avatar: Any, crown_m: float) -> float:
    """Return the height from chin to crown; the chin is what ``jawOpen`` moves furthest, hair is left out."""
    from spinmeround.geometry import METRES_PER_UNIT

    skin = next(part for part in avatar.parts if part.name == "skin")
    moved = np.linalg.norm(skin.morphs["jawOpen"], axis=1)
    return crown_m - float(skin.mesh.vertices[moved > 0.9 * moved.max(), 1].min()) * METRES_PER_UNIT


def _silhouette_iou(avatar: Any, picture: Path, weights: dict[str, float]) -> float:
    """Return the silhouette IoU of Blender's picture and ours from the script's camera."""
    from measures import mask_iou

    from spinmeround.geometry import METRES_PER_UNIT
    from spinmeround.inspection.drawing import mesh_drawer
    from spinmeround.inspection.expressions import posed
    from spinmeround.io.pictures import read_picture
    from spinmeround.orbits import orbit_cameras

    focal_widths = 0.5 / np.tan(np.radians(_ANGLE_DEG) / 2)
    radius = _CAMERA_M / METRES_PER_UNIT
    cameras = orbit_cameras([0], [0], size_px=_SIZE_PX, radius=radius, focal_widths=float(focal_widths))
    cameras.intrinsics_px[:, :2, 2] = _SIZE_PX / 2
    ours = mesh_drawer(*(posed(part, weights) for part in avatar.parts))(cameras).alpha[0] > 0.5
    return mask_iou(ours, read_picture(picture)[..., 3] > 127)


def main() -> None:
    """Write the files, read them in Blender, print a table; exit with 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blender-python", default=sys.executable, help="a Python that can import bpy")
    parser.add_argument("--glb", type=Path, help="an avatar (default: the mean head)")
    parser.add_argument("--picture", type=Path, help="keep the picture that the script of docs/avatar renders")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside_blender(given.inside)
        return
    print_figures_and_exit(compare(given.blender_python, given.glb, given.picture), title="Our avatar in Blender")


def measure(*, quick: bool) -> list[Figure]:
    """Check the mean head in Blender; ``quick`` is ignored.

    Raises:
        ModuleNotFoundError: no Python with bpy is known.
    """
    del quick
    program = os.environ.get("BLENDER_PYTHON")
    if program is None:
        importlib.import_module("bpy")
    return compare(program or sys.executable)


def compare(blender_python: str, glb: Path | None = None, picture: Path | None = None) -> list[Figure]:
    """Compare what Blender reads and renders of an avatar with the avatar; the mean head's unless one is given.

    Args:
        blender_python: a Python that can import bpy.
        glb: the avatar's file.
        picture: where to keep what the script of docs/avatar renders.
    """
    from spinmeround.errors import MissingDependencyError
    from spinmeround.io import read_avatar, write_avatar

    avatar = read_avatar(glb) if glb else _mean_head()
    pose = {"jawOpen": 0.6, "eyeBlinkLeft": 1.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_avatar(folder / "head.glb", avatar, clip=_clip())
        write_avatar(folder / "still.glb", avatar)
        try:
            write_avatar(folder / "head.usdz", avatar)
        except MissingDependencyError as error:
            print(f"no .usdz: {error}")
        output = run_blender(blender_python, __file__, "--inside", name)
        seen = read_findings(output)
        picture = picture or folder / "picture.png"
        actions = [f"{key}={value}" for key, value in pose.items()]
        output += run_blender(blender_python, str(_SCRIPT), str(folder / "still.glb"), str(picture), *actions)
        again = read_avatar(folder / "again.glb")
        iou = _silhouette_iou(avatar, picture, pose)
    figures = _import_figures("glb", seen["glb"], avatar) + _clip_figures(seen["clip"])
    if "usdz" in seen:
        figures += _import_figures("usdz", seen["usdz"], avatar)
    high_m = _chin_to_crown_m(avatar, seen["glb"]["crown_m"])
    figures += [
        Figure("glb: chin to crown, off 0.23 m by", abs(high_m / 0.23 - 1), 0.15, note=f"{1000 * high_m:.0f} mm"),
        Figure("exported by Blender, read by us: targets lost", len({*avatar.morph_names} - {*again.morph_names}), 0),
        Figure("the same: bones lost", len({*_BONES} - {joint.name for joint in again.joints}), 0),
        Figure("rendered by the script: silhouette IoU with ours", iou, 0.97, at_most=False),
        Figure("warnings and errors", _count_warnings(output), 0),
    ]
    return [replace(figure, what=f"Blender, {figure.what}") for figure in figures]


if __name__ == "__main__":
    main()
