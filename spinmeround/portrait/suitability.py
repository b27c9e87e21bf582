"""Can this face be used? Refusals that can honestly be made from one picture, each in one line."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from spinmeround.errors import NoFaceError
from spinmeround.portrait.landmarks import FACE_OVAL, FaceMesh
from spinmeround.portrait.pose import HeadFrame

MIN_FACE_PX = 40
MAX_YAW_DEG = 58.0
MAX_PITCH_DEG = 45.0
_MAX_SHARE_BEYOND = 0.04


def check_face(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, frame: HeadFrame, name: str) -> list[str]:
    """Refuse a face that cannot be used; return notes about one that can, with reservations.

    Args:
        rgb: the upright photo.
        name: of the photo, for messages.

    Raises:
        NoFaceError: too small, cut by the border, or turned so far that an eye is hidden.
    """
    if mesh.height_px < MIN_FACE_PX:
        raise NoFaceError(f"{name}: the face is {mesh.height_px:.0f} pixels high; at least {MIN_FACE_PX} are needed")
    _check_border(rgb, mesh, name)
    yaw, pitch, _ = frame.angles_deg
    if abs(yaw) > MAX_YAW_DEG:
        raise NoFaceError(
            f"{name}: the face is turned aside by about {abs(yaw):.0f}°, one eye is hidden; use a photo within 45°"
        )
    if abs(pitch) > MAX_PITCH_DEG:
        raise NoFaceError(f"{name}: the face looks up or down by about {abs(pitch):.0f}°; use a photo within 30°")
    return [f"the face is turned aside by {abs(yaw):.0f}°; up to 45° gives a better head"] if abs(yaw) > 45 else []


def _check_border(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, name: str) -> None:
    """The landmark model guesses points beyond the picture; they are not there to be used."""
    height, width = rgb.shape[:2]
    points = mesh.landmarks_px
    outside = (points < 0).any(1) | (points[:, 0] > width) | (points[:, 1] > height)
    if outside.mean() > _MAX_SHARE_BEYOND or outside[list(FACE_OVAL)].mean() > 0.2:
        raise NoFaceError(f"{name}: the face is cut by the border of the photo; use one that shows all of it")
