"""How the server is run: where heads are kept, where it listens, and what it refuses."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from spinmeround.errors import MissingDependencyError

PYTHON = (sys.executable, "-P", "-m")
"""What starts a process of this package; nothing is imported from the folder that it is started in."""


@dataclass(frozen=True)
class Limits:
    """What the server refuses.

    Attributes:
        upload_bytes: of one request, counted as they arrive.
        photos: of one head.
        pixels: of one photo, read from its header before it is decoded.
        queue: jobs that wait; more are refused.
        frame_bytes: of a frame whose expression is asked for.
        uploads_at_once: bodies that are read at the same time; others wait.
        readings_waiting: photos and frames that wait to be looked at; more are refused.
        connections: open at the same time.
        header_s: until the header of a request is there.
        silence_s: between two parts of a body.
        bytes_per_s: that a body must come in at on average, beside ``silence_s``.
    """

    upload_bytes: int = 128 * 2**20
    photos: int = 16
    pixels: int = 100_000_000
    queue: int = 32
    frame_bytes: int = 4 * 2**20
    uploads_at_once: int = 8
    readings_waiting: int = 16
    connections: int = 1000
    header_s: float = 10.0
    silence_s: float = 10.0
    bytes_per_s: int = 50_000


@dataclass(frozen=True)
class ServerSettings:
    """How one server is run.

    Attributes:
        folder: where heads are kept, one folder each.
        host: the address to listen on.
        port: 0 takes any that is free.
        token: what clients must show; None asks for none.
        jobs_at_once: heads that are made at the same time.
        worker: command of the process that makes a head.
        reader: command of the process that looks at photos and frames.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    limits: Limits = field(default_factory=Limits)
    jobs_at_once: int = 1
    worker: tuple[str, ...] = (*PYTHON, "spinmeround.server.workers.making")
    reader: tuple[str, ...] = (*PYTHON, "spinmeround.server.workers.looking")


def check_installed() -> None:
    """Check that what the server stands on is there, without importing it.

    Raises:
        MissingDependencyError: it is not; the message has the pip command.
    """
    missing = [name for name in ("fastapi", "uvicorn", "python_multipart", "sse_starlette") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f'the app needs {" and ".join(missing)}: pip install "spinmeround[app]"')


def is_loopback(host: str) -> bool:
    """Whether an address, or the name ``localhost``, is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """Draw a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def default_folder() -> Path:
    """Return where heads are kept by default: in the user's data directory."""
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "spinmeround" / "heads"
