"""Heads on disk: one folder each, with ``head.json``, photos and files; a folder appears and goes as a whole.

0f1e2d3c4b5a6978/
    head.json    the head as the server describes it
    photos/      photo_0.jpg ..., as they came but for their metadata
    work/        what a run that has not ended has written so far
    files/       head.ply, head.glb, preview.png, report.json ...
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from spinmeround.errors import OutputError
from spinmeround.io.atomic import atomic_file
from spinmeround.server.options import HeadOptions, kind_of, media_type
from spinmeround.server.schemas import Head, HeadFile, PhotoCamera, Verdict

log = logging.getLogger(__name__)

PHOTOS, FILES, WORK, RECORD = "photos", "files", "work", "head.json"
_INCOMING, _LEAVING, _LOCK = ".incoming-", ".leaving-", ".lock"
_ID = re.compile("[0-9a-f]{16}")
_VERDICT_WORDS = ("verdict", "reasons")


class HeadStore:
    """The folder of heads of one server.

    Args:
        folder: is made if it is not there; for this user alone.

    Raises:
        OutputError: it cannot be written, or another server uses it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror}; name another folder") from error
        self.folder = folder.resolve()
        self._lock = FileLock(self.folder / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(f"{folder} is in use by another server; stop that, or name another folder") from None
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror}; name another folder") from error
        for left in (*self.folder.glob(f"{_INCOMING}*"), *self.folder.glob(f"{_LEAVING}*")):
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        """Let another server use the folder."""
        self._lock.release()

    def load(self) -> list[Head]:
        """Read all heads, oldest first; what is none is left alone, and said so."""
        heads = []
        for path in self.folder.iterdir():
            if not _ID.fullmatch(path.name) or path.is_symlink():
                continue
            try:
                head = Head.model_validate_json((path / RECORD).read_bytes())
                HeadOptions.model_validate(head.options)
            except (OSError, ValidationError) as error:
                log.warning("%s is no head and is left alone: %s", path, str(error).splitlines()[0])
                continue
            if head.id == path.name:
                heads.append(head)
        return sorted(heads, key=lambda head: head.created)

    def place(self, head_id: str) -> Path:
        """Return the folder of a head."""
        return self.folder / head_id

    def save(self, head: Head) -> None:
        """Write ``head.json``, whole or not at all."""
        with atomic_file(self.place(head.id) / RECORD) as unfinished:
            unfinished.write_text(head.model_dump_json(indent=1), encoding="utf-8")

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a new folder that ``add`` makes a head of; else it is removed."""
        folder = self.folder / f"{_INCOMING}{secrets.token_hex(8)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, head: Head, incoming: Path) -> None:
        """Make a folder that holds a head's photos the head's own."""
        (incoming / RECORD).write_text(head.model_dump_json(indent=1), encoding="utf-8")
        incoming.rename(self.place(head.id))

    def remove(self, head_id: str) -> None:
        """Remove a head with all that belongs to it."""
        leaving = self.folder / f"{_LEAVING}{secrets.token_hex(8)}"
        try:
            self.place(head_id).rename(leaving)
        except FileNotFoundError:
            return
        shutil.rmtree(leaving, ignore_errors=True)
        if leaving.exists():  # a process that was just ended may have added a file meanwhile
            shutil.rmtree(leaving)

    def file(self, head: Head, *parts: str) -> Path | None:
        """Return a file of a head; None if it is not there or is reached through a link."""
        path = self.place(head.id).joinpath(*parts)
        return path if path.is_file() and os.path.realpath(path) == str(path) else None

    def describe(self, head: Head) -> None:
        """Fill in what a finished head's folder says of it: its files, its quality, its photo's camera."""
        folder = self.place(head.id) / FILES
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        options = HeadOptions.model_validate(head.options)
        names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        head.files = [_described(folder / name, options, report) for name in names]
        head.quality = _verdict(report["quality"])
        camera = report.get("photo_camera")
        head.photo_camera = None if camera is None else PhotoCamera.model_validate(camera)


def _described(path: Path, options: HeadOptions, report: dict[str, Any]) -> HeadFile:
    return HeadFile(
        name=path.name,
        suffix=path.suffix.removeprefix("."),
        kind=kind_of(path.name, options, report),  # pyright: ignore[reportArgumentType]
        bytes=path.stat().st_size,
        media_type=media_type(path.name),
    )


def _verdict(quality: dict[str, Any]) -> Verdict:
    verdict, reasons = quality["verdict"], quality["reasons"]
    figures = {name: value for name, value in quality.items() if name not in _VERDICT_WORDS}
    sentence = verdict + (f": {'; '.join(reasons)}" if reasons else "")
    return Verdict(verdict=verdict, sentence=sentence, reasons=reasons, figures=figures)
