"""What the benchmarks do with the package: photos to a fitted head, a head to pictures from chosen cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from spinmeround.geometry import invert_rigid
from spinmeround.images import composite, to_uint8
from spinmeround.io.photo import read_photo
from spinmeround.orbits import RADIUS
from spinmeround.portrait import make_portrait
from spinmeround.template.generator import TemplateGenerator, TemplateHead
from spinmeround.types import Cameras, Portrait


def portrait_of(photo: Path) -> Portrait:
    """The largest face of a photo."""
    return make_portrait(read_photo(photo)).portrait


def fit(photos: Sequence[Path], *, seed: int = 0) -> tuple[TemplateHead, list[Portrait]]:
    """One head of the person in all photos."""
    portraits = [portrait_of(photo) for photo in photos]
    return TemplateGenerator().fit(portraits, seed=seed), portraits


def picture(
    head: TemplateHead,
    cameras: Cameras,
    *,
    keep_expression: bool,
    behind: Float[np.ndarray, "h w 3"] | None = None,
) -> UInt8[np.ndarray, "v h w 3"]:
    """The head over white, or with something behind it."""
    views = head.render(cameras, keep_expression=keep_expression)
    if behind is None:
        return to_uint8(composite(views.rgb, views.alpha))
    share = views.alpha[..., None]
    return to_uint8(views.rgb * share + behind * (1 - share))


def surroundings(portrait: Portrait, size_px: int) -> Float[np.ndarray, "s s 3"]:
    """The slow colours of what is around the person in a photo, nothing of the person themselves."""
    free = (1 - portrait.alpha)[..., None] * portrait.observed[..., None] + 1e-6
    width = portrait.alpha.shape[0] / 20
    slow = cv2.GaussianBlur(portrait.rgb * free, (0, 0), width)
    share = cv2.GaussianBlur(free.astype(np.float32), (0, 0), width)[..., None]
    return cv2.resize(slow / np.maximum(share, 1e-6), (size_px, size_px), interpolation=cv2.INTER_AREA).clip(0, 1)


def turn_about_up(degrees: float) -> Float[np.ndarray, "4 4"]:
    """Turns the world about its up axis; a positive angle takes +Z toward +X."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(angle)
    turn[0, 2], turn[2, 0] = np.sin(angle), -np.sin(angle)
    return turn


def orbited(camera: Cameras, azimuths_deg: Sequence[float]) -> Cameras:
    """One camera carried around the head's vertical axis, by azimuths relative to where it stands."""
    poses = np.stack([camera.camera_from_world[0] @ turn_about_up(-a) for a in azimuths_deg])
    intrinsics = np.repeat(camera.intrinsics_px[:1], len(azimuths_deg), axis=0)
    return Cameras(poses, intrinsics, camera.width_px, camera.height_px)


def in_source_pixels(camera: Cameras, crop_from_source: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of a portrait's camera in pixels of the photo it was cropped from, unit in their last entry.

    Raises:
        ValueError: the crop is turned against the photo, so that no upright camera sees it.
    """
    intrinsics = np.linalg.inv(crop_from_source) @ camera.intrinsics_px[0]
    if abs(intrinsics[1, 0]) > 1e-6 * intrinsics[0, 0]:
        raise ValueError("the portrait's crop is turned against its photo; its camera has no plain intrinsics there")
    return intrinsics / intrinsics[2, 2]


def _shortest_turn(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that takes direction ``a`` to direction ``b``."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    v = np.cross(a, b)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + a @ b)


def as_turn_saw_it(
    photo_camera: Cameras, crop_from_source: Float[np.ndarray, "3 3"], turn: Cameras, first: Cameras
) -> Cameras:
    """Cameras of a published turn, moved into the frame of a head that was fitted to the turn's first frame.

    The fitted camera says how the first frame sees the head; the turn says how the other frames see what the first one
    sees. Focal length and distance of the fit are exchanged for those of the turn so that the head keeps its size,
    place and aspect in the first frame.

    Args:
        turn: the turn's cameras.
        first: its camera of the first frame.
    """
    intrinsics = in_source_pixels(photo_camera, crop_from_source)
    pose = photo_camera.camera_from_world[0]
    centre_ray = pose[:3, 3] / pose[2, 3]
    pixel = intrinsics @ centre_ray
    nominal_ray = np.linalg.inv(first.intrinsics_px[0]) @ pixel
    scale = RADIUS * intrinsics[0, 0] / (first.intrinsics_px[0, 0, 0] * pose[2, 3])
    first_from_head = np.eye(4)
    first_from_head[:3, :3] = _shortest_turn(centre_ray, nominal_ray) @ pose[:3, :3]
    first_from_head[:3, 3] = RADIUS * nominal_ray
    first_from_head[:3, :3] *= scale
    moved = turn.camera_from_world @ invert_rigid(first.camera_from_world[0]) @ first_from_head
    moved[:, :3] /= scale  # a picture does not change when the camera's frame is scaled as a whole
    return Cameras(moved, turn.intrinsics_px, turn.width_px, turn.height_px)
