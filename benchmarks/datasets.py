"""Pictures the benchmarks measure on: shared photos, published turntable videos, scikit-image's astronaut.

The folder of shared data is the environment variable ``SPMR_TEST_DATA``, else ``../shared/data``
beside the checkout. Nothing of it is part of the project.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from pictures import write_rgb

TURNS = ("video_217", "video_10055", "video_e285")
"""Turntable videos of 48 frames: frame 0 = front, 7.5 degrees a frame, azimuth grows toward the subject's left."""

DEGREES_PER_FRAME = 7.5


def data_folder() -> Path:
    """Return the folder of shared data.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    named = os.environ.get("SPMR_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no test data at {folder}; set SPMR_TEST_DATA to the folder that holds faces/ and spin_videos/"
        )
    return folder


def turn_frames(video: str) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Return all RGB frames of a published turntable video."""
    path = data_folder() / "spin_videos" / f"{video}.mp4"
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    capture.release()
    if not frames:
        raise FileNotFoundError(f"no frames in {path}")
    return frames


def turn_frame_index(azimuth_deg: float) -> int:
    """Return the index of the frame seen from an azimuth, a multiple of 7.5 degrees."""
    return round(azimuth_deg / DEGREES_PER_FRAME) % 48


def near_white_mask(frame: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Return the head's mask: pixels darker than the near-white background, with specks and pinholes removed."""
    mask = (frame.min(axis=2) < 236).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0


def photos(folder: Path) -> dict[str, Path]:
    """Return the file of every photo by name; photos from packages and videos are written to ``folder``."""
    from skimage import data as skimage_data

    folder.mkdir(parents=True, exist_ok=True)
    out = {"astronaut": folder / "astronaut.png"}
    write_rgb(out["astronaut"], skimage_data.astronaut())
    out |= {name: data_folder() / "faces" / f"{name}.jpg" for name in ("obama", "obama2", "biden")}
    for video in TURNS:
        out[video] = folder / f"{video}.png"
        write_rgb(out[video], turn_frames(video)[0])
    return out
