"""What blending 3D Gaussians and blending surfels share: splats dealt out to tiles, pixel rows, gradients of pairs.

Projection hands a splat to blending in two rows, one of ``means2d`` and one of ``records``; ``layout`` names their
columns. The conic of a splat's footprint is kept as its upper-triangular root R = [[root_xx, root_xy], [0, root_yy]],
scaled so that the falloff is a power of two. With d = pixel - mean and the *whitened* coordinates (s, t) = R d,

    alpha(pixel) = 2^(log2 opacity - s^2 - t^2)        (3D Gaussians; ``surfel_blending`` says what surfels do)

A root instead of the usual three conic coefficients keeps needles accurate in float32 (no difference of large numbers),
is never negative, and costs one multiply-add less. ``radius_y`` is how far above or below the mean alpha can still be
1/255. Surfels alone have a ``tilt``, and their root is part of ``means2d``, in float64.

A tile is 16 by 16 pixels; ``layout`` draws its scratch. Indices into the scratch are uint64: numba then leaves out the
test for negative indices, which would keep the loop from becoming vector code.

The backward passes go front to back as well. T is the transmittance in front of a splat, g the incoming gradient of a
pixel. With f = g . value the gradient of the loss to the splat's weight and B = sum over the splats *behind* it of
weight * f, d(loss)/d(alpha) = T f - B / (1 - alpha). B starts as g . pixel and is counted down, so that no second,
back-to-front order of the list is needed.

Every (tile, splat) pair writes its gradient to a row of ``pair_grads`` of its own; the rows of a splat are neighbours
and are added in tile order later. No atomics: the result does not depend on the number of threads.

Median depth is that of the splat at which the transmittance falls to one half, or of the last one where it never does,
so each pixel only has to remember a place in its tile's list. Its gradient is that of that splat's depth.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
from spinmeround.recon.raster.layout import RECORD_SIZE, TILE, TILES_X0, TILES_X1, TILES_Y0, TILES_Y1

MIN_ALPHA = 1 / 255
"""A splat's alpha under this counts as 0, as in 3D Gaussian Splatting: one step of an 8-bit picture."""
MAX_ALPHA = 0.999
"""A splat's alpha is held below this, so that 1 - alpha can be divided by."""
MIN_TRANSMITTANCE = 1e-4
"""A pixel is finished when its transmittance is at most this."""
MEDIAN_TRANSMITTANCE = 0.5
"""The last splat in front of which the transmittance is above this has the median depth."""
MIN_LOG2_ALPHA = -30
"""Exponents are held above this, so that ``exp2`` stays in its range."""
CHECK_EVERY = 16
"""Splats between two searches for pixel rows that are finished."""
ROOT_SCALE = math.sqrt(0.5 * math.log2(math.e))
"""exp(-(a^2 + b^2) / 2) = 2^-((a c)^2 + (b c)^2) with this c."""
RADIUS_MARGIN_PX = 1e-3
"""Added to the radius of a footprint, against rounding."""

_f = np.float32


@numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, inline="always")
def exp2(x):
    """Return 2^x, -126 <= x <= 127, by a minimax polynomial; relative error 2.3e-7. No library call: it vectorises."""
    whole = np.floor(x + _f(0.5))
    rest = x - whole
    power = _f(0.001327647129)
    power = power * rest + _f(0.009675541893)
    power = power * rest + _f(0.05550713092)
    power = power * rest + _f(0.24022120237)
    power = power * rest + _f(0.69314694405)
    power = power * rest + _f(1.00000011921)
    exponent = (np.int32(whole) + np.int32(127)) << np.int32(23)
    return power * np.int32(exponent).view(np.float32)


@compiled("int64(int32[:,::1], int64, int64[::1], int64[::1])")
def count_pairs(tiles, tiles_x, tile_starts, splat_starts):
    """Fill the prefix sums of (tile, splat) pairs by tile and by splat; return the number of pairs.

    Args:
        tiles: range of tiles of each splat; empty if it is not drawn.
        tile_starts: out, one longer than there are tiles; zeros at the call.
        splat_starts: out, one longer than there are splats; zeros at the call.
    """
    for i in range(tiles.shape[0]):
        x0, x1, y0, y1 = tiles[i, TILES_X0], tiles[i, TILES_X1], tiles[i, TILES_Y0], tiles[i, TILES_Y1]
        splat_starts[i + 1] = splat_starts[i] + (x1 - x0) * (y1 - y0)
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                tile_starts[ty * tiles_x + tx + 1] += 1
    for t in range(tile_starts.shape[0] - 1):
        tile_starts[t + 1] += tile_starts[t]
    return splat_starts[tiles.shape[0]]


@compiled("void(int64[::1], int32[:,::1], int64, int64[::1], int64[::1], int32[::1], int32[::1])")
def list_pairs(order, tiles, tiles_x, tile_starts, splat_starts, pair_splat, pair_grad_row):
    """List the pairs of each tile by a counting sort; one pass over the splats by depth sorts each list by depth.

    Args:
        order: visible splats, nearest first.
        pair_splat: out, the splat of each pair, tile by tile.
        pair_grad_row: out, the row of ``pair_grads`` of each pair: rows of one splat are neighbours.
    """
    next_of_tile = tile_starts[:-1].copy()
    for k in range(order.shape[0]):
        i = order[k]
        row = splat_starts[i]
        for ty in range(tiles[i, TILES_Y0], tiles[i, TILES_Y1]):
            for tx in range(tiles[i, TILES_X0], tiles[i, TILES_X1]):
                t = ty * tiles_x + tx
                pair_splat[next_of_tile[t]] = i
                pair_grad_row[next_of_tile[t]] = row
                next_of_tile[t] += 1
                row += 1


@numba.njit
def sum_pairs(pair_grads, first, last, total):
    """Add rows ``first`` to ``last`` of ``pair_grads``, which are those of one splat, in tile order."""
    total[:] = 0
    for row in range(first, last):
        for k in range(RECORD_SIZE):
            total[k] += pair_grads[row, k]


@numba.njit(inline="always")
def initialise_tile(scratch, planes, tile_x, tile_y, width, height, row_active):
    """Clear the scratch and set the transmittance: 1 inside the picture, 0 outside, where pixels so count as finished.

    Args:
        planes: number of planes in the scratch; transmittance is the first.
        row_active: out, which of the tile's rows lie in the picture.
    """
    scratch[:] = 0
    for r in range(TILE):
        inside = tile_y * TILE + r < height
        row_active[r] = inside
        for k in range(TILE):
            scratch[r * planes * TILE + k] = _f(1) if inside and tile_x * TILE + k < width else _f(0)


@numba.njit(inline="always")
def deactivate_finished_rows(scratch, planes, row_active):
    """Mark rows whose pixels are all finished; return whether any row is left."""
    any_active = False
    for r in range(TILE):
        if row_active[r]:
            largest = _f(0)
            for k in range(TILE):
                largest = max(largest, scratch[r * planes * TILE + k])
            row_active[r] = largest > _f(MIN_TRANSMITTANCE)
            any_active = any_active or row_active[r]
    return any_active


@numba.njit(inline="always")
def first_row(mean_y, radius_y):
    """Return the first row of a tile that a splat can touch; ``mean_y`` counts from the centre of row 0."""
    return max(0, math.ceil(mean_y - radius_y))


@numba.njit(inline="always")
def last_row(mean_y, radius_y):
    """Return one past the last row of a tile that a splat can touch."""
    return min(TILE - 1, math.floor(mean_y + radius_y)) + 1
