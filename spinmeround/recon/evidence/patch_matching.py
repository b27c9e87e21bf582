"""Where small patches of the surface look the same in every view: how far each vertex must go for that.

A patch is a raster on the surface around a vertex, bent as the surface is, so that it looks the same however obliquely
it is seen; what is compared is its relief, each view's values less their mean over the patch, which leaves out light
and tint. A step along the normal moves the patch through every picture (parallax): one Gauss-Newton step on the views'
differences. In the manner of Furukawa and Ponce, "Accurate, Dense, and Robust Multi-View Stereopsis", 2010, whose
patches are flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float

from spinmeround.recon.evidence.photo_consistency import (
    FINE_PX,
    LEAST_COSINE,
    LEAST_TRUST,
    PictureLevel,
    blurred_inside,
    inside_masks,
    noise_of,
    sample,
    visible,
)
from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.image_sampling import seen_at
from spinmeround.scratch import planes
from spinmeround.types import Mesh, Views

_RASTER_EDGES = 0.8
"""An edge of the surface covers one and a half pixels or more: the raster leaves none out."""
_WIDTH = 1.3
_RASTER = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if abs(i) + abs(j) < 3], float)
_SHARE = np.exp(-(_RASTER**2).sum(1) / (2 * _WIDTH**2))
_SHARE /= _SHARE.sum()
_RIM_SLACK = 3.0
_CHUNK = 256
_ANY_NOISE, _NOISE_EVERY = 1e3, 8
"""A median needs no more than every eighth vertex."""


@dataclass(frozen=True)
class PatchPulls:
    """What the views that see a vertex in common ask of it.

    Attributes:
        pull: right side of the least-squares problem for the vertex' step along its normal, per head unit.
        information: left side, per head unit squared; their ratio is the step.
        noise: standard deviation of one view from the others, a number per channel.
    """

    pull: Float[np.ndarray, "n"]
    information: Float[np.ndarray, "n"]
    noise: Float[np.ndarray, "c"]


def patch_level(views: Views, level: NormalPyramidLevel) -> PictureLevel:
    """Smoothed pictures inside their masks; without normals where the views have none."""
    has_normals = bool(level.trust.any())
    pictures, trust = planes((*level.trust.shape, 6 if has_normals else 3), level.trust.shape)
    for view in range(len(trust)):
        rgb, inside, trust[view] = inside_masks(views, level, view)
        pictures[view, ..., :3] = blurred_inside(rgb, inside, FINE_PX)
        if has_normals:
            pictures[view, ..., 3:] = blurred_inside(level.normals[view], level.trust[view], FINE_PX)
    return PictureLevel(pictures, trust)


def patch_pulls(
    mesh: Mesh,
    normals: Float[np.ndarray, "n 3"],
    level: NormalPyramidLevel,
    patches: PictureLevel,
    depth: Float[np.ndarray, "v h w"],
    noise: Float[np.ndarray, "c"] | None,
    *,
    edge: float,
    tolerance: float,
) -> PatchPulls:
    """Steps by which the views would agree better, robustly (Geman-McClure at twice the noise).

    Args:
        normals: unit normals at the vertices.
        depth: depth maps of the surface in the cameras of ``level``.
        noise: as an earlier comparison found it; ``None`` finds it first.
        edge: length of the surface's edges, head units; patches are three and a bit wide.
        tolerance: how far off the depth map, head units at frontal view, a point still counts as seen.
    """
    across, along = frames(normals)
    raster = _RASTER * (_RASTER_EDGES * edge)
    a, b = raster.T
    sag = -0.5 * bends(mesh, normals, across, along) @ np.stack([a * a, 2 * a * b, b * b])
    sag = np.clip(sag, -_RASTER_EDGES * edge, _RASTER_EDGES * edge)

    def gathered(noise: Float[np.ndarray, "c"], every: int) -> PatchPulls:
        points, facing, right, up, dip = (
            np.ascontiguousarray(each[::every]) for each in (mesh.vertices, normals, across, along, sag)
        )
        count = len(points)
        pull, information, spread = np.zeros(count), np.zeros(count), np.zeros((count, len(noise)))
        _pull(
            points, facing, right, up, dip, level.projections, level.eyes, depth, patches.pictures, patches.trust,
            tolerance, noise, raster, _SHARE, pull, information, spread,
        )  # fmt: skip
        return PatchPulls(pull, information, noise_of(spread, spread.sum(1) > 0, noise))

    if noise is None:
        noise = gathered(np.full(patches.pictures.shape[-1], _ANY_NOISE), _NOISE_EVERY).noise
    return gathered(noise, 1)


def frames(
    normals: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Two unit vectors for each unit normal that make a right-handed frame with it."""
    x, y, z = normals.T
    across = np.where(np.abs(y)[:, None] < 0.9, np.stack([z, 0 * x, -x], 1), np.stack([0 * x, z, -y], 1))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return across, np.cross(normals, across)


