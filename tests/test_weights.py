"""The registry, and fetching that verifies, resumes, falls through its sources and leaves nothing half done."""

from __future__ import annotations

import hashlib
import http.server
import logging
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spinmeround import weights
from spinmeround.errors import WeightsError

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at /good, other bytes at /other, half of it at /short; knows Range only at /good."""

    ranges: list[str]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted or "")
        if self.path == "/missing":
            self.send_error(404)
            return
        body = {"/other": CONTENT[::-1], "/long": CONTENT * 2}.get(self.path, CONTENT)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path == "/good" else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2] if self.path == "/short" else body[start:])

    def log_message(self, *arguments: object) -> None:
        logging.getLogger(__name__).debug("%s", arguments)


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.ranges = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPMR_WEIGHTS", str(tmp_path / "w"))
    return tmp_path / "w"


def _register(monkeypatch: pytest.MonkeyPatch, *sources: weights.Source, manual: str | None = None) -> None:
    one = weights.Entry(
        "net.tflite", "free", "a test", None if manual else len(CONTENT), None if manual else SHA256, sources, manual
    )
    monkeypatch.setattr(weights, "entries", lambda: (one,))


def _url(server: _Server, path: str) -> weights.UrlSource:
    return weights.UrlSource(f"http://127.0.0.1:{server.server_address[1]}{path}")


def _only(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_registry_says_what_everything_is():
    names = [entry.name for entry in weights.entries()]
    assert {"face_landmarker.task", "selfie_segmentation.tflite"} <= set(names)
    assert len(set(names)) == len(names)
    for entry in weights.entries():
        assert entry.licence
        assert entry.needed_by
        if entry.manual is None:
            assert len(entry.sha256 or "") == 64
            assert (entry.size or 0) > 0
            needs_wheel = entry.needed_by_all and not entry.optional
            assert len(entry.sources) >= (2 if needs_wheel else 1), "an official address and at least one wheel"
            urls = [s for s in entry.sources if isinstance(s, weights.UrlSource)]
            assert all(s.url.startswith("https://") for s in urls)
            assert isinstance(entry.sources[0], weights.UrlSource)


def test_fetches_verifies_and_reports(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/good"))
    seen: list[tuple[str, int, int]] = []
    path = weights.path("net.tflite", progress=lambda *report: seen.append(report))
    assert path == folder / "net.tflite"
    assert path.read_bytes() == CONTENT
    assert _only(folder) == ["net.tflite"]
    assert seen[-1] == ("net.tflite", len(CONTENT), len(CONTENT))
    assert weights.path("net.tflite", fetch=False) == path
    assert len(server.ranges) == 1, "a file that is there is not fetched again"
    assert [state for _, state, _ in weights.verify()] == ["ok"]


def test_resumes_what_was_cut_off(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/good"))
    folder.mkdir()
    (folder / "net.tflite.part").write_bytes(CONTENT[:1000])
    weights.fetch()
    assert server.ranges == ["bytes=1000-"]
    assert (folder / "net.tflite").read_bytes() == CONTENT
    assert _only(folder) == ["net.tflite"]


def test_starts_again_where_ranges_are_not_known(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/norange"))
    folder.mkdir()
    (folder / "net.tflite.part").write_bytes(b"x" * 1000)
    weights.fetch()
    assert (folder / "net.tflite").read_bytes() == CONTENT


@pytest.mark.parametrize("bad", ["/missing", "/other", "/long", "/short"])
def test_falls_through_to_the_next_source(server, folder, monkeypatch, bad):
    _register(monkeypatch, _url(server, bad), _url(server, "/good"))
    assert weights.path("net.tflite").read_bytes() == CONTENT
    assert _only(folder) == ["net.tflite"]


def test_wrong_bytes_are_never_put_in_place(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/other"))
    with pytest.raises(WeightsError, match=r"(?s)could not get net.tflite.*has the wrong content.*spmr-weights fetch"):
        weights.path("net.tflite")
    assert _only(folder) == []


def test_broken_connection_leaves_only_the_part(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/short"))
    with pytest.raises(WeightsError, match=r"of 1048576 bytes|IncompleteRead"):
        weights.path("net.tflite")
    assert _only(folder) == ["net.tflite.part"]
    assert (folder / "net.tflite.part").read_bytes() == CONTENT[: len(CONTENT) // 2]


def test_interrupt_leaves_only_the_part(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/good"))

    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.path("net.tflite", progress=interrupt)
    assert _only(folder) == ["net.tflite.part"]


def test_unreachable_host_is_one_clear_line(folder, monkeypatch):
    _register(monkeypatch, weights.UrlSource("http://127.0.0.1:9/net.tflite"))
    with pytest.raises(WeightsError) as error:
        weights.path("net.tflite")
    assert "\n" not in str(error.value)
    assert SHA256 in str(error.value)
    assert str(folder / "net.tflite") in str(error.value)


def _wheel(folder: Path, member: str, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    info = "spmr_test_models-1.0.dist-info"
    with zipfile.ZipFile(folder / "spmr_test_models-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: spmr-test-models\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_takes_the_member_of_a_wheel(server, folder, monkeypatch, tmp_path):
    _wheel(tmp_path / "wheels", "models/net.tflite", CONTENT)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = weights.WheelSource("spmr-test-models==1.0", "models/net.tflite")
    _register(monkeypatch, _url(server, "/missing"), wheel)
    assert weights.path("net.tflite").read_bytes() == CONTENT
    assert _only(folder) == ["net.tflite"]


def test_wheel_that_is_absent_or_lacks_the_member(folder, monkeypatch, tmp_path):
    _wheel(tmp_path / "wheels", "models/net.tflite", CONTENT)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    _register(
        monkeypatch,
        weights.WheelSource("spmr-test-models==2.0", "models/net.tflite"),
        weights.WheelSource("spmr-test-models==1.0", "models/other.tflite"),
    )
    with pytest.raises(WeightsError, match=r"No matching distribution.*no models/other.tflite in it"):
        weights.path("net.tflite")
    assert _only(folder) == []


def test_two_at_once_fetch_once(server, folder, monkeypatch):
    _register(monkeypatch, _url(server, "/good"))
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(weights.path("net.tflite"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(server.ranges) == 1
    assert _only(folder) == ["net.tflite"]


def test_lock_excludes_others_and_leaves_no_file(tmp_path):
    """Each holder removes the file that others wait on; none of them may enter with it."""
    lock, holders, most = tmp_path / "x.lock", [0], [0]

    def hold() -> None:
        for _ in range(5):
            with weights._locked(lock):
                holders[0] += 1
                most[0] = max(most[0], holders[0])
                time.sleep(0.01)
                holders[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(CONTENT[:-1], "was cut short: 1048575 bytes, expected 1048576"), (CONTENT[::-1], "has the wrong content")],
)
def test_damaged_file_is_refused_and_replaced_only_on_request(server, folder, monkeypatch, content, complaint):
    _register(monkeypatch, _url(server, "/good"))
    folder.mkdir()
    (folder / "net.tflite").write_bytes(content)
    with pytest.raises(WeightsError, match=complaint) as error:
        weights.path("net.tflite")
    assert "spmr-weights fetch" in str(error.value)
    assert (folder / "net.tflite").read_bytes() == content
    assert [state for _, state, _ in weights.verify()] == ["wrong"]
    weights.fetch()
    assert (folder / "net.tflite").read_bytes() == CONTENT


def test_files_put_in_place_by_hand(folder, monkeypatch):
    _register(monkeypatch, manual="the makers' page")
    with pytest.raises(WeightsError, match=r"not fetched for you: get the makers' page \[licence: free\]"):
        weights.path("net.tflite")
    assert weights.fetch() == []
    with pytest.raises(WeightsError, match="not fetched for you"):
        weights.fetch(["net.tflite"])
    folder.mkdir()
    (folder / "net.tflite").write_bytes(b"anything")
    assert weights.path("net.tflite") == folder / "net.tflite"
    assert [state for _, state, _ in weights.verify()] == ["unchecked"]


def test_unknown_name_lists_the_known():
    with pytest.raises(WeightsError, match=r"'nonsense'.*face_landmarker.task"):
        weights.path("nonsense")


def test_absent_without_fetching_says_what_to_run(folder, monkeypatch):
    _register(monkeypatch, weights.UrlSource("https://example.invalid/net"))
    with pytest.raises(WeightsError, match=r"is absent \(a test\); run: spmr-weights fetch"):
        weights.path("net.tflite", fetch=False)
    assert [state for _, state, _ in weights.verify()] == ["absent"]


def test_folder_order(monkeypatch, tmp_path):
    monkeypatch.setenv("SPMR_WEIGHTS", str(tmp_path))
    assert weights.folder() == tmp_path
    monkeypatch.delenv("SPMR_WEIGHTS")
    root = Path(weights.__file__).parents[1]
    if (root / "weights" / "README.md").is_file():
        assert weights.folder() == root / "weights"
    monkeypatch.setattr(weights, "__file__", str(tmp_path / "site-packages" / "spinmeround" / "weights.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    assert weights.folder().parts[-2:] == ("spinmeround", "weights")


def test_what_not_everybody_may_use_comes_only_by_name_and_its_licence_first(server, folder, monkeypatch, caplog):
    source = weights.UrlSource(f"http://127.0.0.1:{server.server_port}/good")
    entry = weights.Entry("net.tflite", "not for sale", "a test", len(CONTENT), SHA256, (source,), by_name=True)
    monkeypatch.setattr(weights, "entries", lambda: (entry,))
    assert weights.fetch() == []
    with pytest.raises(WeightsError, match=r"Its licence is not for sale; .* spmr-weights fetch net\.tflite"):
        weights.path("net.tflite")
    assert server.ranges == [], "the server got no request"
    (fetched,) = weights.fetch(["net.tflite"])
    assert fetched.read_bytes() == CONTENT
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["net.tflite, which is fetched now, has this licence: not for sale"]


def test_what_can_be_done_without_is_asked_for_once(server, folder, monkeypatch):
    closed, open_ = (weights.UrlSource(f"http://127.0.0.1:{port}/good") for port in (1, server.server_port))
    entry = weights.Entry("net.tflite", "free", "a test", len(CONTENT), SHA256, (closed,), optional=True)
    monkeypatch.setattr(weights, "entries", lambda: (entry,))
    with pytest.raises(WeightsError, match=r"could not get net\.tflite"):
        weights.path("net.tflite")
    assert weights.fetch() == [], "it stops nobody"
    monkeypatch.setattr(weights, "entries", lambda: (replace(entry, sources=(open_,)),))
    with pytest.raises(WeightsError, match="is absent"):
        weights.path("net.tflite")
    assert server.ranges == [], "a later run begins no connection"
    (fetched,) = weights.fetch()
    assert weights.path("net.tflite") == fetched
    assert fetched.read_bytes() == CONTENT
    assert not list(folder.glob("*.unreachable"))
