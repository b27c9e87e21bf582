"""The silhouette of the head in a photo: that of the projected model, and the edge of the matte along it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.template.fit.residuals import Pose
from spinmeround.template.fit.settings import MatteEdgeSettings
from spinmeround.types import Portrait

_SETTINGS = MatteEdgeSettings()

_REMAP_COLUMNS = 4096
"""Columns of the grid given to OpenCV, which takes no more than 32767."""
_OUTSIDE_PX = -10
"""Coordinate outside every picture."""


@dataclass(frozen=True)
class Silhouette:
    """Surface points of the model along its silhouette in the picture.

    Attributes:
        face: index of the face under each point.
        barycentric: barycentric coordinates on that face.
        pixel: (x, y) in pixels of the photo.
        normal: unit outward normals of the silhouette, (x, y) in the picture.
    """

    face: Integer[np.ndarray, "m"]
    barycentric: Float[np.ndarray, "m 3"]
    pixel: Float[np.ndarray, "m 2"]
    normal: Float[np.ndarray, "m 2"]

    def take(self, index: Integer[np.ndarray, "s"] | Bool[np.ndarray, "m"]) -> Silhouette:
        """Return some of the points."""
        return Silhouette(self.face[index], self.barycentric[index], self.pixel[index], self.normal[index])


@dataclass(frozen=True)
class MatteEdges:
    """Edges of the matte along the normals of a silhouette.

    Attributes:
        shift_px: signed distance from the silhouette to the nearest edge of the matte, outward positive.
        skin: true for an edge of skin: neither hair nor clothes inside it, and not the border of the photo.
        hair: true for an edge of hair.
    """

    shift_px: Float[np.ndarray, "m"]
    skin: Bool[np.ndarray, "m"]
    hair: Bool[np.ndarray, "m"]


def head_silhouette(
    vertices: Float[np.ndarray, "n 3"], faces: Integer[np.ndarray, "f 3"], pose: Pose, width_px: int
) -> Silhouette:
    """Return the silhouette of a mesh in a square photo, one point for every second border pixel of a small rendering.

    Args:
        vertices: world frame.
        width_px: of the photo.
    """
    size_px = _SETTINGS.size_px
    scale = size_px / width_px
    depth = pose.camera_points(vertices)[:, 2:]
    pixels = np.concatenate([pose.project(vertices) * scale, depth], axis=1)
    drawn = rasterize_pixels(pixels, faces, size_px, size_px)
    mask = (drawn.face >= 0).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    row, column = np.nonzero(mask & ~inner & 1)
    chosen = (row + column) % 2 == 0
    row, column = row[chosen], column[chosen]
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SETTINGS.blur_px)
    gradient = np.stack([cv2.Sobel(blurred, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))], axis=-1)[row, column]
    normal = -gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
    pixel = np.stack([column + 0.5, row + 0.5], axis=1) / scale
    return Silhouette(drawn.face[row, column], drawn.barycentric[row, column].astype(np.float64), pixel, normal)


def matte_edges(portrait: Portrait, silhouette: Silhouette, *, reach_px: float) -> MatteEdges:
    """Find along each normal, ``reach_px`` both ways, the nearest place where the matte falls below one half.

    The points of the silhouette are centres of the last covered pixels of a small rendering, so the model ends half of
    such a pixel further out; ``shift_px`` is measured from there.
    """
    s = _SETTINGS
    half_pixel = 0.5 * portrait.alpha.shape[0] / s.size_px
    steps = np.arange(-np.ceil(reach_px), np.ceil(reach_px) + 1)
    along = (silhouette.pixel + half_pixel * silhouette.normal)[:, None] + steps[:, None] * silhouette.normal[:, None]
    inside = _sample(portrait.alpha, along) > s.inside
    ends = inside[:, :-1] & ~inside[:, 1:]
    distance = np.where(ends, np.abs(steps[:-1] + 0.5), np.inf)
    nearest = distance.argmin(1)
    found = np.isfinite(distance.min(1)) if len(distance) else np.zeros(0, bool)
    shift = steps[nearest] + 0.5
    edge = silhouette.pixel + (half_pixel + shift)[:, None] * silhouette.normal
    behind = np.stack([edge - d * half_pixel * silhouette.normal for d in s.behind_half_pixels])
    observed = portrait.observed.astype(np.float32)
    before = edge + s.before_half_pixels * half_pixel * silhouette.normal
    cut = (_sample(observed, before) < s.min_observed) | (_sample(observed, edge) < s.min_observed)
    hair = _sample(portrait.hair, behind).max(0) > s.mostly
    clothes = _sample(portrait.clothes, behind).max(0) > s.mostly
    usable = found & ~cut & ~clothes
    return MatteEdges(shift, usable & ~hair, usable & hair)


def skin_silhouette_iou(portrait: Portrait, head: Bool[np.ndarray, "h w"], *, lowest_row: float) -> float:
    """Return the intersection over union of the model's mask and the matte, on bare skin.

    Only observed pixels that are neither hair nor clothes count, above ``lowest_row``, where the model's neck ends.
    """
    counts = portrait.observed & (portrait.hair < _SETTINGS.inside) & (portrait.clothes < _SETTINGS.inside)
    counts &= (np.arange(len(head)) < lowest_row)[:, None]
    person = portrait.alpha > _SETTINGS.inside
    either = counts & (head | person)
    return float((counts & head & person).sum() / max(either.sum(), 1))


def _sample(image: Float[np.ndarray, "h w"], pixel: Float[np.ndarray, "*s 2"]) -> Float[np.ndarray, "*s"]:
    """Interpolate an image bilinearly at pixels; 0 outside."""
    where = (np.reshape(pixel, (1, -1, 2)) - 0.5).astype(np.float32)
    rows = -(-where.shape[1] // _REMAP_COLUMNS)
    padded = np.full((rows * _REMAP_COLUMNS, 2), _OUTSIDE_PX, np.float32)
    padded[: where.shape[1]] = where[0]
    grid = padded.reshape(rows, _REMAP_COLUMNS, 2)
    values = cv2.remap(np.asarray(image, np.float32), grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return values.reshape(-1)[: where.shape[1]].reshape(pixel.shape[:-1])
