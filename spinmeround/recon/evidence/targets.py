"""Targets for a surface that is being fitted: normals of its faces, silhouettes for its occluding contours.

Both are read only where a view sees the surface, as depth maps of the surface itself decide.
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
from spinmeround.recon.image_sampling import bilinear, project_point
from spinmeround.scratch import planes
from spinmeround.types import Cameras, Views

ROBUST_ANGLE_DEG = 12.0
"""A view whose normal differs this much from the mean of the others counts a quarter (Geman-McClure)."""
_ROBUST_NOISES = 2.5
"""The same limit in standard deviations of the views' normals; the larger of both holds."""
_FRONTAL_NOISE_RAD = 0.05
"""Noise of a picture's normals that comes from its pixels alone, seen frontally; it grows as the view gets oblique."""
_MIN_COSINE = 0.1
"""Views more oblique than this give a face no normal."""
_MIN_SEEN_COSINE = 0.05
"""Normals in a picture that are turned further away from its camera than this are not used."""
_MIN_NORMAL_LENGTH = 0.25
"""Of a normal interpolated between pixels: below it, too few of them show the face or they contradict each other."""
_DIFFUSION_STEPS = 60
_MAX_CONTOUR_COSINE = 0.35
"""Vertices whose normal lies this near to the picture plane may lie on the occluding contour."""
_MAX_CONTOUR_DISTANCE_PX = 2.0
"""Vertices further than this from the contour of the surface's own silhouette do not lie on it."""
_NEAR_CONTOUR_PX = 1.5
"""Below this distance the blurred masks measure better than distance transforms."""


@dataclass(frozen=True)
class NormalPyramidLevel:
    """The views' normals at one resolution.

    Attributes:
        cameras: cameras of this picture size.
        projections: pixel from world, 3x4.
        eyes: positions of the cameras, world.
        normals: world normals times their trust.
        trust: in [0, 1], 0 where a view has no data.
        contour_px: signed distance to the masks' contours, positive inside, pixels of this level; good within two.
    """

    cameras: Cameras
    projections: Float[np.ndarray, "v 3 4"]
    eyes: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v h w 3"]
    trust: Float[np.ndarray, "v h w"]
    contour_px: Float[np.ndarray, "v h w"]


@dataclass(frozen=True)
class FaceTargets:
    """Target normals of the faces.

    Attributes:
        normals: unit normals, 0 where no view sees the face.
        weight: trust in the target in [0, 1], 0 where no view sees the face.
        noise_rad: angle by which one view's normal differs from the mean of the others, root of the median square.
    """

    normals: Float[np.ndarray, "f 3"]
    weight: Float[np.ndarray, "f"]
    noise_rad: float


def projection_matrices(cameras: Cameras) -> Float[np.ndarray, "v 3 4"]:
    """Return 3 x 4 matrices that map homogeneous world points to homogeneous pixels."""
    return np.ascontiguousarray(cameras.intrinsics_px @ cameras.camera_from_world[:, :3])


def normal_level(views: Views, shrink: int) -> NormalPyramidLevel:
    """Return normals averaged over ``shrink`` squared pixels, so that coarse faces get the mean of what they cover."""
    width, height = max(views.cameras.width_px // shrink, 16), max(views.cameras.height_px // shrink, 16)
    cameras = resized(views.cameras, width, height)
    shape = (len(views), height, width)
    normals, trust, contour_px = planes((*shape, 3), shape, shape)
    for view in range(len(views)):
        alpha, given = without_holes(views.alpha[view]), views.normals_world[view]
        known = (alpha > 0.5) & (np.linalg.norm(given, axis=-1) > 0.5)
        sure = (views.weight[view] * alpha * known).astype(np.float32)
        layers = (given * sure[..., None], sure, alpha)
        if alpha.shape != (height, width):
            layers = tuple(cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA) for layer in layers)
        normals[view], trust[view], contour_px[view] = layers[0], layers[1], near_contour_px(layers[2])
    return NormalPyramidLevel(
        cameras, projection_matrices(cameras), camera_centres(cameras), normals, trust, contour_px
    )


def with_cameras(level: NormalPyramidLevel, cameras: Cameras) -> NormalPyramidLevel:
    """Return the same pictures with other cameras, given at any picture size."""
    cameras = resized(cameras, level.cameras.width_px, level.cameras.height_px)
    return replace(level, cameras=cameras, projections=projection_matrices(cameras), eyes=camera_centres(cameras))


