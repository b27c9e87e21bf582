"""Processes of the server's own that work for it: JSON lines in, JSON lines out, each in a group of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from typing import Any

_LONGEST_LINE = 4 * 2**20


class Child:
    """A process that is told things by lines on its stdin and answers by lines on its stdout.

    It ends by itself when its stdin does, so that none outlives the server.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Sequence[str]) -> Child:
        """Start a process in a group of its own: Ctrl-C in a terminal does not reach it."""
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        )

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.returncode is not None

    async def send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        """Send a line, and after it bytes of a length that the line tells; a process that has ended gets nothing."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n" + payload)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass

    async def receive(self) -> dict[str, Any] | None:
        """Return its next line; None once it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    async def end(self) -> int:
        """End it and all that it has started, at once; return its exit status."""
        if not self.has_ended:
            try:
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            except ProcessLookupError:
                pass
        return await self._process.wait()

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status, the negative number of a signal."""
        return await self._process.wait()
