"""Where a splat fit starts: flat Gaussians lying on a surface, coloured by the views that see them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from spinmeround import mesh_raster
from spinmeround.errors import FitError
from spinmeround.geometry import camera_centres, face_normals, project, vertex_normals
from spinmeround.recon.hull import silhouettes, visual_hull
from spinmeround.types import Mesh, Splats, Views

_log = logging.getLogger(__name__)

SH_0 = 0.28209479177387814
"""The constant harmonic: colour = 1/2 + SH_0 * coefficient."""
_FLATNESS = 0.15
_WIDTH_OF_SPACING = 0.7
_START_OPACITY = 0.9
_LEAST_LIGHT = 1e-6
"""That gets through a splat, so that its optical depth is finite."""
_PROBES = 40_000
"""Points that are looked at to learn where the detail is."""
_EVEN_SHARE = 0.5
"""Share of the points that is spread evenly: outlines need small discs too, and any place can be an outline."""
_FINE_PX, _AROUND_PX = 1.5, 4.0
"""Detail is what this blur takes away, in the mean over this neighbourhood; standard deviations."""
_MIN_COSINE = 0.15
_STRAY_SHARE = 0.006


def splats_on_surface(
    views: Views, surface: Mesh, *, count: int, sh_degree: int, source: np.random.Generator, flatness: float = _FLATNESS
) -> Splats:
    """Lays ``count`` discs on a surface, more where the views show more detail, as wide as neighbours are apart.

    The discs lie one pixel's width under the surface: opaque discs seen edge-on at an outline add up to more than one,
    which shifts the outline outward by about that much. Colour is the mean over the views that see the point, weighted
    by cosine and by ``views.weight``; points no view sees take the colour of the nearest that is seen.

    Args:
        flatness: thickness of a disc over its width.

    Raises:
        FitError: the surface has no area, or no view sees any of it.
    """
    depths = [mesh_raster.rasterize(surface.vertices, surface.faces, views.cameras, i).depth for i in range(len(views))]
    probes, normals = _sample(surface, np.ones(len(surface.faces)), min(count, _PROBES), source)
    _, detail, _ = _appearance(views, depths, probes, normals)
    points, normals = _sample(surface, _density(surface, probes, detail), count, source)
    colours, _, seen = _appearance(views, depths, points, normals)
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
        scales=_tensor(np.stack([width, width, flatness * width], axis=1)),
        quats_wxyz=_tensor(_quats_from_z(normals)),
        opacities=torch.full((len(points),), _START_OPACITY),
        sh=_tensor(sh),
    )


def superposed(fits: Sequence[Splats]) -> Splats:
    """All splats of several fits of one head, each so much thinner that together they are as opaque as their mean.

    Optical depths, -log(1 - opacity), are shared out, as where one splat becomes several (Kheradmand et al., 3D
    Gaussian Splatting as Markov Chain Monte Carlo, 2024). What single fits made up fades, what they share stays.
    """
    if len(fits) == 1:
        return fits[0]
    means, scales, quats, opacities, sh = (
        torch.cat([getattr(fit, name) for fit in fits]) for name in ("means", "scales", "quats_wxyz", "opacities", "sh")
    )
    return Splats(means, scales, quats, 1 - (1 - opacities).clamp(min=_LEAST_LIGHT) ** (1 / len(fits)), sh)


def outline_shell(views: Views, *, cells: int = 64) -> Mesh:
    """The visual hull's surface without its cut through the neck, going on below it as far as the masks do.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=cells)
    vertices, faces = hull.mesh.vertices, hull.mesh.faces
    if hull.floor_y is not None:
        faces = faces[~np.all(vertices[faces, 1] <= hull.floor_y + 0.02 * hull.cell, axis=1)]
    return Mesh(
        np.concatenate([vertices, hull.skirt.vertices]), np.concatenate([faces, hull.skirt.faces + len(vertices)])
    )


