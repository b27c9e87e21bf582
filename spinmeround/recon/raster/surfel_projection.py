"""Project surfels to the picture plane, surfel by surfel, and carry gradients back.

Equations (2D Gaussian Splatting, Huang et al. 2024): a surfel is the flat Gaussian exp(-(u^2 + v^2) / 2) in the plane
p + u s_0 t_0 + v s_1 t_1, with p the mean and t_0, t_1 the first columns of C = R_camera R_splat in the camera's frame;
the third scale means nothing. With M = [s_0 t_0, s_1 t_1, p], the ray through a pixel meets that plane at depth z where

    M (u, v, 1) = z (X, Y, 1),     so     (u, v, 1) / z = N (X, Y, 1),     N = M^-1

which the paper writes as the meeting of three homogeneous planes. Times z_mean all of it is linear in the pixel; with
d = pixel - projected mean,

    (s, t) = z_mean / z (u, v) = G d,       c = z_mean / z = 1 + tilt . d,
    G_kj = z_mean N_kj / f_j,               tilt_j = z_mean N_2j / f_j

Only u^2 + v^2 matters, so G may be rotated: its triangular root [[root_xx, root_xy], [0, root_yy]] is
what blending gets, with ``ROOT_SCALE`` as for 3D Gaussians. A surfel whose plane all but contains the camera's centre
(sine below 1e-6) has no (u, v): the paper's low-pass filter alone draws it.

The box around what can be seen is exact: that of the conic u^2 + v^2 = 2 ln(255 opacity), and the filter's disc. A
conic that reaches behind the camera is an open curve; such a surfel goes to all tiles.

Everything here is computed in float64.
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
    PAIR_NORMAL,
    PAIR_RGB,
    PAIR_SS,
    PAIR_ST,
    PAIR_TT,
    RECORD_DEPTH,
    RECORD_LOG2_OPACITY,
    RECORD_NORMAL,
    RECORD_RADIUS_Y,
    RECORD_RGB,
    RECORD_SIZE,
    RECORD_TILT_X,
    RECORD_TILT_Y,
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

FILTER_VARIANCE_PX2 = 0.5
"""Variance of the low-pass filter, as in the paper: a surfel never looks smaller than a Gaussian of this variance."""

_MIN_PLANE_SINE = 1e-6
"""Sine of the angle between a surfel's plane and the ray to its mean, under which the surfel has no (u, v)."""
_MIN_SCALE = 1e-12
"""Surfels with a smaller standard deviation are not drawn. Head units."""
_STEEP_ROOT = 1e12
"""Root of a surfel without (u, v): so steep that the filter is above it everywhere."""
_UNBOUNDED_PX = 1e9
"""Extent of a surfel that reaches behind the camera."""
_NORMAL_AXIS = 2


@numba.njit
def _inverse(x, y, z, splat_axes, scale, inverse):
    """Fill N; return False if the camera's centre is too near the plane."""
    along = splat_axes[0, 2] * x + splat_axes[1, 2] * y + splat_axes[2, 2] * z
    if not abs(along) > _MIN_PLANE_SINE * math.sqrt(x * x + y * y + z * z):
        return False
    point = (x, y, z)
    for j in range(3):
        k, l = (j + 1) % 3, (j + 2) % 3  # noqa: E741
        inverse[0, j] = (splat_axes[k, 1] * point[l] - splat_axes[l, 1] * point[k]) / (scale[0] * along)
        inverse[1, j] = (point[k] * splat_axes[l, 0] - point[l] * splat_axes[k, 0]) / (scale[1] * along)
        inverse[2, j] = splat_axes[j, 2] / along
    return True


@numba.njit
def _root(z, intrinsics, inverse):
    """Return cosine and sine of the rotation that makes G triangular, and root_xx, root_xy, root_yy."""
    x_scale, y_scale = ROOT_SCALE * z / intrinsics[FX], ROOT_SCALE * z / intrinsics[FY]
    g00, g01, g10, g11 = (
        x_scale * inverse[0, 0],
        y_scale * inverse[0, 1],
        x_scale * inverse[1, 0],
        y_scale * inverse[1, 1],
    )
    # Neither root_xx nor root_yy can be 0: G has the determinant z_mean^3 / (|M| f_x f_y).
    root_xx = math.hypot(g00, g10)
    cosine, sine = g00 / root_xx, g10 / root_xx
    return cosine, sine, root_xx, cosine * g01 + sine * g11, cosine * g11 - sine * g01


