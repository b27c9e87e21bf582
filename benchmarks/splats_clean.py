"""Splats of exact views: synthetic people from cameras the fit has not seen.

    python benchmarks/splats_clean.py [--quick] [--sheet OUT.png]

Each person is seen by 16 cameras of 512 pixels, the standard preset finds the surface, and 50,000 splats are fitted to
it and held against pictures from twelve cameras between those. PSNR is over the pixels where either picture shows the
head; the seconds are those of the splats. The same once more with one sample a pixel: masks of 0 and 1 tell less of an
outline, and no picture with smooth edges comes near them. How near the person's own would is noted beside.
"""

from __future__ import annotations

import time
from itertools import product

import held_out_people
import numpy as np
import people_views
from jaxtyping import UInt8
from tables import Figure

from spinmeround.inspection.drawing import splats_drawer
from spinmeround.inspection.held_out import measure as compare
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.types import Splats, Views

_SETTINGS, _QUICK = SplatSettings(50_000, 300), SplatSettings(12_000, 100)
_BAR_DB, _BAR_SECONDS = 38.0, 45.0


def _silent(share: float, message: str) -> None:
    """Progress nobody watches."""


def fit(person: people_views.Sitter, *, quick: bool, samples: int) -> tuple[Splats, Views, float]:
    """A person's splats, the views held out, and the seconds the splats took."""
    around, between = held_out_people.cameras(256 if quick else 512)
    views = person.views(around, samples=samples)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0).mesh
    started = time.perf_counter()
    splats = GaussianFitter(NumbaRasterizer(), _QUICK if quick else _SETTINGS).fit(views, surface, seed=0)
    seconds = time.perf_counter() - started
    return splats, person.views(between, samples=samples), seconds


def look(*, quick: bool) -> tuple[list[Figure], list[UInt8[np.ndarray, "h w 3"]]]:
    """Three people, or one at half the size with the draft preset when quick."""
    figures, rows = [], []
    people = held_out_people.PEOPLE[: 1 if quick else None]
    for seed, (edges, samples) in product(people, (("", people_views.SMOOTH), (", hard edges", people_views.HARD))):
        person = people_views.sitter(seed)
        splats, held_out, seconds = fit(person, quick=quick, samples=samples)
        told = compare(splats_drawer(splats), held_out, _silent)
        what, note = f"splats, exact views, person {seed}{edges}", f"{len(splats)} splats; ssim {told['ssim']:.3f}"
        bars = (None, None) if quick else (_BAR_DB, _BAR_SECONDS)
        if samples == people_views.HARD:
            note += f"; with smooth edges the person has {compare(person.views, held_out, _silent)['psnr_head']:.1f} dB"
            bars = (None, bars[1])
        figures.append(Figure(what, told["psnr_head"], bars[0], at_most=False, unit=" dB", note=note))
        figures.append(Figure(f"{what}, seconds", seconds, bars[1], unit=" s"))
        rows += held_out_people.rows(splats_drawer(splats), held_out)
    return figures, rows


def measure(*, quick: bool) -> list[Figure]:
    """The figures alone."""
    return look(quick=quick)[0]


if __name__ == "__main__":
    held_out_people.run(look, description=__doc__, title="splats of exact views")
