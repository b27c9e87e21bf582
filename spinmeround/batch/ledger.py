"""The ledger: a row for each head that ended, appended at once, never lost, and published as a table meanwhile.

``batch.csv`` is the record: a line is written with one call as a head ends, so that a reader meets whole lines, and a
process that is killed loses none but the one it was writing. The last line of a head counts. ``batch.parquet`` is the
same, written anew beside it from time to time and moved into place. Which head has which line is kept in a database in
a temporary file, so that memory stays the same for ten heads and for a million.
"""

from __future__ import annotations

import csv
import logging
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from spinmeround.batch.head import Row
from spinmeround.batch.stores import Store
from spinmeround.batch.table import HEADER, from_line, to_line, write_parquet
from spinmeround.errors import InputError, ResourceError, SpinMeRoundError

log = logging.getLogger(__name__)

_FRACTION_FOR_PUBLISHING = 0.05
"""Of the time: the more rows there are, the longer a table takes to write, and the less often it is written."""
_SHORTEST_PAUSE_S = 5.0
_OF_SHARDS = re.compile(r"batch\.\d+-of-\d+\.csv")


def table_name(shard: tuple[int, int] | None) -> str:
    """Return what the tables of a batch, or of one shard of how many, are called."""
    return "batch" if shard is None else f"batch.{shard[0]}-of-{shard[1]}"


class Ledger:
    """The rows of one batch, or of one shard of it.

    Args:
        store: what the batch is written to.
        name: see ``table_name``. The ledger of a whole batch takes over the rows of shards.
    """

    def __init__(self, store: Store, name: str = "batch") -> None:
        self.name = name
        self._store = store
        self._path = store.own_file(f"{self.name}.csv")
        self._index = sqlite3.connect("")
        self._index.execute(
            "CREATE TABLE heads (name TEXT PRIMARY KEY, at INTEGER, plan TEXT, state TEXT, kind TEXT, finished TEXT)"
        )
        self._lines = 0
        self._next_publish = time.monotonic() + _SHORTEST_PAUSE_S
        self._read()
        self._file = self._path.open("ab", buffering=0)
        if name == table_name(None):
            self._take_over_shards()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Publish what there is; after an error, as far as that goes."""
        try:
            with suppress(*(() if kind is None else (OSError, SpinMeRoundError))):
                self._drop_replaced()
                self.publish()
        finally:
            self._file.close()
            self._index.close()

    def __len__(self) -> int:
        return self._index.execute("SELECT count(*) FROM heads").fetchone()[0]

    def append(self, row: Row) -> None:
        """Write the row of a head that ended.

        Raises:
            ResourceError: it cannot be written.
        """
        line = to_line(row).encode()
        at = self._file.tell()
        try:
            whole = self._file.write(line) == len(line)
        except OSError as error:
            raise ResourceError(f"cannot write {self._path}: {(error.strerror or str(error)).lower()}") from error
        if not whole:
            raise ResourceError(f"the disk is full: {self._path}; free some space and give the same command again")
        self._note(row, at)
        if time.monotonic() > self._next_publish:
            self.publish()

    def settled_plan(self, name: str) -> tuple[str, bool] | None:
        """Return the plan by which a head ended in a way that would repeat, and whether it was made.

        None if the head is not known, or ended by an accident.
        """
        found = self._index.execute("SELECT plan, state, kind FROM heads WHERE name = ?", (name,)).fetchone()
        if found is None:
            return None
        plan, state, kind = found
        settled = Row(name, (), state, error_kind=kind).is_settled
        return (plan, state == "done") if settled else None

    def rows(self) -> Iterator[Row]:
        """Yield the last row of each head, in the order they ended."""
        replaced = self._lines > len(self)
        for at, _, row in _rows(self._path):
            if row is not None and (not replaced or self._look_up("at", row.head) == at):
                yield row

    def publish(self) -> None:
        """Write the Parquet table anew, and both tables to a store that cannot append."""
        started = time.monotonic()
        with self._store.replacing(f"{self.name}.parquet") as unfinished:
            write_parquet(unfinished, self.rows())
        self._store.upload_own(f"{self.name}.csv")
        took = time.monotonic() - started
        self._next_publish = time.monotonic() + max(_SHORTEST_PAUSE_S, took / _FRACTION_FOR_PUBLISHING)

    def _read(self) -> None:
        """Index the rows of earlier runs; cut off a line that a killed run left unfinished, leave out damaged ones.

        Raises:
            InputError: the file is not a table of this version.
        """
        with self._path.open("a+b") as file:
            file.seek(0)
            first = file.readline()
            if not HEADER.encode().startswith(first):
                raise InputError(
                    f"{self._path} is no table of this version of spinmeround: name another folder, or move it away"
                )
            if not first.endswith(b"\n"):
                file.truncate(0)
                file.write(HEADER.encode())
            end = len(HEADER)
            damaged = 0
            for at, end, row in _rows(self._path):  # noqa: B007 - the last end is needed
                damaged += row is None
                if row is None:
                    self._lines += 1
                else:
                    self._note(row, at)
            file.truncate(end)
        if damaged:
            log.warning(
                "%s: %d rows are damaged and are left out; their heads are looked at again", self._path, damaged
            )

    def _note(self, row: Row, at: int) -> None:
        self._lines += 1
        values = (row.head, at, row.plan, row.state, row.error_kind, row.finished)
        self._index.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?, ?)", values)

    def _look_up(self, column: str, name: str) -> Any:
        """Return a column of the index for one head; None if the head is not known."""
        found = self._index.execute(f"SELECT {column} FROM heads WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def _take_over_shards(self) -> None:
        """Add the rows of shards that ended later than what is known of their heads."""
        for path in self._shard_files():
            for _, _, row in _rows(path):
                if row is not None and (self._look_up("finished", row.head) or "") < row.finished:
                    self.append(row)

    def _shard_files(self) -> list[Path]:
        return [self._store.own_file(name) for name in self._store.table_names() if _OF_SHARDS.fullmatch(name)]

    def _drop_replaced(self) -> None:
        """Write the record anew without the rows that later ones replaced."""
        if self._lines == len(self):
            return
        self._file.close()
        kept = self._path.with_name(f".{self._path.name}.part")
        with kept.open("w", encoding="utf-8", newline="") as file:
            file.write(HEADER)
            file.writelines(map(to_line, self.rows()))
        kept.replace(self._path)
        self._index.execute("DELETE FROM heads")
        self._lines = 0
        self._read()
        self._file = self._path.open("ab", buffering=0)


def _rows(path: Path) -> Iterator[tuple[int, int, Row | None]]:
    """Yield where each whole line of a table after its header begins and ends, and its row; None if it is damaged."""
    with path.open("rb") as file:
        at = len(file.readline())
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                row = from_line(line.decode())
            except (ValueError, csv.Error):
                row = None
            yield at, at + len(line), row
            at += len(line)