@numba.njit
def _extent(x, y, z, intrinsics, splat_axes, scale, max_distance2, extent_px):
    """Fill left, right, up, down: how far from the projected mean alpha can still be 1/255.

    Args:
        max_distance2: squared Mahalanobis distance at which alpha falls to 1/255.
    """
    filter_radius = math.sqrt(max_distance2 * FILTER_VARIANCE_PX2)
    back0, back1 = scale[0] * splat_axes[2, 0], scale[1] * splat_axes[2, 1]
    openness = max_distance2 * (back0 * back0 + back1 * back1) - z * z
    for j in range(2):
        if not openness < 0:
            extent_px[2 * j], extent_px[2 * j + 1] = -_UNBOUNDED_PX, _UNBOUNDED_PX
            continue
        slope = (x if j == 0 else y) / z
        half0 = intrinsics[FX + j] * scale[0] * (splat_axes[j, 0] - slope * splat_axes[2, 0])
        half1 = intrinsics[FX + j] * scale[1] * (splat_axes[j, 1] - slope * splat_axes[2, 1])
        middle = max_distance2 * (half0 * back0 + half1 * back1) / openness
        half = math.sqrt(max(0.0, middle * middle - max_distance2 * (half0 * half0 + half1 * half1) / openness))
        extent_px[2 * j] = max(min(middle - half, -filter_radius) - RADIUS_MARGIN_PX, -_UNBOUNDED_PX)
        extent_px[2 * j + 1] = min(max(middle + half, filter_radius) + RADIUS_MARGIN_PX, _UNBOUNDED_PX)


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64[:,::1], float32[:,::1], int32[:,::1])"
)
def project_surfels(
    first,
    last,
    means,
    scales,
    quats,
    opacities,
    sh,
    pose,
    intrinsics,
    camera_centre,
    width,
    height,
    means2d,
    records,
    tiles,
):
    """Fill ``means2d``, ``records`` and tile ranges [x0, x1) x [y0, y1), which are empty for surfels not drawn.

    Args:
        pose: 3 by 4, camera from world.
        intrinsics: fx, fy, cx, cy in pixels.
        camera_centre: the camera's centre in the world.
    """
    rotation, splat_axes, inverse = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    basis, extent_px = np.empty(MAX_COEFFICIENTS), np.empty(4)
    for i in range(first, last):
        tiles[i] = 0
        x, y, z = to_camera(means[i], pose)
        norm = quaternion_to_matrix(quats[i], rotation)
        opacity = np.float64(opacities[i])
        # Written so that NaN fails them too.
        if not (z >= NEAR and opacity > MIN_ALPHA and 0 < norm < np.inf):
            continue
        if not (_MIN_SCALE <= scales[i, 0] < np.inf and _MIN_SCALE <= scales[i, 1] < np.inf):
            continue
        splat_axes_in_camera(pose, rotation, splat_axes)
        u, v = intrinsics[FX] * x / z + intrinsics[CX], intrinsics[FY] * y / z + intrinsics[CY]
        _extent(x, y, z, intrinsics, splat_axes, scales[i], 2 * math.log(opacity / MIN_ALPHA), extent_px)
        left, right, up, down = extent_px[0], extent_px[1], extent_px[2], extent_px[3]
        if not (u + right > 0 and u + left < width and v + down > 0 and v + up < height):
            continue
        tiles[i, TILES_X0] = math.floor(max(0.0, u + left) / TILE)
        tiles[i, TILES_X1] = math.floor(min(width - 0.5, u + right) / TILE) + 1
        tiles[i, TILES_Y0] = math.floor(max(0.0, v + up) / TILE)
        tiles[i, TILES_Y1] = math.floor(min(height - 0.5, v + down) / TILE) + 1
        mean2d, record = means2d[i], records[i]
        mean2d[MEAN2D_X], mean2d[MEAN2D_Y], mean2d[MEAN2D_DEPTH] = u, v, z
        if _inverse(x, y, z, splat_axes, scales[i], inverse):
            _, _, mean2d[MEAN2D_ROOT_XX], mean2d[MEAN2D_ROOT_XY], mean2d[MEAN2D_ROOT_YY] = _root(z, intrinsics, inverse)
            record[RECORD_TILT_X] = z * inverse[2, 0] / intrinsics[FX]
            record[RECORD_TILT_Y] = z * inverse[2, 1] / intrinsics[FY]
        else:
            mean2d[MEAN2D_ROOT_XX], mean2d[MEAN2D_ROOT_XY], mean2d[MEAN2D_ROOT_YY] = _STEEP_ROOT, 0, _STEEP_ROOT
            record[RECORD_TILT_X], record[RECORD_TILT_Y] = 0, 0
        record[RECORD_LOG2_OPACITY], record[RECORD_RADIUS_Y] = math.log2(opacity), max(-up, down)
        sh_colour(means[i], camera_centre, sh[i], basis, record[RECORD_RGB : RECORD_RGB + 3])
        sign = facing_sign(rotation, _NORMAL_AXIS, means[i], camera_centre)
        for c in range(3):
            record[RECORD_NORMAL + c] = sign * rotation[c, _NORMAL_AXIS]
        record[RECORD_DEPTH] = z


