"""Rotations and poses inside the splat kernels, and their gradients: shared by both kinds of splats."""

from __future__ import annotations

import math

import numba
import numpy as np

NEAR = 0.01
"""Splats whose mean lies nearer than this, or behind the camera, are not drawn. Head units."""


@numba.njit
def to_rotation(quat, rotation):
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
def _to_rotation_backward(quat, length, g, out):
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
def turned_by(pose, rotation, out):
    """Fills C = R_camera R_splat: the splat's axes, as columns, in the camera's frame."""
    for i in range(3):
        for j in range(3):
            out[i, j] = pose[i, 0] * rotation[0, j] + pose[i, 1] * rotation[1, j] + pose[i, 2] * rotation[2, j]


@numba.njit
def to_camera(mean, pose):
    """x, y, z of a world point in the camera's frame."""
    a, b, c = np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2])
    x = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
    y = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
    z = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
    return x, y, z


@numba.njit
def facing(rotation, axis, mean, eye):
    """+1 or -1: the sign that turns a column of the rotation toward the eye."""
    toward = 0.0
    for k in range(3):
        toward += rotation[k, axis] * (eye[k] - mean[k])
    return 1.0 if toward >= 0 else -1.0


@numba.njit
def rigid_backward(
    mean, quat, length, pose, rotation, g_camera, g_turned, g_axis, axis, g_seen, g_rotation, g_mean, g_quat, g_pose
):
    """From the camera's frame to the mean, the quaternion and the pose.

    Args:
        length: of the quaternion.
        g_camera: gradient to the mean in the camera's frame.
        g_turned: gradient to C, see ``turned_by``.
        g_axis: gradient to column ``axis`` of the rotation, in the world.
        g_seen: gradient to the mean as seen from the eye, so to both.
        g_rotation: room for 3 by 3 float64.
        g_pose: out, 9 values of the rotation, row by row, 3 of the translation, 3 of the eye; empty if nobody asked.
    """
    for j in range(3):
        g_mean[j] = pose[0, j] * g_camera[0] + pose[1, j] * g_camera[1] + pose[2, j] * g_camera[2] + g_seen[j]
        for k in range(3):
            g_rotation[j, k] = pose[0, j] * g_turned[0, k] + pose[1, j] * g_turned[1, k] + pose[2, j] * g_turned[2, k]
        g_rotation[j, axis] += g_axis[j]
    _to_rotation_backward(quat, length, g_rotation, g_quat)
    if len(g_pose) > 0:
        for j in range(3):
            for k in range(3):
                turned = (
                    g_turned[j, 0] * rotation[k, 0] + g_turned[j, 1] * rotation[k, 1] + g_turned[j, 2] * rotation[k, 2]
                )
                g_pose[3 * j + k] = g_camera[j] * mean[k] + turned
            g_pose[9 + j] = g_camera[j]
            g_pose[12 + j] = -g_seen[j]
