"""Is it the same person? Distance between a photo and our pictures of the head, to a face network of dlib's.

    python benchmarks/likeness.py [--quick] [--sheet OUT.png]

Pictures: the photo's own camera, that camera carried 30 and 45 degrees around the head either way, with the photo's
expression; and, for information, a frontal picture with neutral expression, and the turned pictures with the photo's
surroundings behind them instead of white: the network looks at what is beside a turned face, too (``likeness_floor.py``
says how much). A picture in which no face is found counts with distance 1. On the published turns the real model's own
frames stand beside ours.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import datasets
import heads
import identity
import numpy as np
from tables import Figure, print_figures, print_table

from spinmeround.geometry import resized
from spinmeround.orbits import orbit_cameras

AZIMUTHS_DEG = (0.0, -30.0, 30.0, -45.0, 45.0)
FRONTAL = "frontal, neutral"
AROUND = ", surroundings"
_SIZE_PX = 640


def measure_photo(photo: Path) -> tuple[dict[str, float], np.ndarray]:
    """Distances by picture, and the pictures in a row."""
    rgb = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    reference = identity.descriptor(rgb)
    if reference is None:
        raise ValueError(f"dlib finds no face in {photo}: no distance can be measured from it")
    head, portraits = heads.fit([photo])
    camera = resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX)
    on_white = heads.picture(head, heads.orbited(camera, AZIMUTHS_DEG), keep_expression=True)
    pictures = dict(zip(map(str, AZIMUTHS_DEG), on_white, strict=True))
    behind = heads.surroundings(portraits[0], _SIZE_PX)
    turned = heads.picture(head, heads.orbited(camera, AZIMUTHS_DEG[1:]), keep_expression=True, behind=behind)
    pictures |= dict(zip([f"{a}{AROUND}" for a in AZIMUTHS_DEG[1:]], turned, strict=True))
    pictures[FRONTAL] = heads.picture(head, orbit_cameras([0], [0], size_px=_SIZE_PX), keep_expression=False)[0]
    distances = {name: identity.distance(reference, identity.descriptor(p)) for name, p in pictures.items()}
    crop = cv2.resize((portraits[0].rgb * 255).astype(np.uint8), (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_AREA)
    return distances, np.hstack([crop, *pictures.values()])


def real_model(video: str) -> dict[str, float]:
    """Distances of the real model's frames to its first frame, by azimuth."""
    frames = datasets.turn_frames(video)
    reference = identity.descriptor(frames[0])
    return {
        str(a): identity.distance(reference, identity.descriptor(frames[datasets.turn_frame_index(a)]))
        for a in AZIMUTHS_DEG[1:]
    }


def figures_of(ours: Mapping[str, Mapping[str, float]], real: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """What was promised, from distances by photo and picture."""

    def mean(names: tuple[str, ...]) -> float:
        return float(np.mean([distances[n] for distances in ours.values() for n in names]))

    promised = list(map(str, AZIMUTHS_DEG))
    worst_of, worst = max(((f"{p} at {n}°", d[n]) for p, d in ours.items() for n in promised), key=lambda pair: pair[1])
    out = [
        Figure("likeness at the photo's camera", mean(("0.0",)), 0.20),
        Figure("likeness at ±30°", mean(("-30.0", "30.0")), 0.33),
        Figure("likeness at ±45°", mean(("-45.0", "45.0")), 0.45),
        Figure("likeness, worst single picture", worst, 0.50, note=worst_of),
        Figure(
            "likeness at ±30°, photo's surroundings", mean((f"-30.0{AROUND}", f"30.0{AROUND}")), note="for comparison"
        ),
        Figure(
            "likeness at ±45°, photo's surroundings", mean((f"-45.0{AROUND}", f"45.0{AROUND}")), note="for comparison"
        ),
        Figure("likeness, frontal and neutral", mean((FRONTAL,)), note="not promised"),
    ]
    margins = [(real[v][a] - ours[v][a], f"{v} at {a}°") for v in real if v in ours for a in real[v]]
    if margins:
        smallest, where = min(margins)
        out.append(Figure("closer than the real model by, at least", smallest, 0.0, at_most=False, note=where))
    return out


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """All photos, or two of them when quick; prints the distances one by one."""
    with tempfile.TemporaryDirectory() as folder:
        photos = datasets.photos(Path(folder))
        names = ("astronaut", "video_e285") if quick else tuple(photos)
        measured = {name: measure_photo(photos[name]) for name in names}
    ours = {name: distances for name, (distances, _) in measured.items()}
    real = {video: real_model(video) for video in datasets.TURNS if video in ours}
    columns = [*map(str, AZIMUTHS_DEG), FRONTAL]
    rows = [[name, *[f"{distances[c]:.3f}" for c in columns]] for name, distances in ours.items()]
    rows += [[f"{v}, real model", "", *[f"{real[v][str(a)]:.3f}" for a in AZIMUTHS_DEG[1:]], ""] for v in real]
    print_table(["distance", *columns], rows, title="dlib distance to the photo")
    if sheet is not None:
        rows_of_pictures = np.vstack(
            [cv2.resize(row, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA) for _, row in measured.values()]
        )
        cv2.imwrite(str(sheet), cv2.cvtColor(rows_of_pictures, cv2.COLOR_RGB2BGR))
    return figures_of(ours, real)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two photos")
    parser.add_argument("--sheet", type=Path, help="write the pictures as a PNG")
    arguments = parser.parse_args()
    print_figures(measure(quick=arguments.quick, sheet=arguments.sheet), title="likeness")


if __name__ == "__main__":
    main()
