"""Where the rays of pixels meet the zero set of a field or pass it, and what the pictures hold at these pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import camera_centres, pixel_rays_world
from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.evidence.view_sampling import masked_view
from spinmeround.recon.sdf.spline_field import SplineField, spline_taps
from spinmeround.types import Cameras, Views

PixelIndices = tuple[Integer[np.ndarray, "n"], Integer[np.ndarray, "n"], Integer[np.ndarray, "n"]]
"""Views, rows and columns of pixels."""

_MAX_STEP_CELLS = 0.5
"""Longest Newton step along a ray, in cells."""
_MAX_SLOPE = -0.15
"""Slope along the ray, per unit depth, that a Newton step divides by at most: grazing rays would overshoot."""


@dataclass(frozen=True)
class RayHits:
    """Pixels whose rays meet the zero set.

    Attributes:
        view, row, column: which pixels.
        points: where, world.
        gradient: of the field there.
        cosine: of the angle between the gradient and the direction to the camera.
    """

    view: Integer[np.ndarray, "n"]
    row: Integer[np.ndarray, "n"]
    column: Integer[np.ndarray, "n"]
    points: Float[np.ndarray, "n 3"]
    gradient: Float[np.ndarray, "n 3"]
    cosine: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class PixelSamples:
    """Pixels that rays are rendered for, and what the views hold there.

    Attributes:
        view, row, column: which pixels.
        origin, direction: of their rays, world; unit length.
        width: of the pixel, as a fraction of the distance along its ray.
        normal, normal_trust: world frame, unit where trust is not 0; trust in [0, 1].
        colour, colour_trust: sRGB; trust in [0, 1].
        silhouette_px: signed distance to the mask's silhouette, positive inside, good within three pixels.
    """

    view: Integer[np.ndarray, "n"]
    row: Integer[np.ndarray, "n"]
    column: Integer[np.ndarray, "n"]
    origin: Float[np.ndarray, "n 3"]
    direction: Float[np.ndarray, "n 3"]
    width: Float[np.ndarray, "n"]
    normal: Float[np.ndarray, "n 3"]
    normal_trust: Float[np.ndarray, "n"]
    colour: Float[np.ndarray, "n 3"]
    colour_trust: Float[np.ndarray, "n"]
    silhouette_px: Float[np.ndarray, "n"]


def sample_pixels(views: Views, level: NormalPyramidLevel, *, margin_px: float, max_rays: int) -> PixelSamples:
    """Return the pixels inside the masks and up to ``margin_px`` outside them.

    Where these are more than ``max_rays``, every second, third ... is taken.
    """
    centres, parts = camera_centres(level.cameras), []
    stride = 1 + sum(np.count_nonzero(plane > -margin_px) for plane in level.contour_px) // max_rays
    for view, silhouette_px in enumerate(level.contour_px):
        row, column = (index[::stride] for index in np.nonzero(silhouette_px > -margin_px))
        rays = camera_rays(level.cameras, view)[row, column]
        length = np.linalg.norm(rays, axis=1)
        rgb, _, trust = masked_view(views, level, view)
        normal = level.normals[view, row, column].astype(np.float64)
        size = np.linalg.norm(normal, axis=1)
        focal_px = level.cameras.intrinsics_px[view, [0, 1], [0, 1]].mean()
        parts.append(
            (
                np.full(len(row), view), row, column, np.broadcast_to(centres[view], rays.shape),
                rays / length[:, None], 1 / (length * focal_px), normal / np.maximum(size, 1e-9)[:, None],
                level.trust[view, row, column], rgb[row, column], trust[row, column], silhouette_px[row, column],
            )
        )  # fmt: skip
    return PixelSamples(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def intersect_rays(
    field: SplineField, cameras: Cameras, depth: Float[np.ndarray, "v h w"], pixels: Bool[np.ndarray, "v h w"]
) -> RayHits:
    """Intersect the rays of masked pixels with the zero set, by two Newton steps from a mesh' depth maps.

    Args:
        depth: depth maps of a mesh of the zero set.
        pixels: which ones; those without depth are left out.
    """
    view, row, column = np.nonzero(pixels & np.isfinite(depth))
    centres = camera_centres(cameras)
    rays = np.empty((len(view), 3))
    for index in range(len(cameras)):
        here = view == index
        rays[here] = camera_rays(cameras, index)[row[here], column[here]]
    distance = depth[view, row, column].astype(np.float64)
    limit = _MAX_STEP_CELLS * field.cell
    for _ in range(2):
        points = centres[view] + distance[:, None] * rays
        sampled = field.value_and_gradient(points)
        slope = (sampled[:, 1:] * rays).sum(1)
        distance = distance - np.clip(sampled[:, 0] / np.minimum(slope, _MAX_SLOPE), -limit, limit)
    points = centres[view] + distance[:, None] * rays
    gradient = field.value_and_gradient(points)[:, 1:]
    length = np.linalg.norm(gradient, axis=1) * np.linalg.norm(rays, axis=1)
    cosine = -(gradient * rays).sum(1) / np.maximum(length, 1e-9)
    return RayHits(view, row, column, points, gradient, cosine)


def camera_rays(cameras: Cameras, index: int) -> Float[np.ndarray, "h w 3"]:
    """Return the directions through all pixel centres of one camera, world frame, of unit depth."""
    return pixel_rays_world(
        cameras.camera_from_world[index], cameras.intrinsics_px[index], cameras.width_px, cameras.height_px
    )


def closest_approaches(
    field: SplineField, cameras: Cameras, index: int, rows: Integer[np.ndarray, "n"], columns: Integer[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return the points along pixels' rays where the field is least, world, and their depths in the camera."""
    rays = camera_rays(cameras, index)[rows, columns]
    centre = camera_centres(cameras)[index]
    depth = np.empty(len(rays))
    _minimise_along_rays(field.coefficients, (centre - field.origin) / field.cell, rays / field.cell, field.cell, depth)
    return centre + depth[:, None] * rays, depth


