"""Does the textured mesh show what the views showed? Synthetic people from cameras the fit has not seen.

    python benchmarks/texture_heldout.py [--quick] [--sheet OUT.png]

Each person is seen by 16 cameras of 512 pixels, fitted by the standard preset, decimated and painted, and held against
pictures from twelve cameras between those. PSNR is over the pixels where either picture shows the head. The same once
more with one sample a pixel: masks of 0 and 1 tell less of an outline, and every pixel that it misses counts in full.
"""

from __future__ import annotations

import time
from itertools import product

import held_out_people
import numpy as np
import people_views
from jaxtyping import UInt8
from tables import Figure

from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.inspection.held_out import measure as compare
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.texture.bake import bake_texture
from spinmeround.types import TexturedMesh, Views

_FACES, _BAR_DB = 20_000, 31.0


def _silent(share: float, message: str) -> None:
    """Progress nobody watches."""


def fit(seed: int, *, quick: bool, samples: int) -> tuple[TexturedMesh, Views, float]:
    """A person's textured mesh, the views held out, and the seconds the texture took."""
    person = people_views.sitter(seed)
    around, between = held_out_people.cameras(256 if quick else 512)
    views = person.views(around, samples=samples)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0).mesh
    started = time.perf_counter()
    mesh = bake_texture(views, surface, size_px=1024 if quick else 2048, faces=_FACES)
    seconds = time.perf_counter() - started
    return mesh, person.views(between, samples=samples), seconds


def look(*, quick: bool) -> tuple[list[Figure], list[UInt8[np.ndarray, "h w 3"]]]:
    """Three people, or one at half the size with the draft preset when quick."""
    figures, rows = [], []
    people = held_out_people.PEOPLE[: 1 if quick else None]
    for seed, (edges, samples) in product(people, (("", people_views.SMOOTH), (", hard edges", people_views.HARD))):
        mesh, held_out, seconds = fit(seed, quick=quick, samples=samples)
        told = compare(mesh_drawer(mesh), held_out, _silent)
        note = f"{len(mesh.faces)} faces; ssim {told['ssim']:.3f}; painted in {seconds:.0f} s"
        bar = None if quick else _BAR_DB
        what = f"textured mesh, held-out views of the head, person {seed}{edges}"
        figures.append(Figure(what, told["psnr_head"], bar, at_most=False, unit=" dB", note=note))
        off = 100 * abs(len(mesh.faces) / _FACES - 1)
        figures.append(Figure(f"textured mesh, faces off {_FACES}, person {seed}{edges}", off, 2.0, unit=" %"))
        rows += held_out_people.rows(mesh_drawer(mesh), held_out)
    return figures, rows


def measure(*, quick: bool) -> list[Figure]:
    """The figures alone."""
    return look(quick=quick)[0]


if __name__ == "__main__":
    held_out_people.run(look, description=__doc__, title="textured mesh")
