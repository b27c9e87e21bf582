"""Likeness: distance between a photo and our pictures of the head in the embedding of dlib's face network.

    python benchmarks/likeness.py [--quick] [--sheet OUT.png]

The pictures show the photo's expression from the photo's own camera and from that camera rotated by ±30 and ±45
degrees about the head. For comparison only: a frontal picture with neutral expression, and the rotated pictures over
the photo's blurred background instead of white, since the network also responds to the background
(``likeness_floor.py`` measures how much). A picture in which no face is found counts with distance 1. For the turntable
videos the published model's own frames are measured too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import datasets
import heads
import identity
import numpy as np
from command_line import benchmark_parser, run
from pictures import write_scaled_sheet
from tables import Figure, print_table

from spinmeround.geometry import resized
from spinmeround.orbits import orbit_cameras

AZIMUTHS_DEG = (0.0, -30.0, 30.0, -45.0, 45.0)
FRONTAL = "frontal, neutral"
ON_BACKGROUND = ", background"
_SIZE_PX = 640


def measure_photo(photo: Path) -> tuple[dict[str, float], np.ndarray]:
    """Return distances by picture, and the pictures in a row."""
    reference = identity.descriptor_of_photo(photo)
    head, portraits = heads.fit([photo])
    camera = resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX)
    on_white = heads.picture(head, heads.orbited(camera, AZIMUTHS_DEG), neutral=False)
    pictures = dict(zip(map(str, AZIMUTHS_DEG), on_white, strict=True))
    behind = heads.blurred_background(portraits[0], _SIZE_PX)
    rotated = heads.picture(head, heads.orbited(camera, AZIMUTHS_DEG[1:]), neutral=False, behind=behind)
    pictures |= dict(zip([f"{a}{ON_BACKGROUND}" for a in AZIMUTHS_DEG[1:]], rotated, strict=True))
    pictures[FRONTAL] = heads.picture(head, orbit_cameras([0], [0], size_px=_SIZE_PX), neutral=True)[0]
    distances = {name: identity.distance(reference, identity.descriptor(p)) for name, p in pictures.items()}
    crop = cv2.resize((portraits[0].rgb * 255).astype(np.uint8), (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_AREA)
    return distances, np.hstack([crop, *pictures.values()])


def published_model(video: str) -> dict[str, float]:
    """Return distances of the published model's frames to its first frame, by azimuth."""
    frames = datasets.turn_frames(video)
    reference = identity.descriptor(frames[0])
    return {
        str(a): identity.distance(reference, identity.descriptor(frames[datasets.turn_frame_index(a)]))
        for a in AZIMUTHS_DEG[1:]
    }


def figures_of(ours: Mapping[str, Mapping[str, float]], real: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """Return the figures and bars from distances by photo and picture."""

    def mean(names: tuple[str, ...]) -> float:
        return float(np.mean([distances[n] for distances in ours.values() for n in names]))

    with_bars = list(map(str, AZIMUTHS_DEG))
    worst_of, worst = max(
        ((f"{p} at {n}°", d[n]) for p, d in ours.items() for n in with_bars), key=lambda pair: pair[1]
    )
    out = [
        Figure("likeness at the photo's camera", mean(("0.0",)), 0.20),
        Figure("likeness at ±30°", mean(("-30.0", "30.0")), 0.33),
        Figure("likeness at ±45°", mean(("-45.0", "45.0")), 0.45),
        Figure("likeness, worst single picture", worst, 0.50, note=worst_of),
        Figure(
            "likeness at ±30°, photo's background",
            mean((f"-30.0{ON_BACKGROUND}", f"30.0{ON_BACKGROUND}")),
            note="for comparison",
        ),
        Figure(
            "likeness at ±45°, photo's background",
            mean((f"-45.0{ON_BACKGROUND}", f"45.0{ON_BACKGROUND}")),
            note="for comparison",
        ),
        Figure("likeness, frontal and neutral", mean((FRONTAL,)), note="no bar"),
    ]
    margins = [(real[v][a] - ours[v][a], f"{v} at {a}°") for v in real if v in ours for a in real[v]]
    if margins:
        smallest, where = min(margins)
        out.append(Figure("closer than the published model by, at least", smallest, 0.0, at_most=False, note=where))
    return out


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """Measure all photos, or two of them if quick; print every distance."""
    with tempfile.TemporaryDirectory() as folder:
        photos = datasets.photos(Path(folder))
        names = ("astronaut", "video_e285") if quick else tuple(photos)
        measured = {name: measure_photo(photos[name]) for name in names}
    ours = {name: distances for name, (distances, _) in measured.items()}
    real = {video: published_model(video) for video in datasets.TURNS if video in ours}
    columns = [*map(str, AZIMUTHS_DEG), FRONTAL]
    rows = [[name, *[f"{distances[c]:.3f}" for c in columns]] for name, distances in ours.items()]
    rows += [[f"{v}, published model", "", *[f"{real[v][str(a)]:.3f}" for a in AZIMUTHS_DEG[1:]], ""] for v in real]
    print_table(["distance", *columns], rows, title="dlib distance to the photo")
    if sheet is not None:
        write_scaled_sheet(sheet, [row for _, row in measured.values()], 0.4)
    return figures_of(ours, real)


def main() -> None:
    """Print the figures."""
    run(
        measure,
        benchmark_parser(__doc__, quick="two photos", sheet="each photo and our pictures of its head"),
        title="likeness",
    )


if __name__ == "__main__":
    main()
