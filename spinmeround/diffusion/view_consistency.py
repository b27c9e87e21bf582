"""How far the views of one head agree with each other: the trust stage two may have in each of their pixels.

The masks carve a coarse solid, which says what of a view other views see as well. A pixel is trusted less the more its
normal and its colour differ from what its neighbours around the head show of the same place, and little where the
outlines contradict each other. All of it on small, smoothed pictures: the carved solid is only roughly the head.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import binary_erosion

from spinmeround.geometry import camera_centres, pixel_rays_world, project, resized
from spinmeround.images import resize
from spinmeround.types import Cameras

LEAST = 0.1
"""No pixel is wholly distrusted: where all views disagree, something must still be built."""
_CONTRADICTED, _UNSEEN = 0.2, 0.7
"""Trust where an outline is contradicted, and where fewer than two neighbours show the place."""
_WORK_PX, _CELLS = 96, 72
"""Sides of the small pictures and of the carved solid, whose cells are then a little wider than a pixel."""
_VOTE = 0.92
"""Share of the views that must show a cell as head: all of eight, and all but a few of 48."""
_NEIGHBOURS, _NEIGHBOUR_COSINE = 4, 0.35
"""Views a view is compared with, at most, and how far apart they may look: 70 degrees."""
_DOUBTFUL_NORMAL, _DOUBTFUL_COLOUR = 0.4, 0.15
"""Chord between unit normals, and distance of colours, at which half the trust is gone."""


def cross_view_trust(
    cameras: Cameras,
    rgb: Float[np.ndarray, "v h w 3"],
    normals_world: Float[np.ndarray, "v h w 3"],
    alpha: Float[np.ndarray, "v h w"],
) -> Float[np.ndarray, "v h w"]:
    """Trust in [0.1, 1] by pixel; 1 everywhere with fewer than three views, which can accuse but not convict.

    Args:
        cameras: around one head, all looking inward.
        rgb: straight colours.
        normals_world: unit inside ``alpha``, 0 outside.
    """
    if len(cameras) < 3:
        return np.ones(alpha.shape, np.float32)
    small = resized(cameras, _WORK_PX, _WORK_PX)
    masks = np.stack([resize(mask, _WORK_PX, _WORK_PX) for mask in alpha])
    shown = np.stack([_small(np.dstack([c, n]), a) for c, n, a in zip(rgb, normals_world, alpha, strict=True)])
    solid = _Solid(small, masks)
    depths = np.stack([solid.depth(small, view) for view in range(len(small))])
    trusts = []
    for view in range(len(small)):
        trust = _trust(small, view, shown, masks, depths, solid.cell)
        smooth = cv2.GaussianBlur(trust, (0, 0), 1.0)
        trusts.append(cv2.resize(smooth, alpha.shape[:0:-1], interpolation=cv2.INTER_LINEAR))
    return np.clip(np.stack(trusts), LEAST, 1).astype(np.float32)


def _small(picture: Float[np.ndarray, "h w 6"], alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "s s 6"]:
    """Averaged over the head alone, so that the background does not bleed into the outline."""
    covered = np.ascontiguousarray(picture * alpha[..., None], np.float32)
    total = np.concatenate([resize(covered[..., k : k + 3], _WORK_PX, _WORK_PX) for k in (0, 3)], axis=-1)
    return total / np.maximum(resize(alpha, _WORK_PX, _WORK_PX), 1e-3)[..., None]


class _Solid:
    """A grid of cells around the point the cameras look at, each inside or outside by vote of the masks."""

    def __init__(self, cameras: Cameras, masks: Float[np.ndarray, "v s s"]) -> None:
        centre, radius = _looked_at(cameras), _half_width(cameras)
        self.cell = 2 * radius / (_CELLS - 1)
        self._low = centre - radius
        axis = np.arange(_CELLS) * self.cell
        points = self._low + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        votes, seen = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
        for view, mask in enumerate(masks):
            pixels = project(points, cameras.camera_from_world[view], cameras.intrinsics_px[view])[:, :2]
            inside, covered = _look_up(mask > 0.5, pixels)
            votes += covered & inside
            seen += inside
        # What hardly any view shows is taken for empty: the pictures hold the head.
        solid = ((votes > _VOTE * seen) & (seen > 0.5 * len(masks))).reshape((_CELLS,) * 3)
        self._skin = points[(solid & ~binary_erosion(solid)).ravel()]

    def depth(self, cameras: Cameras, view: int) -> Float[np.ndarray, "s s"]:
        """Depth of the nearest cell by pixel, 0 where there is none."""
        where = project(self._skin, cameras.camera_from_world[view], cameras.intrinsics_px[view])
        inside = ((where[:, :2] >= 0) & (where[:, :2] < _WORK_PX)).all(1)
        x, y = where[inside, :2].astype(np.int32).T
        nearest = np.full((_WORK_PX, _WORK_PX), np.inf, np.float32)
        np.minimum.at(nearest, (y, x), where[inside, 2].astype(np.float32))
        nearest = cv2.erode(nearest, np.ones((3, 3), np.uint8))  # a cell is wider than a pixel
        return np.where(np.isfinite(nearest), nearest, 0)


def _looked_at(cameras: Cameras) -> Float[np.ndarray, "3"]:
    """The point nearest to all optical axes."""
    axes, centres = cameras.camera_from_world[:, 2, :3], camera_centres(cameras)
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    total = across.sum(0) + 1e-9 * np.eye(3)
    return np.linalg.solve(total, (across @ centres[..., None]).sum(0)[:, 0])


def _half_width(cameras: Cameras) -> float:
    """Of what the pictures show at the depth of the head, with room for what they cut."""
    distance = np.linalg.norm(camera_centres(cameras) - _looked_at(cameras), axis=1)
    return float(0.65 * np.max(distance * cameras.width_px / cameras.intrinsics_px[:, 0, 0]))


def _look_up(
    picture: Shaped[np.ndarray, "s s *c"], pixels: Float[np.ndarray, "n 2"]
) -> tuple[Bool[np.ndarray, "n"], Shaped[np.ndarray, "n *c"]]:
    """Whether pixels lie inside the picture, and its nearest values."""
    inside = np.all((pixels >= 0) & (pixels < _WORK_PX), axis=1)
    x, y = np.clip(np.floor(pixels), 0, _WORK_PX - 1).astype(np.int32).T
    return inside, picture[y, x]


def _trust(
    cameras: Cameras,
    view: int,
    shown: Float[np.ndarray, "v s s 6"],
    masks: Float[np.ndarray, "v s s"],
    depths: Float[np.ndarray, "v s s"],
    cell: float,
) -> Float[np.ndarray, "s s"]:
    """Trust in one view's pixels, at the working size."""
    solid, covered = depths[view] > 0, masks[view] > 0.5
    trust = np.where(covered == solid, 1, _CONTRADICTED).astype(np.float32)
    trust[_near_outline(covered)] = 1.0  # there a cell more or less decides, not the views
    both = covered & solid
    if not both.any():
        return trust
    rays = pixel_rays_world(cameras.camera_from_world[view], cameras.intrinsics_px[view], _WORK_PX, _WORK_PX)
    centres = camera_centres(cameras)
    points = centres[view] + depths[view][both][:, None] * rays[both]
    values, counts = np.zeros((len(points), 6)), np.zeros(len(points))
    for other in _neighbours(cameras, view):
        where = project(points, cameras.camera_from_world[other], cameras.intrinsics_px[other])
        inside, depth = _look_up(depths[other], where[:, :2])
        _, value = _look_up(shown[other], where[:, :2])
        _, mask = _look_up(masks[other], where[:, :2])
        seen = inside & (np.abs(depth - where[:, 2]) < 3 * cell) & (mask > 0.9)
        values[seen] += value[seen]
        counts[seen] += 1
    known = counts >= 2
    off = np.linalg.norm((values / np.maximum(counts, 1)[:, None] - shown[view][both]).reshape(-1, 2, 3), axis=2)
    agreed = 1 / (1 + (off[:, 0] / _DOUBTFUL_COLOUR) ** 2 + (off[:, 1] / _DOUBTFUL_NORMAL) ** 2)
    trust[both] = np.where(known, agreed, _UNSEEN)
    return trust


def _neighbours(cameras: Cameras, view: int) -> list[int]:
    """The nearest views around the head, this one left out."""
    axes = cameras.camera_from_world[:, 2, :3]
    cosines = axes @ axes[view]
    order = [int(other) for other in np.argsort(-cosines, kind="stable") if other != view]
    return [other for other in order[:_NEIGHBOURS] if cosines[other] > _NEIGHBOUR_COSINE]


def _near_outline(covered: Bool[np.ndarray, "s s"]) -> Bool[np.ndarray, "s s"]:
    mask = covered.astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    return cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
