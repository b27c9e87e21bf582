"""Cameras, contact sheets and command line of `splats_clean.py` and `texture_heldout.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from command_line import Pictures, benchmark_parser, run_with_pictures
from splats_heldout import HELD_OUT
from tables import Figure

from spinmeround.geometry import select
from spinmeround.images import composite, to_uint8
from spinmeround.inspection.drawing import Draw
from spinmeround.orbits import ORBITS, WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.types import Cameras, Views

PEOPLE = (0, 1, 2)
_TILES = [0, 4, 7, 10]


def cameras(size_px: int) -> tuple[Cameras, Cameras]:
    """Return sixteen cameras to fit to, and twelve held-out ones between them."""
    around, between = (
        orbit_cameras(*zip(*directions, strict=True), size_px=size_px, focal_widths=WHOLE_FOCAL_WIDTHS)
        for directions in (ORBITS["orbit-16"], HELD_OUT)
    )
    return around, between


def rows(draw: Draw, held_out: Views) -> Pictures:
    """Return our pictures and the true ones from four sides, one row each."""
    drawn = draw(select(held_out.cameras, _TILES))
    pictures = composite(drawn.rgb, drawn.alpha), composite(held_out.rgb[_TILES], held_out.alpha[_TILES])
    return [np.hstack(list(to_uint8(picture))) for picture in pictures]


def run(measure: Callable[..., tuple[list[Figure], Pictures]], *, description: str | None, title: str) -> None:
    """Run such a benchmark from the command line."""
    parser = benchmark_parser(
        description, quick="one person, small, with the draft preset", sheet="our pictures above the true ones"
    )
    run_with_pictures(measure, parser, title=title)
