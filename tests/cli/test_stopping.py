"""How commands end when they are stopped from outside: quickly, quietly, and with nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spinmeround.cli import console


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to a process")
@pytest.mark.parametrize(
    ("part", "name"), [("photo", "SIGINT"), ("head", "SIGINT"), ("splats", "SIGINT"), ("head", "SIGTERM")]
)
def test_a_signal_ends_a_real_process(part, name, tmp_path):
    """Ctrl-C itself, and what a scheduler sends, in another process, while a part is at work."""
    out, photo = tmp_path / "out", tmp_path / "photo.jpg"
    out.mkdir()
    photo.write_text("never read: the parts are stand-ins")
    code = (
        "import sys, time\n"
        "from spinmeround.pipelines import run\n"
        "from tests.pipelines.fakes import FakeBackends\n"
        "def before(part):\n"
        f"    if part == {part!r}:\n"
        "        sys.stdout.write('here\\n'); sys.stdout.flush(); time.sleep(30)\n"
        "run.build_backends = lambda settings: FakeBackends(settings, before=before)\n"
        "from spinmeround.cli.recon import main\n"
        f"sys.exit(main([{str(photo)!r}, '--out', {str(out / 'head.ply')!r}, '--quality', 'draft']))"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=20)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert error.splitlines()[-1] == "spmr-recon: stopped; no half-written file was left behind"
    assert "Traceback" not in error
    assert not list(out.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes streams so")
def test_closed_streams_are_no_defect():
    code = "import sys; from spinmeround.cli.weights import main; sys.exit(main(['list']))"
    done = subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{code}" >&-'], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_was_under_way_goes_quietly(capsys):
    """Unsaid, it would be a warning, and so an error here."""

    class Compiler:
        def __del__(self):
            raise AttributeError("no _ptr")

    def action(_):
        compiler = Compiler()
        compiler.itself = compiler
        raise KeyboardInterrupt

    hook = sys.unraisablehook
    assert console.run("spmr-fit", action) == 130
    assert sys.unraisablehook is hook
    assert capsys.readouterr().err == "spmr-fit: stopped; no half-written file was left behind\n"
