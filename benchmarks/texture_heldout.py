"""Does the textured mesh show what the views showed? Synthetic people from cameras the fit has not seen.

    python benchmarks/texture_heldout.py [--quick] [--sheet OUT.png]

Each person is seen by 16 cameras of 512 pixels, fitted by the standard preset, decimated and painted, and held against
pictures from twelve cameras between those. PSNR is over the pixels where either picture shows the head.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import people_views
from splats_heldout import HELD_OUT
from tables import Figure, print_figures

from spinmeround.images import composite, to_uint8
from spinmeround.orbits import RIGS, WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.pipelines.drawing import mesh_drawer
from spinmeround.pipelines.held_out import measure as compare
from spinmeround.recon.surface import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.texture import bake_texture
from spinmeround.types import TexturedMesh, Views

_PEOPLE, _FACES = (0, 1, 2), 20_000
_BAR_DB = 31.0
_TILES = (0, 4, 7, 10)


def _silent(share: float, message: str) -> None:
    """Progress nobody watches."""


def fit(seed: int, *, size_px: int, quick: bool) -> tuple[TexturedMesh, Views, float]:
    """A person's textured mesh, the views held out, and the seconds the texture took."""
    person = people_views.sitter(seed)
    around = orbit_cameras(*zip(*RIGS["orbit-16"], strict=True), size_px=size_px, focal_widths=WHOLE_FOCAL_WIDTHS)
    views = person.views(around)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0)
    started = time.perf_counter()
    mesh = bake_texture(views, surface, size_px=1024 if quick else 2048, faces=_FACES)
    seconds = time.perf_counter() - started
    held_out = orbit_cameras(*zip(*HELD_OUT, strict=True), size_px=size_px, focal_widths=WHOLE_FOCAL_WIDTHS)
    return mesh, person.views(held_out), seconds


def _rows(mesh: TexturedMesh, held_out: Views) -> list[np.ndarray]:
    """The mesh above the truth, from four sides."""
    some = replace(
        held_out.cameras,
        camera_from_world=held_out.cameras.camera_from_world[list(_TILES)],
        intrinsics_px=held_out.cameras.intrinsics_px[list(_TILES)],
    )
    drawn = mesh_drawer(mesh)(some)
    tiles = list(_TILES)
    ours, truth = composite(drawn.rgb, drawn.alpha), composite(held_out.rgb[tiles], held_out.alpha[tiles])
    return [np.hstack(to_uint8(ours)), np.hstack(to_uint8(truth))]


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """Three people, or one at half the size with the draft preset when quick."""
    figures, rows = [], []
    for seed in _PEOPLE[:1] if quick else _PEOPLE:
        mesh, held_out, seconds = fit(seed, size_px=256 if quick else 512, quick=quick)
        told = compare(mesh_drawer(mesh), held_out, _silent)
        note = f"{len(mesh.faces)} faces; ssim {told['ssim']:.3f}; painted in {seconds:.0f} s"
        bar = None if quick else _BAR_DB
        what = f"textured mesh, held-out views of the head, person {seed}"
        figures.append(Figure(what, told["psnr_head"], bar, at_most=False, unit=" dB", note=note))
        off = 100 * abs(len(mesh.faces) / _FACES - 1)
        figures.append(Figure(f"textured mesh, faces off {_FACES}, person {seed}", off, 2.0, unit=" %"))
        rows += _rows(mesh, held_out)
    if sheet is not None:
        cv2.imwrite(str(sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one person, small, with the draft preset")
    parser.add_argument("--sheet", type=Path, help="a PNG to look at: the mesh above the truth")
    arguments = parser.parse_args()
    print_figures(measure(quick=arguments.quick, sheet=arguments.sheet), title="textured mesh")


if __name__ == "__main__":
    main()
