"""How much memory does stage two take? `spmr-fit` on folders of a scan, in processes of its own.

    python benchmarks/memory.py [--quick]

The figure is the report's: the most the process held, libraries included, pictures in temporary files too as far as the
system keeps them in memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_surface import photograph, ring_cameras, scan
from tables import Figure, print_figures

from spinmeround.io import write_views

_CASES = ((16, 512, 2.5), (100, 1024, 8.0))
_COMMAND = "import sys; from spinmeround.cli.fit import main; sys.exit(main())"


def peak_gb(count: int, size_px: int) -> tuple[float, str]:
    """Of one run to splats and a mesh, and the stage that held the most."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_views(folder / "views", photograph(scan(), ring_cameras(count, size_px=size_px)))
        arguments = [
            folder / "views",
            "--out",
            folder / "a.ply",
            "--out",
            folder / "a.glb",
            "--report",
            folder / "r.json",
        ]
        arguments += ["--view-size", str(size_px), "--quiet"]
        subprocess.run([sys.executable, "-c", _COMMAND, *map(str, arguments)], check=True)
        report = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    worst = max(report["stages"], key=lambda stage: stage["peak_memory_mb"])
    return report["peak_memory_mb"] / 1024, f"most in {worst['stage']}; {report['seconds']:.0f} s"


def measure(*, quick: bool) -> list[Figure]:
    """Both bars, or only the small one when quick."""
    figures = []
    for count, size_px, bar_gb in _CASES[:1] if quick else _CASES:
        value, note = peak_gb(count, size_px)
        figures.append(Figure(f"memory, {count} views at {size_px}", value, bar_gb, unit=" GB", note=note))
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="16 views of 512 pixels alone")
    print_figures(measure(quick=parser.parse_args().quick), title="memory")


if __name__ == "__main__":
    main()
