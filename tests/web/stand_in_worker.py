"""The server's process that makes a head, with a stand-in for the long work: it copies a head that was prepared.

``python stand_in_worker.py FOLDER``: where the prepared head is. Draft quality takes a moment, high quality some time.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

import spinmeround.pipelines.report  # noqa: F401 - it takes long, and is there before the job comes
from spinmeround.errors import NoFaceError
from spinmeround.runtime.stages import Stages
from spinmeround.server.workers.making import main

_STAGE_S = {"draft": 0.05, "standard": 0.3, "high": 8.0}
_STAGES = ("photo", "head", "splats", "avatar", "files")
_CAMERA = {
    "width_px": 512,
    "height_px": 512,
    "intrinsics_px": [[1300.0, 0.0, 256.0], [0.0, 1300.0, 256.0], [0.0, 0.0, 1.0]],
    "camera_from_world": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1.1], [0, 0, 0, 1]],
}
_QUALITY = {"verdict": "fair", "reasons": ["the face is only 148 pixels high"], "size": 0.5, "sharpness": 1.0}


def stand_in(photos: Any, *, out: Any, settings: Any, outputs: Any, watch: Any, **_: Any) -> SimpleNamespace:
    """Go through the stages, then copy the files that were asked for; a photo of one colour shows no face."""
    if np.ptp(np.asarray(Image.open(photos[0]).convert("L"))) == 0:
        raise NoFaceError(f"{Path(photos[0]).name}: no face found; use a photo that shows a face from the front")
    stage_s = _STAGE_S[settings.quality]
    stages = Stages(_STAGES, expected_s=dict.fromkeys(_STAGES, stage_s))
    with watch(stages):
        for stage in _STAGES:
            with stages(stage) as report:
                for part in range(10):
                    time.sleep(stage_s / 10)
                    report((part + 1) / 10, stage)
    for path in out:
        shutil.copyfile(PREPARED / path.name, path)
    if outputs.preview is not None:
        Image.new("RGB", (8, 8)).save(outputs.preview)
    report = {"quality": _QUALITY, "photo_camera": _CAMERA, "avatar": {"made": True}}
    return SimpleNamespace(report=report, files=tuple(out))


if __name__ == "__main__":
    PREPARED = Path(sys.argv[1])
    sys.exit(main(stand_in))
