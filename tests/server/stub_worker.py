"""The server's process that makes a head, with a stand-in for the long work: its files tell what they were made from.

The seed says how long a stage takes, in milliseconds. What the stage of the head made is kept for a run that goes on.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.server import without_torch  # noqa: F401

# isort: split
import spinmeround.pipelines.outputs
import spinmeround.pipelines.report  # noqa: F401 - it is there before the job comes
from spinmeround.errors import NoFaceError
from spinmeround.runtime.stages import Stages
from spinmeround.server.workers.making import main
from tests.server.stub_results import CAMERA, QUALITY, STAGES


def stand_in(photos: Any, *, out: Any, settings: Any, outputs: Any, watch: Any) -> SimpleNamespace:
    """Go through the stages and write files; some faces stand for what can go wrong."""
    if settings.photo.face == 404:
        raise NoFaceError(f"{photos[0]}: no face found")
    if settings.photo.face == 500:
        raise RuntimeError("a stub that fails")
    if settings.photo.face == 999:
        os.abort()
    kept = out[0].with_name(f".{out[0].name}.unfinished") if out else None
    resumed = kept is not None and (kept / "head.npz").is_file()
    stages = Stages(STAGES, expected_s=dict.fromkeys(STAGES, 0.1))
    with watch(stages):
        for stage in STAGES:
            with stages(stage) as progress:
                _stay_temporarily()
                time.sleep(settings.seed / 1000)
                progress(1.0, stage)
            if stage == "head" and kept is not None:
                kept.mkdir(exist_ok=True)
                (kept / "head.npz").write_bytes(b"kept")
        content = hashlib.sha256(repr(settings).encode())
        for photo in photos:
            content.update(Path(photo).read_bytes())
        files = [*out, *(path for path in (outputs.hair, outputs.preview) if path is not None)]
        for path in files:
            path.write_bytes(path.name.encode() + content.digest() * 1000)
    if kept is not None:
        (kept / "head.npz").unlink()
        kept.rmdir()
    report = {"quality": QUALITY, "photo_camera": CAMERA, "avatar": {"made": True}, "resumed": resumed}
    return SimpleNamespace(report=report, files=tuple(files))


def _stay_temporarily() -> None:
    """Leave a temporary file, as libraries do whose process is killed."""
    os.close(tempfile.mkstemp(prefix="left-by-stub-")[0])


if __name__ == "__main__":
    sys.exit(main(stand_in))
