"""RGB pictures of the benchmarks in files, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from spinmeround.images import to_uint8
from spinmeround.io.photo import read_photo


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo as the commands read it, in 8 bits."""
    return to_uint8(read_photo(path).rgb)


def write_rgb(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write an RGB picture in the format of the path's suffix."""
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def write_scaled_sheet(path: Path, rows: Sequence[UInt8[np.ndarray, "h w 3"]], scale: float) -> None:
    """Write rows of pictures below each other, scaled down by area averaging."""
    scaled = [cv2.resize(row, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for row in rows]
    write_rgb(path, np.vstack(scaled))
