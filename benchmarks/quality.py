"""Figures and verdicts of photos and of the heads made from them: the table that the scales are set by.

    python benchmarks/quality.py [PHOTO ...] [--quick]

Without photos those of ``people.py``. What is measured of a photo takes a second or two, of its head half a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import people
from command_line import benchmark_parser, run
from tables import Figure, print_table

from spinmeround.errors import SpinMeRoundError
from spinmeround.inspection.quality import FIGURES, Quality, assess, measure_head
from spinmeround.io.photo import read_photo
from spinmeround.portrait import make_portrait
from spinmeround.template.generator import TemplateGenerator


def quality_of(photo: Path, *, with_head: bool) -> Quality:
    """Return what a run would say of a photo."""
    found = make_portrait(read_photo(photo))
    if not with_head:
        return assess([found.measures])
    head = TemplateGenerator().fit([found.portrait], seed=0)
    return assess([found.measures], measure_head(head, [found.portrait]))


def measure(*, quick: bool, photos: Sequence[Path] = ()) -> list[Figure]:
    """Print a row for each photo; return how many are good, fair and poor."""
    rows, verdicts = [], []
    for photo in photos or people.photos().values():
        try:
            quality = quality_of(photo, with_head=not quick)
        except SpinMeRoundError as error:
            rows.append([photo.stem, "refused", *[""] * len(FIGURES), str(error)])
            continue
        figures = ["" if (value := quality.figures[name]) is None else f"{value:.2f}" for name in FIGURES]
        rows.append([photo.stem, quality.verdict, *figures, "; ".join(quality.reasons)])
        verdicts.append(quality.verdict)
    print_table(["photo", "verdict", *FIGURES, "reasons"], rows, title="quality")
    return [Figure(verdict, verdicts.count(verdict)) for verdict in ("good", "fair", "poor")]


def main() -> None:
    """Print the table."""
    parser = benchmark_parser(__doc__, quick="photos only, no heads")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    run(measure, parser, title="verdicts")


if __name__ == "__main__":
    main()
