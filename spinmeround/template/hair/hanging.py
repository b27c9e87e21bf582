"""Hair that hangs lower than the skull carries it: measured beside the head, continued round its back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from spinmeround.geometry import project
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.model.head_model import HeadModel

_SHORTEST = 0.05
"""Hair that ends less than this below the ear lobes is the shell's business, head units."""

_NARROWEST = 0.03
"""Hair beside the head counts as hanging from this width on, head units (12 mm)."""


_FRONT = 0.1
"""How far hanging hair reaches in front of the ears, head units."""


@dataclass(frozen=True)
class Curtain:
    """Hair that hangs below what the skull carries: per height, a half-ellipse behind and in front of the ear plane.

    ``u`` runs to the right of the photo, ``w`` horizontally toward the camera. On a side where the photo shows none
    beside the head, hair falls behind the ear only.
    """

    middle: Float[np.ndarray, "3"]
    world_from_uyw: Float[np.ndarray, "3 3"]
    heights: Float[np.ndarray, "r"]
    left: Float[np.ndarray, "r"]
    right: Float[np.ndarray, "r"]
    back: Float[np.ndarray, "r"]
    falls_in_front: tuple[bool, bool]

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Approximate signed distance of world points, negative inside, head units."""
        local = (points - self.middle) @ self.world_from_uyw
        row = [np.interp(local[:, 1], self.heights, values) for values in (self.left, self.right, self.back)]
        across = np.maximum(np.where(local[:, 0] < 0, row[0], row[1]), 1e-3)
        along = np.maximum(np.where(local[:, 2] < 0, row[2], _FRONT), 1e-3)
        ratio = np.sqrt((local[:, 0] / across) ** 2 + (local[:, 2] / along) ** 2)
        ring = (ratio - 1) * np.minimum(across, along)
        before_ears = points[:, 2] - self.middle[2] + 0.03
        # A rounded maximum: swept-back hair has no sharp edge behind the ear.
        swept_back = 0.5 * (ring + before_ears + np.hypot(ring - before_ears, 0.04))
        ring = np.where(np.where(local[:, 0] < 0, *self.falls_in_front), ring, swept_back)
        beyond = np.maximum(self.heights[0] - local[:, 1], local[:, 1] - self.heights[-1])
        return np.maximum(ring, beyond)

    def _corners(self):
        u, w = max(self.left.max(), self.right.max()), max(self.back.max(), _FRONT)
        corners = np.array([[a * u, y, b * w] for a in (-1, 1) for b in (-1, 1) for y in self.heights[[0, -1]]])
        return corners @ self.world_from_uyw.T + self.middle

    def low(self) -> Float[np.ndarray, "3"]:
        """Lower corner of the bounding box in the world."""
        return self._corners().min(0)

    def high(self) -> Float[np.ndarray, "3"]:
        """Upper corner of the bounding box in the world."""
        return self._corners().max(0)


def measure_curtain(
    model: HeadModel, vertices: Float[np.ndarray, "m 3"], thickness: Float[np.ndarray, "m"], photo: PhotoEvidence
) -> Curtain | None:
    """Reads the hanging hair off the plane through the ears that faces the camera; nothing when hair is short.

    Args:
        vertices: the dense neutral head, world frame.
        thickness: of the hair over it, head units.
        photo: the most frontal one.
    """
    right = photo.camera_from_world[0, :3] * [1, 0, 1]
    right /= np.linalg.norm(right)
    world_from_uyw = np.stack([right, [0, 1, 0], np.cross(right, [0, 1, 0])], axis=1)
    ears = (model.masks["ear_left"] > 0.5) | (model.masks["ear_right"] > 0.5)
    middle = vertices[ears].mean(0) * [1, 0, 1]
    local = (vertices - middle) @ world_from_uyw
    scalp = local[model.masks["scalp"] > 0.5]
    heights = np.arange(local[:, 1].min(), scalp[:, 1].max(), 0.006)
    across = np.arange(-0.6, 0.6, 0.004)
    beside, observed = _hair_beside_head(photo, middle, world_from_uyw, heights, across)
    lobes = int(np.searchsorted(heights, local[ears, 1].min()))
    left, left_rows = _extent(beside[:, across < 0][:, ::-1], -across[across < 0][::-1])
    right_extent, right_rows = _extent(beside[:, across > 0], across[across > 0])
    ends_at = [_hanging_from(rows, observed, lobes) for rows in (left_rows, right_rows)]
    hangs = tuple(bool(heights[lobes] - heights[row] >= _SHORTEST) for row in ends_at)
    if not any(hangs):
        return None
    lowest = min(ends_at)
    rows = slice(lowest, len(heights))
    typical = float(np.median(thickness[model.masks["scalp"] > 0.5]))
    skull = _skull_half_width(scalp, heights) + typical
    ends = np.clip((heights - heights[lowest]) / 0.08, 0, 1) ** 0.5 * 0.25 + 0.75
    # The crown is the shell's: the curtain closes below it.
    ends *= np.clip((heights[-1] - heights) / 0.06, 0, 1) ** 0.5
    sides = [
        gaussian_filter1d(np.maximum(_fill_rows(extent, seen), skull) * ends, 3)
        for extent, seen in ((left, left_rows), (right_extent, right_rows))
    ]
    back = _hanging_back(scalp, heights, typical) * ends
    in_front = (hangs[0], hangs[1])
    return Curtain(middle, world_from_uyw, heights[rows], sides[0][rows], sides[1][rows], back[rows], in_front)


def _hair_beside_head(photo: PhotoEvidence, middle, world_from_uyw, heights, across):
    """Per height and place across: is there hair beside the bare head; and per height: does the photo show the row."""
    table = np.stack(np.meshgrid(across, heights, indexing="xy"), axis=-1)
    plane = np.dstack([table, np.zeros(table.shape[:2])]).reshape(-1, 3) @ world_from_uyw.T + middle
    pixels = project(plane, photo.camera_from_world, photo.intrinsics_px)
    height, width = photo.portrait.hair.shape
    column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
    on_photo = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    on_photo &= photo.portrait.observed[row, column]
    beside = (photo.portrait.hair[row, column] > 0.5) & ~np.isfinite(photo.skin_depth[row, column]) & on_photo
    return beside.reshape(table.shape[:2]), on_photo.reshape(table.shape[:2]).any(1)


def _extent(beside, distance):
    """Outermost hair per row, and whether the hair beside the head is wide enough there to hang freely."""
    return (beside * distance).max(1), beside.sum(1) * np.abs(distance[1] - distance[0]) >= _NARROWEST


def _hanging_from(rows, observed, lobes: int) -> int:
    """Lowest row that hair reaches without a gap from the ear lobes down; past the photo's border it goes on."""
    row = lobes
    while row > 0 and (rows[row - 1] or not observed[row - 1]) and rows[lobes]:
        row -= 1
    return row


