"""Per-splat half of drawing 3D Gaussians: records on the picture plane, and the gradient of that.

Equations (EWA splatting as in 3D Gaussian Splatting, Kerbl et al. 2023): with a splat's mean (x, y, z) in the camera
frame, C = R_camera R_splat, scales S and the Jacobian J of the projection at the mean,

    cov_2d = (J C S)(J C S)^T + dilation I,     u = fx x / z + cx,     v = fy y / z + cy

An antialiased splat keeps its light when it is dilated: its opacity is multiplied by sqrt(|cov| / |cov + dilation I|)
(Mip-Splatting, Yu et al. 2024).

x / z and y / z inside J (not in u, v) are held within 1.3 times the field of view or within 1, whichever is wider: the
linearisation explodes at grazing angles, and the 1 keeps crops of ordinary cameras equal to crops of their pictures.
The normal is the shortest axis, turned toward the camera. Colour is max(0, 1/2 + SH(direction)).

Everything here is computed in float64: it is a small share of the time and takes all doubt out of u, v and the root.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
from spinmeround.recon.raster.rigid import NEAR, facing, rigid_backward, to_camera, to_rotation, turned_by
from spinmeround.recon.raster.spherical_harmonics import seen_colour, seen_colour_backward
from spinmeround.recon.raster.tiles import MIN_ALPHA, REACH_SLACK_PX, ROOT_SCALE, TILE, sum_rows

_FIELD_MARGIN = 0.3
_HALF = 0.5 / ROOT_SCALE**2


@numba.njit
def _held(slope, focal, centre, size):
    """x / z held within the field of view and its margin, or within 1."""
    margin = _FIELD_MARGIN * 0.5 * size / focal
    lowest, highest = -centre / focal - margin, (size - centre) / focal + margin
    return min(max(slope, min(lowest, -1.0)), max(highest, 1.0))


@numba.njit
def _half_axes(x, y, z, lens, width, height, turned, scale, axes):
    """Fills the 2 by 3 matrix J C S; its rows are the splat's half axes seen along x and y of the picture."""
    h, v = _held(x / z, lens[0], lens[2], width), _held(y / z, lens[1], lens[3], height)
    for k in range(3):
        axes[0, k] = lens[0] / z * (turned[0, k] - h * turned[2, k]) * scale[k]
        axes[1, k] = lens[1] / z * (turned[1, k] - v * turned[2, k]) * scale[k]


