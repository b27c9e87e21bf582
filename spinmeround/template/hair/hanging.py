"""Hair that hangs below the shell around the skull: measured beside the head, continued round its back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d, median_filter

from spinmeround.geometry import project
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.settings import HangingHairSettings
from spinmeround.template.model.head_model import HeadModel

_SETTINGS = HangingHairSettings()

_INSIDE = 0.5
"""Value of a soft mask or matte in [0, 1] from which on a vertex or a pixel belongs to it."""


@dataclass(frozen=True)
class HangingHair:
    """Hair below the shell: at each height half an ellipse behind and half a one in front of the plane of the ears.

    Local coordinates are (u, y, w): ``u`` runs to the right of the photo, ``y`` is the world's height, ``w`` runs
    horizontally toward the camera. On a side where the photo shows no hair beside the head, hair lies behind the ear
    only.

    Attributes:
        origin: middle between the ears at height 0, world frame.
        world_from_uyw: rotation.
        heights: of the rows, world y, increasing.
        left: half width of each row toward negative u.
        right: half width of each row toward positive u.
        back: depth of each row behind the plane of the ears.
        falls_in_front: whether hair lies in front of the ear on the left and on the right.
    """

    origin: Float[np.ndarray, "3"]
    world_from_uyw: Float[np.ndarray, "3 3"]
    heights: Float[np.ndarray, "r"]
    left: Float[np.ndarray, "r"]
    right: Float[np.ndarray, "r"]
    back: Float[np.ndarray, "r"]
    falls_in_front: tuple[bool, bool]

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return the approximate signed distance of world points, negative inside, head units."""
        s = _SETTINGS
        local = (points - self.origin) @ self.world_from_uyw
        left, right, back = (np.interp(local[:, 1], self.heights, row) for row in (self.left, self.right, self.back))
        half_width = np.maximum(np.where(local[:, 0] < 0, left, right), s.min_half_axis)
        half_depth = np.maximum(np.where(local[:, 2] < 0, back, s.front), s.min_half_axis)
        ratio = np.sqrt((local[:, 0] / half_width) ** 2 + (local[:, 2] / half_depth) ** 2)
        ellipse = (ratio - 1) * np.minimum(half_width, half_depth)
        before_ears = points[:, 2] - self.origin[2] + s.behind_ears
        # A rounded maximum: swept-back hair has no sharp edge behind the ear.
        swept_back = 0.5 * (ellipse + before_ears + np.hypot(ellipse - before_ears, s.swept_back_rounding))
        ring = np.where(np.where(local[:, 0] < 0, *self.falls_in_front), ellipse, swept_back)
        beyond = np.maximum(self.heights[0] - local[:, 1], local[:, 1] - self.heights[-1])
        return np.maximum(ring, beyond)

    def _corners(self):
        """Eight corners of the bounding box in local axes, as world points."""
        u, w = max(self.left.max(), self.right.max()), max(self.back.max(), _SETTINGS.front)
        corners = np.array([[a * u, y, b * w] for a in (-1, 1) for b in (-1, 1) for y in self.heights[[0, -1]]])
        return corners @ self.world_from_uyw.T + self.origin

    def low(self) -> Float[np.ndarray, "3"]:
        """Return the lower corner of the bounding box, world frame."""
        return self._corners().min(0)

    def high(self) -> Float[np.ndarray, "3"]:
        """Return the upper corner of the bounding box, world frame."""
        return self._corners().max(0)


