"""What the views say about a surface that is being fitted: target normals of its faces, target outlines of its rims.

Both are read where a view really sees the surface, decided by depth maps of the surface itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy.special import erfinv

from spinmeround.geometry import camera_centres, resized
from spinmeround.mesh_raster import rasterize
from spinmeround.recon.hull import without_holes
from spinmeround.recon.image_sampling import bilinear, seen_at
from spinmeround.scratch import planes
from spinmeround.types import Cameras, Views

ROBUST_ANGLE_DEG = 12.0
"""A view whose normal differs this much from what the others say counts a quarter (Geman-McClure)."""

_ROBUST_NOISES = 2.5
_FRONTAL_NOISE_RAD = 0.05
"""Noise of a picture's normals that comes from its pixels alone, seen frontally; it grows as the view gets oblique."""
_LEAST_COSINE = 0.1
_CONTINUATION_STEPS = 60
_RIM_COSINE = 0.35


@dataclass(frozen=True)
class NormalPyramidLevel:
    """The views' normals at one resolution.

    Attributes:
        cameras: cameras of this picture size.
        projections: pixel from world, 3x4.
        eyes: positions of the cameras, world.
        normals: world normals times their trust.
        trust: in [0, 1], 0 where a view knows nothing.
        outline_px: signed distance to the masks' outlines, pixels of this level, good within two pixels.
    """

    cameras: Cameras
    projections: Float[np.ndarray, "v 3 4"]
    eyes: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v h w 3"]
    trust: Float[np.ndarray, "v h w"]
    outline_px: Float[np.ndarray, "v h w"]


@dataclass(frozen=True)
class FaceTargets:
    """Target normals.

    Attributes:
        normals: unit normals, 0 where no view sees the face.
        weight: trust in the target in [0, 1], 0 where no view sees the face.
        noise_rad: angle by which one view's normal differs from what the others say, root of the median square.
    """

    normals: Float[np.ndarray, "f 3"]
    weight: Float[np.ndarray, "f"]
    noise_rad: float


def projection_matrices(cameras: Cameras) -> Float[np.ndarray, "v 3 4"]:
    """Homogeneous pixels from world points."""
    return np.ascontiguousarray(cameras.intrinsics_px @ cameras.camera_from_world[:, :3])


def normal_level(views: Views, shrink: int) -> NormalPyramidLevel:
    """Normals averaged over ``shrink`` squared pixels, so that coarse faces see what they cover and nothing aliases."""
    width, height = max(views.cameras.width_px // shrink, 16), max(views.cameras.height_px // shrink, 16)
    cameras = resized(views.cameras, width, height)
    shape = (len(views), height, width)
    normals, trust, outline_px = planes((*shape, 3), shape, shape)
    for view in range(len(views)):
        alpha, given = without_holes(views.alpha[view]), views.normals_world[view]
        known = (alpha > 0.5) & (np.linalg.norm(given, axis=-1) > 0.5)
        sure = (views.weight[view] * alpha * known).astype(np.float32)
        layers = (given * sure[..., None], sure, alpha)
        if alpha.shape != (height, width):
            layers = tuple(cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA) for layer in layers)
        normals[view], trust[view], outline_px[view] = layers[0], layers[1], near_outline_px(layers[2])
    return NormalPyramidLevel(
        cameras, projection_matrices(cameras), camera_centres(cameras), normals, trust, outline_px
    )


def seen_from(level: NormalPyramidLevel, cameras: Cameras) -> NormalPyramidLevel:
    """The same pictures taken by other cameras, given at any picture size."""
    cameras = resized(cameras, level.cameras.width_px, level.cameras.height_px)
    return replace(level, cameras=cameras, projections=projection_matrices(cameras), eyes=camera_centres(cameras))


def depth_maps(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], cameras: Cameras
) -> Float[np.ndarray, "n h w"]:
    """Depth of a mesh in every view, infinity where it is not."""
    (depth,) = planes((len(cameras), cameras.height_px, cameras.width_px))
    for index in range(len(cameras)):
        depth[index] = rasterize(vertices, faces, cameras, index).depth
    return depth