@numba.njit(cache=True)
def _value(coefficients, x, y, z, w, d):
    """Return the field's value at a point in cells; ``w`` and ``d`` are scratch."""
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
def _minimise_along_rays(coefficients, origin, rays, cell, depth):
    """Find the least value along rays in cells: sphere tracing through the box, then parabolas half a cell wide."""
    for n in numba.prange(rays.shape[0]):
        w, d = np.empty((3, 3)), np.empty((3, 3))
        ray = rays[n]
        speed = np.sqrt((ray * ray).sum())  # cells per unit depth
        enter, leave = 0.0, np.inf
        for axis in range(3):
            if abs(ray[axis]) > 1e-9:
                a = (1 - origin[axis]) / ray[axis]
                b = (coefficients.shape[axis] - 2 - origin[axis]) / ray[axis]
                enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
        best, least = enter, np.inf
        t = enter
        while t < leave:
            value = _value(coefficients, origin[0] + t * ray[0], origin[1] + t * ray[1], origin[2] + t * ray[2], w, d)
            if value < least:
                best, least = t, value
            t += max(0.7 * value / cell, 0.5) / speed
        step = 0.5 / speed
        for _ in range(3):
            before = _value(coefficients, origin[0] + (best - step) * ray[0], origin[1] + (best - step) * ray[1],
                            origin[2] + (best - step) * ray[2], w, d)  # fmt: skip
            here = _value(
                coefficients, origin[0] + best * ray[0], origin[1] + best * ray[1], origin[2] + best * ray[2], w, d
            )
            after = _value(coefficients, origin[0] + (best + step) * ray[0], origin[1] + (best + step) * ray[1],
                           origin[2] + (best + step) * ray[2], w, d)  # fmt: skip
            curvature = before - 2 * here + after
            if curvature > 1e-12:
                best += step * min(max(0.5 * (before - after) / curvature, -1.0), 1.0)
        depth[n] = best