def _fill_rows(extent, seen):
    """Rows without hanging hair take the width of their neighbours below; above the highest it fades to nothing."""
    index = np.nonzero(seen)[0]
    if len(index) == 0:
        return extent * 0
    filled = np.interp(np.arange(len(extent)), index, extent[index])
    return np.where(np.arange(len(extent)) > index[-1], 0, filled)


def _skull_half_width(scalp_uyw, heights):
    """Half width of the skull per height; below it, of the neck."""
    width = np.array([np.abs(scalp_uyw[np.abs(scalp_uyw[:, 1] - y) < 0.015, 0]).max(initial=0.0) for y in heights])
    return np.maximum(width, np.where(heights < scalp_uyw[:, 1].mean(), 0.13, 0.0))


def _hanging_back(scalp_uyw, heights, thickness: float):
    """Depth of the back of the hair per height: the skull's, and below its widest place a plumb line that leans in."""
    depth = np.array([-scalp_uyw[np.abs(scalp_uyw[:, 1] - y) < 0.02, 2].min(initial=0.0) for y in heights])
    widest = heights[int(np.argmax(depth))]
    leaning = depth.max() * (1 - 0.25 * np.clip((widest - heights) / 0.4, 0, 1))
    return gaussian_filter1d(np.where(heights < widest, np.maximum(depth, leaning), depth) + thickness, 2)
