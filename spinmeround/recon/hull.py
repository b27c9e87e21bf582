"""The visual hull: the largest solid whose silhouette agrees with every mask. The surface fits start from it.

A mask that ends where the picture ends is cut there: what lies beyond the border is unknown and is not carved.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.ndimage import label
from scipy.optimize import linprog
from scipy.spatial import cKDTree
from skimage.measure import find_contours, marching_cubes

from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres
from spinmeround.scratch import planes
from spinmeround.types import Cameras, Mesh

log = logging.getLogger(__name__)

_MIN_BORDER_FRACTION = 0.02
"""A mask is cut by a side of the picture if it covers more than this fraction of that side."""
_MAX_SPECK_FRACTION = 0.02
"""Specks and holes below this fraction of a mask's area are removed."""
_SUBPIXEL_BAND_PX = 24.0
"""Distances below this are measured to the sub-pixel contour, all others from pixel to pixel."""
_MIN_DEPTH = 1e-6
"""Voxels nearer to a camera's plane than this, or behind it, are not carved by it. Head units."""


@dataclass(frozen=True)
class _BorderSettings:
    """How a head that the pictures cut goes on beyond their borders.

    Attributes:
        growth: pixels by which the mask may widen for each pixel beyond the border.
        max_margin: how far beyond the border the head may go on, picture widths.
        close_up: views whose field is narrower than this fraction of the median limit nothing beyond their borders.
        neck_half_width: most half width of a neck, against the camera's distance; what is wider at the lower border
            is hair or shoulders.
        skirt: how far the hull goes on below the cut through the neck, fraction of its height.
    """

    growth: float
    max_margin: float
    close_up: float
    neck_half_width: float
    skirt: float


_BORDER = _BorderSettings(growth=2.0, max_margin=0.06, close_up=0.7, neck_half_width=0.06, skirt=0.15)


@dataclass(frozen=True)
class Silhouettes:
    """Masks as signed distances.

    Attributes:
        distance_px: signed distance to the silhouette's contour in pixels, positive inside. The contour is where alpha
            crosses one half, to a fraction of a pixel; picture borders are not part of it.
        cut: whether the mask runs over the picture's left, top, right, bottom border.
    """

    distance_px: Float[np.ndarray, "v h w"]
    cut: Bool[np.ndarray, "v 4"]


@dataclass(frozen=True)
class Hull:
    """A closed solid and how it was bounded.

    Attributes:
        mesh: watertight, outward, world frame.
        cell: edge of a voxel, head units.
        floor_y: world height of the flat cut through the neck; None if the views show the lower end.
        skirt: open surface of what the masks show below that cut; no faces if there is no cut. It is not part of the
            result, but it occludes and is occluded in the pictures.
        field: signed distance to the silhouette cones at the voxels' corners, negative inside the solid with its skirt.
        low: world position of the field's first sample.
    """

    mesh: Mesh
    cell: float
    floor_y: float | None
    skirt: Mesh
    field: Float[np.ndarray, "x y z"]
    low: Float[np.ndarray, "3"]


def silhouettes(alpha: Float[np.ndarray, "v h w"]) -> Silhouettes:
    """Return the signed distances of soft masks.

    Specks smaller than 2 % of a mask's largest part are dropped, and holes filled.

    Raises:
        InputError: a mask is empty.
    """
    (distance_px,) = planes(alpha.shape)
    cut = np.zeros((len(alpha), 4), bool)
    for view, mask in enumerate(alpha):
        clean = without_holes(_without_specks(mask, view))
        distance_px[view] = _signed_distance_px(clean)
        inside = clean > 0.5
        sides = (inside[:, 0], inside[0], inside[:, -1], inside[-1])
        cut[view] = [side.mean() > _MIN_BORDER_FRACTION for side in sides]
    return Silhouettes(distance_px, cut)