def depth_maps(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], cameras: Cameras
) -> Float[np.ndarray, "n h w"]:
    """Return the depth of a mesh in every view, infinity where it is not."""
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
    """Return the robust weighted mean over the views of the normals seen at the faces' centroids.

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
    weight, variance = np.zeros(len(centroids)), np.zeros(len(centroids))
    limit = max(np.radians(ROBUST_ANGLE_DEG), _ROBUST_NOISES * noise_rad)
    _robust_mean_normals(
        centroids, normals, level.projections, level.eyes, depth, level.normals, level.trust, tolerance, limit,
        (noise_rad / _FRONTAL_NOISE_RAD) ** 2, targets, weight, variance,
    )  # fmt: skip
    compared = variance > 0
    noise_rad = float(np.sqrt(np.median(variance[compared]))) if compared.any() else 0.0
    # The root: a face that is only seen obliquely must still follow the views that see it.
    return FaceTargets(targets, np.sqrt(np.minimum(weight, 1.0)), noise_rad)


def fill_unseen_normals(
    normals: Float[np.ndarray, "f 3"],
    ring: tuple[Integer[np.ndarray, "f 3"], Integer[np.ndarray, "h"], Integer[np.ndarray, "v"]],
    *,
    known: Bool[np.ndarray, "f"],
    ignored: Bool[np.ndarray, "f"],
) -> Float[np.ndarray, "f 3"]:
    """Return normals with those of unknown faces diffused from the faces around them, so that holes close smoothly.

    Args:
        normals: unit normals; start values where unknown.
        ring: faces, half-edge twins and one leaving half-edge per vertex (see ``remesh``).
        known: faces whose normals stay.
        ignored: faces that neither change nor count as neighbours.
    """
    fixed = known | ignored
    if fixed.all():
        return normals
    return _diffuse(np.ascontiguousarray(normals), ring[1], np.flatnonzero(~fixed), ignored, _DIFFUSION_STEPS)


def occluding_contour_steps(
    vertices: Float[np.ndarray, "v 3"],
    vertex_normals: Float[np.ndarray, "v 3"],
    cameras: Cameras,
    distance_px: Float[np.ndarray, "n h w"],
    contour_px: Float[np.ndarray, "n h2 w2"],
    depth: Float[np.ndarray, "n h2 w2"],
    *,
    reach: float,
    ease: float,
) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"]]:
    """Return how far vertices on occluding contours must move along their normals to meet the masks' contours.

    A vertex lies on an occluding contour if its normal is perpendicular to the line of sight and it is near the border
    of the surface's own silhouette. There the normal lies in the picture plane, so the step is the mask's signed
    distance less the surface's own.

    Args:
        distance_px: signed distances to the masks' contours, positive inside, for vertices far from them.
        contour_px: the same near the contours, estimated as the surface's own are, so that the bias of both cancels.
        depth: depth maps of the present surface, of the resolution of ``contour_px``.
        reach: vertices further than this from the mask's contour, head units, are left alone.
        ease: vertices nearer than this to the mask's contour, head units, count less. The ridges of a visual hull fit
            the masks exactly where the body does not have them, and would stay at full weight.

    Returns:
        Steps in head units, and the summed weight of the views that ask for one; 0 off the contours.
    """
    steps, weight = np.zeros(len(vertices)), np.zeros(len(vertices))
    focals = cameras.intrinsics_px[:, [0, 1], [0, 1]].mean(1)
    (own_px,) = planes(depth.shape)
    for index, drawn in enumerate(depth):
        own_px[index] = near_contour_px(np.isfinite(drawn))
    _contour_steps(
        vertices, vertex_normals, projection_matrices(cameras), camera_centres(cameras), focals,
        distance_px, contour_px, own_px, reach, ease, steps, weight,
    )  # fmt: skip
    return steps, weight


def near_contour_px(mask: Shaped[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the signed distance to a mask's contour, good to a small fraction of a pixel within two pixels of it.

    A straight edge blurred by a Gaussian is the error function of the distance. Distance transforms count from pixel to
    pixel, which pulls slanted contours inward.
    """
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    return (np.sqrt(2) * erfinv(np.clip(2 * blurred - 1, -0.999, 0.999))).astype(np.float32)


