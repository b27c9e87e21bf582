"""Cameras by outlines alone: how far they contradict each other, and where each must look so that they do not.

With the right cameras the visual hull touches every mask's outline from inside ("silhouette coherence", Hernández,
Schmitt and Cipolla 2007). A camera that is turned by half a degree where it stands moves the head by ten pixels in its
picture; a hull carved from such pictures is pixels too small, and no later step finds back from there. So what most
views agree on is drawn into every view, which is panned until its own outline lies evenly around.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from spinmeround.geometry import resized
from spinmeround.images import resize
from spinmeround.mesh_raster import rasterize
from spinmeround.recon.hull import Hull, Silhouettes, silhouettes, visual_hull
from spinmeround.types import Cameras

logger = logging.getLogger(__name__)

_SIZE_PX, _MOST_GAP_PX = 256, 5.0
_FAIR_GAP = 0.006
"""Twice what masks that are two pixels off at 512 make of it; cameras off by a quarter degree make more."""
_HELPED = 0.8
_CELLS = 48
_DOUBTERS = (0.2, 0.16, 0.12, 0.08, 0.04, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Share of the views that may contradict a place that the others have inside, round by round."""
_ROBUST_PX = 1.0


def outline_gap(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> float:
    """By how much masks reach over the outline of the solid they all agree on, as a share of the pictures' width.

    Root mean square along a mask's outline away from the picture's border, median over the views. Far outliers count
    little: what is thinner than the solid's voxels is not in it.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    small, outlines = _small(cameras, alpha)
    hull = visual_hull(small, outlines)
    gaps_px = []
    for index, distance_px in enumerate(outlines.distance_px):
        own_px = _own_distance_px(hull, small, index)
        along = _along(distance_px)
        if own_px is None:
            gaps_px.append(_MOST_GAP_PX)
            continue
        off_px = np.clip((own_px - distance_px)[along], -_MOST_GAP_PX, _MOST_GAP_PX)
        gaps_px.append(np.sqrt((off_px**2).mean()) if along.any() else 0)
    return float(np.median(gaps_px)) / small.width_px


def panned_if_needed(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> Cameras:
    """``panned`` where outlines contradict each other by far, if they do less after it; else the cameras as given.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    before = outline_gap(cameras, alpha)
    if before < _FAIR_GAP:
        return cameras
    found = panned(cameras, alpha)
    return found if helps(before, outline_gap(found, alpha), "panned") else cameras


def helps(before: float, after: float, how: str) -> bool:
    """Whether cameras that were found anew are better by enough; the log says so.

    Args:
        before, after: outline gaps.
        how: they were found.
    """
    helped = after < _HELPED * before
    logger.info(
        "outlines disagree by %.2f %% of the picture, with %s cameras by %.2f %%: these are %s",
        100 * before, how, 100 * after, "taken" if helped else "left aside",
    )  # fmt: skip
    return helped


def panned(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> Cameras:
    """Cameras turned where they stand until the outlines lie around one solid; what all have in common stays.

    Raises:
        InputError: as ``hull.visual_hull``.
    """
    small, outlines = _small(cameras, alpha)
    for share in _DOUBTERS:
        hull = visual_hull(small, outlines, cells=_CELLS, doubters=int(share * len(cameras)))
        shifts_px = np.stack([_shift_px(hull, small, outlines, index) for index in range(len(small))])
        shifts_px -= _common_px(small, shifts_px, hull.mesh.vertices.mean(0))
        small = _turned(small, shifts_px)
    return replace(cameras, camera_from_world=small.camera_from_world)


def _small(cameras: Cameras, alpha: Float[np.ndarray, "v h w"]) -> tuple[Cameras, Silhouettes]:
    """Masks no larger than the work needs, and their cameras."""
    share = min(1.0, _SIZE_PX / max(cameras.width_px, cameras.height_px))
    width_px, height_px = round(cameras.width_px * share), round(cameras.height_px * share)
    small = np.stack([resize(plane, width_px, height_px) for plane in alpha])
    return resized(cameras, width_px, height_px), silhouettes(small)


def _own_distance_px(hull: Hull, cameras: Cameras, index: int) -> Float[np.ndarray, "h w"] | None:
    """Signed distance to the outline of the solid as a view would see it; nothing where it does not see it."""
    vertices = np.concatenate([hull.mesh.vertices, hull.skirt.vertices])
    faces = np.concatenate([hull.mesh.faces, hull.skirt.faces + len(hull.mesh.vertices)])
    covered = np.isfinite(rasterize(vertices, faces, cameras, index).depth)
    return silhouettes(covered[None].astype(np.float32)).distance_px[0] if covered.any() else None


def _along(distance_px: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels on a mask's outline, away from the picture's border."""
    along = np.zeros(distance_px.shape, bool)
    along[2:-2, 2:-2] = np.abs(distance_px[2:-2, 2:-2]) < 0.75
    return along


def _shift_px(hull: Hull, cameras: Cameras, outlines: Silhouettes, index: int) -> Float[np.ndarray, "2"]:
    """How far the drawn solid must move, right and down, to lie evenly inside or outside the mask's outline."""
    own_px, along = _own_distance_px(hull, cameras, index), _along(outlines.distance_px[index])
    if own_px is None or not along.any():
        return np.zeros(2)
    down, across = np.gradient(own_px)
    off_px = own_px[along].astype(np.float64)
    rows = np.stack([across[along], down[along], np.ones(len(off_px))], axis=1)
    weight, found = np.ones(len(off_px)), np.zeros(3)
    for _ in range(5):
        scaled = rows * weight[:, None]
        found = np.linalg.solve(scaled.T @ rows + 1e-3 * np.eye(3), scaled.T @ off_px)
        apart = np.abs(off_px - rows @ found)
        limit = max(_ROBUST_PX, 2.5 * float(np.median(apart)))
        weight = 1 / (1 + (apart / limit) ** 2) ** 2
    return found[:2]


def _common_px(
    cameras: Cameras, shifts_px: Float[np.ndarray, "v 2"], centre: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "v 2"]:
    """What of the shifts is a motion of the head that all views share, which no outlines tell from none."""
    poses = cameras.camera_from_world.astype(np.float64)
    far = poses[:, 2, :3] @ centre + poses[:, 2, 3]
    scale = cameras.intrinsics_px[:, [0, 1], [0, 1]] / far[:, None]
    by = scale[:, :, None] * poses[:, :2, :3]
    motion, *_ = np.linalg.lstsq(by.reshape(-1, 3), shifts_px.ravel(), rcond=None)
    return by @ motion


def _turned(cameras: Cameras, shifts_px: Float[np.ndarray, "v 2"]) -> Cameras:
    """Cameras turned where they stand, so that what they see moves so far right and down."""
    angles = shifts_px / cameras.intrinsics_px[:, [0, 1], [0, 1]]
    turns = Rotation.from_rotvec(np.stack([-angles[:, 1], angles[:, 0], np.zeros(len(angles))], axis=1)).as_matrix()
    poses = cameras.camera_from_world.copy()
    poses[:, :3] = turns @ poses[:, :3]
    return replace(cameras, camera_from_world=poses)
