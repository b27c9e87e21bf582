"""Uploads to photos: checked by their content, named by the server, stored without their metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from fastapi import UploadFile

from spinmeround.server.photos.checks import STRIPPED, kind_of_photo, store_stripped
from spinmeround.server.readings import Readings
from spinmeround.server.refusals import RefusedError
from spinmeround.server.settings import Limits


class Uploads:
    """Stores photos one at a time, so that memory holds one whatever comes."""

    def __init__(self, readings: Readings, limits: Limits) -> None:
        self._readings, self._limits = readings, limits
        self._turn = asyncio.Lock()

    async def store(self, photos: Sequence[UploadFile], folder: Path) -> list[str]:
        """Store photos as ``photo_0.jpg`` and so on; return their names.

        Raises:
            RefusedError: none, too many, or one that cannot be taken.
        """
        if len(photos) > self._limits.photos:
            most = self._limits.photos
            raise RefusedError(413, "TooMany", f"at most {most} photos of one person are taken, got {len(photos)}")
        names = []
        for index, photo in enumerate(photos):
            called = f"photo {index + 1}" if len(photos) > 1 else "the photo"
            kind = await asyncio.to_thread(kind_of_photo, photo.file, called=called)
            async with self._turn:
                names.append(await self._store(photo.file, folder / f"photo_{index}.{kind}", called=called))
        return names

    async def _store(self, stream: IO[bytes], target: Path, *, called: str) -> str:
        if target.suffix[1:] in STRIPPED:
            strip = partial(store_stripped, called=called, most_pixels=self._limits.pixels)
            if await asyncio.to_thread(strip, stream, target):
                return target.name
        with TemporaryDirectory(dir=target.parent) as folder:
            whole = Path(folder) / target.name
            await asyncio.to_thread(copy, stream, whole)
            return await self._readings.store(whole, target.with_suffix(""), called=called)


def copy(stream: IO[bytes], target: Path) -> None:
    """Copy an upload to a file."""
    stream.seek(0)
    with target.open("wb") as file:
        while part := stream.read(2**20):
            file.write(part)
