"""Rotations and poses in the splat kernels and their gradients, shared by both kinds of splats."""

from __future__ import annotations

import math

import numba
import numpy as np

NEAR = 0.01
"""Splats whose mean lies nearer than this, or behind the camera, are not drawn. Head units."""

# Columns of a splat's part of the gradient to a camera: rotation row by row, translation, and the camera's centre.
POSE_ROTATION, POSE_TRANSLATION, POSE_CENTRE = 0, 9, 12
POSE_GRAD_SIZE = 15


@numba.njit
def quaternion_to_matrix(quat, rotation):
    """Fill the rotation matrix, world from local, of a quaternion of any norm; return the norm."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if norm > 0:
        w, x, y, z = w / norm, x / norm, y / norm, z / norm
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return norm


@numba.njit
def _quaternion_to_matrix_backward(quat, norm, g, out):
    """Carry the gradient g of the matrix to the quaternion, through its normalisation."""
    w, x, y, z = quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm
    gw = 2 * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    gx = 2 * (y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2]) - 2 * x * (g[1, 1] + g[2, 2]))
    gy = 2 * (x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0]) - 2 * y * (g[0, 0] + g[2, 2]))
    gz = 2 * (x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1]) - 2 * z * (g[0, 0] + g[1, 1]))
    along = gw * w + gx * x + gy * y + gz * z
    out[0], out[1] = (gw - along * w) / norm, (gx - along * x) / norm
    out[2], out[3] = (gy - along * y) / norm, (gz - along * z) / norm


@numba.njit
def splat_axes_in_camera(pose, rotation, out):
    """Fill C = R_camera R_splat: the splat's axes, as columns, in the camera's frame."""
    for i in range(3):
        for j in range(3):
            out[i, j] = pose[i, 0] * rotation[0, j] + pose[i, 1] * rotation[1, j] + pose[i, 2] * rotation[2, j]


@numba.njit
def to_camera(mean, pose):
    """Return x, y, z of a world point in the camera's frame."""
    a, b, c = np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2])
    x = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
    y = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
    z = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
    return x, y, z


@numba.njit
def facing_sign(rotation, axis, mean, camera_centre):
    """Return +1 or -1, the sign that turns column ``axis`` of the rotation toward the camera's centre."""
    cosine = 0.0
    for k in range(3):
        cosine += rotation[k, axis] * (camera_centre[k] - mean[k])
    return 1.0 if cosine >= 0 else -1.0


@numba.njit
def rigid_backward(
    mean, quat, norm, pose, rotation, g_camera, g_axes, g_axis, axis, g_offset, g_rotation, g_mean, g_quat, g_pose
):
    """Carry gradients from the camera's frame to the mean, the quaternion and the pose.

    Args:
        norm: of the quaternion.
        g_camera: gradient to the mean in the camera's frame.
        g_axes: gradient to C, see ``splat_axes_in_camera``.
        g_axis: gradient to column ``axis`` of the rotation, in the world.
        g_offset: gradient to the mean minus the camera's centre, so to both.
        g_rotation: scratch, 3 by 3 float64.
        g_pose: out, ``POSE_GRAD_SIZE`` values, or empty if the pose needs no gradient.
    """
    for j in range(3):
        g_mean[j] = pose[0, j] * g_camera[0] + pose[1, j] * g_camera[1] + pose[2, j] * g_camera[2] + g_offset[j]
        for k in range(3):
            g_rotation[j, k] = pose[0, j] * g_axes[0, k] + pose[1, j] * g_axes[1, k] + pose[2, j] * g_axes[2, k]
        g_rotation[j, axis] += g_axis[j]
    _quaternion_to_matrix_backward(quat, norm, g_rotation, g_quat)
    if len(g_pose) > 0:
        for j in range(3):
            for k in range(3):
                through_axes = (
                    g_axes[j, 0] * rotation[k, 0] + g_axes[j, 1] * rotation[k, 1] + g_axes[j, 2] * rotation[k, 2]
                )
                g_pose[POSE_ROTATION + 3 * j + k] = g_camera[j] * mean[k] + through_axes
            g_pose[POSE_TRANSLATION + j] = g_camera[j]
            g_pose[POSE_CENTRE + j] = -g_offset[j]
