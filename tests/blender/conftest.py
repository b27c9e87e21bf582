"""The extension's services, imported without Blender, and a small server with the API of spmr-app."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "blender"
_PACKAGE = "blender_services"
GLB = b"glTF" + (2).to_bytes(4, "little") + bytes(4) + (2).to_bytes(4, "little") + b"JSON" + b"{}" + bytes(8)
OPTIONS = {"quality": {}, "lod": {}, "formats": {"items": {"enum": ["ply", "glb", "usdc"]}}}


@pytest.fixture(scope="session")
def services() -> Callable[[str], ModuleType]:
    """Import a module of the extension's services; the package above them needs Blender."""
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, SOURCES / "services" / "__init__.py", submodule_search_locations=[str(SOURCES / "services")]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
    return lambda name: importlib.import_module(f"{_PACKAGE}.{name}")


class FakeServer:
    """Answers as spmr-app does: each head passes through ``states``, one a look.

    Attributes:
        requests: (method, path, headers, body) of all that came.
        states: what a head is at each look; the last stays.
        answers: other answers by (method, path): status, headers, body.
        dropped: looks at heads that get no answer.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.states: list[dict[str, Any]] = [{"state": "done"}]
        self.answers: dict[tuple[str, str], tuple[int, dict[str, str], bytes]] = {}
        self.options: dict[str, Any] = dict(OPTIONS)
        self.dropped = 0
        self.looks = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def head(self) -> dict[str, Any]:
        files = [{"name": "head.glb"}, {"name": "hair.usdc"}, {"name": "report.json"}]
        return {"id": "0" * 16, "state": "queued", "files": files, "photo_camera": None, "stages": [], "fraction": 0.0}

    def refuse(self, method: str, path: str, status: int, message: str) -> None:
        body = json.dumps({"error": {"kind": "x", "message": message}}).encode()
        self.answers[method, path] = (status, {}, body)

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
        if (method, path) in self.answers:
            return self.answers[method, path]
        said: Any = None
        if path == "/api/server":
            said = {"name": "spinmeround", "version": "1"}
        elif path == "/api/options":
            said = {"properties": self.options}
        elif (method, path) == ("POST", "/api/heads"):
            said = self.head()
        elif method == "DELETE":
            return 204, {}, b""
        elif path.endswith("/photos/0"):
            return 200, {"Content-Type": "image/png"}, b"a photo"
        elif path.endswith("/files/head.glb"):
            return 200, {"Content-Type": "model/gltf-binary"}, GLB
        elif path.endswith("/files/hair.usdc"):
            return 200, {}, b"strands"
        elif path == "/api/heads/" + "0" * 16:
            if self.dropped:
                self.dropped -= 1
                return None
            said = self.head() | self.states[min(self.looks, len(self.states) - 1)]
            self.looks += 1
        return (200, {}, json.dumps(said).encode()) if said is not None else (404, {}, b"{}")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append((self.command, self.path, dict(self.headers), body))
                answer = server.answer(self.command, self.path)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, said = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "Zoë & co.JPG"
    path.write_bytes(bytes(range(256)) * 5000)
    return path
