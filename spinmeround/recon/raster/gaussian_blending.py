"""Blend 3D Gaussians front to back, tile by tile, and compute the gradient. See ``tiles`` for the method.

``layout`` names the columns and planes of the arrays.
"""

from __future__ import annotations

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
from spinmeround.recon.raster.layout import (
    ACC_B,
    ACC_DEPTH,
    ACC_G,
    ACC_NX,
    ACC_NY,
    ACC_NZ,
    ACC_R,
    ACC_TRANSMITTANCE,
    BWD_B,
    BWD_BEHIND,
    BWD_G,
    BWD_NX,
    BWD_NY,
    BWD_NZ,
    BWD_R,
    BWD_TRANSMITTANCE,
    GAUSSIAN_ACC_MEDIAN,
    GAUSSIAN_BACKWARD_PLANES,
    GAUSSIAN_BWD_ALPHA,
    GAUSSIAN_BWD_DEPTH,
    GAUSSIAN_FORWARD_PLANES,
    MEAN2D_X,
    MEAN2D_Y,
    PAIR_DEPTH,
    PAIR_RGB,
    RECORD_DEPTH,
    RECORD_LOG2_OPACITY,
    RECORD_NORMAL,
    RECORD_RADIUS_Y,
    RECORD_RGB,
    RECORD_ROOT_XX,
    RECORD_ROOT_XY,
    RECORD_ROOT_YY,
    TILE,
)
from spinmeround.recon.raster.tiles import (
    CHECK_EVERY,
    MAX_ALPHA,
    MEDIAN_TRANSMITTANCE,
    MIN_ALPHA,
    MIN_LOG2_ALPHA,
    MIN_TRANSMITTANCE,
    deactivate_finished_rows,
    exp2,
    first_row,
    initialise_tile,
    last_row,
)

_f = np.float32
_u = np.uint64

