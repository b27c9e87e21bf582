"""Photos of every kind come in upright, float sRGB; everything else is refused in one line."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import BmpImagePlugin, Image, ImageCms

from spinmeround.errors import InputError, MissingDependencyError
from spinmeround.io import photo
from spinmeround.io.photo import read_photo


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()[:400, :300])


def _values(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(np.float32) / 255


def test_plain_rgb_is_exact(picture, tmp_path):
    picture.save(tmp_path / "a.png")
    found = read_photo(tmp_path / "a.png")
    assert found.rgb.dtype == np.float32
    np.testing.assert_array_equal(found.rgb, _values(picture))
    assert found.alpha is None
    assert found.notes == ()
    np.testing.assert_array_equal(found.photo_from_source, np.eye(3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(picture, tmp_path, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose that makes the stored picture from the upright
    stored = picture if orientation == 1 else picture.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").rgb, _values(picture))


def test_grey_and_bilevel(picture, tmp_path):
    picture.convert("L").save(tmp_path / "grey.png")
    grey = read_photo(tmp_path / "grey.png").rgb
    assert (grey[..., 0] == grey[..., 2]).all()
    np.testing.assert_array_equal(grey[..., 0], np.asarray(picture.convert("L"), np.float32) / 255)
    picture.convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_photo(tmp_path / "bits.png").rgb)) == {0.0, 1.0}


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits(picture, tmp_path, name):
    rng = np.random.default_rng(0)
    deep = np.asarray(picture).astype(np.uint16) * 257 // 2 + rng.integers(0, 200, (400, 300, 3), np.uint16)
    cv2.imwrite(str(tmp_path / name), deep[..., ::-1])
    np.testing.assert_allclose(read_photo(tmp_path / name).rgb, deep / 65535, atol=1 / 255)


def test_sixteen_bit_grey_keeps_its_depth(picture, tmp_path):
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257 + 3
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_photo(tmp_path / "a.png").rgb[..., 0], deep / 65535, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_alpha_is_kept_and_hidden_colour_is_white(picture, tmp_path, name):
    alpha = np.zeros((400, 300), np.uint8)
    alpha[:, 100:200], alpha[:, 200:] = 128, 255
    picture.copy().putalpha(255)
    clear = picture.convert("RGBA")
    clear.putalpha(Image.fromarray(alpha))
    clear.save(tmp_path / name, lossless=True, exact=True)
    found = read_photo(tmp_path / name)
    assert found.alpha is not None
    np.testing.assert_array_equal(found.alpha, alpha.astype(np.float32) / 255)
    assert (found.rgb[:, :100] == 1).all()
    np.testing.assert_array_equal(found.rgb[:, 100:], _values(picture)[:, 100:])


def test_opaque_alpha_is_no_alpha(picture, tmp_path):
    picture.convert("RGBA").save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").alpha is None


def test_palette_with_transparency(picture, tmp_path):
    few = picture.quantize(32)
    few.save(tmp_path / "a.png", transparency=few.getpixel((5, 5)))
    found = read_photo(tmp_path / "a.png")
    assert found.alpha is not None
    assert found.alpha[5, 5] == 0
    assert found.alpha.max() == 1


def test_cmyk(picture, tmp_path):
    picture.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_photo(tmp_path / "a.jpg").rgb - _values(picture)).mean() < 0.02


def test_colour_profile_is_converted(picture, tmp_path):
    linear = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000))
    assert linear is not None
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture.save(tmp_path / "srgb.png", icc_profile=srgb.tobytes())
    assert np.abs(read_photo(tmp_path / "srgb.png").rgb - _values(picture)).max() <= 2 / 255
    picture.save(tmp_path / "broken.png", icc_profile=b"no profile")
    broken = read_photo(tmp_path / "broken.png")
    assert "profile was ignored" in broken.notes[0]


def test_large_pictures_are_shrunk_and_say_so(picture, tmp_path, monkeypatch):
    monkeypatch.setattr(photo, "MAX_SIDE_PX", 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = read_photo(tmp_path / "a.jpg")
    assert found.rgb.shape == (150, 200, 3)
    np.testing.assert_allclose(found.photo_from_source, np.diag([0.5, 0.5, 1]))
    assert "shrunk from 300x400" in found.notes[0]
    turned = cv2.resize(np.rot90(_values(picture), 3), (200, 150), interpolation=cv2.INTER_AREA)
    assert np.abs(found.rgb - turned).mean() < 0.02


def test_first_frame_of_several(picture, tmp_path):
    picture.save(tmp_path / "a.gif", save_all=True, append_images=[picture.rotate(90)])
    assert "2 frames; the first was used" in read_photo(tmp_path / "a.gif").notes[0]


def test_a_png_called_jpg_is_read(picture, tmp_path):
    picture.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_photo(tmp_path / "a.jpg").rgb, _values(picture))


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _lying(content: bytes, height: int, width: int, sof: bytes = b"\xff\xc0") -> bytes:
    start = content.index(sof) + 5
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


def _refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_photo(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_refusals_of_what_is_no_photo(tmp_path):
    assert "does not exist" in _refused(tmp_path / "nowhere.jpg")
    assert "is a folder" in _refused(tmp_path)
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert "empty (0 bytes)" in _refused(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("Dear diary,\nno photo today.\n" * 9, encoding="utf-8")
    assert "its content is text" in _refused(tmp_path / "text.jpg")
    (tmp_path / "noise.jpg").write_bytes(bytes(np.random.default_rng(0).integers(0, 256, 4000, np.uint8)))
    assert "not a picture" in _refused(tmp_path / "noise.jpg")
    Image.new("RGBA", (80, 80)).save(tmp_path / "clear.png")
    assert "transparent everywhere" in _refused(tmp_path / "clear.png")
    Image.new("RGB", (80, 20)).save(tmp_path / "tiny.png")
    assert "too small: 80x20" in _refused(tmp_path / "tiny.png")


def test_refusals_of_damaged_jpegs(picture, tmp_path):
    content = _jpeg(picture)
    for name, damaged in {
        "cut": content[: len(content) // 2],
        "head": content[:200],
        "ended": content[: len(content) // 2] + b"\xff\xd9",
        "taller": _lying(content, 1200, 300),
        "wider": _lying(content, 400, 900),
    }.items():
        (tmp_path / f"{name}.jpg").write_bytes(damaged)
        assert "damaged" in (message := _refused(tmp_path / f"{name}.jpg")) or "cut short" in message


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
def test_grey_below_a_photo_is_read_and_missing_rows_are_refused(picture, tmp_path, how):
    path = tmp_path / "a.jpg"
    padded = Image.new("RGB", (300, 520), (128, 128, 128))
    padded.paste(picture)
    padded.save(path, quality=90, **how)
    found = read_photo(path).rgb
    assert found.shape == (520, 300, 3)
    np.testing.assert_allclose(found[410:], 128 / 255, atol=1e-6)
    content = path.read_bytes()
    sof = b"\xff\xc2" if "progressive" in how else b"\xff\xc0"
    for damaged in (_lying(content, 600, 300, sof), content[: content.index(b"\xff\xda") + 2000] + b"\xff\xd9"):
        path.write_bytes(damaged)
        assert "cut short" in _refused(path)


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate"])
@pytest.mark.parametrize("depth", [8, 16])
def test_damaged_tiffs_are_refused_and_libraries_keep_quiet(picture, tmp_path, capfd, compression, depth):
    path = tmp_path / "a.tif"
    if depth == 8:
        picture.save(path, compression=compression)
    else:
        deflate = [cv2.IMWRITE_TIFF_COMPRESSION, 8 if compression else 1]
        cv2.imwrite(str(path), np.asarray(picture).astype(np.uint16) * 257, deflate)
    content = path.read_bytes()
    capfd.readouterr()
    generator = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content[: generator.integers(100, len(content))])
        for index in generator.integers(0, 100, 3):
            damaged[index] = generator.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):  # now and then all that counts is whole
            read_photo(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("raised", [TypeError("Missing dimensions"), RuntimeError("no planes"), KeyError(256)])
@pytest.mark.parametrize("where", ["_open", "load"])
def test_whatever_a_decoder_raises_is_damage(picture, tmp_path, monkeypatch, raised, where):
    def fail(*_, **__):
        raise raised

    picture.save(tmp_path / "a.bmp")
    monkeypatch.setattr(BmpImagePlugin.BmpImageFile, where, fail)
    assert "damaged" in (message := _refused(tmp_path / "a.bmp")) or "not a picture" in message


def test_damaged_exif_data_are_told_and_the_photo_is_read(picture, tmp_path):
    picture.save(tmp_path / "a.png", exif=b"Exif\0\0no TIFF header and no tags")
    found = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(found.rgb, _values(picture))
    assert found.notes == ("the EXIF data are damaged; the photo is taken as it is stored",)


def test_an_eps_called_jpg_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n")
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    assert "not a picture" in _refused(tmp_path / "a.jpg")


def test_tiffs_of_32_bits(tmp_path):
    ramp = np.linspace(0, 1, 80 * 90 * 3).reshape(80, 90, 3)
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), (ramp[..., ::-1] * (2**31 - 1)).astype(np.int32))
    np.testing.assert_allclose(read_photo(path).rgb, ramp, atol=1e-6)
    ramp[40, 40] = np.nan
    cv2.imwrite(str(path), ramp.astype(np.float32))
    assert "pixels that are no numbers" in _refused(path)


def test_bombs_are_refused_before_they_unpack(picture, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    (tmp_path / "bomb.jpg").write_bytes(_lying(_jpeg(picture), 60_000, 60_000))
    for name in ("bomb.png", "bomb.jpg"):
        assert "178,000,000 pixels" in _refused(tmp_path / name)


def test_heic_without_its_reader_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(photo.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(MissingDependencyError, match="pip install pillow-heif"):
        read_photo(tmp_path / "a.heic")


def test_heic_with_its_reader(picture, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        heif.register_heif_opener()
        picture.save(tmp_path / "a.heic", quality=95)
    assert np.abs(read_photo(tmp_path / "a.heic").rgb - _values(picture)).mean() < 0.02