def face_targets(
    centroids: Float[np.ndarray, "f 3"],
    normals: Float[np.ndarray, "f 3"],
    level: NormalPyramidLevel,
    depth: Float[np.ndarray, "n h w"],
    *,
    tolerance: float,
    noise_rad: float,
) -> FaceTargets:
    """Robust weighted mean over the views of the normals seen at the faces' centroids.

    Weights fall with the obliquity of the view against both the present and the seen normal, and with disagreement.
    Exact normals are taken from the few views that see a face best; noisy ones are better averaged over all.

    Args:
        centroids: world frame.
        normals: present unit normals of the faces.
        depth: depth maps of the present surface in the cameras of ``level``.
        tolerance: how far behind the depth map, head units at frontal view, a point still counts as seen.
        noise_rad: how far one view's normal is expected to be off.
    """
    targets = np.zeros_like(centroids)
    weight, spread = np.zeros(len(centroids)), np.zeros(len(centroids))
    limit = max(np.radians(ROBUST_ANGLE_DEG), _ROBUST_NOISES * noise_rad)
    _gather(
        centroids, normals, level.projections, level.eyes, depth, level.normals, level.trust, tolerance, limit,
        (noise_rad / _FRONTAL_NOISE_RAD) ** 2, targets, weight, spread,
    )  # fmt: skip
    compared = spread > 0
    noise_rad = float(np.sqrt(np.median(spread[compared]))) if compared.any() else 0.0
    # Views are weighed against each other steeply, faces less so: what is only seen obliquely must still follow that.
    return FaceTargets(targets, np.sqrt(np.minimum(weight, 1.0)), noise_rad)


def continue_normals(
    normals: Float[np.ndarray, "f 3"],
    ring: tuple[Integer[np.ndarray, "f 3"], Integer[np.ndarray, "h"], Integer[np.ndarray, "v"]],
    *,
    known: Bool[np.ndarray, "f"],
    ignored: Bool[np.ndarray, "f"],
) -> Float[np.ndarray, "f 3"]:
    """Normals of unknown faces made to continue those around them, so that unseen patches close smoothly.

    Args:
        normals: unit normals; start values where unknown.
        ring: faces, half-edge twins and one leaving half-edge per vertex (see ``remesh``).
        known: faces whose normals stay.
        ignored: faces that neither change nor tell their neighbours anything.
    """
    fixed = known | ignored
    if fixed.all():
        return normals
    return _diffuse(np.ascontiguousarray(normals), ring[1], np.flatnonzero(~fixed), ignored, _CONTINUATION_STEPS)


def rim_offsets(
    vertices: Float[np.ndarray, "v 3"],
    vertex_normals: Float[np.ndarray, "v 3"],
    cameras: Cameras,
    distance_px: Float[np.ndarray, "n h w"],
    outline_px: Float[np.ndarray, "n h2 w2"],
    depth: Float[np.ndarray, "n h2 w2"],
    *,
    reach: float,
    ease: float,
) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"]]:
    """How far rim vertices must go along their normals for the surface's outlines to meet the masks'.

    A rim vertex looks across a camera's line of sight and lies near the border of the surface's own picture. There the
    normal lies in the picture plane, so the step is the mask's signed distance less the surface's own.

    Args:
        distance_px: signed distances to the masks' outlines, positive inside, for rims far from them.
        outline_px: the same for near rims, estimated as the surface's own are, so that what both get wrong cancels.
        depth: depth maps of the present surface, of the resolution of ``outline_px``.
        reach: rims further than this from the mask's outline, head units, are left alone.
        ease: rims nearer than this count less. Ridges of a visual hull are rims that fit perfectly where the body is
            not; unless their say is small they stay.

    Returns:
        Steps in head units, and the weight of the views that asked for one (0: not a rim).
    """
    steps, votes = np.zeros(len(vertices)), np.zeros(len(vertices))
    focals = cameras.intrinsics_px[:, [0, 1], [0, 1]].mean(1)
    (own_px,) = planes(depth.shape)
    for index, drawn in enumerate(depth):
        own_px[index] = near_outline_px(np.isfinite(drawn))
    _rims(
        vertices, vertex_normals, projection_matrices(cameras), camera_centres(cameras), focals,
        distance_px, outline_px, own_px, reach, ease, steps, votes,
    )  # fmt: skip
    return steps, votes


