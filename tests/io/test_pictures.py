"""PNG out is exact and without a date; pictures in are read strictly."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinmeround.errors import InputError
from spinmeround.io.photo import read_photo
from spinmeround.io.pictures import encode_png, picture_size_px, read_picture


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_round_trip_without_extra_chunks(tmp_path: Path, kind: type, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape).astype(kind)
    data = encode_png(picture)
    (tmp_path / "a.png").write_bytes(data)
    back = read_picture(tmp_path / "a.png")
    assert back.dtype == kind
    np.testing.assert_array_equal(back, picture.reshape(*shape[:2], -1))
    assert picture_size_px(tmp_path / "a.png") == (7, 5)
    chunks, at = set(), 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks.add(name)
        at += 12 + length
    assert chunks == {b"IHDR", b"IDAT", b"IEND"}


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("read", [read_picture, lambda path: read_photo(path).rgb])
def test_libpng_keeps_its_warnings_to_itself(tmp_path: Path, capfd, kind: type, read) -> None:
    picture = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (80, 70, 3)).astype(kind)
    data = encode_png(picture)
    odd = _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")) + _chunk(b"sRGB", b"\x09")
    (tmp_path / "a.png").write_bytes(data[:33] + odd + data[33:])
    assert read(tmp_path / "a.png").shape == picture.shape
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 4), ("LA", 4), ("CMYK", 3)]
)
def test_every_usual_mode(tmp_path: Path, mode: str, channels: int) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (6, 4), "white").convert(mode).save(tmp_path / f"a.{suffix}")
    picture = read_picture(tmp_path / f"a.{suffix}")
    assert picture.shape == (4, 6, channels)
    assert picture.min() >= 254


def test_exif_turns_nothing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").shape == (4, 6, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_damage_is_seen(tmp_path: Path, suffix: str, survives_corruption) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / f"a{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"half{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="picture"):
        read_picture(tmp_path / f"half{suffix}")
    assert survives_corruption(tmp_path / f"a{suffix}", read_picture, flips=40) > 10


def test_damage_in_16_bits_is_seen(tmp_path: Path, survives_corruption) -> None:
    picture = np.random.default_rng(0).integers(0, 65535, (40, 50, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(encode_png(picture))
    assert survives_corruption(tmp_path / "a.png", read_picture, flips=60) > 50


def test_bombs_and_strangers_are_refused(tmp_path: Path) -> None:
    data = bytearray(encode_png(np.zeros((4, 4), np.uint8)))
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match=r"bomb.png: .*(30000 x 30000 pixels|can be read)"):
        read_picture(tmp_path / "bomb.png")
    Image.new("1", (8100, 8000)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match="8100 x 8000 pixels, more than the 64 million allowed"):
        picture_size_px(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match="not a PNG, JPEG, WebP or BMP picture"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(InputError, match="cannot be read: no such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(ValueError, match="cannot encode as PNG"):
        encode_png(np.zeros((4, 4, 3), np.int64))
