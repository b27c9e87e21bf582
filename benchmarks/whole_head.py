"""Sides and back: our head against the real model's own views of the same person.

    python benchmarks/whole_head.py [--quick] [--sheet OUT.png]

A head is made from the first frame of each published turn and looked at with the turn's cameras. Three placements:
``nominal`` puts our canonical head in the nominal rig; ``photo`` carries the camera fitted to the first frame around
with the nominal rig, as a subject who does not look straight ahead in that frame needs; ``tilted`` does the same with
cameras 4 degrees above the level, near where ``model_camera.py`` finds the turns' for the nominal principal point.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import datasets
import heads
import numpy as np
from tables import Figure, print_figures, print_table

from spinmeround.geometry import select
from spinmeround.images import composite, resize, to_uint8
from spinmeround.orbits import PRINCIPAL_POINT, orbit_cameras
from spinmeround.types import Cameras

AZIMUTHS_DEG = (0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
PLACEMENTS = ("nominal", "photo", "tilted")
HEADLINE = "tilted"
TILT_DEG, TILTED_PRINCIPAL_POINT_Y = 4.0, 0.425
CHIN_ROW = 0.90
"""Share of the picture's height where the chin lies in the nominal rig."""


def outline_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def turn_cameras(*, elevation_deg: float, principal_y: float, size_px: int) -> Cameras:
    """Cameras of the measured azimuths."""
    cameras = orbit_cameras(AZIMUTHS_DEG, [elevation_deg] * len(AZIMUTHS_DEG), size_px=size_px)
    cameras.intrinsics_px[:, 1, 2] = principal_y * size_px
    return cameras


def placed_cameras(placement: str, photo_camera: Cameras, crop_from_source: np.ndarray, size_px: int) -> Cameras:
    """The turn's cameras in the frame of the fitted head."""
    if placement == "nominal":
        return turn_cameras(elevation_deg=0, principal_y=PRINCIPAL_POINT[1], size_px=size_px)
    elevation, principal_y = (0.0, PRINCIPAL_POINT[1]) if placement == "photo" else (TILT_DEG, TILTED_PRINCIPAL_POINT_Y)
    turn = turn_cameras(elevation_deg=elevation, principal_y=principal_y, size_px=size_px)
    return heads.as_turn_saw_it(photo_camera, crop_from_source, turn, select(turn, [0]))


def compare(frame: np.ndarray, rgb: np.ndarray, alpha: np.ndarray) -> dict[str, float]:
    """Outline, structure and perceived difference of a real frame and our view, over the frame's own background."""
    import flip_evaluator
    from skimage.metrics import structural_similarity

    real = datasets.near_white_mask(frame)
    background = np.median(frame[~real], axis=0) / 255 if (~real).any() else np.ones(3)
    ours = composite(rgb, alpha, background).astype(np.float32)
    truth = frame.astype(np.float32) / 255
    above = np.arange(len(frame)) < CHIN_ROW * len(frame)
    return {
        "iou": outline_iou(real, alpha > 0.5),
        "iou to the chin": outline_iou(real[above], alpha[above] > 0.5),
        "ssim": float(structural_similarity(truth, ours, channel_axis=2, data_range=1.0)),
        "flip": float(flip_evaluator.evaluate(truth, ours, "LDR")[1]),
    }


def measure_turn(video: str, photo: Path) -> tuple[dict[str, dict[float, dict[str, float]]], np.ndarray]:
    """Comparisons by placement and azimuth, and a sheet: the real frames, ours, and their outlines."""
    frames = datasets.turn_frames(video)
    real = [frames[datasets.turn_frame_index(a)] for a in AZIMUTHS_DEG]
    head, portraits = heads.fit([photo])
    out, sheet = {}, [np.hstack(real)]
    for placement in PLACEMENTS:
        cameras = placed_cameras(placement, head.photo_cameras[0], portraits[0].crop_from_source, len(real[0]))
        views = head.render(cameras, keep_expression=True)
        out[placement] = {a: compare(real[k], views.rgb[k], views.alpha[k]) for k, a in enumerate(AZIMUTHS_DEG)}
        pictures = to_uint8(composite(views.rgb, views.alpha))
        sheet.append(
            np.hstack([_outlined(p, datasets.near_white_mask(f)) for p, f in zip(pictures, real, strict=True)])
        )
    return out, np.vstack(sheet)


def _outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, (255, 0, 0), 2)


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """All turns, or one when quick; prints every comparison."""
    turns = datasets.TURNS[-1:] if quick else datasets.TURNS
    with tempfile.TemporaryDirectory() as folder:
        photos = datasets.photos(Path(folder))
        measured = {video: measure_turn(video, photos[video]) for video in turns}
    rows = [
        [video, placement, f"{azimuth:g}", *[f"{value:.3f}" for value in values.values()]]
        for video, (placements, _) in measured.items()
        for placement, by_azimuth in placements.items()
        for azimuth, values in by_azimuth.items()
    ]
    print_table(
        ["turn", "placement", "azimuth", "iou", "iou to the chin", "ssim", "flip"],
        rows,
        title="our views and the real model's",
    )
    if sheet is not None:
        pictures = np.vstack([resize(s, s.shape[1] // 3, s.shape[0] // 3) for _, s in measured.values()])
        cv2.imwrite(str(sheet), cv2.cvtColor(pictures, cv2.COLOR_RGB2BGR))

    def mean(key: str, *azimuths: float, placement: str = HEADLINE) -> float:
        return float(np.mean([m[placement][a][key] for m, _ in measured.values() for a in azimuths]))

    out = []
    for what, azimuths, bar in (("±45°", (45.0, -45.0), 0.90), ("±90°", (90.0, -90.0), 0.85), ("180°", (180.0,), 0.88)):
        other = ", ".join(f"{p} {mean('iou', *azimuths, placement=p):.3f}" for p in PLACEMENTS if p != HEADLINE)
        seen = f"SSIM {mean('ssim', *azimuths):.2f}, FLIP {mean('flip', *azimuths):.2f}; {other}"
        out.append(Figure(f"outline IoU at {what}", mean("iou", *azimuths), bar, at_most=False, note=seen))
    return out


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn")
    parser.add_argument("--sheet", type=Path, help="write the pictures as a PNG")
    arguments = parser.parse_args()
    print_figures(measure(quick=arguments.quick, sheet=arguments.sheet), title="whole head")


if __name__ == "__main__":
    main()