def near_outline_px(mask: Shaped[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Signed distance to a mask's outline, good within two pixels of it and to a small fraction of a pixel.

    A straight edge blurred by a Gaussian is the error function of the distance; distance transforms count from pixel to
    pixel instead, which pulls slanted outlines inward.
    """
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    return (np.sqrt(2) * erfinv(np.clip(2 * blurred - 1, -0.999, 0.999))).astype(np.float32)


@numba.njit(cache=True)
def _diffuse(normals, twin, free, ignored, steps):
    now, after = normals.copy(), normals.copy()
    for _ in range(steps):
        for i in range(free.shape[0]):
            f = free[i]
            x, y, z = 0.0, 0.0, 0.0
            for h in range(3 * f, 3 * f + 3):
                g = twin[h] // 3
                if not ignored[g]:
                    x += now[g, 0]
                    y += now[g, 1]
                    z += now[g, 2]
            length = np.sqrt(x * x + y * y + z * z)
            if length > 0.1:
                after[f, 0], after[f, 1], after[f, 2] = x / length, y / length, z / length
        for i in range(free.shape[0]):
            f = free[i]
            now[f, 0], now[f, 1], now[f, 2] = after[f, 0], after[f, 1], after[f, 2]
    return now


@numba.njit(parallel=True, cache=True)
def _gather(
    points, normals, projections, eyes, depth, seen, trust, tolerance, limit, noise, out, out_weight, out_spread
):
    views, height, width = depth.shape
    for i in numba.prange(points.shape[0]):
        sample = np.empty((views, 4))
        count = 0
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        mean0 = mean1 = mean2 = 0.0
        for v in range(views):
            dx, dy, dz = eyes[v, 0] - x, eyes[v, 1] - y, eyes[v, 2] - z
            scale = 1 / np.sqrt(dx * dx + dy * dy + dz * dz)
            cosine = (dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]) * scale
            if cosine < _LEAST_COSINE:
                continue
            column, row, far = seen_at(projections[v], x, y, z)
            column, row = column - 0.5, row - 0.5
            if not (0 <= column < width - 1 and 0 <= row < height - 1):
                continue
            ic, ir = int(column), int(row)
            fc, fr = column - ic, row - ir
            slack = tolerance / cosine
            n0 = n1 = n2 = sure = 0.0
            for k in range(4):
                r, c = ir + k // 2, ic + k % 2
                # Taps on another sheet of the surface (in front: hides the point; behind: beyond a rim) do not count.
                if abs(depth[v, r, c] - far) > slack:
                    continue
                w = (fr if k // 2 else 1 - fr) * (fc if k % 2 else 1 - fc)
                n0 += w * seen[v, r, c, 0]
                n1 += w * seen[v, r, c, 1]
                n2 += w * seen[v, r, c, 2]
                sure += w * trust[v, r, c]
            length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
            if length < 0.25:
                continue
            n0, n1, n2 = n0 / length, n1 / length, n2 / length
            seen_cosine = (n0 * dx + n1 * dy + n2 * dz) * scale
            if seen_cosine < 0.05:
                continue
            frontal = (cosine * cosine * seen_cosine) ** 2
            w = sure * frontal * (1 + noise) / (1 + noise * frontal)
            sample[count, 0], sample[count, 1], sample[count, 2], sample[count, 3] = n0, n1, n2, w
            mean0 += w * n0
            mean1 += w * n1
            mean2 += w * n2
            count += 1
        total = square = plain = 0.0
        for _ in range(2):
            length = np.sqrt(mean0 * mean0 + mean1 * mean1 + mean2 * mean2) + 1e-12
            a0, a1, a2 = mean0 / length, mean1 / length, mean2 / length
            mean0 = mean1 = mean2 = total = square = plain = 0.0
            for k in range(count):
                apart = (sample[k, 0] - a0) ** 2 + (sample[k, 1] - a1) ** 2 + (sample[k, 2] - a2) ** 2
                w = sample[k, 3] / (1 + apart / (limit * limit)) ** 2
                mean0 += w * sample[k, 0]
                mean1 += w * sample[k, 1]
                mean2 += w * sample[k, 2]
                total += w
                square += sample[k, 3] * apart
                plain += sample[k, 3]
        length = np.sqrt(mean0 * mean0 + mean1 * mean1 + mean2 * mean2)
        if length > 1e-5:
            out[i, 0], out[i, 1], out[i, 2] = mean0 / length, mean1 / length, mean2 / length
            out_weight[i] = total
            if count > 1:
                out_spread[i] = square / plain * count / (count - 1)


@numba.njit(parallel=True, cache=True)
def _rims(vertices, normals, projections, eyes, focals, distance_px, outline_px, own_px, reach, ease, steps, votes):
    views, height, width = distance_px.shape
    shrink = width / own_px.shape[2]
    for i in numba.prange(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for v in range(views):
            dx, dy, dz = eyes[v, 0] - x, eyes[v, 1] - y, eyes[v, 2] - z
            along = dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]
            cosine = abs(along) / np.sqrt(dx * dx + dy * dy + dz * dz)
            if cosine > _RIM_COSINE:
                continue
            column, row, far = seen_at(projections[v], x, y, z)
            if not (1 <= column < width - 1 and 1 <= row < height - 1):
                continue
            own = bilinear(own_px[v], column / shrink - 0.5, row / shrink - 0.5)
            if abs(own) > 2:
                continue
            goal_px = bilinear(distance_px[v], column - 0.5, row - 0.5)
            if abs(goal_px) < 1.5 * shrink:
                goal_px = shrink * bilinear(outline_px[v], column / shrink - 0.5, row / shrink - 0.5)
            gap = (goal_px - shrink * own) * far / focals[v]
            if abs(gap) < reach:
                weight = (1 - cosine / _RIM_COSINE) * (gap * gap + 1e-20) / (gap * gap + ease * ease + 1e-20)
                steps[i] += weight * gap
                votes[i] += weight
        if votes[i] > 0:
            steps[i] /= votes[i]
