"""Peak memory of stage two: `spmr-fit` on folders of views of a scan, each in a process of its own.

    python benchmarks/memory.py [--quick]

The figure is the operating system's peak resident size of the whole command: libraries included, and pictures in
temporary files as far as the system keeps them in memory. The report must state the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench_surface import photograph, ring_cameras, scan
from command_line import benchmark_parser, run
from tables import Figure

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
        gb: peak resident size by the operating system.
        reported_gb: peak stated by the report.
        worst: the stage with the highest peak.
        seconds: of all stages.
    """

    gb: float
    reported_gb: float
    worst: str
    seconds: float


def peak(count: int, size_px: int) -> Peak:
    """Run the command from a folder of views to splats and a textured mesh, and return its peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_views(folder / "views", photograph(scan(), ring_cameras(count, size_px=size_px)))
        outputs = ["--out", folder / "a.ply", "--out", folder / "a.glb", "--report", folder / "r.json"]
        arguments = [folder / "views", *outputs, "--view-size", size_px, "--quiet"]
        command = [sys.executable, "-c", _COMMAND, *map(str, arguments)]
        peak_bytes = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        report = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    worst = max(report["stages"], key=lambda stage: stage["peak_memory_mb"])
    return Peak(peak_bytes / 2**30, report["peak_memory_mb"] / 1024, worst["stage"], report["seconds"])


def measure(*, quick: bool) -> list[Figure]:
    """Measure both cases, or the small one if quick, and the error of each report."""
    figures = []
    for count, size_px, bar_gb in _CASES[:1] if quick else _CASES:
        measured = peak(count, size_px)
        what, note = f"memory, {count} views at {size_px}", f"highest in {measured.worst}; {measured.seconds:.0f} s"
        figures.append(Figure(what, measured.gb, bar_gb, unit=" GB", note=note))
        off = abs(measured.gb - measured.reported_gb)
        figures.append(Figure(f"{what}: report is off by", off, 0.05, unit=" GB"))
    return figures


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="16 views of 512 pixels alone"), title="memory")


if __name__ == "__main__":
    main()
