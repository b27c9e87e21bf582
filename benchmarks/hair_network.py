"""The package's own hair network against MediaPipe's hair network.

    python benchmarks/hair_network.py [--quick] [--sheet OUT.png]

On the photos of ``people/`` in the shared data, as intersection over union in the crop of the head. Photos with hair on
at most 3 % of the crop are left out of the figures, and told by the area that is called hair by mistake.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import heads
import numpy as np
import people
from command_line import Pictures, benchmark_parser, run_with_pictures
from jaxtyping import Bool, Float, UInt8
from tables import Figure, print_table

from spinmeround.portrait.hair_network import OwnHairNetwork
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import CHIN, FACE_TOP
from spinmeround.portrait.matting import WORK_PX
from spinmeround.portrait.pose import fit_landmarks
from spinmeround.types import FaceGeometry, Portrait

LEAST_HAIR = 0.03
"""Fraction of the crop that is hair, above which the intersection over union says something."""
_TILE_PX = 192


def head_map_of(portrait: Portrait) -> HeadMap:
    """Return the geometry of a portrait's head, at ``WORK_PX``."""
    landmarks = portrait.landmarks_px
    height_px = float(np.linalg.norm(landmarks[FACE_TOP] - landmarks[CHIN]))
    face = FaceGeometry(landmarks, fit_landmarks(landmarks, face_height_px=height_px))
    return HeadMap.of(face, picture_px=len(portrait.rgb), side_px=WORK_PX)


def iou(found: Bool[np.ndarray, "s s"], true: Bool[np.ndarray, "s s"]) -> float:
    """Return the intersection over union of two masks."""
    return float((found & true).sum() / max((found | true).sum(), 1))


def measure_photo(photo: Path, network: OwnHairNetwork) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]:
    """Return the figures of one photo, and a row of pictures: the crop, its hair by MediaPipe, and by our network."""
    portrait = heads.portrait_of(photo)
    head = head_map_of(portrait)
    true = people.official_hair(portrait) & portrait.observed
    found = (network.hair_probability(portrait.rgb, head) > 0.5) & portrait.observed
    figures = {"hair": float(true.mean()), "IoU": iou(found, true), "too much": float((found & ~true).mean())}
    row = [_tinted(portrait.rgb, mask) for mask in (np.zeros_like(true), true, found)]
    return figures, np.hstack(row)


def _tinted(rgb: Float[np.ndarray, "s s 3"], mask: Bool[np.ndarray, "s s"]) -> UInt8[np.ndarray, "t t 3"]:
    tinted = np.where(mask[..., None], 0.5 * rgb + 0.5 * np.array([1.0, 0.0, 0.0]), rgb).astype(np.float32)
    return (cv2.resize(tinted, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)


def measure_with_pictures(*, quick: bool) -> tuple[list[Figure], Pictures]:
    """Measure all people, four of them if quick; print every figure."""
    network = OwnHairNetwork()
    chosen = {name: path for name, path in people.photos().items() if not quick or name in people.QUICK}
    measured = {name: measure_photo(path, network) for name, path in chosen.items()}
    columns = list(next(iter(measured.values()))[0])
    rows = [[name, *[f"{figures[c]:.3f}" for c in columns]] for name, (figures, _) in measured.items()]
    print_table(["photo", *columns], rows, title="hair, IoU with the official network")
    pictures = [row for _, row in measured.values()]
    pictures += [np.full_like(pictures[0], 255)] * (len(pictures) % 2)
    sheet = [np.hstack(pictures[k : k + 2]) for k in range(0, len(pictures), 2)]
    return figures_of([figures for figures, _ in measured.values()]), sheet


def figures_of(people_figures: list[dict[str, float]]) -> list[Figure]:
    """Return the figures and bars from the figures by photo."""
    hairy = [figures for figures in people_figures if figures["hair"] > LEAST_HAIR]
    bald = [figures for figures in people_figures if figures["hair"] <= LEAST_HAIR]
    values = [figures["IoU"] for figures in hairy]
    extra = max((figures["too much"] for figures in bald), default=0.0)
    return [
        Figure("own hair network: IoU, mean", float(np.mean(values)), 0.8, at_most=False),
        Figure("own hair network: IoU, worst", min(values), 0.6, at_most=False),
        Figure("own hair network: hair by mistake where there is little", extra, note="worst, fraction of the crop"),
    ]


def measure(*, quick: bool) -> list[Figure]:
    """Measure all people, four of them if quick; print every figure."""
    return measure_with_pictures(quick=quick)[0]


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(__doc__, quick="four people", sheet="each photo, and its hair by both networks")
    run_with_pictures(measure_with_pictures, parser, title="hair network")


if __name__ == "__main__":
    main()
