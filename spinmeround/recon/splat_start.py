"""Where a splat fit starts: flat Gaussians lying on a surface, coloured by the views that see them."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from spinmeround import mesh_raster
from spinmeround.errors import FitError
from spinmeround.geometry import camera_centres, face_normals, project, vertex_normals
from spinmeround.types import Mesh, Splats, Views

_log = logging.getLogger(__name__)

SH_0 = 0.28209479177387814
"""The constant harmonic: colour = 1/2 + SH_0 * coefficient."""
_FLATNESS = 0.15
_WIDTH_OF_SPACING = 0.7
_START_OPACITY = 0.9
_MIN_COSINE = 0.15
_STRAY_SHARE = 0.006


def splats_on_surface(
    views: Views, surface: Mesh, *, count: int, sh_degree: int, source: np.random.Generator
) -> Splats:
    """Samples ``count`` points evenly by area and lays a disc on each, as wide as its neighbours are apart.

    The discs lie one pixel's width under the surface: opaque discs seen edge-on at an outline add up to more than one,
    which shifts the outline outward by about that much. Colour is the mean over the views that see the point, weighted
    by cosine and by ``views.weight``; points no view sees take the colour of the nearest that is seen.

    Raises:
        FitError: the surface has no area, or no view sees any of it.
    """
    points, normals = _sample(surface, count, source)
    colours, seen = _colours(views, surface, points, normals)
    if not seen.any():
        raise FitError("no view sees any of the start surface: do the cameras and the mesh share one world frame?")
    if not seen.all():
        _log.debug("%d of %d start points are seen by no view", int((~seen).sum()), count)
        colours[~seen] = colours[seen][cKDTree(points[seen]).query(points[~seen])[1]]
    neighbours = min(4, len(points))
    spacing = cKDTree(points).query(points, k=neighbours)[0].reshape(len(points), -1)[:, 1:].mean(axis=1)
    width = np.maximum(_WIDTH_OF_SPACING * spacing, 1e-5)
    sh = np.zeros((len(points), (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (colours - 0.5) / SH_0
    return Splats(
        means=_tensor(points - pixel_width(views, points) * normals),
        scales=_tensor(np.stack([width, width, _FLATNESS * width], axis=1)),
        quats_wxyz=_tensor(_quats_from_z(normals)),
        opacities=torch.full((len(points),), _START_OPACITY),
        sh=_tensor(sh),
    )


def stray_splats(means: Float[np.ndarray, "n 3"], views: Views) -> Bool[np.ndarray, "n"]:
    """Which centres lie outside some view's silhouette by more than a few pixels.

    Only pixels a view is sure of speak: a weight under one half has no vote.
    """
    reach_px = max(2, round(_STRAY_SHARE * views.cameras.width_px))
    stray = np.zeros(len(means), bool)
    for index in range(len(views)):
        pixels = project(means, views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        x, y, inside = _pixel_index(views, pixels)
        covered = (views.alpha[index] > 0.05) | (views.weight[index] < 0.5)
        near = cv2.dilate(covered.astype(np.uint8), np.ones((2 * reach_px + 1,) * 2, np.uint8)) > 0
        stray[inside] |= ~near[y[inside], x[inside]]
    return stray


def pixel_width(views: Views, points: Float[np.ndarray, "n 3"]) -> float:
    """Width of a pixel at the head, head units, median over the views."""
    distance = np.linalg.norm(camera_centres(views.cameras) - points.mean(axis=0), axis=1)
    return float(np.median(distance / views.cameras.intrinsics_px[:, 0, 0]))


def _tensor(values: Float[np.ndarray, "..."]) -> Float[torch.Tensor, "..."]:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _sample(
    surface: Mesh, count: int, source: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points and smooth normals, even by area.

    Drawn at even steps along the running sum of face areas: neighbouring faces are often neighbours in a mesh file
    too, and then the points clump far less than independent ones.
    """
    area = np.linalg.norm(face_normals(surface.vertices, surface.faces), axis=1)
    total = np.cumsum(area)
    if len(total) == 0 or not total[-1] > 0:
        raise FitError(f"the start surface has no area ({len(surface.faces)} faces): nothing to put splats on")
    steps = (np.arange(count) + source.random(count)) / count * total[-1]
    faces = surface.faces[np.minimum(np.searchsorted(total, steps, side="right"), len(total) - 1)]
    # Uniform on the triangle: fold the unit square at its diagonal.
    a, b = source.random(count), source.random(count)
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    weights = np.stack([1 - a - b, a, b], axis=1)[..., None]
    normals = (vertex_normals(surface.vertices, surface.faces)[faces] * weights).sum(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return (surface.vertices[faces] * weights).sum(axis=1), normals


def _quats_from_z(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Shortest rotations that take +Z to ``normals``; half a turn about X for -Z."""
    x, y, z = normals.T
    quats = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=1)
    quats[z < -1 + 1e-9] = (0, 1, 0, 0)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def z_axes(quats_wxyz: Float[torch.Tensor, "n 4"]) -> Float[torch.Tensor, "n 3"]:
    """Where unit quaternions turn +Z: the normals of fresh splats."""
    w, x, y, z = quats_wxyz.unbind(1)
    return torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1)


def _colours(
    views: Views, surface: Mesh, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, "n"]]:
    """Mean colour of each point over the views that see it, and whether any does."""
    total, share = np.zeros((len(points), 3)), np.zeros(len(points))
    for index, eye in enumerate(camera_centres(views.cameras)):
        toward = eye - points
        cosine = (toward * normals).sum(axis=1) / np.linalg.norm(toward, axis=1)
        pixels = project(points, views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        visible = (cosine > _MIN_COSINE) & _in_front(views, surface, index, pixels)
        at = pixels[visible, 1::-1].T - 0.5
        alpha, weight = (map_coordinates(plane[index], at, order=1) for plane in (views.alpha, views.weight))
        # Colour under a soft edge is a guess of the matte: only firm pixels count.
        trust = cosine[visible] ** 3 * weight * (alpha > 0.95)
        for channel in range(3):
            plane = views.rgb[index, ..., channel]
            total[visible, channel] += trust * map_coordinates(plane, at, order=1, mode="nearest")
        share[visible] += trust
    seen = share > 0
    total[seen] /= share[seen, None]
    return total, seen


def _in_front(views: Views, surface: Mesh, index: int, pixels: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Points inside the picture that the surface does not hide from this view."""
    depth = mesh_raster.rasterize(surface.vertices, surface.faces, views.cameras, index).depth
    x, y, inside = _pixel_index(views, pixels)
    # Depth changes within a pixel where the surface is seen at a slant: allow for three pixels' width of it.
    slack = 3 * pixels[:, 2] / views.cameras.intrinsics_px[index, 0, 0]
    return inside & (pixels[:, 2] < depth[y, x] + slack)


def _pixel_index(
    views: Views, pixels: Float[np.ndarray, "n 3"]
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Column and row of projected points, and which lie in the picture; (0, 0) for those that do not."""
    size = np.array([views.cameras.width_px, views.cameras.height_px])
    inside = (pixels[:, 2] > 0) & (pixels[:, :2] >= 0).all(axis=1) & (pixels[:, :2] < size).all(axis=1)
    column, row = np.where(inside[:, None], pixels[:, :2], 0).astype(np.int64).T
    return column, row, inside
