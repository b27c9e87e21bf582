"""A batch from its plan to its table: heads go out to be made, rows come back, and somebody is told."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from spinmeround.batch.head import Head, Recipe, Row
from spinmeround.batch.ledger import Ledger, table_name
from spinmeround.batch.plan import Plan, Selection
from spinmeround.batch.sheet import write_sheet
from spinmeround.batch.stores import open_store
from spinmeround.errors import ResourceError

log = logging.getLogger(__name__)

Executor = Callable[[Iterable[Head], Recipe], Generator[Row, None, None]]
"""Makes heads, many at a time, and yields the row of each as it ends; closed early, it stops them."""
_TELL_EVERY_S = 30.0


@dataclass
class Progress:
    """How far a batch is.

    Attributes:
        total: heads to make in this run.
        failures: of this run, by kind.
    """

    total: int
    ended: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def count(self, row: Row) -> None:
        """Take a row into account."""
        self.ended += 1
        if row.state == "failed":
            self.failures[row.error_kind] = self.failures.get(row.error_kind, 0) + 1

    @property
    def heads_per_hour(self) -> float:
        """Pace of this run."""
        return 3600 * self.ended / max(1e-6, time.monotonic() - self.started)

    @property
    def sentence(self) -> str:
        """One line for people."""
        text = f"{self.ended} of {self.total} heads"
        if self.ended:
            hours = (self.total - self.ended) / self.heads_per_hour
            text += f", {self.heads_per_hour:.0f} an hour, {duration(hours)} left"
        return text + (f"; failed: {kinds(self.failures)}" if self.failures else "")


@dataclass(frozen=True)
class BatchResult:
    """What a batch came to.

    Attributes:
        wanted: heads of the inputs.
        present: of these, the ones that were there before.
        done: of these, the ones that are there now.
        failures: how many are not, by kind of error.
        table: where the table is.
    """

    wanted: int
    present: int
    done: int
    failures: dict[str, int]
    table: str


def run_batch(
    places: Sequence[str],
    recipe: Recipe,
    executor: Executor,
    *,
    selection: Selection | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> BatchResult:
    """Make the heads that are missing.

    A batch may be stopped in any way at any moment; the same call goes on from there.

    Args:
        places: see ``read_entries``.
        tell: called after each head.

    Raises:
        InputError: a place without photos, a list that cannot be read.
        OutputError: ``recipe.out`` cannot be written, or another run is writing it.
        ResourceError: a disk is full.
    """
    selection = selection or Selection()
    store = open_store(recipe.out)
    store.prepare()
    name = table_name(selection.shard)
    with _room_for_indices(), store.session(name, alone=selection.shard is None), Ledger(store, name) as ledger:
        plan = Plan(places, recipe, ledger=ledger, store=store, selection=selection)
        log.info("%d heads, %d of them are there; %d to make", plan.wanted, plan.present, len(plan))
        progress = Progress(len(plan))
        told = time.monotonic()
        with closing(executor(plan, recipe)) as rows:
            for row in rows:
                ledger.append(row)
                progress.count(row)
                if row.state == "failed":
                    log.warning("%s: %s: %s", row.head, row.error_kind, row.error)
                if tell is not None:
                    tell(progress)
                elif time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    log.info("%s", progress.sentence)
        write_sheet(store, ledger)
        failures = dict(progress.failures)
        if plan.hopeless:
            failures["as before"] = plan.hopeless
    done = plan.present + progress.ended - sum(progress.failures.values())
    return BatchResult(plan.wanted, plan.present, done, failures, f"{recipe.out.rstrip('/')}/{name}.parquet")


@contextmanager
def _room_for_indices() -> Iterator[None]:
    """Say where the disk is full if it is that of the temporary indices of plan and ledger."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
            raise
        raise ResourceError(
            f"no room for a batch's temporary files: {error}; free some space, or name another disk: TMPDIR=/path"
        ) from error


def kinds(failures: dict[str, int]) -> str:
    """Return failures as ``3 NoFaceError, 1 Crashed``."""
    return ", ".join(f"{count} {kind}" for kind, count in failures.items())


def duration(hours: float) -> str:
    """Return a time as a person says it."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
