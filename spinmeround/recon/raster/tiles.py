"""What blending 3D Gaussians and blending surfels share: splats dealt out to tiles, rows of pixels, gradient rows.

Projection hands a splat to blending in two pieces: its *centre* (u px, v px, depth) in float64, since float32 would
swap near splats and shift those far from the corner of a large picture; and a *record* of 16 float32, a cache line::

    0 1 2   3            4         5 6     8 9 10   11 12 13   14
    p q r   log2 alpha   reach_y   tilt    r g b    nx ny nz   depth

p, q, r are an upper-triangular root of the falloff, scaled so that the falloff is a power of two: with
d = pixel - (u, v), t = p dx + q dy and w = r dy,

    alpha(pixel) = 2^(log2 alpha - t^2 - w^2)        (3D Gaussians; raster_surfel_blending says what surfels do)

A root instead of the usual three conic coefficients keeps needles accurate in float32 (no difference of large numbers),
is never negative, and costs one multiply-add less. ``reach_y`` is how far above or below the centre alpha can still be
1/255. Surfels alone have a ``tilt``, and their root comes with their centre, in float64.

A tile is 16 by 16 pixels. Its scratch lies row by row, so that all planes of one pixel row are neighbours in the first
level cache, and each plane of a row is one vector of sixteen lanes::

    row 0: [ T x16 | plane 1 x16 | plane 2 x16 | ... ]      T = light that still gets through
    row 1: [ T x16 | plane 1 x16 | ...
    ...

Indices into the scratch are uint64: numba then leaves out the test for negative indices, which would keep the loop
from becoming vector code.

The backward passes walk front to back as well. With f = g . value the gradient-weighted value of a splat and
B = sum over the splats *behind* of weight * f, d(loss)/d(alpha) = T f - B / (1 - alpha); B starts as g . pixel and is
counted down, so that no second, back-to-front order of the list is needed.

Every (tile, splat) pair writes its gradient to a row of its own; the rows of a splat are neighbours and are added in
tile order later. No atomics: the result does not depend on the number of threads.

Median depth is that of the splat at which the light falls to one half, or of the last one where it never does, so each
pixel only has to remember a place in its tile's list. Its gradient is that of that splat's depth.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled

TILE = 16
RECORD = 16
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_LIGHT = 1e-4
"""A pixel is finished when less light than this gets through."""
CHECK_EVERY = 16
"""After so many splats, rows of finished pixels are looked for."""
ROOT_SCALE = math.sqrt(0.5 * math.log2(math.e))
"""exp(-(t^2 + w^2) / 2) = 2^-((t s)^2 + (w s)^2) with this s."""
REACH_SLACK_PX = 1e-3

_f = np.float32


@numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, inline="always")
def exp2(x):
    """2^x, -126 <= x <= 127, by a minimax polynomial; relative error 2.3e-7. No library call, so it vectorises."""
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
    """Prefix sums of (tile, splat) pairs by tile and by splat; returns their number."""
    for i in range(tiles.shape[0]):
        x0, x1, y0, y1 = tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3]
        splat_starts[i + 1] = splat_starts[i] + (x1 - x0) * (y1 - y0)
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                tile_starts[ty * tiles_x + tx + 1] += 1
    for t in range(tile_starts.shape[0] - 1):
        tile_starts[t + 1] += tile_starts[t]
    return splat_starts[tiles.shape[0]]


@compiled("void(int64[::1], int32[:,::1], int64, int64[::1], int64[::1], int32[::1], int32[::1])")
def list_pairs(order, tiles, tiles_x, tile_starts, splat_starts, pair_splat, pair_row):
    """Counting sort: walking the splats once from near to far leaves every tile's list sorted by depth.

    Args:
        order: visible splats, nearest first.
        pair_splat: out, the splat of each pair, tile by tile.
        pair_row: out, where that pair's gradient goes: rows of one splat are neighbours.
    """
    next_of_tile = tile_starts[:-1].copy()
    for k in range(order.shape[0]):
        i = order[k]
        row = splat_starts[i]
        for ty in range(tiles[i, 2], tiles[i, 3]):
            for tx in range(tiles[i, 0], tiles[i, 1]):
                t = ty * tiles_x + tx
                pair_splat[next_of_tile[t]] = i
                pair_row[next_of_tile[t]] = row
                next_of_tile[t] += 1
                row += 1


@numba.njit
def sum_rows(rows, first, last, total):
    """Adds a splat's gradient rows in tile order."""
    total[:] = 0
    for row in range(first, last):
        for k in range(RECORD):
            total[k] += rows[row, k]


@numba.njit(inline="always")
def open_rows(scratch, planes, tile_x, tile_y, width, height, live):
    """Full light at the pixels of the tile that lie in the picture, none at the others, which so count as finished."""
    scratch[:] = 0
    for r in range(TILE):
        inside = tile_y * TILE + r < height
        live[r] = inside
        for k in range(TILE):
            scratch[r * planes * TILE + k] = _f(1) if inside and tile_x * TILE + k < width else _f(0)


@numba.njit(inline="always")
def close_rows(scratch, planes, live):
    """Marks rows whose pixels are all finished; true while any row is left."""
    any_live = False
    for r in range(TILE):
        if live[r]:
            most = _f(0)
            for k in range(TILE):
                most = max(most, scratch[r * planes * TILE + k])
            live[r] = most > _f(MIN_LIGHT)
            any_live = any_live or live[r]
    return any_live


@numba.njit(inline="always")
def first_row(v, reach_y):
    """The first row of a tile that a splat can reach; v counts from the centre of the tile's first row."""
    return max(0, math.ceil(v - reach_y))


@numba.njit(inline="always")
def last_row(v, reach_y):
    """One past the last row of a tile that a splat can reach."""
    return min(TILE - 1, math.floor(v + reach_y)) + 1
