"""How much memory does stage two take? `spmr-fit` on folders of a scan, in processes of its own.

    python benchmarks/memory.py [--quick]

The figure is the system's own record of the most the whole command held: libraries included, pictures in temporary
files too as far as the system keeps them in memory. The report must say the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench_surface import photograph, ring_cameras, scan
from tables import Figure, print_figures

from spinmeround.io import write_views

_CASES = ((16, 512, 2.5), (100, 1024, 8.0))
_COMMAND = """
import sys
from spinmeround.cli.fit import main
from spinmeround.runtime.memory import most_held_bytes
status = main()
print(most_held_bytes())
sys.exit(status)
"""


@dataclass(frozen=True)
class Peak:
    """One run of the whole command.

    Attributes:
        gb: the system's record.
        reported_gb: what the report says.
        worst: the stage that held the most.
        seconds: of all stages.
    """

    gb: float
    reported_gb: float
    worst: str
    seconds: float


def peak(count: int, size_px: int) -> Peak:
    """Of one run from a folder to splats and a textured mesh."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_views(folder / "views", photograph(scan(), ring_cameras(count, size_px=size_px)))
        outputs = ["--out", folder / "a.ply", "--out", folder / "a.glb", "--report", folder / "r.json"]
        arguments = [folder / "views", *outputs, "--view-size", size_px, "--quiet"]
        command = [sys.executable, "-c", _COMMAND, *map(str, arguments)]
        record = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        report = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    worst = max(report["stages"], key=lambda stage: stage["peak_memory_mb"])
    return Peak(record / 2**30, report["peak_memory_mb"] / 1024, worst["stage"], report["seconds"])


def measure(*, quick: bool) -> list[Figure]:
    """Both bars, or only the small one when quick; beside each how far the report is from the truth."""
    figures = []
    for count, size_px, bar_gb in _CASES[:1] if quick else _CASES:
        held = peak(count, size_px)
        what, note = f"memory, {count} views at {size_px}", f"most in {held.worst}; {held.seconds:.0f} s"
        figures.append(Figure(what, held.gb, bar_gb, unit=" GB", note=note))
        off = abs(held.gb - held.reported_gb)
        figures.append(Figure(f"{what}: report is off by", off, 0.05, unit=" GB"))
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="16 views of 512 pixels alone")
    print_figures(measure(quick=parser.parse_args().quick), title="memory")


if __name__ == "__main__":
    main()
