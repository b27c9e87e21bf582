"""A million photos on a thousand cores, simulated: time, cost, failures, stragglers, restarts, and where it breaks.

    PYTHONPATH=. python benchmarks/million.py [--quick] [--table heads/batch.parquet] [--only million --only check]

A discrete simulation of ``batch.run`` and ``batch.ray_executor``: one driver that hands out two heads for each core,
writes a row for each that ended, and publishes its table; workers that start cold; nodes that die; heads that take
their process with them. How long heads take is drawn from heads that were measured, what the driver does is measured
here, and ``check`` runs a small batch on Ray and simulates it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from command_line import benchmark_parser
from jaxtyping import Float
from tables import Figure, print_figures, print_table

from spinmeround.batch.head import Head, Recipe, Row
from spinmeround.batch.ledger import _FRACTION_FOR_PUBLISHING, _SHORTEST_PAUSE_S, Ledger
from spinmeround.batch.plan import Plan, Selection
from spinmeround.batch.ray_executor import _WAITING_PER_SLOT
from spinmeround.batch.stores import FolderStore

HEAD_S = (15.1, 14.8, 11.7, 13.0, 14.7)
"""Processor seconds of draft heads of five people, splats and preview, one thread each, the first one cold."""
_S3_WRITES_S = 3500
"""PUT, LIST and DELETE a second that object stores promise for a prefix."""
_WRITES_A_HEAD, _READS_A_HEAD = 6, 3
"""Four files, a listing and a deletion; the photo, its size, and the mark of an earlier head."""
_DOLLARS_A_CORE_HOUR = 0.04


@dataclass(frozen=True)
class Cluster:
    """What heads run on, and what goes wrong there.

    Attributes:
        cold_s: seconds that a worker's first head takes more.
        speed_deviation: standard deviation of the logarithm of the nodes' speeds.
        node_deaths_a_day: of each node; it comes back after ``repair_s``.
        crashing: fraction of the heads that end their process each time, after their whole time.
        hanging_s: seconds that one head in ten thousand takes more.
        driver_deaths: how often the driver is killed and started again, evenly over the run.
        submit_s, row_s, table_row_s, plan_s: of the driver: to hand out a head, to write a row, to write a row of the
            published table, to look at a row of the list as it begins.
    """

    cores: int = 1000
    cores_a_node: int = 50
    cold_s: float = 5.0
    speed_deviation: float = 0.05
    node_deaths_a_day: float = 0.0
    repair_s: float = 300.0
    crashing: float = 0.0
    retries: int = 3
    hanging_s: float = 0.0
    driver_deaths: int = 0
    submit_s: float = 1e-3
    row_s: float = 2e-4
    table_row_s: float = 1e-4
    plan_s: float = 1e-4


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        busy_s: core seconds in which heads were made, lost ones included.
        lost_s: core seconds of attempts that came to nothing.
        tail_s: from the moment nothing waits to be handed out, to the end.
        driver_s: seconds of work of the driver.
    """

    seconds: float = 0.0
    busy_s: float = 0.0
    lost_s: float = 0.0
    tail_s: float = 0.0
    driver_s: float = 0.0
    failed: int = 0


