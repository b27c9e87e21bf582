"""Project 3D Gaussians to the picture plane, splat by splat, and carry gradients back.

Equations (EWA splatting as in 3D Gaussian Splatting, Kerbl et al. 2023): with a splat's mean (x, y, z) in the camera
frame, C = R_camera R_splat, scales S and the Jacobian J of the projection at the mean,

    cov_2d = (J C S)(J C S)^T + dilation I,     u = fx x / z + cx,     v = fy y / z + cy

An antialiased splat covers as much when it is dilated: its opacity is multiplied by sqrt(|cov| / |cov + dilation I|)
(Mip-Splatting, Yu et al. 2024).

x / z and y / z inside J (not in u, v) are clamped to 1.3 times the field of view or to 1, whichever is wider: the
linearisation explodes at grazing angles, and the 1 keeps crops of ordinary cameras equal to crops of their pictures.
The normal is the shortest axis, turned toward the camera. Colour is max(0, 1/2 + SH(direction)).

Everything here is computed in float64: it takes little of the time, and u, v and the root need the digits.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
from spinmeround.recon.raster.layout import (
    CX,
    CY,
    FX,
    FY,
    MEAN2D_DEPTH,
    MEAN2D_X,
    MEAN2D_Y,
    MOMENT_S,
    MOMENT_SS,
    MOMENT_ST,
    MOMENT_T,
    MOMENT_TT,
    PAIR_DEPTH,
    PAIR_LOG_ALPHA,
    PAIR_NORMAL,
    PAIR_RGB,
    RECORD_DEPTH,
    RECORD_LOG2_OPACITY,
    RECORD_NORMAL,
    RECORD_RADIUS_Y,
    RECORD_RGB,
    RECORD_ROOT_XX,
    RECORD_ROOT_XY,
    RECORD_ROOT_YY,
    RECORD_SIZE,
    TILE,
    TILES_X0,
    TILES_X1,
    TILES_Y0,
    TILES_Y1,
)
from spinmeround.recon.raster.rigid import (
    NEAR,
    facing_sign,
    quaternion_to_matrix,
    rigid_backward,
    splat_axes_in_camera,
    to_camera,
)
from spinmeround.recon.raster.spherical_harmonics import MAX_COEFFICIENTS, sh_colour, sh_colour_backward
from spinmeround.recon.raster.tiles import MIN_ALPHA, RADIUS_MARGIN_PX, ROOT_SCALE, sum_pairs

_FIELD_MARGIN = 0.3
"""By which x / z and y / z in J may leave the field of view, as a fraction of it; as in 3D Gaussian Splatting."""
_HALF_UNSCALED = 0.5 / ROOT_SCALE**2
"""One half, for second moments in coordinates that are scaled by ``ROOT_SCALE``."""


@numba.njit
def _clamp_to_field(slope, focal, centre, size):
    """Clamp x / z to the field of view and its margin, or to 1, whichever is wider."""
    margin = _FIELD_MARGIN * 0.5 * size / focal
    lowest, highest = -centre / focal - margin, (size - centre) / focal + margin
    return min(max(slope, min(lowest, -1.0)), max(highest, 1.0))


@numba.njit
def _half_axes(x, y, z, intrinsics, width, height, splat_axes, scale, axes):
    """Fill the 2 by 3 matrix J C S; its rows are the splat's half axes seen along x and y of the picture."""
    slope_x = _clamp_to_field(x / z, intrinsics[FX], intrinsics[CX], width)
    slope_y = _clamp_to_field(y / z, intrinsics[FY], intrinsics[CY], height)
    for k in range(3):
        axes[0, k] = intrinsics[FX] / z * (splat_axes[0, k] - slope_x * splat_axes[2, k]) * scale[k]
        axes[1, k] = intrinsics[FY] / z * (splat_axes[1, k] - slope_y * splat_axes[2, k]) * scale[k]


@numba.njit
def _covariance(axes, dilation):
    """Return xx, xy, yy of the dilated covariance, its determinant, and that without dilation.

    Both determinants are sums of positive terms (Cauchy-Binet), so that those of needles do not cancel out.
    """
    xx = axes[0, 0] * axes[0, 0] + axes[0, 1] * axes[0, 1] + axes[0, 2] * axes[0, 2]
    xy = axes[0, 0] * axes[1, 0] + axes[0, 1] * axes[1, 1] + axes[0, 2] * axes[1, 2]
    yy = axes[1, 0] * axes[1, 0] + axes[1, 1] * axes[1, 1] + axes[1, 2] * axes[1, 2]
    m0 = axes[0, 0] * axes[1, 1] - axes[0, 1] * axes[1, 0]
    m1 = axes[0, 1] * axes[1, 2] - axes[0, 2] * axes[1, 1]
    m2 = axes[0, 2] * axes[1, 0] - axes[0, 0] * axes[1, 2]
    sharp = m0 * m0 + m1 * m1 + m2 * m2
    return xx + dilation, xy, yy + dilation, sharp + dilation * (xx + yy + dilation), sharp


