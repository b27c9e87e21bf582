"""Batches on Ray: nothing lost, nothing twice, the same bytes, and how much of the machine is used.

    python benchmarks/batch.py [--quick] [--only cluster --only scale]

The photos are those of ``people/`` in the shared data, at draft quality. ``store`` needs moto and s3fs, and is left out
without them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import datasets
import psutil
from command_line import benchmark_parser
from tables import Figure, print_figures

from spinmeround.batch import work
from spinmeround.batch.head import Head, Recipe, Row
from spinmeround.batch.many import reconstruct_many
from spinmeround.batch.ray_executor import RayExecutor, RayOptions
from spinmeround.batch.run import run_batch
from spinmeround.batch.stores import open_filesystem
from spinmeround.batch.table import from_line
from spinmeround.pipelines.settings import RunSettings

DRAFT = RunSettings(quality="draft")
_REPORT = {"quality": {"verdict": "good", "reasons": []}, "stages": [], "seconds": 0.3, "peak_memory_mb": 0}


def quick_head(head: Head, recipe: Recipe) -> Row:
    """Make a head of a third of a second: a copy of its photo."""
    work._reconstruct = _copied
    return work.make_head(head, recipe)


def _copied(photos: Sequence[Path], folder: Path, recipe: Recipe) -> dict:
    time.sleep(0.15)
    (folder / "head.ply").write_bytes(photos[0].read_bytes())
    time.sleep(0.15)
    (folder / "report.json").write_text("{}")
    return _REPORT


def instant_rows(heads: Iterable[Head], recipe: Recipe) -> Iterator[Row]:
    """Rows of heads that take no work."""
    for head in heads:
        yield replace(work.started_row(head, recipe), state="done", verdict="good", quality=0.5)


def rows_of(out: Path) -> list[Row]:
    """Return the rows of the table as it is now."""
    return [from_line(line) for line in (out / "batch.csv").read_text(encoding="utf-8").splitlines()[1:]]


def faults_of(out: Path, wanted: int) -> int:
    """Count heads that are missing, twice in the table, or half there."""
    names = [row.head for row in rows_of(out) if row.state == "done"]
    folders = {path.parent.name for path in (out / "heads").glob("*/head.json")}
    halves = [path for path in (out / "heads").iterdir() if path.name not in folders]
    halves += list((out / ".unfinished").glob("*/*/*"))
    return abs(wanted - len(folders)) + abs(wanted - len(set(names))) + len(names) - len(set(names)) + len(halves)


def measure_scale(folder: Path, *, quick: bool) -> list[Figure]:
    """A long list without work: pace, memory, and whether the table can be read meanwhile."""
    from pyarrow import parquet

    count = 10_000 if quick else 100_000
    (folder / "list.csv").write_text("photo\n" + "".join(f"/photos/{index}.jpg\n" for index in range(count)))
    out, held, read = folder / "out", [], []

    def watched(heads: Iterable[Head], recipe: Recipe) -> Iterator[Row]:
        for index, row in enumerate(instant_rows(heads, recipe)):
            if index % (count // 10) == count // 20:
                held.append(psutil.Process().memory_info().rss / 2**20)
                table = out / "batch.parquet"
                read.append(parquet.read_table(table, columns=["head"]).num_rows if table.exists() else 0)
            yield row

    started, started_cpu = time.perf_counter(), time.process_time()
    result = run_batch([str(folder / "list.csv")], Recipe(str(out)), watched)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    assert result.done == count
    note = f"{count} rows, with plan, tables and page; {count / cpu_s:.0f}/s of processor time"
    first = next((index for index, rows in enumerate(read) if rows), len(held) - 2)
    return [
        Figure("rows of a batch without work", count / seconds, 1000, at_most=False, unit="/s", note=note),
        Figure("memory from the first table written to the last tenth", held[-1] - held[first], 20, unit="MB"),
        Figure("rows in the Parquet table near the end", read[-1], None, note=f"of {count}"),
    ]


def measure_overhead(folder: Path, *, quick: bool) -> list[Figure]:
    """Heads per hour and bytes, against a loop over ``spmr-recon`` in fresh processes."""
    photos = _photos(folder, 4 if quick else 24)
    started = time.perf_counter()
    loop = folder / "loop"
    loop.mkdir()
    command = "import sys; from spinmeround.cli.recon import main; sys.exit(main())"
    for photo in photos:
        out = loop / f"{photo.stem}.ply"
        files = [
            "--out",
            str(out),
            "--preview",
            str(out.with_suffix(".png")),
            "--report",
            str(out.with_suffix(".json")),
        ]
        arguments = [sys.executable, "-c", command, str(photo), "--quality", "draft", "--quiet", *files]
        subprocess.run(arguments, check=True)
    loop_s, out = time.perf_counter() - started, folder / "out"
    started = time.perf_counter()
    reconstruct_many(folder / "photos", out=out, settings=DRAFT)
    batch_s = time.perf_counter() - started
    ideal_s = sum(row.seconds for row in rows_of(out)) / len(psutil.Process().cpu_affinity())
    same = sum(_digest(out / "heads" / each.stem / "head.ply") == _digest(loop / f"{each.stem}.ply") for each in photos)
    heads = f"{len(photos)} heads, {3600 * len(photos) / batch_s:.0f} an hour"
    return [
        Figure("pace against a loop over spmr-recon", loop_s / batch_s, 1.15, at_most=False, unit="×", note=heads),
        Figure("pace against the sum of stages by cores", ideal_s / batch_s, 0.9, at_most=False, unit="×", note=heads),
        Figure("heads with the bytes of spmr-recon", same, len(photos), at_most=False, note=f"of {len(photos)}"),
    ]


def measure_cluster(folder: Path, *, quick: bool) -> list[Figure]:
    """Two nodes, one removed half way, three workers killed: what is lost, twice or half."""
    import ray
    from ray.cluster_utils import Cluster

    wanted = len(_photos(folder, 4 if quick else 40))
    kills = 1 if quick else 3
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    ended, killed = [], []

    def kill() -> None:
        while len(killed) < kills:
            time.sleep(0.5)
            if len(ended) >= len(killed) * wanted // kills:
                time.sleep(random.Random(len(killed)).uniform(1, 5))
                for process in _running_heads()[:1]:
                    process.send_signal(signal.SIGKILL)
                    killed.append(process.pid)

    def watched(heads: Iterable[Head], recipe: Recipe) -> Iterator[Row]:
        for row in RayExecutor(RayOptions())(heads, recipe):
            ended.append(row.head)
            if len(ended) == wanted // 2:
                cluster.remove_node(second, allow_graceful=False)
            yield row

    threading.Thread(target=kill, daemon=True).start()
    out = folder / "out"
    try:
        run_batch([str(folder / "photos")], Recipe(str(out), DRAFT), watched)
    finally:
        ray.shutdown()
        cluster.shutdown()
    note = f"{wanted} heads, a node of two removed, {len(killed)} workers killed"
    return [
        Figure("heads missing, twice or half", faults_of(out, wanted), 0, note=note),
        Figure("rows that came back", len(ended), wanted, note="no head was reported twice"),
    ]


def measure_resume(folder: Path, *, quick: bool) -> list[Figure]:
    """The command killed at random moments and given again."""
    wanted, kills = (20, 3) if quick else (100, 10)
    (folder / "photos").mkdir()
    for index in range(wanted):
        (folder / "photos" / f"{index:03d}.jpg").write_text(str(index))
    out, rng = folder / "out", random.Random(0)
    code = f"from batch import *; make_quick_heads({str(folder / 'photos')!r}, {str(out)!r})"
    touched, before = 0, {}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", code], env=_environment())
        _wait_for_more(out, len(before), process)
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        process.wait()
        time.sleep(2)  # the workers notice that their driver is gone
        now = _times(out)
        touched += sum(now.get(name) != when for name, when in before.items())
        before = now
    subprocess.run([sys.executable, "-c", code], env=_environment(), check=True)
    touched += sum(_times(out).get(name) != when for name, when in before.items())
    note = f"killed {kills} times, {len(before)} of {wanted} heads were there at the last"
    return [
        Figure("heads missing, twice or half after kills", faults_of(out, wanted), 0, note=note),
        Figure("finished heads that were touched", touched, 0),
    ]


def make_quick_heads(photos: str, out: str) -> None:
    """Run a batch of ``quick_head`` on a Ray of this machine."""
    executor = RayExecutor(RayOptions(memory_mb=50), work=quick_head)
    result = run_batch([photos], Recipe(out), executor)
    print(json.dumps([result.wanted, result.present, result.done]))


def measure_store(folder: Path, *, quick: bool) -> list[Figure]:
    """A local S3 server as input and output."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    os.environ |= {**given, "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        files, _ = open_filesystem("s3://photos")
        for bucket in ("photos", "heads"):
            files.mkdir(bucket)
        for index in range(10):
            files.pipe_file(f"photos/{index}.jpg", str(index).encode())
        code = "from batch import *; make_quick_heads('s3://photos', 's3://heads/one')"
        told = []
        for name in (None, "3"):
            if name is not None:
                files.rm("heads/one/heads/3", recursive=True)
            done = subprocess.run(
                [sys.executable, "-c", code], env=_environment(), check=True, capture_output=True, text=True
            )
            told.append(json.loads(done.stdout.splitlines()[-1]))
        files.invalidate_cache()
        whole = sum(files.cat(f"heads/one/heads/{index}/head.ply") == str(index).encode() for index in range(10))
    finally:
        server.stop()
    return [
        Figure("heads in a local S3 store, of 10", whole, 10, at_most=False),
        Figure("heads made again after one of 10 was removed", told[1][2] - told[1][1], 1),
    ]