class Simulation:
    """One run, event by event."""

    def __init__(self, cluster: Cluster, head_s: Float[np.ndarray, "n"], *, seed: int) -> None:
        """Draw what is by chance.

        Args:
            head_s: seconds of each head on a core of usual speed.
        """
        self._cluster, self._head_s = cluster, head_s
        self._rng = np.random.default_rng(seed)
        nodes = -(-cluster.cores // cluster.cores_a_node)
        self._speed = np.exp(self._rng.normal(0, cluster.speed_deviation, nodes))
        self._crashes = self._rng.random(len(head_s)) < cluster.crashing
        self._hangs = self._rng.random(len(head_s)) < (1e-4 if cluster.hanging_s else 0)
        self._events: list[tuple[float, int, str, int, int]] = []
        self._order = itertools.count()
        self._running: dict[int, tuple[int, float]] = {}
        self._epoch = [0] * cluster.cores
        self._cold = [True] * cluster.cores
        self._idle = list(range(cluster.cores))[::-1]
        self._queue: deque[int] = deque()
        self._attempts: dict[int, int] = {}
        self._made = Outcome()

    def run(self) -> Outcome:
        """Return what it came to."""
        cluster, made, count = self._cluster, self._made, len(self._head_s)
        handed_out = rows = 0
        driver_free = cluster.plan_s * count
        made.driver_s = driver_free
        next_publish, deaths = driver_free + _SHORTEST_PAUSE_S, 0
        for node in range(len(self._speed)):
            self._plan_death(node, driver_free)
        first = min(count, _WAITING_PER_SLOT * cluster.cores)
        for head in range(first):
            driver_free += cluster.submit_s
            self._push(driver_free, "handed", head)
        handed_out, made.driver_s = first, made.driver_s + first * cluster.submit_s
        while rows < count:
            now, _, kind, what, epoch = heapq.heappop(self._events)
            if kind == "handed":
                self._queue.append(what)
            elif kind == "died":
                self._die(what, now)
            elif kind == "repaired":
                self._idle += self._cores_of(what)
            elif kind == "ended" and epoch == self._epoch[what]:
                head, started = self._running.pop(what)
                self._idle.append(what)
                made.busy_s += now - started
                if self._crashes[head] and not self._gives_up(head, what, now - started):
                    self._queue.append(head)
                else:
                    rows += 1
                    driver_free = max(driver_free, now)
                    work = cluster.row_s + (cluster.submit_s if handed_out < count else 0)
                    if driver_free > next_publish:
                        work += (took := cluster.table_row_s * rows)
                        next_publish = driver_free + took + max(_SHORTEST_PAUSE_S, took / _FRACTION_FOR_PUBLISHING)
                    if deaths < cluster.driver_deaths and rows > count * (deaths + 1) / (cluster.driver_deaths + 1):
                        deaths += 1
                        work += self._restart_driver(count, now, driver_free)
                    driver_free += work
                    made.driver_s += work
                    if handed_out < count:
                        self._push(driver_free, "handed", handed_out)
                        handed_out += 1
                        if handed_out == count:
                            made.tail_s = driver_free
            self._start_heads(now)
        made.seconds = max(now, driver_free) + cluster.table_row_s * count
        made.tail_s = made.seconds - made.tail_s
        return made

    def _push(self, when: float, kind: str, what: int, epoch: int = 0) -> None:
        heapq.heappush(self._events, (when, next(self._order), kind, what, epoch))

    def _cores_of(self, node: int) -> list[int]:
        first = node * self._cluster.cores_a_node
        return list(range(first, min(first + self._cluster.cores_a_node, self._cluster.cores)))

    def _start_heads(self, now: float) -> None:
        while self._queue and self._idle:
            core, head = self._idle.pop(), self._queue.popleft()
            node = core // self._cluster.cores_a_node
            seconds = self._head_s[head] / self._speed[node] + self._cluster.cold_s * self._cold[core]
            seconds += self._cluster.hanging_s * self._hangs[head]
            self._cold[core] = False
            self._running[core] = (head, now)
            self._push(now + seconds, "ended", core, self._epoch[core])

    def _gives_up(self, head: int, core: int, seconds: float) -> bool:
        """Count an attempt of a head that ended its process; whether it was the last."""
        self._cold[core] = True
        self._made.lost_s += seconds
        self._attempts[head] = self._attempts.get(head, 0) + 1
        self._made.failed += (last := self._attempts[head] > self._cluster.retries)
        return last

    def _plan_death(self, node: int, now: float) -> None:
        if self._cluster.node_deaths_a_day:
            self._push(now + self._rng.exponential(86400 / self._cluster.node_deaths_a_day), "died", node)

    def _lose(self, cores: Sequence[int], now: float) -> None:
        """Lose what runs on some cores, and hand it out again; their next heads start cold."""
        for core in cores:
            self._epoch[core] += 1
            self._cold[core] = True
            if core in self._running:
                head, started = self._running.pop(core)
                self._made.busy_s += now - started
                self._made.lost_s += now - started
                self._queue.appendleft(head)

    def _die(self, node: int, now: float) -> None:
        cores = set(self._cores_of(node))
        self._lose(sorted(cores), now)
        self._idle = [core for core in self._idle if core not in cores]
        self._push(now + self._cluster.repair_s, "repaired", node)
        self._plan_death(node, now + self._cluster.repair_s)

    def _restart_driver(self, count: int, now: float, driver_free: float) -> float:
        """Start the same command again: all that runs is lost, and handed out once the list was looked at anew."""
        running = list(self._running)
        self._lose(running, now)
        self._idle += running
        work = self._cluster.plan_s * count
        while self._queue:
            work += self._cluster.submit_s
            self._push(driver_free + work, "handed", self._queue.popleft())
        return work


def drawn(heads: int, *, seed: int, measured: Sequence[float] = HEAD_S) -> Float[np.ndarray, "n"]:
    """Return seconds of heads, drawn from those that were measured, spread a little between them."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.asarray(measured), heads) * np.exp(rng.normal(0, 0.03, heads))


def driver_costs(rows: int) -> dict[str, float]:
    """Measure what the driver does for a row: look at it as it begins, write it, publish it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "list.csv").write_text("photo\n" + "".join(f"/photos/{index}.jpg\n" for index in range(rows)))
        store, recipe = FolderStore(folder / "out"), Recipe(str(folder / "out"))
        store.prepare()
        with Ledger(store) as ledger:
            ledger._next_publish = np.inf  # its cost is measured apart
            started = time.process_time()
            plan = Plan([str(folder / "list.csv")], recipe, ledger=ledger, store=store, selection=Selection())
            plan_s = time.process_time() - started
            ended = [_row(head) for head in plan]
            started = time.process_time()
            for row in ended:
                ledger.append(row)
            row_s = time.process_time() - started
            started = time.process_time()
            ledger.publish()
            table_s = time.process_time() - started
    return {"plan_s": plan_s / rows, "row_s": row_s / rows, "table_row_s": table_s / rows}


