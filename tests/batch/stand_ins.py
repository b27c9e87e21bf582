"""What stands in for the work of a batch: heads that take no time, and those that fail."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

from spinmeround.batch import work
from spinmeround.batch.head import Head, Recipe, Row
from spinmeround.errors import NoFaceError

QUALITY = {"verdict": "fair", "reasons": ["the photo is blurred"], "sharpness": 0.4, "size": 0.9, "fit": None}
REPORT = {
    "quality": QUALITY,
    "stages": [{"stage": "photo", "seconds": 0.5}, {"stage": "a part from outside", "seconds": 2.0}],
    "seconds": 2.5,
    "peak_memory_mb": 700,
}


def inline(heads: Iterable[Head], recipe: Recipe) -> Generator[Row, None, None]:
    """Make heads here, one after the other."""
    return (work.make_head(head, recipe) for head in heads)


def instant(heads: Iterable[Head], recipe: Recipe) -> Generator[Row, None, None]:
    """Rows without work and without files."""
    for head in heads:
        yield replace(work.started_row(head, recipe), state="done", verdict="good", quality=0.9, files=("head.ply",))


def fake_reconstruct(photos: list[Path], folder: Path, recipe: Recipe) -> dict:
    """A head that says which bytes and seed it was made from; a photo of ``no face`` has none."""
    text = photos[0].read_text()
    if text == "no face":
        raise NoFaceError("no face found")
    (folder / "head.ply").write_text(f"{text} {recipe.settings.seed} {recipe.settings.quality}")
    (folder / work.REPORT).write_text(json.dumps(REPORT))
    return REPORT


def fake_head(head: Head, recipe: Recipe) -> Row:
    """Make a head of letters in a Ray worker: some are slow, some take their process with them."""
    work._reconstruct = fake_reconstruct
    text = Path(head.photos[0]).read_text()
    if text.startswith("crash") or (text.startswith("once") and not _was_here(head, recipe)):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5 if text.startswith("slow") else 0)
    return work.make_head(head, recipe)


def _was_here(head: Head, recipe: Recipe) -> bool:
    mark = Path(recipe.out).parent / f"{head.name}.tried"
    known = mark.exists()
    mark.touch()
    return known
