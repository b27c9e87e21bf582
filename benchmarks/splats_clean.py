"""Splats of exact views: synthetic people from cameras the fit has not seen.

    python benchmarks/splats_clean.py [--quick] [--sheet OUT.png]

Each person is seen by 16 cameras of 512 pixels, the standard preset finds the surface, and 50,000 splats are fitted to
it and held against pictures from twelve cameras between those. PSNR is over the pixels where either picture shows the
head; the seconds are those of the splats.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import people_views
from splats_heldout import HELD_OUT
from tables import Figure, print_figures

from spinmeround.geometry import select
from spinmeround.images import composite, to_uint8
from spinmeround.orbits import RIGS, WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.pipelines.drawing import splats_drawer
from spinmeround.pipelines.held_out import measure as compare
from spinmeround.recon.raster_numba import NumbaRasterizer
from spinmeround.recon.splats import GaussianFitter, SplatSettings
from spinmeround.recon.surface import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.types import Splats, Views

_PEOPLE, _SETTINGS, _QUICK = (0, 1, 2), SplatSettings(50_000, 300), SplatSettings(12_000, 100)
_BAR_DB, _BAR_SECONDS = 38.0, 45.0
_TILES = [0, 4, 7, 10]


def _silent(share: float, message: str) -> None:
    """Progress nobody watches."""


def fit(seed: int, *, quick: bool) -> tuple[Splats, Views, float]:
    """A person's splats, the views held out, and the seconds the splats took."""
    person, size_px = people_views.sitter(seed), 256 if quick else 512
    around, between = (
        orbit_cameras(*zip(*directions, strict=True), size_px=size_px, focal_widths=WHOLE_FOCAL_WIDTHS)
        for directions in (RIGS["orbit-16"], HELD_OUT)
    )
    views = person.views(around)
    surface = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"]).fit(views, seed=0)
    started = time.perf_counter()
    splats = GaussianFitter(NumbaRasterizer(), _QUICK if quick else _SETTINGS).fit(views, surface, seed=0)
    return splats, person.views(between), time.perf_counter() - started


def _rows(splats: Splats, held_out: Views) -> list[np.ndarray]:
    """The splats above the truth, from four sides."""
    drawn = splats_drawer(splats)(select(held_out.cameras, _TILES))
    pictures = composite(drawn.rgb, drawn.alpha), composite(held_out.rgb[_TILES], held_out.alpha[_TILES])
    return [np.hstack(to_uint8(picture)) for picture in pictures]


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """Three people, or one at half the size with the draft preset when quick."""
    figures, rows = [], []
    for seed in _PEOPLE[:1] if quick else _PEOPLE:
        splats, held_out, seconds = fit(seed, quick=quick)
        told = compare(splats_drawer(splats), held_out, _silent)
        what, note = f"splats, exact views, person {seed}", f"{len(splats)} splats; ssim {told['ssim']:.3f}"
        bars = (None, None) if quick else (_BAR_DB, _BAR_SECONDS)
        figures.append(Figure(what, told["psnr_head"], bars[0], at_most=False, unit=" dB", note=note))
        figures.append(Figure(f"{what}, seconds", seconds, bars[1], unit=" s"))
        rows += _rows(splats, held_out)
    if sheet is not None:
        cv2.imwrite(str(sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one person, small, with the draft preset")
    parser.add_argument("--sheet", type=Path, help="a PNG to look at: the splats above the truth")
    arguments = parser.parse_args()
    print_figures(measure(quick=arguments.quick, sheet=arguments.sheet), title="splats of exact views")


if __name__ == "__main__":
    main()
