"""``spmr-app``: one line for what is wrong, the address for people, and a quiet end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from spinmeround.cli.app import main
from tests.server.serving import ROOT


def test_a_taken_port_is_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--folder", str(tmp_path)]) == 3
    assert re.fullmatch(
        rf"spmr-app: cannot listen on 127\.0\.0\.1 port {port}: .*in use.*name another port.*\n",
        capsys.readouterr().err,
    )


def test_a_folder_that_is_none_is_one_line(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert main(["--port", "0", "--folder", str(file)]) == 3
    assert capsys.readouterr().err.startswith(f"spmr-app: {file} cannot be made")


@pytest.mark.parametrize("port", ["-1", "65536", "x", ""])
def test_a_port_that_is_none_is_one_line(port, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([f"--port={port}"])
    assert "expected a number from 0 to 65535" in capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("spinmeround.server.settings.find_spec", lambda name: None if name == "fastapi" else True)
    assert main(["--folder", str(tmp_path)]) == 5
    assert capsys.readouterr().err == 'spmr-app: the app needs fastapi: pip install "spinmeround[app]"\n'


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", r"127\.0\.0\.1"), ("0.0.0.0", ".*")])
def test_it_prints_its_address_and_ends_quietly(host, address, tmp_path):
    """What it prints is where it answers; beyond this machine that has a token, another each time."""
    code = "import sys; from spinmeround.cli.app import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--port", "0", "--folder", str(tmp_path), "--host", host]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        line = process.stdout.readline()
        found = re.fullmatch(
            rf"spinmeround is at (http://{address}:(\d+)/(\?token=[\w-]{{32}})?) \(Ctrl-C stops it\)\n", line
        )
        assert found, line
        assert (found[3] is None) == (host == "127.0.0.1")
        answer = httpx.get(f"http://127.0.0.1:{found[2]}/{found[3] or ''}")
        assert answer.status_code == (303 if found[3] else 200)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
