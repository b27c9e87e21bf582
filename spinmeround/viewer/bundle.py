"""The viewer as it was built from ``web/``: one script, one style sheet, one page."""

from __future__ import annotations

from pathlib import Path

import spinmeround
from spinmeround.errors import InputError

PAGE, SCRIPT, STYLE = "viewer.html", "viewer.js", "viewer.css"


def bundled(name: str) -> bytes:
    """Return a file of the viewer.

    Raises:
        InputError: it was not built.
    """
    path = Path(spinmeround.__file__).parent / "server" / "static" / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"the viewer was not built: {path} is not there; run `make web`") from None