def _row(head: Head) -> Row:
    stages = dict.fromkeys(("photo", "portrait", "head", "views", "splats", "files", "preview"), 1.25)
    files = ("head.ply", "preview.jpg", "report.json", "head.json")
    digest, reasons = ("0" * 64,), ("the photo is blurred",)
    return Row(
        head.name, head.photos, "done", digest, {"quality": "draft"}, "", "", "good", 0.5, reasons, 9.0, stages, 900,
        files, 4_200_000, "node-17", "2026-01-01T00:00:00.000+00:00", "1.0", "0" * 16, "0" * 16,
    )  # fmt: skip


def scenarios(costs: dict[str, float]) -> Iterator[tuple[str, Cluster]]:
    """Yield what is simulated, by name."""
    usual = Cluster(**costs)
    yield "nothing goes wrong", usual
    yield "each node dies once a day", replace(usual, node_deaths_a_day=1.0)
    yield "each node dies once an hour", replace(usual, node_deaths_a_day=24.0)
    yield "one head in a hundred ends its process", replace(usual, crashing=0.01)
    yield "the same, --retries 1", replace(usual, crashing=0.01, retries=1)
    yield "one head in 10,000 takes ten minutes more", replace(usual, hanging_s=600.0)
    yield "nodes differ by a third", replace(usual, speed_deviation=0.3)
    yield "the command is killed three times", replace(usual, driver_deaths=3)
    yield "5,000 cores", replace(usual, cores=5000)
    yield "20,000 cores", replace(usual, cores=20_000)