def bends(
    mesh: Mesh,
    normals: Float[np.ndarray, "n 3"],
    across: Float[np.ndarray, "n 3"],
    along: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n 3"]:
    """How the normals turn around each vertex, per head unit: the second fundamental form in the frame given.

    The least-squares fit to the differences of the normals at the ends of the edges around it; 1 / radius on a sphere,
    ``[aa, ab, bb]`` with a ``across`` and b ``along``.
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
    some = 1e-3 * (uu + vv) + 1e-30
    left = np.stack([uu + some, uv, 0 * uv, 0.5 * uv, 0.5 * (uu + vv) + some, 0.5 * uv, 0 * uv, uv, vv + some], 1)
    return np.linalg.solve(left.reshape(-1, 3, 3), np.stack([pu, mixed, qv], 1)[..., None])[..., 0]


@numba.njit(cache=True)
def _read(points, normal, projection, depth, picture, slack, share, at, mean, value, slope):
    """A patch as one view shows it, less its mean, and its change as it moves along the normal; whether it is seen."""
    height, width, channels = picture.shape
    nx, ny, nz = normal
    p = projection
    dx = p[0, 0] * nx + p[0, 1] * ny + p[0, 2] * nz
    dy = p[1, 0] * nx + p[1, 1] * ny + p[1, 2] * nz
    dz = p[2, 0] * nx + p[2, 1] * ny + p[2, 2] * nz
    mean[:] = 0
    for k in range(points.shape[0]):
        column, row, far = seen_at(p, points[k, 0], points[k, 1], points[k, 2])
        if not (1 <= column < width - 1 and 1 <= row < height - 1):
            return False
        if abs(depth[int(row), int(column)] - far) > slack:
            return False
        du, dv = (dx - column * dz) / far, (dy - row * dz) / far
        sample(picture, column - 0.5, row - 0.5, at)
        for c in range(channels):
            value[k, c] = at[c, 0]
            slope[k, c] = at[c, 1] * du + at[c, 2] * dv
            mean[c, 0] += share[k] * value[k, c]
            mean[c, 1] += share[k] * slope[k, c]
    for k in range(points.shape[0]):
        for c in range(channels):
            value[k, c] -= mean[c, 0]
            slope[k, c] -= mean[c, 1]
    return True


@numba.njit(cache=True)
def _mean(value, robust, agreed):
    """Mean of the views' patches."""
    views, points, channels = value.shape
    agreed[:] = 0
    total = robust.sum()
    for v in range(views):
        share = robust[v] / total
        for k in range(points):
            for c in range(channels):
                agreed[k, c] += share * value[v, k, c]


@numba.njit(cache=True)
def _agree(value, w, robust, inverse, agreed):
    """Robust mean of the patches; sets the views' weights."""
    views, points, channels = value.shape
    robust[:] = w
    for _ in range(3):
        _mean(value, robust, agreed)
        for v in range(views):
            off = 0.0
            for k in range(points):
                for c in range(channels):
                    gap = value[v, k, c] - agreed[k, c]
                    off += inverse[k, c] * gap * gap
            robust[v] = w[v] / (1 + off / (4 * channels)) ** 2
    _mean(value, robust, agreed)


@numba.njit(parallel=True, cache=True)
def _pull(
    vertices, normals, across, along, sag, projections, eyes, depth, pictures, trust, tolerance, noise, raster, share,
    pull, information, spread,
):  # fmt: skip
    views, channels, points = pictures.shape[0], pictures.shape[3], raster.shape[0]
    inverse = share.reshape(-1, 1) / (noise * noise)
    for chunk in numba.prange((vertices.shape[0] + _CHUNK - 1) // _CHUNK):
        value, slope = np.empty((views, points, channels)), np.empty((views, points, channels))
        agreed, moving = np.empty((points, channels)), np.empty((points, channels))
        at, patch, mean = np.empty((channels, 3)), np.empty((points, 3)), np.empty((channels, 2))
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
                dx, dy, dz = eyes[v, 0] - x, eyes[v, 1] - y, eyes[v, 2] - z
                cosine = (dx * normal[0] + dy * normal[1] + dz * normal[2]) / np.sqrt(dx * dx + dy * dy + dz * dz)
                if cosine < LEAST_COSINE:
                    continue
                column, row, far = seen_at(projections[v], x, y, z)
                if not visible(depth[v], column - 0.5, row - 0.5, far, tolerance / cosine):
                    continue
                sure = trust[v, int(row), int(column)]
                # A patch is smoother than the surface: its rim may lie further off the depth map.
                slack = _RIM_SLACK * tolerance / cosine
                if sure >= LEAST_TRUST and _read(
                    patch,
                    normal,
                    projections[v],
                    depth[v],
                    pictures[v],
                    slack,
                    share,
                    at,
                    mean,
                    value[count],
                    slope[count],
                ):
                    w[count] = sure * cosine * cosine
                    count += 1
            if count < 2:
                continue
            _agree(value[:count], w[:count], robust[:count], inverse, agreed)
            _mean(slope[:count], robust[:count], moving)
            for v in range(count):
                for k in range(points):
                    for c in range(channels):
                        r, s = value[v, k, c] - agreed[k, c], slope[v, k, c] - moving[k, c]
                        pull[i] -= robust[v] * inverse[k, c] * r * s
                        information[i] += robust[v] * inverse[k, c] * s * s
                        spread[i, c] += share[k] * w[v] * r * r
            spread[i] *= count / ((count - 1) * w[:count].sum())
