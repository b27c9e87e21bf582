"""Our .glb, .obj and .ply as read by Blender: axes, size, texture and material compared with what was written.

Blender comes from PyPI and needs an environment of its own (see ``inside_blender.py``):

    python3.11 -m venv blender-env && blender-env/bin/pip install bpy==5.0.1
    python benchmarks/interop_blender.py --blender-python blender-env/bin/python [--picture out.png]

The mesh is an ellipsoid whose colour encodes the direction, (n + 1) / 2, so that a flipped axis, a flipped texture or a
swapped channel shows as a wrong colour.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from inside_blender import print_findings, read_findings
from tables import Figure, print_figures_and_exit

_COLUMNS, _ROWS = 48, 24
_RADII = np.array([0.2, 0.28, 0.24])
"""Semi-axes of the ellipsoid, head units; they differ, so that swapped axes change its extents."""


def ellipsoid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices, faces, texture coordinates, their faces and a texture of directions, with a seam at the back."""
    u, v = np.meshgrid(np.arange(_COLUMNS + 1) / _COLUMNS, np.arange(_ROWS + 1) / _ROWS)
    vertices = (_directions(u, v) * _RADII)[:, :-1].reshape(-1, 3)
    i, j = (k.reshape(-1) for k in np.meshgrid(np.arange(_COLUMNS), np.arange(_ROWS)))

    def corners(width: int) -> np.ndarray:
        right = (i + 1) % width
        a, b, c, d = j * width + i, (j + 1) * width + i, (j + 1) * width + right, j * width + right
        return np.concatenate([np.stack([a, b, c], 1)[j < _ROWS - 1], np.stack([a, c, d], 1)[j > 0]])

    uv = np.stack([u, 1 - v], axis=-1).reshape(-1, 2)
    texel_u, texel_v = np.meshgrid((np.arange(256) + 0.5) / 256, (np.arange(128) + 0.5) / 128)
    albedo = (_directions(texel_u, texel_v) * 0.5 + 0.5).astype(np.float32)
    return vertices, corners(_COLUMNS), uv, corners(_COLUMNS + 1), albedo


