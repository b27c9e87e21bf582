"""What is to be done: the heads of a batch, without those that are there and were made from just this."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spinmeround.batch.head import Head, Recipe
from spinmeround.batch.inputs import Entry, read_entries
from spinmeround.batch.ledger import Ledger
from spinmeround.batch.stores import Store, local_path, open_filesystem
from spinmeround.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Which heads of the inputs are taken.

    Attributes:
        shard: which part of how many, from 1; a head falls to a part by its name, wherever it stands.
        limit: the first so many of these.
    """

    shard: tuple[int, int] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise InputError(f"a shard is 1/{self.shard[1]} to {self.shard[1]}/{self.shard[1]}, not {self.shard[0]}")

    def takes(self, name: str) -> bool:
        """Whether a head falls to the shard."""
        return self.shard is None or int(short_digest(name), 16) % self.shard[1] == self.shard[0] - 1


class Plan:
    """The heads to make, kept in a temporary file: a million take no more memory than ten.

    Attributes:
        wanted: how many heads the inputs hold, by the selection.
        present: how many of these are there.
        hopeless: how many ended with an error that the same bytes and settings would meet again.
    """

    def __init__(
        self, places: Iterable[str], recipe: Recipe, *, ledger: Ledger, store: Store, selection: Selection
    ) -> None:
        self.wanted = self.present = self.hopeless = 0
        self._todo = sqlite3.connect("")
        self._todo.execute("CREATE TABLE todo (name TEXT, photos TEXT, options TEXT)")
        for head in _selected(distinct_heads(read_entries(places, out=recipe.out)), selection):
            self.wanted += 1
            settled = ledger.settled_plan(head.name)
            if settled is not None and settled[0] == plan_digest(head, recipe):
                if not settled[1]:
                    self.hopeless += 1
                    continue
                if store.has_head(head.name, recipe.files):
                    self.present += 1
                    continue
            values = (head.name, json.dumps(head.photos), json.dumps(dict(head.options)))
            self._todo.execute("INSERT INTO todo VALUES (?, ?, ?)", values)

    def __len__(self) -> int:
        return self.wanted - self.present - self.hopeless

    def __iter__(self) -> Iterator[Head]:
        """Yield the heads to make."""
        for name, photos, options in self._todo.execute("SELECT * FROM todo ORDER BY rowid"):
            yield Head(name, tuple(json.loads(photos)), json.loads(options))


def distinct_heads(entries: Iterable[Entry]) -> Iterator[Head]:
    """Yield each head once, under a name of its own.

    What has the same photos and options as an earlier head is left out. Of several heads of one name, those after the
    first get a digest of their photos and options added to it.
    """
    seen = sqlite3.connect("")
    seen.execute("CREATE TABLE seen (text TEXT PRIMARY KEY) WITHOUT ROWID")

    def is_new(text: str) -> bool:
        return seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (text,)).rowcount == 1

    repeated = 0
    for name, photos, options in entries:
        content = short_digest(json.dumps([photos, options], sort_keys=True, default=str))
        if not is_new(f"={content}"):
            repeated += 1
            continue
        if not is_new(name.casefold()):  # some disks take upper and lower case for the same
            is_new((name := f"{name}-{content[:8]}").casefold())
        yield Head(name, photos, options)
    if repeated:
        log.warning("%d heads are listed more than once and are made once", repeated)


def plan_digest(head: Head, recipe: Recipe) -> str:
    """Digest what can be known of a head without reading its photos: settings, names, sizes and times.

    Times are those of the bytes and of the file's entry, so that a copy with an old date is noticed.
    """
    files = [str(path) for path in recipe.settings.files()]
    return recipe.digest(dict(head.options), [(place, _fingerprint(place)) for place in (*head.photos, *files)])


def _selected(heads: Iterable[Head], selection: Selection) -> Iterator[Head]:
    taken = 0
    for head in heads:
        if taken == selection.limit:
            return
        if selection.takes(head.name):
            taken += 1
            yield head


def _fingerprint(place: str) -> list[object]:
    """Return what changes with a file; an empty list if it cannot be seen, and the run will say why."""
    path = local_path(place)
    if path is not None:
        try:
            seen = path.stat()
        except OSError:
            return []
        return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]
    files, inside = open_filesystem(place)
    try:
        known = files.info(inside)
    except OSError:
        return []
    return [
        str(known.get(name, "")) for name in ("size", "ETag", "etag", "md5Hash", "mtime", "created", "LastModified")
    ]


def short_digest(text: str) -> str:
    """Digest a text, which may hold bytes of a file name that are no text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
