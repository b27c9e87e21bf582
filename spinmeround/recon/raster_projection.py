"""Per-splat half of the CPU rasteriser: 3D Gaussians to records on the picture plane, and the gradient of that.

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

from spinmeround.recon.raster_compile import compiled
from spinmeround.recon.raster_tiles import MIN_ALPHA, TILE

NEAR = 0.01
"""Splats whose mean lies nearer than this, or behind the camera, are not drawn. Head units."""

_FIELD_MARGIN = 0.3
_ROOT_SCALE = math.sqrt(0.5 * math.log2(math.e))
"""exp(-(t^2 + w^2) / 2) = 2^-((t s)^2 + (w s)^2) with this s."""
_REACH_SLACK_PX = 1e-3

_SH_0 = 0.28209479177387814
_SH_1 = 0.4886025119029199


@numba.njit
def _sh_basis(x, y, z, count, basis):
    """Real spherical harmonics of a unit direction, INRIA order and signs; fills ``count`` = 1, 4, 9 or 16 values."""
    basis[0] = _SH_0
    if count > 1:
        basis[1], basis[2], basis[3] = -_SH_1 * y, _SH_1 * z, -_SH_1 * x
    if count > 4:
        basis[4], basis[5] = 1.0925484305920792 * x * y, -1.0925484305920792 * y * z
        basis[6] = 0.31539156525252005 * (2 * z * z - x * x - y * y)
        basis[7], basis[8] = -1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y)
    if count > 9:
        basis[9] = -0.5900435899266435 * y * (3 * x * x - y * y)
        basis[10] = 2.890611442640554 * x * y * z
        basis[11] = -0.4570457994644658 * y * (4 * z * z - x * x - y * y)
        basis[12] = 0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y)
        basis[13] = -0.4570457994644658 * x * (4 * z * z - x * x - y * y)
        basis[14] = 1.445305721320277 * z * (x * x - y * y)
        basis[15] = -0.5900435899266435 * x * (x * x - 3 * y * y)


@numba.njit
def _sh_slopes(x, y, z, count, dx, dy, dz):
    """Partial derivatives of ``_sh_basis`` as polynomials in x, y, z."""
    dx[:count], dy[:count], dz[:count] = 0, 0, 0
    if count > 1:
        dy[1], dz[2], dx[3] = -_SH_1, _SH_1, -_SH_1
    if count > 4:
        a, b = 1.0925484305920792, 0.31539156525252005
        dx[4], dy[4] = a * y, a * x
        dy[5], dz[5] = -a * z, -a * y
        dx[6], dy[6], dz[6] = -2 * b * x, -2 * b * y, 4 * b * z
        dx[7], dz[7] = -a * z, -a * x
        dx[8], dy[8] = a * x, -a * y
    if count > 9:
        a, b, c = 0.5900435899266435, 2.890611442640554, 0.4570457994644658
        d, e = 0.3731763325901154, 1.445305721320277
        dx[9], dy[9] = -6 * a * x * y, -3 * a * (x * x - y * y)
        dx[10], dy[10], dz[10] = b * y * z, b * x * z, b * x * y
        dx[11], dy[11], dz[11] = 2 * c * x * y, -c * (4 * z * z - x * x - 3 * y * y), -8 * c * y * z
        dx[12], dy[12], dz[12] = -6 * d * x * z, -6 * d * y * z, d * (6 * z * z - 3 * x * x - 3 * y * y)
        dx[13], dy[13], dz[13] = -c * (4 * z * z - 3 * x * x - y * y), 2 * c * x * y, -8 * c * x * z
        dx[14], dy[14], dz[14] = 2 * e * x * z, -2 * e * y * z, e * (x * x - y * y)
        dx[15], dy[15] = -3 * a * (x * x - y * y), 6 * a * x * y


@numba.njit
def _rotation(quat, rotation):
    """Fills world-from-local of a quaternion of any length; returns the length."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if length > 0:
        w, x, y, z = w / length, x / length, y / length, z / length
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return length


@numba.njit
def _rotation_backward(quat, length, g, out):
    """Gradient g of the matrix to the quaternion, through its normalisation."""
    w, x, y, z = quat[0] / length, quat[1] / length, quat[2] / length, quat[3] / length
    gw = 2 * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    gx = 2 * (y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2]) - 2 * x * (g[1, 1] + g[2, 2]))
    gy = 2 * (x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0]) - 2 * y * (g[0, 0] + g[2, 2]))
    gz = 2 * (x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1]) - 2 * z * (g[0, 0] + g[1, 1]))
    along = gw * w + gx * x + gy * y + gz * z
    out[0], out[1] = (gw - along * w) / length, (gx - along * x) / length
    out[2], out[3] = (gy - along * y) / length, (gz - along * z) / length


@numba.njit
def _product(a, b, out):
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@numba.njit
def _to_camera(mean, pose):
    a, b, c = np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2])
    x = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
    y = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
    z = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
    return x, y, z


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


