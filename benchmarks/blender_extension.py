"""The Blender extension in Blender: installed from its zip, it makes heads of photos by a server that it starts itself.

Blender is found as in ``interop_blender.py``; the server is this project's:

    python benchmarks/blender_extension.py --blender-python blender-env/bin/python [--photo face.jpg] [--keep out/]

The default photo is the astronaut of scikit-image. The overlap of photo and head counts above the chin, since a photo
has shoulders. ``make bench`` runs it where the environment variable BLENDER_PYTHON names a Python with bpy.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from inside_blender import read_findings, run_blender
from tables import Figure, print_figures_and_exit

ROOT = Path(__file__).resolve().parent.parent
_INSIDE = str(Path(__file__).parent / "blender_extension_inside.py")
_BONES = {"neck", "head", "jaw", "leftEye", "rightEye"}
_CHIN = 152
"""Index of the landmark on the chin in MediaPipe's face mesh."""


def _person_above_chin(photo: Path) -> Any:
    """Return the photo's mask of head, hair and headwear in pixels of the photo, and the row of the chin."""
    import cv2
    import numpy as np
    from heads import portrait_of

    portrait = portrait_of(photo)
    source_from_crop = np.linalg.inv(portrait.crop_from_source)
    height, width = cv2.imread(str(photo)).shape[:2]
    person = portrait.alpha * (1 - portrait.clothes)
    mask = cv2.warpPerspective(person.astype(np.float32), source_from_crop, (width, height)) > 0.5
    chin = source_from_crop @ [*portrait.landmarks_px[_CHIN], 1]
    return mask, int(chin[1] / chin[2])


def _overlap(photo: Path, picture: Path) -> float:
    import cv2
    from measures import mask_iou

    person, chin = _person_above_chin(photo)
    alpha = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)[..., 3]
    head = cv2.resize(alpha, person.shape[::-1], interpolation=cv2.INTER_LINEAR) > 127
    return mask_iou(person[:chin], head[:chin])


def _validated(blender_python: str, archive: Path) -> bool:
    """Check the zip with Blender's own validator."""
    said = run_blender(blender_python, "-c", "import bpy; print('AT', bpy.utils.system_resource('SCRIPTS'))")
    scripts = next(line.removeprefix("AT ") for line in said.splitlines() if line.startswith("AT "))
    validator = Path(scripts) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    return "Success" in run_blender(blender_python, str(validator), "validate", str(archive))


def compare(blender_python: str, photo: Path | None = None, keep: Path | None = None) -> list[Figure]:
    """Use the extension in Blender with this project's server.

    Args:
        blender_python: a Python that can import bpy.
        photo: of a face; the astronaut of scikit-image by default.
        keep: where to leave the .blend, the pictures and the FBX files.
    """
    from tools.build_blender import build

    if photo is not None and not photo.is_file():
        sys.exit(f"there is no photo {photo}")
    with tempfile.TemporaryDirectory() as name:
        folder = keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        photo = photo or _astronaut(folder)
        archive = build(Path(name))
        valid = _validated(blender_python, archive)
        given = {"zip": str(archive), "program": str(_program(Path(name))), "photo": str(photo.resolve())}
        (folder / "given.json").write_text(json.dumps(given))
        home = {"BLENDER_USER_RESOURCES": str(Path(name) / "user"), "XDG_DATA_HOME": str(Path(name) / "data")}
        output = run_blender(blender_python, _INSIDE, str(folder.resolve()), environment=home, minutes=30)
        seen = read_findings(output)
        overlap = _overlap(photo, folder / "overlay.png")
    figures = [Figure("Blender's validator refuses the zip", float(not valid), 0)]
    figures.append(Figure("photo and render through its camera: IoU above the chin", overlap, 0.93, at_most=False))
    return [*figures, *_head_figures(seen), *_again_figures(seen["again"]), *_other_figures(seen)]


