"""Does the head lie on the photo? Landmarks, and the outline against masks that took no part in the fit.

    python benchmarks/fit.py [--quick]

The masks: the near-white background of the published turns, and the true coverage of synthetic people. They are
compared from the top of the picture down to the chin: below, clothes begin, which are not ours to model.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import datasets
import heads
import numpy as np
import people
from tables import Figure, print_figures, print_table
from whole_head import outline_iou

from spinmeround.template.generator import TemplateHead
from spinmeround.types import Portrait

_CHIN_LANDMARK = 152
_SYNTHETIC = 6


def to_crop(mask: np.ndarray, portrait: Portrait) -> np.ndarray:
    """A mask in the photo's pixels as the portrait's crop sees it."""
    height, width = portrait.alpha.shape
    return cv2.warpPerspective(mask.astype(np.float32), portrait.crop_from_source, (width, height))


def outline_to_chin(head: TemplateHead, portrait: Portrait, mask: np.ndarray) -> float:
    """Overlap of our outline with a mask of the portrait's size, down to the chin."""
    ours = head.render(head.photo_cameras[0], keep_expression=True).alpha[0]
    above = np.arange(len(mask))[:, None] < portrait.landmarks_px[_CHIN_LANDMARK, 1]
    known = portrait.observed & above
    return outline_iou((mask > 0.5) & known, (ours > 0.5) & known)


def measure_photo(photo: Path, mask: np.ndarray | None) -> dict[str, float | None]:
    """Fit errors of one photo; ``mask`` is what the outline is held against."""
    head, (portrait,) = heads.fit([photo])
    told = head.report["photos"][0]
    return {
        "landmarks, % of eye distance": 100 * told["landmark_error_share_of_eye_distance"],
        "landmarks, px": told["landmark_error_px"],
        "outline IoU, own matte": outline_to_chin(head, portrait, portrait.alpha - portrait.clothes),
        "outline IoU, unseen mask": None if mask is None else outline_to_chin(head, portrait, to_crop(mask, portrait)),
    }


def measure(*, quick: bool) -> list[Figure]:
    """All photos and six synthetic people, or one of each when quick."""
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = datasets.photos(folder)
        for key in ("astronaut", "video_e285") if quick else photos:
            turn = datasets.turn_frames(key)[0] if key in datasets.TURNS else None
            results[key] = measure_photo(photos[key], None if turn is None else datasets.near_white_mask(turn))
        for seed in range(1 if quick else _SYNTHETIC):
            person = people.make_person(seed)
            path = people.write_photos(person, folder, f"person_{seed:02d}")[0]
            results[f"synthetic {seed}"] = measure_photo(path, person.head_alpha[0] > 0.5)
    columns = list(next(iter(results.values())))
    rows = [[key, *["" if r[c] is None else f"{r[c]:.3f}" for c in columns]] for key, r in results.items()]
    print_table(["photo", *columns], rows, title="fit to the photo")

    def mean(column: str) -> float:
        return float(np.mean([r[column] for r in results.values() if r[column] is not None]))

    worst = max(r[columns[0]] for r in results.values())
    unseen = [r[columns[3]] for r in results.values() if r[columns[3]] is not None]
    return [
        Figure(
            "landmark error", mean(columns[0]), 1.0, unit=" %", note=f"of the eye distance; worst photo {worst:.2f} %"
        ),
        Figure(
            "outline IoU, unseen mask",
            mean(columns[3]),
            0.95,
            at_most=False,
            note=f"{len(unseen)} photos, lowest {min(unseen):.3f}",
        ),
        Figure("outline IoU, own matte", mean(columns[2]), note="for information"),
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two photos and one synthetic person")
    print_figures(measure(quick=parser.parse_args().quick), title="fit")


if __name__ == "__main__":
    main()
