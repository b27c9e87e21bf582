"""What a batch is made from: photos, folders, patterns and lists, on a disk or behind a URL, as heads with names."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from glob import has_magic
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from spinmeround.batch.settings import is_setting
from spinmeround.batch.stores import HEADS, local_path, open_filesystem
from spinmeround.errors import InputError

log = logging.getLogger(__name__)

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif")
"""What a folder is searched for; a photo that is named may end in anything."""
LIST_SUFFIXES = (".csv", ".jsonl", ".parquet")
_LONGEST_NAME = 100

Entry = tuple[str, tuple[str, ...], Mapping[str, Any]]
"""A name, photos and options, before names are made distinct."""


def read_entries(places: Iterable[str], *, out: str = "") -> Iterator[Entry]:
    """Yield what each place holds, in its order; folders sorted by name.

    Args:
        places: photos, folders, patterns such as ``photos/*.jpg``, and lists (``.csv``, ``.jsonl``, ``.parquet``), as
            paths or URLs.
        out: where the batch is written to. What a folder or a pattern finds there is left out; where the photos
            themselves lie in it, only the heads are.

    Raises:
        InputError: a place that is not there or holds no photo, or a list that cannot be read.
    """
    for place in places:
        found = False
        for entry in _entries_of(place, out):
            found = True
            yield entry
        if not found:
            raise InputError(f"{place}: no photos there")


def safe_name(text: str) -> str:
    """Return a text as the name of a folder on any system."""
    name = re.sub(r"[^\w.-]+", "_", text).strip(" .")[-_LONGEST_NAME:]
    return name.lstrip(".") or "head"


def photo_name(photo: str) -> str:
    """Return the name of a photo's file without its suffix; on this system's terms if the photo is on a disk."""
    return (PurePath(photo) if local_path(photo) is not None else PurePosixPath(photo)).stem


def _entries_of(place: str, out: str) -> Iterator[Entry]:
    path = local_path(place)
    path = None if path is None else path.absolute()  # tasks run elsewhere
    if path is None:
        yield from _remote_entries(place, out)
    elif path.is_dir():
        yield from (
            _named(str(photo), photo.relative_to(path).as_posix()) for photo in _walk(path, _local_output(path, out))
        )
    elif path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        with path.open("rb") as stream:
            yield from _listed(str(path), stream)
    elif not path.exists() and has_magic(str(path)):
        anchor = Path(path.anchor)
        output = _local_output(path, out)
        matching = [
            photo
            for photo in sorted(anchor.glob(str(path.relative_to(anchor))))
            if output is None or not photo.resolve().is_relative_to(output)
        ]
        yield from (_named(str(photo), photo.name) for photo in matching if photo.is_file())
    elif not path.exists():
        raise InputError(f"{place}: no such file or folder")
    else:
        yield _named(str(path), path.name)


def _remote_entries(url: str, out: str) -> Iterator[Entry]:
    files, path = open_filesystem(url)
    full = files.unstrip_protocol
    output = _remote_output(full(path), out)

    def is_made(found: str) -> bool:
        return output is not None and f"{full(found)}/".startswith(f"{output}/")

    try:
        if has_magic(path):
            matching = sorted(each for each in _glob(files, path, url) if not is_made(each))
            yield from (_named(full(each), each.rsplit("/", 1)[-1]) for each in matching)
        elif path.lower().endswith(LIST_SUFFIXES):
            with files.open(path, "rb") as stream:
                yield from _listed(url, stream)
        elif files.isdir(path):
            for folder, folders, names in files.walk(path):
                folders[:] = sorted(name for name in folders if not is_made(f"{folder}/{name}"))
                for name in sorted(names):
                    if name.lower().endswith(PHOTO_SUFFIXES):
                        inside = f"{folder}/{name}"
                        yield _named(full(inside), inside[len(path.rstrip("/")) + 1 :])
        elif files.exists(path):
            yield _named(url, path.rsplit("/", 1)[-1])
        else:
            raise InputError(f"{url}: no such file or folder")
    except OSError as error:
        raise InputError(f"{url}: {' '.join(str(error).split())}") from error


def _glob(files: Any, pattern: str, url: str) -> list[str]:
    """Return what a pattern matches.

    Raises:
        InputError: it is none, such as ``a**``.
    """
    try:
        return files.glob(pattern)
    except ValueError as error:
        raise InputError(f"{url}: {error}; * stands for any name, ** for any folders") from error


def _local_output(place: Path, out: str) -> Path | None:
    """Return the folder whose files are no photos: all that is written to, or the heads alone of a place inside it."""
    written = local_path(out) if out else None
    if written is None:
        return None
    written = written.resolve()
    return written / HEADS if place.resolve().is_relative_to(written) else written


def _remote_output(place: str, out: str) -> str | None:
    """Return the same for URLs."""
    if not out or local_path(out) is not None:
        return None
    files, path = open_filesystem(out)
    written = files.unstrip_protocol(path).rstrip("/")
    return f"{written}/{HEADS}" if f"{place}/".startswith(f"{written}/") else written


def _walk(folder: Path, output: Path | None) -> Iterator[Path]:
    real = folder.resolve()
    if output is not None and real.is_relative_to(output):
        return
    left_out = folder / output.relative_to(real) if output is not None and output.is_relative_to(real) else None
    for inner, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(inner, name) != left_out)
        for name in sorted(names):
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith("."):
                yield Path(inner) / name


def _named(photo: str, relative: str) -> Entry:
    return safe_name(os.path.splitext(relative)[0]), (photo,), {}  # noqa: PTH122 - of a URL as well


def _listed(place: str, stream: Any) -> Iterator[Entry]:
    """Yield the rows of a list: ``photo`` or ``photos``, ``name``, ``options``, and a column for any setting."""
    base = place.replace("\\", "/").rpartition("/")[0]
    ignored: set[str] = set()
    for number, row in enumerate(_rows(place, stream), start=1):
        if not isinstance(row, Mapping):
            raise InputError(f"{place}, row {number}: expected a JSON object, got {row!r}")
        given = {key: value for key, value in row.items() if value is not None and value != ""}
        photos = _photos(given, base, where=f"{place}, row {number}")
        options = _options(given.get("options") or {}, where=f"{place}, row {number}")
        options = {**{key: value for key, value in given.items() if is_setting(key)}, **options}
        ignored |= {str(key) for key in given if not is_setting(key)} - {"photo", "photos", "name", "options", "None"}
        name = given.get("name") or photo_name(photos[0])
        yield safe_name(str(name)), photos, options
    if ignored:
        log.warning("%s: columns that are no settings were ignored: %s", place, ", ".join(sorted(ignored)))


def _rows(place: str, stream: Any) -> Iterator[Mapping[str, Any]]:
    suffix = os.path.splitext(place)[1].lower()  # noqa: PTH122
    try:
        if suffix == ".csv":
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                yield from csv.DictReader(text)
        elif suffix == ".jsonl":
            with io.TextIOWrapper(stream, encoding="utf-8") as text:
                yield from (json.loads(line) for line in text if line.strip())
        else:
            from pyarrow import parquet

            for part in parquet.ParquetFile(stream).iter_batches():
                yield from part.to_pylist()
    except (ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{place}: cannot be read as a list of photos: {error}") from error


def _options(given: Any, *, where: str) -> Mapping[str, Any]:
    """Return the options of a row, which may be JSON."""
    options = given
    if isinstance(given, str):
        try:
            options = json.loads(given)
        except ValueError:
            options = None
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: its options are no JSON object: {given!r}")
    return options


def _photos(given: Mapping[str, Any], base: str, *, where: str) -> tuple[str, ...]:
    """Return the photos of a row; relative ones are relative to the list."""
    photos = given.get("photos", given.get("photo"))
    if isinstance(photos, str) and "photos" in given and photos.startswith("["):
        try:
            photos = json.loads(photos)
        except ValueError:
            raise InputError(f"{where}: its photos are no JSON list: {photos!r}") from None
    elif isinstance(photos, str):
        photos = photos.split(";")
    if photos is not None and not isinstance(photos, list):
        raise InputError(f"{where}: expected a list of photos, got {photos!r}")
    if not photos:
        raise InputError(f"{where}: no photo; a list has a column photo, or photos with ; between them")
    return tuple(_absolute(str(photo).strip(), base) for photo in photos)


def _absolute(photo: str, base: str) -> str:
    path = local_path(photo)
    if path is None or path.is_absolute() or not base:
        return photo if path is None else str(path)
    return f"{base}/{photo}"
