"""Faults around every command: kills, full disks, refused memory, odd clocks, read-only places, runs at once, pipes.

    PYTHONPATH=. python benchmarks/faults.py [--quick] [--only kills --only disk] [--kills 100]

Stand-ins take the place of the parts, see ``fault_injection``; ``real`` runs the parts themselves. After each fault the
command must have ended well or with one line of its own, and the same command must then make what an undisturbed run
makes, and leave nothing else. ``disk`` is a small disk in memory where root may mount one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fault_injection as faults
from command_line import benchmark_parser
from fault_injection import JOBS, REAL_JOBS, Job, Server
from tables import Figure, print_figures

_RECOVERIES = {"recon": 30, "views": 15, "fit": 20, "convert": 5, "weights": 10, "batch": 20}
"""Of 100 kills, how many each command gets."""
_ADDRESS_SPACE_MB = (300, 600, 900, 1200, 1600, 2000, 2600, 3200, 4000)
_REDIRECTIONS = (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "| head -n 0", "2>&1 | head -n 0", "2>&1 | head -n 1")
_HERE = Path(__file__).resolve().parent


class NotMeasuredError(Exception):
    """This machine, or this user, cannot measure a part."""


@dataclass
class Tally:
    """Counts what was tried, what held, and what did not."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        """Count one more."""
        self.tried += 1
        if not holds:
            self.faults.append(what)

    def figure(self, what: str) -> Figure:
        """Return the figure: faults, of how many."""
        note = f"of {self.tried}" + (f": {'; '.join(self.faults[:5])}" if self.faults else "")
        return Figure(what, len(self.faults), 0, note=note)


@dataclass(frozen=True)
class Bench:
    """What all measures share: a server of processes, and what each job makes undisturbed.

    Attributes:
        seconds: that each job takes.
    """

    server: Server
    root: Path
    wanted: dict[str, dict[str, str]]
    seconds: dict[str, float]

    @classmethod
    def of(cls, root: Path, jobs: dict[str, Job] = JOBS) -> Bench:
        """Run each job once, undisturbed, after once that compiles what it needs."""
        server, wanted, seconds = Server(), {}, {}
        for name, job in jobs.items():
            for repeat in ("first", "second"):
                folder = root / repeat / name
                faults.prepare(job, folder)
                started = time.perf_counter()
                ended = server.run(job, folder)
                assert ended.status == 0, ended.said
                seconds[name], wanted[name] = time.perf_counter() - started, faults.contents(folder / "out")
        return cls(server, root, wanted, seconds)

    @contextmanager
    def folder(self, job: Job) -> Iterator[Path]:
        """Yield a folder with the inputs of a job, which others may read, and remove it."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        folder.chmod(0o755)
        faults.prepare(job, folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def recover(self, job: Job, folder: Path, tally: Tally, what: str) -> None:
        """Run the same command undisturbed and compare."""
        ended = self.server.run(job, folder)
        whole = faults.contents(folder / "out") == self.wanted[job.name]
        tally.check(ended.status == 0 and whole, f"{job.name} after {what}: status {ended.status}")


def measure_kills(bench: Bench, *, quick: bool, kills: int | None = None) -> list[Figure]:
    """Kill each command at random moments."""
    rng, tally, alive = random.Random(0), Tally(), 0
    scale = (kills or (12 if quick else 100)) / 100
    for name, share in _RECOVERIES.items():
        for number in range(max(1, round(share * scale))):
            with bench.folder(job := JOBS[name]) as folder:
                alive += faults.kill_at_random(bench.server, job, folder, seconds=bench.seconds[name], rng=rng)
                bench.recover(job, folder, tally, f"kill {number}")
    return [tally.figure("kills not recovered from"), Figure("of these killed before their end", alive)]


def measure_real(bench: Bench, *, quick: bool) -> list[Figure]:
    """Kill commands with all their parts at random moments."""
    tally, rng = Tally(), random.Random(2)
    parts = Bench.of(bench.root / "real", REAL_JOBS)
    for name, job in REAL_JOBS.items():
        for number in range(1 if quick else 5):
            with parts.folder(job) as folder:
                faults.kill_at_random(parts.server, job, folder, seconds=parts.seconds[name], rng=rng)
                parts.recover(job, folder, tally, f"kill {number}")
    return [tally.figure("kills not recovered from, the parts themselves")]


def measure_writes(bench: Bench, *, quick: bool) -> list[Figure]:
    """Refuse the n-th write and all after it, for many n."""
    clear, again = Tally(), Tally()
    for job in JOBS.values():
        with bench.folder(job) as folder:
            count = faults.write_counts(bench.server, job, folder)
        tries = min(count, 4 if quick else 25)
        for at in sorted({1 + round(k * (count - 1) / max(1, tries - 1)) for k in range(tries)}):
            with bench.folder(job) as folder:
                _refuse(bench, job, folder, faults.FullDisk(at), clear, again, what=f"write {at} of {count}")
    return [clear.figure("writes refused, and not said in a line"), again.figure("the same, not recovered from")]


def _refuse(
    bench: Bench, job: Job, folder: Path, fault: faults.Fault, clear: Tally, again: Tally, *, what: str
) -> None:
    ended = bench.server.run(job, folder, fault)
    waits = job.name == "weights"  # its download goes on from what is there
    strays = [each for each in faults.hidden(folder / "out") if each.endswith(".part") and not waits]
    clear.check(ended.is_clear and not strays, f"{job.name}, {what}: {ended.status} {ended.said[-200:]} {strays}")
    bench.recover(job, folder, again, what)


def measure_disk(bench: Bench, *, quick: bool) -> list[Figure]:
    """Give results a disk of their own that is too small, by one step after the other."""
    clear, again = Tally(), Tally()
    for name, job in JOBS.items():
        whole = sum(path.stat().st_size for path in (bench.root / "second" / name / "out").rglob("*") if path.is_file())
        steps = 2 if quick else 8
        for step in range(steps):
            with bench.folder(job) as folder, _small_disk(folder / "out", whole * step // steps + 4096) as grow:
                ended = bench.server.run(job, folder)
                what = f"a disk of {step}/{steps}"
                clear.check(ended.is_clear, f"{name}, {what}: {ended.status} {ended.said[-200:]}")
                grow()
                bench.recover(job, folder, again, what)
    return [clear.figure("small disks, and not said in a line"), again.figure("the same, not recovered from")]


@contextmanager
def _small_disk(place: Path, size_bytes: int) -> Iterator[Callable[[], object]]:
    """Mount a disk in memory; yield what gives it room.

    Raises:
        NotMeasuredError: this user may not mount one.
    """
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise NotMeasuredError("no disk in memory may be mounted here")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def measure_memory(bench: Bench, *, quick: bool) -> list[Figure]:
    """Refuse memory: the address space of fresh processes, imports included, at several sizes."""
    tally = Tally()
    for name in ("recon", "fit") if quick else JOBS:
        for megabytes in _ADDRESS_SPACE_MB[::3] if quick else _ADDRESS_SPACE_MB:
            with bench.folder(job := JOBS[name]) as folder:
                done = _in_shell(job, folder, before=f"ulimit -v {megabytes * 1024}; ")
                lines = done.stderr.strip().splitlines()
                said = bool(lines) and lines[-1].startswith("spmr-") and "Traceback" not in done.stderr
                said = said and done.returncode in range(1, 10)
                tally.check(done.returncode == 0 or said, f"{name}, {megabytes} MB: {done.returncode} {lines[-1:]}")
                strays = faults.hidden(folder / "out") if name not in ("weights", "batch") else []
                tally.check(not [each for each in strays if each.endswith(".part")], f"{name} left {strays}")
    return [tally.figure("sizes of memory, and not said in a line")]


def _in_shell(job: Job, folder: Path, *, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """Run a job in a fresh interpreter, by a shell."""
    code = f"import sys; from fault_injection import run_here; sys.exit(run_here({job.name!r}))"
    path = os.pathsep.join([str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")])
    shell = ["sh", "-c", f'{before}"{sys.executable}" -c "{code}" {after}']
    return subprocess.run(shell, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


def measure_clock(bench: Bench, *, quick: bool) -> list[Figure]:
    """Set the clock back by a year after a kill, with all files in the future."""
    tally, rng = Tally(), random.Random(1)
    for name, job in JOBS.items():
        with bench.folder(job) as folder:
            faults.kill_at_random(bench.server, job, folder, seconds=bench.seconds[name], rng=rng)
            faults.into_future(folder, 3e7)
            ended = bench.server.run(job, folder, faults.ClockSetBack(3e7))
            whole = faults.contents(folder / "out") == bench.wanted[name]
            tally.check(ended.status == 0 and whole, f"{name}: {ended.status} {ended.said[-200:]}")
            bench.recover(job, folder, tally, "a clock set back")
    return [tally.figure("clocks set back that changed something")]


def measure_places(bench: Bench, *, quick: bool) -> list[Figure]:
    """Run as somebody who may write nothing: results, home, cache and package."""
    library = Path(os.__file__).resolve()
    if os.getuid() != 0 or not all(parent.stat().st_mode & 0o001 for parent in library.parents):
        raise NotMeasuredError("only root can become somebody else, and others must be able to read Python")
    tally = Tally()
    for name, job in JOBS.items():
        with bench.folder(job) as folder:
            ended = bench.server.run(job, folder, faults.Nobody())
            tally.check(ended.is_clear and ended.status in (3, 4), f"{name}: {ended.status} {ended.said[-200:]}")
        with bench.folder(job) as folder:
            (folder / "out").chmod(0o777)
            ended = bench.server.run(job, folder, faults.Nobody())
            whole = faults.contents(folder / "out") == bench.wanted[name]
            tally.check(ended.status == 0 and whole, f"{name}, no home: {ended.status} {ended.said[-200:]}")
    return [tally.figure("read-only places, and not said in a line")]


def measure_at_once(bench: Bench, *, quick: bool) -> list[Figure]:
    """Run the same command twice at the same time."""
    tally = Tally()
    for name, job in JOBS.items():
        for _ in range(1 if quick else 5):
            with bench.folder(job) as folder:
                both = [bench.server.start(job, folder) for _ in range(2)]
                ended = [bench.server.wait(each, folder) for each in both]
                statuses = sorted(each.status or 0 for each in ended if each.is_clear)
                tally.check(statuses in ([0, 0], [0, job.refused]), f"{name}: {[each.said[-200:] for each in ended]}")
                tally.check(faults.contents(folder / "out") == bench.wanted[name], f"{name}: other results")
    return [tally.figure("pairs of runs that disturbed each other")]


def measure_pipes(bench: Bench, *, quick: bool) -> list[Figure]:
    """Close what a command says things to."""
    tally = Tally()
    for name in ("recon",) if quick else JOBS:
        for redirection in _REDIRECTIONS:
            with bench.folder(job := JOBS[name]) as folder:
                done = _in_shell(job, folder, after=redirection)
                whole = faults.contents(folder / "out") == bench.wanted[name]
                tally.check(whole and "Traceback" not in done.stderr, f"{name} {redirection}: {done.stderr[-200:]}")
    return [tally.figure("closed pipes that a run minded")]


PARTS: dict[str, Callable[..., list[Figure]]] = {
    "kills": measure_kills,
    "real": measure_real,
    "writes": measure_writes,
    "disk": measure_disk,
    "memory": measure_memory,
    "clock": measure_clock,
    "places": measure_places,
    "at_once": measure_at_once,
    "pipes": measure_pipes,
}


def measure(*, quick: bool, only: Sequence[str] | None = None, kills: int | None = None) -> list[Figure]:
    """Return all figures, or those of some parts."""
    path = [str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bench = Bench.of(Path(folder))
        for name in only or PARTS:
            more = {"kills": kills} if name == "kills" else {}
            try:
                figures += PARTS[name](bench, quick=quick, **more)
            except NotMeasuredError as missing:
                figures.append(Figure(f"{name}: not measured", float("nan"), note=str(missing)))
    return figures


if __name__ == "__main__":
    parser: argparse.ArgumentParser = benchmark_parser(__doc__, quick="few of each")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given several times")
    parser.add_argument("--kills", type=int, metavar="N", help="over all commands (default: 100)")
    print_figures(measure(**vars(parser.parse_args())), title="faults")
