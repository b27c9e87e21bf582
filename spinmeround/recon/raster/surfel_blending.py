"""Blend surfels front to back, tile by tile, and compute the gradient. See ``tiles`` for the method.

``layout`` names the columns and planes of the arrays. With R the root, (s, t) = R d the whitened coordinates of
d = pixel - mean, and the perspective c = 1 + tilt . d,

    alpha(pixel) = 2^(log2 opacity - min((s^2 + t^2) / c^2, FILTER d^2)),     z = depth of the mean / c

``surfel_projection`` derives the first of the two; the second is the low-pass filter of 2D Gaussian Splatting.
Where the filter wins, or the ray meets the plane behind the camera, z is the mean's depth.

Nothing limits the root: a surfel seen almost edge-on is a needle far thinner than a pixel. So the root is float64, and
along a row of pixels s counts from where it is zero instead of from the mean: whole pixels as integers, and the rest.

Distortion is the paper's, with squared differences, as the meetings of rays and surfels need not lie in the order of
the means; z stays a depth rather than becoming one of a frustum, as a head needs no far plane. Sums over pairs are sums
over splats: with A, D, E the blended 1, z and z^2,

    sum over pairs of weight_i weight_j (z_i - z_j)^2 = A E - D^2

so blending carries z and z^2 along and the gradient has no second recursion. z counts from the tile's nearest mean,
which changes nothing but the rounding.
"""

from __future__ import annotations

import math

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
    MEAN2D_ROOT_XX,
    MEAN2D_ROOT_XY,
    MEAN2D_ROOT_YY,
    MEAN2D_X,
    MEAN2D_Y,
    PAIR_CS,
    PAIR_CT,
    PAIR_DEPTH,
    PAIR_LOG_ALPHA,
    PAIR_MEAN_X,
    PAIR_MEAN_Y,
    PAIR_RGB,
    PAIR_SS,
    PAIR_ST,
    PAIR_TT,
    RECORD_DEPTH,
    RECORD_LOG2_OPACITY,
    RECORD_NORMAL,
    RECORD_RADIUS_Y,
    RECORD_RGB,
    RECORD_TILT_X,
    RECORD_TILT_Y,
    SURFEL_ACC_DEPTH2,
    SURFEL_ACC_MEDIAN,
    SURFEL_BACKWARD_PLANES,
    SURFEL_BWD_ALPHA,
    SURFEL_BWD_DEPTH,
    SURFEL_BWD_DEPTH2,
    SURFEL_FORWARD_PLANES,
    TILE,
)
from spinmeround.recon.raster.rigid import NEAR
from spinmeround.recon.raster.surfel_projection import FILTER_VARIANCE_PX2
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
_FILTER = 0.5 * math.log2(math.e) / FILTER_VARIANCE_PX2
"""Times squared pixels: the low-pass filter's falloff as a power of two."""
_LN_2 = math.log(2)

# Sums over the pixels of a tile, each kept lane by lane until the pair is done: offsets are these times ``TILE``.
_SUM_LOG_ALPHA, _SUM_S, _SUM_T = 0, 1, 2
_SUM_SS, _SUM_ST, _SUM_TT = 3, 4, 5
_SUM_C, _SUM_CS, _SUM_CT = 6, 7, 8
_SUM_FILTER_X, _SUM_FILTER_Y = 9, 10
_SUM_DEPTH = 11
_SUM_R, _SUM_G, _SUM_B = 12, 13, 14
_SUM_NX, _SUM_NY, _SUM_NZ = 15, 16, 17
_SUMS = 18


@numba.njit(inline="always")
def _whole(zero):
    """Return the whole pixels to a place in a row; far from the tile it does not matter how many.

    An integer, since the compiler may reorder sums of floats, which would put whole pixels and the rest together again.
    """
    return np.int32(min(max(np.floor(zero), -64.0), 64.0))


@numba.njit(inline="always")
def _nearest_depth(tile, tile_starts, pair_splat, records):
    """Return the depth of the tile's nearest mean, which z counts from."""
    start = tile_starts[tile]
    return records[pair_splat[start], RECORD_DEPTH] if start < tile_starts[tile + 1] else _f(0)


