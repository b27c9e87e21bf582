"""Sides and back of the head against the published model's own views of the same person.

    python benchmarks/whole_head.py [--quick] [--sheet OUT.png]

A head is fitted to the first frame of each turntable video and rendered with the video's cameras. Three placements:
``nominal`` puts our canonical head in the nominal rig; ``photo`` moves the nominal rig with the camera fitted to the
first frame, for subjects who do not look straight ahead in it; ``tilted`` does the same with cameras at an elevation of
4 degrees, close to what ``model_camera.py`` finds for the nominal principal point.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import datasets
import heads
import numpy as np
from command_line import benchmark_parser, run
from measures import mask_iou
from pictures import write_rgb
from tables import Figure, print_table

from spinmeround.geometry import select
from spinmeround.images import composite, resize, to_uint8
from spinmeround.orbits import PRINCIPAL_POINT, orbit_cameras
from spinmeround.types import Cameras

AZIMUTHS_DEG = (0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
PLACEMENTS = ("nominal", "photo", "tilted")
HEADLINE = "tilted"
TILT_DEG, TILTED_PRINCIPAL_POINT_Y = 4.0, 0.425
CHIN_ROW = 0.90
"""Row of the chin in the nominal rig, as a fraction of the picture's height."""


def turn_cameras(*, elevation_deg: float, principal_y: float, size_px: int) -> Cameras:
    """Return cameras at the measured azimuths."""
    cameras = orbit_cameras(AZIMUTHS_DEG, [elevation_deg] * len(AZIMUTHS_DEG), size_px=size_px)
    cameras.intrinsics_px[:, 1, 2] = principal_y * size_px
    return cameras


def placed_cameras(placement: str, photo_camera: Cameras, crop_from_source: np.ndarray, size_px: int) -> Cameras:
    """Return the video's cameras in the frame of the fitted head."""
    if placement == "nominal":
        return turn_cameras(elevation_deg=0, principal_y=PRINCIPAL_POINT[1], size_px=size_px)
    elevation, principal_y = (0.0, PRINCIPAL_POINT[1]) if placement == "photo" else (TILT_DEG, TILTED_PRINCIPAL_POINT_Y)
    turn = turn_cameras(elevation_deg=elevation, principal_y=principal_y, size_px=size_px)
    return heads.turntable_cameras_of_head(photo_camera, crop_from_source, turn, select(turn, [0]))


def compare(frame: np.ndarray, rgb: np.ndarray, alpha: np.ndarray) -> dict[str, float]:
    """Return IoU, SSIM and FLIP of a real frame and our view, over the frame's own background."""
    import flip_evaluator
    from skimage.metrics import structural_similarity

    real = datasets.near_white_mask(frame)
    background = np.median(frame[~real], axis=0) / 255 if (~real).any() else np.ones(3)
    ours = composite(rgb, alpha, background).astype(np.float32)
    truth = frame.astype(np.float32) / 255
    above = np.arange(len(frame)) < CHIN_ROW * len(frame)
    return {
        "iou": mask_iou(real, alpha > 0.5),
        "iou to the chin": mask_iou(real[above], alpha[above] > 0.5),
        "ssim": float(structural_similarity(truth, ours, channel_axis=2, data_range=1.0)),
        "flip": float(flip_evaluator.evaluate(truth, ours, "LDR")[1]),
    }


def measure_turn(video: str, photo: Path) -> tuple[dict[str, dict[float, dict[str, float]]], np.ndarray]:
    """Return comparisons by placement and azimuth, and a sheet: the real frames above ours with the real contours."""
    frames = datasets.turn_frames(video)
    real = [frames[datasets.turn_frame_index(a)] for a in AZIMUTHS_DEG]
    head, portraits = heads.fit([photo])
    out, sheet = {}, [np.hstack(real)]
    for placement in PLACEMENTS:
        cameras = placed_cameras(placement, head.photo_cameras[0], portraits[0].crop_from_source, len(real[0]))
        views = head.render(cameras)
        out[placement] = {a: compare(real[k], views.rgb[k], views.alpha[k]) for k, a in enumerate(AZIMUTHS_DEG)}
        pictures = to_uint8(composite(views.rgb, views.alpha))
        sheet.append(
            np.hstack([_with_contour(p, datasets.near_white_mask(f)) for p, f in zip(pictures, real, strict=True)])
        )
    return out, np.vstack(sheet)


def _with_contour(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, (255, 0, 0), 2)


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """Measure all videos, or one if quick; print every comparison."""
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
        title="our views and the published model's",
    )
    if sheet is not None:
        pictures = np.vstack([resize(s, s.shape[1] // 3, s.shape[0] // 3) for _, s in measured.values()])
        write_rgb(sheet, pictures)

    def mean(key: str, *azimuths: float, placement: str = HEADLINE) -> float:
        return float(np.mean([m[placement][a][key] for m, _ in measured.values() for a in azimuths]))

    figures = []
    for what, azimuths, bar in (("±45°", (45.0, -45.0), 0.90), ("±90°", (90.0, -90.0), 0.85), ("180°", (180.0,), 0.88)):
        other = ", ".join(f"{p} {mean('iou', *azimuths, placement=p):.3f}" for p in PLACEMENTS if p != HEADLINE)
        note = f"SSIM {mean('ssim', *azimuths):.2f}, FLIP {mean('flip', *azimuths):.2f}; {other}"
        figures.append(Figure(f"silhouette IoU at {what}", mean("iou", *azimuths), bar, at_most=False, note=note))
    return figures


def main() -> None:
    """Print the figures."""
    run(
        measure,
        benchmark_parser(__doc__, quick="one turn", sheet="the real frames above our views"),
        title="whole head",
    )


if __name__ == "__main__":
    main()
