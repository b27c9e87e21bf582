"""Named camera orbits around the head.

The rig is that of the SpinMeRound pictures (EG3D/PanoHead cameras after the padded crop): 2.7 head units from the
centre of the head, focal length 3.877 image widths, principal point below the middle of the head's crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import look_at, project
from spinmeround.types import Cameras

RADIUS = 2.7
"""Distance of the cameras from the world's origin, head units."""
FOCAL_WIDTHS = 3.877
"""Focal length in image widths, as published."""
WHOLE_FOCAL_WIDTHS = 3.3
"""Focal length that keeps the whole head in view: the published one cuts off long hair and the back of the head."""
PRINCIPAL_POINT = (0.5, 0.45)
"""Of all cameras: x in image widths from the left, y in image heights from the top."""
MAX_ELEVATION_DEG = 85.0
"""Steeper cameras would have no well-defined up direction."""

ORBITS: dict[str, tuple[tuple[float, float], ...]] = {
    "orbit-8": tuple((45.0 * i, 0.0) for i in range(8)),
    "anchors": tuple((azimuth, 0.0) for azimuth in (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)),
    "orbit-16": tuple((45.0 * i, 12.0) for i in range(8)) + tuple((45.0 * i + 22.5, -14.0) for i in range(8)),
    "spin-48": tuple((7.5 * i, 0.0) for i in range(48)),
}
"""(azimuth, elevation) in degrees. Azimuth 0 faces the subject and grows toward the subject's left side."""


def orbit_cameras(
    azimuths_deg: Sequence[float],
    elevations_deg: Sequence[float],
    *,
    size_px: int,
    radius: float = RADIUS,
    focal_widths: float = FOCAL_WIDTHS,
) -> Cameras:
    """Place cameras on a sphere so that they look at the world's origin.

    Args:
        azimuths_deg: 0 faces the subject; grows as the camera moves toward the subject's left (+X).
        elevations_deg: one per azimuth, within ±85.
        focal_widths: focal length in image widths.

    Raises:
        ValueError: the two lists differ in length, or an elevation is too steep to have an up direction.
    """
    if len(azimuths_deg) != len(elevations_deg):
        raise ValueError(f"{len(azimuths_deg)} azimuths but {len(elevations_deg)} elevations")
    if any(abs(e) > MAX_ELEVATION_DEG for e in elevations_deg):
        raise ValueError(f"elevations must lie within ±{MAX_ELEVATION_DEG:g} degrees, got {list(elevations_deg)}")
    azimuth, elevation = np.radians(azimuths_deg), np.radians(elevations_deg)
    eyes = radius * np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )
    camera_from_world = np.stack([look_at(eye, np.zeros(3)) for eye in eyes])
    intrinsics_px = np.array(
        [
            [focal_widths * size_px, 0, PRINCIPAL_POINT[0] * size_px],
            [0, focal_widths * size_px, PRINCIPAL_POINT[1] * size_px],
            [0, 0, 1],
        ]
    )
    return Cameras(camera_from_world, np.repeat(intrinsics_px[None], len(eyes), axis=0), size_px, size_px)


def holding_focal_widths(points_world: Float[np.ndarray, "n 3"], cameras: Cameras) -> float:
    """Return the longest focal length, in image widths, at which orbit cameras keep all points in their pictures."""
    longest = np.inf
    room = np.array([PRINCIPAL_POINT, 1 - np.array(PRINCIPAL_POINT)])  # left and up, right and down
    for pose in cameras.camera_from_world:
        across = project(points_world, pose, np.eye(3))[:, :2]
        longest = min(longest, (room / np.maximum([-across.min(0), across.max(0)], 1e-9)).min())
    return float(longest)


def named_orbit_cameras(name: str, *, size_px: int) -> Cameras:
    """Return the cameras of a named orbit.

    Raises:
        KeyError: no orbit of that name; ``ORBITS`` has them all.
    """
    azimuths, elevations = zip(*ORBITS[name], strict=True)
    return orbit_cameras(azimuths, elevations, size_px=size_px)
