"""Decode the model's pictures to views: alpha, straight colours, unit normals, and a weight for each pixel."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.diffusion.view_consistency import photo_consistency
from spinmeround.geometry import pixel_rays_world
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _AlphaSettings:
    """How alpha and straight colours are found.

    Attributes:
        background_length, head_length: length of a decoded normal up to which a pixel is background, and from which it
            is head; between them is the silhouette's soft edge.
        background_distance, head_distance: the same for the distance from the background's colour, largest channel.
        inside: alpha above which a pixel is head.
        speck, pinhole: largest fractions of the head's pixels and of all pixels that are no part of the head and no
            hole in it.
        edge_px: width of the band in which the decoder blends head and background.
        least_alpha: below it the head's colour is lost in the noise of the background.
        white, least_white: least channel of a background pixel, and their fraction below which white is assumed.
        least_length: of a normal, against division by 0.
    """

    background_length: float = 0.15
    head_length: float = 0.85
    background_distance: float = 0.2
    head_distance: float = 0.45
    inside: float = 0.5
    speck: float = 0.02
    pinhole: float = 0.006
    edge_px: int = 5
    least_alpha: float = 0.1
    white: float = 0.8
    least_white: float = 0.01
    least_length: float = 1e-6


@dataclass(frozen=True)
class _FacingSettings:
    """When the model's normals are believed.

    Attributes:
        least_fraction: of normals that face their cameras: with fewer, no better than chance, they are of another frame
            or of no head.
        most_cosine: between normal and viewing ray, up to which a normal faces the camera.
        samples: of normals along a side of the picture.
    """

    least_fraction: float = 0.6
    most_cosine: float = 0.1
    samples: int = 64


_ALPHA = _AlphaSettings()
_FACING = _FacingSettings()


@dataclass(frozen=True)
class Matte:
    """Alpha and weight of a view that is a photo.

    Attributes:
        weight: 0 beyond the photo; there ``alpha`` is 1, so that nothing is carved away.
    """

    alpha: Float[np.ndarray, "h w"]
    weight: Float[np.ndarray, "h w"]


def decode_views(
    rgb: Float[np.ndarray, "v h w 3"],
    normals: Float[np.ndarray, "v h w 3"],
    cameras: Cameras,
    *,
    world_from_rig: Float[np.ndarray, "4 4"],
    mattes: Mapping[int, Matte],
    names: tuple[str, ...] = (),
) -> Views:
    """Decode the model's pictures to views of the head.

    Normals that face away from their own cameras are left out of all views, with a warning: the surface is then fitted
    to silhouettes alone.

    Args:
        rgb: over a near-white background.
        normals: pictures (n + 1) / 2 in the rig's frame, grey 0.5 outside the head, of any length.
        cameras: true ones, in the world.
        mattes: of those views that are photos; they replace the alpha and the weight found here.
    """
    turned = (normals * 2 - 1) @ world_from_rig[:3, :3].T.astype(np.float32)
    backgrounds = [_background(c, n) for c, n in zip(rgb, normals, strict=True)]
    alpha = np.stack([head_alpha(c, n, b) for c, n, b in zip(rgb, normals, backgrounds, strict=True)])
    for view, matte in mattes.items():
        alpha[view] = matte.alpha
    straight = np.stack([_without_background(c, a, b) for c, a, b in zip(rgb, alpha, backgrounds, strict=True)])
    length = np.linalg.norm(turned, axis=-1, keepdims=True)
    inside = (alpha > _ALPHA.inside)[..., None] & (length > _ALPHA.background_length)
    unit = np.where(inside, turned / np.maximum(length, _ALPHA.least_length), 0).astype(np.float32)
    facing = _facing_fraction(unit, cameras)
    if facing < _FACING.least_fraction:
        log.warning(
            "only %.0f %% of the model's normals face the cameras that see them: normals are left out, and the surface "
            "is fitted to silhouettes alone; check that the checkpoint is whole",
            100 * facing,
        )
        unit = np.zeros_like(unit)
    weight = photo_consistency(cameras, straight, unit, alpha)
    for view, matte in mattes.items():
        weight[view] = matte.weight
    return Views(cameras, straight, unit, alpha, weight, names)


def head_alpha(
    rgb: Float[np.ndarray, "h w 3"], normals: Float[np.ndarray, "h w 3"], background: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "h w"]:
    """Return the alpha of the head: where a normal has length or a colour is not the background's.

    White hair is head by its normals, a pixel without normal is head by its colour. Specks and pinholes are removed.
    """
    s = _ALPHA
    length = np.linalg.norm(normals * 2 - 1, axis=-1)
    by_normal = (length - s.background_length) / (s.head_length - s.background_length)
    distance = np.abs(rgb - background).max(axis=-1)
    by_colour = (distance - s.background_distance) / (s.head_distance - s.background_distance)
    head = np.maximum(by_normal, by_colour) > s.inside
    head &= ~_components_below(head, s.speck * max(int(head.sum()), 1))
    head |= _components_below(~head, s.pinhole * head.size)
    # A dark edge is far from white even where little of the pixel is head: colours count where no normal is near.
    band = np.ones((s.edge_px, s.edge_px), np.uint8)
    near_a_normal = cv2.dilate(by_normal.astype(np.float32), band) > s.inside
    edge = np.clip(np.where(near_a_normal, by_normal, by_colour), 0, 1).astype(np.float32)
    dilated = cv2.dilate(head.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    core = cv2.erode(head.astype(np.uint8), band) > 0
    return np.where(core, np.float32(1), edge * dilated)


def _background(rgb: Float[np.ndarray, "h w 3"], normals: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    """Return the near-white colour behind the head; white if hardly any of it shows."""
    empty = np.linalg.norm(normals * 2 - 1, axis=-1) < _ALPHA.background_length
    bright = empty & (rgb.min(axis=-1) > _ALPHA.white)
    if bright.mean() < _ALPHA.least_white:
        return np.ones(3, np.float32)
    return np.median(rgb[bright], axis=0).astype(np.float32)


def _without_background(
    rgb: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"], background: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "h w 3"]:
    """Return straight colours: at the silhouette the background's part would make a light seam in 3D."""
    opacity = np.maximum(alpha, _ALPHA.least_alpha)[..., None]
    return np.clip((rgb - (1 - opacity) * background) / opacity, 0, 1).astype(np.float32)


def _components_below(mask: Bool[np.ndarray, "h w"], area_px: float) -> Bool[np.ndarray, "h w"]:
    """Return the connected components of a mask below that area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < area_px
    small[0] = False
    return small[labels]


def _facing_fraction(normals_world: Float[np.ndarray, "v h w 3"], cameras: Cameras) -> float:
    """Return the fraction of normals that face their cameras; 1 without normals."""
    step = max(1, cameras.width_px // _FACING.samples)
    facing = total = 0
    for view in range(len(cameras)):
        rays = pixel_rays_world(
            cameras.camera_from_world[view], cameras.intrinsics_px[view], cameras.width_px, cameras.height_px
        )
        normals = normals_world[view, ::step, ::step]
        known = np.linalg.norm(normals, axis=-1) > 0.5  # unit or 0
        facing += int(((normals * rays[::step, ::step]).sum(-1)[known] < _FACING.most_cosine).sum())
        total += int(known.sum())
    return facing / total if total else 1.0