@numba.njit
def _covariance(axes, dilation):
    """xx, xy, yy, and the determinants with dilation and without.

    Both are sums of positive terms (Cauchy-Binet), so that needles keep them.
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
def _shortest(scale):
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
    first, last, means, scales, quats, opacities, sh, pose, lens, eye, width, height, dilation, antialiased,
    centres, records, tiles,
):  # fmt: skip
    """Fills centres, records and tile ranges [x0, x1) x [y0, y1); an empty range means the splat is not seen.

    Args:
        pose: 3 by 4, camera from world.
        lens: fx, fy, cx, cy in pixels.
        eye: the camera's centre in the world.
    """
    rotation, turned, axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    basis = np.empty(16)
    for i in range(first, last):
        tiles[i] = 0
        x, y, z = to_camera(means[i], pose)
        opacity = np.float64(opacities[i])
        length = to_rotation(quats[i], rotation)
        # Written so that NaN fails them too.
        if not (z >= NEAR and opacity > MIN_ALPHA and length > 0):
            continue
        turned_by(pose, rotation, turned)
        _half_axes(x, y, z, lens, width, height, turned, scales[i], axes)
        xx, xy, yy, determinant, sharp = _covariance(axes, dilation)
        if not (0 < determinant < np.inf and xx > 0 and yy > 0):
            continue
        if antialiased:
            opacity *= math.sqrt(sharp / determinant)
            if not opacity > MIN_ALPHA:
                continue
        u, v = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
        spread = 2 * math.log(opacity / MIN_ALPHA)
        reach_x = math.sqrt(spread * xx) + REACH_SLACK_PX
        reach_y = math.sqrt(spread * yy) + REACH_SLACK_PX
        if not (u + reach_x > 0 and u - reach_x < width and v + reach_y > 0 and v - reach_y < height):
            continue
        tiles[i, 0] = max(0, math.floor((u - reach_x) / TILE))
        tiles[i, 1] = min((width + TILE - 1) // TILE, math.floor((u + reach_x) / TILE) + 1)
        tiles[i, 2] = max(0, math.floor((v - reach_y) / TILE))
        tiles[i, 3] = min((height + TILE - 1) // TILE, math.floor((v + reach_y) / TILE) + 1)
        centres[i, 0], centres[i, 1], centres[i, 2] = u, v, z
        record = records[i]
        record[0] = ROOT_SCALE * math.sqrt(yy / determinant)
        record[1] = -ROOT_SCALE * xy / math.sqrt(yy * determinant)
        record[2] = ROOT_SCALE / math.sqrt(yy)
        record[3], record[4] = math.log2(opacity), reach_y
        seen_colour(means[i], eye, sh[i], basis, record[8:11])
        axis = _shortest(scales[i])
        sign = facing(rotation, axis, means[i], eye)
        for c in range(3):
            record[11 + c] = sign * rotation[c, axis]
        record[14] = z


@numba.njit
def _footprint_backward(
    moments, x, y, z, lens, width, height, turned, scale, dilation, antialiased, axes, g_turned, g_scale
):
    """From the moments of d(loss)/d(log alpha) in root coordinates to the mean in the camera frame, C and the scales.

    With K = L L^T the inverse covariance and s = L^T d, d(log alpha)/d(u, v) = L s and d(log alpha)/d(cov) =
    L s s^T L^T / 2; antialiased, half the difference of the inverses without and with dilation comes on top.
    """
    h, v = _held(x / z, lens[0], lens[2], width), _held(y / z, lens[1], lens[3], height)
    fx, fy = lens[0] / z, lens[1] / z
    xx, xy, yy, determinant, sharp = _covariance(axes, dilation)
    # L = [[a, 0], [b, c]]; the records hold it times ROOT_SCALE, and so do the moments.
    a, b, c = math.sqrt(yy / determinant), -xy / math.sqrt(yy * determinant), 1 / math.sqrt(yy)
    g_u, g_v = a * moments[1] / ROOT_SCALE, (b * moments[1] + c * moments[2]) / ROOT_SCALE
    stt, stw, sww = moments[3] * _HALF, moments[4] * _HALF, moments[5] * _HALF
    g_xx = a * a * stt
    g_xy = a * (b * stt + c * stw)
    g_yy = b * b * stt + 2 * b * c * stw + c * c * sww
    if antialiased:
        g_xx += 0.5 * moments[0] * ((yy - dilation) / sharp - yy / determinant)
        g_xy += 0.5 * moments[0] * (-xy / sharp + xy / determinant)
        g_yy += 0.5 * moments[0] * ((xx - dilation) / sharp - xx / determinant)
    g_fx = g_fy = g_h = g_v_held = 0.0
    for k in range(3):
        g_row0, g_row1 = 2 * (g_xx * axes[0, k] + g_xy * axes[1, k]), 2 * (g_xy * axes[0, k] + g_yy * axes[1, k])
        unscaled0, unscaled1 = turned[0, k] - h * turned[2, k], turned[1, k] - v * turned[2, k]
        g_scale[k] = g_row0 * fx * unscaled0 + g_row1 * fy * unscaled1
        g_row0, g_row1 = g_row0 * scale[k], g_row1 * scale[k]
        g_turned[0, k], g_turned[1, k] = fx * g_row0, fy * g_row1
        g_turned[2, k] = -fx * h * g_row0 - fy * v * g_row1
        g_fx += g_row0 * unscaled0
        g_fy += g_row1 * unscaled1
        g_h -= g_row0 * fx * turned[2, k]
        g_v_held -= g_row1 * fy * turned[2, k]
    # A held slope does not move with the mean.
    g_h = g_h if h == x / z else 0.0
    g_v_held = g_v_held if v == y / z else 0.0
    g_x, g_y = fx * g_u + g_h / z, fy * g_v + g_v_held / z
    g_z = -(x * g_x + y * g_y + fx * g_fx + fy * g_fy) / z
    return g_x, g_y, g_z


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64, boolean, float32[:,::1],"
    " int64[::1], float32[:,::1],"
    " float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1], float64[:,::1])"
)
def project_gaussians_backward(
    first, last, means, scales, quats, opacities, sh, pose, lens, eye, width, height, dilation, antialiased, records,
    splat_starts, rows,
    g_means, g_scales, g_quats, g_opacities, g_sh, g_poses,
):  # fmt: skip
    """Adds the rows of each splat in tile order and carries the sum back to its fields; unseen splats get 0.

    Args:
        g_poses: out, each splat's share of the gradient to the camera, see ``rigid_backward``; no columns when nobody
            asked.
    """
    rotation, turned, axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    g_rotation, g_turned = np.empty((3, 3)), np.empty((3, 3))
    basis, slopes = np.empty(16), np.empty((3, 16))
    total, g_camera, g_axis, g_seen = np.empty(16), np.empty(3), np.empty(3), np.empty(3)
    for i in range(first, last):
        g_means[i], g_scales[i], g_quats[i], g_opacities[i], g_sh[i], g_poses[i] = 0, 0, 0, 0, 0, 0
        if splat_starts[i] == splat_starts[i + 1]:
            continue
        sum_rows(rows, splat_starts[i], splat_starts[i + 1], total)
        x, y, z = to_camera(means[i], pose)
        length = to_rotation(quats[i], rotation)
        turned_by(pose, rotation, turned)
        _half_axes(x, y, z, lens, width, height, turned, scales[i], axes)
        g_camera[0], g_camera[1], g_camera[2] = _footprint_backward(
            total, x, y, z, lens, width, height, turned, scales[i], dilation, antialiased, axes, g_turned, g_scales[i]
        )
        g_camera[2] += total[14]
        axis = _shortest(scales[i])
        sign = facing(rotation, axis, means[i], eye)
        for c in range(3):
            g_axis[c] = sign * total[11 + c]
        seen_colour_backward(means[i], eye, sh[i], records[i, 8:11], total[8:11], basis, slopes, g_seen, g_sh[i])
        rigid_backward(
            means[i], quats[i], length, pose, rotation, g_camera, g_turned, g_axis, axis, g_seen, g_rotation,
            g_means[i], g_quats[i], g_poses[i],
        )  # fmt: skip
        g_opacities[i] = total[0] / opacities[i]
