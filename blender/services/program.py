"""A server of the extension's own: spmr-app, started where none answers, and ended with Blender."""
# SPDX-License-Identifier: GPL-3.0-or-later

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .client import Client, ServerError

SECONDS_TO_START = 60.0
"""How long spmr-app may take to answer; the first start after an installation compiles Python."""
_SECONDS_TO_END = 10.0
_SECONDS_BETWEEN_LOOKS = 0.2
_ADDRESS_SAID = re.compile(r"^spinmeround is at (http://[^\s/]+)", re.MULTILINE)
"""What spmr-app prints when it answers."""


class Program:
    """At most one process of spmr-app, and all processes that it starts."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._address = ""
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether a process started here is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, path: str, *, cancelled: Callable[[], bool] = lambda: False) -> Client:
        """Return a client of the server, started unless it runs.

        Args:
            path: the program, or empty to look for ``spmr-app`` where the system does.
            cancelled: asked while the server starts.

        Raises:
            ServerError: there is no such program, it ended, or it does not answer in a minute.
        """
        with self._lock:
            if self.running:
                return Client(self._address)
            found = shutil.which(path or "spmr-app")
            if found is None:
                raise ServerError(
                    f"{path} is no program; give the path of spmr-app in the preferences"
                    if path
                    else "No spmr-app is running and none was found; start it, or give its path in the preferences"
                )
            self._folder = tempfile.TemporaryDirectory(prefix="spinmeround-app-", ignore_cleanup_errors=True)
            log = Path(self._folder.name) / "log"
            self._process = _started([found, "--host", "127.0.0.1", "--port", "0"], log)
            return self._answering(log, cancelled)

    def stop(self) -> None:
        """End what was started; return when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process, force=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END)
        # Its workers have sessions of their own, and end when it does.
        _signal_group(process, force=True)
        process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    def _answering(self, log: Path, cancelled: Callable[[], bool]) -> Client:
        until = time.monotonic() + SECONDS_TO_START
        while self.running and time.monotonic() < until and not cancelled():
            if said := _ADDRESS_SAID.search(_text(log)):
                self._address = said[1]
                client = Client(self._address)
                client.server()
                return client
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        ended, said = not self.running, _text(log).strip().splitlines()
        self.stop()
        why = (
            "ended at once"
            if ended
            else "was stopped"
            if cancelled()
            else f"does not answer in {SECONDS_TO_START:.0f} s"
        )
        raise ServerError(f"spmr-app {why}" + (f": {said[-1]}" if said else ""))


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    # Blender's own settings of Python must not reach another Python.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    group: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    try:
        with log.open("wb") as file:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=Path.home(),
                env=environment,
                **group,
            )
    except OSError as error:
        raise ServerError(f"{command[0]} does not start: {error.strerror}; check its path in the preferences") from None


def _signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
    if os.name == "nt":
        command = ["taskkill", "/T", *(["/F"] if force else []), "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
