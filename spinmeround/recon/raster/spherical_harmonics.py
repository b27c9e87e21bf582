"""Colour of a splat from spherical harmonics, and its gradient, shared by both kinds of splats."""

from __future__ import annotations

import math

import numba

from spinmeround.types import SH_C0

_SH_C1 = 0.4886025119029199
"""sqrt(3 / (4 pi)), of the harmonics of degree 1; those of degree 2 and 3 stand where they are used."""
MAX_COEFFICIENTS = 16
"""Coefficients of SH of degree 3."""


@numba.njit
def _basis(x, y, z, count, basis):
    """Fill ``count`` = 1, 4, 9 or 16 real spherical harmonics of a unit direction, INRIA's order and signs."""
    basis[0] = SH_C0
    if count > 1:
        basis[1], basis[2], basis[3] = -_SH_C1 * y, _SH_C1 * z, -_SH_C1 * x
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
def _basis_slopes(x, y, z, count, dx, dy, dz):
    """Fill the partial derivatives of ``_basis`` as polynomials in x, y, z."""
    dx[:count], dy[:count], dz[:count] = 0, 0, 0
    if count > 1:
        dy[1], dz[2], dx[3] = -_SH_C1, _SH_C1, -_SH_C1
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
def _direction(mean, camera_centre):
    """Return the unit vector from the camera's centre to the mean, and the distance."""
    a, b, c = mean[0] - camera_centre[0], mean[1] - camera_centre[1], mean[2] - camera_centre[2]
    distance = max(math.sqrt(a * a + b * b + c * c), 1e-12)
    return a / distance, b / distance, c / distance, distance


@numba.njit
def sh_colour(mean, camera_centre, sh, basis, colour):
    """Fill the colour max(0, 1/2 + SH(direction from the camera's centre to the mean)).

    Args:
        sh: coefficients, k by 3 with k = 1, 4, 9 or 16.
        basis: out, the harmonics of the direction, in the first k of ``MAX_COEFFICIENTS`` float64.
        colour: out, 3 values.
    """
    count = sh.shape[0]
    dx, dy, dz, _ = _direction(mean, camera_centre)
    _basis(dx, dy, dz, count, basis)
    for c in range(3):
        total = 0.5
        for k in range(count):
            total += basis[k] * sh[k, c]
        colour[c] = max(total, 0.0)


@numba.njit
def sh_colour_backward(mean, camera_centre, sh, colour, g_colour, basis, basis_slopes, g_offset, g_sh):
    """Carry the gradient of the colour to the coefficients, and to the mean minus the camera's centre.

    Args:
        basis: scratch for ``MAX_COEFFICIENTS`` float64.
        basis_slopes: scratch for 3 by ``MAX_COEFFICIENTS`` float64.
        g_offset: out; with the other sign also the gradient to the camera's centre.
        g_sh: out, k by 3.
    """
    count = sh.shape[0]
    dx, dy, dz, distance = _direction(mean, camera_centre)
    _basis(dx, dy, dz, count, basis)
    _basis_slopes(dx, dy, dz, count, basis_slopes[0], basis_slopes[1], basis_slopes[2])
    gx = gy = gz = 0.0
    for c in range(3):
        # The clamp of the forward pass: a colour held at 0 has no gradient.
        g = g_colour[c] if colour[c] > 0 else 0.0
        for k in range(count):
            g_sh[k, c] = g * basis[k]
            gx += g * sh[k, c] * basis_slopes[0, k]
            gy += g * sh[k, c] * basis_slopes[1, k]
            gz += g * sh[k, c] * basis_slopes[2, k]
    along = gx * dx + gy * dy + gz * dz
    g_offset[0], g_offset[1], g_offset[2] = (
        (gx - along * dx) / distance,
        (gy - along * dy) / distance,
        (gz - along * dz) / distance,
    )
