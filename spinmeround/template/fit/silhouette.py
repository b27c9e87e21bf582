"""The outline of the head in a photo: where the model ends in the picture, and where the matte says it should end."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.template.fit.residuals import Pose
from spinmeround.types import Portrait

_OUTLINE_SIZE = 256
_MOSTLY = 0.4
"""Share of hair or clothes from which on an edge of the matte is not an edge of the skin."""


@dataclass(frozen=True)
class Outline:
    """Surface points of the model along its own outline in the picture.

    Attributes:
        face: index of the face under each point.
        barycentric: where on that face.
        pixel: pixels of the photo.
        normal: unit outward normals of the outline, in the picture.
    """

    face: Integer[np.ndarray, "m"]
    barycentric: Float[np.ndarray, "m 3"]
    pixel: Float[np.ndarray, "m 2"]
    normal: Float[np.ndarray, "m 2"]

    def take(self, index: Integer[np.ndarray, "s"] | Bool[np.ndarray, "m"]) -> Outline:
        """Some of the points."""
        return Outline(self.face[index], self.barycentric[index], self.pixel[index], self.normal[index])


@dataclass(frozen=True)
class MatteEdges:
    """What the matte says along the normals of an outline.

    Attributes:
        shift_px: signed distance from the outline to the nearest place where the matte ends, outward positive.
        skin: true where skin ends there: neither hair nor clothes inside the edge, and not the border of the photo.
        hair: true where hair ends there.
    """

    shift_px: Float[np.ndarray, "m"]
    skin: Bool[np.ndarray, "m"]
    hair: Bool[np.ndarray, "m"]


def head_outline(
    vertices: Float[np.ndarray, "n 3"], faces: Integer[np.ndarray, "f 3"], pose: Pose, width_px: int
) -> Outline:
    """The outer outline of a mesh in a square photo, one point for about every second pixel of a 256-pixel picture."""
    scale = _OUTLINE_SIZE / width_px
    depth = pose.camera_points(vertices)[:, 2:]
    pixels = np.concatenate([pose.project(vertices) * scale, depth], axis=1)
    drawn = rasterize_pixels(pixels, faces, _OUTLINE_SIZE, _OUTLINE_SIZE)
    mask = (drawn.face >= 0).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    row, column = np.nonzero(mask & ~inner & 1)
    chosen = (row + column) % 2 == 0
    row, column = row[chosen], column[chosen]
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2.0)
    slope = np.stack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)], axis=-1)[row, column]
    normal = -slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    pixel = np.stack([column + 0.5, row + 0.5], axis=1) / scale
    return Outline(drawn.face[row, column], drawn.barycentric[row, column].astype(np.float64), pixel, normal)


def matte_edges(portrait: Portrait, outline: Outline, *, reach_px: float) -> MatteEdges:
    """Looks along each normal, ``reach_px`` both ways, for the nearest place where the matte falls below one half.

    The outline's points are centres of the last covered pixels of a coarse picture, so the model really ends half of
    such a pixel further out; ``shift_px`` is measured from there.
    """
    half_pixel = 0.5 * portrait.alpha.shape[0] / _OUTLINE_SIZE
    steps = np.arange(-np.ceil(reach_px), np.ceil(reach_px) + 1)
    along = (outline.pixel + half_pixel * outline.normal)[:, None] + steps[:, None] * outline.normal[:, None]
    inside = _sample(portrait.alpha, along) > 0.5
    ends = inside[:, :-1] & ~inside[:, 1:]
    distance = np.where(ends, np.abs(steps[:-1] + 0.5), np.inf)
    nearest = distance.argmin(1)
    found = np.isfinite(distance.min(1)) if len(distance) else np.zeros(0, bool)
    shift = steps[nearest] + 0.5
    edge = outline.pixel + (half_pixel + shift)[:, None] * outline.normal
    behind = np.stack([edge - d * half_pixel * outline.normal for d in (2.0, 5.0)])
    observed = portrait.observed.astype(np.float32)
    cut = (_sample(observed, edge + 4 * half_pixel * outline.normal) < 0.99) | (_sample(observed, edge) < 0.99)
    hair = _sample(portrait.hair, behind).max(0) > _MOSTLY
    clothes = _sample(portrait.clothes, behind).max(0) > _MOSTLY
    usable = found & ~cut & ~clothes
    return MatteEdges(shift, usable & ~hair, usable & hair)


def skin_outline_iou(portrait: Portrait, head: Bool[np.ndarray, "h w"], *, lowest_row: float) -> float:
    """Intersection over union of the model's mask and the matte, on pixels that are neither hair, clothes nor unseen.

    Rows below ``lowest_row``, where the model's neck ends, do not count.
    """
    counts = portrait.observed & (portrait.hair < 0.5) & (portrait.clothes < 0.5)
    counts &= (np.arange(len(head)) < lowest_row)[:, None]
    person = portrait.alpha > 0.5
    either = counts & (head | person)
    return float((counts & head & person).sum() / max(either.sum(), 1))


def _sample(image: Float[np.ndarray, "h w"], pixel: Float[np.ndarray, "*s 2"]) -> Float[np.ndarray, "*s"]:
    """Bilinear values of an image at pixels; 0 outside."""
    where = (np.reshape(pixel, (1, -1, 2)) - 0.5).astype(np.float32)
    # OpenCV takes no more than 32767 columns a row.
    rows = -(-where.shape[1] // 4096)
    padded = np.full((rows * 4096, 2), -10, np.float32)
    padded[: where.shape[1]] = where[0]
    grid = padded.reshape(rows, 4096, 2)
    values = cv2.remap(np.asarray(image, np.float32), grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return values.reshape(-1)[: where.shape[1]].reshape(pixel.shape[:-1])
