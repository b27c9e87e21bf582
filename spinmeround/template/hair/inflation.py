"""Hair beside the head, inflated from its outline in a photo: buns, curls and an afro are as round as they are wide."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.geometry import project
from spinmeround.images import sample
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.settings import InflationSettings

_SETTINGS = InflationSettings()

_INSIDE = 0.5
"""Value of a matte in [0, 1] from which on a pixel belongs to it."""


def inflated_distance(photo: PhotoEvidence, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return the approximate signed distance to the hair that a photo shows beside the bare head, head units.

    The hair stands in a plane through the ears that faces the camera. Its thickness there is that of a circle as far
    from the outline as the pixel is (Igarashi et al., "Teddy", SIGGRAPH 1999), up to a largest radius. It tapers behind
    and before the bare head, where the shell goes on.

    Returns:
        Negative inside; at least the truncation of the volume far away.
    """
    s = _SETTINGS
    head = np.isfinite(photo.skin_depth)
    beside = hair_beside_head(photo)
    if not beside.any():
        return np.full(len(points), s.far)
    hair = beside | ((photo.portrait.hair > _INSIDE) & photo.portrait.observed)
    middle = photo.camera_from_world[2, 3] + s.behind_centre
    unit_per_px = middle / photo.intrinsics_px[0, 0]
    outline, outside, from_beside = (
        _distance_px(mask) * unit_per_px for mask in (_replicated(hair | head, photo), ~(hair | head), ~beside)
    )
    gate = 1 - smooth_ramp(from_beside, 0.0, s.taper)
    depth_of = np.minimum(outline, s.radius)
    thickness = np.sqrt(depth_of * (2 * s.radius - depth_of)) * gate
    maps = np.dstack([thickness, np.where(gate > 0, 0, s.far) + outside]).astype(np.float32)
    pixels = project(points, photo.camera_from_world, photo.intrinsics_px)
    height, width = head.shape
    within = (pixels[:, :2] >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    half, beyond = sample(maps, pixels[:, :2]).T
    # Below the ears hair comes from the nape.
    nape = s.nape_behind_ears * smooth_ramp(-points[:, 1], *s.below_ears)
    distance = np.abs(pixels[:, 2] - middle - nape) - half + s.thinnest + beyond
    return np.where(within, np.minimum(distance, s.far), s.far)


def hair_beside_head(photo: PhotoEvidence) -> Bool[np.ndarray, "h w"]:
    """Return the pixels of hair that the bare head does not lie behind."""
    return (photo.portrait.hair > _INSIDE) & photo.portrait.observed & ~np.isfinite(photo.skin_depth)


def inflated_corners(photo: PhotoEvidence) -> Float[np.ndarray, "c 3"]:
    """Return corners of a box around the inflated hair of a photo, world frame; none without such hair."""
    rows, columns = np.nonzero(hair_beside_head(photo))
    if not len(rows):
        return np.zeros((0, 3))
    s = _SETTINGS
    middle, radius = photo.camera_from_world[2, 3] + s.behind_centre, s.radius
    pixels = np.array([[x, y, 1.0] for x in (columns.min(), columns.max()) for y in (rows.min(), rows.max())])
    rays = pixels @ np.linalg.inv(photo.intrinsics_px).T
    camera = np.concatenate([rays * depth for depth in (middle - radius, middle + s.nape_behind_ears + radius)])
    return (camera - photo.camera_from_world[:3, 3]) @ photo.camera_from_world[:3, :3]


def _replicated(mask: Bool[np.ndarray, "h w"], photo: PhotoEvidence) -> Bool[np.ndarray, "h w"]:
    """Continue a mask beyond the photo's border, which is no outline of the hair."""
    rows, columns = np.flatnonzero(photo.portrait.observed.any(1)), np.flatnonzero(photo.portrait.observed.any(0))
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    around = ((rows[0], len(mask) - rows[-1] - 1), (columns[0], mask.shape[1] - columns[-1] - 1))
    return np.pad(inner, around, mode="edge")


def _distance_px(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the distance of each pixel of a mask to its border, 0 outside."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5).astype(np.float64)