@numba.njit
def _shortest_axis(scale):
    axis = 0
    for k in range(1, 3):
        if scale[k] < scale[axis]:
            axis = k
    return axis


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64, boolean,"
    " float64[:,::1], float32[:,::1], int32[:,::1])"
)
def project_gaussians(
    first, last, means, scales, quats, opacities, sh, pose, intrinsics, camera_centre, width, height, dilation,
    antialiased, means2d, records, tiles,
):  # fmt: skip
    """Fill ``means2d``, ``records`` and tile ranges [x0, x1) x [y0, y1); an empty range means the splat is not drawn.

    Args:
        pose: 3 by 4, camera from world.
        intrinsics: fx, fy, cx, cy in pixels.
        camera_centre: the camera's centre in the world.
        dilation: added to both variances of a footprint, px^2.
        antialiased: make splats more transparent by what dilation makes them larger.
    """
    rotation, splat_axes, axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    basis = np.empty(MAX_COEFFICIENTS)
    for i in range(first, last):
        tiles[i] = 0
        x, y, z = to_camera(means[i], pose)
        opacity = np.float64(opacities[i])
        norm = quaternion_to_matrix(quats[i], rotation)
        # Written so that NaN fails them too.
        if not (z >= NEAR and opacity > MIN_ALPHA and norm > 0):
            continue
        splat_axes_in_camera(pose, rotation, splat_axes)
        _half_axes(x, y, z, intrinsics, width, height, splat_axes, scales[i], axes)
        xx, xy, yy, determinant, sharp = _covariance(axes, dilation)
        if not (0 < determinant < np.inf and xx > 0 and yy > 0):
            continue
        if antialiased:
            opacity *= math.sqrt(sharp / determinant)
            if not opacity > MIN_ALPHA:
                continue
        u, v = intrinsics[FX] * x / z + intrinsics[CX], intrinsics[FY] * y / z + intrinsics[CY]
        # Squared Mahalanobis distance at which alpha falls to 1/255.
        max_distance2 = 2 * math.log(opacity / MIN_ALPHA)
        radius_x = math.sqrt(max_distance2 * xx) + RADIUS_MARGIN_PX
        radius_y = math.sqrt(max_distance2 * yy) + RADIUS_MARGIN_PX
        if not (u + radius_x > 0 and u - radius_x < width and v + radius_y > 0 and v - radius_y < height):
            continue
        tiles[i, TILES_X0] = max(0, math.floor((u - radius_x) / TILE))
        tiles[i, TILES_X1] = min((width + TILE - 1) // TILE, math.floor((u + radius_x) / TILE) + 1)
        tiles[i, TILES_Y0] = max(0, math.floor((v - radius_y) / TILE))
        tiles[i, TILES_Y1] = min((height + TILE - 1) // TILE, math.floor((v + radius_y) / TILE) + 1)
        means2d[i, MEAN2D_X], means2d[i, MEAN2D_Y], means2d[i, MEAN2D_DEPTH] = u, v, z
        record = records[i]
        record[RECORD_ROOT_XX] = ROOT_SCALE * math.sqrt(yy / determinant)
        record[RECORD_ROOT_XY] = -ROOT_SCALE * xy / math.sqrt(yy * determinant)
        record[RECORD_ROOT_YY] = ROOT_SCALE / math.sqrt(yy)
        record[RECORD_LOG2_OPACITY], record[RECORD_RADIUS_Y] = math.log2(opacity), radius_y
        sh_colour(means[i], camera_centre, sh[i], basis, record[RECORD_RGB : RECORD_RGB + 3])
        axis = _shortest_axis(scales[i])
        sign = facing_sign(rotation, axis, means[i], camera_centre)
        for c in range(3):
            record[RECORD_NORMAL + c] = sign * rotation[c, axis]
        record[RECORD_DEPTH] = z


@numba.njit
def _footprint_backward(
    moments, x, y, z, intrinsics, width, height, splat_axes, scale, dilation, antialiased, axes, g_axes, g_scale
):
    """Carry the whitened moments of d(loss)/d(log alpha) to the mean in the camera frame, to C and to the scales.

    With K = L L^T the inverse covariance and w = L^T d, d(log alpha)/d(u, v) = L w and d(log alpha)/d(cov) =
    L w w^T L^T / 2. An antialiased splat has half the difference of the inverses without and with dilation on top.
    """
    slope_x = _clamp_to_field(x / z, intrinsics[FX], intrinsics[CX], width)
    slope_y = _clamp_to_field(y / z, intrinsics[FY], intrinsics[CY], height)
    fx, fy = intrinsics[FX] / z, intrinsics[FY] / z
    xx, xy, yy, determinant, sharp = _covariance(axes, dilation)
    # L = [[a, 0], [b, c]]; the records hold it times ROOT_SCALE, and so do the moments.
    a, b, c = math.sqrt(yy / determinant), -xy / math.sqrt(yy * determinant), 1 / math.sqrt(yy)
    g_u, g_v = a * moments[MOMENT_S] / ROOT_SCALE, (b * moments[MOMENT_S] + c * moments[MOMENT_T]) / ROOT_SCALE
    half_ss, half_st = moments[MOMENT_SS] * _HALF_UNSCALED, moments[MOMENT_ST] * _HALF_UNSCALED
    half_tt = moments[MOMENT_TT] * _HALF_UNSCALED
    g_xx = a * a * half_ss
    g_xy = a * (b * half_ss + c * half_st)
    g_yy = b * b * half_ss + 2 * b * c * half_st + c * c * half_tt
    if antialiased:
        g_xx += 0.5 * moments[PAIR_LOG_ALPHA] * ((yy - dilation) / sharp - yy / determinant)
        g_xy += 0.5 * moments[PAIR_LOG_ALPHA] * (-xy / sharp + xy / determinant)
        g_yy += 0.5 * moments[PAIR_LOG_ALPHA] * ((xx - dilation) / sharp - xx / determinant)
    g_fx = g_fy = g_slope_x = g_slope_y = 0.0
    for k in range(3):
        g_row0, g_row1 = 2 * (g_xx * axes[0, k] + g_xy * axes[1, k]), 2 * (g_xy * axes[0, k] + g_yy * axes[1, k])
        unscaled0, unscaled1 = (
            splat_axes[0, k] - slope_x * splat_axes[2, k],
            splat_axes[1, k] - slope_y * splat_axes[2, k],
        )
        g_scale[k] = g_row0 * fx * unscaled0 + g_row1 * fy * unscaled1
        g_row0, g_row1 = g_row0 * scale[k], g_row1 * scale[k]
        g_axes[0, k], g_axes[1, k] = fx * g_row0, fy * g_row1
        g_axes[2, k] = -fx * slope_x * g_row0 - fy * slope_y * g_row1
        g_fx += g_row0 * unscaled0
        g_fy += g_row1 * unscaled1
        g_slope_x -= g_row0 * fx * splat_axes[2, k]
        g_slope_y -= g_row1 * fy * splat_axes[2, k]
    # A clamped slope does not move with the mean.
    g_slope_x = g_slope_x if slope_x == x / z else 0.0
    g_slope_y = g_slope_y if slope_y == y / z else 0.0
    g_x, g_y = fx * g_u + g_slope_x / z, fy * g_v + g_slope_y / z
    g_z = -(x * g_x + y * g_y + fx * g_fx + fy * g_fy) / z
    return g_x, g_y, g_z


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64, boolean, float32[:,::1],"
    " int64[::1], float32[:,::1],"
    " float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1], float64[:,::1])"
)
def project_gaussians_backward(
    first, last, means, scales, quats, opacities, sh, pose, intrinsics, camera_centre, width, height, dilation,
    antialiased, records, splat_starts, pair_grads,
    g_means, g_scales, g_quats, g_opacities, g_sh, g_poses,
):  # fmt: skip
    """Add ``pair_grads`` of each splat in tile order and carry the sum back to its fields; others get 0.

    Args:
        g_poses: out, each splat's part of the gradient to the camera, see ``rigid_backward``; no columns if the pose
            needs no gradient.
    """
    rotation, splat_axes, axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    g_rotation, g_axes = np.empty((3, 3)), np.empty((3, 3))
    basis, basis_slopes = np.empty(MAX_COEFFICIENTS), np.empty((3, MAX_COEFFICIENTS))
    total, g_camera, g_axis, g_offset = np.empty(RECORD_SIZE), np.empty(3), np.empty(3), np.empty(3)
    for i in range(first, last):
        g_means[i], g_scales[i], g_quats[i], g_opacities[i], g_sh[i], g_poses[i] = 0, 0, 0, 0, 0, 0
        if splat_starts[i] == splat_starts[i + 1]:
            continue
        sum_pairs(pair_grads, splat_starts[i], splat_starts[i + 1], total)
        x, y, z = to_camera(means[i], pose)
        norm = quaternion_to_matrix(quats[i], rotation)
        splat_axes_in_camera(pose, rotation, splat_axes)
        _half_axes(x, y, z, intrinsics, width, height, splat_axes, scales[i], axes)
        g_camera[0], g_camera[1], g_camera[2] = _footprint_backward(
            total,
            x,
            y,
            z,
            intrinsics,
            width,
            height,
            splat_axes,
            scales[i],
            dilation,
            antialiased,
            axes,
            g_axes,
            g_scales[i],
        )
        g_camera[2] += total[PAIR_DEPTH]
        axis = _shortest_axis(scales[i])
        sign = facing_sign(rotation, axis, means[i], camera_centre)
        for c in range(3):
            g_axis[c] = sign * total[PAIR_NORMAL + c]
        colour, g_colour = records[i, RECORD_RGB : RECORD_RGB + 3], total[PAIR_RGB : PAIR_RGB + 3]
        sh_colour_backward(means[i], camera_centre, sh[i], colour, g_colour, basis, basis_slopes, g_offset, g_sh[i])
        rigid_backward(
            means[i], quats[i], norm, pose, rotation, g_camera, g_axes, g_axis, axis, g_offset, g_rotation,
            g_means[i], g_quats[i], g_poses[i],
        )  # fmt: skip
        g_opacities[i] = total[PAIR_LOG_ALPHA] / opacities[i]