def measure_hanging_hair(
    model: HeadModel, vertices: Float[np.ndarray, "m 3"], thickness: Float[np.ndarray, "m"], photo: PhotoEvidence
) -> HangingHair | None:
    """Measure the hanging hair in the plane through the ears that faces the camera; None if the hair is short.

    Args:
        vertices: the dense neutral head, world frame.
        thickness: of the hair over it, head units.
        photo: the most frontal one.
    """
    s = _SETTINGS
    u_axis = photo.camera_from_world[0, :3] * [1, 0, 1]
    u_axis /= np.linalg.norm(u_axis)
    world_from_uyw = np.stack([u_axis, [0, 1, 0], np.cross(u_axis, [0, 1, 0])], axis=1)
    ears = (model.masks["ear_left"] > _INSIDE) | (model.masks["ear_right"] > _INSIDE)
    origin = vertices[ears].mean(0) * [1, 0, 1]
    local = (vertices - origin) @ world_from_uyw
    scalp = local[model.masks["scalp"] > _INSIDE]
    heights = np.arange(local[:, 1].min(), scalp[:, 1].max(), s.row_step)
    across = np.arange(-s.half_width, s.half_width, s.column_step)
    beside, observed = _hair_beside_head(photo, origin, world_from_uyw, heights, across)
    lobes = int(np.searchsorted(heights, local[ears, 1].min()))
    left, left_rows = _extent(beside[:, across < 0][:, ::-1], -across[across < 0][::-1])
    right, right_rows = _extent(beside[:, across > 0], across[across > 0])
    ends_at = [_lowest_row_of_hair(rows, observed, lobes) for rows in (left_rows, right_rows)]
    hangs = tuple(bool(heights[lobes] - heights[row] >= s.min_length) for row in ends_at)
    if not any(hangs):
        return None
    lowest = min(ends_at)
    rows = slice(lowest, len(heights))
    typical = float(np.median(thickness[model.masks["scalp"] > _INSIDE]))
    skull = _skull_half_width(scalp, heights) + typical
    taper = np.clip((heights - heights[lowest]) / s.end_height, 0, 1) ** 0.5 * s.end_narrowing + (1 - s.end_narrowing)
    depth, widest = _back_depth(scalp, thickness[model.masks["scalp"] > _INSIDE], heights)
    # The crown is the shell's: above the widest place of the skull the hanging hair is rounded as that is.
    taper *= np.sqrt(1 - np.clip((heights - widest) / (heights[-1] - widest), 0, 1) ** 2)
    sides = (_fill_rows(extent, seen) for extent, seen in ((left, left_rows), (right, right_rows)))
    left, right = (
        gaussian_filter1d(np.maximum(median_filter(side, s.side_rows), skull) * taper, s.side_blur_rows)
        for side in sides
    )
    # Hair that stands off on both sides, as curls do, stands off behind as well.
    standing_off = np.clip(np.minimum(left, right) - skull * taper, 0, None)
    back = depth * taper + s.back_standing_off * standing_off
    falls_in_front = (hangs[0], hangs[1])
    return HangingHair(origin, world_from_uyw, heights[rows], left[rows], right[rows], back[rows], falls_in_front)


def _hair_beside_head(photo: PhotoEvidence, origin, world_from_uyw, heights, across):
    """Whether there is hair beside the bare head, per height and place across; whether the photo shows each height."""
    grid = np.stack(np.meshgrid(across, heights, indexing="xy"), axis=-1)
    plane = np.dstack([grid, np.zeros(grid.shape[:2])]).reshape(-1, 3) @ world_from_uyw.T + origin
    pixels = project(plane, photo.camera_from_world, photo.intrinsics_px)
    height, width = photo.portrait.hair.shape
    column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
    on_photo = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    on_photo &= photo.portrait.observed[row, column]
    beside = (photo.portrait.hair[row, column] > _INSIDE) & ~np.isfinite(photo.skin_depth[row, column]) & on_photo
    return beside.reshape(grid.shape[:2]), on_photo.reshape(grid.shape[:2]).any(1)


def _extent(beside, distance):
    """Outermost hair per row, and whether the hair beside the head is wide enough there to hang freely."""
    width = beside.sum(1) * np.abs(distance[1] - distance[0])
    return (beside * distance).max(1), width >= _SETTINGS.min_width


def _lowest_row_of_hair(rows, observed, lobes: int) -> int:
    """Lowest row that hair reaches from the ear lobes down without a gap; past the photo's border it goes on."""
    row = lobes
    while row > 0 and (rows[row - 1] or not observed[row - 1]) and rows[lobes]:
        row -= 1
    return row


def _fill_rows(extent, seen):
    """Interpolate rows without hanging hair between those that have it; 0 above the highest."""
    index = np.nonzero(seen)[0]
    if len(index) == 0:
        return extent * 0
    filled = np.interp(np.arange(len(extent)), index, extent[index])
    return np.where(np.arange(len(extent)) > index[-1], 0, filled)


def _skull_half_width(scalp_uyw, heights):
    """Half width of the skull per height; below it, of the neck."""
    s = _SETTINGS
    width = np.array(
        [np.abs(scalp_uyw[np.abs(scalp_uyw[:, 1] - y) < s.skull_band, 0]).max(initial=0.0) for y in heights]
    )
    return np.maximum(width, np.where(heights < scalp_uyw[:, 1].mean(), s.neck_half_width, 0.0))


def _back_depth(scalp_uyw, thickness, heights):
    """Return the depth of the back of the hair per height, below the skull's widest place leaning in, and that height.

    Above that place it is the same.

    Args:
        thickness: of the hair over each vertex of the scalp.
    """
    s = _SETTINGS
    depth = np.array([-scalp_uyw[np.abs(scalp_uyw[:, 1] - y) < s.back_band, 2].min(initial=0.0) for y in heights])
    row = int(np.argmax(depth))
    widest = heights[row]
    leaning = depth[row] * (1 - s.back_lean * np.clip((widest - heights) / s.lean_height, 0, 1))
    deepest = np.where(heights < widest, np.maximum(depth, leaning), depth[row])
    behind = (np.abs(scalp_uyw[:, 1] - widest) < s.back_band) & (scalp_uyw[:, 2] < -s.behind * depth[row])
    return gaussian_filter1d(deepest + thickness[behind].mean(), s.back_blur_rows), float(widest)
