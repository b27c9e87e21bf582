"""View interpolation by optical flow: synthesise pictures half way between neighbouring views.

Views that a generative model made differ from each other by more than one solid can: strands of hair, highlights, a
silhouette. Splats fitted to them alone reproduce what is particular to each view, and show a mixture of two from in
between. Half way between two cameras, the mean of both pictures, each warped along the motion from one to the other, is
a better target. It needs nothing but optical flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Int64
from scipy.spatial.transform import Rotation, Slerp

from spinmeround.geometry import camera_centres, project, select
from spinmeround.images import composite, resize, to_uint8
from spinmeround.scratch import planes
from spinmeround.types import Cameras, Views


@dataclass(frozen=True)
class InterpolationSettings:
    """Which views are paired, and how flow between them is found.

    Attributes:
        max_angle_deg: between the cameras of a pair. Farther apart, noses occlude cheeks and flow fails.
        min_gap_fraction: a pair is left out if a third camera is nearer to the middle between them than this fraction
            of the pair's angle: there is a view already.
        flow_px: longer side of the pictures that flow is computed on: it is more robust on coarse ones.
        rounds: of flow, each on what the last one left.
        inside_alpha: least alpha of a pixel inside the silhouette.
        min_alpha: that premultiplied colours are divided by.
        min_sine2: of the angle between two rays, where they are intersected.
    """

    max_angle_deg: float = 20.0
    min_gap_fraction: float = 0.45
    flow_px: int = 256
    rounds: int = 3
    inside_alpha: float = 0.9
    min_alpha: float = 1e-4
    min_sine2: float = 1e-6


_SETTINGS = InterpolationSettings()


def neighbouring_pairs(cameras: Cameras) -> Int64[np.ndarray, "p 2"]:
    """Return the pairs of cameras close to each other, seen from the world's origin, with no third between them."""
    centres = camera_centres(cameras)
    directions = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    apart_deg = _angles_deg(directions, directions)
    first, second = np.nonzero(np.triu(apart_deg < _SETTINGS.max_angle_deg, 1))
    middle = directions[first] + directions[second]
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    away_deg = _angles_deg(middle, directions)
    pairs = np.arange(len(first))
    away_deg[pairs, first] = away_deg[pairs, second] = 180.0
    free = away_deg.min(axis=1, initial=180.0) > _SETTINGS.min_gap_fraction * apart_deg[first, second]
    return np.stack([first[free], second[free]], axis=1)


@dataclass(frozen=True)
class InterpolatedViews:
    """Views half way between neighbours.

    Attributes:
        views: each the mean of two warped neighbours, without normals.
        inconsistency: fraction of the difference between neighbours' colours that is left after warping them to the
            middle; medians over the pixels where both show the head, then over the pairs. Up to 0.2 where one solid is
            seen, 0.4 and more in pictures that a model made one by one.
    """

    views: Views
    inconsistency: float


def interpolate_views(views: Views) -> InterpolatedViews | None:
    """Synthesise a view half way between any two neighbours; None if no cameras are that close.

    Flow is dense inverse search (Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016), both ways and as
    seen from the middle. A pixel's weight is the smaller of the two it was made of.
    """
    pairs = neighbouring_pairs(views.cameras)
    if len(pairs) == 0:
        return None
    middles = _middle_cameras(views.cameras, pairs)
    shape = (len(pairs), *views.alpha.shape[1:])
    rgb, alpha, weight = planes((*shape, 3), shape, shape)
    differences, differences_warped = [], []
    with _one_opencv_thread():
        for index, pair in enumerate(pairs):
            over_white, layers = _composited_pair(views, pair)
            cameras = _concatenate_cameras(select(views.cameras, pair), select(middles, index))
            warped = _warp_to_middle(over_white, layers, cameras)
            mean = warped.mean(axis=0)
            alpha[index] = np.clip(mean[..., 3], 0, 1)
            rgb[index] = np.clip(mean[..., :3] / np.maximum(mean[..., 3:4], _SETTINGS.min_alpha), 0, 1)
            weight[index] = np.clip(warped[..., 4].min(axis=0), 0, 1)
            differences.append(_median_difference(layers))
            differences_warped.append(_median_difference(warped))
    before, after = np.median(differences), np.median(differences_warped)
    interpolated = Views(middles, rgb, np.zeros_like(rgb), alpha, weight)
    return InterpolatedViews(interpolated, float(after / before) if before > 0 else 0.0)


