"""Fitted heads for the benchmarks: from photos to a head, and from a head to pictures from chosen cameras."""

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
from spinmeround.template.avatar.build import AvatarDetail, build_avatar
from spinmeround.template.generator import TemplateGenerator, TemplateHead
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, Cameras, Portrait


def portrait_of(photo: Path) -> Portrait:
    """Return the portrait of a photo's largest face."""
    return make_portrait(read_photo(photo)).portrait


def fit(photos: Sequence[Path], *, seed: int = 0) -> tuple[TemplateHead, list[Portrait]]:
    """Fit one head to all photos of a person."""
    portraits = [portrait_of(photo) for photo in photos]
    return TemplateGenerator().fit(portraits, seed=seed), portraits


def picture(
    head: TemplateHead,
    cameras: Cameras,
    *,
    neutral: bool,
    behind: Float[np.ndarray, "h w 3"] | None = None,
) -> UInt8[np.ndarray, "v h w 3"]:
    """Render the head with the photo's expression or neutral, over white or over the background ``behind``."""
    views = head.render(cameras, neutral=neutral)
    if behind is None:
        return to_uint8(composite(views.rgb, views.alpha))
    alpha = views.alpha[..., None]
    return to_uint8(views.rgb * alpha + behind * (1 - alpha))


def blurred_background(portrait: Portrait, size_px: int) -> Float[np.ndarray, "s s 3"]:
    """Return the low frequencies of a photo's background, extended behind the person."""
    outside = (1 - portrait.alpha)[..., None] * portrait.observed[..., None] + 1e-6
    width = portrait.alpha.shape[0] / 20
    blurred = cv2.GaussianBlur(portrait.rgb * outside, (0, 0), width)
    weight = cv2.GaussianBlur(outside.astype(np.float32), (0, 0), width)[..., None]
    return cv2.resize(blurred / np.maximum(weight, 1e-6), (size_px, size_px), interpolation=cv2.INTER_AREA).clip(0, 1)


def mean_avatar(*, skin_px: int, lod: int, texture_px: int, normal_map: bool = False) -> Avatar:
    """Return the head model's mean, grey and without hair, as an avatar.

    Args:
        skin_px: side of the skin's source texture.
    """
    model = load_head_model()
    skin = SkinTexture(np.full((skin_px, skin_px, 3), 0.5, np.float32), np.zeros((skin_px, skin_px), np.float32))
    uncovered = np.zeros(model.subdivision.shape[0])
    return build_avatar(model, model.mean, uncovered, skin, (), AvatarDetail(lod, texture_px, normal_map))


def rotation_about_y(degrees: float) -> Float[np.ndarray, "4 4"]:
    """Return a rotation about the world's +Y; a positive angle takes +Z toward +X."""
    angle = np.radians(degrees)
    rotation = np.eye(4)
    rotation[0, 0] = rotation[2, 2] = np.cos(angle)
    rotation[0, 2], rotation[2, 0] = np.sin(angle), -np.sin(angle)
    return rotation


def orbited(camera: Cameras, azimuths_deg: Sequence[float]) -> Cameras:
    """Return one camera rotated about the head's vertical axis, by azimuths relative to its own."""
    poses = np.stack([camera.camera_from_world[0] @ rotation_about_y(-a) for a in azimuths_deg])
    intrinsics = np.repeat(camera.intrinsics_px[:1], len(azimuths_deg), axis=0)
    return Cameras(poses, intrinsics, camera.width_px, camera.height_px)


def in_source_pixels(camera: Cameras, crop_from_source: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Return a portrait camera's intrinsics in pixels of the photo it was cropped from; the last entry is 1.

    Raises:
        ValueError: the crop is rotated against the photo, so that the intrinsics would have skew.
    """
    intrinsics = np.linalg.inv(crop_from_source) @ camera.intrinsics_px[0]
    if abs(intrinsics[1, 0]) > 1e-6 * intrinsics[0, 0]:
        raise ValueError("the portrait's crop is rotated against its photo; its camera has skew there")
    return intrinsics / intrinsics[2, 2]


def _shortest_rotation(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Return the smallest rotation that takes direction ``a`` to direction ``b``."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    v = np.cross(a, b)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + a @ b)


def turntable_cameras_of_head(
    photo_camera: Cameras, crop_from_source: Float[np.ndarray, "3 3"], turn: Cameras, first: Cameras
) -> Cameras:
    """Return a turntable video's cameras in the frame of a head that was fitted to the video's first frame.

    The fitted camera gives the pose of the head in the first frame, ``turn`` the poses of the other frames relative to
    it. Focal length and distance of the fit are replaced by those of the video such that the head keeps its size,
    place and orientation in the first frame.

    Args:
        photo_camera: fitted to the portrait of the first frame.
        crop_from_source: from pixels of the frame to those of the portrait.
        turn: the video's cameras, in a frame of their own.
        first: the one of the first frame.
    """
    intrinsics = in_source_pixels(photo_camera, crop_from_source)
    pose = photo_camera.camera_from_world[0]
    centre_ray = pose[:3, 3] / pose[2, 3]
    pixel = intrinsics @ centre_ray
    nominal_ray = np.linalg.inv(first.intrinsics_px[0]) @ pixel
    scale = RADIUS * intrinsics[0, 0] / (first.intrinsics_px[0, 0, 0] * pose[2, 3])
    first_from_head = np.eye(4)
    first_from_head[:3, :3] = _shortest_rotation(centre_ray, nominal_ray) @ pose[:3, :3]
    first_from_head[:3, 3] = RADIUS * nominal_ray
    first_from_head[:3, :3] *= scale
    moved = turn.camera_from_world @ invert_rigid(first.camera_from_world[0]) @ first_from_head
    moved[:, :3] /= scale  # a picture does not change when the camera's frame is scaled as a whole
    return Cameras(moved, turn.intrinsics_px, turn.width_px, turn.height_px)