@numba.njit
def _facing(rotation, axis, mean, eye):
    """+1 or -1: the sign that turns a column of the rotation toward the eye."""
    toward = 0.0
    for k in range(3):
        toward += rotation[k, axis] * (eye[k] - mean[k])
    return 1.0 if toward >= 0 else -1.0


@numba.njit
def _direction(mean, eye, basis):
    """Unit vector from the eye to the mean, and the distance."""
    a, b, c = mean[0] - eye[0], mean[1] - eye[1], mean[2] - eye[2]
    distance = max(math.sqrt(a * a + b * b + c * c), 1e-12)
    return a / distance, b / distance, c / distance, distance


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64, boolean, float32[:,::1], int32[:,::1])"
)
def project_splats(
    first,
    last,
    means,
    scales,
    quats,
    opacities,
    sh,
    pose,
    lens,
    eye,
    width,
    height,
    dilation,
    antialiased,
    records,
    tiles,
):
    """Fills records and tile ranges [x0, x1) x [y0, y1); an empty range means the splat is not seen.

    Args:
        pose: 3 by 4, camera from world.
        lens: fx, fy, cx, cy in pixels.
        eye: the camera's centre in the world.
    """
    rotation, turned, axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    basis = np.empty(16)
    for i in range(first, last):
        tiles[i] = 0
        x, y, z = _to_camera(means[i], pose)
        opacity = np.float64(opacities[i])
        length = _rotation(quats[i], rotation)
        # Written so that NaN fails them too.
        if not (z >= NEAR and opacity > MIN_ALPHA and length > 0):
            continue
        _product(pose, rotation, turned)
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
        reach_x = math.sqrt(spread * xx) + _REACH_SLACK_PX
        reach_y = math.sqrt(spread * yy) + _REACH_SLACK_PX
        if not (u + reach_x > 0 and u - reach_x < width and v + reach_y > 0 and v - reach_y < height):
            continue
        tiles[i, 0] = max(0, math.floor((u - reach_x) / TILE))
        tiles[i, 1] = min((width + TILE - 1) // TILE, math.floor((u + reach_x) / TILE) + 1)
        tiles[i, 2] = max(0, math.floor((v - reach_y) / TILE))
        tiles[i, 3] = min((height + TILE - 1) // TILE, math.floor((v + reach_y) / TILE) + 1)
        record = records[i]
        record[0], record[1] = u, v
        record[2] = _ROOT_SCALE * math.sqrt(yy / determinant)
        record[3] = -_ROOT_SCALE * xy / math.sqrt(yy * determinant)
        record[4] = _ROOT_SCALE / math.sqrt(yy)
        record[5] = math.log2(opacity)
        record[6], record[7], record[14] = reach_x, reach_y, z
        dx, dy, dz, _ = _direction(means[i], eye, basis)
        _sh_basis(dx, dy, dz, sh.shape[1], basis)
        axis = _shortest(scales[i])
        sign = _facing(rotation, axis, means[i], eye)
        for c in range(3):
            colour = 0.5
            for k in range(sh.shape[1]):
                colour += basis[k] * sh[i, k, c]
            record[8 + c] = max(colour, 0.0)
            record[11 + c] = sign * rotation[c, axis]


@numba.njit
def _sh_backward(mean, sh, eye, colour, g_colour, basis, slopes, g_mean, g_sh):
    """Gradient of the colour to the coefficients, and to the mean through the viewing direction."""
    count = sh.shape[0]
    dx, dy, dz, distance = _direction(mean, eye, basis)
    _sh_basis(dx, dy, dz, count, basis)
    _sh_slopes(dx, dy, dz, count, slopes[0], slopes[1], slopes[2])
    gx = gy = gz = 0.0
    for c in range(3):
        # The clamp of the forward pass: a colour held at 0 has no gradient.
        g = g_colour[c] if colour[c] > 0 else 0.0
        for k in range(count):
            g_sh[k, c] = g * basis[k]
            gx += g * sh[k, c] * slopes[0, k]
            gy += g * sh[k, c] * slopes[1, k]
            gz += g * sh[k, c] * slopes[2, k]
    along = gx * dx + gy * dy + gz * dz
    g_mean[0] += (gx - along * dx) / distance
    g_mean[1] += (gy - along * dy) / distance
    g_mean[2] += (gz - along * dz) / distance


@numba.njit
def _footprint_backward(
    moments, x, y, z, lens, width, height, turned, scale, dilation, antialiased, axes, g_turned, g_scale
):
    """From the moments of d(loss)/d(log alpha) about the centre to the mean in the camera frame, C and the scales.

    With K the inverse covariance, d(log alpha)/d(u, v) = K d and d(log alpha)/d(cov) = K d d^T K / 2; antialiased, half
    the difference of the inverses without and with dilation comes on top.
    """
    h, v = _held(x / z, lens[0], lens[2], width), _held(y / z, lens[1], lens[3], height)
    fx, fy = lens[0] / z, lens[1] / z
    xx, xy, yy, determinant, sharp = _covariance(axes, dilation)
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    g_u, g_v = a * moments[1] + b * moments[2], b * moments[1] + c * moments[2]
    mxx, mxy, myy = moments[3], moments[4], moments[5]
    g_xx = 0.5 * (a * a * mxx + 2 * a * b * mxy + b * b * myy)
    g_xy = 0.5 * (a * b * mxx + (a * c + b * b) * mxy + b * c * myy)
    g_yy = 0.5 * (b * b * mxx + 2 * b * c * mxy + c * c * myy)
    if antialiased:
        g_xx += 0.5 * moments[0] * ((yy - dilation) / sharp - a)
        g_xy += 0.5 * moments[0] * (-xy / sharp - b)
        g_yy += 0.5 * moments[0] * ((xx - dilation) / sharp - c)
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


@numba.njit
def _camera_backward(mean, g_camera, g_turned, rotation, out):
    """Gradient to the pose, through the mean in the camera frame and C = R_camera R_splat."""
    for j in range(3):
        for k in range(3):
            turned = g_turned[j, 0] * rotation[k, 0] + g_turned[j, 1] * rotation[k, 1] + g_turned[j, 2] * rotation[k, 2]
            out[3 * j + k] = g_camera[j] * mean[k] + turned
        out[9 + j] = g_camera[j]


@compiled(
    "void(int64, int64, float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1],"
    " float64[:,::1], float64[::1], float64[::1], int64, int64, float64, boolean, float32[:,::1],"
    " int64[::1], float32[:,::1],"
    " float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[:,:,::1], float64[:,::1])"
)
def project_splats_backward(
    first, last, means, scales, quats, opacities, sh, pose, lens, eye, width, height, dilation, antialiased, records,
    splat_starts, rows,
    g_means, g_scales, g_quats, g_opacities, g_sh, g_camera_rows,
):  # fmt: skip
    """Adds the rows of each splat in tile order and carries the sum back to its fields; unseen splats get 0.

    Args:
        g_camera_rows: out, each splat's share of the gradient to the camera: 9 values of the rotation, row by row, 3 of
            the translation, 3 of the eye. No rows when nobody asked.
    """
    rotation, turned, axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    g_rotation, g_turned = np.empty((3, 3)), np.empty((3, 3))
    g_camera = np.empty(3)
    basis, slopes = np.empty(16), np.empty((3, 16))
    total, g_mean, g_seen = np.empty(16), np.empty(3), np.empty(3)
    for i in range(first, last):
        g_means[i], g_scales[i], g_quats[i], g_opacities[i], g_sh[i] = 0, 0, 0, 0, 0
        if len(g_camera_rows) > 0:
            g_camera_rows[i] = 0
        if splat_starts[i] == splat_starts[i + 1]:
            continue
        total[:] = 0
        for row in range(splat_starts[i], splat_starts[i + 1]):
            for k in range(15):
                total[k] += rows[row, k]
        x, y, z = _to_camera(means[i], pose)
        length = _rotation(quats[i], rotation)
        _product(pose, rotation, turned)
        _half_axes(x, y, z, lens, width, height, turned, scales[i], axes)
        g_camera[0], g_camera[1], g_camera[2] = _footprint_backward(
            total, x, y, z, lens, width, height, turned, scales[i], dilation, antialiased, axes, g_turned, g_scales[i]
        )
        g_camera[2] += total[14]
        axis = _shortest(scales[i])
        sign = _facing(rotation, axis, means[i], eye)
        if len(g_camera_rows) > 0:
            _camera_backward(means[i], g_camera, g_turned, rotation, g_camera_rows[i])
        for j in range(3):
            g_mean[j] = pose[0, j] * g_camera[0] + pose[1, j] * g_camera[1] + pose[2, j] * g_camera[2]
            for k in range(3):
                g_rotation[j, k] = (
                    pose[0, j] * g_turned[0, k] + pose[1, j] * g_turned[1, k] + pose[2, j] * g_turned[2, k]
                )
            g_rotation[j, axis] += sign * total[11 + j]
        _rotation_backward(quats[i], length, g_rotation, g_quats[i])
        g_seen[:] = 0
        _sh_backward(means[i], sh[i], eye, records[i, 8:11], total[8:11], basis, slopes, g_seen, g_sh[i])
        for j in range(3):
            g_mean[j] += g_seen[j]
            if len(g_camera_rows) > 0:
                # A colour depends on the mean as seen from the eye, so on both alike.
                g_camera_rows[i, 12 + j] = -g_seen[j]
        g_means[i, 0], g_means[i, 1], g_means[i, 2] = g_mean[0], g_mean[1], g_mean[2]
        g_opacities[i] = total[0] / opacities[i]
