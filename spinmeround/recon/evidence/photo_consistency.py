"""Photo-consistency: a point of the surface looks the same in every picture that sees it.

Colours and the relief of the normals, both without their low frequencies, are compared between views. Where a view
differs from the consensus, its camera is turned and shifted; the surface follows ``patch_matching`` instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from spinmeround.geometry import project
from spinmeround.recon.evidence.targets import NormalPyramidLevel, near_contour_px
from spinmeround.recon.evidence.view_sampling import (
    FINE_PX,
    MIN_COSINE,
    UNKNOWN_NOISE,
    PictureLevel,
    SurfaceInViews,
    blur_inside,
    cosine_to_camera,
    geman_mcclure_weight,
    masked_view,
    observe,
    robust_noise,
    sample_with_gradient,
    visible_trust,
)
from spinmeround.recon.image_sampling import bilinear, project_point
from spinmeround.types import Cameras, Mesh, Views

_CHANNELS = 6
_COARSE_PX = 3.0
"""Standard deviation of the blur that is subtracted. What is coarser is lighting, tint and smooth errors, and creases
that look sharper the more obliquely they are seen, which would pull the surface inward."""
_CAMERA_SIGMA_RAD, _CAMERA_SIGMA = 0.01, 0.01
"""Prior standard deviation of a camera's error per axis: of its rotation in radians, of its shift in head units."""
_INDEPENDENT_FRACTION = 0.1
"""Neighbouring vertices see the same pixels and share their errors: this fraction of them counts as independent."""
_CONTOUR_INDEPENDENT_FRACTION = 0.02
"""The same along silhouette contours, whose errors reach further."""
_MAX_CONTOUR_DISTANCE_PX = 2.0
"""Vertices further than this from the contour of the surface's own silhouette do not lie on it."""


@dataclass(frozen=True)
class Consensus:
    """What the views that see each vertex agree on.

    Attributes:
        mean: robust mean of the band-passed colours and normals.
        weight: sum of the weights of the views that share it, 0 if fewer than two do.
        noise: standard deviation of one view from the others, per channel.
    """

    mean: Float[np.ndarray, "n 6"]
    weight: Float[np.ndarray, "n"]
    noise: Float[np.ndarray, "6"]


def band_pass_level(views: Views, level: NormalPyramidLevel) -> PictureLevel:
    """Return colours and normals band-passed inside their masks."""
    pictures = np.empty((*level.trust.shape, _CHANNELS), np.float32)
    trust = np.empty_like(level.trust)
    for view in range(len(level.trust)):
        rgb, inside, trust[view] = masked_view(views, level, view)
        pictures[view, ..., :3] = _band_pass(rgb, inside)
        pictures[view, ..., 3:] = _band_pass(level.normals[view], level.trust[view])
    return PictureLevel(pictures, trust)


