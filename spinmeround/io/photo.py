"""Read photos of any usual format as upright float sRGB of bounded size; errors are one line."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageCms, UnidentifiedImageError

from spinmeround.errors import InputError, MissingDependencyError, ResourceError
from spinmeround.images import to_float
from spinmeround.io.jpeg_scans import with_surplus_data
from spinmeround.io.native_output import stderr_muted

MAX_SIDE_PX = 4096
MIN_SIDE_PX = 64
_MAX_PIXELS = 178_000_000
"""Decompressed; larger pictures are refused before they are decoded."""
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "HEIF", "AVIF", "BMP", "DIB", "GIF", "JPEG2000", "PPM", "PSD", "TGA")
"""Those of Pillow that decode within the process: an EPS, whatever its file is called, would start Ghostscript."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION_TAG = 0x0112
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the value of EXIF's orientation; 1 is upright."""
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True)
class Photo:
    """One upright photo.

    Attributes:
        rgb: sRGB in [0, 1], not premultiplied; white where ``alpha`` is 0.
        alpha: the file's own transparency; None if it is opaque.
        path: where it came from.
        photo_from_source: pixels of the upright photo as stored to pixels of ``rgb`` (a large photo is shrunk).
        notes: conversions the user may want to know of, a sentence each.
    """

    rgb: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"] | None = None
    path: Path | None = None
    photo_from_source: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    notes: tuple[str, ...] = ()


def read_photo(path: str | Path) -> Photo:
    """Read JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC (with ``pillow-heif``) and some rarer formats.

    EXIF orientation is applied, colour profiles are converted to sRGB, a picture longer than ``MAX_SIDE_PX`` is shrunk.

    Raises:
        InputError: missing, a folder, empty, not a picture, damaged, too small, or suspiciously large.
        MissingDependencyError: a HEIC photo without ``pillow-heif``.
        ResourceError: not enough memory to decode it.
    """
    path = Path(path)
    head = _first_bytes(path)
    notes: list[str] = []
    try:
        # libtiff, in Pillow and in OpenCV, prints what this module reports as one line.
        quiet = stderr_muted() if head.startswith(_TIFF) else nullcontext()
        with path.open("rb") as stream, warnings.catch_warnings(), quiet:
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata; both are handled here
            image = _open(stream, path, head)
            if image is None:
                return _finish(_read_with_opencv(path), 1.0, path, notes)
            stored = image.size
            image = _decode(image, path, notes)
            image = _to_srgb(image, notes)
    except MemoryError as error:
        raise ResourceError(f"not enough memory to decode {path}; shrink the photo first") from error
    upright = stored if (image.width >= image.height) == (stored[0] >= stored[1]) else stored[::-1]
    return _finish(_as_array(image), image.width / upright[0], path, notes)


