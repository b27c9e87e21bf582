"""Photos are stored without what they say of time, place and camera, and are read as before to the last bit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from spinmeround.io.photo import read_photo
from spinmeround.server.photos.checks import store_stripped
from spinmeround.server.refusals import RefusedError
from tests.server.serving import jpeg

SECRET = b"SECRETPLACE"
_GPS, _MAKE, _ORIENTATION = 0x8825, 0x010F, 0x0112


def picture(mode: str = "RGB") -> Image.Image:
    bands = {"RGB": 3, "RGBA": 4}[mode]
    values = np.random.default_rng(1).integers(0, 255, (9, 12, bands), np.uint8)
    return Image.fromarray(values).resize((96, 72), Image.Resampling.BICUBIC)


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[_ORIENTATION], made[_MAKE] = orientation, SECRET.decode()
    made.get_ifd(_GPS).update({1: "N", 2: (51.0, 30.0, 12.0), 29: SECRET.decode()})
    return made


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo(kind: str, orientation: int) -> bytes:
    stream = io.BytesIO()
    how = {"exif": exif(orientation), "icc_profile": profile()}
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + SECRET + b"</x:xmpmeta>"
    match kind:
        case "jpg":
            picture().save(stream, "JPEG", comment=SECRET, xmp=xmp, **how)
        case "progressive.jpg":
            picture().save(stream, "JPEG", progressive=True, comment=SECRET, xmp=xmp, **how)
        case "png":
            text = PngImagePlugin.PngInfo()
            text.add_text("Comment", SECRET.decode())
            text.add_itxt("XML:com.adobe.xmp", SECRET.decode(), zip=True)
            picture("RGBA").save(stream, "PNG", pnginfo=text, **how)
        case "webp":
            picture("RGBA").save(stream, "WEBP", lossless=True, xmp=xmp, **how)
        case "lossy.webp":
            picture().save(stream, "WEBP", xmp=xmp, **how)
    return stream.getvalue() + b"\xff\xd8 a film follows " + SECRET


def store(content: bytes, stored: Path, *, most_pixels: int = 10**6) -> bool:
    upload = stored.with_name("upload")
    upload.write_bytes(content)
    with upload.open("rb") as stream:
        return store_stripped(stream, stored, called="it", most_pixels=most_pixels)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["jpg", "progressive.jpg", "png", "webp", "lossy.webp"])
def test_a_stored_photo_says_nothing_and_is_read_as_before(kind, orientation, tmp_path):
    content = photo(kind, orientation)
    assert SECRET in content
    suffix = kind.split(".")[-1]
    original, stored = tmp_path / f"original.{suffix}", tmp_path / f"stored.{suffix}"
    original.write_bytes(content)
    assert store(content, stored)
    bare = stored.read_bytes()
    assert SECRET not in bare
    kept = Image.open(io.BytesIO(bare))
    assert dict(kept.getexif()) == ({} if orientation == 1 else {_ORIENTATION: orientation})
    assert not kept.getexif().get_ifd(_GPS)
    assert kept.info.get("icc_profile") == profile()
    before, after = read_photo(original), read_photo(stored)
    np.testing.assert_array_equal(after.rgb, before.rgb)
    np.testing.assert_array_equal(after.alpha, before.alpha)
    assert after.rgb.shape[:2] == ((96, 72) if orientation in (6, 8) else (72, 96))


def test_a_photo_that_is_cut_short_stays_so(tmp_path):
    """The reader of photos finds that, and says it."""
    content = jpeg(256, 256)
    stored = tmp_path / "a.jpg"
    assert store(content[:-200], stored)
    assert stored.read_bytes() == content[:-200]


def test_an_odd_layout_is_left_to_the_reader_of_photos(tmp_path):
    """Pillow skips what is between the segments of a JPEG; what it may hold is not known here."""
    content = jpeg()
    end = 4 + int.from_bytes(content[4:6])
    odd = content[:end] + b"odd" + content[end:]
    assert not store(odd, tmp_path / "a.jpg")
    assert not (tmp_path / "a.jpg").exists()


def test_too_many_pixels_are_refused_by_the_header_alone(tmp_path):
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 100_000
    with pytest.raises(RefusedError) as refused:
        store(stream.getvalue(), tmp_path / "a.png", most_pixels=10**8)
    assert refused.value.status == 413
