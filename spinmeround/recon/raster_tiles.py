"""Inner loops of the CPU splat rasteriser: sorting splats into tiles, blending a tile, and the gradient of blending.

One *record* of 16 float32 (one cache line) holds all that blending needs to know of a splat in a view::

    0 1   2 3 4   5          6       7        8 9 10   11 12 13   14      15
    u v   p q r   log2 alpha reach_x reach_y  r g b    nx ny nz   depth   -

(u, v) is the centre in pixels. p, q, r are the upper-triangular root of the inverse 2D covariance, scaled so that the
falloff is a power of two: with d = pixel - (u, v), t = p dx + q dy and w = r dy,

    alpha(pixel) = 2^(log2 alpha - t^2 - w^2)

A root instead of the usual three conic coefficients keeps needles accurate in float32 (no difference of large numbers),
is never negative, and costs one multiply-add less. ``reach`` is how far from the centre alpha can still be 1/255.

A tile is 16 by 16 pixels. Its scratch lies row by row, so that all planes of one pixel row are neighbours in the first
level cache, and each plane of a row is one vector of sixteen lanes::

    row 0: [ T x16 | plane 1 x16 | plane 2 x16 | ... ]      T = light that still gets through
    row 1: [ T x16 | plane 1 x16 | ...
    ...

Indices into the scratch are uint64: numba then leaves out the test for negative indices, which would keep the loop
from becoming vector code.

The backward pass walks front to back as well. With f = g . value the gradient-weighted value of a splat and
B = sum over the splats *behind* of weight * f, d(loss)/d(alpha) = T f - B / (1 - alpha); B starts as g . pixel and is
counted down, so that no second, back-to-front order of the list is needed.

Every (tile, splat) pair writes its gradient to a row of its own; the rows of a splat are neighbours and are added in
tile order later. No atomics: the result does not depend on the number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster_compile import compiled

TILE = 16
RECORD = 16
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_LIGHT = 1e-4
"""A pixel is finished when less light than this gets through."""

_f = np.float32
_u = np.uint64
_PLANES_FORWARD = 8  # T, rgb, normal, depth
_PLANES_BACKWARD = 10  # T, B, and the incoming gradients of rgb, normal, depth, alpha
_SUMS = 10  # 3 sums for the footprint, 7 for rgb, normal, depth
_CHECK_EVERY = 16


@numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, inline="always")
def _exp2(x):
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


@numba.njit(inline="always")
def _open_rows(scratch, planes, tile_x, tile_y, width, height, live):
    """Full light at the pixels of the tile that lie in the picture, none at the others, which so count as finished."""
    for r in range(TILE):
        inside = tile_y * TILE + r < height
        live[r] = inside
        for k in range(TILE):
            scratch[r * planes * TILE + k] = _f(1) if inside and tile_x * TILE + k < width else _f(0)


@numba.njit(inline="always")
def _close_rows(scratch, planes, live):
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


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], int32[::1])",
    fast_rows=True,
)
def blend_tiles(
    first, last, tile_starts, pair_splat, records, rgb, normals, depth, alpha, walked
):
    """Blends tiles ``first`` to ``last``; ``walked`` gets how many splats of its list a tile used."""
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = _PLANES_FORWARD * TILE
    scratch = np.empty(TILE * stride, np.float32)
    live = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        scratch[:] = 0
        _open_rows(scratch, _PLANES_FORWARD, tile_x, tile_y, width, height, live)
        count = 0
        for pair in range(tile_starts[tile], tile_starts[tile + 1]):
            i = pair_splat[pair]
            count += 1
            # Coordinates count from the centre of the tile's first pixel: lane k lies at x = k.
            u, v = records[i, 0] - _f(tile_x * TILE + 0.5), records[i, 1] - _f(tile_y * TILE + 0.5)
            p, q, w_per_y = records[i, 2], records[i, 3], records[i, 4]
            log2_alpha, reach_y = records[i, 5], records[i, 7]
            f0, f1, f2, f3 = records[i, 8], records[i, 9], records[i, 10], records[i, 11]
            f4, f5, f6 = records[i, 12], records[i, 13], records[i, 14]
            for r in range(max(0, math.ceil(v - reach_y)), min(TILE - 1, math.floor(v + reach_y)) + 1):
                if not live[r]:
                    continue
                dy = _f(r) - v
                t_at_0, top = q * dy - p * u, log2_alpha - w_per_y * dy * w_per_y * dy
                row = _u(r * stride)
                for lane in range(TILE):
                    k = row + _u(lane)
                    t = p * _f(np.int32(lane)) + t_at_0
                    raw = _exp2(max(top - t * t, _f(-30)))
                    light = scratch[k]
                    used = (raw >= _f(MIN_ALPHA)) & (light > _f(MIN_LIGHT))
                    weight = (min(raw, _f(MAX_ALPHA)) if used else _f(0)) * light
                    scratch[k] = light - weight
                    scratch[k + _u(16)] += weight * f0
                    scratch[k + _u(32)] += weight * f1
                    scratch[k + _u(48)] += weight * f2
                    scratch[k + _u(64)] += weight * f3
                    scratch[k + _u(80)] += weight * f4
                    scratch[k + _u(96)] += weight * f5
                    scratch[k + _u(112)] += weight * f6
            if count % _CHECK_EVERY == 0 and not _close_rows(scratch, _PLANES_FORWARD, live):
                break
        walked[tile] = count
        for r in range(min(TILE, height - tile_y * TILE)):
            y = tile_y * TILE + r
            for lane in range(min(TILE, width - tile_x * TILE)):
                x, k = tile_x * TILE + lane, r * stride + lane
                alpha[y, x] = _f(1) - scratch[k]
                depth[y, x] = scratch[k + 112]
                for c in range(3):
                    rgb[y, x, c] = scratch[k + 16 + 16 * c]
                    normals[y, x, c] = scratch[k + 64 + 16 * c]


@numba.njit(inline="always")
def _load_gradients(
    scratch, tile_x, tile_y, rgb, normals, depth, alpha, g_rgb, g_normals, g_depth, g_alpha
):
    """Plane 1 gets g . pixel, planes 2 to 9 the gradients g of rgb, normal, depth, alpha."""
    height, width = alpha.shape
    for r in range(min(TILE, height - tile_y * TILE)):
        y = tile_y * TILE + r
        for lane in range(min(TILE, width - tile_x * TILE)):
            x, k = tile_x * TILE + lane, r * _PLANES_BACKWARD * TILE + lane
            behind = depth[y, x] * g_depth[y, x] + alpha[y, x] * g_alpha[y, x]
            for c in range(3):
                behind += rgb[y, x, c] * g_rgb[y, x, c] + normals[y, x, c] * g_normals[y, x, c]
                scratch[k + 32 + 16 * c] = g_rgb[y, x, c]
                scratch[k + 80 + 16 * c] = g_normals[y, x, c]
            scratch[k + 16] = behind
            scratch[k + 128] = g_depth[y, x]
            scratch[k + 144] = g_alpha[y, x]


@numba.njit(inline="always", fastmath={"reassoc", "contract", "nsz", "arcp"})
def _store_row(rows, row, sums, u):
    """Adds up the lanes.

    Values 0..5 of a row are the moments S, Sx, Sy, Sxx, Sxy, Syy of d(loss)/d(log alpha) about the splat's centre,
    8..14 the gradients of rgb, normal and depth.
    """
    s = sx = sxx = sy = sxy = syy = _f(0)
    for k in range(TILE):
        dx = _f(np.int32(k)) - u
        a, b, c = sums[k], sums[16 + k], sums[32 + k]
        s += a
        sx += a * dx
        sxx += a * dx * dx
        sy += b
        sxy += b * dx
        syy += c
    rows[row, 0], rows[row, 1], rows[row, 2] = s, sx, sy
    rows[row, 3], rows[row, 4], rows[row, 5] = sxx, sxy, syy
    for c in range(7):
        total = _f(0)
        for k in range(TILE):
            total += sums[48 + 16 * c + k]
        rows[row, 8 + c] = total


@compiled(
    "void(int64, int64, int64[::1], int32[::1], int32[::1], float32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1])",
    fast_rows=True,
)
def blend_tiles_backward(
    first, last, tile_starts, pair_splat, pair_row, records,
    rgb, normals, depth, alpha, walked,
    g_rgb, g_normals, g_depth, g_alpha, rows,
):  # fmt: skip
    """Gradient of ``blend_tiles``: one row per pair, see ``_store_row``."""
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = _PLANES_BACKWARD * TILE
    scratch = np.empty(TILE * stride, np.float32)
    sums = np.empty(_SUMS * TILE, np.float32)
    live = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        end = tile_starts[tile] + walked[tile]
        for pair in range(end, tile_starts[tile + 1]):
            rows[pair_row[pair]] = 0
        if walked[tile] == 0:
            continue
        scratch[:] = 0
        _open_rows(scratch, _PLANES_BACKWARD, tile_x, tile_y, width, height, live)
        _load_gradients(
            scratch, tile_x, tile_y, rgb, normals, depth, alpha, g_rgb, g_normals, g_depth, g_alpha
        )  # fmt: skip
        for pair in range(tile_starts[tile], end):
            i = pair_splat[pair]
            u, v = records[i, 0] - _f(tile_x * TILE + 0.5), records[i, 1] - _f(tile_y * TILE + 0.5)
            p, q, w_per_y = records[i, 2], records[i, 3], records[i, 4]
            log2_alpha, reach_y = records[i, 5], records[i, 7]
            f0, f1, f2, f3 = records[i, 8], records[i, 9], records[i, 10], records[i, 11]
            f4, f5, f6 = records[i, 12], records[i, 13], records[i, 14]
            sums[:] = 0
            for r in range(max(0, math.ceil(v - reach_y)), min(TILE - 1, math.floor(v + reach_y)) + 1):
                if not live[r]:
                    continue
                dy = _f(r) - v
                t_at_0, top = q * dy - p * u, log2_alpha - w_per_y * dy * w_per_y * dy
                dy2 = dy * dy
                row = _u(r * stride)
                for lane_ in range(TILE):
                    lane = _u(lane_)
                    k = row + lane
                    t = p * _f(np.int32(lane_)) + t_at_0
                    raw = _exp2(max(top - t * t, _f(-30)))
                    light = scratch[k]
                    used = (raw >= _f(MIN_ALPHA)) & (light > _f(MIN_LIGHT))
                    opaque = min(raw, _f(MAX_ALPHA)) if used else _f(0)
                    weight = opaque * light
                    g0, g1, g2 = scratch[k + _u(32)], scratch[k + _u(48)], scratch[k + _u(64)]
                    g3, g4, g5 = scratch[k + _u(80)], scratch[k + _u(96)], scratch[k + _u(112)]
                    g6 = scratch[k + _u(128)]
                    value = scratch[k + _u(144)] + f0 * g0 + f1 * g1 + f2 * g2 + f3 * g3 + f4 * g4 + f5 * g5 + f6 * g6
                    here = weight * value
                    behind = scratch[k + _u(16)] - here
                    scratch[k + _u(16)] = behind
                    scratch[k] = light - weight
                    slope = here - opaque * behind / (_f(1) - opaque)
                    slope = slope if raw <= _f(MAX_ALPHA) else _f(0)
                    sums[lane] += slope
                    sums[lane + _u(16)] += slope * dy
                    sums[lane + _u(32)] += slope * dy2
                    sums[lane + _u(48)] += weight * g0
                    sums[lane + _u(64)] += weight * g1
                    sums[lane + _u(80)] += weight * g2
                    sums[lane + _u(96)] += weight * g3
                    sums[lane + _u(112)] += weight * g4
                    sums[lane + _u(128)] += weight * g5
                    sums[lane + _u(144)] += weight * g6
            _store_row(rows, pair_row[pair], sums, u)
            if (pair - tile_starts[tile] + 1) % _CHECK_EVERY == 0:
                _close_rows(scratch, _PLANES_BACKWARD, live)
