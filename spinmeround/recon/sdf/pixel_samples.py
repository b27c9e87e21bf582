"""What the pixels ask of the neural surface: where their rays meet it or pass it by, and what they should see there."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Integer

from spinmeround.geometry import camera_centres, pixel_rays_world
from spinmeround.recon.sdf.spline_field import SplineField, spline_taps
from spinmeround.types import Cameras


@dataclass(frozen=True)
class Hits:
    """Pixels whose rays meet the surface.

    Attributes:
        view, row, column: which pixels.
        points: where, world.
        gradient: of the field there.
        cosine: between the gradient and the way back to the camera.
    """

    view: Integer[np.ndarray, "n"]
    row: Integer[np.ndarray, "n"]
    column: Integer[np.ndarray, "n"]
    points: Float[np.ndarray, "n 3"]
    gradient: Float[np.ndarray, "n 3"]
    cosine: Float[np.ndarray, "n"]


def ray_hits(
    field: SplineField,
    cameras: Cameras,
    depth: Float[np.ndarray, "v h w"],
    wanted: np.ndarray,
) -> Hits:
    """Where the rays of ``wanted`` pixels meet the zero set, from depth maps of a mesh of it.

    Args:
        wanted: mask ``[v, h, w]`` of pixels; those without depth are left out.
    """
    view, row, column = np.nonzero(wanted & np.isfinite(depth))
    eyes = camera_centres(cameras)
    rays = np.empty((len(view), 3))
    for index in range(len(cameras)):
        here = view == index
        rays[here] = camera_rays(cameras, index)[row[here], column[here]]
    far = depth[view, row, column].astype(np.float64)
    limit = 0.5 * field.cell
    for _ in range(2):
        points = eyes[view] + far[:, None] * rays
        found = field.at(points)
        along = (found[:, 1:] * rays).sum(1)
        far = far - np.clip(found[:, 0] / np.minimum(along, -0.15), -limit, limit)
    points = eyes[view] + far[:, None] * rays
    gradient = field.at(points)[:, 1:]
    length = np.linalg.norm(gradient, axis=1) * np.linalg.norm(rays, axis=1)
    cosine = -(gradient * rays).sum(1) / np.maximum(length, 1e-9)
    return Hits(view, row, column, points, gradient, cosine)


def camera_rays(cameras: Cameras, index: int) -> Float[np.ndarray, "h w 3"]:
    """Directions through all pixel centres of one camera, world frame, of unit depth."""
    return pixel_rays_world(
        cameras.camera_from_world[index], cameras.intrinsics_px[index], cameras.width_px, cameras.height_px
    )


def nearest_passes(
    field: SplineField, cameras: Cameras, index: int, rows: Integer[np.ndarray, "n"], columns: Integer[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """The points along pixels' rays where the field is least, and the distance of each along the camera's axis."""
    rays = camera_rays(cameras, index)[rows, columns]
    eye = camera_centres(cameras)[index]
    far = np.empty(len(rays))
    _least_along(field.coefficients, (eye - field.low) / field.cell, rays / field.cell, field.cell, far)
    return eye + far[:, None] * rays, far


@numba.njit(cache=True)
def _value(coefficients, x, y, z, w, d):
    i0 = spline_taps(x, coefficients.shape[0], w[0], d[0])
    j0 = spline_taps(y, coefficients.shape[1], w[1], d[1])
    k0 = spline_taps(z, coefficients.shape[2], w[2], d[2])
    value = 0.0
    for i in range(3):
        for j in range(3):
            line = 0.0
            for k in range(3):
                line += w[2, k] * coefficients[i0 + i, j0 + j, k0 + k]
            value += w[0, i] * w[1, j] * line
    return value


@numba.njit(parallel=True, cache=True)
def _least_along(coefficients, eye, rays, cell, far):
    """Marches through the box by what the field allows, then a parabola through three places half a cell apart."""
    for n in numba.prange(rays.shape[0]):
        w, d = np.empty((3, 3)), np.empty((3, 3))
        ray = rays[n]
        speed = np.sqrt((ray * ray).sum())
        enter, leave = 0.0, np.inf
        for axis in range(3):
            if abs(ray[axis]) > 1e-9:
                a = (1 - eye[axis]) / ray[axis]
                b = (coefficients.shape[axis] - 2 - eye[axis]) / ray[axis]
                enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
        best, least = enter, np.inf
        t = enter
        while t < leave:
            value = _value(coefficients, eye[0] + t * ray[0], eye[1] + t * ray[1], eye[2] + t * ray[2], w, d)
            if value < least:
                best, least = t, value
            t += max(0.7 * value / cell, 0.5) / speed
        step = 0.5 / speed
        for _ in range(3):
            before = _value(coefficients, eye[0] + (best - step) * ray[0], eye[1] + (best - step) * ray[1],
                            eye[2] + (best - step) * ray[2], w, d)  # fmt: skip
            here = _value(coefficients, eye[0] + best * ray[0], eye[1] + best * ray[1], eye[2] + best * ray[2], w, d)
            after = _value(coefficients, eye[0] + (best + step) * ray[0], eye[1] + (best + step) * ray[1],
                           eye[2] + (best + step) * ray[2], w, d)  # fmt: skip
            bend = before - 2 * here + after
            if bend > 1e-12:
                best += step * min(max(0.5 * (before - after) / bend, -1.0), 1.0)
        far[n] = best