@contextmanager
def _as_input_error(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises over a damaged file into an InputError."""
    try:
        yield
    except (MemoryError, UnidentifiedImageError, Image.DecompressionBombError):
        raise
    except Exception as error:
        raise InputError(f"{path} is damaged or cut short: {error}; export or download it again") from error


def _first_bytes(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a photo")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of one photo in it")
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); download or copy it again")
    return head


def _open(stream: IO[bytes], path: Path, head: bytes) -> Image.Image | None:
    """Open the picture lazily; None for a TIFF that Pillow does not read."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _register_heif(path)
    try:
        with _as_input_error(path):
            Image.init()
            image = Image.open(stream, formats=[name for name in _FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} unpacks to more than {_MAX_PIXELS:,} pixels; shrink the photo first") from error
    except UnidentifiedImageError as error:
        if head.startswith(_TIFF):
            return None
        looks = "text" if _is_text(head) else "no format known here"
        raise InputError(f"{path} is not a picture (its content is {looks}); give a JPEG, PNG, WebP or TIFF") from error
    if image.width * image.height > _MAX_PIXELS:
        size = f"{image.width}x{image.height}"
        raise InputError(f"{path} unpacks to {size} pixels, more than {_MAX_PIXELS:,}; shrink the photo first")
    return image


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\n\r" or 32 <= byte < 127 or byte >= 0xC2 for byte in head)


def _register_heif(path: Path) -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        raise MissingDependencyError(
            f"{path} is a HEIC photo, which needs pillow-heif; run: pip install pillow-heif, or export it as JPEG"
        )
    import pillow_heif  # pyright: ignore[reportMissingImports]

    pillow_heif.register_heif_opener()


def _decode(image: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """Decode and shrink the picture, and apply its EXIF orientation."""
    stored = image.size
    with _as_input_error(path):
        if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "HEIF"):
            notes.append(f"the file has {image.n_frames} frames; the first was used")  # pyright: ignore[reportAttributeAccessIssue]
        image.draft(None, (MAX_SIDE_PX, MAX_SIDE_PX))  # a JPEG is decoded at a fraction of its size where that suffices
        image.load()
    if image.format in ("JPEG", "MPO") and _ends_in_grey(image) and _lacks_data(image, path):
        raise InputError(f"{path} is cut short: its lower part is missing; export or download it again")
    orientation = _orientation(image, notes)
    if max(image.size) > MAX_SIDE_PX:
        mode = {"P": "RGBA", "1": "L", "PA": "RGBA"}.get(image.mode, image.mode)
        image_info, image_format = image.info, image.format
        image = image.convert(mode) if mode != image.mode else image
        ratio = MAX_SIDE_PX / max(image.size)
        target = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        resample = Image.Resampling.NEAREST if image.mode.startswith("I;") else Image.Resampling.LANCZOS
        image = image.resize(target, resample, reducing_gap=2.0)
        image.info, image.format = image_info, image_format
    if image.size != stored:
        notes.append(f"shrunk from {stored[0]}x{stored[1]} to {image.width}x{image.height} pixels")
    return image if orientation is None else image.transpose(orientation)


def _orientation(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """Return what turns the stored picture upright, by its EXIF data; None if nothing does, or they are damaged."""
    try:
        return _UPRIGHT_BY.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Pillow raises SyntaxError, struct.error and others over bytes that are no EXIF
        notes.append("the EXIF data are damaged; the photo is taken as it is stored")
        return None


def _ends_in_grey(image: Image.Image) -> bool:
    """Check for the flat grey with which a JPEG decoder fills rows that are missing."""
    rows = max(16, image.height // 20)
    values = np.asarray(image.crop((0, image.height - rows, image.width, image.height))).reshape(rows * image.width, -1)
    return bool((values == values[0]).all() and values.min() >= 126 and values.max() <= 130)


def _lacks_data(image: Image.Image, path: Path) -> bool:
    """Check whether the picture of a JPEG would be another if its file went on: then it ended too early."""
    with _as_input_error(path), Image.open(io.BytesIO(with_surplus_data(path.read_bytes()))) as longer:
        longer.draft(None, (MAX_SIDE_PX, MAX_SIDE_PX))
        return longer.tobytes() != image.tobytes()


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert the embedded colour profile to sRGB; palettes and rare modes become RGB or RGBA."""
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode == "LA":
        image = image.convert("RGBA")
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            output = "RGBA" if image.mode == "RGBA" else "RGB"
            if image.mode != "L" or ImageCms.getProfileName(source):
                image = ImageCms.profileToProfile(image, source, target, outputMode=output) or image
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            notes.append(f"the colour profile was ignored: {error}")
    if image.mode in ("RGB", "RGBA", "L", "F") or image.mode.startswith("I"):
        return image
    return image.convert("RGB")


def _as_array(image: Image.Image) -> Float[np.ndarray, "h w *c"]:
    values = np.asarray(image)
    if image.mode.startswith("I"):
        return np.clip(values.astype(np.float32) / 65535, 0, 1)
    if image.mode == "F":
        return np.clip(values / (255.0 if values.max() > 1 else 1.0), 0, 1).astype(np.float32)
    return to_float(values)


def _read_with_opencv(path: Path) -> Float[np.ndarray, "h w *c"]:
    """Read a TIFF with 16-bit or float colour, which Pillow does not."""
    try:
        values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputError(f"{path} is damaged or too large: {error.err}; export it as JPEG or PNG") from error
    if values is None:
        raise InputError(f"{path} is damaged, or a kind of TIFF not known here; export it as JPEG or PNG")
    if max(values.shape[:2]) > MAX_SIDE_PX:
        ratio = MAX_SIDE_PX / max(values.shape[:2])
        values = cv2.resize(values, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    if values.ndim == 3:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]] if values.shape[2] >= 3 else values[..., 0]
    if values.dtype.kind in "iu" and values.dtype not in (np.uint8, np.uint16):
        values = values / np.float32(np.iinfo(values.dtype).max)
    return np.clip(to_float(values), 0, 1)


def _finish(values: Float[np.ndarray, "h w *c"], scale: float, path: Path, notes: list[str]) -> Photo:
    height, width = values.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(f"{path} is too small: {width}x{height} pixels; at least {MIN_SIDE_PX} a side are needed")
    if not np.isfinite(values).all():
        raise InputError(f"{path} has pixels that are no numbers; export it as JPEG or PNG")
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    alpha = values[..., 3] if values.shape[2] == 4 else None
    rgb = np.ascontiguousarray(values[..., :3])
    if alpha is not None:
        if alpha.max() < 0.5:
            raise InputError(f"{path} is transparent everywhere; flatten it onto a background first")
        rgb = np.where(alpha[..., None] > 0, rgb, np.float32(1))
        alpha = None if alpha.min() > 0.999 else np.ascontiguousarray(alpha)
    return Photo(rgb, alpha, path, np.diag([scale, scale, 1.0]), tuple(notes))
