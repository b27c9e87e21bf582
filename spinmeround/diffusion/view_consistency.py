"""Photo consistency of the views of one head: a weight for each pixel.

The masks carve a coarse visual hull, which gives each view a depth map and so the visibility of its pixels in other
views. The weight of a pixel falls with the distance of its normal and colour from those of the neighbouring views at
the same point, and is low where silhouettes contradict each other. All of it is computed on small, smoothed pictures,
since the hull is only roughly the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import binary_erosion

from spinmeround.geometry import camera_centres, pixel_rays_world, project, resized
from spinmeround.images import resize
from spinmeround.types import Cameras

MIN_WEIGHT = 0.1
"""No weight is 0: where all views disagree, a surface must still be fitted."""
_MIN_VIEWS = 3
"""With fewer, a disagreement does not tell which view is wrong."""


@dataclass(frozen=True)
class _HullSettings:
    """The coarse visual hull.

    Attributes:
        picture_px, cells: sides of the small pictures and of the grid, whose cells are a little wider than a pixel.
        inside: alpha above which a pixel is head.
        least_votes: fraction of the views whose masks must hold a cell: all of eight, and all but a few of 48.
        least_views: fraction of the views whose pictures must hold it: the pictures hold the head.
        half_width: of the grid, as a fraction of the picture's width at the depth of the head; the pictures cut it.
    """

    picture_px: int = 96
    cells: int = 72
    inside: float = 0.5
    least_votes: float = 0.92
    least_views: float = 0.5
    half_width: float = 0.65


@dataclass(frozen=True)
class _ConsistencySettings:
    """How disagreement becomes a weight.

    Attributes:
        contradicted: weight where a silhouette is contradicted by the hull.
        unseen: weight where fewer than ``least_neighbours`` neighbours see the point.
        least_neighbours: that must see a point.
        neighbours, least_cosine: most views that a view is compared with, and least cosine of their optical axes (70
            degrees).
        half_normal, half_colour: chord between unit normals, and distance of colours, at which the weight is halved.
        occlusion_cells: difference of depths, in cells, up to which a point is visible in another view.
        opaque: alpha above which another view's colour at the point is compared.
        edge_px: side of the kernel of the band along silhouettes, where one cell decides and no weight is taken away.
        blur_px: standard deviation of the blur of the weights.
    """

    contradicted: float = 0.2
    unseen: float = 0.7
    least_neighbours: int = 2
    neighbours: int = 4
    least_cosine: float = 0.35
    half_normal: float = 0.4
    half_colour: float = 0.15
    occlusion_cells: float = 3.0
    opaque: float = 0.9
    edge_px: int = 5
    blur_px: float = 1.0


_HULL = _HullSettings()
_CONSISTENCY = _ConsistencySettings()
_WORK_PX = _HULL.picture_px


def photo_consistency(
    cameras: Cameras,
    rgb: Float[np.ndarray, "v h w 3"],
    normals_world: Float[np.ndarray, "v h w 3"],
    alpha: Float[np.ndarray, "v h w"],
) -> Float[np.ndarray, "v h w"]:
    """Return a weight in [0.1, 1] for each pixel; 1 everywhere with fewer than three views.

    Args:
        cameras: around one head, all looking inward.
        rgb: straight colours.
        normals_world: unit inside ``alpha``, 0 outside.
    """
    if len(cameras) < _MIN_VIEWS:
        return np.ones(alpha.shape, np.float32)
    small = resized(cameras, _WORK_PX, _WORK_PX)
    masks = np.stack([resize(mask, _WORK_PX, _WORK_PX) for mask in alpha])
    features = np.stack([_shrink(np.dstack([c, n]), a) for c, n, a in zip(rgb, normals_world, alpha, strict=True)])
    hull = _VisualHull(small, masks)
    depths = np.stack([hull.depth(small, view) for view in range(len(small))])
    weights = []
    for view in range(len(small)):
        weight = _view_weight(small, view, features, masks, depths, hull.cell)
        smooth = cv2.GaussianBlur(weight, (0, 0), _CONSISTENCY.blur_px)
        weights.append(cv2.resize(smooth, alpha.shape[:0:-1], interpolation=cv2.INTER_LINEAR))
    return np.clip(np.stack(weights), MIN_WEIGHT, 1).astype(np.float32)


def _shrink(picture: Float[np.ndarray, "h w 6"], alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "s s 6"]:
    """Shrink by averaging over the head alone, so that the background does not bleed into the silhouette."""
    premultiplied = np.ascontiguousarray(picture * alpha[..., None], np.float32)
    total = np.concatenate([resize(premultiplied[..., k : k + 3], _WORK_PX, _WORK_PX) for k in (0, 3)], axis=-1)
    return total / np.maximum(resize(alpha, _WORK_PX, _WORK_PX), 1e-3)[..., None]


class _VisualHull:
    """A grid of cells around the point the cameras look at, each inside or outside by vote of the masks."""

    def __init__(self, cameras: Cameras, masks: Float[np.ndarray, "v s s"]) -> None:
        centre, radius = _look_at_point(cameras), _half_width(cameras)
        self.cell = 2 * radius / (_HULL.cells - 1)
        axis = np.arange(_HULL.cells) * self.cell
        points = centre - radius + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        votes, seen = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
        for view, mask in enumerate(masks):
            pixels = project(points, cameras.camera_from_world[view], cameras.intrinsics_px[view])[:, :2]
            inside, covered = _sample_nearest(mask > _HULL.inside, pixels)
            votes += covered & inside
            seen += inside
        occupied = (votes > _HULL.least_votes * seen) & (seen > _HULL.least_views * len(masks))
        occupied = occupied.reshape((_HULL.cells,) * 3)
        self._surface = points[(occupied & ~binary_erosion(occupied)).ravel()]

    def depth(self, cameras: Cameras, view: int) -> Float[np.ndarray, "s s"]:
        """Return the depth of the nearest cell by pixel, 0 where there is none."""
        where = project(self._surface, cameras.camera_from_world[view], cameras.intrinsics_px[view])
        inside = ((where[:, :2] >= 0) & (where[:, :2] < _WORK_PX)).all(1)
        x, y = where[inside, :2].astype(np.int32).T
        nearest = np.full((_WORK_PX, _WORK_PX), np.inf, np.float32)
        np.minimum.at(nearest, (y, x), where[inside, 2].astype(np.float32))
        nearest = cv2.erode(nearest, np.ones((3, 3), np.uint8))  # a cell is wider than a pixel
        return np.where(np.isfinite(nearest), nearest, 0)


def _look_at_point(cameras: Cameras) -> Float[np.ndarray, "3"]:
    """Return the point nearest to all optical axes, by least squares."""
    axes, centres = cameras.camera_from_world[:, 2, :3], camera_centres(cameras)
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    total = projectors.sum(0) + 1e-9 * np.eye(3)
    return np.linalg.solve(total, (projectors @ centres[..., None]).sum(0)[:, 0])


def _half_width(cameras: Cameras) -> float:
    """Return half the side of the grid."""
    distance = np.linalg.norm(camera_centres(cameras) - _look_at_point(cameras), axis=1)
    return float(_HULL.half_width * np.max(distance * cameras.width_px / cameras.intrinsics_px[:, 0, 0]))


def _sample_nearest(
    picture: Shaped[np.ndarray, "s s *c"], pixels: Float[np.ndarray, "n 2"]
) -> tuple[Bool[np.ndarray, "n"], Shaped[np.ndarray, "n *c"]]:
    """Return whether positions lie inside the picture, and its nearest values."""
    inside = np.all((pixels >= 0) & (pixels < _WORK_PX), axis=1)
    x, y = np.clip(np.floor(pixels), 0, _WORK_PX - 1).astype(np.int32).T
    return inside, picture[y, x]


def _view_weight(
    cameras: Cameras,
    view: int,
    features: Float[np.ndarray, "v s s 6"],
    masks: Float[np.ndarray, "v s s"],
    depths: Float[np.ndarray, "v s s"],
    cell: float,
) -> Float[np.ndarray, "s s"]:
    """Return the weight of one view's pixels, at the working size.

    Args:
        features: colours, then normals.
        depths: of the hull, 0 where there is none.
        cell: width of a cell.
    """
    s = _CONSISTENCY
    in_hull, covered = depths[view] > 0, masks[view] > _HULL.inside
    weight = np.where(covered == in_hull, 1, s.contradicted).astype(np.float32)
    weight[_near_silhouette(covered)] = 1.0  # there a cell more or less decides, not the views
    both = covered & in_hull
    if not both.any():
        return weight
    rays = pixel_rays_world(cameras.camera_from_world[view], cameras.intrinsics_px[view], _WORK_PX, _WORK_PX)
    centres = camera_centres(cameras)
    points = centres[view] + depths[view][both][:, None] * rays[both]
    values, counts = np.zeros((len(points), 6)), np.zeros(len(points))
    for other in _neighbours(cameras, view):
        where = project(points, cameras.camera_from_world[other], cameras.intrinsics_px[other])
        inside, depth = _sample_nearest(depths[other], where[:, :2])
        _, value = _sample_nearest(features[other], where[:, :2])
        _, mask = _sample_nearest(masks[other], where[:, :2])
        visible = inside & (np.abs(depth - where[:, 2]) < s.occlusion_cells * cell) & (mask > s.opaque)
        values[visible] += value[visible]
        counts[visible] += 1
    known = counts >= s.least_neighbours
    residual = (values / np.maximum(counts, 1)[:, None] - features[view][both]).reshape(-1, 2, 3)
    colour, normal = np.linalg.norm(residual, axis=2).T
    consistency = 1 / (1 + (colour / s.half_colour) ** 2 + (normal / s.half_normal) ** 2)
    weight[both] = np.where(known, consistency, s.unseen)
    return weight


def _neighbours(cameras: Cameras, view: int) -> list[int]:
    """Return the nearest views around the head, without this one."""
    axes = cameras.camera_from_world[:, 2, :3]
    cosines = axes @ axes[view]
    order = [int(other) for other in np.argsort(-cosines, kind="stable") if other != view]
    return [other for other in order[: _CONSISTENCY.neighbours] if cosines[other] > _CONSISTENCY.least_cosine]


def _near_silhouette(covered: Bool[np.ndarray, "s s"]) -> Bool[np.ndarray, "s s"]:
    mask = covered.astype(np.uint8)
    kernel = np.ones((_CONSISTENCY.edge_px, _CONSISTENCY.edge_px), np.uint8)
    return cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
