"""Blending surfels, tile by tile, and the gradient of that. See ``raster_tiles`` for scratch, rows and the way back.

With p, q, r the root that comes with the centre, tilt and depth from the record, d = pixel - (u, v), a = p dx + q dy,
b = r dy and c = 1 + tilt . d,

    alpha(pixel) = 2^(log2 alpha - min((a^2 + b^2) / c^2, FILTER d^2)),     z = depth / c

``raster_surfel_projection`` derives the first of the two; the second is the low-pass filter of 2D Gaussian Splatting.
Where the filter wins, or the ray meets the plane behind the camera, z is the mean's depth.

Nothing limits p, q and r: a surfel seen almost edge-on is a needle far thinner than a pixel. So they come in float64,
and a counts from where it is zero in a row of pixels instead of from the mean: whole pixels as integers, and the rest.

Distortion is the paper's, with squared differences, as meetings need not lie in the order of the means; z stays a depth
rather than becoming one of a frustum, as a head needs no far plane. Sums over pairs are sums over splats: with A, D, E
the blended 1, z and z^2,

    sum over pairs of weight_i weight_j (z_i - z_j)^2 = A E - D^2

so blending carries z and z^2 along and the gradient has no second recursion. z counts from the tile's nearest mean:
that changes nothing but the rounding.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
from spinmeround.recon.raster.rigid import NEAR
from spinmeround.recon.raster.surfel_projection import FILTER_VARIANCE_PX2
from spinmeround.recon.raster.tiles import (
    CHECK_EVERY,
    MAX_ALPHA,
    MIN_ALPHA,
    MIN_LIGHT,
    TILE,
    close_rows,
    exp2,
    first_row,
    last_row,
    open_rows,
)

_f = np.float32
_u = np.uint64
_FILTER = 0.5 * math.log2(math.e) / FILTER_VARIANCE_PX2
_LN_2 = math.log(2)
_PLANES_FORWARD = 10  # T, rgb, normal, z, z^2, place of the median
_PLANES_BACKWARD = 11  # T, B, the incoming gradients of rgb, normal, and those of 1, z, z^2
_SUMS = 18  # 12 for alpha and depth, 6 for rgb and normal


@numba.njit(inline="always")
def _whole(zero):
    """Whole pixels to a place in a row; far from the tile it does not matter how many. The compiler may reorder sums of
    floats, which would put them and the rest back together."""
    return np.int32(min(max(np.floor(zero), -64.0), 64.0))


@numba.njit(inline="always")
def _nearest(tile, tile_starts, pair_splat, records):
    """Depth of the tile's nearest mean: what z counts from."""
    start = tile_starts[tile]
    return records[pair_splat[start], 14] if start < tile_starts[tile + 1] else _f(0)