@numba.njit
def _intersect(x, y, i, means2d, records):
    """Intersect the ray of pixel (x, y) with surfel i: s, t, 1 / c, whether the surfel wins over the filter, and z."""
    dx, dy = x + 0.5 - means2d[i, MEAN2D_X], y + 0.5 - means2d[i, MEAN2D_Y]
    s = _f(means2d[i, MEAN2D_ROOT_XX] * dx + means2d[i, MEAN2D_ROOT_XY] * dy)
    t = _f(means2d[i, MEAN2D_ROOT_YY] * dy)
    inverse_c = _f(1 / (1 + records[i, RECORD_TILT_X] * dx + records[i, RECORD_TILT_Y] * dy))
    mean_z = records[i, RECORD_DEPTH]
    surfel_falloff = (s * s + t * t) * inverse_c * inverse_c
    hit = surfel_falloff < _FILTER * (dx * dx + dy * dy) and mean_z * inverse_c >= NEAR
    return s, t, inverse_c, hit, (mean_z * inverse_c if hit else mean_z)


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " float32[:,:,::1], int32[:,::1])",
    fast_rows=True,
)
def blend_surfels(
    first, last, tile_starts, pair_splat, means2d, records, n_processed,
    rgb, normals, depth, alpha, median_depth, distortion, depth_moments, median_pair,
):  # fmt: skip
    """Blend tiles ``first`` to ``last``.

    Args:
        n_processed: out, how many surfels of its list a tile used.
        median_depth: out, 0 where nothing is drawn.
        depth_moments: out, the blended z and z^2, counted from the nearest mean of the tile.
        median_pair: out, the pair that median depth comes from, -1 where nothing is drawn.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = SURFEL_FORWARD_PLANES * TILE
    scratch = np.empty(TILE * stride, np.float32)
    row_active = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        initialise_tile(scratch, SURFEL_FORWARD_PLANES, tile_x, tile_y, width, height, row_active)
        count = 0
        nearest = _nearest_depth(tile, tile_starts, pair_splat, records)
        for pair in range(tile_starts[tile], tile_starts[tile + 1]):
            i = pair_splat[pair]
            count += 1
            # Coordinates count from the centre of the tile's first pixel: lane k lies at x = k.
            mean_x = means2d[i, MEAN2D_X] - (tile_x * TILE + 0.5)
            mean_y = means2d[i, MEAN2D_Y] - (tile_y * TILE + 0.5)
            root_xx, root_yy = _f(means2d[i, MEAN2D_ROOT_XX]), means2d[i, MEAN2D_ROOT_YY]
            shear = means2d[i, MEAN2D_ROOT_XY] / means2d[i, MEAN2D_ROOT_XX]
            log2_opacity, radius_y = records[i, RECORD_LOG2_OPACITY], records[i, RECORD_RADIUS_Y]
            tilt_x, tilt_y = records[i, RECORD_TILT_X], records[i, RECORD_TILT_Y]
            red, green, blue = records[i, RECORD_RGB], records[i, RECORD_RGB + 1], records[i, RECORD_RGB + 2]
            nx, ny, nz = records[i, RECORD_NORMAL], records[i, RECORD_NORMAL + 1], records[i, RECORD_NORMAL + 2]
            mean_z = records[i, RECORD_DEPTH]
            max_c, mean_x32 = mean_z * _f(1 / NEAR), _f(mean_x)
            for r in range(first_row(_f(mean_y), radius_y), last_row(_f(mean_y), radius_y)):
                if not row_active[r]:
                    continue
                s_zero = mean_x - shear * (r - mean_y)
                whole, t, dy = _whole(s_zero), _f(root_yy * (r - mean_y)), _f(r - mean_y)
                rest, t2 = _f(s_zero - whole), t * t
                c_at_mean, filter_at_mean = _f(1) + tilt_y * dy, _f(_FILTER) * dy * dy
                row = _u(r * stride)
                for lane in range(TILE):
                    k = row + _u(lane)
                    x = _f(np.int32(lane))
                    dx = x - mean_x32
                    s, c = root_xx * (_f(np.int32(lane) - whole) - rest), tilt_x * dx + c_at_mean
                    inverse_c, filter_falloff = _f(1) / c, _f(_FILTER) * dx * dx + filter_at_mean
                    surfel_falloff = (s * s + t2) * inverse_c * inverse_c
                    hit = (surfel_falloff < filter_falloff) & (c > _f(0)) & (c <= max_c)
                    falloff = surfel_falloff if hit else filter_falloff
                    raw_alpha = exp2(max(log2_opacity - falloff, _f(MIN_LOG2_ALPHA)))
                    transmittance = scratch[k + _u(ACC_TRANSMITTANCE)]
                    blended = (raw_alpha >= _f(MIN_ALPHA)) & (transmittance > _f(MIN_TRANSMITTANCE))
                    weight = (min(raw_alpha, _f(MAX_ALPHA)) if blended else _f(0)) * transmittance
                    z = (mean_z * inverse_c if hit else mean_z) - nearest
                    scratch[k + _u(ACC_TRANSMITTANCE)] = transmittance - weight
                    scratch[k + _u(ACC_R)] += weight * red
                    scratch[k + _u(ACC_G)] += weight * green
                    scratch[k + _u(ACC_B)] += weight * blue
                    scratch[k + _u(ACC_NX)] += weight * nx
                    scratch[k + _u(ACC_NY)] += weight * ny
                    scratch[k + _u(ACC_NZ)] += weight * nz
                    scratch[k + _u(ACC_DEPTH)] += weight * z
                    scratch[k + _u(SURFEL_ACC_DEPTH2)] += weight * z * z
                    scratch[k + _u(SURFEL_ACC_MEDIAN)] = (
                        _f(count)
                        if blended & (transmittance > _f(MEDIAN_TRANSMITTANCE))
                        else scratch[k + _u(SURFEL_ACC_MEDIAN)]
                    )
            if count % CHECK_EVERY == 0 and not deactivate_finished_rows(scratch, SURFEL_FORWARD_PLANES, row_active):
                break
        n_processed[tile] = count
        for r in range(min(TILE, height - tile_y * TILE)):
            y = tile_y * TILE + r
            for lane in range(min(TILE, width - tile_x * TILE)):
                x, k = tile_x * TILE + lane, r * stride + lane
                opaque, z, z2 = (
                    _f(1) - scratch[k + ACC_TRANSMITTANCE],
                    scratch[k + ACC_DEPTH],
                    scratch[k + SURFEL_ACC_DEPTH2],
                )
                alpha[y, x], depth[y, x] = opaque, z + nearest * opaque
                depth_moments[y, x, 0], depth_moments[y, x, 1] = z, z2
                distortion[y, x] = max(opaque * z2 - z * z, _f(0))
                for c in range(3):
                    rgb[y, x, c] = scratch[k + ACC_R + TILE * c]
                    normals[y, x, c] = scratch[k + ACC_NX + TILE * c]
                pair = tile_starts[tile] + np.int64(scratch[k + SURFEL_ACC_MEDIAN]) - 1
                drawn = scratch[k + SURFEL_ACC_MEDIAN] > 0
                median_pair[y, x] = pair if drawn else -1
                median_depth[y, x] = _intersect(x, y, pair_splat[pair], means2d, records)[4] if drawn else _f(0)


@numba.njit(inline="always")
def _load_gradients(
    scratch, nearest, tile_x, tile_y, rgb, normals, alpha, depth_moments, g_rgb, g_normals, g_depth, g_alpha,
    g_distortion,
):  # fmt: skip
    """Fill the planes of the gradients g of colour, normal, 1, z and z^2, and ``behind`` with g . pixel."""
    height, width = alpha.shape
    for r in range(min(TILE, height - tile_y * TILE)):
        y = tile_y * TILE + r
        for lane in range(min(TILE, width - tile_x * TILE)):
            x, k = tile_x * TILE + lane, r * SURFEL_BACKWARD_PLANES * TILE + lane
            z, z2, g_spread = depth_moments[y, x, 0], depth_moments[y, x, 1], g_distortion[y, x]
            g_one = g_alpha[y, x] + nearest * g_depth[y, x] + g_spread * z2
            g_z, g_z2 = g_depth[y, x] - _f(2) * g_spread * z, g_spread * alpha[y, x]
            behind = g_one * alpha[y, x] + g_z * z + g_z2 * z2
            for c in range(3):
                behind += rgb[y, x, c] * g_rgb[y, x, c] + normals[y, x, c] * g_normals[y, x, c]
                scratch[k + BWD_R + TILE * c] = g_rgb[y, x, c]
                scratch[k + BWD_NX + TILE * c] = g_normals[y, x, c]
            scratch[k + BWD_BEHIND], scratch[k + SURFEL_BWD_ALPHA] = behind, g_one
            scratch[k + SURFEL_BWD_DEPTH], scratch[k + SURFEL_BWD_DEPTH2] = g_z, g_z2


@numba.njit(inline="always", fastmath={"reassoc", "contract", "nsz", "arcp"})
def _store_pair(pair_grads, row, sums, totals, root, tilt_x, tilt_y):
    """Add up the lanes of each sum and write one row of ``pair_grads``.

    Sums in whitened coordinates stay accurate for surfels seen nearly edge-on.

    Args:
        totals: scratch for ``_SUMS`` float32.
        root: root_xx, root_xy, root_yy.
    """
    for c in range(_SUMS):
        total = _f(0)
        for k in range(TILE):
            total += sums[TILE * c + k]
        totals[c] = total
    g_s, g_t, g_c = totals[_SUM_S], totals[_SUM_T], totals[_SUM_C]
    pair_grads[row, PAIR_LOG_ALPHA] = totals[_SUM_LOG_ALPHA]
    pair_grads[row, PAIR_MEAN_X] = -(root[0] * g_s + tilt_x * g_c) - 2 * _FILTER * totals[_SUM_FILTER_X]
    pair_grads[row, PAIR_MEAN_Y] = -(root[1] * g_s + root[2] * g_t + tilt_y * g_c) - 2 * _FILTER * totals[_SUM_FILTER_Y]
    pair_grads[row, PAIR_SS], pair_grads[row, PAIR_ST] = totals[_SUM_SS], totals[_SUM_ST]
    pair_grads[row, PAIR_TT] = totals[_SUM_TT]
    pair_grads[row, PAIR_CS], pair_grads[row, PAIR_CT] = totals[_SUM_CS], totals[_SUM_CT]
    for c in range(6):
        pair_grads[row, PAIR_RGB + c] = totals[_SUM_R + c]
    pair_grads[row, PAIR_DEPTH] = totals[_SUM_DEPTH]


@numba.njit
def _median_backward(x, y, g, i, means2d, records, pair_grad):
    """Add the gradient of z where one pixel's ray meets one surfel to a row of ``pair_grads``."""
    s, t, inverse_c, hit, z = _intersect(x, y, i, means2d, records)
    if not hit:
        pair_grad[PAIR_DEPTH] += g
        return
    g_c = -g * z * inverse_c
    pair_grad[PAIR_MEAN_X] -= records[i, RECORD_TILT_X] * g_c
    pair_grad[PAIR_MEAN_Y] -= records[i, RECORD_TILT_Y] * g_c
    pair_grad[PAIR_CS] += g_c * s
    pair_grad[PAIR_CT] += g_c * t
    pair_grad[PAIR_DEPTH] += g * inverse_c


