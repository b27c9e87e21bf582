"""Z-buffer rasteriser for triangle meshes on the CPU: face index, barycentric coordinates and depth of each pixel.

Visibility of meshes is decided here alone, for the template's renderings and for stage two. Deterministic: bands of
rows are drawn independently, faces in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Int32, Integer

from spinmeround.geometry import project
from spinmeround.threads import over_ranges
from spinmeround.types import ALPHA_CUTOFF, Cameras


@dataclass(frozen=True)
class FaceBuffer:
    """What one camera sees of a mesh.

    Attributes:
        face: index of the nearest face, -1 where there is none.
        barycentric: perspective-correct weights of the face's three corners, 0 where there is none.
        depth: distance along the camera's +Z, infinity where there is none.
    """

    face: Int32[np.ndarray, "h w"]
    barycentric: Float[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class Cutout:
    """Opacity of faces: where it is below ``ALPHA_CUTOFF`` they are not drawn.

    Attributes:
        corner_uv: texture coordinates of each face, origin at the bottom-left, clamped to [0, 1]; NaN where a face is
            opaque.
        alpha: opacity texture, looked up bilinearly.
    """

    corner_uv: Float[np.ndarray, "f 3 2"]
    alpha: Float[np.ndarray, "h w"]


def rasterize(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    cameras: Cameras,
    index: int,
    *,
    cutout: Cutout | None = None,
) -> FaceBuffer:
    """Rasterise a mesh as camera ``index`` sees it; both sides of a face are drawn, pixel centres are sampled.

    Faces that reach behind the camera are left out, not clipped: the rigs of this package stand outside the head.

    Args:
        cutout: which parts of the faces are transparent, if any are.
    """
    pixels = project(np.asarray(vertices, np.float64), cameras.camera_from_world[index], cameras.intrinsics_px[index])
    return rasterize_pixels(pixels, faces, cameras.width_px, cameras.height_px, cutout=cutout)


def rasterize_pixels(
    pixels: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    width_px: int,
    height_px: int,
    *,
    cutout: Cutout | None = None,
) -> FaceBuffer:
    """Rasterise triangles given as (x px, y px, depth), for instance a UV layout at depth 1."""
    face = np.full((height_px, width_px), -1, np.int32)
    barycentric = np.zeros((height_px, width_px, 3), np.float32)
    depth = np.full((height_px, width_px), np.inf, np.float32)
    corner_uv, alpha = np.zeros((0, 3, 2)), np.zeros((1, 1), np.float32)
    if cutout is not None:
        corner_uv, alpha = np.asarray(cutout.corner_uv, np.float64), np.asarray(cutout.alpha, np.float32)
    pixels, faces = np.ascontiguousarray(pixels, np.float64), np.ascontiguousarray(faces, np.int64)
    bands = -(-height_px // _BAND_ROWS)
    listed, starts = _faces_of_bands(pixels, faces, height_px, bands)
    over_ranges(
        bands, _draw, pixels, faces, listed, starts, np.ascontiguousarray(corner_uv), np.ascontiguousarray(alpha), face,
        barycentric, depth,
    )  # fmt: skip
    return FaceBuffer(face, barycentric, depth)


def interpolate(
    attributes: Float[np.ndarray, "v c"], faces: Integer[np.ndarray, "f 3"], buffer: FaceBuffer
) -> Float[np.ndarray, "h w c"]:
    """Interpolate vertex attributes at every pixel of a buffer; 0 where there is no face."""
    out = np.zeros((*buffer.face.shape, attributes.shape[1]), np.float32)
    over_ranges(
        len(out), _interpolate, np.ascontiguousarray(attributes, np.float32), np.ascontiguousarray(faces, np.int64),
        buffer.face, buffer.barycentric, out,
    )  # fmt: skip
    return out


_BAND_ROWS = 32
"""Rows of the picture that one thread draws at a time."""
_MIN_DEPTH = 1e-6
"""Faces with a corner nearer than this, in head units, count as behind the camera."""
_EDGE_SLACK = 1e-9
"""Barycentric coordinates may be this much below 0, so that no pixel falls between two triangles that share an edge."""
_COLUMN_SLACK = 1e-6
"""Of columns, which rounding may not leave out: more are tested than are covered."""
_BLOCK_COLUMNS = 16
"""Columns of a band of which one farthest depth is kept: faces behind it need not be drawn."""
_FACES_BETWEEN = 1024
"""Faces that a band draws before those depths are found anew."""


@numba.njit(nogil=True, cache=True)
def _interpolate(first_row, end_row, attributes, faces, face, barycentric, out):
    """Add the weighted attributes of each pixel's three corners to ``out``."""
    for row in range(first_row, end_row):
        for column in range(face.shape[1]):
            f = face[row, column]
            if f < 0:
                continue
            for k in range(3):
                for c in range(attributes.shape[1]):
                    out[row, column, c] += barycentric[row, column, k] * attributes[faces[f, k], c]


