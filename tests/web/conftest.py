"""The page in Chromium: the server with a stand-in for the long work, and a browser that node drives."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import skimage.data
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULES = ROOT / "web" / "node_modules"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; skips where something is missing."""
    found = os.environ.get("SPMR_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium, or name it in SPMR_CHROMIUM")
    if shutil.which("node") is None:
        pytest.skip("no node here")
    if not (MODULES / "playwright-core").is_dir() or not (MODULES / "axe-core").is_dir():
        pytest.skip("web/node_modules is not there: (cd web && npm ci)")
    if importlib.util.find_spec("fastapi") is None:
        pytest.skip('the app is not installed: pip install -e ".[app]"')
    if not (ROOT / "spinmeround" / "server" / "static" / "index.html").is_file():
        pytest.skip("the page is not built: make web")
    return found


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture(scope="session")
def app(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose heads are copies of one that was prepared."""
    from tests.web.prepared_head import write_prepared_head

    prepared = tmp_path_factory.mktemp("prepared")
    write_prepared_head(prepared)
    command = (sys.executable, HERE / "stand_in_server.py", tmp_path_factory.mktemp("heads"), prepared)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture(scope="session")
def act(app: str, chromium: str, astronaut: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Act out a scenario; what it found comes back, and nothing may have gone wrong or left the machine."""
    video = astronaut.with_name("webcam.mjpeg")
    with video.open("wb") as file:
        Image.fromarray(skimage.data.astronaut()).save(file, "JPEG", quality=95)
    command = ("node", HERE / "driver.mjs", MODULES, chromium, video)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin is not None and driver.stdout is not None
        pipes = driver.stdin, driver.stdout

        def play(scenario: str, **given: Any) -> dict[str, Any]:
            pipes[0].write(json.dumps({"scenario": scenario, "url": app, **given}, default=str) + "\n")
            pipes[0].flush()
            answer = json.loads(pipes[1].readline())
            assert "error" not in answer, answer["error"]
            assert answer["faults"] == []
            asked = {urlsplit(url).hostname for url in answer["requests"] if not url.startswith(("blob:", "data:"))}
            assert asked <= {"127.0.0.1"}
            return answer["found"]

        yield play
        driver.stdin.close()


@pytest.fixture(scope="session")
def made(act: Callable[..., dict[str, Any]], astronaut: Path) -> dict[str, Any]:
    """What was found as a photo was dropped and its head came; ``head`` is its id."""
    return act("makeHead", photo=astronaut)
