"""A server of its own process for the tests, whose heads are made by a stand-in, with small limits."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_LONGEST_S = 300
LIMITS = {
    "upload_bytes": 2 * 2**20,
    "photos": 3,
    "pixels": 4_000_000,
    "queue": 3,
    "frame_bytes": 2**18,
    "header_s": 1.5,
    "silence_s": 1.5,
}
_SERVE = """
import json, sys
from pathlib import Path
from spinmeround.server.serve import serve
from spinmeround.server.settings import Limits, ServerSettings
given = json.loads(sys.argv[1])
limits = Limits(**given.pop("limits"))
serve(
    ServerSettings(folder=Path(given.pop("folder")), port=0, limits=limits, **given),
    ready=lambda url: print(url, flush=True),
)
"""


def jpeg(width: int = 96, height: int = 64, *, seed: int = 0, **how: Any) -> bytes:
    """A small photo of nothing."""
    values = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).resize((width, height)).save(stream, "JPEG", **how)
    return stream.getvalue()


class AppServer:
    """A running server, and one who talks to it."""

    def __init__(self, folder: Path, *, stub: bool = True, limits: dict[str, Any] | None = None, **given: Any) -> None:
        self.folder = folder
        if stub:
            given |= {
                "worker": [sys.executable, str(HERE / "stub_worker.py")],
                "reader": [sys.executable, str(HERE / "stub_reader.py")],
            }
        self._given = {"folder": str(folder), "limits": LIMITS | (limits or {}), **given}
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, json.dumps(self._given)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the server did not start"
        address = httpx.URL(self.url)
        self.host, self.port = address.host, int(address.port or 0)
        self.client = httpx.Client(base_url=f"http://{self.host}:{self.port}", timeout=60)

    def kill(self) -> None:
        """End it as nothing can prepare for."""
        self.process.send_signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        self.process.terminate()
        self._ended()

    def _ended(self) -> None:
        self.process.wait(30)
        self.client.close()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def rss_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def post(self, *photos: bytes, name: str = "", **options: Any) -> httpx.Response:
        files = [("photos", (f"p{index}.jpg", photo)) for index, photo in enumerate(photos or (jpeg(),))]
        return self.client.post("/api/heads", files=files, data={"options": json.dumps(options), "name": name})

    def make(self, *photos: bytes, **options: Any) -> dict[str, Any]:
        """Make a head, and wait until it is settled."""
        posted = self.post(*photos, **options)
        assert posted.status_code == 202, posted.text
        return self.settled(posted.json()["id"])

    def head(self, head_id: str) -> dict[str, Any]:
        return self.client.get(f"/api/heads/{head_id}").json()

    def settled(self, head_id: str) -> dict[str, Any]:
        return self.until(head_id, lambda head: head["state"] in ("done", "failed") and not head["making"])

    def until(self, head_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Listen to a head until something is so of it."""
        with self.events(f"/api/heads/{head_id}/events") as events:
            for _, head in events:
                if condition(head):
                    return head
        raise AssertionError(f"it ended as {self.head(head_id)}")

    @contextmanager
    def events(self, path: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        with self.client.stream("GET", path) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _events(answer)

    def file(self, head_id: str, name: str) -> bytes:
        answer = self.client.get(f"/api/heads/{head_id}/files/{name}")
        assert answer.status_code == 200, answer.text
        return answer.content


def _events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind, began = "", time.monotonic()
    for line in answer.iter_lines():
        assert time.monotonic() - began < _LONGEST_S, "what was waited for did not happen"
        if line.startswith("event:"):
            kind = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            yield kind, json.loads(line.removeprefix("data:"))


def running_stage(head: dict[str, Any]) -> str | None:
    return next((each["stage"] for each in head["stages"] if each["state"] == "running"), None)


def has_begun(head: dict[str, Any], stage: str) -> bool:
    return any(each["stage"] == stage and each["state"] != "waiting" for each in head["stages"])
