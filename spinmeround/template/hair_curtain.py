"""Hair that hangs lower than the skull carries it: measured beside the head, continued round its back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from spinmeround.geometry import project
from spinmeround.template.head_model import HeadModel
from spinmeround.template.photo_evidence import PhotoEvidence

_SHORTEST = 0.05
"""Hair that ends less than this below the ear lobes is the shell's business, head units."""

_NARROWEST = 0.03
"""Hair beside the head counts as hanging from this width on, head units (12 mm)."""


@dataclass(frozen=True)
class Curtain:
    """Hair that hangs below what the skull carries: per height, a half-ellipse behind and in front of the ear plane.

    ``u`` runs to the right of the photo, ``w`` horizontally toward the camera.
    """

    world_from_uyw: Float[np.ndarray, "3 3"]
    heights: Float[np.ndarray, "r"]
    left: Float[np.ndarray, "r"]
    right: Float[np.ndarray, "r"]
    back: Float[np.ndarray, "r"]
    front: float

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Approximate signed distance of world points, negative inside, head units."""
        local = points @ self.world_from_uyw
        row = [np.interp(local[:, 1], self.heights, values) for values in (self.left, self.right, self.back)]
        across = np.maximum(np.where(local[:, 0] < 0, row[0], row[1]), 1e-3)
        along = np.maximum(np.where(local[:, 2] < 0, row[2], self.front), 1e-3)
        ratio = np.sqrt((local[:, 0] / across) ** 2 + (local[:, 2] / along) ** 2)
        ring = (ratio - 1) * np.minimum(across, along)
        beyond = np.maximum(self.heights[0] - local[:, 1], local[:, 1] - self.heights[-1])
        return np.maximum(ring, beyond)

    def _corners(self):
        u, w = max(self.left.max(), self.right.max()), max(self.back.max(), self.front)
        corners = np.array([[a * u, y, b * w] for a in (-1, 1) for b in (-1, 1) for y in self.heights[[0, -1]]])
        return corners @ self.world_from_uyw.T

    def low(self) -> Float[np.ndarray, "3"]:
        """Lower corner of the bounding box in the world."""
        return self._corners().min(0)

    def high(self) -> Float[np.ndarray, "3"]:
        """Upper corner of the bounding box in the world."""
        return self._corners().max(0)


def measure_curtain(model: HeadModel, vertices, thickness, photo: PhotoEvidence) -> Curtain | None:
    """Reads the hanging hair off the plane through the ears that faces the camera; nothing when hair is short."""
    right = photo.camera_from_world[0, :3] * [1, 0, 1]
    right /= np.linalg.norm(right)
    world_from_uyw = np.stack([right, [0, 1, 0], np.cross(right, [0, 1, 0])], axis=1)
    ears = vertices[(model.masks["ear_left"] > 0.5) | (model.masks["ear_right"] > 0.5)]
    top, bottom = ears[:, 1].max(), vertices[:, 1].min()
    heights = np.arange(bottom, top, 0.006)
    u = np.arange(-0.6, 0.6, 0.004)
    plane = np.stack(np.meshgrid(u, heights, [0.0], indexing="xy"), axis=-1)[:, :, 0] @ world_from_uyw.T
    pixels = project(plane.reshape(-1, 3), photo.camera_from_world, photo.intrinsics_px)
    height, width = photo.portrait.hair.shape
    column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
    on_photo = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    on_photo &= photo.portrait.observed[row, column]
    beside = (photo.portrait.hair[row, column] > 0.5) & ~np.isfinite(photo.skin_depth[row, column]) & on_photo
    beside, on_photo = beside.reshape(len(heights), -1), on_photo.reshape(len(heights), -1)
    left, left_rows = _extent(beside[:, u < 0][:, ::-1], -u[u < 0][::-1])
    right_extent, right_rows = _extent(beside[:, u > 0], u[u > 0])
    lobes = int(np.searchsorted(heights, ears[:, 1].min()))
    lowest = min(_hanging_from(rows, on_photo.any(1), lobes) for rows in (left_rows, right_rows))
    if heights[lobes] - heights[lowest] < _SHORTEST:
        return None
    rows = slice(lowest, len(heights))
    local = vertices @ world_from_uyw
    scalp = model.masks["scalp"] > 0.5
    back = _hanging_back(local[scalp], heights, float(np.median(thickness[scalp])))
    half_neck = 0.13
    sides = [
        gaussian_filter1d(np.maximum(_continue_down(extent, seen), half_neck), 3)
        for extent, seen in ((left, left_rows), (right_extent, right_rows))
    ]
    return Curtain(world_from_uyw, heights[rows], sides[0][rows], sides[1][rows], back[rows], front=0.11)


def _extent(beside, distance):
    """Outermost hair per row, and whether the hair beside the head is wide enough there to hang freely."""
    return (beside * distance).max(1), beside.sum(1) * np.abs(distance[1] - distance[0]) >= _NARROWEST


def _hanging_from(rows, observed, lobes: int) -> int:
    """Lowest row that hair reaches without a gap from the ear lobes down; past the photo's border it goes on."""
    row = lobes
    while row > 0 and (rows[row - 1] or not observed[row - 1]) and rows[lobes]:
        row -= 1
    return row


def _continue_down(extent, seen):
    """Rows below the lowest measured one keep its width."""
    index = np.nonzero(seen)[0]
    return np.interp(np.arange(len(extent)), index, extent[index]) if len(index) else extent


def _hanging_back(scalp_uyw, heights, thickness: float):
    """Depth of the back of the hair per height: the skull's, and below its widest place a plumb line that leans in."""
    depth = np.array([-scalp_uyw[np.abs(scalp_uyw[:, 1] - y) < 0.02][:, 2].min(initial=0.0) for y in heights])
    hanging = np.maximum.accumulate(depth[::-1])[::-1]
    widest = heights[int(np.argmax(depth))]
    leaning = 1 - 0.25 * np.clip((widest - heights) / 0.4, 0, 1)
    return gaussian_filter1d(np.maximum(depth, hanging * leaning) + thickness, 2)
