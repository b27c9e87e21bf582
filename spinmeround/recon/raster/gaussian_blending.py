"""Blending 3D Gaussians, tile by tile, and the gradient of that. See ``raster_tiles`` for records, scratch and rows."""

from __future__ import annotations

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
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
_PLANES_FORWARD = 9  # T, rgb, normal, depth, place of the median
_PLANES_BACKWARD = 10  # T, B, and the incoming gradients of rgb, normal, depth, alpha
_SUMS = 13  # 6 moments of the footprint, 7 for rgb, normal, depth


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], int32[:,::1])",
    fast_rows=True,
)
def blend_gaussians(
    first, last, tile_starts, pair_splat, centres, records, walked, rgb, normals, depth, alpha, median, median_pair
):
    """Blends tiles ``first`` to ``last``.

    Args:
        walked: out, how many splats of its list a tile used.
        median: out, median depth, 0 where nothing is drawn.
        median_pair: out, the pair it comes from, -1 where nothing is drawn.
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
        for pair in range(tile_starts[tile], tile_starts[tile + 1]):
            i = pair_splat[pair]
            count += 1
            # Coordinates count from the centre of the tile's first pixel: lane k lies at x = k.
            u, v = _f(centres[i, 0] - (tile_x * TILE + 0.5)), _f(centres[i, 1] - (tile_y * TILE + 0.5))
            p, q, w_per_y = records[i, 0], records[i, 1], records[i, 2]
            log2_alpha, reach_y = records[i, 3], records[i, 4]
            f0, f1, f2, f3 = records[i, 8], records[i, 9], records[i, 10], records[i, 11]
            f4, f5, f6 = records[i, 12], records[i, 13], records[i, 14]
            for r in range(first_row(v, reach_y), last_row(v, reach_y)):
                if not live[r]:
                    continue
                dy = _f(r) - v
                t_at_0, top = q * dy - p * u, log2_alpha - w_per_y * dy * w_per_y * dy
                row = _u(r * stride)
                for lane in range(TILE):
                    k = row + _u(lane)
                    t = p * _f(np.int32(lane)) + t_at_0
                    raw = exp2(max(top - t * t, _f(-30)))
                    light = scratch[k]
                    used = (raw >= _f(MIN_ALPHA)) & (light > _f(MIN_LIGHT))
                    weight = (min(raw, _f(MAX_ALPHA)) if used else _f(0)) * light
                    scratch[k] = light - weight
                    scratch[k + _u(128)] = _f(count) if used & (light > _f(0.5)) else scratch[k + _u(128)]
                    scratch[k + _u(16)] += weight * f0
                    scratch[k + _u(32)] += weight * f1
                    scratch[k + _u(48)] += weight * f2
                    scratch[k + _u(64)] += weight * f3
                    scratch[k + _u(80)] += weight * f4
                    scratch[k + _u(96)] += weight * f5
                    scratch[k + _u(112)] += weight * f6
            if count % CHECK_EVERY == 0 and not close_rows(scratch, _PLANES_FORWARD, live):
                break
        walked[tile] = count
        for r in range(min(TILE, height - tile_y * TILE)):
            y = tile_y * TILE + r
            for lane in range(min(TILE, width - tile_x * TILE)):
                x, k = tile_x * TILE + lane, r * stride + lane
                alpha[y, x] = _f(1) - scratch[k]
                depth[y, x] = scratch[k + 112]
                pair = tile_starts[tile] + np.int64(scratch[k + 128]) - 1
                seen = scratch[k + 128] > 0
                median_pair[y, x] = pair if seen else -1
                median[y, x] = records[pair_splat[pair], 14] if seen else _f(0)
                for c in range(3):
                    rgb[y, x, c] = scratch[k + 16 + 16 * c]
                    normals[y, x, c] = scratch[k + 64 + 16 * c]


@numba.njit(inline="always")
def _load_gradients(scratch, tile_x, tile_y, rgb, normals, depth, alpha, g_rgb, g_normals, g_depth, g_alpha):
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
def _store_row(rows, row, sums):
    """Adds up the lanes.

    Values 0..5 of a row are the moments S, St, Sw, Stt, Stw, Sww of d(loss)/d(log alpha) in the root's coordinates,
    where even a needle is round; 8..14 the gradients of rgb, normal and depth.
    """
    for c in range(_SUMS):
        total = _f(0)
        for k in range(TILE):
            total += sums[TILE * c + k]
        rows[row, c if c < 6 else c + 2] = total


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], int32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " int32[::1], float32[:,::1])",
    fast_rows=True,
)
def blend_gaussians_backward(
    first, last, tile_starts, pair_splat, centres, records, walked,
    rgb, normals, depth, alpha, median, median_pair,
    g_rgb, g_normals, g_depth, g_alpha, g_median,
    pair_row, rows,
):  # fmt: skip
    """Gradient of ``blend_gaussians``: one row per pair, see ``_store_row``."""
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
        open_rows(scratch, _PLANES_BACKWARD, tile_x, tile_y, width, height, live)
        _load_gradients(
            scratch, tile_x, tile_y, rgb, normals, depth, alpha, g_rgb, g_normals, g_depth, g_alpha
        )  # fmt: skip
        for pair in range(tile_starts[tile], end):
            i = pair_splat[pair]
            u, v = _f(centres[i, 0] - (tile_x * TILE + 0.5)), _f(centres[i, 1] - (tile_y * TILE + 0.5))
            p, q, w_per_y = records[i, 0], records[i, 1], records[i, 2]
            log2_alpha, reach_y = records[i, 3], records[i, 4]
            f0, f1, f2, f3 = records[i, 8], records[i, 9], records[i, 10], records[i, 11]
            f4, f5, f6 = records[i, 12], records[i, 13], records[i, 14]
            sums[:] = 0
            for r in range(first_row(v, reach_y), last_row(v, reach_y)):
                if not live[r]:
                    continue
                dy = _f(r) - v
                t_at_0, top = q * dy - p * u, log2_alpha - w_per_y * dy * w_per_y * dy
                w = w_per_y * dy
                row = _u(r * stride)
                for lane_ in range(TILE):
                    lane = _u(lane_)
                    k = row + lane
                    t = p * _f(np.int32(lane_)) + t_at_0
                    raw = exp2(max(top - t * t, _f(-30)))
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
                    by_t, by_w = slope * t, slope * w
                    sums[lane] += slope
                    sums[lane + _u(16)] += by_t
                    sums[lane + _u(32)] += by_w
                    sums[lane + _u(48)] += by_t * t
                    sums[lane + _u(64)] += by_t * w
                    sums[lane + _u(80)] += by_w * w
                    sums[lane + _u(96)] += weight * g0
                    sums[lane + _u(112)] += weight * g1
                    sums[lane + _u(128)] += weight * g2
                    sums[lane + _u(144)] += weight * g3
                    sums[lane + _u(160)] += weight * g4
                    sums[lane + _u(176)] += weight * g5
                    sums[lane + _u(192)] += weight * g6
            _store_row(rows, pair_row[pair], sums)
            if (pair - tile_starts[tile] + 1) % CHECK_EVERY == 0:
                close_rows(scratch, _PLANES_BACKWARD, live)
        for y in range(tile_y * TILE, min(tile_y * TILE + TILE, height)):
            for x in range(tile_x * TILE, min(tile_x * TILE + TILE, width)):
                if median_pair[y, x] >= 0:
                    rows[pair_row[median_pair[y, x]], 14] += g_median[y, x]
