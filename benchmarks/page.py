"""The page of spmr-app with a real head: from the photo that is dropped to the head that is shown.

    python benchmarks/page.py [--pictures docs/app]

Needs what the tests of the page need (tests/web/browser.py). Chromium draws without a graphics card.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import skimage.data
from PIL import Image
from tables import Figure, print_figures

from tests.web.browser import browser, missing, server

_APP = "import sys; from spinmeround.cli.app import main; sys.exit(main())"
_COLOURS = 224
"""Of a picture for the documentation: a third of the bytes, hardly to be seen."""


def measure(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Make the head of the astronaut of scikit-image on the page.

    Args:
        quick: at draft quality.
        pictures: folder that the screenshots go to.

    Raises:
        FileNotFoundError: there is no browser here.
    """
    if reason := missing():
        raise FileNotFoundError(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()).save(photo)
        with server("-c", _APP, "--port", "0", "--folder", folder / "heads") as url, browser() as page:
            answer = page.act("tour", url=url, photo=photo, quality="Quick" if quick else "Standard", out=folder)
        if pictures is not None:
            _publish(folder, pictures)
    found = answer["found"]
    away = [asked for asked in answer["requests"] if not asked.startswith((url, "blob:", "data:"))]
    return [
        Figure("page: photo dropped to head shown", found["whole_s"], unit=" s"),
        Figure("page: of it making", found["make_s"], unit=" s"),
        Figure("page: of it loading and drawing", found["show_s"], unit=" s", note="no graphics card"),
        Figure("page: ways to show the head", found["modes"], 4, at_most=False),
        Figure("page: requests to other machines", len(away), 0, note=", ".join(away[:3])),
        Figure("page: errors in the console", len(answer["faults"]), 0, note="; ".join(answer["faults"])[:200]),
    ]


def _publish(folder: Path, pictures: Path) -> None:
    """Write the screenshots small in bytes."""
    pictures.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        if path.stem != "astronaut":
            Image.open(path).convert("RGB").quantize(_COLOURS).save(pictures / path.name, optimize=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    print_figures(measure(quick=given.quick, pictures=given.pictures), title="The page")


if __name__ == "__main__":
    main()
