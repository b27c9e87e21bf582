"""Initialisation of a splat fit: flat Gaussians on a surface, coloured by the views that see them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from spinmeround import mesh_raster
from spinmeround.errors import FitError
from spinmeround.geometry import camera_centres, project, scatter_on_faces, vertex_normals
from spinmeround.recon.hull import silhouettes, visual_hull
from spinmeround.types import SH_C0, Mesh, Splats, Views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialisationSettings:
    """How discs are laid on the surface.

    Attributes:
        flatness: thickness of a disc over its width.
        width_over_spacing: width of a disc over the mean distance to its neighbours.
        n_neighbours: points that distance is measured over, the point itself among them.
        min_width: of a disc, head units.
        opacity: of all discs.
        probes: points at which detail is measured before the discs are placed.
        uniform_fraction: of the points, spread evenly by area: silhouettes need small discs too, and any place can
            become an occluding contour.
    """

    flatness: float = 0.15
    width_over_spacing: float = 0.7
    n_neighbours: int = 4
    min_width: float = 1e-5
    opacity: float = 0.9
    probes: int = 40_000
    uniform_fraction: float = 0.5


@dataclass(frozen=True)
class AppearanceSettings:
    """How colour and detail of a surface point are taken from the views.

    Attributes:
        min_cosine: least cosine between the normal and the direction to the camera.
        cosine_power: of the cosine, in the weight of a view.
        firm_alpha: least alpha of a pixel that counts: colour under a soft edge is a guess of the matte.
        fine_px: standard deviation of a blur; detail is what it removes.
        around_px: standard deviation of the neighbourhood that detail is averaged over.
        depth_slack_px: by how many widths of a pixel a point may lie behind the surface's depth at its pixel: depth
            changes within a pixel where the surface is seen at a slant.
    """

    min_cosine: float = 0.15
    cosine_power: int = 3
    firm_alpha: float = 0.95
    fine_px: float = 1.5
    around_px: float = 4.0
    depth_slack_px: int = 3


@dataclass(frozen=True)
class SilhouetteSettings:
    """When a splat counts as outside a silhouette.

    Attributes:
        margin_fraction: distance from the silhouette that is still allowed, as a fraction of the picture's width.
        min_margin_px: least such distance.
        covered_alpha: least alpha of a pixel of the silhouette.
        certain_weight: least weight of a pixel that may call a splat outside.
    """

    margin_fraction: float = 0.006
    min_margin_px: int = 2
    covered_alpha: float = 0.05
    certain_weight: float = 0.5


_START = InitialisationSettings()
_APPEARANCE = AppearanceSettings()
_SILHOUETTE = SilhouetteSettings()
_MIN_TRANSMITTANCE = 1e-6
"""Of a splat that is merged with others, so that its optical depth is finite."""
_CUT_TOLERANCE = 0.02
"""How far above the floor a face of the visual hull may reach and still belong to the cut, in cells."""


def splats_on_surface(
    views: Views,
    surface: Mesh,
    *,
    count: int,
    sh_degree: int,
    rng: np.random.Generator,
    flatness: float = _START.flatness,
) -> Splats:
    """Place ``count`` discs on a surface, more where the views show more detail, as wide as neighbours are apart.

    The discs lie one pixel's width under the surface: many opaque discs seen edge-on at an occluding contour shift it
    outward by about that much. Colour is the mean over the views that see the point, weighted
    by cosine and by ``views.weight``; points no view sees take the colour of the nearest that is seen.

    Args:
        flatness: thickness of a disc over its width.

    Raises:
        FitError: the surface has no area, or no view sees any of it.
    """
    depths = [mesh_raster.rasterize(surface.vertices, surface.faces, views.cameras, i).depth for i in range(len(views))]
    probes, normals = _sample(surface, np.ones(len(surface.faces)), min(count, _START.probes), rng)
    _, detail, _ = _appearance(views, depths, probes, normals)
    points, normals = _sample(surface, _density(surface, probes, detail), count, rng)
    colours, _, seen = _appearance(views, depths, points, normals)
    if not seen.any():
        raise FitError("no view sees any of the start surface: do the cameras and the mesh share one world frame?")
    if not seen.all():
        log.debug("%d of %d start points are seen by no view", int((~seen).sum()), count)
        colours[~seen] = colours[seen][cKDTree(points[seen]).query(points[~seen])[1]]
    neighbours = min(_START.n_neighbours, len(points))
    spacing = cKDTree(points).query(points, k=neighbours)[0].reshape(len(points), -1)[:, 1:].mean(axis=1)
    width = np.maximum(_START.width_over_spacing * spacing, _START.min_width)
    sh = np.zeros((len(points), (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (colours - 0.5) / SH_C0
    return Splats(
        means=float_tensor(points - pixel_width(views, points) * normals),
        scales=float_tensor(np.stack([width, width, flatness * width], axis=1)),
        quats_wxyz=float_tensor(quats_from_z(normals)),
        opacities=torch.full((len(points),), _START.opacity),
        sh=float_tensor(sh),
    )


def merge_fits(fits: Sequence[Splats]) -> Splats:
    """Merge the splats of several fits of one head, with opacities that make them together as opaque as one fit.

    Each optical depth, -log(1 - opacity), is divided by the number of fits, as where one splat is split (Kheradmand
    et al., 3D Gaussian Splatting as Markov Chain Monte Carlo, 2024). What a single fit alone has fades; what all have
    stays.
    """
    if len(fits) == 1:
        return fits[0]
    every = concatenate_splats(fits)
    transmitted = (1 - every.opacities).clamp(min=_MIN_TRANSMITTANCE)
    return replace(every, opacities=1 - transmitted ** (1 / len(fits)))


def concatenate_splats(parts: Sequence[Splats]) -> Splats:
    """Return the splats of all parts, one part after the other."""
    return Splats(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("means", "scales", "quats_wxyz", "opacities", "sh")
        )
    )


def select_splats(splats: Splats, chosen: Int64[torch.Tensor, "k"]) -> Splats:
    """Return some of the splats, differentiable in them."""
    return Splats(*(getattr(splats, name)[chosen] for name in ("means", "scales", "quats_wxyz", "opacities", "sh")))


def open_visual_hull(views: Views, *, cells: int = 64) -> Mesh:
    """Return the visual hull's surface without its cut through the neck, continued below as far as the masks reach.

    Args:
        cells: of the hull's grid along its longest side.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    hull = visual_hull(views.cameras, silhouettes(views.alpha), cells=cells)
    vertices, faces = hull.mesh.vertices, hull.mesh.faces
    if hull.floor_y is not None:
        faces = faces[~np.all(vertices[faces, 1] <= hull.floor_y + _CUT_TOLERANCE * hull.cell, axis=1)]
    return Mesh(
        np.concatenate([vertices, hull.skirt.vertices]), np.concatenate([faces, hull.skirt.faces + len(vertices)])
    )


