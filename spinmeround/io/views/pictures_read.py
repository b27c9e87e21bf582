"""Read the pictures of one view: check them against each other, undistort and resize them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.images import resize, to_float
from spinmeround.io.pictures import read_picture
from spinmeround.io.views.frames import Frame, same_shape

_LEAST_NORMAL_LENGTH = 0.2
"""Decoded normals shorter than this are grey background; true ones have length 1."""
_LEAST_OFFSET_FROM_GREY = 0.1
"""A picture of one colour further than this from grey 0.5 holds no normals."""


@dataclass(frozen=True)
class Pictures:
    """One view's pictures. ``normals`` are unit or 0, in whatever frame the file has them."""

    rgb: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    weight: Float[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]


def read_pictures(folder: Path, frame: Frame, width_px: int, height_px: int) -> Pictures:
    """Open a frame's files and resize them to one size.

    ``alpha`` is the mask times the picture's own alpha channel, 1 if there is neither. Pixels outside the distorted
    picture have, after undistortion, weight 0, and alpha 0 if there is either. Masks, normals and weights of another
    size but the same shape are resized to the picture's.

    Raises:
        InputError: a file that is no picture, or one of another size than the frame's image.
    """
    image = to_float(read_picture(folder / frame.files["file_path"]))
    size = image.shape[1::-1]
    alpha = image[..., 3] if image.shape[2] == 4 else np.ones(image.shape[:2], np.float32)
    rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if "mask_path" in frame.files:
        alpha = alpha * _read(folder, frame, "mask_path", size)[..., 0]
    weight = np.ones_like(alpha)
    if "weight_path" in frame.files:
        weight = _read(folder, frame, "weight_path", size)[..., 0]
    normals = np.zeros_like(rgb)
    if "normal_path" in frame.files:
        picture = _read(folder, frame, "normal_path", size)
        if picture.shape[2] < 3:
            raise InputError(f"{folder / frame.files['normal_path']}: a grey picture; normals need three channels")
        if (picture == picture[0, 0]).all() and np.abs(picture[0, 0, :3] - 0.5).max() > _LEAST_OFFSET_FROM_GREY:
            raise InputError(f"{folder / frame.files['normal_path']}: one colour all over, no normals; leave it out")
        normals = _unit(picture[..., :3] * 2 - 1, alpha)
    layers = np.concatenate([rgb, normals, alpha[..., None], weight[..., None]], axis=2)
    if any(frame.distortion):
        layers = _undistort(layers, frame, folder / frame.files["file_path"])
        if image.shape[2] < 4 and "mask_path" not in frame.files:
            layers[..., 6] = 1  # beyond the distorted picture nothing is known (weight 0), rather than no head
    if size != (width_px, height_px):
        layers = np.concatenate([resize(layers[..., i : i + 4], width_px, height_px) for i in (0, 4)], axis=2)
    layers = layers.astype(np.float32)
    alpha = np.ascontiguousarray(layers[..., 6])
    return Pictures(
        np.ascontiguousarray(layers[..., :3]),
        alpha,
        np.ascontiguousarray(layers[..., 7]),
        _unit(layers[..., 3:6], alpha),
    )


def _read(folder: Path, frame: Frame, key: str, size: tuple[int, ...]) -> Float[np.ndarray, "h w c"]:
    picture = to_float(read_picture(folder / frame.files[key]))
    if not same_shape(picture.shape[1::-1], size):
        raise InputError(
            f"{folder / frame.files[key]}: {picture.shape[1]} x {picture.shape[0]} pixels, but its image has "
            f"{size[0]} x {size[1]}"
        )
    return picture if picture.shape[1::-1] == size else np.atleast_3d(resize(picture.squeeze(), *size))


def _unit(normals: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    valid = (alpha[..., None] > 0.5) & (length > _LEAST_NORMAL_LENGTH)
    return np.where(valid, normals / np.maximum(length, 1e-6), 0).astype(np.float32)


def _undistort(layers: Float[np.ndarray, "h w c"], frame: Frame, path: Path) -> Float[np.ndarray, "h w c"]:
    """Resample to a pinhole camera with the same intrinsics; 0 outside the distorted picture."""
    height, width = layers.shape[:2]
    x, y = principal_px(frame, width, height)
    # OpenCV counts pixels from the centre of the first one.
    intrinsics_px = np.array([[frame.focal_px[0], 0, x - 0.5], [0, frame.focal_px[1], y - 0.5], [0, 0, 1]])
    distortion = np.array(frame.distortion)
    map_x, map_y = cv2.initUndistortRectifyMap(
        intrinsics_px, distortion, np.eye(3), intrinsics_px, (width, height), cv2.CV_32FC1
    )
    displacement_px = np.hypot(map_x - np.arange(width), map_y - np.arange(height)[:, None]).max()
    if not displacement_px < max(width, height):
        raise InputError(
            f"{path}: its distortion would move pixels by {displacement_px:.3g} in a picture of "
            f"{max(width, height)}; check k1 k2 p1 p2 k3, or undistort the pictures first"
        )
    halves = [
        cv2.remap(
            np.ascontiguousarray(layers[..., i : i + 4]), map_x, map_y, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0)
        )
        for i in (0, 4)
    ]
    return np.concatenate(halves, axis=2)


def principal_px(frame: Frame, width_px: int, height_px: int) -> tuple[float, float]:
    """Return the principal point, by default the middle of the picture."""
    x, y = frame.principal_px
    return width_px / 2 if x is None else x, height_px / 2 if y is None else y
