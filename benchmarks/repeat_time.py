"""Time, memory and repeatability of the bytes of `spmr-recon`, each run in a process of its own.

    python benchmarks/repeat_time.py [--quick]

Each preset runs once to compile the kernels, then twice for the figures. Memory is the largest resident size of the
command and its children, sampled twenty times a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import psutil
from command_line import benchmark_parser, run
from tables import Figure, print_table

from spinmeround.configs import Quality

BARS_S: dict[Quality, float] = {"draft": 25.0, "standard": 90.0}
_MEMORY_BAR_GB = 4.0
_COMMAND = "import sys; from spinmeround.cli.recon import main; sys.exit(main())"


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes:
        cpu_s: processor seconds of the command, all cores together.
        digests: sha256 by file name.
        stages: seconds by stage, from the report.
    """

    wall_s: float
    cpu_s: float
    peak_gb: float
    digests: dict[str, str]
    stages: dict[str, float]


def _resident_bytes(process: psutil.Process) -> int:
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def run_command(
    photos: Sequence[Path], quality: Quality, folder: Path, *, out: Sequence[str], cache: Path | None = None
) -> Run:
    """Run the command from photos of one person to files of these names in a folder.

    Args:
        cache: where kernels are looked for, and left; that of the package if it is None.

    Raises:
        RuntimeError: the command failed; the message has its output.
    """
    outputs = [folder / name for name in out]
    report = folder / "report.json"
    environment = dict(os.environ) | ({} if cache is None else {"NUMBA_CACHE_DIR": str(cache)})
    arguments = [*map(str, photos), *(a for path in outputs for a in ("--out", str(path))), "--report", str(report)]
    command = [sys.executable, "-c", _COMMAND, *arguments, "--quality", quality, "--seed", "0", "--quiet"]
    started, peak, cpu = time.perf_counter(), 0, 0.0
    log = folder / "log.txt"
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, _resident_bytes(watched))
                cpu = sum(watched.cpu_times()[:2])
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
    wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"spmr-recon ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs}
    return Run(wall, cpu, peak / 1e9, digests, _stage_seconds(json.loads(report.read_text(encoding="utf-8"))))


def _stage_seconds(report: dict) -> dict[str, float]:
    return {stage["stage"]: stage["seconds"] for stage in report["stages"]}


def measure(*, quick: bool) -> list[Figure]:
    """Measure both presets, or draft alone if quick."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        photo = datasets.photos(root)["astronaut"]
        for quality in ("draft",) if quick else BARS_S:
            runs = []
            for repeat in range(3):
                folder = root / f"{quality}_{repeat}"
                folder.mkdir()
                runs.append(run_command([photo], quality, folder, out=["head.ply", "head.glb"]))
            figures += _figures(quality, runs)
    return figures


def _figures(quality: Quality, runs: list[Run]) -> list[Figure]:
    rows = [[stage, *[f"{run.stages[stage]:.1f}" for run in runs]] for stage in runs[0].stages]
    print_table(["stage", "first", "second", "third"], rows, title=f"seconds by stage, {quality}, splats and mesh")
    warm = min(runs[1:], key=lambda run: run.wall_s)
    same = [float(runs[1].digests[name] == runs[2].digests[name]) for name in runs[1].digests]
    note = f"first run {runs[0].wall_s:.0f} s; {warm.cpu_s:.0f} processor seconds; .ply and .glb together"
    return [
        Figure(f"time, {quality}", warm.wall_s, BARS_S[quality], unit=" s", note=note),
        Figure(f"peak memory, {quality}", max(run.peak_gb for run in runs), _MEMORY_BAR_GB, unit=" GB"),
        Figure(f"files with identical bytes, {quality}", sum(same) / len(same), 1.0, at_most=False),
    ]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="draft only"), title="time, memory, repeatability")


if __name__ == "__main__":
    main()
