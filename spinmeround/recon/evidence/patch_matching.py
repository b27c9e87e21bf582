"""Multi-view patch matching: how far each vertex must move so that its patch looks the same in every view.

A patch is a raster on the surface around a vertex. It is curved as the surface is, so that it looks the same however
obliquely it is seen. Values less their mean over the patch are compared, which leaves out lighting and tint. A step
along the normal moves the patch through every picture (parallax); it is found by one Gauss-Newton step on the views'
differences. In the manner of Furukawa and Ponce, "Accurate, Dense, and Robust Multi-View Stereopsis", 2010, whose
patches are flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float

from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.evidence.view_sampling import (
    FINE_PX,
    UNKNOWN_NOISE,
    PictureLevel,
    SurfaceInViews,
    blur_inside,
    geman_mcclure_weight,
    masked_view,
    observe,
    robust_noise,
    sample_with_gradient,
)
from spinmeround.recon.image_sampling import project_point
from spinmeround.scratch import planes
from spinmeround.types import Mesh, Views

_SPACING_EDGES = 0.8
"""Distance between a patch's samples, edge lengths. An edge covers 1.5 pixels or more, so no pixel is left out."""
_SIGMA_SAMPLES = 1.3
"""Standard deviation of the Gaussian weights of a patch's samples, in distances between samples."""
_RASTER = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if abs(i) + abs(j) < 3], float)
_SAMPLE_WEIGHT = np.exp(-(_RASTER**2).sum(1) / (2 * _SIGMA_SAMPLES**2))
_SAMPLE_WEIGHT /= _SAMPLE_WEIGHT.sum()
_SAMPLE_SLACK = 3.0
"""How much further off the depth map than its vertex a patch's sample may lie: a patch is smoother than the surface."""
_CHUNK = 256
"""Vertices that one thread handles with the same buffers."""
_NOISE_EVERY = 8
"""Noise is first measured at every so many vertices: a median needs no more."""


@dataclass(frozen=True)
class PatchTerms:
    """Normal equations of every vertex' step along its normal: ``information * step = right``.

    Attributes:
        right: right side, per head unit.
        information: left side, per head unit squared; 0 where fewer than two views see the patch.
        noise: standard deviation of one view from the others, per channel.
    """

    right: Float[np.ndarray, "n"]
    information: Float[np.ndarray, "n"]
    noise: Float[np.ndarray, "c"]


def patch_level(views: Views, level: NormalPyramidLevel) -> PictureLevel:
    """Return pictures smoothed inside their masks: colours, and normals if the views have any."""
    has_normals = bool(level.trust.any())
    pictures, trust = planes((*level.trust.shape, 6 if has_normals else 3), level.trust.shape)
    for view in range(len(trust)):
        rgb, inside, trust[view] = masked_view(views, level, view)
        pictures[view, ..., :3] = blur_inside(rgb, inside, FINE_PX)
        if has_normals:
            pictures[view, ..., 3:] = blur_inside(level.normals[view], level.trust[view], FINE_PX)
    return PictureLevel(pictures, trust)


def patch_terms(
    surface: SurfaceInViews, patches: PictureLevel, noise: Float[np.ndarray, "c"] | None, *, edge: float
) -> PatchTerms:
    """Return the steps by which the views would agree better.

    The views are reweighted iteratively, Geman-McClure at twice the noise.

    Args:
        noise: as an earlier comparison found it; None measures it first.
        edge: length of the surface's edges, head units; a patch is 3.2 of them wide.
    """
    mesh, normals, level = surface.mesh, surface.normals, surface.level
    across, along = tangent_frames(normals)
    raster = _RASTER * (_SPACING_EDGES * edge)
    a, b = raster.T
    sag = -0.5 * curvatures(mesh, normals, across, along) @ np.stack([a * a, 2 * a * b, b * b])
    sag = np.clip(sag, -_SPACING_EDGES * edge, _SPACING_EDGES * edge)

    def accumulate(noise: Float[np.ndarray, "c"], every: int) -> PatchTerms:
        points, facing, u, v, offset = (
            np.ascontiguousarray(each[::every]) for each in (mesh.vertices, normals, across, along, sag)
        )
        count = len(points)
        right, information, variance = np.zeros(count), np.zeros(count), np.zeros((count, len(noise)))
        _patch_normal_equations(
            points, facing, u, v, offset, level.projections, level.eyes, surface.depth, patches.pictures, patches.trust,
            surface.tolerance, noise, raster, _SAMPLE_WEIGHT, right, information, variance,
        )  # fmt: skip
        return PatchTerms(right, information, robust_noise(variance, variance.sum(1) > 0, noise))

    if noise is None:
        noise = accumulate(np.full(patches.pictures.shape[-1], UNKNOWN_NOISE), _NOISE_EVERY).noise
    return accumulate(noise, 1)