def _directions(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    turn, down = 2 * np.pi * (u - 0.5), np.pi * v
    return np.stack([np.sin(down) * np.sin(turn), np.cos(down), np.sin(down) * np.cos(turn)], axis=-1)


def inside_blender(folder: Path, picture: Path | None) -> None:
    """Import each file, in Blender's Python, and print what Blender sees."""
    import bpy

    seen = {}
    for name, load in (
        ("glb", bpy.ops.import_scene.gltf),
        ("obj", bpy.ops.wm.obj_import),
        ("ply", bpy.ops.wm.ply_import),
    ):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        # A PLY has no axes of its own; Blender's importer gets ours.
        load(
            filepath=str(folder / f"a.{name}"),
            **({"forward_axis": "NEGATIVE_Z", "up_axis": "Y"} if name == "ply" else {}),
        )
        seen[name] = _described(next(o for o in bpy.context.scene.objects if o.type == "MESH"))
        if name == "glb":
            bpy.ops.export_scene.gltf(filepath=str(folder / "blender.glb"))
            if picture is not None:
                _render(picture)
    print_findings(seen)


def _described(thing: Any) -> dict[str, Any]:
    mesh = thing.data
    places = np.array([thing.matrix_world @ v.co for v in mesh.vertices])
    described: dict[str, Any] = {"size": np.ptp(places, axis=0).tolist(), "triangles": len(mesh.polygons)}
    loops = np.array([loop.vertex_index for loop in mesh.loops])
    if mesh.uv_layers:
        uv = np.array([entry.uv for entry in mesh.uv_layers.active.data])
        nodes = mesh.materials[0].node_tree.nodes
        image = next(node.image for node in nodes if node.type == "TEX_IMAGE")
        width, height = image.size
        pixels = np.array(image.pixels).reshape(height, width, -1)
        column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip((uv[:, 1] * height).astype(int), 0, height - 1)
        colours = pixels[row, column, :3]
        shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED").inputs
        described |= {"metallic": shader["Metallic"].default_value, "roughness": shader["Roughness"].default_value}
        described |= {"colour space": image.colorspace_settings.name}
    else:
        colours = np.array([entry.color_srgb[:3] for entry in mesh.color_attributes[0].data])[loops]
    described["colour error"] = float(np.abs(colours - _expected_colours(places[loops])).max())
    normals = np.array([entry.vector for entry in mesh.corner_normals]) @ np.array(thing.matrix_world)[:3, :3].T
    cosines = (normals * _ellipsoid_normals(places[loops])).sum(axis=1)
    described["normal error"] = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    return described


def _ellipsoid_normals(places: np.ndarray) -> np.ndarray:
    """Return the exact normals of the ellipsoid, in Blender's frame."""
    normals = places / _RADII[[0, 2, 1]] ** 2
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _expected_colours(places: np.ndarray) -> np.ndarray:
    """Return the colours at places in Blender's frame, where our front (+Z) is -Y and our up (+Y) is +Z."""
    world = places[:, [0, 2, 1]] * (1, 1, -1)
    directions = world / _RADII
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * 0.5 + 0.5


def _render(picture: Path) -> None:
    import bpy

    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 16, "CPU"
    scene.render.resolution_x = scene.render.resolution_y = 256
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("white")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.rotation_euler = (0, -0.9, 0), (np.pi / 2, 0, 0)  # in front, looking along +Y
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.filepath = str(picture.resolve())
    bpy.ops.render.render(write_still=True)


def main() -> None:
    """Write the files, read them in Blender, print a table; exit with 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blender-python", default=sys.executable, help="a Python that can import bpy")
    parser.add_argument("--picture", type=Path, help="render the .glb from the front to this PNG")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside_blender(arguments.inside, arguments.picture)
        return
    from spinmeround.io import read_mesh, write_mesh
    from spinmeround.types import TexturedMesh

    mesh = TexturedMesh(*ellipsoid())
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("glb", "obj", "ply"):
            write_mesh(Path(folder) / f"a.{suffix}", mesh)
        command = [arguments.blender_python, __file__, "--inside", folder]
        command += ["--picture", str(arguments.picture)] if arguments.picture else []
        done = subprocess.run(command, capture_output=True, text=True)
        seen = read_findings(done.stdout + done.stderr)
        back = read_mesh(Path(folder) / "blender.glb")
    figures = _figures(seen, len(mesh.faces))
    extents = [np.ptp(np.asarray(m.vertices), axis=0) for m in (mesh, back)]
    difference = float(np.abs(extents[0] - extents[1]).max())
    figures.append(Figure("glb written by Blender, read by us: extents", difference, 1e-6, unit=" units"))
    figures.append(Figure("the same: triangles lost", len(mesh.faces) - len(back.faces), 0))
    print_figures_and_exit(figures, title="Our meshes in Blender")


def _figures(seen: dict[str, dict[str, Any]], triangles: int) -> list[Figure]:
    from spinmeround.geometry import METRES_PER_UNIT

    expected = 2000 * _RADII[[0, 2, 1]] * METRES_PER_UNIT
    figures = []
    for name, one in seen.items():
        size_error = float(np.abs(1000 * np.array(one["size"]) - expected).max())
        figures.append(Figure(f"{name}: size and axes", size_error, 0.01, unit=" mm"))
        figures.append(Figure(f"{name}: triangles lost", triangles - one["triangles"], 0))
        note = f"{one['colour space']} texture" if "colour space" in one else "colours of vertices"
        figures.append(Figure(f"{name}: colour, largest error", one["colour error"], 0.04, note=note))
        figures.append(Figure(f"{name}: normals, largest error", one["normal error"], 6, unit=" deg"))
        if name == "glb":
            figures.append(Figure("glb: roughness off by", abs(one["roughness"] - 0.9), 1e-6))
            figures.append(Figure("glb: metallic", one["metallic"], 0))
    return figures


if __name__ == "__main__":
    main()
