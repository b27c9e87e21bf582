"""The server shows what it was given, to this machine alone."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spinmeround.errors import OutputError
from spinmeround.io import write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.viewer.contents import gathered
from spinmeround.viewer.serving import viewer_server
from tests.pipelines.fakes import sphere_views


@pytest.fixture
def port(tmp_path: Path, splats_ply: Path) -> Iterator[int]:
    write_views(tmp_path / "views", sphere_views(orbit_cameras([0.0], [0.0], size_px=16)))
    with gathered([splats_ply, tmp_path / "views"]) as shown, viewer_server(shown) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, path: str, *, method: str = "GET", host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_the_page_its_script_and_what_it_shows(port: int, splats_ply: Path) -> None:
    status, headers, page = ask(port, "/")
    assert status == 200
    assert b"viewer.js" in page
    assert "'unsafe-inline'" not in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert ask(port, "/viewer.js")[1]["Content-Type"] == "text/javascript"
    index = json.loads(ask(port, "/index.json")[2])
    assert index["files"] == [{"name": "head.ply", "url": "files/0"}]
    assert ask(port, "/files/0")[2] == splats_ply.read_bytes()
    (camera,) = index["cameras"]
    status, headers, picture = ask(port, f"/{camera['picture']}")
    assert headers["Content-Type"] == "image/png"
    assert picture.startswith(b"\x89PNG")


def test_a_header_alone(port: int, splats_ply: Path) -> None:
    status, headers, body = ask(port, "/files/0", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == splats_ply.stat().st_size


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:80"])
def test_other_hosts_are_refused(port: int, host: str) -> None:
    assert ask(port, "/", host=host)[0] == 403
    assert ask(port, "/files/0", host=host)[0] == 403


def test_localhost_is_this_machine(port: int) -> None:
    assert ask(port, "/", host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    "path", ["/files/1", "/files/../files/0", "/files/%2e%2e/", "//etc/passwd", "/../viewer.html", "/app.js", "/files/"]
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


def test_other_methods_are_refused(port: int) -> None:
    assert ask(port, "/", method="POST")[0] == 501


def test_a_file_that_went_away_is_not_there(port: int, splats_ply: Path) -> None:
    moved = splats_ply.rename(splats_ply.with_name("moved.ply"))
    try:
        assert ask(port, "/files/0")[0] == 404
    finally:
        moved.rename(splats_ply)


def test_a_taken_port_is_one_line(port: int, splats_ply: Path) -> None:
    refused = pytest.raises(OutputError, match=f"port {port} cannot be used")
    with gathered([splats_ply]) as shown, refused, viewer_server(shown, port=port):
        pass
