"""Where views must agree: a point of the surface looks the same in every picture that sees it.

Colours and the relief of the normals, both without their low frequencies, are compared between views. Where they
differ, a camera turns and shifts; the surface follows ``patches`` instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from spinmeround.geometry import project
from spinmeround.recon.evidence.targets import NormalPyramidLevel, near_outline_px
from spinmeround.recon.image_sampling import bilinear, seen_at
from spinmeround.types import Cameras, Mesh, Views

CHANNELS = 6

FINE_PX, _COARSE_PX = 0.8, 3.0
"""Pictures are compared between these two blurs. Finer is aliasing; coarser are light, tint, smooth errors, and bends
that look sharper the more obliquely they are seen, which would pull the surface inward."""
LEAST_COSINE = 0.35
LEAST_TRUST = 0.05
_LEAST_NOISE = 1e-3
_CHI_SQUARE_MEDIAN = 0.455
_TURN_RAD, _SHIFT = 0.01, 0.01
"""How far cameras are expected to be off: radians and head units, standard deviations per axis."""
_WITNESS_SHARE = 0.1
"""Neighbouring vertices see the same pixels and share their errors: so much of each counts as independent."""
_OUTLINE_SHARE = 0.02
"""The same along outlines, whose errors reach further."""


@dataclass(frozen=True)
class PictureLevel:
    """What is compared, at the resolution of a ``NormalPyramidLevel``.

    Attributes:
        pictures: sRGB colours and, after them, world normals; band-passed for cameras, smoothed for patches.
        trust: in [0, 1], 0 where a view knows nothing or its outline is near.
    """

    pictures: Float[np.ndarray, "v h w c"]
    trust: Float[np.ndarray, "v h w"]


@dataclass(frozen=True)
class Looks:
    """What views that see a vertex in common make of it.

    Attributes:
        look: band-passed colour and normal the views agree on.
        weight: of the views that share it, 0 where fewer than two do.
        noise: standard deviation of one view from the others, a number per channel.
    """

    look: Float[np.ndarray, "n 6"]
    weight: Float[np.ndarray, "n"]
    noise: Float[np.ndarray, "6"]


def picture_level(views: Views, level: NormalPyramidLevel) -> PictureLevel:
    """Band-passed pictures inside their masks."""
    pictures = np.empty((*level.trust.shape, CHANNELS), np.float32)
    trust = np.empty_like(level.trust)
    for view in range(len(level.trust)):
        rgb, inside, trust[view] = inside_masks(views, level, view)
        pictures[view, ..., :3] = _band(rgb, inside)
        pictures[view, ..., 3:] = _band(level.normals[view], level.trust[view])
    return PictureLevel(pictures, trust)


def inside_masks(
    views: Views, level: NormalPyramidLevel, view: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """A view's colours at the level's size, 1 where its mask is whole, and its trust, 0 two pixels into that."""
    height, width = level.trust.shape[1:]
    alpha, rgb, weight = (
        cv2.resize(plane[view].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for plane in (views.alpha, views.rgb, views.weight)
    )
    inside = (alpha > 0.99).astype(np.float32)
    return rgb, inside, cv2.erode(inside, np.ones((5, 5), np.uint8)) * weight


def blurred_inside(
    picture: Float[np.ndarray, "h w c"], inside: Float[np.ndarray, "h w"], width_px: float
) -> Float[np.ndarray, "h w c"]:
    """Gaussian blur that does not read what lies outside."""
    known = np.maximum(cv2.GaussianBlur(inside, (0, 0), width_px), 1e-3)
    return cv2.GaussianBlur(picture * inside[..., None], (0, 0), width_px) / known[..., None]


def _band(picture: Float[np.ndarray, "h w c"], inside: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w c"]:
    fine, coarse = (blurred_inside(picture, inside, width_px) for width_px in (FINE_PX, _COARSE_PX))
    return (fine - coarse) * (inside > 0)[..., None]


def noise_of(
    spread: Float[np.ndarray, "n c"], shared: Bool[np.ndarray, "n"], before: Float[np.ndarray, "c"]
) -> Float[np.ndarray, "c"]:
    """Standard deviation of one view from the others by the median of squares; ``before`` where nothing is shared."""
    return np.sqrt(np.median(spread[shared], axis=0) / _CHI_SQUARE_MEDIAN) + _LEAST_NOISE if shared.any() else before


def compared(
    vertices: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    level: NormalPyramidLevel,
    pictures: PictureLevel,
    depth: Float[np.ndarray, "v h w"],
    noise: Float[np.ndarray, "6"] | None,
    *,
    tolerance: float,
) -> Looks:
    """Robust consensus of the views about every vertex (Geman-McClure at twice the noise).

    Args:
        directions: unit vertex normals.
        depth: depth maps of the surface in the cameras of ``level``.
        noise: as an earlier comparison found it; ``None`` finds it first.
        tolerance: how far off the depth map, head units at frontal view, a point still counts as seen.
    """
    if noise is None:
        noise = compared(
            vertices, directions, level, pictures, depth, np.full(CHANNELS, 1e3), tolerance=tolerance
        ).noise
    count = len(vertices)
    look, weight, spread = np.zeros((count, CHANNELS)), np.zeros(count), np.zeros((count, CHANNELS))
    _compare(
        vertices, directions, level.projections, level.eyes, depth, pictures.pictures, pictures.trust, tolerance,
        noise, look, weight, spread,
    )  # fmt: skip
    return Looks(look, weight, noise_of(spread, weight > 0, noise))


def camera_twists(
    vertices: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    level: NormalPyramidLevel,
    pictures: PictureLevel,
    depth: Float[np.ndarray, "v h w"],
    looks: Looks,
    *,
    outline_noise_px: float,
    tolerance: float,
) -> Float[np.ndarray, "v 6"]:
    """One Gauss-Newton step for every camera: turns of the world about its origin (radians) and shifts (head units).

    Each view's looks are held against the consensus, its mask against the surface's outline. A camera's distance
    stays: it shows as size alone, which is for the surface to settle.

    Args:
        outline_noise_px: standard deviation of the masks' outlines, pixels of ``level``.
    """
    count = len(level.eyes)
    left, right = np.zeros((count, 6, 6)), np.zeros((count, 6))
    own_px = np.stack([near_outline_px(np.isfinite(d)) for d in depth])
    _align(
        vertices, directions, level.projections, level.eyes, depth, pictures.pictures, pictures.trust, tolerance,
        looks.noise, looks.look, looks.weight, level.outline_px, own_px, outline_noise_px, left, right,
    )  # fmt: skip
    left += np.diag(np.repeat([_TURN_RAD, _SHIFT], 3) ** -2.0)
    twists = np.empty((count, 6))
    for view, pose in enumerate(level.cameras.camera_from_world):
        free = np.zeros((6, 5))
        free[:3, :3] = np.eye(3)
        free[3:, 3:] = pose[:2, :3].T
        twists[view] = free @ np.linalg.solve(free.T @ left[view] @ free, free.T @ right[view])
    return twists


def twisted(cameras: Cameras, twists: Float[np.ndarray, "v 6"]) -> Cameras:
    """Cameras as if each had seen the world turned about its origin and then shifted."""
    moved = np.tile(np.eye(4), (len(cameras), 1, 1))
    moved[:, :3, :3] = Rotation.from_rotvec(twists[:, :3]).as_matrix()
    moved[:, :3, 3] = twists[:, 3:]
    return replace(cameras, camera_from_world=cameras.camera_from_world @ moved)


def motion_px(mesh: Mesh, before: Cameras, after: Cameras) -> Float[np.ndarray, "v"]:
    """Root mean square distance by which the surface moves in each picture, pixels of the views."""
    some = mesh.vertices[:: max(1, len(mesh.vertices) // 1000)]
    motion = []
    for pose, moved, lens in zip(before.camera_from_world, after.camera_from_world, before.intrinsics_px, strict=True):
        apart = project(some, moved, lens)[:, :2] - project(some, pose, lens)[:, :2]
        motion.append(np.sqrt((apart**2).sum(1).mean()))
    return np.array(motion)


@numba.njit(cache=True, inline="always")
def visible(depth, column, row, far, slack):
    """Whether all four pixels around a place show the surface the point lies on."""
    height, width = depth.shape
    if not (0 <= column < width - 1 and 0 <= row < height - 1):
        return False
    ic, ir = int(column), int(row)
    seen = True
    for k in range(4):
        seen &= abs(depth[ir + k // 2, ic + k % 2] - far) <= slack
    return seen


@numba.njit(cache=True, inline="always")
def sample(picture, column, row, out):
    """Values and slopes of all channels between four pixels: ``out[c] = value, d/dx, d/dy``."""
    ic, ir = int(column), int(row)
    fc, fr = column - ic, row - ir
    for c in range(picture.shape[2]):
        a, b = picture[ir, ic, c], picture[ir, ic + 1, c]
        d, e = picture[ir + 1, ic, c], picture[ir + 1, ic + 1, c]
        out[c, 0] = (a * (1 - fc) + b * fc) * (1 - fr) + (d * (1 - fc) + e * fc) * fr
        out[c, 1] = (b - a) * (1 - fr) + (e - d) * fr
        out[c, 2] = (d - a) * (1 - fc) + (e - b) * fc


@numba.njit(cache=True)
def _collect(point, normal, projections, eyes, depth, pictures, trust, tolerance, at, value, w):
    """What each view that sees a point shows there."""
    views, channels = pictures.shape[0], pictures.shape[3]
    x, y, z = point
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
        if sure < LEAST_TRUST:
            continue
        sample(pictures[v], column - 0.5, row - 0.5, at)
        for c in range(channels):
            value[count, c] = at[c, 0]
        w[count] = sure * cosine * cosine
        count += 1
    return count


@numba.njit(parallel=True, cache=True)
def _compare(points, normals, projections, eyes, depth, pictures, trust, tolerance, noise, look, weight, spread):
    views, channels = pictures.shape[0], pictures.shape[3]
    for i in numba.prange(points.shape[0]):
        value, at = np.empty((views, channels)), np.empty((channels, 3))
        w, robust = np.empty(views), np.empty(views)
        count = _collect(
            (points[i, 0], points[i, 1], points[i, 2]), (normals[i, 0], normals[i, 1], normals[i, 2]),
            projections, eyes, depth, pictures, trust, tolerance, at, value, w,
        )  # fmt: skip
        if count < 2:
            continue
        robust[:count] = w[:count]
        total = robust[:count].sum()
        for _ in range(3):
            for c in range(channels):
                look[i, c] = (robust[:count] * value[:count, c]).sum() / total
            total = 0.0
            for k in range(count):
                off = 0.0
                for c in range(channels):
                    off += ((value[k, c] - look[i, c]) / noise[c]) ** 2
                robust[k] = w[k] / (1 + off / (4 * channels)) ** 2
                total += robust[k]
        weight[i] = total
        for c in range(channels):
            look[i, c] = (robust[:count] * value[:count, c]).sum() / total
            square = (w[:count] * (value[:count, c] - look[i, c]) ** 2).sum()
            spread[i, c] = square / w[:count].sum() * count / (count - 1)


@numba.njit(parallel=True, cache=True)
def _align(
    points, normals, projections, eyes, depth, pictures, trust, tolerance, noise, look, weight,
    outline_px, own_px, outline_noise_px, left, right,
):  # fmt: skip
    views, channels = pictures.shape[0], pictures.shape[3]
    for v in numba.prange(views):
        at, by = np.empty((channels, 3)), np.empty(6)
        du, dv = np.empty(6), np.empty(6)
        p = projections[v]
        for i in range(points.shape[0]):
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            dx, dy, dz = eyes[v, 0] - x, eyes[v, 1] - y, eyes[v, 2] - z
            cosine = dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]
            cosine /= np.sqrt(dx * dx + dy * dy + dz * dz)
            if cosine < -LEAST_COSINE:
                continue
            column, row, far = seen_at(p, x, y, z)
            if not (1 <= column < depth.shape[2] - 1 and 1 <= row < depth.shape[1] - 1):
                continue
            for k in range(3):
                du[3 + k] = (p[0, k] - column * p[2, k]) / far
                dv[3 + k] = (p[1, k] - row * p[2, k]) / far
            # A turn w moves the point by w x point.
            du[0], dv[0] = y * du[5] - z * du[4], y * dv[5] - z * dv[4]
            du[1], dv[1] = z * du[3] - x * du[5], z * dv[3] - x * dv[5]
            du[2], dv[2] = x * du[4] - y * du[3], x * dv[4] - y * dv[3]
            if abs(cosine) < LEAST_COSINE:
                own = bilinear(own_px[v], column - 0.5, row - 0.5)
                if abs(own) > 2:
                    continue
                c, r = column - 0.5, row - 0.5
                gap = bilinear(outline_px[v], c, r) - own
                sx = 0.5 * (bilinear(outline_px[v], c + 1, r) - bilinear(outline_px[v], c - 1, r))
                sy = 0.5 * (bilinear(outline_px[v], c, r + 1) - bilinear(outline_px[v], c, r - 1))
                w = (
                    _OUTLINE_SHARE
                    / (outline_noise_px * outline_noise_px)
                    / (1 + (gap / (3 * outline_noise_px)) ** 2) ** 2
                )
                for k in range(6):
                    by[k] = sx * du[k] + sy * dv[k]
                for k in range(6):
                    right[v, k] -= w * by[k] * gap
                    for m in range(6):
                        left[v, k, m] += w * by[k] * by[m]
                continue
            if cosine < 0 or weight[i] <= 0 or not visible(depth[v], column - 0.5, row - 0.5, far, tolerance / cosine):
                continue
            sure = trust[v, int(row), int(column)]
            if sure < LEAST_TRUST:
                continue
            sample(pictures[v], column - 0.5, row - 0.5, at)
            off = 0.0
            for c in range(channels):
                off += ((at[c, 0] - look[i, c]) / noise[c]) ** 2
            w = _WITNESS_SHARE * sure * cosine * cosine / (1 + off / (4 * channels)) ** 2
            for c in range(channels):
                inverse = w / (noise[c] * noise[c])
                for k in range(6):
                    by[k] = at[c, 1] * du[k] + at[c, 2] * dv[k]
                for k in range(6):
                    right[v, k] -= inverse * by[k] * (at[c, 0] - look[i, c])
                    for m in range(6):
                        left[v, k, m] += inverse * by[k] * by[m]