def _band_pass(picture: Float[np.ndarray, "h w c"], inside: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w c"]:
    fine, coarse = (blur_inside(picture, inside, sigma_px) for sigma_px in (FINE_PX, _COARSE_PX))
    return (fine - coarse) * (inside > 0)[..., None]


def photo_consensus(surface: SurfaceInViews, pictures: PictureLevel, noise: Float[np.ndarray, "6"] | None) -> Consensus:
    """Return the robust mean over the views at every vertex (iteratively reweighted, Geman-McClure at twice the noise).

    Args:
        noise: as an earlier comparison found it; None measures it first.
    """
    if noise is None:
        noise = photo_consensus(surface, pictures, np.full(_CHANNELS, UNKNOWN_NOISE)).noise
    vertices, level, count = surface.mesh.vertices, surface.level, len(surface.mesh.vertices)
    mean, weight, variance = np.zeros((count, _CHANNELS)), np.zeros(count), np.zeros((count, _CHANNELS))
    _robust_means(
        vertices, surface.normals, level.projections, level.eyes, surface.depth, pictures.pictures, pictures.trust,
        surface.tolerance, noise, mean, weight, variance,
    )  # fmt: skip
    return Consensus(mean, weight, robust_noise(variance, weight > 0, noise))


def camera_twists(
    surface: SurfaceInViews, pictures: PictureLevel, consensus: Consensus, *, contour_noise_px: float
) -> Float[np.ndarray, "v 6"]:
    """Return one Gauss-Newton step for every camera, as a motion of the world.

    Residuals are the differences of each view from the consensus, and of its mask's contour from the surface's. A
    camera's distance stays: it shows as size alone, which is left to the surface.

    Args:
        contour_noise_px: standard deviation of the masks' contours, pixels of ``surface.level``.

    Returns:
        Rotation vectors about the world's origin in radians, then shifts in head units.
    """
    level, depth = surface.level, surface.depth
    count = len(level.eyes)
    matrix, right = np.zeros((count, 6, 6)), np.zeros((count, 6))
    own_px = np.stack([near_contour_px(np.isfinite(one)) for one in depth])
    _camera_normal_equations(
        surface.mesh.vertices, surface.normals, level.projections, level.eyes, depth, pictures.pictures, pictures.trust,
        surface.tolerance, consensus.noise, consensus.mean, consensus.weight, level.contour_px, own_px,
        contour_noise_px, matrix, right,
    )  # fmt: skip
    matrix += np.diag(np.repeat([_CAMERA_SIGMA_RAD, _CAMERA_SIGMA], 3) ** -2.0)
    twists = np.empty((count, 6))
    for view, pose in enumerate(level.cameras.camera_from_world):
        # All directions but the shift along the camera's axis.
        free = np.zeros((6, 5))
        free[:3, :3] = np.eye(3)
        free[3:, 3:] = pose[:2, :3].T
        twists[view] = free @ np.linalg.solve(free.T @ matrix[view] @ free, free.T @ right[view])
    return twists


def apply_twists(cameras: Cameras, twists: Float[np.ndarray, "v 6"]) -> Cameras:
    """Return cameras that see the world as if it had been turned about its origin and then shifted.

    Args:
        twists: rotation vectors in radians, then shifts in head units, world frame.
    """
    moved = np.tile(np.eye(4), (len(cameras), 1, 1))
    moved[:, :3, :3] = Rotation.from_rotvec(twists[:, :3]).as_matrix()
    moved[:, :3, 3] = twists[:, 3:]
    return replace(cameras, camera_from_world=cameras.camera_from_world @ moved)


def image_motion_px(mesh: Mesh, before: Cameras, after: Cameras) -> Float[np.ndarray, "v"]:
    """Return the root mean square distance by which a mesh moves in each picture, pixels of the cameras."""
    points = mesh.vertices[:: max(1, len(mesh.vertices) // 1000)]
    motion_px = []
    for old, new, intrinsics_px in zip(
        before.camera_from_world, after.camera_from_world, before.intrinsics_px, strict=True
    ):
        moved = project(points, new, intrinsics_px)[:, :2] - project(points, old, intrinsics_px)[:, :2]
        motion_px.append(np.sqrt((moved**2).sum(1).mean()))
    return np.array(motion_px)


@numba.njit(parallel=True, cache=True)
def _robust_means(points, normals, projections, eyes, depth, pictures, trust, tolerance, noise, mean, weight, variance):
    """Fill in the consensus of the views at every vertex."""
    views, channels = pictures.shape[0], pictures.shape[3]
    for i in numba.prange(points.shape[0]):
        value, sample = np.empty((views, channels)), np.empty((channels, 3))
        w, robust = np.empty(views), np.empty(views)
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        normal = (normals[i, 0], normals[i, 1], normals[i, 2])
        count = 0
        for v in range(views):
            counts, column, row, _ = observe(projections[v], eyes[v], depth[v], trust[v], x, y, z, normal, tolerance)
            if counts == 0:
                continue
            sample_with_gradient(pictures[v], column - 0.5, row - 0.5, sample)
            for c in range(channels):
                value[count, c] = sample[c, 0]
            w[count] = counts
            count += 1
        if count < 2:
            continue
        robust[:count] = w[:count]
        total = robust[:count].sum()
        for _ in range(3):
            for c in range(channels):
                mean[i, c] = (robust[:count] * value[:count, c]).sum() / total
            total = 0.0
            for k in range(count):
                squared = 0.0
                for c in range(channels):
                    squared += ((value[k, c] - mean[i, c]) / noise[c]) ** 2
                robust[k] = geman_mcclure_weight(w[k], squared, channels)
                total += robust[k]
        weight[i] = total
        for c in range(channels):
            mean[i, c] = (robust[:count] * value[:count, c]).sum() / total
            squares = (w[:count] * (value[:count, c] - mean[i, c]) ** 2).sum()
            variance[i, c] = squares / w[:count].sum() * count / (count - 1)


@numba.njit(parallel=True, cache=True)
def _camera_normal_equations(
    points, normals, projections, eyes, depth, pictures, trust, tolerance, noise, mean, weight,
    contour_px, own_px, contour_noise_px, matrix, right,
):  # fmt: skip
    """Add the residuals of every view to the normal equations of its camera."""
    views, channels = pictures.shape[0], pictures.shape[3]
    for v in numba.prange(views):
        sample, jacobian = np.empty((channels, 3)), np.empty(6)
        du, dv = np.empty(6), np.empty(6)
        p = projections[v]
        for i in range(points.shape[0]):
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            cosine = cosine_to_camera(eyes[v], x, y, z, normals[i])
            if cosine < -MIN_COSINE:
                continue
            column, row, point_depth = project_point(p, x, y, z)
            if not (1 <= column < depth.shape[2] - 1 and 1 <= row < depth.shape[1] - 1):
                continue
            for k in range(3):
                du[3 + k] = (p[0, k] - column * p[2, k]) / point_depth
                dv[3 + k] = (p[1, k] - row * p[2, k]) / point_depth
            # A rotation vector w moves the point by w x point.
            du[0], dv[0] = y * du[5] - z * du[4], y * dv[5] - z * dv[4]
            du[1], dv[1] = z * du[3] - x * du[5], z * dv[3] - x * dv[5]
            du[2], dv[2] = x * du[4] - y * du[3], x * dv[4] - y * dv[3]
            if abs(cosine) < MIN_COSINE:
                own = bilinear(own_px[v], column - 0.5, row - 0.5)
                if abs(own) > _MAX_CONTOUR_DISTANCE_PX:
                    continue
                c, r = column - 0.5, row - 0.5
                residual = bilinear(contour_px[v], c, r) - own
                sx = 0.5 * (bilinear(contour_px[v], c + 1, r) - bilinear(contour_px[v], c - 1, r))
                sy = 0.5 * (bilinear(contour_px[v], c, r + 1) - bilinear(contour_px[v], c, r - 1))
                w = (
                    _CONTOUR_INDEPENDENT_FRACTION
                    / (contour_noise_px * contour_noise_px)
                    / (1 + (residual / (3 * contour_noise_px)) ** 2) ** 2
                )
                for k in range(6):
                    jacobian[k] = sx * du[k] + sy * dv[k]
                for k in range(6):
                    right[v, k] -= w * jacobian[k] * residual
                    for m in range(6):
                        matrix[v, k, m] += w * jacobian[k] * jacobian[m]
                continue
            if cosine < 0 or weight[i] <= 0:
                continue
            here = visible_trust(depth[v], trust[v], column, row, point_depth, tolerance / cosine)
            if here == 0:
                continue
            sample_with_gradient(pictures[v], column - 0.5, row - 0.5, sample)
            squared = 0.0
            for c in range(channels):
                squared += ((sample[c, 0] - mean[i, c]) / noise[c]) ** 2
            w = geman_mcclure_weight(_INDEPENDENT_FRACTION * here * cosine * cosine, squared, channels)
            for c in range(channels):
                inverse = w / (noise[c] * noise[c])
                for k in range(6):
                    jacobian[k] = sample[c, 1] * du[k] + sample[c, 2] * dv[k]
                for k in range(6):
                    right[v, k] -= inverse * jacobian[k] * (sample[c, 0] - mean[i, c])
                    for m in range(6):
                        matrix[v, k, m] += inverse * jacobian[k] * jacobian[m]
