"""Cameras and masks by silhouettes alone: how far these contradict each other, and cameras panned until they agree.

With the right cameras the visual hull touches every mask's contour from inside ("silhouette coherence", Hernández,
Schmitt and Cipolla 2007). A camera that is turned by half a degree where it stands moves the head by ten pixels in its
picture. A hull carved from such pictures is pixels too small, and no later step recovers what is lost. So the solid
that most views agree on is drawn into every view, and the view is panned until its mask's contour lies evenly around.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError
from spinmeround.geometry import resized
from spinmeround.images import resize
from spinmeround.mesh_raster import rasterize
from spinmeround.recon.hull import Hull, Silhouettes, silhouettes, visual_hull
from spinmeround.types import Cameras

log = logging.getLogger(__name__)

_SIZE_PX = 256
"""Longer side of the masks that are compared."""
_MAX_GAP_PX = 5.0
"""Distances between contours are clipped here, pixels of these masks."""
_ON_CONTOUR_PX = 0.75
"""Pixels this near to a mask's contour are compared with the hull's."""
_MAX_GAP = 0.006
"""Silhouette gap, picture widths, up to which cameras are not panned. Masks that are two pixels off at 512 have half of
it; cameras off by a quarter of a degree have more."""
_MAX_GAP_RATIO = 0.8
"""Corrected cameras are used if they lower the gap to this fraction or less."""
_CELLS = 48
"""Voxels along the longest side of the hull that cameras are panned to."""
_OUTLIER_FRACTIONS = (0.2, 0.16, 0.12, 0.08, 0.04, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Fraction of the views that may contradict a voxel that the others have inside, round by round."""
_MASK_OUTLIERS = 0.1
"""Fraction of the views whose masks may be wrong: more of them, and it is the cameras that are."""
_MAX_OUTSIDE, _CONTOUR_TOLERANCE_PX = 0.5, 2.0
"""A mask that leaves out more of the head than this fraction, further from its contour than so many pixels of these
masks, is not of this head. The others of a capture with one such mask leave out 9 % at most."""
_MIN_VIEWS_TO_JUDGE = 6
_PAN_ITERATIONS = 5
_ROBUST_PX, _ROBUST_MEDIANS = 1.0, 2.5
"""Contour pixels this far off, or so many medians if that is more, count a quarter (Geman-McClure)."""


