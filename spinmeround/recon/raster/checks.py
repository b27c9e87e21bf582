"""Checks of the input that all rasterisers share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from spinmeround.types import Cameras, Splats


def check_splats_and_cameras(splats: Splats, cameras: Cameras, camera_from_world: Float[Tensor, "..."] | None) -> None:
    """Refuse what no rasteriser can draw.

    Raises:
        ValueError: a number of coefficients that no degree of SH has, a skewed camera, or not one pose a camera.
    """
    if splats.sh.shape[1] not in (1, 4, 9, 16):
        raise ValueError(f"spherical harmonics come in 1, 4, 9 or 16 coefficients, got {splats.sh.shape[1]}")
    if np.any(cameras.intrinsics_px[:, 0, 1] != 0) or np.any(cameras.intrinsics_px[:, 1, 0] != 0):
        raise ValueError("cameras with skew are not supported: intrinsics_px[:, 0, 1] must be 0")
    if camera_from_world is not None and camera_from_world.shape != (len(cameras), 4, 4):
        raise ValueError(f"poses must be {len(cameras)} of 4 by 4, got {tuple(camera_from_world.shape)}")