@numba.njit(cache=True)
def _rows_of(pixels, faces, f, height):
    """Return the first and last row whose centre a face covers; none if the last comes first."""
    y0, y1, y2 = pixels[faces[f, 0], 1], pixels[faces[f, 1], 1], pixels[faces[f, 2], 1]
    return max(0, int(np.ceil(min(y0, y1, y2) - 0.5))), min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))


@numba.njit(cache=True)
def _narrowed(begin, end, left, weight, slope):
    """Narrow a face's columns to those where one of its weights, linear along a row, is not negative.

    A thin face crosses few of its bounding box. ``weight`` is that in column ``left``, the face's first.
    """
    if abs(slope) * (end - left + 1) > _EDGE_SLACK:
        zero = min(max((-_EDGE_SLACK - weight) / slope, -1.0), end - left + 1.0)
        if slope > 0:
            begin = max(begin, left + int(np.ceil(zero - _COLUMN_SLACK)))
        else:
            end = min(end, left + int(np.floor(zero + _COLUMN_SLACK)))
    return begin, end


@numba.njit(cache=True)
def _find_farthest(depth, first_row, end_row, farthest):
    """Fill ``farthest``: the largest depth in each block of columns of a band."""
    for block in range(len(farthest)):
        farthest[block] = 0
    for row in range(first_row, end_row):
        for column in range(depth.shape[1]):
            block = column // _BLOCK_COLUMNS
            farthest[block] = max(farthest[block], depth[row, column])


