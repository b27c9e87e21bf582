"""Figures of the benchmarks with their bars, printed as markdown tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True)
class Figure:
    """One measured number and the bar it must meet.

    Attributes:
        what: names the number.
        bar: the limit, or None if the number is for information only.
        at_most: whether the bar is an upper limit (True) or a lower one.
        unit: printed after the number.
        note: what a reader needs to know about the number.
    """

    what: str
    value: float
    bar: float | None = None
    at_most: bool = True
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def row(self) -> list[str]:
        """Cells of the table's row."""
        limit = "" if self.bar is None else f"{'≤' if self.at_most else '≥'} {self.bar:g}{self.unit}"
        kept = {None: "", True: "yes", False: "NO"}[self.holds]
        return [self.what, f"{self.value:.3g}{self.unit}", limit, kept, self.note]


HEADER = ("figure", "value", "bar", "kept", "note")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str) -> None:
    """Print a markdown table with aligned columns."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[k]) for row in table) for k in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)) + " |" for row in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(f"\n**{title}**\n", *lines, sep="\n", flush=True)


def print_figures(figures: Sequence[Figure], *, title: str) -> None:
    """Print figures with their bars."""
    print_table(HEADER, [figure.row for figure in figures], title=title)


def print_figures_and_exit(figures: Sequence[Figure], *, title: str) -> NoReturn:
    """Print figures that all have bars; exit with 1 if one of them is not met."""
    print_figures(figures, title=title)
    sys.exit(0 if all(figure.holds for figure in figures) else 1)
