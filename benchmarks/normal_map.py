"""Detail restored by normal maps: a surface fitted to a laser scan, decimated, in held-out views.

    python benchmarks/normal_map.py [--quick] [--sheet OUT.png]

`scans/igea.ply` from 16 views as in `bench_surface.py`. The fitted surface is decimated, and its normals are baked into
maps of 2048 pixels. Angles are between rendered and true normals, over all pixels of held-out views that both cover.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_surface import photograph, ring_cameras, scan
from command_line import benchmark_parser, run
from measures import angles_deg
from pictures import write_rgb
from tables import Figure

from spinmeround.images import to_uint8
from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.texture.atlas import simplify, unwrap
from spinmeround.recon.texture.normal_map import with_normal_map
from spinmeround.types import Mesh, TexturedMesh, Views

_FACES = (20_000, 12_000, 4_000)
_LIGHT = np.array([0.95, 0.25, 0.2]) / np.linalg.norm([0.95, 0.25, 0.2])
"""Direction of a grazing light from the subject's left, world frame."""


def decimated(surface: Mesh, faces: int, *, size_px: int) -> tuple[TexturedMesh, float]:
    """Return the surface with ``faces`` faces and a normal map, and the seconds that the map took."""
    small = simplify(surface, faces)
    atlas = unwrap(small, size_px)
    grey = np.full((size_px, size_px, 3), 0.7, np.float32)
    started = time.perf_counter()
    mesh = with_normal_map(TexturedMesh(small.vertices, small.faces, atlas.uv, atlas.uv_faces, grey), surface)
    return mesh, time.perf_counter() - started


def normal_errors_deg(mesh: TexturedMesh, truth: Views) -> np.ndarray:
    """Return the angles between the mesh's rendered normals and the true ones."""
    drawn = mesh_drawer(mesh)(truth.cameras)
    both = (drawn.alpha > 0.99) & (truth.alpha > 0.5)
    cosine = (drawn.normals_world[both] * truth.normals_world[both]).sum(-1)
    return angles_deg(cosine)


def _shaded(views: Views) -> np.ndarray:
    """Return all views in a row, diffusely shaded by the grazing light."""
    light = np.clip(views.normals_world @ _LIGHT, 0, 1) * 0.9 + 0.05
    return to_uint8(np.hstack(np.repeat((light * views.alpha)[..., None], 3, axis=3)))


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """Measure with the standard preset, or with the draft preset and one mesh if quick."""
    truth = scan()
    surface = (
        NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"])
        .fit(photograph(truth, ring_cameras(16)), seed=0)
        .mesh
    )
    held_out = photograph(truth, ring_cameras(6, held_out=True))
    figures, rows = [], [_shaded(held_out)]
    for faces in _FACES[-1:] if quick else _FACES:
        mesh, seconds = decimated(surface, faces, size_px=2048)
        plain = replace(mesh, normal_map=None)
        for what, drawn in (("no map", plain), ("normal map", mesh)):
            error = normal_errors_deg(drawn, held_out)
            note = f"95 of 100 below {np.percentile(error, 95):.1f}" + (f"; {seconds:.1f} s" if drawn is mesh else "")
            name = f"{faces} faces, {what}: median normal error"
            figures.append(Figure(name, float(np.median(error)), unit=" deg", note=note))
            rows.append(_shaded(mesh_drawer(drawn)(held_out.cameras)))
    if sheet is not None:
        write_rgb(sheet, np.vstack(rows))
    return figures


def main() -> None:
    """Print the figures."""
    run(
        measure,
        benchmark_parser(
            __doc__, quick="the draft preset, one mesh", sheet="the truth, then each mesh without and with its map"
        ),
        title="normal maps",
    )


if __name__ == "__main__":
    main()