def _composited_pair(
    views: Views, pair: Int64[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2 h w 3"], Float[np.ndarray, "2 h w 5"]]:
    """Return two pictures over white, and their layers: premultiplied colours, alpha and weight."""
    alpha, weight = views.alpha[pair][..., None], views.weight[pair][..., None]
    over_white = composite(views.rgb[pair], alpha[..., 0]).astype(np.float32)
    layers = np.concatenate([over_white - (1 - alpha), alpha, weight], axis=3).astype(np.float32)
    return over_white, layers


def concatenate_views(views: Views, more: Views) -> Views:
    """Return both in this order, without names."""
    cameras = _concatenate_cameras(views.cameras, more.cameras)
    shape = (len(cameras), *views.alpha.shape[1:])
    rgb, normals, alpha, weight = planes((*shape, 3), (*shape, 3), shape, shape)
    for part, start in ((views, 0), (more, len(views))):
        own = slice(start, start + len(part))
        rgb[own], alpha[own], weight[own] = part.rgb, part.alpha, part.weight
        if part.normals_world.any():  # zeros that nobody writes take no memory
            normals[own] = part.normals_world
    return Views(cameras, rgb, normals, alpha, weight)


def _concatenate_cameras(some: Cameras, others: Cameras) -> Cameras:
    return replace(
        some,
        camera_from_world=np.concatenate([some.camera_from_world, others.camera_from_world]),
        intrinsics_px=np.concatenate([some.intrinsics_px, others.intrinsics_px]),
    )


def _angles_deg(some: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m"]:
    return np.degrees(np.arccos(np.clip(some @ others.T, -1, 1)))


def _middle_cameras(cameras: Cameras, pairs: Int64[np.ndarray, "p 2"]) -> Cameras:
    """Return cameras with half the rotation and the mean translation: between cameras of an orbit, they lie on it."""
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


def _warp_to_middle(
    over_white: Float[np.ndarray, "2 h w 3"], layers: Float[np.ndarray, "2 h w 5"], cameras: Cameras
) -> Float[np.ndarray, "2 h w 5"]:
    """Warp the layers of two pictures to the middle between them.

    A silhouette moves straight from one picture to the other. A surface point of a rotating solid moves along an arc,
    and so do the colours inside.

    Args:
        cameras: of both pictures, and the middle one.
    """
    flow_px = _symmetric_flow_px(over_white)
    arc_px = _arc_offset_px(flow_px, cameras)
    flow_on_arc_px = _warp(flow_px, arc_px)
    straight, along_arc = (
        np.stack([_warp(layer, offset_px) for layer, offset_px in zip(layers, offsets_px, strict=True)])
        for offsets_px in (
            (flow_px / 2, -flow_px / 2),
            (flow_on_arc_px / 2 + arc_px, arc_px - flow_on_arc_px / 2),
        )
    )
    inside = np.minimum(straight[..., 3], along_arc[..., 3]).min(axis=0) > _SETTINGS.inside_alpha
    straight[:, inside, :3] = along_arc[:, inside, :3]
    return straight


def _symmetric_flow_px(over_white: Float[np.ndarray, "2 h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """Return the displacement from the first picture to the second, at each pixel of the middle one.

    Seen from the middle neither picture is the other's reference, and each round only finds what the last one left.
    """
    flow_px = np.zeros((*over_white.shape[1:3], 2), np.float32)
    for _ in range(_SETTINGS.rounds):
        first, second = _warp(over_white[0], flow_px / 2), _warp(over_white[1], -flow_px / 2)
        forward, backward = _flow_px(first, second), _flow_px(second, first)
        flow_px += (_warp(forward, forward / 2) - _warp(backward, backward / 2)) / 2
    return flow_px


def _flow_px(start: Float[np.ndarray, "h w 3"], end: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """Return the optical flow from ``start`` to ``end``, computed on smaller pictures."""
    height, width = start.shape[:2]
    scale = _flow_scale(width, height)
    small = [
        cv2.cvtColor(to_uint8(resize(picture, round(width * scale), round(height * scale))), cv2.COLOR_RGB2GRAY)
        for picture in (start, end)
    ]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return cv2.resize(search.calc(*small, None) / np.float32(scale), (width, height))


def _flow_scale(width: int, height: int) -> float:
    return min(1.0, _SETTINGS.flow_px / max(height, width))


def _arc_offset_px(flow_px: Float[np.ndarray, "h w 2"], cameras: Cameras) -> Float[np.ndarray, "h w 2"]:
    """Return the offset from the middle of the flow to where the middle camera sees the point both cameras see.

    The point is triangulated from both views, and its mean reprojection error is added: rays to what is not one solid
    do not intersect. The offset is clipped to what the rotation makes of half a picture's width, which bounds the
    effect of wrong flow.

    Args:
        flow_px: displacement from the first picture to the second, at each pixel of the middle one.
        cameras: of both pictures, and the middle one.
    """
    height, width = flow_px.shape[:2]
    scale = _flow_scale(width, height)
    small = (round(width * scale), round(height * scale))
    flow = cv2.resize(flow_px, small).astype(np.float64)
    x, y = np.meshgrid(
        *((np.arange(count) + 0.5) / count * size for count, size in zip(small, (width, height), strict=True))
    )
    middle_px = np.stack([x, y], axis=-1)
    observed_px = (middle_px - flow / 2, middle_px + flow / 2)
    centres = camera_centres(cameras).astype(np.float64)
    rays = [_rays_world(pixels, cameras, index) for index, pixels in enumerate(observed_px)]
    cosine = (rays[0] * rays[1]).sum(axis=-1)
    along = [(ray @ (centres[1] - centres[0])) for ray in rays]
    sine2 = np.maximum(1 - cosine**2, _SETTINGS.min_sine2)
    distance = ((along[0] - cosine * along[1]) / sine2, (cosine * along[0] - along[1]) / sine2)
    points = np.mean([centres[k] + distance[k][..., None] * rays[k] for k in (0, 1)], axis=0)
    projected_px = [
        project(points.reshape(-1, 3), pose, intrinsics)[:, :2].reshape(middle_px.shape)
        for pose, intrinsics in zip(cameras.camera_from_world, cameras.intrinsics_px, strict=True)
    ]
    error_px = np.mean(
        [observed - projected for observed, projected in zip(observed_px, projected_px[:2], strict=True)], axis=0
    )
    view_axes = cameras.camera_from_world[:2, 2, :3].astype(np.float64)
    limit_px = width / 2 * (1 / np.cos(np.arccos(np.clip(view_axes[0] @ view_axes[1], -1, 1)) / 2) - 1)
    offset_px = np.clip(projected_px[2] + error_px - middle_px, -limit_px, limit_px)
    return cv2.resize(offset_px.astype(np.float32), (width, height))


def _rays_world(pixels: Float[np.ndarray, "h w 2"], cameras: Cameras, index: int) -> Float[np.ndarray, "h w 3"]:
    """Return unit rays of one camera through pixels, world frame."""
    homogeneous = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], axis=-1)
    rays = homogeneous @ np.linalg.inv(cameras.intrinsics_px[index].astype(np.float64)).T
    rays = rays @ cameras.camera_from_world[index, :3, :3].astype(np.float64)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _median_difference(layers: Float[np.ndarray, "2 h w 5"]) -> float:
    """Return the median difference between two pictures' colours where both show the head; 0 if nowhere."""
    inside = (layers[..., 3] > _SETTINGS.inside_alpha).all(axis=0)
    return float(np.median(np.abs(layers[0] - layers[1])[inside, :3].max(axis=1))) if inside.any() else 0.0


def _warp(layers: Float[np.ndarray, "h w c"], by_px: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w c"]:
    """Move layers by a displacement, sampled backward and bilinearly; borders are replicated."""
    y, x = np.mgrid[: by_px.shape[0], : by_px.shape[1]].astype(np.float32)
    source = (x - by_px[..., 0], y - by_px[..., 1])
    parts = [cv2.remap(np.ascontiguousarray(layers[..., c]), *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
             for c in range(layers.shape[2])]  # fmt: skip
    return np.dstack(parts)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Restrict OpenCV to one thread: flow at the borders of its stripes depends on how many threads there are."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
