"""The work of a batch: one head from its photos to its folder. What goes wrong becomes a row, not an exception."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import platform
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from spinmeround.batch.head import Head, Recipe, Row, is_hair, version
from spinmeround.batch.plan import plan_digest
from spinmeround.batch.settings import differing, settled, with_options
from spinmeround.batch.stores import MARK, Store, local_path, open_filesystem, open_store
from spinmeround.errors import InputError, SpinMeRoundError
from spinmeround.pipelines.settings import run_key

log = logging.getLogger(__name__)

REPORT, PREVIEW = "report.json", "preview.jpg"
_PREVIEW_WIDTH_PX = 1280


def make_head(head: Head, recipe: Recipe) -> Row:
    """Make one head and publish its folder, unless just this head is there already.

    The files of the head are those that ``reconstruct`` writes with the same settings, byte for byte.

    Returns:
        The row of the head; whatever went wrong stands in it.
    """
    row = started_row(head, recipe)
    store = _store(recipe.out)
    try:
        row, made = _make(row, head, recipe, store)
    except Exception as error:  # one head is the most that any defect may cost
        row = replace(row, error_kind=type(error).__name__, error=_in_one_line(error))
        if row.is_settled:
            store.remove_head(head.name)  # it was made from other bytes or settings
        made = True
    return replace(row, finished=_now()) if made else row


def started_row(head: Head, recipe: Recipe) -> Row:
    """Return the row of a head of which no more is known than what it is to be made from."""
    return Row(
        head.name,
        tuple(_printable(each) for each in head.photos),
        "failed",
        options=dict(head.options),
        node=platform.node(),
        finished=_now(),
        version=version(),
        plan=plan_digest(head, recipe),
    )


def _make(row: Row, head: Head, recipe: Recipe, store: Store) -> tuple[Row, bool]:
    """Return the row of a finished head, and whether it had to be made.

    Raises:
        SpinMeRoundError: see ``reconstruct``.
    """
    settings = with_options(recipe.settings, head.options)
    with _fetched(head.photos) as photos:
        key = recipe.digest(run_key(settled(settings), photos))
        row = replace(row, options=differing(settings), key=key, sha256=tuple(map(_sha256, photos)))
        known = _known(head, recipe, store)
        if known is not None and known.key == key:
            return replace(known, plan=row.plan), False
        with store.workspace(head.name) as folder:
            report = _reconstruct(photos, folder, replace(recipe, settings=settings))
            row = _finished_row(row, report, folder)
            (folder / MARK).write_text(json.dumps(row.flat()), encoding="utf-8")
            store.publish(folder, head.name)
    return row, True


def _known(head: Head, recipe: Recipe, store: Store) -> Row | None:
    """Return the row of a finished head; None if there is none, or only one damaged or of another version."""
    try:
        text = store.read_mark(head.name, recipe.files)
        return None if text is None else Row.from_flat(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _reconstruct(photos: Sequence[Path], folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Write all files of a head; return its report."""
    from spinmeround.pipelines.outputs import OutputOptions
    from spinmeround.pipelines.reconstruct import reconstruct
    from spinmeround.pipelines.report import write_report

    hair = [folder / f"hair.{suffix}" for suffix in recipe.formats if is_hair(suffix)]
    out = [folder / f"head.{suffix}" for suffix in recipe.formats if not is_hair(suffix)]
    preview = folder / "preview.png"
    outputs = OutputOptions(
        ply=recipe.ply, glb=recipe.glb, preview=preview, hair=next(iter(hair), None), strict=recipe.strict
    )
    made = reconstruct(photos, out=out, settings=recipe.settings, outputs=outputs)
    _shrink(preview, folder / PREVIEW)
    files = [path.name for path in made.files if path != preview]
    report = made.report | {"files": [*files, PREVIEW]}
    write_report(folder / REPORT, report)
    return report


def _shrink(picture: Path, preview: Path) -> None:
    """Replace a contact sheet by a small one, of which a page can show thousands."""
    from PIL import Image

    with Image.open(picture) as whole:
        height_px = round(whole.height * _PREVIEW_WIDTH_PX / whole.width)
        whole.convert("RGB").resize((_PREVIEW_WIDTH_PX, height_px), Image.Resampling.BOX).save(preview, quality=85)
    picture.unlink()


def _finished_row(row: Row, report: dict[str, Any], folder: Path) -> Row:
    quality = report["quality"]
    figures = [value for name, value in quality.items() if name not in ("verdict", "reasons") and value is not None]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stage_seconds: dict[str, float] = {}
    for each in report["stages"]:
        stage_seconds[each["stage"]] = stage_seconds.get(each["stage"], 0.0) + each["seconds"]
    return replace(
        row,
        state="done",
        verdict=quality["verdict"],
        quality=min(figures, default=None),
        reasons=tuple(quality["reasons"]),
        seconds=report["seconds"],
        stage_seconds=stage_seconds,
        peak_memory_mb=report["peak_memory_mb"],
        files=(*(path.relative_to(folder).as_posix() for path in files), MARK),
        bytes=sum(path.stat().st_size for path in files),
        finished=_now(),
    )


@contextmanager
def _fetched(photos: Sequence[str]) -> Iterator[list[Path]]:
    """Yield photos as files: those behind a URL in a temporary folder, each under its own name.

    Raises:
        InputError: a photo that cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="spmr-photos-") as folder:
        paths = []
        for index, photo in enumerate(photos):
            path = local_path(photo)
            if path is None:
                path = Path(folder) / str(index) / photo.rsplit("/", 1)[-1]
                path.parent.mkdir()
                files, inside = open_filesystem(photo)
                try:
                    files.get_file(inside, str(path))
                except FileNotFoundError as error:
                    raise InputError(f"{photo}: no such file") from error
            elif not path.is_file():
                raise InputError(f"{path}: no such file")
            paths.append(path)
        yield paths


@cache
def _store(out: str) -> Store:
    return open_store(out)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _in_one_line(error: Exception) -> str:
    """Return what an error says; of a defect, also where it was."""
    text = " ".join(str(error).split())
    if isinstance(error, SpinMeRoundError) or not (frames := traceback.extract_tb(error.__traceback__)):
        return _printable(text)
    return _printable(f"{text} (in {frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno})")


def _printable(text: str) -> str:
    """Return text without the bytes of file names that are no text."""
    return text.encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
