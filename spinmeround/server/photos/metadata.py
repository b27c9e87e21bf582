"""Take EXIF, GPS, XMP and all else that is no picture out of photos, without touching a pixel.

What changes how a photo is read stays: colour profiles, transparency, and which way is up. The layouts are those of
ISO/IEC 10918-1 (JPEG), ISO/IEC 15948 (PNG) and RFC 9649 (WebP).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP"}
_WEBP_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_HAS_EXIF, _HAS_XMP = 0x08, 0x04


def without_metadata(photo: bytes, *, kind: str, orientation: int) -> bytes:
    """Return a photo that is read as before and says nothing else.

    Args:
        kind: ``jpg``, ``png`` or ``webp``.
        orientation: EXIF's, 1 to 8.

    Raises:
        ValueError: the file is not laid out as its kind is.
    """
    exif = _exif(orientation) if orientation != 1 else b""
    try:
        return {"jpg": _bare_jpeg, "png": _bare_png, "webp": _bare_webp}[kind](photo, exif)
    except (struct.error, IndexError) as error:
        raise ValueError(f"it ends within a part: {error}") from error


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _bare_jpeg(photo: bytes, exif: bytes) -> bytes:
    kept = [b"\xff\xd8"]
    added = b"Exif\0\0" + exif
    segment = struct.pack(">BBH", 0xFF, _APP1, len(added) + 2) + added if exif else b""
    for marker, part in _jpeg_parts(photo):
        if segment and marker != _APP0:  # a JFIF header comes first
            kept.append(segment)
            segment = b""
        if _is_kept_in_jpeg(marker, part):
            kept.append(part)
    return b"".join(kept)


def _is_kept_in_jpeg(marker: int, part: bytes) -> bool:
    """Whether a segment is needed to show the picture: its data, a colour profile, or how its colours are coded."""
    content = part[4:]
    if marker == _APP0:
        return content.startswith(b"JFIF\0")
    if marker == _APP2:
        return content.startswith(b"ICC_PROFILE\0")
    return marker == _APP14 or not (_APP0 <= marker <= _APP15 or marker == _COM)


def _jpeg_parts(photo: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the segments after the first marker, each with its marker, up to the end of the picture.

    Picture data go with the segment before them. What follows the end, as further pictures and films do, is left out.
    """
    if photo[:2] != b"\xff\xd8":
        raise ValueError("it does not begin as a JPEG does")
    at = 2
    while at < len(photo):
        if photo[at] != 0xFF:
            raise ValueError(f"there is no marker at byte {at}")
        start = at
        while photo[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = photo[at + 1]
        at += 2
        if marker == _EOI:
            yield marker, photo[start:at]
            return
        if marker not in _WITHOUT_LENGTH:
            at += max(struct.unpack_from(">H", photo, at)[0], 2)
            if marker == _SOS:
                at = _end_of_scan(photo, at)
        if at > len(photo):
            raise ValueError("it ends within a segment")
        yield marker, photo[start:at]


def _end_of_scan(photo: bytes, at: int) -> int:
    """Return where the next marker that is no part of the scan's data begins; the end of a photo that is cut short."""
    while True:
        at = photo.find(b"\xff", at)
        if at < 0 or at + 1 >= len(photo):
            return len(photo)
        follows = photo[at + 1]
        if follows == 0xFF:
            at += 1
        elif follows == 0 or 0xD0 <= follows <= 0xD7:
            at += 2
        else:
            return at


def _bare_png(photo: bytes, exif: bytes) -> bytes:
    if not photo.startswith(_PNG_SIGNATURE):
        raise ValueError("it does not begin as a PNG does")
    kept, at = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while at < len(photo):
        length, name = struct.unpack_from(">I4s", photo, at)
        end = at + 12 + length
        if name in _PNG_KEPT:
            kept.append(photo[at:end])  # of a file that is cut short, what there is
        if name == b"IHDR" and exif:
            checksum = zlib.crc32(b"eXIf" + exif)
            kept.append(struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", checksum))
        if name == b"IEND":
            break
        at = end
    return b"".join(kept)


def _bare_webp(photo: bytes, exif: bytes) -> bytes:
    if photo[:4] != b"RIFF" or photo[8:12] != b"WEBP":
        raise ValueError("it does not begin as a WebP does")
    kept, at = [], 12
    end_of_file = min(len(photo), 8 + struct.unpack_from("<I", photo, 4)[0])
    while at + 8 <= end_of_file:
        name, length = struct.unpack_from("<4sI", photo, at)
        end = at + 8 + length + length % 2
        chunk = photo[at:end]
        if name == b"VP8X":
            flags = chunk[8] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if exif else 0)
            chunk = chunk[:8] + bytes([flags]) + chunk[9:]
        if name in _WEBP_KEPT:
            kept.append(chunk)
        at = end
    if exif:
        kept.append(struct.pack("<4sI", b"EXIF", len(exif)) + exif + b"\0" * (len(exif) % 2))
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(content)) + content
