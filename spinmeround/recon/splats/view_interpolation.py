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

from spinmeround.geometry import camera_centres, project, select
from spinmeround.images import composite, resize, to_uint8
from spinmeround.scratch import planes
from spinmeround.types import Cameras, Views

_WIDEST_DEG = 20.0
"""Farther apart, noses hide cheeks and flow loses its way."""
_NOT_THERE = 0.45
"""A third camera nearer than this share of a pair's angle to the middle between them: the pair has a view there."""
_FLOW_PX = 256
"""Coarser pictures have less to be led astray by."""
_ROUNDS = 3
_INSIDE = 0.9
"""Coverage from which a colour is the head's own."""


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
            explain; medians over the pixels where both show the head, then over the pairs. Up to a fifth where one
            solid is seen, two fifths and more in pictures a model made one by one.
    """

    views: Views
    contradiction: float


def look_between(views: Views) -> Between | None:
    """A view half way between any two neighbours; ``None`` where no cameras are that close.

    Flow is dense inverse search (Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016), both ways and as
    seen from the middle.
    A pixel's weight is the smaller of the two it was made of.
    """
    pairs = neighbours(views.cameras)
    if len(pairs) == 0:
        return None
    middles = _cameras_between(views.cameras, pairs)
    shape = (len(pairs), *views.alpha.shape[1:])
    rgb, alpha, weight = planes((*shape, 3), shape, shape)
    left, whole = [], []
    with _one_thread():
        for index, pair in enumerate(pairs):
            shown, given = _pictures(views, pair)
            said = _half_way(shown, given, _joined_cameras(select(views.cameras, pair), select(middles, index)))
            mean = said.mean(axis=0)
            alpha[index] = np.clip(mean[..., 3], 0, 1)
            rgb[index] = np.clip(mean[..., :3] / np.maximum(mean[..., 3:4], 1e-4), 0, 1)
            weight[index] = np.clip(said[..., 4].min(axis=0), 0, 1)
            left.append(_difference(said))
            whole.append(_difference(given))
    made = Views(middles, rgb, np.zeros_like(rgb), alpha, weight)
    return Between(made, float(np.median(left) / np.median(whole)) if np.median(whole) > 0 else 0.0)


def _pictures(
    views: Views, pair: Int64[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2 h w 3"], Float[np.ndarray, "2 h w 5"]]:
    """Two pictures over white, and their premultiplied colours with alpha and weight."""
    alpha = views.alpha[pair][..., None]
    shown = composite(views.rgb[pair], alpha[..., 0]).astype(np.float32)
    return shown, np.concatenate([shown - (1 - alpha), alpha, views.weight[pair][..., None]], axis=3).astype(np.float32)


def joined(views: Views, more: Views) -> Views:
    """Both, in this order; names go."""
    cameras = _joined_cameras(views.cameras, more.cameras)
    shape = (len(cameras), *views.alpha.shape[1:])
    rgb, normals, alpha, weight = planes((*shape, 3), (*shape, 3), shape, shape)
    for part, start in ((views, 0), (more, len(views))):
        own = slice(start, start + len(part))
        rgb[own], alpha[own], weight[own] = part.rgb, part.alpha, part.weight
        if part.normals_world.any():  # zeros that nobody writes take no memory
            normals[own] = part.normals_world
    return Views(cameras, rgb, normals, alpha, weight)


def _joined_cameras(some: Cameras, others: Cameras) -> Cameras:
    return replace(
        some,
        camera_from_world=np.concatenate([some.camera_from_world, others.camera_from_world]),
        intrinsics_px=np.concatenate([some.intrinsics_px, others.intrinsics_px]),
    )


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
    shown: Float[np.ndarray, "2 h w 3"], planes: Float[np.ndarray, "2 h w 5"], cameras: Cameras
) -> Float[np.ndarray, "2 h w 5"]:
    """Planes of two pictures, each carried half way to the other.

    An outline goes straight from one picture to the other. A point of a turning solid goes along an arc, and colours
    inside go with it.

    Args:
        cameras: of both pictures, and the one half way.
    """
    apart_px = _apart_px(shown)
    bow_px = _bow_px(apart_px, cameras)
    at_px = _carried(apart_px, bow_px)
    straight, bowed = (
        np.stack([_carried(plane, there) for plane, there in zip(planes, ways, strict=True)])
        for ways in ((apart_px / 2, -apart_px / 2), (at_px / 2 + bow_px, bow_px - at_px / 2))
    )
    inside = np.minimum(straight[..., 3], bowed[..., 3]).min(axis=0) > _INSIDE
    straight[:, inside, :3] = bowed[:, inside, :3]
    return straight


def _apart_px(shown: Float[np.ndarray, "2 h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """How far the second picture shows from the first what the picture half way shows at a pixel.

    Seen from the middle neither picture is the other's reference, and a round has only to find what the last one left.
    """
    apart_px = np.zeros((*shown.shape[1:3], 2), np.float32)
    for _ in range(_ROUNDS):
        first, second = _carried(shown[0], apart_px / 2), _carried(shown[1], -apart_px / 2)
        there, back = _flow_px(first, second), _flow_px(second, first)
        apart_px += (_carried(there, there / 2) - _carried(back, back / 2)) / 2
    return apart_px


def _flow_px(start: Float[np.ndarray, "h w 3"], end: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    height, width = start.shape[:2]
    share = min(1.0, _FLOW_PX / max(height, width))
    small = [
        cv2.cvtColor(to_uint8(resize(picture, round(width * share), round(height * share))), cv2.COLOR_RGB2GRAY)
        for picture in (start, end)
    ]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return cv2.resize(search.calc(*small, None) / np.float32(share), (width, height))


def _bow_px(apart_px: Float[np.ndarray, "h w 2"], cameras: Cameras) -> Float[np.ndarray, "h w 2"]:
    """From half way along the straight line to where the camera half way sees the point that both cameras see.

    What the point's two pictures are off is carried on: no two views of what is not solid meet in a point. At most what
    the turn makes of half a picture's width, which keeps stray flow in bounds.
    """
    height, width = apart_px.shape[:2]
    share = min(1.0, _FLOW_PX / max(height, width))
    small = (round(width * share), round(height * share))
    apart = cv2.resize(apart_px, small).astype(np.float64)
    x, y = np.meshgrid(
        *((np.arange(count) + 0.5) / count * size for count, size in zip(small, (width, height), strict=True))
    )
    middle_px = np.stack([x, y], axis=-1)
    seen_px = (middle_px - apart / 2, middle_px + apart / 2)
    centres = camera_centres(cameras).astype(np.float64)
    rays = [_directions(pixels, cameras, index) for index, pixels in enumerate(seen_px)]
    cosine = (rays[0] * rays[1]).sum(axis=-1)
    along = [(ray @ (centres[1] - centres[0])) for ray in rays]
    sine2 = np.maximum(1 - cosine**2, 1e-6)
    far = ((along[0] - cosine * along[1]) / sine2, (cosine * along[0] - along[1]) / sine2)
    points = np.mean([centres[k] + far[k][..., None] * rays[k] for k in (0, 1)], axis=0)
    found_px = [
        project(points.reshape(-1, 3), pose, intrinsics)[:, :2].reshape(middle_px.shape)
        for pose, intrinsics in zip(cameras.camera_from_world, cameras.intrinsics_px, strict=True)
    ]
    off_px = np.mean([seen - found for seen, found in zip(seen_px, found_px[:2], strict=True)], axis=0)
    axes = cameras.camera_from_world[:2, 2, :3].astype(np.float64)
    most_px = width / 2 * (1 / np.cos(np.arccos(np.clip(axes[0] @ axes[1], -1, 1)) / 2) - 1)
    bow = np.clip(found_px[2] + off_px - middle_px, -most_px, most_px)
    return cv2.resize(bow.astype(np.float32), (width, height))


def _directions(pixels: Float[np.ndarray, "h w 2"], cameras: Cameras, index: int) -> Float[np.ndarray, "h w 3"]:
    """Unit rays of one camera in the world."""
    homogeneous = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], axis=-1)
    rays = homogeneous @ np.linalg.inv(cameras.intrinsics_px[index].astype(np.float64)).T
    rays = rays @ cameras.camera_from_world[index, :3, :3].astype(np.float64)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _difference(both: Float[np.ndarray, "2 h w 5"]) -> float:
    sure = (both[..., 3] > 0.9).all(axis=0)
    return float(np.median(np.abs(both[0] - both[1])[sure, :3].max(axis=1))) if sure.any() else 0.0


def _carried(planes: Float[np.ndarray, "h w c"], by_px: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w c"]:
    """Each pixel from where it lay before it moved."""
    y, x = np.mgrid[: by_px.shape[0], : by_px.shape[1]].astype(np.float32)
    at = (x - by_px[..., 0], y - by_px[..., 1])
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
