"""Encode and decode the pictures of view folders and textures; damaged and huge ones are refused."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image, WebPImagePlugin  # noqa: F401 - Pillow itself imports this one only on failure

from spinmeround.errors import InputError
from spinmeround.images import to_uint8
from spinmeround.io.native_output import stderr_muted

MAX_PIXELS = 64_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_PNG_LEVEL = 6
_JPEG_QUALITY = 92


def encode_png(picture: Shaped[np.ndarray, "h w *c"]) -> bytes:
    """Encode uint8 or uint16, grey, RGB or RGBA (straight alpha), as PNG.

    Without time, text or profile: the same picture, the same bytes.

    Raises:
        ValueError: any other shape or type.
    """
    if picture.dtype not in (np.uint8, np.uint16) or picture.shape[2:] not in ((), (3,), (4,)):
        raise ValueError(f"cannot encode as PNG an array of shape {picture.shape} and type {picture.dtype}")
    ordered = picture[..., [2, 1, 0, 3][: picture.shape[2]]] if picture.ndim == 3 else picture
    _, data = cv2.imencode(".png", np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    return data.tobytes()


def encode_jpeg(albedo: Float[np.ndarray, "h w 3"]) -> bytes:
    """Encode a texture as JPEG, every channel at full resolution."""
    stream = io.BytesIO()
    Image.fromarray(to_uint8(albedo)).save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def encode_cutout(albedo: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]) -> bytes:
    """Encode a texture with its opacity as PNG."""
    return encode_png(to_uint8(np.dstack([albedo, alpha])))


def encode_normal_map(normals: Float[np.ndarray, "h w 3"]) -> bytes:
    """Encode a tangent-space normal map as PNG: (n + 1) / 2 in 8 bits, linear, green upward as in OpenGL and glTF."""
    return encode_png(to_uint8(normals * 0.5 + 0.5))


def picture_size_px(path: Path) -> tuple[int, int]:
    """Return width and height, from the header of the file alone.

    Raises:
        InputError: not a picture, or one of more than ``MAX_PIXELS`` pixels.
    """
    return encoded_size_px(_bytes(path), name=path.name)


def encoded_size_px(data: bytes, *, name: str) -> tuple[int, int]:
    """Return width and height as ``picture_size_px`` does; ``name`` is for the message of an error."""
    with _open(name, data) as picture:
        return picture.size


def read_picture(path: Path) -> Shaped[np.ndarray, "h w c"]:
    """Read a picture as uint8 or, from 16-bit files, uint16; EXIF orientation is not applied.

    c is 1 (grey), 3 (RGB) or 4 (RGBA, straight alpha).

    Raises:
        InputError: not a picture, cut short, damaged, or of more than ``MAX_PIXELS`` pixels.
    """
    return decode_picture(_bytes(path), name=str(path))


def decode_picture(data: bytes, *, name: str) -> Shaped[np.ndarray, "h w c"]:
    """Decode bytes as ``read_picture`` does; ``name`` is for the message of an error."""
    with _open(name, data) as picture:
        try:
            if _is_16_bit_png(data):
                picture.verify()  # OpenCV decodes 16 bits but forgives a broken file, Pillow the other way round.
                return _decode_16_bit(data, name)
            if picture.mode in ("1", "L"):
                converted = picture.convert("L")
            else:
                transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
                converted = picture.convert("RGBA" if transparent else "RGB")
        except (OSError, SyntaxError, ValueError, struct.error) as error:
            raise InputError(f"{name}: a damaged or cut-off picture ({error}); copy or export it again") from error
    return np.atleast_3d(np.asarray(converted))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error


def _open(name: str, data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # MAX_PIXELS is stricter than Pillow's limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: not a PNG, JPEG, WebP or BMP picture that can be read") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise InputError(
            f"{name}: {picture.width} x {picture.height} pixels, more than the {MAX_PIXELS // 10**6} million allowed; "
            "make it smaller"
        )
    return picture


def _is_16_bit_png(data: bytes) -> bool:
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16


def _decode_16_bit(data: bytes, name: str) -> Shaped[np.ndarray, "h w c"]:
    with stderr_muted():  # libpng prints what it finds odd about profiles and other chunks that are not used here
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint16:
        raise InputError(f"{name}: a damaged or cut-off picture; copy or export it again")
    picture = np.atleast_3d(picture)
    return picture if picture.shape[2] == 1 else picture[..., [2, 1, 0, 3][: picture.shape[2]]]
