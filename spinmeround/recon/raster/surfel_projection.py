"""Per-splat half of drawing surfels: records on the picture plane, and the gradient of that.

Equations (2D Gaussian Splatting, Huang et al. 2024): a surfel is the flat Gaussian exp(-(u^2 + v^2) / 2) in the plane
p + u s_0 t_0 + v s_1 t_1, with p the mean and t_0, t_1 the first columns of C = R_camera R_splat in the camera's frame;
the third scale means nothing. With M = [s_0 t_0, s_1 t_1, p], the ray through a pixel meets that plane at depth z where

    M (u, v, 1) = z (X, Y, 1),     so     (u, v, 1) / z = N (X, Y, 1),     N = M^-1

which the paper writes as the meeting of three homogeneous planes. Times z_mean all of it is linear in the pixel; with
d = pixel - projected mean,

    (a, b) = z_mean / z (u, v) = G d,       c = z_mean / z = 1 + tilt . d,
    G_kj = z_mean N_kj / f_j,               tilt_j = z_mean N_2j / f_j

Only u^2 + v^2 matters, so G may be turned: its triangular root [[p, q], [0, r]] is what blending gets, with
``ROOT_SCALE`` as for 3D Gaussians. A surfel whose plane all but holds the eye (sine below 1e-6) has no (u, v): the
paper's low-pass filter alone draws it.

The box around what can be seen is exact: that of the conic u^2 + v^2 = 2 ln(255 opacity), and the filter's disc. A
conic that reaches behind the camera is an open curve; such a surfel goes to all tiles.

Everything here is computed in float64.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from spinmeround.recon.raster.compilation import compiled
from spinmeround.recon.raster.rigid import NEAR, facing, rigid_backward, to_camera, to_rotation, turned_by
from spinmeround.recon.raster.spherical_harmonics import seen_colour, seen_colour_backward
from spinmeround.recon.raster.tiles import MIN_ALPHA, REACH_SLACK_PX, ROOT_SCALE, TILE, sum_rows

FILTER_VARIANCE_PX2 = 0.5
"""Of the low-pass filter, as in the paper: a surfel never looks smaller than a Gaussian of this variance."""

_EDGE_ON = 1e-6
_SMALLEST = 1e-12
_NO_PLANE = 1e12
"""Stands for the root of a surfel without (u, v): one so steep that the filter is above it everywhere."""
_EVERYWHERE_PX = 1e9
_NORMAL = 2


@numba.njit
def _inverse(x, y, z, turned, scale, inverse):
    """Fills N; false if the eye is too near the plane."""
    along = turned[0, 2] * x + turned[1, 2] * y + turned[2, 2] * z
    if not abs(along) > _EDGE_ON * math.sqrt(x * x + y * y + z * z):
        return False
    point = (x, y, z)
    for j in range(3):
        k, l = (j + 1) % 3, (j + 2) % 3  # noqa: E741
        inverse[0, j] = (turned[k, 1] * point[l] - turned[l, 1] * point[k]) / (scale[0] * along)
        inverse[1, j] = (point[k] * turned[l, 0] - point[l] * turned[k, 0]) / (scale[1] * along)
        inverse[2, j] = turned[j, 2] / along
    return True


@numba.njit
def _root(z, lens, inverse):
    """Cosine and sine of the turn that makes G triangular, and the root p, q, r, times ``ROOT_SCALE``."""
    x_scale, y_scale = ROOT_SCALE * z / lens[0], ROOT_SCALE * z / lens[1]
    g00, g01, g10, g11 = (
        x_scale * inverse[0, 0],
        y_scale * inverse[0, 1],
        x_scale * inverse[1, 0],
        y_scale * inverse[1, 1],
    )
    # Neither p nor r can be 0: G has the determinant z_mean^3 / (|M| f_x f_y).
    p = math.hypot(g00, g10)
    cosine, sine = g00 / p, g10 / p
    return cosine, sine, p, cosine * g01 + sine * g11, cosine * g11 - sine * g01


@numba.njit
def _reach(x, y, z, lens, turned, scale, spread, box):
    """Fills left, right, up, down: how far from the projected mean alpha can still be 1/255. Pixels."""
    filtered = math.sqrt(spread * FILTER_VARIANCE_PX2)
    back0, back1 = scale[0] * turned[2, 0], scale[1] * turned[2, 1]
    openness = spread * (back0 * back0 + back1 * back1) - z * z
    for j in range(2):
        if not openness < 0:
            box[2 * j], box[2 * j + 1] = -_EVERYWHERE_PX, _EVERYWHERE_PX
            continue
        slope = (x if j == 0 else y) / z
        half0 = lens[j] * scale[0] * (turned[j, 0] - slope * turned[2, 0])
        half1 = lens[j] * scale[1] * (turned[j, 1] - slope * turned[2, 1])
        middle = spread * (half0 * back0 + half1 * back1) / openness
        half = math.sqrt(max(0.0, middle * middle - spread * (half0 * half0 + half1 * half1) / openness))
        box[2 * j] = max(min(middle - half, -filtered) - REACH_SLACK_PX, -_EVERYWHERE_PX)
        box[2 * j + 1] = min(max(middle + half, filtered) + REACH_SLACK_PX, _EVERYWHERE_PX)


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64[:,::1], float32[:,::1], int32[:,::1])"
)
def project_surfels(
    first, last, means, scales, quats, opacities, sh, pose, lens, eye, width, height, centres, records, tiles
):
    """Fills centres, each with its root, records and tile ranges [x0, x1) x [y0, y1), empty for surfels not seen.

    Args:
        pose: 3 by 4, camera from world.
        lens: fx, fy, cx, cy in pixels.
        eye: the camera's centre in the world.
    """
    rotation, turned, inverse = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    basis, box = np.empty(16), np.empty(4)
    for i in range(first, last):
        tiles[i] = 0
        x, y, z = to_camera(means[i], pose)
        length = to_rotation(quats[i], rotation)
        opacity = np.float64(opacities[i])
        # Written so that NaN fails them too.
        if not (z >= NEAR and opacity > MIN_ALPHA and 0 < length < np.inf):
            continue
        if not (_SMALLEST <= scales[i, 0] < np.inf and _SMALLEST <= scales[i, 1] < np.inf):
            continue
        turned_by(pose, rotation, turned)
        u, v = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
        _reach(x, y, z, lens, turned, scales[i], 2 * math.log(opacity / MIN_ALPHA), box)
        if not (u + box[1] > 0 and u + box[0] < width and v + box[3] > 0 and v + box[2] < height):
            continue
        tiles[i, 0] = math.floor(max(0.0, u + box[0]) / TILE)
        tiles[i, 1] = math.floor(min(width - 0.5, u + box[1]) / TILE) + 1
        tiles[i, 2] = math.floor(max(0.0, v + box[2]) / TILE)
        tiles[i, 3] = math.floor(min(height - 0.5, v + box[3]) / TILE) + 1
        centres[i, 0], centres[i, 1], centres[i, 2] = u, v, z
        record = records[i]
        if _inverse(x, y, z, turned, scales[i], inverse):
            _, _, centres[i, 3], centres[i, 4], centres[i, 5] = _root(z, lens, inverse)
            record[5], record[6] = z * inverse[2, 0] / lens[0], z * inverse[2, 1] / lens[1]
        else:
            centres[i, 3], centres[i, 4], centres[i, 5] = _NO_PLANE, 0, _NO_PLANE
            record[5], record[6] = 0, 0
        record[3], record[4] = math.log2(opacity), max(-box[2], box[3])
        seen_colour(means[i], eye, sh[i], basis, record[8:11])
        sign = facing(rotation, _NORMAL, means[i], eye)
        for c in range(3):
            record[11 + c] = sign * rotation[c, _NORMAL]
        record[14] = z


@numba.njit
def _by_offset(total, j, p, q, r):
    """Sums of the gradients of a, b, c times dx (j = 0) or dy (j = 1)."""
    aa, ab, bb, ca, cb = total[3], total[4], total[5], total[6], total[7]
    if j == 1:
        return ab / r, bb / r, cb / r
    return (aa - q / r * ab) / p, (ab - q / r * bb) / p, (ca - q / r * cb) / p


@numba.njit
def _plane_backward(total, x, y, z, lens, turned, scale, inverse, g_inverse, g_camera, g_turned, g_scale):
    """From the sums of a surfel's rows, see ``raster_surfel_blending``, to its mean, C and scales, where it has (u, v).

    With R the root, d = R^-1 (a, b): sums over pixels of gradient times (a, b) become gradients of the root and of the
    tilt without any difference of large numbers; the root's is turned back to that of G. Then dM = -N^T dN N^T.
    """
    if not _inverse(x, y, z, turned, scale, inverse):
        return
    cosine, sine, p, q, r = _root(z, lens, inverse)
    for j in range(2):
        by_a, by_b, by_c = _by_offset(total, j, p, q, r)
        per_unit = z / lens[j]
        g_inverse[0, j] = ROOT_SCALE * (cosine * by_a - sine * by_b) * per_unit
        g_inverse[1, j] = ROOT_SCALE * (sine * by_a + cosine * by_b) * per_unit
        g_inverse[2, j] = by_c * per_unit
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
                g_turned[j, column] = g * scale[column]
                g_scale[column] += g * turned[j, column]
            else:
                g_camera[j] += g


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float32[:,::1], int64[::1], float32[:,::1],"
    " float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1], float64[:,::1])"
)
def project_surfels_backward(
    first, last, means, scales, quats, opacities, sh, pose, lens, eye, width, height, records,
    splat_starts, rows,
    g_means, g_scales, g_quats, g_opacities, g_sh, g_poses,
):  # fmt: skip
    """Adds the rows of each surfel in tile order and carries the sum back to its fields; unseen surfels get 0.

    Args:
        g_poses: out, each surfel's share of the gradient to the camera, see ``rigid_backward``; no columns when nobody
            asked.
    """
    rotation, turned, inverse = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    g_inverse, g_rotation, g_turned, g_scale = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(2)
    basis, g_basis = np.empty(16), np.empty((3, 16))
    total, g_camera, g_axis, g_seen = np.empty(16), np.empty(3), np.empty(3), np.empty(3)
    for i in range(first, last):
        g_means[i], g_scales[i], g_quats[i], g_opacities[i], g_sh[i], g_poses[i] = 0, 0, 0, 0, 0, 0
        if splat_starts[i] == splat_starts[i + 1]:
            continue
        sum_rows(rows, splat_starts[i], splat_starts[i + 1], total)
        x, y, z = to_camera(means[i], pose)
        length = to_rotation(quats[i], rotation)
        turned_by(pose, rotation, turned)
        g_camera[0], g_camera[1] = lens[0] / z * total[1], lens[1] / z * total[2]
        g_camera[2] = total[14] - (x * g_camera[0] + y * g_camera[1]) / z
        g_turned[:], g_scale[:] = 0, 0
        _plane_backward(
            total, x, y, z, lens, turned, scales[i], inverse, g_inverse, g_camera, g_turned, g_scale
        )  # fmt: skip
        g_scales[i, 0], g_scales[i, 1] = g_scale[0], g_scale[1]
        sign = facing(rotation, _NORMAL, means[i], eye)
        for c in range(3):
            g_axis[c] = sign * total[11 + c]
        seen_colour_backward(means[i], eye, sh[i], records[i, 8:11], total[8:11], basis, g_basis, g_seen, g_sh[i])
        rigid_backward(
            means[i], quats[i], length, pose, rotation, g_camera, g_turned, g_axis, _NORMAL, g_seen, g_rotation,
            g_means[i], g_quats[i], g_poses[i],
        )  # fmt: skip
        g_opacities[i] = total[0] / opacities[i]
