"""How a process that works for the server talks with it: JSON lines over the pipes it was started with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any

import psutil


class Lines:
    """The two ends of the talk; everything else that is printed goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # what a library prints is no line of ours
        sys.stdout = sys.stderr
        self._lock = threading.Lock()
        self._in: IO[bytes] = sys.stdin.buffer

    def say(self, **message: Any) -> None:
        """Send a line; a server that is gone hears nothing."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._out.write(json.dumps(message).encode() + b"\n")

    def hear(self) -> dict[str, Any] | None:
        """Return the next line; None if the server is gone."""
        line = self._in.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def hear_bytes(self, count: int) -> bytes:
        """Return the bytes that follow a line."""
        return self._in.read(count)

    def end_with_the_server(self) -> None:
        """From now on end, with all that was started, as soon as the server is gone; nothing more can be heard."""
        threading.Thread(target=self._wait_for_the_end, name="spinmeround-server-gone", daemon=True).start()

    def _wait_for_the_end(self) -> None:
        while os.read(0, 4096):  # past Python's buffer, whose lock would hold up the end of the process
            pass
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def step_back() -> None:
    """Leave the processor to the server wherever it wants it, and be the first to go when memory runs out."""
    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        process.nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10))
    with contextlib.suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
