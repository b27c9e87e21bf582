"""One server for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.serving import AppServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    started = AppServer(tmp_path_factory.mktemp("app") / "heads")
    yield started
    assert started.process.poll() is None, "the server is alive after all that was done to it"
    started.stop()


@pytest.fixture
def heads(tmp_path: Path) -> Iterator:
    """Starts servers of a test's own."""
    started: list[AppServer] = []

    def start(folder: Path | None = None, **given: object) -> AppServer:
        started.append(AppServer(folder or tmp_path / "heads", **given))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.stop()


@pytest.fixture(scope="session")
def made(server: AppServer) -> dict:
    """A finished head, which tests leave as it is."""
    return server.make(name="", seed=1)