def silhouette_gap(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> float:
    """Return how far masks reach beyond the silhouette of the solid they all agree on, as a fraction of their width.

    It is the root mean square along a mask's contour away from the picture's border, median over the views. Distances
    are clipped, since what is thinner than the solid's voxels is not in it.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    small, masks = _shrink(cameras, alpha)
    hull = visual_hull(small, masks)
    gaps_px = []
    for index, distance_px in enumerate(masks.distance_px):
        own_px = _hull_distance_px(hull, small, index)
        contour = _contour_pixels(distance_px)
        if own_px is None:
            gaps_px.append(_MAX_GAP_PX)
            continue
        gap_px = np.clip((own_px - distance_px)[contour], -_MAX_GAP_PX, _MAX_GAP_PX)
        gaps_px.append(np.sqrt((gap_px**2).mean()) if contour.any() else 0)
    return float(np.median(gaps_px)) / small.width_px


def find_wrong_masks(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> list[int]:
    """Return the views whose masks leave out most of the head that the others agree on, as shifted or swapped ones do.

    None are found if there are few views, or if so many contradict the others that the cameras must be wrong.
    """
    allowed = max(1, int(_MASK_OUTLIERS * len(cameras)))
    if len(cameras) < _MIN_VIEWS_TO_JUDGE:
        return []
    small, masks = _shrink(cameras, alpha)
    try:
        hull = visual_hull(small, masks, cells=_CELLS, max_outlier_views=allowed)
    except InputError:  # the masks agree on nothing: the cameras are registered first, or the surface fit says why
        return []
    wrong = []
    for index, distance_px in enumerate(masks.distance_px):
        own_px = _hull_distance_px(hull, small, index)
        if own_px is None:
            continue
        outside = distance_px[own_px > 0] < -_CONTOUR_TOLERANCE_PX
        if outside.mean() > _MAX_OUTSIDE:
            wrong.append(index)
    return wrong if len(wrong) <= allowed else []


def pan_cameras_if_needed(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> Cameras:
    """Pan cameras whose silhouettes contradict each other by far; return them as given if that is not so or no help.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    before = silhouette_gap(cameras, alpha)
    if before < _MAX_GAP:
        return cameras
    panned = pan_cameras(cameras, alpha)
    return panned if improves(before, silhouette_gap(panned, alpha), "panned") else cameras


def improves(before: float, after: float, correction: str) -> bool:
    """Check whether corrected cameras have a silhouette gap that is smaller by enough, and log it.

    Args:
        before, after: silhouette gaps without and with the correction.
        correction: what was done to the cameras, for the log.
    """
    improved = after < _MAX_GAP_RATIO * before
    log.info(
        "silhouettes disagree by %.2f %% of the picture, with %s cameras by %.2f %%: these are %s",
        100 * before, correction, 100 * after, "taken" if improved else "left aside",
    )  # fmt: skip
    return improved


def pan_cameras(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> Cameras:
    """Turn cameras where they stand until their silhouettes agree on one solid; what all have in common stays.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    small, masks = _shrink(cameras, alpha)
    for fraction in _OUTLIER_FRACTIONS:
        hull = visual_hull(small, masks, cells=_CELLS, max_outlier_views=int(fraction * len(cameras)))
        shifts_px = np.stack([_shift_px(hull, small, masks, index) for index in range(len(small))])
        shifts_px -= _common_shifts_px(small, shifts_px, hull.mesh.vertices.mean(0))
        small = _pan(small, shifts_px)
    return replace(cameras, camera_from_world=small.camera_from_world)


def _shrink(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> tuple[Cameras, Silhouettes]:
    """Return the silhouettes of masks shrunk to ``_SIZE_PX``, and their cameras."""
    scale = min(1.0, _SIZE_PX / max(cameras.width_px, cameras.height_px))
    width_px, height_px = round(cameras.width_px * scale), round(cameras.height_px * scale)
    small = np.stack([resize(plane, width_px, height_px) for plane in alpha])
    return resized(cameras, width_px, height_px), silhouettes(small)


def _hull_distance_px(hull: Hull, cameras: Cameras, index: int) -> Float[np.ndarray, "h w"] | None:
    """Return the signed distance to the hull's contour in a view; None if the view does not see the hull."""
    vertices = np.concatenate([hull.mesh.vertices, hull.skirt.vertices])
    faces = np.concatenate([hull.mesh.faces, hull.skirt.faces + len(hull.mesh.vertices)])
    covered = np.isfinite(rasterize(vertices, faces, cameras, index).depth)
    return silhouettes(covered[None].astype(np.float32)).distance_px[0] if covered.any() else None


def _contour_pixels(distance_px: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels on a mask's contour, away from the picture's border."""
    contour = np.zeros(distance_px.shape, bool)
    contour[2:-2, 2:-2] = np.abs(distance_px[2:-2, 2:-2]) < _ON_CONTOUR_PX
    return contour


def _shift_px(hull: Hull, cameras: Cameras, masks: Silhouettes, index: int) -> Float[np.ndarray, "2"]:
    """Return how far the drawn hull must move, right and down, to lie evenly inside or outside the mask's contour.

    A robust linear fit of the shift and a common distance to the hull's signed distances along the mask's contour.
    """
    own_px, contour = _hull_distance_px(hull, cameras, index), _contour_pixels(masks.distance_px[index])
    if own_px is None or not contour.any():
        return np.zeros(2)
    down, right = np.gradient(own_px)
    distance_px = own_px[contour].astype(np.float64)
    rows = np.stack([right[contour], down[contour], np.ones(len(distance_px))], axis=1)
    weight, solution = np.ones(len(distance_px)), np.zeros(3)
    for _ in range(_PAN_ITERATIONS):
        weighted = rows * weight[:, None]
        solution = np.linalg.solve(weighted.T @ rows + 1e-3 * np.eye(3), weighted.T @ distance_px)
        residual_px = np.abs(distance_px - rows @ solution)
        limit_px = max(_ROBUST_PX, _ROBUST_MEDIANS * float(np.median(residual_px)))
        weight = 1 / (1 + (residual_px / limit_px) ** 2) ** 2
    return solution[:2]


def _common_shifts_px(
    cameras: Cameras, shifts_px: Float[np.ndarray, "v 2"], centre: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "v 2"]:
    """Return the part of the shifts that one translation of the head explains: silhouettes do not determine it."""
    poses = cameras.camera_from_world.astype(np.float64)
    depth = poses[:, 2, :3] @ centre + poses[:, 2, 3]
    scale = cameras.intrinsics_px[:, [0, 1], [0, 1]] / depth[:, None]
    jacobian = scale[:, :, None] * poses[:, :2, :3]
    translation, *_ = np.linalg.lstsq(jacobian.reshape(-1, 3), shifts_px.ravel(), rcond=None)
    return jacobian @ translation


def _pan(cameras: Cameras, shifts_px: Float[np.ndarray, "v 2"]) -> Cameras:
    """Return cameras turned where they stand, so that what they see moves right and down by these shifts."""
    angles = shifts_px / cameras.intrinsics_px[:, [0, 1], [0, 1]]
    rotations = Rotation.from_rotvec(np.stack([-angles[:, 1], angles[:, 0], np.zeros(len(angles))], axis=1)).as_matrix()
    poses = cameras.camera_from_world.copy()
    poses[:, :3] = rotations @ poses[:, :3]
    return replace(cameras, camera_from_world=poses)
