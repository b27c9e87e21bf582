"""One page that shows a head by itself, without a network: the viewer and the head packed into it."""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spinmeround.errors import InputError
from spinmeround.io.atomic import atomic_file
from spinmeround.viewer.bundle import SCRIPT, STYLE, bundled
from spinmeround.viewer.contents import Shown, ShownFile, as_spz

_TEMPLATE = Path(__file__).with_name("export.html")
_BINARY_IN_SCRIPT = re.compile(rb"[A-Za-z0-9+/]{65536,}={0,2}")
"""Compiled code inside the script, as base64, which gzip would pack badly."""
_MAX_BYTES = 1 << 28
"""Of a page: browsers hold its text in memory several times."""


def write_page(path: Path | str, shown: Shown) -> None:
    """Write one self-contained .html that shows files of heads by double click.

    Splats become .spz, in the units of their file. The page's own rules forbid it every connection.

    Raises:
        InputError: no files or too large ones, or splats that cannot be read.
        OutputError: a place that cannot be written.
    """
    if not shown.files or shown.views:
        raise InputError("a page of its own holds heads and no folders of views: give files alone with --out")
    total = sum(file.path.stat().st_size for file in shown.files)
    if total > _MAX_BYTES:
        raise InputError(f"{total / 1e6:.0f} MB are too much for one page, at most {_MAX_BYTES / 1e6:.0f}")
    with tempfile.TemporaryDirectory(prefix="spmr-view-") as folder, atomic_file(path) as unfinished:
        files = "\n".join(_inlined(_smallest(file, Path(folder))) for file in shown.files)
        page = _TEMPLATE.read_text(encoding="utf-8")
        values = {
            "title": html.escape(shown.title),
            "style": bundled(STYLE).decode(),
            "files": files,
            "parts": "\n".join(_packed_script(bundled(SCRIPT))),
        }
        page = re.sub(r"\{(title|style|files|parts)\}", lambda match: values[match[1]], page)
        unfinished.write_text(page, encoding="utf-8", newline="\n")


def _smallest(file: ShownFile, folder: Path) -> ShownFile:
    """Return splats as .spz, and other files as they are."""
    if not _holds_splats(file.path):
        return file
    return ShownFile(f"{file.name}.spz", as_spz(file.path, folder))


def _holds_splats(path: Path) -> bool:
    """Tell whether a file holds splats that are not packed yet."""
    if path.suffix.lower() != ".ply":
        return path.suffix.lower() == ".splat"
    with path.open("rb") as file:
        header = file.read(1 << 14).partition(b"end_header")[0]
    return re.search(rb"^property \w+ (f_dc_0|packed_position)\b", header, re.MULTILINE) is not None


def _inlined(file: ShownFile) -> str:
    data = base64.b64encode(file.path.read_bytes()).decode()
    return f'<script type="application/octet-stream" data-file="{html.escape(file.name)}">{data}</script>'


def _packed_script(script: bytes) -> Iterator[str]:
    """Yield the script in parts that are gzipped: its text, and what it holds as base64 in plain bytes."""
    start = 0
    for match in _BINARY_IN_SCRIPT.finditer(script):
        try:
            compiled = base64.b64decode(match[0], validate=True)
        except binascii.Error:
            continue
        if base64.b64encode(compiled) != match[0]:
            continue
        yield _part("text", script[start : match.start()])
        yield _part("base64", compiled)
        start = match.end()
    yield _part("text", script[start:])


def _part(kind: str, data: bytes) -> str:
    packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
    return f'<script type="application/octet-stream" data-part="{kind}">{packed}</script>'