def outside_silhouettes(
    means: Float[np.ndarray, "n 3"], views: Views, *, max_outlier_views: int = 0
) -> Bool[np.ndarray, "n"]:
    """Check which means lie outside silhouettes by more than a few pixels, in more than ``max_outlier_views`` views.

    Pixels of a small weight count as inside.
    """
    margin_px = max(_SILHOUETTE.min_margin_px, round(_SILHOUETTE.margin_fraction * views.cameras.width_px))
    votes = np.zeros(len(means), np.int32)
    for index in range(len(views)):
        pixels = project(means, views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        x, y, inside = pixel_index(views, pixels)
        covered = (views.alpha[index] > _SILHOUETTE.covered_alpha) | (views.weight[index] < _SILHOUETTE.certain_weight)
        near = cv2.dilate(covered.astype(np.uint8), np.ones((2 * margin_px + 1,) * 2, np.uint8)) > 0
        votes[inside] += ~near[y[inside], x[inside]]
    return votes > max_outlier_views


def pixel_width(views: Views, points: Float[np.ndarray, "n 3"]) -> float:
    """Return the width of a pixel at the head, head units, median over the views."""
    distance = np.linalg.norm(camera_centres(views.cameras) - points.mean(axis=0), axis=1)
    return float(np.median(distance / views.cameras.intrinsics_px[:, 0, 0]))


def float_tensor(values: Float[np.ndarray, "..."]) -> Float[torch.Tensor, "..."]:
    """Return a copy as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _density(surface: Mesh, probes: Float[np.ndarray, "n 3"], detail: Float[np.ndarray, "n"]) -> Float[np.ndarray, "f"]:
    """Return the density of splats on each face, by area: an even part and one that grows with the detail around."""
    if not (mean := detail.mean()) > 0:
        return np.ones(len(surface.faces))
    nearest = cKDTree(probes).query(surface.vertices[surface.faces].mean(axis=1))[1]
    return _START.uniform_fraction + (1 - _START.uniform_fraction) * detail[nearest] / mean


def _sample(
    surface: Mesh, density: Float[np.ndarray, "f"], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Sample points and smooth normals, by area times density."""
    try:
        face, weights = scatter_on_faces(surface.vertices, surface.faces, count, density=density, rng=rng)
    except ValueError as error:
        raise FitError(
            f"the start surface has no area ({len(surface.faces)} faces): nothing to put splats on"
        ) from error
    faces, weights = surface.faces[face], weights[..., None]
    normals = (vertex_normals(surface.vertices, surface.faces)[faces] * weights).sum(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return (surface.vertices[faces] * weights).sum(axis=1), normals


def quats_from_z(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Return the shortest rotations, wxyz, that take +Z to ``normals``; half a turn about X for -Z."""
    x, y, z = normals.T
    quats = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=1)
    quats[z < -1 + 1e-9] = (0, 1, 0, 0)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def z_axes(quats_wxyz: Float[torch.Tensor, "n 4"]) -> Float[torch.Tensor, "n 3"]:
    """Return +Z rotated by unit quaternions: the normals of splats whose third axis is the shortest."""
    w, x, y, z = quats_wxyz.unbind(1)
    return torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1)


def _appearance(
    views: Views,
    depths: Sequence[Float[np.ndarray, "h w"]],
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Return mean colour and detail of each point over the views that see it, 0 if none does, and whether any does.

    Args:
        depths: of the surface in each view.
    """
    total, total_weight = np.zeros((len(points), 4)), np.zeros(len(points))
    for index, centre in enumerate(camera_centres(views.cameras)):
        toward = centre - points
        cosine = (toward * normals).sum(axis=1) / np.linalg.norm(toward, axis=1)
        facing = np.flatnonzero(cosine > _APPEARANCE.min_cosine)
        pixels = project(points[facing], views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        unoccluded = _unoccluded(views, depths[index], index, pixels)
        visible, row_column = facing[unoccluded], pixels[unoccluded, 1::-1].T - 0.5
        firm = (views.alpha[index] > _APPEARANCE.firm_alpha).astype(np.float32)
        planes = np.dstack([views.rgb[index], local_detail(views.rgb[index], firm)])
        pixel_weight = map_coordinates(views.weight[index] * firm, row_column, order=0, mode="nearest")
        weight = cosine[visible] ** _APPEARANCE.cosine_power * pixel_weight
        for channel in range(4):
            total[visible, channel] += weight * map_coordinates(
                planes[..., channel], row_column, order=1, mode="nearest"
            )
        total_weight[visible] += weight
    seen = total_weight > 0
    total[seen] /= total_weight[seen, None]
    return total[:, :3], total[:, 3], seen


def local_detail(rgb: Float[np.ndarray, "h w 3"], firm: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return how far colours lie from their blurred surroundings, root of the mean square nearby, over firm pixels."""
    fine = rgb - _masked_blur(rgb, firm, _APPEARANCE.fine_px)
    return np.sqrt(_masked_blur((fine**2).sum(axis=2, keepdims=True), firm, _APPEARANCE.around_px)[..., 0])


def _masked_blur(
    picture: Float[np.ndarray, "h w c"], firm: Float[np.ndarray, "h w"], sigma_px: float
) -> Float[np.ndarray, "h w c"]:
    total = cv2.GaussianBlur(picture * firm[..., None], (0, 0), sigma_px).reshape(picture.shape)
    return total / np.maximum(cv2.GaussianBlur(firm, (0, 0), sigma_px), 1e-3)[..., None]


def _unoccluded(
    views: Views, depth: Float[np.ndarray, "h w"], index: int, pixels: Float[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    """Check which points lie inside the picture and are not occluded by the surface."""
    x, y, inside = pixel_index(views, pixels)
    slack = _APPEARANCE.depth_slack_px * pixels[:, 2] / views.cameras.intrinsics_px[index, 0, 0]
    return inside & (pixels[:, 2] < depth[y, x] + slack)


def pixel_index(
    views: Views, pixels: Float[np.ndarray, "n 3"]
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Return column and row of projected points, and which lie in the picture; (0, 0) for those that do not."""
    size = np.array([views.cameras.width_px, views.cameras.height_px])
    inside = (pixels[:, 2] > 0) & (pixels[:, :2] >= 0).all(axis=1) & (pixels[:, :2] < size).all(axis=1)
    column, row = np.where(inside[:, None], pixels[:, :2], 0).astype(np.int64).T
    return column, row, inside
