"""The server's process that looks at photos, without networks: it says how large they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from spinmeround.server.workers.lines import Lines


def main() -> int:
    lines = Lines()
    while (asked := lines.hear()) is not None:
        frame = lines.hear_bytes(asked.get("bytes", 0))
        lines.say(answer=_answer(asked, frame))
    return 0


def _answer(asked: dict[str, Any], frame: bytes) -> Any:
    match asked["do"]:
        case "faces":
            width, height = Image.open(asked["photo"]).size
            return {"width": width, "height": height, "faces": [{"face": 1, "box_px": [1, 2, 3, 4]}]}
        case "expressions":
            return {"face": bool(frame), "expressions": {"jawOpen": 0.5}, "head_rotation_deg": [1, 2, 3]}
        case "store":
            shutil.copyfile(asked["photo"], asked["target"] + ".png")
            return Path(asked["target"]).name + ".png"
        case "show":
            shutil.copyfile(asked["photo"], asked["target"])
            return Path(asked["target"]).name


if __name__ == "__main__":
    sys.exit(main())
