"""The page in Chromium: servers to open it from, and node that drives the browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_MODULES = ROOT / "web" / "node_modules"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing() -> str | None:
    """Return what is missing here to open the page in a browser, and how to get it."""
    if _chromium() is None:
        return "no Chromium here: apt-get install chromium, or name it in SPMR_CHROMIUM"
    if shutil.which("node") is None:
        return "no node here"
    if not (_MODULES / "playwright-core").is_dir() or not (_MODULES / "axe-core").is_dir():
        return "web/node_modules is not there: (cd web && npm ci)"
    if find_spec("fastapi") is None:
        return 'the app is not installed: pip install -e ".[app]"'
    if not (ROOT / "spinmeround" / "server" / "static" / "index.html").is_file():
        return "the page is not built: make web"
    return None


def _chromium() -> str | None:
    return os.environ.get("SPMR_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextmanager
def server(*command: object) -> Iterator[str]:
    """Run a Python program whose first line holds its address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, env=environment
    ) as run:
        assert run.stdout is not None
        words = run.stdout.readline().split()
        yield next(word for word in words if word.startswith("http://"))
        run.terminate()


class Browser:
    """One page that acts out scenarios of ``scenarios.mjs``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def act(self, scenario: str, **given: Any) -> dict[str, Any]:
        """Return what a scenario ``found``, the ``requests`` of the page and the ``faults`` of its console.

        Raises:
            AssertionError: the scenario could not be acted out to its end.
        """
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None and answers is not None
        pipe.write(json.dumps({"scenario": scenario, **given}, default=str) + "\n")
        pipe.flush()
        answer = json.loads(answers.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer


@contextmanager
def browser(*, webcam: Path | None = None) -> Iterator[Browser]:
    """Open a browser.

    Args:
        webcam: what its camera shows, a file of JPEG pictures (``.mjpeg``).
    """
    command: Sequence[object] = ("node", HERE / "driver.mjs", _MODULES, _chromium(), *([webcam] if webcam else []))
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Browser(process)
        assert process.stdin is not None
        process.stdin.close()
