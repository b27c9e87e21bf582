"""``spmr-view`` as a user meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from spinmeround.cli import view


def run(*arguments: object) -> int:
    """Return the exit status, whether the command returns it or leaves with it."""
    try:
        return view.main([str(argument) for argument in arguments])
    except SystemExit as left:
        return int(left.code or 0)


def test_one_page(tmp_path: Path, splats_ply: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(splats_ply, "--out", tmp_path / "head.html") == 0
    assert capsys.readouterr().err == f"wrote {tmp_path / 'head.html'}\n"
    assert (tmp_path / "head.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("absent.ply",), 2, "absent.ply is not there"),
        (("a.ply", "--out", "head.png"), 2, "--out writes a page, such as head.html"),
        (("a.ply", "--port", "0"), 2, "expected a port from 1 to 65535"),
        ((), 2, "FILE"),
    ],
)
def test_mistakes_are_one_line(arguments, status, said, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_it_serves_until_ctrl_c(splats_ply: Path) -> None:
    code = "import sys; from spinmeround.cli.view import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(splats_ply), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            address = served.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
            with urllib.request.urlopen(f"{address}index.json", timeout=20) as answer:
                assert answer.status == 200
            served.send_signal(signal.SIGINT)
            _, error = served.communicate(timeout=20)
        finally:
            served.kill()
    assert (served.returncode, error) == (0, "")
