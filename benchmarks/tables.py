"""How the benchmarks report: figures with their bars, printed as markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number beside what was promised.

    Attributes:
        bar: the promise, or none where the figure is only information.
        at_most: whether the figure must stay under the bar or reach it.
        unit: printed after the figure.
        note: what a reader needs to know to read the figure.
    """

    what: str
    value: float
    bar: float | None = None
    at_most: bool = True
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the promise is kept; none without a promise."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def row(self) -> list[str]:
        """The cells of this figure's line."""
        promise = "" if self.bar is None else f"{'≤' if self.at_most else '≥'} {self.bar:g}{self.unit}"
        kept = {None: "", True: "yes", False: "NO"}[self.holds]
        return [self.what, f"{self.value:.3g}{self.unit}", promise, kept, self.note]


HEADER = ("figure", "value", "bar", "kept", "note")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str) -> None:
    """Prints a markdown table whose columns line up in a terminal too."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[k]) for row in table) for k in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)) + " |" for row in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(f"\n**{title}**\n", *lines, sep="\n", flush=True)


def print_figures(figures: Sequence[Figure], *, title: str) -> None:
    """Prints figures with their bars."""
    print_table(HEADER, [figure.row for figure in figures], title=title)