def visual_hull(cameras: Cameras, masks: Silhouettes, *, cells: int = 64, max_outlier_views: int = 0) -> Hull:
    """Carve a grid of voxels by silhouettes and mesh the boundary of its largest part with marching cubes.

    Args:
        cells: voxels along the longest side.
        max_outlier_views: so many views may contradict a voxel that stays. The box that all masks span is never left.

    Raises:
        InputError: fewer than two views, or no place that all masks agree on.
    """
    if len(cameras) < 2:
        raise InputError(
            f"a surface needs at least two views with known cameras, got {len(cameras)}; add views from other sides"
        )
    floor_y = _neck_floor(cameras, masks)
    low, high = _bounding_box(cameras, masks, floor_y)
    cell = float((high - low).max() / (cells - 4))
    low = low - 2 * cell
    if floor_y is not None:
        low[1] -= _BORDER.skirt * (high - low)[1]
    shape = np.ceil((high - low) / cell).astype(int) + 3
    field = np.empty(shape, np.float32)
    margins_px = _margins_px(cameras, masks, floor_y)
    _carve(field, low, cell, *_camera_arrays(cameras), masks.distance_px, margins_px, _BORDER.growth, max_outlier_views)
    skirt = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    solid = largest_solid(field)
    outside = solid
    if floor_y is not None:
        whole = _boundary(solid, low, cell)
        skirt = Mesh(whole.vertices, whole.faces[(whole.vertices[whole.faces, 1] < floor_y).all(1)])
        heights = low[1] + cell * np.arange(shape[1])
        outside = largest_solid(np.maximum(field, (floor_y - heights)[None, :, None].astype(np.float32)))
    mesh = _boundary(outside, low, cell)
    log.debug("hull: %s voxels of %.4f, %d vertices, floor %s", shape, cell, len(mesh.vertices), floor_y)
    return Hull(mesh, cell, floor_y, skirt, solid, low)


def _boundary(field: Float[np.ndarray, "x y z"], low: Float[np.ndarray, "3"], cell: float) -> Mesh:
    """Return the field's zero set as an outward mesh in the world frame."""
    # Kept off zero by a hundredth of a cell: marching cubes through a grid point would make faces without area.
    field = np.copysign(np.clip(np.abs(field), 0.01 * cell, 4 * cell), field)
    vertices, faces, _, _ = marching_cubes(field, 0.0)
    return _outward(vertices.astype(np.float64) * cell + low, faces.astype(np.int64))


def _without_specks(mask: Float[np.ndarray, "h w"], view: int) -> Float[np.ndarray, "h w"]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8), connectivity=8)
    if count < 2:
        raise InputError(f"the mask of view {view} is empty; remove that view or repair its mask")
    areas = stats[1:, cv2.CC_STAT_AREA]
    specks = 1 + np.flatnonzero(areas < _MAX_SPECK_FRACTION * areas.max())
    return np.where(np.isin(labels, specks), 0.0, mask) if len(specks) else mask


