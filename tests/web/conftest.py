"""The page from a server with a stand-in for the long work, in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import skimage.data
from PIL import Image

from tests.web.browser import HERE, browser, missing, server


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose heads are copies of one that was prepared; skips where something is missing."""
    if reason := missing():
        pytest.skip(reason)
    from tests.web.prepared_head import write_prepared_head

    prepared = tmp_path_factory.mktemp("prepared")
    write_prepared_head(prepared)
    with server(HERE / "stand_in_server.py", tmp_path_factory.mktemp("heads"), prepared) as url:
        yield url


@pytest.fixture(scope="session")
def act(app: str, astronaut: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Act out a scenario; what it found comes back, and nothing may have gone wrong or left the machine."""
    webcam = astronaut.with_name("webcam.mjpeg")
    with webcam.open("wb") as file:
        Image.fromarray(skimage.data.astronaut()).save(file, "JPEG", quality=95)
    with browser(webcam=webcam) as page:

        def play(scenario: str, **given: Any) -> dict[str, Any]:
            answer = page.act(scenario, url=app, **given)
            assert answer["faults"] == []
            asked = {urlsplit(url).hostname for url in answer["requests"] if not url.startswith(("blob:", "data:"))}
            assert asked <= {"127.0.0.1"}
            return answer["found"]

        yield play


@pytest.fixture(scope="session")
def made(act: Callable[..., dict[str, Any]], astronaut: Path) -> dict[str, Any]:
    """What was found as a photo was dropped and its head came; ``head`` is its id."""
    return act("makeHead", photo=astronaut)
