"""Compiled look-ups that several fits share: where a camera sees a point, and a picture's value between its pixels."""

from __future__ import annotations

import numba


@numba.njit(cache=True, inline="always")
def project_point(projection, x, y, z):
    """Return column and row in pixels and the depth along the camera's axis of a world point.

    Args:
        projection: 3 x 4, pixels from world; pixel centres lie at +0.5.
    """
    depth = projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3]
    column = (projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3]) / depth
    row = (projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3]) / depth
    return column, row, depth


@numba.njit(cache=True, inline="always")
def bilinear(image, column, row):
    """Return the value at an index between pixels (0 is the centre of the first); clamped beyond the border."""
    column = min(max(column, 0.0), image.shape[1] - 1.001)
    row = min(max(row, 0.0), image.shape[0] - 1.001)
    ic, ir = int(column), int(row)
    fc, fr = column - ic, row - ir
    top = image[ir, ic] * (1 - fc) + image[ir, ic + 1] * fc
    return top * (1 - fr) + (image[ir + 1, ic] * (1 - fc) + image[ir + 1, ic + 1] * fc) * fr
