"""A server that the extension starts and ends."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for spmr-app is a script with a shebang")

# A server with a child that would go on without it, as a worker does.
_SERVER = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"name": "spinmeround", "version": "2"}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
assert sys.argv[1:] == ["--host", "127.0.0.1", "--port", "0"]
server = HTTPServer(("127.0.0.1", 0), Handler)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[0] + ".child", "w").write(str(child.pid))
print("a line before")
print(f"spinmeround is at http://127.0.0.1:{server.server_port}/ (Ctrl-C stops it)", flush=True)
server.serve_forever()
"""


@pytest.fixture
def program(services):
    started = services("program").Program()
    yield started
    started.stop()


@pytest.fixture
def script(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "spmr-app"
        path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return write


def test_it_answers_once_started_and_all_of_it_ends(program, script):
    path = script(_SERVER)
    assert program.start(path).server()["version"] == "2" and program.running
    assert program.start(path).address == program.start(path).address
    child = psutil.Process(int(Path(path + ".child").read_text()))
    assert child.is_running()
    program.stop()
    assert not program.running
    until = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_it_is_found_where_the_system_looks(program, script, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(script(_SERVER)).parent), prepend=":")
    assert program.start("").server()["version"] == "2"


def test_pythons_settings_of_blender_stay_here(program, script, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/blender")
    path = script("import os; print('saw', os.environ.get('PYTHONPATH'))")
    with pytest.raises(Exception, match="saw None"):
        program.start(path)


def test_one_that_ends_says_why(program, script):
    with pytest.raises(Exception, match=r"^spmr-app ended at once: install its extra app$"):
        program.start(script("print('a line'); print('install its extra app'); raise SystemExit(1)"))


def test_one_that_stays_silent_is_given_up(services, program, script, monkeypatch):
    monkeypatch.setattr(services("program"), "SECONDS_TO_START", 0.5)
    with pytest.raises(Exception, match="spmr-app does not answer"):
        program.start(script("import time; time.sleep(60)"))
    assert not program.running


def test_starting_can_be_stopped(program, script):
    with pytest.raises(Exception, match=r"^spmr-app was stopped$"):
        program.start(script("import time; time.sleep(60)"), cancelled=lambda: True)
    assert not program.running


@pytest.mark.parametrize("path", ["", "/nowhere/spmr-app"])
def test_a_missing_program_is_named(program, path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Exception, match=r"give its path|give the path of spmr-app"):
        program.start(path)
