"""Photos and frames handed to the one process that looks at them: in turn, and none for too long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinmeround.server.processes import Child
from spinmeround.server.refusals import RefusedError, busy
from spinmeround.server.settings import ServerSettings

_LONGEST_S = 60.0


class Readings:
    """Asks the process that looks at photos; it is started anew where it ended."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def start(self) -> None:
        """Start the process, so that it is warm before it is asked."""
        self._child = await Child.start(self._settings.reader)

    async def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.end()

    async def faces(self, photo: Path) -> dict[str, Any]:
        """Return the size of a photo and its faces."""
        return await self._ask_of_photo("faces", photo, called="the photo")

    async def expressions(self, frame: bytes) -> dict[str, Any]:
        """Return the expression of the face of a frame."""
        return await self._ask({"do": "expressions", "bytes": len(frame)}, frame)

    async def store(self, photo: Path, target: Path, *, called: str) -> str:
        """Store what the reader of photos makes of a file; return its name."""
        return await self._ask_of_photo("store", photo, called=called, target=target)

    async def show(self, photo: Path, target: Path) -> str:
        """Draw a photo for a page; return its name."""
        return await self._ask_of_photo("show", photo, called="the photo", target=target)

    async def _ask_of_photo(self, do: str, photo: Path, *, called: str, target: Path | None = None) -> Any:
        pixels = self._settings.limits.pixels
        return await self._ask(
            {"do": do, "photo": str(photo), "called": called, "pixels": pixels}
            | ({} if target is None else {"target": str(target)})
        )

    async def _ask(self, question: dict[str, Any], payload: bytes = b"") -> Any:
        """Ask the process.

        Raises:
            RefusedError: what it was asked about cannot be read, or too many wait.
        """
        with self._place():
            async with self._turn:
                said = await self._said(question, payload)
        if "answer" in said:
            return said["answer"]
        raise RefusedError(422, said["kind"], said["message"])

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._waiting >= self._settings.limits.readings_waiting:
            raise busy("too many photos and frames wait already")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _said(self, question: dict[str, Any], payload: bytes) -> dict[str, Any]:
        if self._child is None or self._child.has_ended:
            await self.start()
        assert self._child is not None
        said = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_S):
                    await self._child.send(question, payload)
                    said = await self._child.receive()
        finally:
            if said is None:  # it ended, took too long, or nobody waits for its answer any more
                await self._child.end()
        return said or {"kind": "InputError", "message": "the photo cannot be read; export it as JPEG or PNG"}