@numba.njit(cache=True)
def _faces_of_bands(pixels, faces, height, bands):
    """Return the faces that touch each band, in order, band after band, and where each band's begin."""
    starts = np.zeros(bands + 1, np.int64)
    for f in range(faces.shape[0]):
        first, last = _rows_of(pixels, faces, f, height)
        for band in range(first // _BAND_ROWS, last // _BAND_ROWS + 1 if first <= last else 0):
            starts[band + 1] += 1
    for band in range(bands):
        starts[band + 1] += starts[band]
    listed, filled = np.empty(starts[bands], np.int64), starts.copy()
    for f in range(faces.shape[0]):
        first, last = _rows_of(pixels, faces, f, height)
        for band in range(first // _BAND_ROWS, last // _BAND_ROWS + 1 if first <= last else 0):
            listed[filled[band]] = f
            filled[band] += 1
    return listed, starts


@numba.njit(cache=True)
def _is_cut_out(corner_uv, w0, w1, w2, alpha):
    """Whether a place on a face, given by its weights, is transparent."""
    u = w0 * corner_uv[0, 0] + w1 * corner_uv[1, 0] + w2 * corner_uv[2, 0]
    if np.isnan(u):
        return False
    v = w0 * corner_uv[0, 1] + w1 * corner_uv[1, 1] + w2 * corner_uv[2, 1]
    height, width = alpha.shape
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1 - v) * height - 0.5, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    x, y = x - left, y - top
    upper = (1 - x) * alpha[top, left] + x * alpha[top, right]
    lower = (1 - x) * alpha[bottom, left] + x * alpha[bottom, right]
    return (1 - y) * upper + y * lower < ALPHA_CUTOFF


@numba.njit(cache=True)
def _farthest_of(farthest, left, right):
    """Return the largest depth in the blocks that hold these columns."""
    found = farthest[left // _BLOCK_COLUMNS]
    for block in range(left // _BLOCK_COLUMNS + 1, right // _BLOCK_COLUMNS + 1):
        found = max(found, farthest[block])
    return found


@numba.njit(nogil=True, cache=True)
def _draw(first_band, end_band, pixels, faces, listed, starts, corner_uv, alpha, face, barycentric, depth):
    """Draw all faces into each band of rows, with a depth test and perspective-correct barycentric coordinates.

    ``corner_uv`` is empty if all are opaque.
    """
    height, width = face.shape
    farthest = np.empty((width + _BLOCK_COLUMNS - 1) // _BLOCK_COLUMNS, np.float32)
    for band in range(first_band, end_band):
        row0, row1 = band * _BAND_ROWS, min((band + 1) * _BAND_ROWS, height)
        for block in range(len(farthest)):
            farthest[block] = np.inf
        drawn = 0
        for place in range(starts[band], starts[band + 1]):
            f = listed[place]
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            x0, x1, x2 = pixels[a, 0], pixels[b, 0], pixels[c, 0]
            y0, y1, y2 = pixels[a, 1], pixels[b, 1], pixels[c, 1]
            z0, z1, z2 = pixels[a, 2], pixels[b, 2], pixels[c, 2]
            nearest = min(z0, z1, z2)
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            left = max(0, int(np.ceil(min(x0, x1, x2) - 0.5)))
            right = min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
            if area == 0 or nearest <= _MIN_DEPTH or left > right:
                continue
            if nearest >= _farthest_of(farthest, left, right):
                continue
            if drawn % _FACES_BETWEEN == _FACES_BETWEEN - 1:
                _find_farthest(depth, row0, row1, farthest)
            drawn += 1
            # Each weight is linear in the picture, and 0 at the other two corners.
            w0_x, w0_y = (y1 - y2) / area, (x2 - x1) / area
            w1_x, w1_y = (y2 - y0) / area, (x0 - x2) / area
            nearness0, nearness1, nearness2 = 1 / z0, 1 / z1, 1 / z2
            first, last = _rows_of(pixels, faces, f, height)
            for row in range(max(row0, first), min(row1 - 1, last) + 1):
                w0_left = w0_x * (left + 0.5 - x2) + w0_y * (row + 0.5 - y2)
                w1_left = w1_x * (left + 0.5 - x0) + w1_y * (row + 0.5 - y0)
                begin, end = _narrowed(left, right, left, w0_left, w0_x)
                begin, end = _narrowed(begin, end, left, w1_left, w1_x)
                begin, end = _narrowed(begin, end, left, 1 - w0_left - w1_left, -w0_x - w1_x)
                for column in range(begin, end + 1):
                    w0, w1 = w0_left + w0_x * (column - left), w1_left + w1_x * (column - left)
                    w2 = 1 - w0 - w1
                    if w0 < -_EDGE_SLACK or w1 < -_EDGE_SLACK or w2 < -_EDGE_SLACK:
                        continue
                    w0, w1, w2 = w0 * nearness0, w1 * nearness1, w2 * nearness2
                    z = 1 / (w0 + w1 + w2)
                    if z < depth[row, column]:
                        if len(corner_uv) > 0 and _is_cut_out(corner_uv[f], w0 * z, w1 * z, w2 * z, alpha):
                            continue
                        depth[row, column] = z
                        face[row, column] = f
                        barycentric[row, column, 0] = w0 * z
                        barycentric[row, column, 1] = w1 * z
                        barycentric[row, column, 2] = w2 * z
