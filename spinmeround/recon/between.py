"""What lies between neighbouring views that do not quite agree: pictures half way, by optical flow.

Views a model made differ from each other by more than a solid can: strands of hair, highlights, an outline. Splats
fitted to them alone learn each view's whims and show a mixture of two from in between. Half way between two cameras
the mean of both pictures, each carried along the motion from one to the other, is the better guess at what is there,
and it costs nothing but the flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Int64
from scipy.spatial.transform import Rotation, Slerp

from spinmeround.geometry import camera_centres
from spinmeround.images import composite, resize, to_uint8
from spinmeround.types import Cameras, Views

_WIDEST_DEG = 20.0
"""Farther apart, noses hide cheeks and flow loses its way."""
_NOT_THERE = 0.45
"""A third camera nearer than this share of a pair's angle to the middle between them: the pair has a view there."""
_FLOW_PX = 256
"""Coarser pictures have less to be led astray by."""


def neighbours(cameras: Cameras) -> Int64[np.ndarray, "p 2"]:
    """Pairs of cameras close to each other, as seen from the world's origin, with no third between them."""
    centres = camera_centres(cameras)
    directions = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    apart_deg = _angles_deg(directions, directions)
    first, second = np.nonzero(np.triu(apart_deg < _WIDEST_DEG, 1))
    middle = directions[first] + directions[second]
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    away_deg = _angles_deg(middle, directions)
    pairs = np.arange(len(first))
    away_deg[pairs, first] = away_deg[pairs, second] = 180.0
    free = away_deg.min(axis=1, initial=180.0) > _NOT_THERE * apart_deg[first, second]
    return np.stack([first[free], second[free]], axis=1)


@dataclass(frozen=True)
class Between:
    """What two neighbours each say there is between them.

    Attributes:
        views: the means of both, without normals.
        contradiction: share of the difference between neighbours' colours that carrying them along the flow does not
            explain; medians over the pixels where both show the head, then over the pairs. Up to a quarter where
            one solid is seen, nearly half in pictures a model made one by one.
    """

    views: Views
    contradiction: float


def look_between(views: Views) -> Between | None:
    """A view half way between any two neighbours; ``None`` where no cameras are that close.

    Flow is dense inverse search (Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016), both ways.
    A pixel's weight is the smaller of the two it was made of.
    """
    pairs = neighbours(views.cameras)
    if len(pairs) == 0:
        return None
    shown = composite(views.rgb, views.alpha).astype(np.float32)
    colours = shown - (1 - views.alpha[..., None])
    planes = np.concatenate([colours, views.alpha[..., None], views.weight[..., None]], axis=3).astype(np.float32)
    with _one_thread():
        said = [_half_way(shown[[a, b]], planes[[a, b]]) for a, b in pairs]
    means = np.stack([both.mean(axis=0) for both in said])
    alpha = np.clip(means[..., 3], 0, 1)
    rgb = np.clip(means[..., :3] / np.maximum(means[..., 3:4], 1e-4), 0, 1)
    weight = np.stack([both[..., 4].min(axis=0) for both in said])
    made = Views(_cameras_between(views.cameras, pairs), rgb, np.zeros_like(rgb), alpha, np.clip(weight, 0, 1))
    return Between(made, _contradiction(np.stack(said), planes[pairs]))


def joined(views: Views, more: Views) -> Views:
    """Both, in this order; names go."""
    cameras = Cameras(
        np.concatenate([views.cameras.camera_from_world, more.cameras.camera_from_world]),
        np.concatenate([views.cameras.intrinsics_px, more.cameras.intrinsics_px]),
        views.cameras.width_px,
        views.cameras.height_px,
    )
    planes = {
        name: np.concatenate([getattr(views, name), getattr(more, name)])
        for name in ("rgb", "normals_world", "alpha", "weight")
    }
    return replace(views, cameras=cameras, names=(), **planes)


def _angles_deg(some: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m"]:
    return np.degrees(np.arccos(np.clip(some @ others.T, -1, 1)))


def _cameras_between(cameras: Cameras, pairs: Int64[np.ndarray, "p 2"]) -> Cameras:
    """Half the turn, and the mean of where the origin lies in the two cameras: on an orbit, that stays on it."""
    poses = np.tile(np.eye(4), (len(pairs), 1, 1))
    given = cameras.camera_from_world.astype(np.float64)
    for pose, pair in zip(poses, pairs, strict=True):
        pose[:3, :3] = Slerp([0, 1], Rotation.from_matrix(given[pair, :3, :3]))(0.5).as_matrix()
        pose[:3, 3] = given[pair, :3, 3].mean(axis=0)
    return replace(
        cameras,
        camera_from_world=poses.astype(cameras.camera_from_world.dtype),
        intrinsics_px=cameras.intrinsics_px[pairs].mean(axis=1),
    )


def _half_way(
    shown: Float[np.ndarray, "2 h w 3"], planes: Float[np.ndarray, "2 h w 5"]
) -> Float[np.ndarray, "2 h w 5"]:
    """Planes of two pictures, each carried half way to the other."""
    height, width = shown.shape[1:3]
    share = min(1.0, _FLOW_PX / max(height, width))
    small = [
        cv2.cvtColor(to_uint8(resize(picture, round(width * share), round(height * share))), cv2.COLOR_RGB2GRAY)
        for picture in shown
    ]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = (
        cv2.resize(search.calc(*pair, None) / np.float32(share), (width, height)) for pair in (small, small[::-1])
    )
    return np.stack([_carried(plane, _carried(flow, flow)) for plane, flow in zip(planes, (there, back), strict=True)])


def _contradiction(said: Float[np.ndarray, "p 2 h w 5"], shown: Float[np.ndarray, "p 2 h w 5"]) -> float:
    left, whole = (np.median([_difference(both) for both in pairs]) for pairs in (said, shown))
    return float(left / whole) if whole > 0 else 0.0


def _difference(both: Float[np.ndarray, "2 h w 5"]) -> float:
    sure = (both[..., 3] > 0.9).all(axis=0)
    return float(np.median(np.abs(both[0] - both[1])[sure, :3].max(axis=1))) if sure.any() else 0.0


def _carried(planes: Float[np.ndarray, "h w c"], flow_px: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w c"]:
    """Half way along the flow."""
    y, x = np.mgrid[: flow_px.shape[0], : flow_px.shape[1]].astype(np.float32)
    at = (x - flow_px[..., 0] / 2, y - flow_px[..., 1] / 2)
    parts = [cv2.remap(np.ascontiguousarray(planes[..., c]), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
             for c in range(planes.shape[2])]  # fmt: skip
    return np.dstack(parts)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV deals the search out to its threads, and where the stripes meet the flow depends on how many there are."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