# Sums over the pixels of a tile, each kept lane by lane until the pair is done: offsets are these times ``TILE``.
_SUM_LOG_ALPHA, _SUM_S, _SUM_T = 0, 1, 2
_SUM_SS, _SUM_ST, _SUM_TT = 3, 4, 5
_SUM_R, _SUM_G, _SUM_B = 6, 7, 8
_SUM_NX, _SUM_NY, _SUM_NZ = 9, 10, 11
_SUM_DEPTH = 12
_SUMS = 13


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], int32[:,::1])",
    fast_rows=True,
)
def blend_gaussians(
    first, last, tile_starts, pair_splat, means2d, records, n_processed,
    rgb, normals, depth, alpha, median_depth, median_pair,
):  # fmt: skip
    """Blend tiles ``first`` to ``last``.

    Args:
        n_processed: out, how many splats of its list a tile used.
        median_depth: out, 0 where nothing is drawn.
        median_pair: out, the pair that median depth comes from, -1 where nothing is drawn.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = GAUSSIAN_FORWARD_PLANES * TILE
    scratch = np.empty(TILE * stride, np.float32)
    row_active = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        initialise_tile(scratch, GAUSSIAN_FORWARD_PLANES, tile_x, tile_y, width, height, row_active)
        count = 0
        for pair in range(tile_starts[tile], tile_starts[tile + 1]):
            i = pair_splat[pair]
            count += 1
            # Coordinates count from the centre of the tile's first pixel: lane k lies at x = k.
            mean_x = _f(means2d[i, MEAN2D_X] - (tile_x * TILE + 0.5))
            mean_y = _f(means2d[i, MEAN2D_Y] - (tile_y * TILE + 0.5))
            root_xx, root_xy = records[i, RECORD_ROOT_XX], records[i, RECORD_ROOT_XY]
            root_yy = records[i, RECORD_ROOT_YY]
            log2_opacity, radius_y = records[i, RECORD_LOG2_OPACITY], records[i, RECORD_RADIUS_Y]
            red, green, blue = records[i, RECORD_RGB], records[i, RECORD_RGB + 1], records[i, RECORD_RGB + 2]
            nx, ny, nz = records[i, RECORD_NORMAL], records[i, RECORD_NORMAL + 1], records[i, RECORD_NORMAL + 2]
            z = records[i, RECORD_DEPTH]
            for r in range(first_row(mean_y, radius_y), last_row(mean_y, radius_y)):
                if not row_active[r]:
                    continue
                dy = _f(r) - mean_y
                s_at_0, log2_row = root_xy * dy - root_xx * mean_x, log2_opacity - root_yy * dy * root_yy * dy
                row = _u(r * stride)
                for lane in range(TILE):
                    k = row + _u(lane)
                    s = root_xx * _f(np.int32(lane)) + s_at_0
                    raw_alpha = exp2(max(log2_row - s * s, _f(MIN_LOG2_ALPHA)))
                    transmittance = scratch[k + _u(ACC_TRANSMITTANCE)]
                    blended = (raw_alpha >= _f(MIN_ALPHA)) & (transmittance > _f(MIN_TRANSMITTANCE))
                    weight = (min(raw_alpha, _f(MAX_ALPHA)) if blended else _f(0)) * transmittance
                    scratch[k + _u(ACC_TRANSMITTANCE)] = transmittance - weight
                    scratch[k + _u(GAUSSIAN_ACC_MEDIAN)] = (
                        _f(count)
                        if blended & (transmittance > _f(MEDIAN_TRANSMITTANCE))
                        else scratch[k + _u(GAUSSIAN_ACC_MEDIAN)]
                    )
                    scratch[k + _u(ACC_R)] += weight * red
                    scratch[k + _u(ACC_G)] += weight * green
                    scratch[k + _u(ACC_B)] += weight * blue
                    scratch[k + _u(ACC_NX)] += weight * nx
                    scratch[k + _u(ACC_NY)] += weight * ny
                    scratch[k + _u(ACC_NZ)] += weight * nz
                    scratch[k + _u(ACC_DEPTH)] += weight * z
            if count % CHECK_EVERY == 0 and not deactivate_finished_rows(scratch, GAUSSIAN_FORWARD_PLANES, row_active):
                break
        n_processed[tile] = count
        for r in range(min(TILE, height - tile_y * TILE)):
            y = tile_y * TILE + r
            for lane in range(min(TILE, width - tile_x * TILE)):
                x, k = tile_x * TILE + lane, r * stride + lane
                alpha[y, x] = _f(1) - scratch[k + ACC_TRANSMITTANCE]
                depth[y, x] = scratch[k + ACC_DEPTH]
                pair = tile_starts[tile] + np.int64(scratch[k + GAUSSIAN_ACC_MEDIAN]) - 1
                drawn = scratch[k + GAUSSIAN_ACC_MEDIAN] > 0
                median_pair[y, x] = pair if drawn else -1
                median_depth[y, x] = records[pair_splat[pair], RECORD_DEPTH] if drawn else _f(0)
                for c in range(3):
                    rgb[y, x, c] = scratch[k + ACC_R + TILE * c]
                    normals[y, x, c] = scratch[k + ACC_NX + TILE * c]


@numba.njit(inline="always")
def _load_gradients(scratch, tile_x, tile_y, rgb, normals, depth, alpha, g_rgb, g_normals, g_depth, g_alpha):
    """Fill the planes of the gradients g of colour, normal, depth and alpha, and ``behind`` with g . pixel."""
    height, width = alpha.shape
    for r in range(min(TILE, height - tile_y * TILE)):
        y = tile_y * TILE + r
        for lane in range(min(TILE, width - tile_x * TILE)):
            x, k = tile_x * TILE + lane, r * GAUSSIAN_BACKWARD_PLANES * TILE + lane
            behind = depth[y, x] * g_depth[y, x] + alpha[y, x] * g_alpha[y, x]
            for c in range(3):
                behind += rgb[y, x, c] * g_rgb[y, x, c] + normals[y, x, c] * g_normals[y, x, c]
                scratch[k + BWD_R + TILE * c] = g_rgb[y, x, c]
                scratch[k + BWD_NX + TILE * c] = g_normals[y, x, c]
            scratch[k + BWD_BEHIND] = behind
            scratch[k + GAUSSIAN_BWD_DEPTH] = g_depth[y, x]
            scratch[k + GAUSSIAN_BWD_ALPHA] = g_alpha[y, x]


@numba.njit(inline="always", fastmath={"reassoc", "contract", "nsz", "arcp"})
def _store_pair(pair_grads, row, sums):
    """Add up the lanes of each sum and write one row of ``pair_grads``: six moments, then colour, normal and depth."""
    for c in range(_SUMS):
        total = _f(0)
        for k in range(TILE):
            total += sums[TILE * c + k]
        pair_grads[row, c if c < _SUM_R else c - _SUM_R + PAIR_RGB] = total


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], int32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " int32[::1], float32[:,::1])",
    fast_rows=True,
)
def blend_gaussians_backward(
    first, last, tile_starts, pair_splat, means2d, records, n_processed,
    rgb, normals, depth, alpha, median_depth, median_pair,
    g_rgb, g_normals, g_depth, g_alpha, g_median_depth,
    pair_grad_row, pair_grads,
):  # fmt: skip
    """Compute the gradient of ``blend_gaussians``: one row of ``pair_grads`` a pair."""
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = GAUSSIAN_BACKWARD_PLANES * TILE
    scratch = np.empty(TILE * stride, np.float32)
    sums = np.empty(_SUMS * TILE, np.float32)
    row_active = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        end = tile_starts[tile] + n_processed[tile]
        for pair in range(end, tile_starts[tile + 1]):
            pair_grads[pair_grad_row[pair]] = 0
        if n_processed[tile] == 0:
            continue
        initialise_tile(scratch, GAUSSIAN_BACKWARD_PLANES, tile_x, tile_y, width, height, row_active)
        _load_gradients(
            scratch, tile_x, tile_y, rgb, normals, depth, alpha, g_rgb, g_normals, g_depth, g_alpha
        )  # fmt: skip
        for pair in range(tile_starts[tile], end):
            i = pair_splat[pair]
            mean_x = _f(means2d[i, MEAN2D_X] - (tile_x * TILE + 0.5))
            mean_y = _f(means2d[i, MEAN2D_Y] - (tile_y * TILE + 0.5))
            root_xx, root_xy = records[i, RECORD_ROOT_XX], records[i, RECORD_ROOT_XY]
            root_yy = records[i, RECORD_ROOT_YY]
            log2_opacity, radius_y = records[i, RECORD_LOG2_OPACITY], records[i, RECORD_RADIUS_Y]
            red, green, blue = records[i, RECORD_RGB], records[i, RECORD_RGB + 1], records[i, RECORD_RGB + 2]
            nx, ny, nz = records[i, RECORD_NORMAL], records[i, RECORD_NORMAL + 1], records[i, RECORD_NORMAL + 2]
            z = records[i, RECORD_DEPTH]
            sums[:] = 0
            for r in range(first_row(mean_y, radius_y), last_row(mean_y, radius_y)):
                if not row_active[r]:
                    continue
                dy = _f(r) - mean_y
                s_at_0, log2_row = root_xy * dy - root_xx * mean_x, log2_opacity - root_yy * dy * root_yy * dy
                t = root_yy * dy
                row = _u(r * stride)
                for lane_ in range(TILE):
                    lane = _u(lane_)
                    k = row + lane
                    s = root_xx * _f(np.int32(lane_)) + s_at_0
                    raw_alpha = exp2(max(log2_row - s * s, _f(MIN_LOG2_ALPHA)))
                    transmittance = scratch[k + _u(BWD_TRANSMITTANCE)]
                    blended = (raw_alpha >= _f(MIN_ALPHA)) & (transmittance > _f(MIN_TRANSMITTANCE))
                    splat_alpha = min(raw_alpha, _f(MAX_ALPHA)) if blended else _f(0)
                    weight = splat_alpha * transmittance
                    g_r, g_g, g_b = scratch[k + _u(BWD_R)], scratch[k + _u(BWD_G)], scratch[k + _u(BWD_B)]
                    g_nx, g_ny, g_nz = scratch[k + _u(BWD_NX)], scratch[k + _u(BWD_NY)], scratch[k + _u(BWD_NZ)]
                    g_z, g_a = scratch[k + _u(GAUSSIAN_BWD_DEPTH)], scratch[k + _u(GAUSSIAN_BWD_ALPHA)]
                    g_weight = g_a + red * g_r + green * g_g + blue * g_b + nx * g_nx + ny * g_ny + nz * g_nz + z * g_z
                    here = weight * g_weight
                    behind = scratch[k + _u(BWD_BEHIND)] - here
                    scratch[k + _u(BWD_BEHIND)] = behind
                    scratch[k + _u(BWD_TRANSMITTANCE)] = transmittance - weight
                    g_log_alpha = here - splat_alpha * behind / (_f(1) - splat_alpha)
                    g_log_alpha = g_log_alpha if raw_alpha <= _f(MAX_ALPHA) else _f(0)
                    moment_s, moment_t = g_log_alpha * s, g_log_alpha * t
                    sums[lane + _u(_SUM_LOG_ALPHA * TILE)] += g_log_alpha
                    sums[lane + _u(_SUM_S * TILE)] += moment_s
                    sums[lane + _u(_SUM_T * TILE)] += moment_t
                    sums[lane + _u(_SUM_SS * TILE)] += moment_s * s
                    sums[lane + _u(_SUM_ST * TILE)] += moment_s * t
                    sums[lane + _u(_SUM_TT * TILE)] += moment_t * t
                    sums[lane + _u(_SUM_R * TILE)] += weight * g_r
                    sums[lane + _u(_SUM_G * TILE)] += weight * g_g
                    sums[lane + _u(_SUM_B * TILE)] += weight * g_b
                    sums[lane + _u(_SUM_NX * TILE)] += weight * g_nx
                    sums[lane + _u(_SUM_NY * TILE)] += weight * g_ny
                    sums[lane + _u(_SUM_NZ * TILE)] += weight * g_nz
                    sums[lane + _u(_SUM_DEPTH * TILE)] += weight * g_z
            _store_pair(pair_grads, pair_grad_row[pair], sums)
            if (pair - tile_starts[tile] + 1) % CHECK_EVERY == 0:
                deactivate_finished_rows(scratch, GAUSSIAN_BACKWARD_PLANES, row_active)
        for y in range(tile_y * TILE, min(tile_y * TILE + TILE, height)):
            for x in range(tile_x * TILE, min(tile_x * TILE + TILE, width)):
                if median_pair[y, x] >= 0:
                    pair_grads[pair_grad_row[median_pair[y, x]], PAIR_DEPTH] += g_median_depth[y, x]