def tangent_frames(
    normals: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Return two unit vectors for each unit normal that make a right-handed frame with it."""
    x, y, z = normals.T
    across = np.where(np.abs(y)[:, None] < 0.9, np.stack([z, 0 * x, -x], 1), np.stack([0 * x, z, -y], 1))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return across, np.cross(normals, across)


def curvatures(
    mesh: Mesh,
    normals: Float[np.ndarray, "n 3"],
    across: Float[np.ndarray, "n 3"],
    along: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n 3"]:
    """Return the second fundamental form at each vertex in the frame given, per head unit; 1 / radius on a sphere.

    It is the least-squares fit to the differences of the normals at the ends of the edges around the vertex.

    Returns:
        ``[aa, ab, bb]``, with a ``across`` and b ``along``.
    """
    start, end = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    edge, turn = mesh.vertices[end] - mesh.vertices[start], normals[end] - normals[start]
    u, v = (edge * across[start]).sum(1), (edge * along[start]).sum(1)
    p, q = (turn * across[start]).sum(1), (turn * along[start]).sum(1)
    uu, uv, vv, pu, mixed, qv = (
        np.bincount(start, weights=each, minlength=len(normals))
        for each in (u * u, u * v, v * v, p * u, 0.5 * (p * v + q * u), q * v)
    )
    # Symmetric S with S (u, v) = (p, q): three equations, the middle one the mean of both mixed moments.
    damping = 1e-3 * (uu + vv) + 1e-30
    matrix = np.stack(
        [uu + damping, uv, 0 * uv, 0.5 * uv, 0.5 * (uu + vv) + damping, 0.5 * uv, 0 * uv, uv, vv + damping], 1
    )
    return np.linalg.solve(matrix.reshape(-1, 3, 3), np.stack([pu, mixed, qv], 1)[..., None])[..., 0]


@numba.njit(cache=True)
def _read_patch(points, normal, projection, depth, picture, slack, sample_weight, sample, mean, value, slope):
    """Read a patch in one view, less its mean, and its change as it moves along the normal; false if it is hidden."""
    height, width, channels = picture.shape
    nx, ny, nz = normal
    p = projection
    dx = p[0, 0] * nx + p[0, 1] * ny + p[0, 2] * nz
    dy = p[1, 0] * nx + p[1, 1] * ny + p[1, 2] * nz
    dz = p[2, 0] * nx + p[2, 1] * ny + p[2, 2] * nz
    mean[:] = 0
    for k in range(points.shape[0]):
        column, row, point_depth = project_point(p, points[k, 0], points[k, 1], points[k, 2])
        if not (1 <= column < width - 1 and 1 <= row < height - 1):
            return False
        if abs(depth[int(row), int(column)] - point_depth) > slack:
            return False
        du, dv = (dx - column * dz) / point_depth, (dy - row * dz) / point_depth
        sample_with_gradient(picture, column - 0.5, row - 0.5, sample)
        for c in range(channels):
            value[k, c] = sample[c, 0]
            slope[k, c] = sample[c, 1] * du + sample[c, 2] * dv
            mean[c, 0] += sample_weight[k] * value[k, c]
            mean[c, 1] += sample_weight[k] * slope[k, c]
    for k in range(points.shape[0]):
        for c in range(channels):
            value[k, c] -= mean[c, 0]
            slope[k, c] -= mean[c, 1]
    return True


@numba.njit(cache=True)
def _weighted_mean(value, weight, mean):
    """Write the mean of the views' patches."""
    views, points, channels = value.shape
    mean[:] = 0
    total = weight.sum()
    for v in range(views):
        fraction = weight[v] / total
        for k in range(points):
            for c in range(channels):
                mean[k, c] += fraction * value[v, k, c]


@numba.njit(cache=True)
def _robust_mean(value, w, robust, inverse, mean):
    """Write the robust mean of the patches and the views' weights in it."""
    views, points, channels = value.shape
    robust[:] = w
    for _ in range(3):
        _weighted_mean(value, robust, mean)
        for v in range(views):
            squared = 0.0
            for k in range(points):
                for c in range(channels):
                    residual = value[v, k, c] - mean[k, c]
                    squared += inverse[k, c] * residual * residual
            robust[v] = geman_mcclure_weight(w[v], squared, channels)
    _weighted_mean(value, robust, mean)


@numba.njit(parallel=True, cache=True)
def _patch_normal_equations(
    vertices, normals, across, along, sag, projections, eyes, depth, pictures, trust, tolerance, noise, raster,
    sample_weight, right, information, variance,
):  # fmt: skip
    """Fill in the normal equations of each vertex' step and the variance of the views around their mean."""
    views, channels, points = pictures.shape[0], pictures.shape[3], raster.shape[0]
    inverse = sample_weight.reshape(-1, 1) / (noise * noise)
    for chunk in numba.prange((vertices.shape[0] + _CHUNK - 1) // _CHUNK):
        value, slope = np.empty((views, points, channels)), np.empty((views, points, channels))
        mean_value, mean_slope = np.empty((points, channels)), np.empty((points, channels))
        sample, patch, mean = np.empty((channels, 3)), np.empty((points, 3)), np.empty((channels, 2))
        w, robust = np.empty(views), np.empty(views)
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, vertices.shape[0])):
            x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
            normal = (normals[i, 0], normals[i, 1], normals[i, 2])
            for k in range(points):
                for axis in range(3):
                    flat = vertices[i, axis] + raster[k, 0] * across[i, axis] + raster[k, 1] * along[i, axis]
                    patch[k, axis] = flat + sag[i, k] * normal[axis]
            count = 0
            for v in range(views):
                counts, _, _, cosine = observe(projections[v], eyes[v], depth[v], trust[v], x, y, z, normal, tolerance)
                if counts == 0:
                    continue
                slack = _SAMPLE_SLACK * tolerance / cosine
                if _read_patch(
                    patch, normal, projections[v], depth[v], pictures[v], slack, sample_weight, sample, mean,
                    value[count], slope[count],
                ):  # fmt: skip
                    w[count] = counts
                    count += 1
            if count < 2:
                continue
            _robust_mean(value[:count], w[:count], robust[:count], inverse, mean_value)
            _weighted_mean(slope[:count], robust[:count], mean_slope)
            for v in range(count):
                for k in range(points):
                    for c in range(channels):
                        residual, change = value[v, k, c] - mean_value[k, c], slope[v, k, c] - mean_slope[k, c]
                        right[i] -= robust[v] * inverse[k, c] * residual * change
                        information[i] += robust[v] * inverse[k, c] * change * change
                        variance[i, c] += sample_weight[k] * w[v] * residual * residual
            variance[i] *= count / ((count - 1) * w[:count].sum())