@numba.njit(cache=True)
def _diffuse(normals, twin, free, ignored, steps):
    """Replace the normals of ``free`` faces by the mean of their neighbours', so many times (Jacobi iterations)."""
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
def _robust_mean_normals(
    points, normals, projections, eyes, depth, seen, trust, tolerance, limit, noise, out, out_weight, out_variance
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
            if cosine < _MIN_COSINE:
                continue
            column, row, point_depth = project_point(projections[v], x, y, z)
            column, row = column - 0.5, row - 0.5
            if not (0 <= column < width - 1 and 0 <= row < height - 1):
                continue
            ic, ir = int(column), int(row)
            fc, fr = column - ic, row - ir
            slack = tolerance / cosine
            n0 = n1 = n2 = seen_trust = 0.0
            for k in range(4):
                r, c = ir + k // 2, ic + k % 2
                # Pixels that show another sheet do not count: it hides the point, or lies behind a contour.
                if abs(depth[v, r, c] - point_depth) > slack:
                    continue
                w = (fr if k // 2 else 1 - fr) * (fc if k % 2 else 1 - fc)
                n0 += w * seen[v, r, c, 0]
                n1 += w * seen[v, r, c, 1]
                n2 += w * seen[v, r, c, 2]
                seen_trust += w * trust[v, r, c]
            length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
            if length < _MIN_NORMAL_LENGTH:
                continue
            n0, n1, n2 = n0 / length, n1 / length, n2 / length
            seen_cosine = (n0 * dx + n1 * dy + n2 * dz) * scale
            if seen_cosine < _MIN_SEEN_COSINE:
                continue
            frontal = (cosine * cosine * seen_cosine) ** 2
            w = seen_trust * frontal * (1 + noise) / (1 + noise * frontal)
            sample[count, 0], sample[count, 1], sample[count, 2], sample[count, 3] = n0, n1, n2, w
            mean0 += w * n0
            mean1 += w * n1
            mean2 += w * n2
            count += 1
        total = squares = plain = 0.0
        for _ in range(2):
            length = np.sqrt(mean0 * mean0 + mean1 * mean1 + mean2 * mean2) + 1e-12
            a0, a1, a2 = mean0 / length, mean1 / length, mean2 / length
            mean0 = mean1 = mean2 = total = squares = plain = 0.0
            for k in range(count):
                apart = (sample[k, 0] - a0) ** 2 + (sample[k, 1] - a1) ** 2 + (sample[k, 2] - a2) ** 2
                w = sample[k, 3] / (1 + apart / (limit * limit)) ** 2
                mean0 += w * sample[k, 0]
                mean1 += w * sample[k, 1]
                mean2 += w * sample[k, 2]
                total += w
                squares += sample[k, 3] * apart
                plain += sample[k, 3]
        length = np.sqrt(mean0 * mean0 + mean1 * mean1 + mean2 * mean2)
        if length > 1e-5:
            out[i, 0], out[i, 1], out[i, 2] = mean0 / length, mean1 / length, mean2 / length
            out_weight[i] = total
            if count > 1:
                out_variance[i] = squares / plain * count / (count - 1)


@numba.njit(parallel=True, cache=True)
def _contour_steps(
    vertices, normals, projections, eyes, focals, distance_px, contour_px, own_px, reach, ease, steps, weights
):
    views, height, width = distance_px.shape
    shrink = width / own_px.shape[2]
    for i in numba.prange(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for v in range(views):
            dx, dy, dz = eyes[v, 0] - x, eyes[v, 1] - y, eyes[v, 2] - z
            along = dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]
            cosine = abs(along) / np.sqrt(dx * dx + dy * dy + dz * dz)
            if cosine > _MAX_CONTOUR_COSINE:
                continue
            column, row, point_depth = project_point(projections[v], x, y, z)
            if not (1 <= column < width - 1 and 1 <= row < height - 1):
                continue
            own = bilinear(own_px[v], column / shrink - 0.5, row / shrink - 0.5)
            if abs(own) > _MAX_CONTOUR_DISTANCE_PX:
                continue
            target_px = bilinear(distance_px[v], column - 0.5, row - 0.5)
            if abs(target_px) < _NEAR_CONTOUR_PX * shrink:
                target_px = shrink * bilinear(contour_px[v], column / shrink - 0.5, row / shrink - 0.5)
            step = (target_px - shrink * own) * point_depth / focals[v]
            if abs(step) < reach:
                facing = 1 - cosine / _MAX_CONTOUR_COSINE
                weight = facing * (step * step + 1e-20) / (step * step + ease * ease + 1e-20)
                steps[i] += weight * step
                weights[i] += weight
        if weights[i] > 0:
            steps[i] /= weights[i]
