"""What does a normal map bring back? A laser scan, fitted, made coarse, seen from cameras not fitted to.

    python benchmarks/normal_map.py [--quick] [--sheet OUT.png]

`scans/igea.ply` from 16 views as in `bench_surface.py`. The fitted surface is decimated, and its normals are baked into
maps of 2048 pixels. Angles are between drawn and true normals, over all pixels of held-out views that both cover.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from bench_surface import photograph, ring_cameras, scan
from tables import Figure, print_figures

from spinmeround.images import to_uint8
from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.texture.atlas import simplify, unwrap
from spinmeround.recon.texture.normal_map import with_normal_map
from spinmeround.types import Mesh, TexturedMesh, Views

_FACES = (20_000, 12_000, 4_000)
_LIGHT = np.array([0.95, 0.25, 0.2]) / np.linalg.norm([0.95, 0.25, 0.2])
"""Grazes the face from the subject's left."""


def coarse(surface: Mesh, faces: int, *, size_px: int) -> tuple[TexturedMesh, float]:
    """The surface with so many faces and a normal map, and the seconds that the map took."""
    small = simplify(surface, faces)
    atlas = unwrap(small, size_px)
    grey = np.full((size_px, size_px, 3), 0.7, np.float32)
    started = time.perf_counter()
    mesh = with_normal_map(TexturedMesh(small.vertices, small.faces, atlas.uv, atlas.uv_faces, grey), surface)
    return mesh, time.perf_counter() - started


def angles_deg(mesh: TexturedMesh, truth: Views) -> np.ndarray:
    """Between the normals that are drawn and the true ones."""
    drawn = mesh_drawer(mesh)(truth.cameras)
    both = (drawn.alpha > 0.99) & (truth.alpha > 0.5)
    cosine = (drawn.normals_world[both] * truth.normals_world[both]).sum(-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _clay(views: Views) -> np.ndarray:
    """White clay in grazing light, all views in a row."""
    light = np.clip(views.normals_world @ _LIGHT, 0, 1) * 0.9 + 0.05
    return to_uint8(np.hstack(np.repeat((light * views.alpha)[..., None], 3, axis=3)))


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """The standard preset, or the draft preset and one mesh when quick."""
    truth = scan()
    surface = (
        NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"])
        .fit(photograph(truth, ring_cameras(16)), seed=0)
        .mesh
    )
    held_out = photograph(truth, ring_cameras(6, held_out=True))
    figures, rows = [], [_clay(held_out)]
    for faces in _FACES[-1:] if quick else _FACES:
        mesh, seconds = coarse(surface, faces, size_px=2048)
        plain = replace(mesh, normal_map=None)
        for what, drawn in (("no map", plain), ("normal map", mesh)):
            error = angles_deg(drawn, held_out)
            note = f"95 of 100 below {np.percentile(error, 95):.1f}" + (f"; {seconds:.1f} s" if drawn is mesh else "")
            name = f"{faces} faces, {what}: median normal error"
            figures.append(Figure(name, float(np.median(error)), unit=" deg", note=note))
            rows.append(_clay(mesh_drawer(drawn)(held_out.cameras)))
    if sheet is not None:
        cv2.imwrite(str(sheet), np.vstack(rows))
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the draft preset, one mesh")
    parser.add_argument(
        "--sheet", type=Path, help="a PNG to look at: the truth, then each mesh without and with its map"
    )
    arguments = parser.parse_args()
    print_figures(measure(quick=arguments.quick, sheet=arguments.sheet), title="normal maps")


if __name__ == "__main__":
    main()
