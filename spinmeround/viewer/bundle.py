"""The viewer as it was built from ``web/``: one script, one style sheet, one page."""

from __future__ import annotations

from pathlib import Path

from spinmeround.errors import InputError

_FOLDER = Path(__file__).parent.parent / "server" / "static"
PAGE, SCRIPT, STYLE = "viewer.html", "viewer.js", "viewer.css"


def bundled(name: str) -> bytes:
    """Return a file of the viewer.

    Raises:
        InputError: it was not built.
    """
    path = _FOLDER / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"the viewer was not built: {path} is not there; run `make web`") from None
