"""Conversion, resizing, compositing and sampling of images: channel-last float32 sRGB in [0, 1], see CONVENTIONS.md."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

_MIN_NORMAL_LENGTH = 0.2
"""Decoded normals shorter than this are grey, or blends of opposite normals, and have no direction."""

_LEAST_DEVIATION_PX = 3.0
"""Standard deviation down to which a blur may be computed on a smaller picture, in pixels of that."""
_LEAST_CYCLIC_DEVIATION_PX = 6
"""The same of a map that wraps round."""
_CYCLIC_MARGIN_SIGMAS = 4
"""Columns of such a map that are repeated at either end, in standard deviations."""


def to_float(image: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Convert uint8 or uint16 to float32 in [0, 1]; floats become float32 with their values unchanged.

    Raises:
        TypeError: any other dtype.
    """
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255
    if image.dtype == np.uint16:
        return image.astype(np.float32) / 65535
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32)
    raise TypeError(f"an image must be uint8, uint16 or float, got {image.dtype}")


def to_uint8(image: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Convert floats in [0, 1] to uint8, rounded; values outside are clipped."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def srgb_to_linear(rgb: Float[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s 3"]:
    """Convert sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Float[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s 3"]:
    """Convert linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def resize(image: Float[np.ndarray, "h w *c"], width_px: int, height_px: int) -> Float[np.ndarray, "h2 w2 *c"]:
    """Resize by area averaging if the image has fewer pixels afterwards, else bilinearly."""
    shrinks = width_px * height_px < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width_px, height_px), interpolation=interpolation)


def composite(
    rgb: Float[np.ndarray, "*b h w 3"], alpha: Float[np.ndarray, "*b h w"], background: Sequence[float] = (1, 1, 1)
) -> Float[np.ndarray, "*b h w 3"]:
    """Composite straight (not premultiplied) colour over a uniform background."""
    return rgb * alpha[..., None] + np.asarray(background, np.float32) * (1 - alpha[..., None])


def normals_to_rgb(
    normals: Float[np.ndarray, "*b h w 3"], alpha: Float[np.ndarray, "*b h w"]
) -> Float[np.ndarray, "*b h w 3"]:
    """Encode unit normals as the usual picture (n + 1) / 2, grey 0.5 outside ``alpha``."""
    return composite(normals * 0.5 + 0.5, alpha, (0.5, 0.5, 0.5)).astype(np.float32)


def rgb_to_normals(
    picture: Float[np.ndarray, "*b h w 3"], alpha: Float[np.ndarray, "*b h w"]
) -> Float[np.ndarray, "*b h w 3"]:
    """Decode what ``normals_to_rgb`` made: unit length where ``alpha`` is above one half, 0 elsewhere.

    Pixels too close to grey to have a direction are 0 as well.
    """
    normals = picture * 2 - 1
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    valid = (alpha[..., None] > 0.5) & (length > _MIN_NORMAL_LENGTH)
    return np.where(valid, normals / np.maximum(length, 1e-6), 0).astype(np.float32)


def sample(image: Float[np.ndarray, "h w *c"], pixels: Float[np.ndarray, "n _"]) -> Float[np.ndarray, "n *c"]:
    """Sample an image bilinearly at pixel positions, clamped at the border; return float32.

    cv2.remap rounds positions to 1/32 pixel.

    Args:
        pixels: x and y; further columns are ignored.
    """
    # remap takes at most 32767 rows or columns: the positions are laid out in rows of a table.
    columns = 4096
    count = len(pixels)
    folded = np.full((max(1, -(-count // columns)) * columns, 2), 0.5, np.float32)
    folded[:count] = pixels[:, :2]
    table = folded.reshape(-1, columns, 2) - np.float32(0.5)
    source = np.ascontiguousarray(image, np.float32)
    found = cv2.remap(source, table, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, *image.shape[2:])[:count]


def blurred(image: Float32[np.ndarray, "h w *c"], deviation_px: float) -> Float32[np.ndarray, "h w *c"]:
    """Blur with a Gaussian; a wide one on a smaller picture, with nearly the same result for a fraction of the work.

    Averaging over a pixel of the smaller picture and interpolating between its pixels blur, too: by a twelfth and by a
    sixth of the square of its side, which the Gaussian's variance is less by.

    Args:
        deviation_px: standard deviation of the Gaussian.
    """
    shrink = max(1, int(deviation_px / _LEAST_DEVIATION_PX))
    height, width = image.shape[:2]
    small_size = (-(-width // shrink), -(-height // shrink))
    if shrink == 1 or min(small_size) < 2:
        return cv2.GaussianBlur(image, (0, 0), deviation_px)
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    left_px = np.sqrt(deviation_px**2 - shrink**2 / 4)
    small = cv2.GaussianBlur(small, (0, 0), left_px * small_size[0] / width, sigmaY=left_px * small_size[1] / height)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def blur_cyclic(
    image: Float[np.ndarray, "h w ..."], sigma_texels: float, *, sigma_down: float | None = None
) -> Float[np.ndarray, "h w ..."]:
    """Blur a map around the head with a Gaussian; columns wrap round, rows past the top and bottom are mirrored.

    A wide blur is computed on a downscaled map, which gives nearly the same result for a fraction of the work.

    Args:
        sigma_texels: standard deviation of the Gaussian.
        sigma_down: the same along columns, if it is another one.
    """
    columns = image.shape[1]
    margin = min(int(_CYCLIC_MARGIN_SIGMAS * sigma_texels) + 1, columns)
    wrapped = np.concatenate([image[:, -margin:], image, image[:, :margin]], axis=1)
    down = sigma_texels if sigma_down is None else sigma_down
    shrink = max(1, int(min(sigma_texels, down) / _LEAST_CYCLIC_DEVIATION_PX))
    size = (max(wrapped.shape[1] // shrink, 1), max(wrapped.shape[0] // shrink, 1))
    small = cv2.resize(wrapped, size, interpolation=cv2.INTER_AREA) if shrink > 1 else wrapped
    small = cv2.GaussianBlur(small, (0, 0), sigma_texels / shrink, sigmaY=down / shrink, borderType=cv2.BORDER_REFLECT)
    blurred = cv2.resize(small, wrapped.shape[1::-1], interpolation=cv2.INTER_LINEAR) if shrink > 1 else small
    return blurred[:, margin : margin + columns]
