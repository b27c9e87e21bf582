"""Photos as they come in: what they are by their content, whether they can be taken, and what of them is kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from spinmeround.server.photos.metadata import without_metadata
from spinmeround.server.refusals import RefusedError

KNOWN = "a JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF"
STRIPPED = ("jpg", "png", "webp")
"""Kinds whose metadata are taken out as they are stored; what is in others is decoded and stored as PNG or TIFF."""
_PILLOW = {"jpg": ("JPEG",), "png": ("PNG",), "webp": ("WEBP",)}
_ORIENTATION_TAG = 0x0112
_SIGNATURE_BYTES = 16
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def kind_of_photo(stream: IO[bytes], *, called: str) -> str:
    """Return what a photo is by its first bytes: the suffix of such files, without its dot.

    Args:
        called: what to call it in messages.

    Raises:
        RefusedError: it is none, as SVG, HTML and text are none.
    """
    stream.seek(0)
    head = stream.read(_SIGNATURE_BYTES)
    stream.seek(0)
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return "heic"
        if head[8:12] in (b"avif", b"avis"):
            return "avif"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"BM"):
        return "bmp"
    raise RefusedError(415, "NoPhoto", f"{called} is no picture known here; give {KNOWN}")


def check_size(stream: IO[bytes], *, called: str, most_pixels: int) -> int:
    """Check a photo's size by its header, without decoding it; return EXIF's orientation.

    Args:
        stream: at its beginning, a kind of ``STRIPPED``.

    Raises:
        RefusedError: too many pixels, or no header that can be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(stream, formats=[name for names in _PILLOW.values() for name in names])
            size = image.size
            orientation = _orientation(image)
    except Image.DecompressionBombError:
        raise _too_many_pixels(called, most_pixels) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise RefusedError(422, "InputError", f"{called} is damaged; export or download it again") from error
    finally:
        stream.seek(0)
    if size[0] * size[1] > most_pixels:
        raise _too_many_pixels(called, most_pixels)
    return orientation


def _too_many_pixels(called: str, most: int) -> RefusedError:
    return RefusedError(413, "TooLarge", f"{called} has more than {most:,} pixels; shrink it first")


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation as the reader of photos has it; 1 where the data are damaged."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises SyntaxError, struct.error and others over bytes that are no EXIF
        return 1
    return value if value in range(1, 9) else 1


def store_stripped(stream: IO[bytes], target: Path, *, called: str, most_pixels: int) -> bool:
    """Store a photo of a kind in ``STRIPPED`` without its metadata.

    Returns:
        False if its layout is too odd to be sure of, and nothing was stored.

    Raises:
        RefusedError: too many pixels, or damaged.
    """
    kind = target.suffix.removeprefix(".")
    orientation = check_size(stream, called=called, most_pixels=most_pixels)
    try:
        bare = without_metadata(stream.read(), kind=kind, orientation=orientation)
    except ValueError:
        return False
    finally:
        stream.seek(0)
    target.write_bytes(bare)
    return True