def _head_figures(seen: dict[str, Any]) -> list[Figure]:
    from spinmeround.io.recordings.expressions import ARKIT_NAMES

    head = seen["head"]
    panels = seen["panels"]
    return [
        Figure("panels: names that Blender does not know", len(panels["wrong"]), 0, note=", ".join(panels["wrong"])),
        Figure("panels: what they show", panels["drawn"], 80, at_most=False),
        Figure("errors", float(bool(seen["error"])), 0, note=seen["error"]),
        Figure("eyes apart, off 65 mm by", abs(1000 * head["eyes_apart_m"] - 65), 8, unit=" mm"),
        Figure("bones missing", len(_BONES - {*head["bones"]}), 0),
        Figure("shape keys missing or too many", len({*ARKIT_NAMES} ^ {*head["keys"]}), 0),
        Figure("keys of eyes, teeth and tongue that follow the skin's", head["driven"], 15, at_most=False),
        Figure("clips that overrule the keys", head["actions"], 0),
        Figure("skin without subsurface", float(head["skin_subsurface"] <= 0), 0),
        Figure("eyes without a clear coat", float(head["eyes_coat"] <= 0), 0),
        Figure("hair without opacity", float(not head["hair_alpha"]), 0),
        Figure("parts without their picture", len(head["unlit_parts"]), 0),
        Figure("photo not packed behind its camera", float(not head["photo_packed"]), 0),
        Figure("a window stands still while a head is made", seen["looks_s"][0], 0.1, unit=" s"),
        Figure("the same, while it is placed", seen["looks_s"][1], 5, unit=" s"),
    ]


def _again_figures(again: dict[str, Any]) -> list[Figure]:
    return [
        Figure("again: errors", float(bool(again["error"])), 0, note=again["error"]),
        Figure("again: objects moved by", again["moved_m"], 1e-6, unit=" m", note=f"{again['compared']} objects"),
        Figure("again: what else should have stayed", len(again["other"]), 0, note=", ".join(again["other"])),
        Figure("again: triangles fewer", again["fewer_triangles"], 1000, at_most=False),
        Figure("again: strands", again["strands"], 500, at_most=False),
        Figure("again: cards still shown", len({"hair", "hair_cap"} & {*again["head"]["shown"]}), 0),
        Figure("again: data left over", len(again["left_over"]), 0, note=", ".join(again["left_over"][:5])),
    ]


def _other_figures(seen: dict[str, Any]) -> list[Figure]:
    row, stopped, server = seen["row"], seen["stopped"], seen["server"]
    figures = [
        Figure("row: heads of one photo and one file that is none", len(row["heads"]), 1, at_most=False),
        Figure("row: the bad file is not named", float("b: " not in row["error"]), 0, note=row["error"]),
        Figure("stopped: objects and heads left", stopped["objects"] + stopped["on_server"], 0, note=stopped["said"]),
        Figure("stopped: after", stopped["seconds"], 5, unit=" s"),
        Figure("server not started, or not ended", float(not (server["ran"] and server["ended"])), 0),
    ]
    for engine, unit_m in (("UNITY", 1.0), ("UNREAL", 0.01)):
        read = seen["fbx"][engine]
        figures += [
            Figure(f"FBX for {engine.title()}: shape keys", len({*read["keys"]} & {*seen["head"]["keys"]}), 52, False),
            Figure(f"FBX for {engine.title()}: keys not at rest", read["key_values"], 0),
            Figure(f"FBX for {engine.title()}: bones", len({*read["bones"]} ^ {*seen["head"]["bones"]}), 0),
            Figure(f"FBX for {engine.title()}: unit off by", abs(read["unit_m"] / unit_m - 1), 1e-6),
            Figure(f"FBX for {engine.title()}: pictures", read["pictures"], 2, False),
        ]
    return figures


def _astronaut(folder: Path) -> Path:
    import skimage.data
    import skimage.io

    path = folder / "astronaut.png"
    skimage.io.imsave(path, skimage.data.astronaut(), check_contrast=False)
    return path


def _program(folder: Path) -> Path:
    """Return a spmr-app of this project and this Python."""
    path = folder / "spmr-app"
    start = "import sys; from spinmeround.cli.app import main; sys.exit(main())"
    path.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' -c '{start}' \"$@\"\n")
    path.chmod(0o755)
    return path


def main() -> None:
    """Use the extension, print a table; exit with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blender-python", default=sys.executable, help="a Python that can import bpy")
    parser.add_argument("--photo", type=Path, help="a photo of a face (default: the astronaut of scikit-image)")
    parser.add_argument("--keep", type=Path, help="leave the .blend, the pictures and the FBX files here")
    given = parser.parse_args()
    figures = compare(given.blender_python, given.photo, given.keep)
    print_figures_and_exit(figures, title="The Blender extension")


def measure(*, quick: bool) -> list[Figure]:
    """Use the extension with the astronaut; ``quick`` is ignored.

    Raises:
        ModuleNotFoundError: no Python with bpy is known.
    """
    del quick
    program = os.environ.get("BLENDER_PYTHON")
    if program is None:
        importlib.import_module("bpy")
    return compare(program or sys.executable)


if __name__ == "__main__":
    main()
