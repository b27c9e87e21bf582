"""The viewer in a headless Chromium: open its pages, run code in them, take pictures of the canvas."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.types import Cameras
from spinmeround.viewer.contents import gathered
from spinmeround.viewer.serving import address_of, viewer_server

ROOT = Path(__file__).resolve().parent.parent
_MODULES = ROOT / "web" / "node_modules"
_SNAPSHOT = """(async () => {
  const bytes = new Uint8Array(await (await viewer.snapshot()).arrayBuffer());
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
})()"""


class Browser:
    """One Chromium with one page.

    Attributes:
        requests: addresses that the page has asked for.
        faults: errors that nothing caught.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.requests: list[str] = []
        self.faults: list[str] = []

    def open(self, url: str, *, width_px: int = 720, height_px: int = 720) -> dict[str, Any]:
        """Open a page of the viewer; return ``state`` (shown or failed), ``status`` and ``seconds`` until then."""
        return self._ask({"url": url, "width": width_px, "height": height_px})

    def run(self, code: str) -> Any:
        """Return what code has given in the page, where ``viewer`` is its ``HeadViewer``."""
        return self._ask({"code": code})

    def picture(self) -> UInt8[np.ndarray, "h w 4"]:
        """Return the canvas as straight RGBA."""
        data = np.frombuffer(base64.b64decode(self.run(_SNAPSHOT)), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]]

    def look(self, camera: Cameras) -> None:
        """Stand at the first of some cameras, in head units; the canvas has the size of its picture."""
        pose = camera.camera_from_world[0].copy()
        pose[:3, 3] *= METRES_PER_UNIT
        photo_camera = {
            "width_px": camera.width_px,
            "height_px": camera.height_px,
            "intrinsics_px": camera.intrinsics_px[0].tolist(),
            "camera_from_world": pose.tolist(),
        }
        self.run(f"viewer.setPhoto(null, {json.dumps(photo_camera)}), viewer.lookFromPhoto()")

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("chromium ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        self.requests, self.faults = answer["requests"], answer["faults"]
        return answer["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium.

    Raises:
        FileNotFoundError: node, Chromium or ``web/node_modules`` is missing.
    """
    node = shutil.which("node")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if node is None or chromium is None:
        raise FileNotFoundError("node and chromium are needed")
    if not (_MODULES / "playwright-core").is_dir():
        raise FileNotFoundError("web/node_modules is missing: make web installs it")
    command = [node, str(Path(__file__).with_name("drive_viewer.mjs")), str(_MODULES), chromium]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    try:
        yield Browser(process)
    finally:
        process.communicate(timeout=60)


@contextmanager
def served(paths: Sequence[Path]) -> Iterator[str]:
    """Serve files as ``spmr-view`` does; give the address."""
    with gathered(paths) as shown, viewer_server(shown) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield address_of(server)
        finally:
            server.shutdown()
            thread.join()
