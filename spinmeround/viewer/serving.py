"""A small web server on this machine that serves the viewer, and only the files that it was given."""

from __future__ import annotations

import json
import mimetypes
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from spinmeround.errors import OutputError
from spinmeround.viewer.bundle import PAGE, SCRIPT, STYLE, bundled
from spinmeround.viewer.contents import Shown, camera_json

ADDRESS = "127.0.0.1"
_PLAIN_HTTP_PORT = 80
"""Browsers leave it out of the name of the host."""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; style-src 'self'; "
        "connect-src 'self' blob: data:; worker-src 'self' blob:; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TYPES = {".js": "text/javascript", ".html": "text/html; charset=utf-8", ".css": "text/css"}


@dataclass(frozen=True)
class _Answer:
    """Bytes, or a file, and what they are."""

    media_type: str
    body: bytes | Path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere two servers could share a port

    def __init__(self, port: int, answers: dict[str, _Answer]) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.answers = answers
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        if self.server_port == _PLAIN_HTTP_PORT:
            self.hosts |= {ADDRESS, "localhost"}


class _Handler(BaseHTTPRequestHandler):
    """Answers what the table has; a page of another name that leads here, by DNS, gets nothing."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answer with a header and a body."""
        self._answer_unless_gone(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with a header."""
        self._answer_unless_gone(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _answer_unless_gone(self, *, with_body: bool) -> None:
        try:
            self._answer(with_body=with_body)
        except ConnectionError:  # a page that is loaded anew drops what it asked for
            self.close_connection = True

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        answer = self.server.answers.get(urllib.parse.urlsplit(self.path).path)
        if answer is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        elif isinstance(answer.body, bytes):
            self._head(HTTPStatus.OK, answer.media_type, len(answer.body))
            if with_body:
                self.wfile.write(answer.body)
        else:
            self._send_file(answer.body, answer.media_type, with_body=with_body)

    def _send_file(self, path: Path, media_type: str, *, with_body: bool) -> None:
        try:
            file = path.open("rb")
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._head(HTTPStatus.OK, media_type, os.fstat(file.fileno()).st_size)
            if with_body:
                shutil.copyfileobj(file, self.wfile)

    def _refuse(self, status: HTTPStatus) -> None:
        body = f"{status.phrase}\n".encode()
        self._head(status, "text/plain", len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, media_type: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def viewer_server(shown: Shown, *, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """Bind a server for one page to 127.0.0.1; whoever gets it calls ``serve_forever``.

    Args:
        port: 0 for any that is free.

    Raises:
        OutputError: the port is taken or not allowed.
        InputError: the viewer was not built.
    """
    try:
        server = _Server(port, _answers(shown))
    except OSError as error:
        raise OutputError(f"port {port} cannot be used: {error.strerror}; leave --port out for a free one") from error
    with server:
        yield server


def address_of(server: ThreadingHTTPServer) -> str:
    """Return the address of the page."""
    return f"http://{ADDRESS}:{server.server_port}/"


def _answers(shown: Shown) -> dict[str, _Answer]:
    answers = {f"/{name}": _Answer(_TYPES[Path(name).suffix], bundled(name)) for name in (PAGE, SCRIPT, STYLE)}
    answers["/"] = answers.pop(f"/{PAGE}")
    files, cameras = [], []
    for number, file in enumerate(shown.files):
        url = f"files/{number}"
        answers[f"/{url}"] = _Answer("application/octet-stream", file.path)
        files.append({"name": file.name, "url": url})
    for number, view in enumerate(shown.views):
        url = f"pictures/{number}" if view.path else None
        if view.path:
            answers[f"/{url}"] = _Answer(mimetypes.guess_type(view.path.name)[0] or "image/png", view.path)
        cameras.append({**camera_json(view), "picture": url})
    index = {"title": shown.title, "files": files, "cameras": cameras}
    answers["/index.json"] = _Answer("application/json", json.dumps(index).encode())
    return answers
