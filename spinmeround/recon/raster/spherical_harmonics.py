"""Colour of a splat as seen from a point, by spherical harmonics, and the gradient of that: shared by both kinds."""

from __future__ import annotations

import math

import numba

_SH_0 = 0.28209479177387814
_SH_1 = 0.4886025119029199


@numba.njit
def _basis(x, y, z, count, basis):
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
def _slopes(x, y, z, count, dx, dy, dz):
    """Partial derivatives of ``_basis`` as polynomials in x, y, z."""
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
def _direction(mean, eye):
    """Unit vector from the eye to the mean, and the distance."""
    a, b, c = mean[0] - eye[0], mean[1] - eye[1], mean[2] - eye[2]
    distance = max(math.sqrt(a * a + b * b + c * c), 1e-12)
    return a / distance, b / distance, c / distance, distance


@numba.njit
def seen_colour(mean, eye, sh, basis, colour):
    """Fills max(0, 1/2 + SH(direction from the eye to the mean)).

    Args:
        basis: room for 16 float64.
    """
    count = sh.shape[0]
    dx, dy, dz, _ = _direction(mean, eye)
    _basis(dx, dy, dz, count, basis)
    for c in range(3):
        total = 0.5
        for k in range(count):
            total += basis[k] * sh[k, c]
        colour[c] = max(total, 0.0)


@numba.njit
def seen_colour_backward(mean, eye, sh, colour, g_colour, basis, slopes, g_seen, g_sh):
    """Gradient of the colour to the coefficients, and to the mean as seen from the eye.

    Args:
        basis: room for 16 float64.
        slopes: room for 3 by 16 float64.
        g_seen: out; with the other sign also the gradient to the eye.
    """
    count = sh.shape[0]
    dx, dy, dz, distance = _direction(mean, eye)
    _basis(dx, dy, dz, count, basis)
    _slopes(dx, dy, dz, count, slopes[0], slopes[1], slopes[2])
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
    g_seen[0], g_seen[1], g_seen[2] = (
        (gx - along * dx) / distance,
        (gy - along * dy) / distance,
        (gz - along * dz) / distance,
    )
