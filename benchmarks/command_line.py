"""The command line that benchmarks share: ``--quick`` and ``--sheet``, and the figures printed as a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pictures import write_rgb
from tables import Figure, print_figures

Pictures = list[UInt8[np.ndarray, "h w 3"]]
"""Rows of a sheet, all of one width."""


def benchmark_parser(
    description: str | None, *, quick: str | None = None, sheet: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser whose options are the keyword arguments of a benchmark's ``measure``.

    Args:
        description: the module's docstring; its first line describes the command.
        quick: what ``--quick`` changes; None leaves the option out and sets it to False.
        sheet: what the PNG of ``--sheet`` shows; None leaves the option out.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    if quick is None:
        parser.set_defaults(quick=False)
    else:
        parser.add_argument("--quick", action="store_true", help=quick)
    if sheet is not None:
        parser.add_argument("--sheet", type=Path, metavar="OUT.png", help=sheet)
    return parser


def run(measure: Callable[..., list[Figure]], parser: argparse.ArgumentParser, *, title: str) -> None:
    """Call ``measure`` with the parsed options and print its figures."""
    print_figures(measure(**vars(parser.parse_args())), title=title)


def run_with_pictures(
    measure: Callable[..., tuple[list[Figure], Pictures]], parser: argparse.ArgumentParser, *, title: str
) -> None:
    """As ``run``, for a benchmark that also returns pictures: ``--sheet`` writes them below each other."""
    options = vars(parser.parse_args())
    sheet = options.pop("sheet")
    figures, pictures = measure(**options)
    if sheet is not None:
        write_rgb(sheet, np.vstack(pictures))
    print_figures(figures, title=title)