def without_holes(mask: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the mask with enclosed holes below 2 % of it filled: one view's hole is a tunnel through the hull."""
    inside = mask > 0.5
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~inside).astype(np.uint8), connectivity=4)
    height, width = mask.shape
    x, y, w, h, area = stats.T
    holes = (x > 0) & (y > 0) & (x + w < width) & (y + h < height) & (area < _MAX_SPECK_FRACTION * inside.sum())
    holes[0] = False
    if not holes.any():
        return mask
    # Soft masks rise over a few pixels at a hole's edge: those are filled too.
    filled = cv2.dilate(holes[labels].astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.maximum(mask, filled.astype(mask.dtype))


def _signed_distance_px(mask: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return distances from pixel to pixel, but near the contour, where targets are read, to the sub-pixel contour."""
    inside = mask > 0.5
    if inside.all():
        return np.full(mask.shape, max(mask.shape), np.float32)
    out = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) - 0.5
    out = np.where(inside, out, 0.5 - cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5))
    points = [_densified(contour) for contour in find_contours(mask.astype(np.float32), 0.5)]
    band = np.abs(out) < _SUBPIXEL_BAND_PX
    nearest, _ = cKDTree(np.concatenate(points)).query(np.argwhere(band))
    out[band] = np.where(inside[band], nearest, -nearest)
    return out.astype(np.float32)


def _densified(contour: Float[np.ndarray, "n 2"], per_segment: int = 4) -> Float[np.ndarray, "m 2"]:
    """Return the contour with ``per_segment`` points on each of its segments."""
    fraction = (np.arange(per_segment) / per_segment)[:, None, None]
    return (contour[:-1] * (1 - fraction) + contour[1:] * fraction).reshape(-1, 2)


def _neck_floor(cameras: Cameras, masks: Silhouettes) -> float | None:
    """Return the height at which the pictures' lower borders cut the near side of the neck.

    Above it nearly everything is seen by nearly all views; below it, less and less. None if most views are not cut.
    """
    cut = np.flatnonzero(masks.cut[:, 3])
    if 2 * len(cut) <= len(cameras):
        return None
    centre = _nearest_point_to_rays(cameras, masks)
    heights = []
    eyes = camera_centres(cameras)
    for view in cut:
        columns = np.flatnonzero(masks.distance_px[view, -1] > 0)
        pixel = np.array([columns.mean() + 0.5, cameras.height_px, 1.0])
        ray = pixel @ np.linalg.inv(cameras.intrinsics_px[view]).T @ cameras.camera_from_world[view, :3, :3]
        along = ((centre - eyes[view]) * ray)[[0, 2]].sum() / max((ray[[0, 2]] ** 2).sum(), 1e-12)
        half_width = min(0.5 * len(columns) / cameras.intrinsics_px[view, 0, 0], _BORDER.neck_half_width)
        heights.append(eyes[view][1] + along * (1 - half_width) * ray[1])
    return float(np.median(heights))


def _nearest_point_to_rays(cameras: Cameras, masks: Silhouettes) -> Float[np.ndarray, "3"]:
    """Return the point nearest to the rays through the centres of the masks, by least squares."""
    # Summed one by one, not by geometry.ray_normal_equations: that differs in the last bits.
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    for view, eye in enumerate(camera_centres(cameras)):
        rows, columns = np.nonzero(masks.distance_px[view] > 0)
        pixel = np.array([columns.mean() + 0.5, rows.mean() + 0.5, 1.0])
        ray = pixel @ np.linalg.inv(cameras.intrinsics_px[view]).T @ cameras.camera_from_world[view, :3, :3]
        ray /= np.linalg.norm(ray)
        across = np.eye(3) - np.outer(ray, ray)
        matrix += across
        right += across @ eye
    return np.linalg.lstsq(matrix, right, rcond=None)[0]


def _bounding_box(
    cameras: Cameras, masks: Silhouettes, floor_y: float | None
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return the smallest axis-aligned box around the intersection of the pyramids that the masks' own boxes span."""
    normals, offsets = _half_spaces(cameras, masks, floor_y)
    box = np.zeros((2, 3))
    for axis in range(3):
        for end, sign in enumerate((1.0, -1.0)):
            found = linprog(sign * np.eye(3)[axis], A_ub=normals, b_ub=offsets, bounds=(None, None))
            if found.status == 2:
                raise InputError(
                    "the masks of the views meet nowhere in space; check that the cameras belong to these pictures "
                    "and that poses are camera-to-world in the frame the file states"
                )
            if found.status != 0:
                raise InputError(
                    "the views do not bound the head in space: they look along one line; add views from other sides"
                )
            box[end, axis] = found.x[axis]
    return box[0], box[1]


def _margins_px(cameras: Cameras, masks: Silhouettes, floor_y: float | None) -> Float[np.ndarray, "v 4"]:
    """Return how far the head may go on beyond each view's left, top, right and bottom border; infinite if unknown.

    A head that the pictures cut is assumed to end soon after; else hair cut in every profile would trail off without
    end. Close-ups see much less than the other views do and set no limit. The neck has its own floor.
    """
    centre = _nearest_point_to_rays(cameras, masks)
    distance = np.linalg.norm(camera_centres(cameras) - centre, axis=1)
    field_width = distance * cameras.width_px / cameras.intrinsics_px[:, 0, 0]
    margins_px = np.where(masks.cut, _BORDER.max_margin * cameras.width_px, np.inf)
    margins_px[field_width < _BORDER.close_up * np.median(field_width)] = np.inf
    if floor_y is not None:
        margins_px[:, 3] = np.inf
    return margins_px


def _half_spaces(
    cameras: Cameras, masks: Silhouettes, floor_y: float | None
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return planes through each camera and each side of its mask's box, with ``normal · x <= offset`` inside."""
    normals, offsets = [], []
    margins_px = np.where(masks.cut, _margins_px(cameras, masks, floor_y), 0.0)
    for view, eye in enumerate(camera_centres(cameras)):
        rows, columns = np.nonzero(masks.distance_px[view] > 0)
        lines = ((-1, 0, columns.min()), (0, -1, rows.min()), (1, 0, -columns.max() - 1), (0, 1, -rows.max() - 1))
        pose, intrinsics = cameras.camera_from_world[view, :3, :3], cameras.intrinsics_px[view]
        for (x, y, offset), margin_px in zip(lines, margins_px[view], strict=True):
            if not np.isfinite(margin_px):
                continue
            normal = np.array([x, y, offset - margin_px], np.float64) @ intrinsics @ pose
            normal /= np.linalg.norm(normal)
            normals.append(normal)
            offsets.append(normal @ eye)
        normals.append(-pose[2])
        offsets.append(-pose[2] @ eye)
    if floor_y is not None:
        normals.append(np.array([0.0, -1.0, 0.0]))
        offsets.append(-floor_y)
    return np.stack(normals), np.array(offsets)


def _camera_arrays(cameras: Cameras) -> tuple[Float[np.ndarray, "v 3 4"], Float[np.ndarray, "v"]]:
    """Return projection matrices and mean focal lengths in pixels."""
    projections = cameras.intrinsics_px @ cameras.camera_from_world[:, :3]
    return np.ascontiguousarray(projections), cameras.intrinsics_px[:, [0, 1], [0, 1]].mean(1)


@numba.njit(parallel=True, cache=True)
def _carve(field, low, cell, projections, focals_px, distance_px, margins_px, growth, max_outlier_views):
    views, height, width = distance_px.shape
    for i in numba.prange(field.shape[0]):
        farthest = np.empty(max_outlier_views + 1)
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                farthest[:] = -np.inf
                x, y, z = low[0] + cell * i, low[1] + cell * j, low[2] + cell * k
                for v in range(views):
                    p = projections[v]
                    depth = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
                    if depth <= _MIN_DEPTH:
                        continue
                    column = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / depth - 0.5
                    row = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / depth - 0.5
                    c = min(max(column, 0.0), width - 1.001)
                    r = min(max(row, 0.0), height - 1.001)
                    # Beyond the border the silhouette is unknown and may widen.
                    beyond = np.hypot(column - c, row - r)
                    ic, ir = int(c), int(r)
                    fc, fr = c - ic, r - ir
                    top = distance_px[v, ir, ic] * (1 - fc) + distance_px[v, ir, ic + 1] * fc
                    bottom = distance_px[v, ir + 1, ic] * (1 - fc) + distance_px[v, ir + 1, ic + 1] * fc
                    inside_px = top * (1 - fr) + bottom * fr + growth * beyond
                    inside_px = min(inside_px, margins_px[v, 0] + column, margins_px[v, 1] + row)
                    inside_px = min(inside_px, margins_px[v, 2] + width - 1 - column)
                    inside_px = min(inside_px, margins_px[v, 3] + height - 1 - row)
                    outside = -inside_px * depth / focals_px[v]
                    for rank in range(max_outlier_views + 1):
                        if outside > farthest[rank]:
                            outside, farthest[rank] = farthest[rank], outside
                field[i, j, k] = farthest[max_outlier_views]


def largest_solid(field: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    """Return the field with only its largest solid part, cavities filled, and at least one sample of air around it."""
    solid, count = label(field < 0)
    if count == 0:
        raise InputError(
            "no place in space lies inside all masks; check that the cameras belong to these pictures and that the "
            "masks are white on the head"
        )
    main = solid == 1 + np.argmax(np.bincount(solid.ravel())[1:])
    air, _ = label(~main)
    cavity = ~main & (air != air[0, 0, 0])
    out = np.where(main | (field > 0), field, -field)
    out[cavity] = -np.abs(out[cavity])
    margin = np.ones(out.shape, bool)
    margin[1:-1, 1:-1, 1:-1] = False
    out[margin] = np.abs(out[margin])
    return out


def _outward(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Mesh:
    corners = vertices[faces] - vertices.mean(0)
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return Mesh(vertices, faces if volume > 0 else faces[:, ::-1].copy())