@compiled(
    "void(int64, int64, int64[::1], int32[::1], float64[:,::1], float32[:,::1], int32[::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " float32[:,:,::1], int32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " int32[::1], float32[:,::1])",
    fast_rows=True,
)
def blend_surfels_backward(
    first, last, tile_starts, pair_splat, means2d, records, n_processed,
    rgb, normals, depth, alpha, median_depth, distortion, depth_moments, median_pair,
    g_rgb, g_normals, g_depth, g_alpha, g_median_depth, g_distortion,
    pair_grad_row, pair_grads,
):  # fmt: skip
    """Compute the gradient of ``blend_surfels``: one row of ``pair_grads`` a pair."""
    height, width = alpha.shape
    tiles_x = (width + TILE - 1) // TILE
    stride = SURFEL_BACKWARD_PLANES * TILE
    scratch = np.empty(TILE * stride, np.float32)
    sums, totals = np.empty(_SUMS * TILE, np.float32), np.empty(_SUMS, np.float32)
    row_active = np.empty(TILE, np.bool_)
    for tile in range(first, last):
        tile_y, tile_x = tile // tiles_x, tile % tiles_x
        end = tile_starts[tile] + n_processed[tile]
        for pair in range(end, tile_starts[tile + 1]):
            pair_grads[pair_grad_row[pair]] = 0
        if n_processed[tile] == 0:
            continue
        nearest = _nearest_depth(tile, tile_starts, pair_splat, records)
        initialise_tile(scratch, SURFEL_BACKWARD_PLANES, tile_x, tile_y, width, height, row_active)
        _load_gradients(
            scratch, nearest, tile_x, tile_y, rgb, normals, alpha, depth_moments, g_rgb, g_normals, g_depth, g_alpha,
            g_distortion,
        )  # fmt: skip
        for pair in range(tile_starts[tile], end):
            i = pair_splat[pair]
            mean_x = means2d[i, MEAN2D_X] - (tile_x * TILE + 0.5)
            mean_y = means2d[i, MEAN2D_Y] - (tile_y * TILE + 0.5)
            root_xx, root_yy = _f(means2d[i, MEAN2D_ROOT_XX]), means2d[i, MEAN2D_ROOT_YY]
            shear = means2d[i, MEAN2D_ROOT_XY] / means2d[i, MEAN2D_ROOT_XX]
            log2_opacity, radius_y = records[i, RECORD_LOG2_OPACITY], records[i, RECORD_RADIUS_Y]
            tilt_x, tilt_y = records[i, RECORD_TILT_X], records[i, RECORD_TILT_Y]
            red, green, blue = records[i, RECORD_RGB], records[i, RECORD_RGB + 1], records[i, RECORD_RGB + 2]
            nx, ny, nz = records[i, RECORD_NORMAL], records[i, RECORD_NORMAL + 1], records[i, RECORD_NORMAL + 2]
            mean_z = records[i, RECORD_DEPTH]
            max_c, mean_x32 = mean_z * _f(1 / NEAR), _f(mean_x)
            sums[:] = 0
            for r in range(first_row(_f(mean_y), radius_y), last_row(_f(mean_y), radius_y)):
                if not row_active[r]:
                    continue
                s_zero = mean_x - shear * (r - mean_y)
                whole, t, dy = _whole(s_zero), _f(root_yy * (r - mean_y)), _f(r - mean_y)
                rest, t2 = _f(s_zero - whole), t * t
                c_at_mean, filter_at_mean = _f(1) + tilt_y * dy, _f(_FILTER) * dy * dy
                row = _u(r * stride)
                for lane_ in range(TILE):
                    lane = _u(lane_)
                    k = row + lane
                    x = _f(np.int32(lane_))
                    dx = x - mean_x32
                    s, c = root_xx * (_f(np.int32(lane_) - whole) - rest), tilt_x * dx + c_at_mean
                    inverse_c, filter_falloff = _f(1) / c, _f(_FILTER) * dx * dx + filter_at_mean
                    surfel_falloff = (s * s + t2) * inverse_c * inverse_c
                    hit = (surfel_falloff < filter_falloff) & (c > _f(0)) & (c <= max_c)
                    falloff = surfel_falloff if hit else filter_falloff
                    raw_alpha = exp2(max(log2_opacity - falloff, _f(MIN_LOG2_ALPHA)))
                    transmittance = scratch[k + _u(BWD_TRANSMITTANCE)]
                    blended = (raw_alpha >= _f(MIN_ALPHA)) & (transmittance > _f(MIN_TRANSMITTANCE))
                    splat_alpha = min(raw_alpha, _f(MAX_ALPHA)) if blended else _f(0)
                    weight = splat_alpha * transmittance
                    z_per_mean_z = inverse_c if hit else _f(1)
                    z = mean_z * z_per_mean_z - nearest
                    g_r, g_g, g_b = scratch[k + _u(BWD_R)], scratch[k + _u(BWD_G)], scratch[k + _u(BWD_B)]
                    g_nx, g_ny, g_nz = scratch[k + _u(BWD_NX)], scratch[k + _u(BWD_NY)], scratch[k + _u(BWD_NZ)]
                    g_one, g_z = scratch[k + _u(SURFEL_BWD_ALPHA)], scratch[k + _u(SURFEL_BWD_DEPTH)]
                    g_z2 = scratch[k + _u(SURFEL_BWD_DEPTH2)]
                    g_weight = g_one + red * g_r + green * g_g + blue * g_b + nx * g_nx + ny * g_ny + nz * g_nz
                    g_weight += z * (g_z + z * g_z2)
                    here = weight * g_weight
                    behind = scratch[k + _u(BWD_BEHIND)] - here
                    scratch[k + _u(BWD_BEHIND)] = behind
                    scratch[k + _u(BWD_TRANSMITTANCE)] = transmittance - weight
                    g_log_alpha = here - splat_alpha * behind / (_f(1) - splat_alpha)
                    g_log_alpha = g_log_alpha if raw_alpha <= _f(MAX_ALPHA) else _f(0)
                    g_falloff = -_f(_LN_2) * g_log_alpha
                    g_mean_z = weight * (g_z + _f(2) * z * g_z2) * z_per_mean_z
                    g_st = _f(2) * g_falloff * inverse_c
                    g_c = -inverse_c * (_f(2) * g_falloff * surfel_falloff + g_mean_z * mean_z) if hit else _f(0)
                    g_st = g_st * inverse_c if hit else _f(0)
                    g_filter = _f(0) if hit else g_falloff
                    g_s, g_t = g_st * s, g_st * t
                    sums[lane + _u(_SUM_LOG_ALPHA * TILE)] += g_log_alpha
                    sums[lane + _u(_SUM_S * TILE)] += g_s
                    sums[lane + _u(_SUM_T * TILE)] += g_t
                    sums[lane + _u(_SUM_SS * TILE)] += g_s * s
                    sums[lane + _u(_SUM_ST * TILE)] += g_s * t
                    sums[lane + _u(_SUM_TT * TILE)] += g_t * t
                    sums[lane + _u(_SUM_C * TILE)] += g_c
                    sums[lane + _u(_SUM_CS * TILE)] += g_c * s
                    sums[lane + _u(_SUM_CT * TILE)] += g_c * t
                    sums[lane + _u(_SUM_FILTER_X * TILE)] += g_filter * dx
                    sums[lane + _u(_SUM_FILTER_Y * TILE)] += g_filter * dy
                    sums[lane + _u(_SUM_DEPTH * TILE)] += g_mean_z
                    sums[lane + _u(_SUM_R * TILE)] += weight * g_r
                    sums[lane + _u(_SUM_G * TILE)] += weight * g_g
                    sums[lane + _u(_SUM_B * TILE)] += weight * g_b
                    sums[lane + _u(_SUM_NX * TILE)] += weight * g_nx
                    sums[lane + _u(_SUM_NY * TILE)] += weight * g_ny
                    sums[lane + _u(_SUM_NZ * TILE)] += weight * g_nz
            root = means2d[i, MEAN2D_ROOT_XX : MEAN2D_ROOT_YY + 1]
            _store_pair(pair_grads, pair_grad_row[pair], sums, totals, root, tilt_x, tilt_y)
            if (pair - tile_starts[tile] + 1) % CHECK_EVERY == 0:
                deactivate_finished_rows(scratch, SURFEL_BACKWARD_PLANES, row_active)
        for y in range(tile_y * TILE, min(tile_y * TILE + TILE, height)):
            for x in range(tile_x * TILE, min(tile_x * TILE + TILE, width)):
                if median_pair[y, x] >= 0 and g_median_depth[y, x] != 0:
                    pair = median_pair[y, x]
                    pair_grad = pair_grads[pair_grad_row[pair]]
                    _median_backward(x, y, g_median_depth[y, x], pair_splat[pair], means2d, records, pair_grad)
