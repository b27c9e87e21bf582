"""Textured meshes of synthetic people, compared with held-out views.

    python benchmarks/texture_heldout.py [--quick] [--sheet OUT.png]

Each person is rendered from 16 cameras at 512 pixels. The surface is fitted with the standard preset, decimated and
textured, and compared with pictures from twelve cameras between those. PSNR is over the pixels where either picture
shows the head. The comparison is repeated with one sample a pixel: aliased masks locate the silhouette less precisely,
and each pixel on the wrong side of it counts in full.
"""

from __future__ import annotations

import time
from itertools import product

import held_out_people
import synthetic_views
from command_line import Pictures
from tables import Figure

from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.inspection.held_out import measure as compare
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.texture.bake import bake_texture
from spinmeround.types import TexturedMesh, Views, no_progress

_FACES, _BAR_DB = 20_000, 31.0


def fit(seed: int, *, quick: bool, samples: int) -> tuple[TexturedMesh, Views, float]:
    """Return a person's textured mesh, the held-out views, and the seconds that the texture took."""
    person = synthetic_views.virtual_person(seed)
    around, between = held_out_people.cameras(256 if quick else 512)
    views = person.views(around, samples=samples)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0).mesh
    started = time.perf_counter()
    mesh = bake_texture(views, surface, size_px=1024 if quick else 2048, faces=_FACES)
    seconds = time.perf_counter() - started
    return mesh, person.views(between, samples=samples), seconds


def measure_with_pictures(*, quick: bool) -> tuple[list[Figure], Pictures]:
    """Measure three people, or one at half the size with the draft preset if quick."""
    figures, rows = [], []
    people = held_out_people.PEOPLE[: 1 if quick else None]
    for seed, (edges, samples) in product(
        people, (("", synthetic_views.ANTIALIASED), (", aliased edges", synthetic_views.ALIASED))
    ):
        mesh, held_out, seconds = fit(seed, quick=quick, samples=samples)
        scores = compare(mesh_drawer(mesh), held_out, no_progress)
        note = f"{len(mesh.faces)} faces; ssim {scores['ssim']:.3f}; textured in {seconds:.0f} s"
        bar = None if quick else _BAR_DB
        what = f"textured mesh, held-out views of the head, person {seed}{edges}"
        figures.append(Figure(what, scores["psnr_head"], bar, at_most=False, unit=" dB", note=note))
        off = 100 * abs(len(mesh.faces) / _FACES - 1)
        figures.append(Figure(f"textured mesh, faces off {_FACES}, person {seed}{edges}", off, 2.0, unit=" %"))
        rows += held_out_people.rows(mesh_drawer(mesh), held_out)
    return figures, rows


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures alone."""
    return measure_with_pictures(quick=quick)[0]


if __name__ == "__main__":
    held_out_people.run(measure_with_pictures, description=__doc__, title="textured mesh")
