"""Splats of exact views: synthetic people from cameras the fit has not seen.

    python benchmarks/splats_clean.py [--quick] [--sheet OUT.png]

Each person is seen by 16 cameras of 512 pixels, the standard preset finds the surface, and 50,000 splats are fitted to
it and held against pictures from twelve cameras between those. PSNR is over the pixels where either picture shows the
head; the seconds are those of the splats.
"""

from __future__ import annotations

import time

import held_out_people
import numpy as np
import people_views
from jaxtyping import UInt8
from tables import Figure

from spinmeround.pipelines.drawing import splats_drawer
from spinmeround.pipelines.held_out import measure as compare
from spinmeround.recon.raster_numba import NumbaRasterizer
from spinmeround.recon.splats import GaussianFitter, SplatSettings
from spinmeround.recon.surface import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.types import Splats, Views

_SETTINGS, _QUICK = SplatSettings(50_000, 300), SplatSettings(12_000, 100)
_BAR_DB, _BAR_SECONDS = 38.0, 45.0


def _silent(share: float, message: str) -> None:
    """Progress nobody watches."""


def fit(seed: int, *, quick: bool) -> tuple[Splats, Views, float]:
    """A person's splats, the views held out, and the seconds the splats took."""
    person = people_views.sitter(seed)
    around, between = held_out_people.cameras(256 if quick else 512)
    views = person.views(around)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0)
    started = time.perf_counter()
    splats = GaussianFitter(NumbaRasterizer(), _QUICK if quick else _SETTINGS).fit(views, surface, seed=0)
    seconds = time.perf_counter() - started
    return splats, person.views(between), seconds


def look(*, quick: bool) -> tuple[list[Figure], list[UInt8[np.ndarray, "h w 3"]]]:
    """Three people, or one at half the size with the draft preset when quick."""
    figures, rows = [], []
    for seed in held_out_people.PEOPLE[: 1 if quick else None]:
        splats, held_out, seconds = fit(seed, quick=quick)
        told = compare(splats_drawer(splats), held_out, _silent)
        what, note = f"splats, exact views, person {seed}", f"{len(splats)} splats; ssim {told['ssim']:.3f}"
        bars = (None, None) if quick else (_BAR_DB, _BAR_SECONDS)
        figures.append(Figure(what, told["psnr_head"], bars[0], at_most=False, unit=" dB", note=note))
        figures.append(Figure(f"{what}, seconds", seconds, bars[1], unit=" s"))
        rows += held_out_people.rows(splats_drawer(splats), held_out)
    return figures, rows


def measure(*, quick: bool) -> list[Figure]:
    """The figures alone."""
    return look(quick=quick)[0]


if __name__ == "__main__":
    held_out_people.run(look, description=__doc__, title="splats of exact views")