@numba.njit
def _meeting(x, y, i, centres, records):
    """a, b, 1 / c, whether the ray of pixel (x, y) meets surfel i inside what the filter leaves of it, and z."""
    dx, dy = x + 0.5 - centres[i, 0], y + 0.5 - centres[i, 1]
    a, b = _f(centres[i, 3] * dx + centres[i, 4] * dy), _f(centres[i, 5] * dy)
    inverse, mean_z = _f(1 / (1 + records[i, 5] * dx + records[i, 6] * dy)), records[i, 14]
    disc = (a * a + b * b) * inverse * inverse
    met = disc < _FILTER * (dx * dx + dy * dy) and mean_z * inverse >= NEAR
    return a, b, inverse, met, (mean_z * inverse if met else mean_z)


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " float32[:,:,::1], int32[:,::1])",
    fast_rows=True,
)
def blend_surfels(
    first, last, tile_starts, pair_splat, centres, records, walked,
    rgb, normals, depth, alpha, median, distortion, moments, median_pair,
):  # fmt: skip
    """Blends tiles ``first`` to ``last``.

    Args:
        walked: out, how many surfels of its list a tile used.
        median: out, median depth, 0 where nothing is drawn.
        moments: out, the blended z and z^2, counted from the nearest mean of the tile.
        median_pair: out, the pair the median comes from, -1 where nothing is drawn.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = _PLANES_FORWARD * TILE
    scratch = np.empty(TILE * stride, np.float32)
    live = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        open_rows(scratch, _PLANES_FORWARD, tile_x, tile_y, width, height, live)
        count = 0
        nearest = _nearest(tile, tile_starts, pair_splat, records)
        for pair in range(tile_starts[tile], tile_starts[tile + 1]):
            i = pair_splat[pair]
            count += 1
            # Coordinates count from the centre of the tile's first pixel: lane k lies at x = k.
            u, v = centres[i, 0] - (tile_x * TILE + 0.5), centres[i, 1] - (tile_y * TILE + 0.5)
            p, per_row, b_per_y = _f(centres[i, 3]), centres[i, 4] / centres[i, 3], centres[i, 5]
            log2_alpha, reach_y, tilt_x, tilt_y = records[i, 3], records[i, 4], records[i, 5], records[i, 6]
            f0, f1, f2 = records[i, 8], records[i, 9], records[i, 10]
            f3, f4, f5, mean_z = records[i, 11], records[i, 12], records[i, 13], records[i, 14]
            farthest, centre_x = mean_z * _f(1 / NEAR), _f(u)
            for r in range(first_row(_f(v), reach_y), last_row(_f(v), reach_y)):
                if not live[r]:
                    continue
                zero = u - per_row * (r - v)
                whole, b, dy = _whole(zero), _f(b_per_y * (r - v)), _f(r - v)
                part, b2 = _f(zero - whole), b * b
                c_at_u, blur_at_u = _f(1) + tilt_y * dy, _f(_FILTER) * dy * dy
                row = _u(r * stride)
                for lane in range(TILE):
                    k = row + _u(lane)
                    x = _f(np.int32(lane))
                    dx = x - centre_x
                    a, c = p * (_f(np.int32(lane) - whole) - part), tilt_x * dx + c_at_u
                    inverse, blur = _f(1) / c, _f(_FILTER) * dx * dx + blur_at_u
                    disc = (a * a + b2) * inverse * inverse
                    met = (disc < blur) & (c > _f(0)) & (c <= farthest)
                    raw = exp2(max(log2_alpha - (disc if met else blur), _f(-30)))
                    light = scratch[k]
                    used = (raw >= _f(MIN_ALPHA)) & (light > _f(MIN_LIGHT))
                    weight = (min(raw, _f(MAX_ALPHA)) if used else _f(0)) * light
                    z = (mean_z * inverse if met else mean_z) - nearest
                    scratch[k] = light - weight
                    scratch[k + _u(16)] += weight * f0
                    scratch[k + _u(32)] += weight * f1
                    scratch[k + _u(48)] += weight * f2
                    scratch[k + _u(64)] += weight * f3
                    scratch[k + _u(80)] += weight * f4
                    scratch[k + _u(96)] += weight * f5
                    scratch[k + _u(112)] += weight * z
                    scratch[k + _u(128)] += weight * z * z
                    scratch[k + _u(144)] = _f(count) if used & (light > _f(0.5)) else scratch[k + _u(144)]
            if count % CHECK_EVERY == 0 and not close_rows(scratch, _PLANES_FORWARD, live):
                break
        walked[tile] = count
        for r in range(min(TILE, height - tile_y * TILE)):
            y = tile_y * TILE + r
            for lane in range(min(TILE, width - tile_x * TILE)):
                x, k = tile_x * TILE + lane, r * stride + lane
                covered, z, z2 = _f(1) - scratch[k], scratch[k + 112], scratch[k + 128]
                alpha[y, x], depth[y, x] = covered, z + nearest * covered
                moments[y, x, 0], moments[y, x, 1] = z, z2
                distortion[y, x] = max(covered * z2 - z * z, _f(0))
                for c in range(3):
                    rgb[y, x, c] = scratch[k + 16 + 16 * c]
                    normals[y, x, c] = scratch[k + 64 + 16 * c]
                pair = tile_starts[tile] + np.int64(scratch[k + 144]) - 1
                seen = scratch[k + 144] > 0
                median_pair[y, x] = pair if seen else -1
                median[y, x] = _meeting(x, y, pair_splat[pair], centres, records)[4] if seen else _f(0)


@numba.njit(inline="always")
def _load_gradients(
    scratch, nearest, tile_x, tile_y, rgb, normals, alpha, moments, g_rgb, g_normals, g_depth, g_alpha, g_distortion
):
    """Plane 1 gets g . pixel, planes 2 to 7 the gradients g of rgb and normal, 8 to 10 those of 1, z and z^2."""
    height, width = alpha.shape
    for r in range(min(TILE, height - tile_y * TILE)):
        y = tile_y * TILE + r
        for lane in range(min(TILE, width - tile_x * TILE)):
            x, k = tile_x * TILE + lane, r * _PLANES_BACKWARD * TILE + lane
            z, z2, g_spread = moments[y, x, 0], moments[y, x, 1], g_distortion[y, x]
            g_one = g_alpha[y, x] + nearest * g_depth[y, x] + g_spread * z2
            g_z, g_z2 = g_depth[y, x] - _f(2) * g_spread * z, g_spread * alpha[y, x]
            behind = g_one * alpha[y, x] + g_z * z + g_z2 * z2
            for c in range(3):
                behind += rgb[y, x, c] * g_rgb[y, x, c] + normals[y, x, c] * g_normals[y, x, c]
                scratch[k + 32 + 16 * c] = g_rgb[y, x, c]
                scratch[k + 80 + 16 * c] = g_normals[y, x, c]
            scratch[k + 16], scratch[k + 128], scratch[k + 144], scratch[k + 160] = behind, g_one, g_z, g_z2


@numba.njit(inline="always", fastmath={"reassoc", "contract", "nsz", "arcp"})
def _store_row(rows, row, sums, totals, root, tilt_x, tilt_y):
    """Adds up the lanes.

    A row holds the gradients of log alpha (0) and of the projected mean (1, 2); the sums aa, ab, bb (3..5) of gradient
    times the two of a, b; the sums (6, 7) of the gradient of c times a and b; the gradients of rgb, normal, depth
    (8..14). Sums in a and b stay accurate for surfels seen nearly edge-on.
    """
    for c in range(_SUMS):
        total = _f(0)
        for k in range(TILE):
            total += sums[TILE * c + k]
        totals[c] = total
    rows[row, 0] = totals[0]
    rows[row, 1] = -(root[0] * totals[1] + tilt_x * totals[6]) - 2 * _FILTER * totals[9]
    rows[row, 2] = -(root[1] * totals[1] + root[2] * totals[2] + tilt_y * totals[6]) - 2 * _FILTER * totals[10]
    rows[row, 3], rows[row, 4], rows[row, 5] = totals[3], totals[4], totals[5]
    rows[row, 6], rows[row, 7] = totals[7], totals[8]
    for c in range(6):
        rows[row, 8 + c] = totals[12 + c]
    rows[row, 14] = totals[11]


@numba.njit
def _median_backward(x, y, g, i, centres, records, row):
    """Adds the gradient of z where one pixel's ray meets one surfel."""
    a, b, inverse, met, z = _meeting(x, y, i, centres, records)
    if not met:
        row[14] += g
        return
    g_c = -g * z * inverse
    row[1] -= records[i, 5] * g_c
    row[2] -= records[i, 6] * g_c
    row[6] += g_c * a
    row[7] += g_c * b
    row[14] += g * inverse


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " float32[:,:,::1], int32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " int32[::1], float32[:,::1])",
    fast_rows=True,
)
def blend_surfels_backward(
    first, last, tile_starts, pair_splat, centres, records, walked,
    rgb, normals, depth, alpha, median, distortion, moments, median_pair,
    g_rgb, g_normals, g_depth, g_alpha, g_median, g_distortion,
    pair_row, rows,
):  # fmt: skip
    """Gradient of ``blend_surfels``: one row per pair, see ``_store_row``."""
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = _PLANES_BACKWARD * TILE
    scratch = np.empty(TILE * stride, np.float32)
    sums, totals = np.empty(_SUMS * TILE, np.float32), np.empty(_SUMS, np.float32)
    live = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        end = tile_starts[tile] + walked[tile]
        for pair in range(end, tile_starts[tile + 1]):
            rows[pair_row[pair]] = 0
        if walked[tile] == 0:
            continue
        nearest = _nearest(tile, tile_starts, pair_splat, records)
        open_rows(scratch, _PLANES_BACKWARD, tile_x, tile_y, width, height, live)
        _load_gradients(
            scratch, nearest, tile_x, tile_y, rgb, normals, alpha, moments, g_rgb, g_normals, g_depth, g_alpha,
            g_distortion,
        )  # fmt: skip
        for pair in range(tile_starts[tile], end):
            i = pair_splat[pair]
            u, v = centres[i, 0] - (tile_x * TILE + 0.5), centres[i, 1] - (tile_y * TILE + 0.5)
            p, per_row, b_per_y = _f(centres[i, 3]), centres[i, 4] / centres[i, 3], centres[i, 5]
            log2_alpha, reach_y, tilt_x, tilt_y = records[i, 3], records[i, 4], records[i, 5], records[i, 6]
            f0, f1, f2 = records[i, 8], records[i, 9], records[i, 10]
            f3, f4, f5, mean_z = records[i, 11], records[i, 12], records[i, 13], records[i, 14]
            farthest, centre_x = mean_z * _f(1 / NEAR), _f(u)
            sums[:] = 0
            for r in range(first_row(_f(v), reach_y), last_row(_f(v), reach_y)):
                if not live[r]:
                    continue
                zero = u - per_row * (r - v)
                whole, b, dy = _whole(zero), _f(b_per_y * (r - v)), _f(r - v)
                part, b2 = _f(zero - whole), b * b
                c_at_u, blur_at_u = _f(1) + tilt_y * dy, _f(_FILTER) * dy * dy
                row = _u(r * stride)
                for lane_ in range(TILE):
                    lane = _u(lane_)
                    k = row + lane
                    x = _f(np.int32(lane_))
                    dx = x - centre_x
                    a, c = p * (_f(np.int32(lane_) - whole) - part), tilt_x * dx + c_at_u
                    inverse, blur = _f(1) / c, _f(_FILTER) * dx * dx + blur_at_u
                    disc = (a * a + b2) * inverse * inverse
                    met = (disc < blur) & (c > _f(0)) & (c <= farthest)
                    raw = exp2(max(log2_alpha - (disc if met else blur), _f(-30)))
                    light = scratch[k]
                    used = (raw >= _f(MIN_ALPHA)) & (light > _f(MIN_LIGHT))
                    opaque = min(raw, _f(MAX_ALPHA)) if used else _f(0)
                    weight = opaque * light
                    shrink = inverse if met else _f(1)
                    z = mean_z * shrink - nearest
                    g0, g1, g2 = scratch[k + _u(32)], scratch[k + _u(48)], scratch[k + _u(64)]
                    g3, g4, g5 = scratch[k + _u(80)], scratch[k + _u(96)], scratch[k + _u(112)]
                    g_z, g_z2 = scratch[k + _u(144)], scratch[k + _u(160)]
                    value = scratch[k + _u(128)] + f0 * g0 + f1 * g1 + f2 * g2 + f3 * g3 + f4 * g4 + f5 * g5
                    value += z * (g_z + z * g_z2)
                    here = weight * value
                    behind = scratch[k + _u(16)] - here
                    scratch[k + _u(16)] = behind
                    scratch[k] = light - weight
                    slope = here - opaque * behind / (_f(1) - opaque)
                    slope = slope if raw <= _f(MAX_ALPHA) else _f(0)
                    fall = -_f(_LN_2) * slope
                    by_depth = weight * (g_z + _f(2) * z * g_z2) * shrink
                    by_disc = _f(2) * fall * inverse
                    by_c = -inverse * (_f(2) * fall * disc + by_depth * mean_z) if met else _f(0)
                    by_disc = by_disc * inverse if met else _f(0)
                    by_blur = _f(0) if met else fall
                    by_a, by_b = by_disc * a, by_disc * b
                    sums[lane] += slope
                    sums[lane + _u(16)] += by_a
                    sums[lane + _u(32)] += by_b
                    sums[lane + _u(48)] += by_a * a
                    sums[lane + _u(64)] += by_a * b
                    sums[lane + _u(80)] += by_b * b
                    sums[lane + _u(96)] += by_c
                    sums[lane + _u(112)] += by_c * a
                    sums[lane + _u(128)] += by_c * b
                    sums[lane + _u(144)] += by_blur * dx
                    sums[lane + _u(160)] += by_blur * dy
                    sums[lane + _u(176)] += by_depth
                    sums[lane + _u(192)] += weight * g0
                    sums[lane + _u(208)] += weight * g1
                    sums[lane + _u(224)] += weight * g2
                    sums[lane + _u(240)] += weight * g3
                    sums[lane + _u(256)] += weight * g4
                    sums[lane + _u(272)] += weight * g5
            _store_row(rows, pair_row[pair], sums, totals, centres[i, 3:6], tilt_x, tilt_y)
            if (pair - tile_starts[tile] + 1) % CHECK_EVERY == 0:
                close_rows(scratch, _PLANES_BACKWARD, live)
        for y in range(tile_y * TILE, min(tile_y * TILE + TILE, height)):
            for x in range(tile_x * TILE, min(tile_x * TILE + TILE, width)):
                if median_pair[y, x] >= 0 and g_median[y, x] != 0:
                    pair = median_pair[y, x]
                    _median_backward(x, y, g_median[y, x], pair_splat[pair], centres, records, rows[pair_row[pair]])
