"""What attacks a server on one's own machine gets nothing, and leaves it as it was."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from tests.server.serving import jpeg

OWN_HEADERS = {
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def raw(server, request: bytes, *, wait_s: float = 5.0) -> bytes:
    """What a server answers to bytes, until it closes the connection."""
    with socket.create_connection((server.host, server.port), timeout=wait_s) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize("path", ["/", "/api/heads", "/nowhere", "/openapi.json"])
def test_every_answer_has_the_headers(server, path):
    headers = server.client.get(path).headers
    for name, value in OWN_HEADERS.items():
        assert value in headers[name], name
    assert "'unsafe-inline'" not in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "1.2.3.4", "", "a b", "[::2]"]
)
def test_names_that_lead_here_by_a_trick_get_nothing(server, host):
    answer = server.client.get("/api/heads", headers={"Host": host})
    assert answer.status_code in (400, 403)
    for own in (f"localhost:{server.port}", "127.0.0.1", "[::1]:99"):
        assert server.client.get("/api/heads", headers={"Host": own}).status_code == 200


@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
])  # fmt: skip
def test_pages_of_other_sites_get_nothing(server, headers):
    before = server.client.get("/api/heads").json()
    for method, path in (("GET", "/api/heads"), ("POST", "/api/heads"), ("DELETE", "/api/heads/0"), ("OPTIONS", "/")):
        answer = server.client.request(method, path, headers=headers)
        assert answer.status_code == 403, (method, path)
        assert "access-control-allow-origin" not in answer.headers
    assert server.client.get("/api/heads").json() == before
    own = {"Origin": f"http://{server.host}:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.client.get("/api/heads", headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.client.get("/", headers=link).status_code == 200, "a link to the page is harmless"


@pytest.mark.parametrize("name", [
    "../head.json", "..%2Fhead.json", "%2e%2e/head.json", "%2e%2e%2fhead.json", "..%5Chead.json", "head.ply%00.glb",
    "%00", "....//head.json", "/etc/passwd", "%2Fetc%2Fpasswd", "a" * 10_000, "head.ply/", "%ff%fe", "link.ply",
])  # fmt: skip
def test_files_that_are_not_the_heads_are_not_sent(server, made, name):
    link = server.folder / made["id"] / "files" / "link.ply"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    for path in (f"/api/heads/{made['id']}/files/{name}", f"/api/heads/{name}", f"/{name}"):
        answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = int(answer.split(b" ", 2)[1])
        assert status in (307, 400, 404, 405), (path, answer[:200])
        assert b"root:" not in answer


def test_a_link_in_place_of_a_file_is_not_followed(heads, tmp_path):
    mine = heads()
    head = mine.make(seed=0)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file = mine.folder / head["id"] / "files" / "head.ply"
    file.unlink()
    file.symlink_to(secret)
    answer = mine.client.get(f"/api/heads/{head['id']}/files/head.ply")
    assert answer.status_code == 404


def test_names_from_clients_never_reach_the_disk(server):
    under_way = server.post(seed=3000).json()
    server.until(under_way["id"], lambda head: head["state"] == "running")
    for name in ("../../evil.jpg", "a\0b.jpg", "/etc/cron.d/evil", "x" * 10_000, "CON", "..", ""):
        body = (
            b"--b\r\nContent-Disposition: form-data; name=\"photos\"; filename=\"" + name.encode() + b"\"\r\n\r\n"
            + jpeg() + b"\r\n--b--\r\n"
        )  # fmt: skip
        answer = server.client.post(
            "/api/heads", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
        )
        if answer.status_code == 202:
            head = answer.json()
            assert head["photos"] == ["photo_0.jpg"]
            assert len(head["name"]) <= 80 and "\0" not in head["name"]
            assert server.client.delete(f"/api/heads/{head['id']}").status_code == 204
        else:
            assert answer.status_code in (400, 422), name
    server.client.delete(f"/api/heads/{under_way['id']}")
    assert not [path for path in server.folder.rglob("*") if "evil" in path.name or "xxx" in path.name]


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that unpacks to any size, with next to nothing in it."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (content, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("content", "status"), [
    (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
    (b"<!doctype html><script>alert(1)</script>", 415),
    (b"<?xml version='1.0'?><svg/>", 415),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
    (b"GIF87", 415),
    (b"", 415),
    (b"\xff\xd8\xff\xe0 no more", 422),
    (png_header(50_000, 50_000), 413),
    (png_header(2**31 - 1, 2**31 - 1), 413),
    (png_header(0, 0), 422),
])  # fmt: skip
def test_what_is_no_photo_is_refused_by_its_content(server, content, status):
    before = set(server.folder.iterdir())
    answer = server.client.post("/api/heads", files={"photos": ("a.jpg", content, "image/jpeg")})
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"kind", "message"}
    assert set(server.folder.iterdir()) == before


def test_a_huge_body_is_refused_early_and_takes_no_memory(server):
    before_mb, sent = server.rss_mb(), 0

    def stream():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
        for _ in range(2 * 1024):
            sent += 2**20
            yield bytes(2**20)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    try:
        answer = server.client.post("/api/heads", content=stream(), headers=headers)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it closed the connection while more was sent
    assert sent < 200 * 2**20
    assert server.rss_mb() - before_mb < 50
    announced = b"POST /api/heads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n\r\n"
    assert b" 413 " in raw(server, announced).split(b"\r\n")[0]
    small = server.client.post(f"/api/heads/{'0' * 16}/files", content=bytes(10**6))
    assert small.status_code == 413, "where no photo is expected, much less is taken"
    frame = server.client.post("/api/expressions", content=bytes(10**6), headers={"content-type": "image/jpeg"})
    assert frame.status_code == 413


def test_slow_headers_and_bodies_are_given_up(server):
    began = time.monotonic()
    assert (
        b"408"
        in raw(
            server,
            b"POST /api/heads HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 100\r\n\r\n--b",
            wait_s=10,
        ).split(b"\r\n")[0]
    )
    assert raw(server, b"GET /api/heads HTTP/1.1\r\nHost: local", wait_s=10) == b""
    assert raw(server, b"", wait_s=10) == b""
    assert time.monotonic() - began < 20
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        for _ in range(40):  # a byte now and then
            try:
                connection.sendall(b"G")
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("it waits for ever")


def test_requests_that_are_none_are_answered_or_dropped(server):
    for request in (
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    ):
        assert b" 200 " not in raw(server, request + b"\r\n\r\n").split(b"\r\n")[0]
    assert server.client.get("/api/server").status_code == 200


def test_all_but_this_machine_needs_the_token(heads):
    mine = heads(host="0.0.0.0", token="secret-token")
    assert mine.url.endswith("?token=secret-token")
    client = httpx.Client(base_url=f"http://127.0.0.1:{mine.port}")
    for path in ("/", "/api/heads", "/openapi.json", "/?token=wrong", "/api/heads?token=secret-token"):
        assert client.get(path).status_code == 403, path
    for headers in (
        {"Authorization": "Bearer wrong"},
        {"Cookie": "spinmeround_token=wrong"},
        {"Authorization": "Basic x"},
    ):
        assert client.get("/api/heads", headers=headers).status_code == 403
    assert client.get("/api/heads", headers={"Authorization": "Bearer secret-token"}).status_code == 200
    entered = client.get("/?token=secret-token")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert {"httponly", "samesite=lax"} <= {each.strip().lower() for each in entered.headers["set-cookie"].split(";")}
    assert client.get("/api/heads").status_code == 200, "the cookie lets in"
    assert client.get("/api/heads", headers={"Host": "evil.example"}).status_code == 403


def test_fifty_at_once_are_answered_in_a_moment(server):
    """While a job is under way; the bound is wide, since other tests may load the machine."""
    head = server.post(seed=200).json()
    address = f"http://{server.host}:{server.port}/api/heads"
    ready = threading.Barrier(50)

    def ask(_: int) -> float:
        with httpx.Client() as client:
            client.get(address)
            ready.wait()
            began = time.perf_counter()
            assert client.get(address).status_code == 200
            return time.perf_counter() - began

    with ThreadPoolExecutor(50) as clients:
        seconds = sorted(clients.map(ask, range(50)))
    assert seconds[-1] < 2.0
    server.client.delete(f"/api/heads/{head['id']}")


def test_the_photo_that_is_stored_and_shown_has_no_place(server):
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 12.0)})
    head = server.make(jpeg(exif=exif))
    for path in (server.folder / head["id"]).rglob("*"):
        assert not path.is_file() or b"SECRETCAMERA" not in path.read_bytes(), path
    shown = Image.open(io.BytesIO(server.client.get(f"/api/heads/{head['id']}/photos/0").content))
    assert not shown.getexif()
    assert "SECRET" not in json.dumps(server.head(head["id"]))