def _photos(folder: Path, count: int) -> list[Path]:
    """Copy photos of people into a folder, as often as it takes."""
    people = sorted((datasets.data_folder() / "people").glob("p*.*"))
    (folder / "photos").mkdir()
    made = []
    for index in range(count):
        source = people[index % len(people)]
        made.append(folder / "photos" / f"{index:02d}{source.suffix}")
        made[-1].write_bytes(source.read_bytes())
    return made


def _running_heads() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            found += [process] if "".join(process.cmdline()[:1]).startswith("ray::head") else []
    return found


def _wait_for_more(out: Path, than: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and len(_times(out)) <= than:
        time.sleep(0.1)


def _times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "heads").glob("*/head.json")}


def _environment() -> dict[str, str]:
    here = Path(__file__).resolve().parent
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PARTS: dict[str, Callable[..., list[Figure]]] = {
    "scale": measure_scale,
    "resume": measure_resume,
    "store": measure_store,
    "overhead": measure_overhead,
    "cluster": measure_cluster,
}


def measure(*, quick: bool, only: Sequence[str] | None = None) -> list[Figure]:
    """Return all figures, or those of some parts."""
    figures = []
    for name in only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                figures += PARTS[name](Path(folder), quick=quick)
            except ModuleNotFoundError as missing:
                figures.append(Figure(f"{name}: not measured", float("nan"), note=str(missing)))
    return figures


if __name__ == "__main__":
    parser: argparse.ArgumentParser = benchmark_parser(__doc__, quick="few heads, few kills, 10,000 rows")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given several times")
    print_figures(measure(**vars(parser.parse_args())), title="batches")
