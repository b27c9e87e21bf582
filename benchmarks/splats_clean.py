"""Splats fitted to exact views of synthetic people, compared with held-out views.

    python benchmarks/splats_clean.py [--quick] [--sheet OUT.png]

Each person is rendered from 16 cameras at 512 pixels. The surface is fitted with the standard preset, then 50,000
splats are fitted to it and compared with pictures from twelve cameras between those. PSNR is over the pixels where
either picture shows the head; the seconds are those of the splats. The comparison is repeated with one sample a pixel:
aliased masks locate the silhouette less precisely, and antialiased pictures cannot match them. The note has the PSNR of
the person's own antialiased pictures against the aliased ones.
"""

from __future__ import annotations

import time
from itertools import product

import held_out_people
import synthetic_views
from command_line import Pictures
from tables import Figure

from spinmeround.inspection.drawing import splats_drawer
from spinmeround.inspection.held_out import measure as compare
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.types import Splats, Views, no_progress

_SETTINGS, _QUICK = SplatSettings(50_000, 300), SplatSettings(12_000, 100)
_BAR_DB, _BAR_SECONDS = 38.0, 45.0


def fit(person: synthetic_views.VirtualPerson, *, quick: bool, samples: int) -> tuple[Splats, Views, float]:
    """Return a person's splats, the held-out views, and the seconds that fitting the splats took."""
    around, between = held_out_people.cameras(256 if quick else 512)
    views = person.views(around, samples=samples)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0).mesh
    started = time.perf_counter()
    splats = GaussianFitter(NumbaRasterizer(), _QUICK if quick else _SETTINGS).fit(views, surface, seed=0)
    seconds = time.perf_counter() - started
    return splats, person.views(between, samples=samples), seconds


def measure_with_pictures(*, quick: bool) -> tuple[list[Figure], Pictures]:
    """Measure three people, or one at half the size with the draft preset if quick."""
    figures, rows = [], []
    people = held_out_people.PEOPLE[: 1 if quick else None]
    for seed, (edges, samples) in product(
        people, (("", synthetic_views.ANTIALIASED), (", aliased edges", synthetic_views.ALIASED))
    ):
        person = synthetic_views.virtual_person(seed)
        splats, held_out, seconds = fit(person, quick=quick, samples=samples)
        scores = compare(splats_drawer(splats), held_out, no_progress)
        what, note = f"splats, exact views, person {seed}{edges}", f"{len(splats)} splats; ssim {scores['ssim']:.3f}"
        bars = (None, None) if quick else (_BAR_DB, _BAR_SECONDS)
        if samples == synthetic_views.ALIASED:
            best_db = compare(person.views, held_out, no_progress)["psnr_head"]
            note += f"; antialiased truth against aliased: {best_db:.1f} dB"
            bars = (None, bars[1])
        figures.append(Figure(what, scores["psnr_head"], bars[0], at_most=False, unit=" dB", note=note))
        figures.append(Figure(f"{what}, seconds", seconds, bars[1], unit=" s"))
        rows += held_out_people.rows(splats_drawer(splats), held_out)
    return figures, rows


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures alone."""
    return measure_with_pictures(quick=quick)[0]


if __name__ == "__main__":
    held_out_people.run(measure_with_pictures, description=__doc__, title="splats of exact views")
