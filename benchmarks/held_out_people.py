"""Around people and between: cameras, pictures and the command line of `splats_clean.py` and `texture_heldout.py`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from jaxtyping import UInt8
from splats_heldout import HELD_OUT
from tables import Figure, print_figures

from spinmeround.geometry import select
from spinmeround.images import composite, to_uint8
from spinmeround.inspection.drawing import Draw
from spinmeround.orbits import RIGS, WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.types import Cameras, Views

PEOPLE = (0, 1, 2)
_TILES = [0, 4, 7, 10]


class Look(Protocol):
    """A benchmark's figures, and its rows of pictures."""

    def __call__(self, *, quick: bool) -> tuple[list[Figure], list[UInt8[np.ndarray, "h w 3"]]]:
        """A small variant when quick."""
        ...


def cameras(size_px: int) -> tuple[Cameras, Cameras]:
    """Sixteen to fit to, and twelve between them."""
    around, between = (
        orbit_cameras(*zip(*directions, strict=True), size_px=size_px, focal_widths=WHOLE_FOCAL_WIDTHS)
        for directions in (RIGS["orbit-16"], HELD_OUT)
    )
    return around, between


def rows(draw: Draw, held_out: Views) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Ours above the truth, from four sides."""
    drawn = draw(select(held_out.cameras, _TILES))
    pictures = composite(drawn.rgb, drawn.alpha), composite(held_out.rgb[_TILES], held_out.alpha[_TILES])
    return [np.hstack(list(to_uint8(picture))) for picture in pictures]


def run(look: Look, *, description: str | None, title: str) -> None:
    """The command line of such a benchmark."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one person, small, with the draft preset")
    parser.add_argument("--sheet", type=Path, help="a PNG to look at: ours above the truth")
    arguments = parser.parse_args()
    figures, pictures = look(quick=arguments.quick)
    if arguments.sheet is not None:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(np.vstack(pictures), cv2.COLOR_RGB2BGR))
    print_figures(figures, title=title)