@numba.njit
def _grads_times_offset(total, j, root_xx, root_xy, root_yy):
    """Return the sums of the gradients of s, t, c, each times dx (j = 0) or dy (j = 1)."""
    ss, st, tt, cs, ct = total[PAIR_SS], total[PAIR_ST], total[PAIR_TT], total[PAIR_CS], total[PAIR_CT]
    if j == 1:
        return st / root_yy, tt / root_yy, ct / root_yy
    shear = root_xy / root_yy
    return (ss - shear * st) / root_xx, (st - shear * tt) / root_xx, (cs - shear * ct) / root_xx


@numba.njit
def _plane_backward(total, x, y, z, intrinsics, splat_axes, scale, inverse, g_inverse, g_camera, g_axes, g_scale):
    """Carry the sum of a surfel's ``pair_grads`` to its mean, C and scales, if it has (u, v).

    With R the root, d = R^-1 (s, t): sums over pixels of gradient times (s, t) become gradients of the root and of the
    tilt without any difference of large numbers; the root's is rotated back to that of G. Then dM = -N^T dN N^T.
    """
    if not _inverse(x, y, z, splat_axes, scale, inverse):
        return
    cosine, sine, root_xx, root_xy, root_yy = _root(z, intrinsics, inverse)
    for j in range(2):
        g_s, g_t, g_c = _grads_times_offset(total, j, root_xx, root_xy, root_yy)
        z_per_focal = z / intrinsics[FX + j]
        g_inverse[0, j] = ROOT_SCALE * (cosine * g_s - sine * g_t) * z_per_focal
        g_inverse[1, j] = ROOT_SCALE * (sine * g_s + cosine * g_t) * z_per_focal
        g_inverse[2, j] = g_c * z_per_focal
        for k in range(3):
            g_camera[2] += g_inverse[k, j] * inverse[k, j] / z
    for column in range(3):
        # -N^T dN N^T, one column; dN has no third column, as d has no third component.
        inner0 = g_inverse[0, 0] * inverse[column, 0] + g_inverse[0, 1] * inverse[column, 1]
        inner1 = g_inverse[1, 0] * inverse[column, 0] + g_inverse[1, 1] * inverse[column, 1]
        inner2 = g_inverse[2, 0] * inverse[column, 0] + g_inverse[2, 1] * inverse[column, 1]
        for j in range(3):
            g = -(inverse[0, j] * inner0 + inverse[1, j] * inner1 + inverse[2, j] * inner2)
            if column < 2:
                g_axes[j, column] = g * scale[column]
                g_scale[column] += g * splat_axes[j, column]
            else:
                g_camera[j] += g


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float32[:,::1], int64[::1], float32[:,::1],"
    " float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1], float64[:,::1])"
)
def project_surfels_backward(
    first, last, means, scales, quats, opacities, sh, pose, intrinsics, camera_centre, width, height, records,
    splat_starts, pair_grads,
    g_means, g_scales, g_quats, g_opacities, g_sh, g_poses,
):  # fmt: skip
    """Add ``pair_grads`` of each surfel in tile order and carry the sum back to its fields; others get 0.

    Args:
        g_poses: out, each surfel's part of the gradient to the camera, see ``rigid_backward``; no columns if the pose
            needs no gradient.
    """
    rotation, splat_axes, inverse = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    g_inverse, g_rotation, g_axes, g_scale = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(2)
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
        g_camera[0], g_camera[1] = intrinsics[FX] / z * total[PAIR_MEAN_X], intrinsics[FY] / z * total[PAIR_MEAN_Y]
        g_camera[2] = total[PAIR_DEPTH] - (x * g_camera[0] + y * g_camera[1]) / z
        g_axes[:], g_scale[:] = 0, 0
        _plane_backward(
            total, x, y, z, intrinsics, splat_axes, scales[i], inverse, g_inverse, g_camera, g_axes, g_scale
        )  # fmt: skip
        g_scales[i, 0], g_scales[i, 1] = g_scale[0], g_scale[1]
        sign = facing_sign(rotation, _NORMAL_AXIS, means[i], camera_centre)
        for c in range(3):
            g_axis[c] = sign * total[PAIR_NORMAL + c]
        colour, g_colour = records[i, RECORD_RGB : RECORD_RGB + 3], total[PAIR_RGB : PAIR_RGB + 3]
        sh_colour_backward(means[i], camera_centre, sh[i], colour, g_colour, basis, basis_slopes, g_offset, g_sh[i])
        rigid_backward(
            means[i], quats[i], norm, pose, rotation, g_camera, g_axes, g_axis, _NORMAL_AXIS, g_offset, g_rotation,
            g_means[i], g_quats[i], g_poses[i],
        )  # fmt: skip
        g_opacities[i] = total[PAIR_LOG_ALPHA] / opacities[i]