def stray_splats(means: Float[np.ndarray, "n 3"], views: Views, *, tolerated: int = 0) -> Bool[np.ndarray, "n"]:
    """Which centres lie outside silhouettes by more than a few pixels, in more views than are ``tolerated``.

    Only pixels a view is sure of speak: a weight under one half has no vote.
    """
    reach_px = max(2, round(_STRAY_SHARE * views.cameras.width_px))
    votes = np.zeros(len(means), np.int32)
    for index in range(len(views)):
        pixels = project(means, views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        x, y, inside = _pixel_index(views, pixels)
        covered = (views.alpha[index] > 0.05) | (views.weight[index] < 0.5)
        near = cv2.dilate(covered.astype(np.uint8), np.ones((2 * reach_px + 1,) * 2, np.uint8)) > 0
        votes[inside] += ~near[y[inside], x[inside]]
    return votes > tolerated


def pixel_width(views: Views, points: Float[np.ndarray, "n 3"]) -> float:
    """Width of a pixel at the head, head units, median over the views."""
    distance = np.linalg.norm(camera_centres(views.cameras) - points.mean(axis=0), axis=1)
    return float(np.median(distance / views.cameras.intrinsics_px[:, 0, 0]))


def _tensor(values: Float[np.ndarray, "..."]) -> Float[torch.Tensor, "..."]:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _density(surface: Mesh, probes: Float[np.ndarray, "n 3"], detail: Float[np.ndarray, "n"]) -> Float[np.ndarray, "f"]:
    """How many splats a face gets for its area: an even share, and one that grows with the detail around it."""
    if not (mean := detail.mean()) > 0:
        return np.ones(len(surface.faces))
    nearest = cKDTree(probes).query(surface.vertices[surface.faces].mean(axis=1))[1]
    return _EVEN_SHARE + (1 - _EVEN_SHARE) * detail[nearest] / mean


def _sample(
    surface: Mesh, density: Float[np.ndarray, "f"], count: int, source: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points and smooth normals, even by area times density.

    Drawn at even steps along the running sum over the faces: neighbouring faces are often neighbours in a mesh file
    too, and then the points clump far less than independent ones.
    """
    area = np.linalg.norm(face_normals(surface.vertices, surface.faces), axis=1)
    total = np.cumsum(area * density)
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


def _appearance(
    views: Views,
    depths: Sequence[Float[np.ndarray, "h w"]],
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Mean colour and detail of each point over the views that see it, 0 where none does, and whether any does.

    Args:
        depths: of the surface in each view.
    """
    total, share = np.zeros((len(points), 4)), np.zeros(len(points))
    for index, eye in enumerate(camera_centres(views.cameras)):
        toward = eye - points
        cosine = (toward * normals).sum(axis=1) / np.linalg.norm(toward, axis=1)
        facing = np.flatnonzero(cosine > _MIN_COSINE)
        pixels = project(points[facing], views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        unhidden = _in_front(views, depths[index], index, pixels)
        visible, at = facing[unhidden], pixels[unhidden, 1::-1].T - 0.5
        # Colour under a soft edge is a guess of the matte: only firm pixels count.
        firm = (views.alpha[index] > 0.95).astype(np.float32)
        planes = np.dstack([views.rgb[index], _detail(views.rgb[index], firm)])
        trust = cosine[visible] ** 3 * map_coordinates(views.weight[index] * firm, at, order=0, mode="nearest")
        for channel in range(4):
            total[visible, channel] += trust * map_coordinates(planes[..., channel], at, order=1, mode="nearest")
        share[visible] += trust
    seen = share > 0
    total[seen] /= share[seen, None]
    return total[:, :3], total[:, 3], seen


def _detail(rgb: Float[np.ndarray, "h w 3"], firm: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How far colours lie from their blurred surroundings, root of the mean square nearby, over firm pixels alone."""
    fine = rgb - _blurred(rgb, firm, _FINE_PX)
    return np.sqrt(_blurred((fine**2).sum(axis=2, keepdims=True), firm, _AROUND_PX)[..., 0])


def _blurred(
    picture: Float[np.ndarray, "h w c"], firm: Float[np.ndarray, "h w"], sigma_px: float
) -> Float[np.ndarray, "h w c"]:
    total = cv2.GaussianBlur(picture * firm[..., None], (0, 0), sigma_px).reshape(picture.shape)
    return total / np.maximum(cv2.GaussianBlur(firm, (0, 0), sigma_px), 1e-3)[..., None]


def _in_front(
    views: Views, depth: Float[np.ndarray, "h w"], index: int, pixels: Float[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    """Points inside the picture that the surface does not hide from this view."""
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
