"""How closely the fitted head matches its photo: landmarks, and the silhouette against masks unseen by the fit.

    python benchmarks/fit.py [--quick]

The masks come from the near-white background of the turntable videos and the true coverage of synthetic people. They
are compared above the chin only, since clothes are not part of the model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import datasets
import heads
import numpy as np
import synthetic_people
from command_line import benchmark_parser, run
from measures import mask_iou
from tables import Figure, print_table

from spinmeround.template.generator import TemplateHead
from spinmeround.types import Portrait

_CHIN_LANDMARK = 152
_SYNTHETIC = 6


def to_crop(mask: np.ndarray, portrait: Portrait) -> np.ndarray:
    """Warp a mask from the photo's pixels to the portrait's crop."""
    height, width = portrait.alpha.shape
    return cv2.warpPerspective(mask.astype(np.float32), portrait.crop_from_source, (width, height))


def iou_above_chin(head: TemplateHead, portrait: Portrait, mask: np.ndarray) -> float:
    """Return the IoU of our silhouette with a mask of the portrait's size, above the chin."""
    ours = head.render(head.photo_cameras[0]).alpha[0]
    above = np.arange(len(mask))[:, None] < portrait.landmarks_px[_CHIN_LANDMARK, 1]
    known = portrait.observed & above
    return mask_iou((mask > 0.5) & known, (ours > 0.5) & known)


def measure_photo(photo: Path, mask: np.ndarray | None) -> dict[str, float | None]:
    """Return the fit errors of one photo; ``mask`` is what its silhouette is compared with."""
    head, (portrait,) = heads.fit([photo])
    report = head.report["photos"][0]
    return {
        "landmarks, % of eye distance": 100 * report["landmark_error_share_of_eye_distance"],
        "landmarks, px": report["landmark_error_px"],
        "silhouette IoU, own matte": iou_above_chin(head, portrait, portrait.alpha - portrait.clothes),
        "silhouette IoU, unseen mask": None
        if mask is None
        else iou_above_chin(head, portrait, to_crop(mask, portrait)),
    }


def measure(*, quick: bool) -> list[Figure]:
    """Measure all photos and six synthetic people, or two photos and one person if quick."""
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = datasets.photos(folder)
        for key in ("astronaut", "video_e285") if quick else photos:
            turn = datasets.turn_frames(key)[0] if key in datasets.TURNS else None
            results[key] = measure_photo(photos[key], None if turn is None else datasets.near_white_mask(turn))
        for seed in range(1 if quick else _SYNTHETIC):
            person = synthetic_people.make_person(seed)
            path = synthetic_people.write_photos(person, folder, f"person_{seed:02d}")[0]
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
            "silhouette IoU, unseen mask",
            mean(columns[3]),
            0.95,
            at_most=False,
            note=f"{len(unseen)} photos, lowest {min(unseen):.3f}",
        ),
        Figure("silhouette IoU, own matte", mean(columns[2]), note="for information"),
    ]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="two photos and one synthetic person"), title="fit")


if __name__ == "__main__":
    main()