def simulate_million(*, quick: bool, measured: Sequence[float]) -> list[Figure]:
    """Print each scenario; return the figures of the usual one and of the worst."""
    heads, seeds = (50_000, (0,)) if quick else (1_000_000, (0, 1))
    costs = driver_costs(2_000 if quick else 20_000)
    rows, found = [], {}
    for name, cluster in scenarios(costs):
        made = [Simulation(cluster, drawn(heads, seed=s, measured=measured), seed=s).run() for s in seeds]
        hours = np.array([each.seconds for each in made]) / 3600
        paid = hours * cluster.cores
        ideal = heads * np.mean(measured) / cluster.cores / 3600
        found[name] = float(hours.mean() / ideal)
        rows.append(
            [
                name,
                f"{hours.mean():.2f}",
                f"{np.ptp(hours):.2f}",
                f"{found[name]:.3f}",
                f"{100 * np.mean([each.lost_s / each.busy_s for each in made]):.2f} %",
                f"{np.mean([each.tail_s for each in made]) / 60:.1f}",
                f"{100 * np.mean([each.driver_s / each.seconds for each in made]):.0f} %",
                f"{paid.mean() * _DOLLARS_A_CORE_HOUR:.0f}",
            ]
        )
    header = ["what", "hours", "by seed", "of the ideal", "work lost", "end, min", "driver busy", "dollars"]
    print_table(header, rows, title=f"{heads} heads on a thousand cores")
    note = ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in costs.items())
    usual, worst = found["nothing goes wrong"], found["each node dies once an hour"]
    return [
        Figure("time of a million heads against cores that never wait", usual, 1.05, unit="x", note=note),
        Figure("the same where each node dies once an hour", worst, 1.2, unit="x"),
        *_rates(float(np.mean(measured))),
    ]


def _rates(head_s: float) -> list[Figure]:
    pace = 1000 / head_s
    writes = pace * _WRITES_A_HEAD
    cores = _S3_WRITES_S / _WRITES_A_HEAD * head_s
    return [
        Figure("heads a second of a thousand cores", pace, unit="/s"),
        Figure(
            "writes a second to an object store", writes, _S3_WRITES_S, unit="/s", note=f"{cores:.0f} cores fill it"
        ),
        Figure("reads a second from it", pace * _READS_A_HEAD, unit="/s"),
    ]


def check_against_ray(*, quick: bool, measured: Sequence[float]) -> list[Figure]:
    """Run heads of a third of a second on Ray, two at a time, then simulate them."""
    from batch import quick_head

    from spinmeround.batch.ray_executor import RayExecutor, RayOptions
    from spinmeround.batch.run import run_batch

    count = 60 if quick else 300
    with tempfile.TemporaryDirectory() as name:
        folder, ended = Path(name), []
        (folder / "photos").mkdir()
        for index in range(count + 2):
            (folder / "photos" / f"{index:04d}.jpg").write_text(str(index))
        real = RayExecutor(RayOptions(memory_mb=50), work=quick_head)

        def watched(heads, recipe):
            for row in real(heads, recipe):
                ended.append(time.perf_counter())
                yield row

        run_batch([str(folder / "photos")], Recipe(str(folder / "out")), watched)
    took = ended[-1] - ended[1]  # by then both workers are there
    cluster = Cluster(cores=2, cores_a_node=2, cold_s=0, speed_deviation=0)
    foretold = Simulation(cluster, np.full(count, 0.3), seed=0).run().seconds
    note = f"{count} heads of 0.3 s on two cores: {took:.1f} s, {foretold:.1f} s simulated"
    return [Figure("a small batch on Ray against its simulation", took / foretold, unit="x", note=note)]


PARTS = {"million": simulate_million, "check": check_against_ray}


def measure(*, quick: bool, table: Path | None = None, only: Sequence[str] | None = None) -> list[Figure]:
    """Return all figures; those of other heads than the measured ones if there is a table of a batch."""
    measured: Sequence[float] = HEAD_S
    if table is not None:
        from pyarrow import parquet

        read = parquet.read_table(table, columns=["seconds", "state"]).to_pylist()
        measured = [row["seconds"] for row in read if row["state"] == "done"]
    return [figure for name in only or PARTS for figure in PARTS[name](quick=quick, measured=measured)]


if __name__ == "__main__":
    parser: argparse.ArgumentParser = benchmark_parser(__doc__, quick="50,000 heads, one seed")
    parser.add_argument("--table", type=Path, metavar="FILE.parquet", help="seconds of heads, of a batch on idle cores")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given several times")
    print_figures(measure(**vars(parser.parse_args())), title="a million photos")
