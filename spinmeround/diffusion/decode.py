"""The model's pictures to views that stage two takes as they are: masks, straight colours, unit normals, trust."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.diffusion.view_consistency import cross_view_trust
from spinmeround.geometry import pixel_rays_world
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)

_GREY_LENGTH, _UNIT_LENGTH = 0.15, 0.85
"""Length of a decoded normal up to which it is background, and from which it is head; between them is the rim."""
_NEAR_WHITE, _SURELY_HEAD = 0.2, 0.45
"""Distance from the background's colour, largest of the channels, up to which a pixel may be background."""
_SPECK_SHARE, _PINHOLE_SHARE = 0.02, 0.006
"""Of the head's pixels, and of all: what is smaller is no part of the head, or no hole in it."""
_RIM_PX = 5
"""Width of the band in which the decoder lets head and background run into each other."""
_UNMIXED_FROM = 0.1
"""Of a pixel that is head for less than this share, the colour cannot be told from the background's noise."""
_FACING_SHARE = 0.6
"""Of the normals: with fewer facing their cameras, no better than chance, they are of another frame or of no head."""


@dataclass(frozen=True)
class Matte:
    """What a photo says itself of its view.

    Attributes:
        trust: 0 where the photo does not show the place; there ``alpha`` is 1, so that nothing is carved away.
    """

    alpha: Float[np.ndarray, "h w"]
    trust: Float[np.ndarray, "h w"]


def decode_views(
    rgb: Float[np.ndarray, "v h w 3"],
    normals: Float[np.ndarray, "v h w 3"],
    cameras: Cameras,
    *,
    world_from_rig: Float[np.ndarray, "4 4"],
    mattes: Mapping[int, Matte],
    names: tuple[str, ...] = (),
) -> Views:
    """Views of the head from what the model drew.

    Normals that face away from the cameras that see them are left out of all views, with a warning: stage two then
    goes by outlines.

    Args:
        rgb: over a near-white background.
        normals: pictures (n + 1) / 2 in the rig's frame, grey 0.5 outside the head, of any length.
        cameras: true ones, in the world.
        mattes: of those views that are photos, which are believed rather than compared.
    """
    turned = (normals * 2 - 1) @ world_from_rig[:3, :3].T.astype(np.float32)
    backgrounds = [_background(c, n) for c, n in zip(rgb, normals, strict=True)]
    alpha = np.stack([head_alpha(c, n, b) for c, n, b in zip(rgb, normals, backgrounds, strict=True)])
    for view, matte in mattes.items():
        alpha[view] = matte.alpha
    straight = np.stack([_unmixed(c, a, b) for c, a, b in zip(rgb, alpha, backgrounds, strict=True)])
    length = np.linalg.norm(turned, axis=-1, keepdims=True)
    inside = (alpha > 0.5)[..., None] & (length > _GREY_LENGTH)
    unit = np.where(inside, turned / np.maximum(length, 1e-6), 0).astype(np.float32)
    facing = _facing_share(unit, cameras)
    if facing < _FACING_SHARE:
        log.warning(
            "only %.0f %% of the model's normals face the cameras that see them: normals are left out, and the surface "
            "is shaped by outlines alone; check that the checkpoint is whole",
            100 * facing,
        )
        unit = np.zeros_like(unit)
    weight = cross_view_trust(cameras, straight, unit, alpha)
    for view, matte in mattes.items():
        weight[view] = matte.trust
    return Views(cameras, straight, unit, alpha, weight, names)


def head_alpha(
    rgb: Float[np.ndarray, "h w 3"], normals: Float[np.ndarray, "h w 3"], background: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "h w"]:
    """Coverage of the head: where a normal has length or a colour is not the background's; specks and pinholes removed.

    White hair is head by its normals, a place whose normal is lost is head by its colour.
    """
    length = np.linalg.norm(normals * 2 - 1, axis=-1)
    by_normal = (length - _GREY_LENGTH) / (_UNIT_LENGTH - _GREY_LENGTH)
    off = np.abs(rgb - background).max(axis=-1)
    by_colour = (off - _NEAR_WHITE) / (_SURELY_HEAD - _NEAR_WHITE)
    head = np.maximum(by_normal, by_colour) > 0.5
    head &= ~_parts_below(head, _SPECK_SHARE * max(int(head.sum()), 1))
    head |= _parts_below(~head, _PINHOLE_SHARE * head.size)
    # A dark rim is far from white even where little of the pixel is head: colours shape it where no normal is near.
    near_a_normal = cv2.dilate(by_normal.astype(np.float32), np.ones((_RIM_PX, _RIM_PX), np.uint8)) > 0.5
    rim = np.clip(np.where(near_a_normal, by_normal, by_colour), 0, 1).astype(np.float32)
    around = cv2.dilate(head.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    core = cv2.erode(head.astype(np.uint8), np.ones((_RIM_PX, _RIM_PX), np.uint8)) > 0
    return np.where(core, np.float32(1), rim * around)


def _background(rgb: Float[np.ndarray, "h w 3"], normals: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    """The near-white colour behind the head; white where hardly any of it shows."""
    grey = np.linalg.norm(normals * 2 - 1, axis=-1) < _GREY_LENGTH
    bright = grey & (rgb.min(axis=-1) > 0.8)
    if bright.mean() < 0.01:
        return np.ones(3, np.float32)
    return np.median(rgb[bright], axis=0).astype(np.float32)


def _unmixed(
    rgb: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"], background: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "h w 3"]:
    """Colours without the background that shines through at the rim, which would make a light seam in 3D."""
    share = np.maximum(alpha, _UNMIXED_FROM)[..., None]
    return np.clip((rgb - (1 - share) * background) / share, 0, 1).astype(np.float32)


def _parts_below(mask: Bool[np.ndarray, "h w"], pixels: float) -> Bool[np.ndarray, "h w"]:
    """Connected parts of a mask smaller than that."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < pixels
    small[0] = False
    return small[labels]


def _facing_share(normals_world: Float[np.ndarray, "v h w 3"], cameras: Cameras) -> float:
    """Which share of the normals has its camera on its outer side; 1 where there is no normal at all."""
    step = max(1, cameras.width_px // 64)
    facing = total = 0
    for view in range(len(cameras)):
        rays = pixel_rays_world(
            cameras.camera_from_world[view], cameras.intrinsics_px[view], cameras.width_px, cameras.height_px
        )
        normals = normals_world[view, ::step, ::step]
        known = np.linalg.norm(normals, axis=-1) > 0.5
        facing += int(((normals * rays[::step, ::step]).sum(-1)[known] < 0.1).sum())
        total += int(known.sum())
    return facing / total if total else 1.0
