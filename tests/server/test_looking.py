"""What the server sees in photos and frames, with the package's own networks, on the astronaut of scikit-image."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from spinmeround.errors import InputError
from spinmeround.io.photo import read_photo
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from spinmeround.server.workers.looking import check_pixels, expressions, faces, show, store

ASTRONAUT = Image.fromarray(skimage.data.astronaut())


def encoded(kind: str, picture: Image.Image = ASTRONAUT) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_faces_are_counted_as_the_command_counts_them(tmp_path):
    path = tmp_path / "a.png"
    two = Image.new("RGB", (900, 512))
    two.paste(ASTRONAUT.resize((300, 300)), (0, 0))
    two.paste(ASTRONAUT, (350, 0))
    two.save(path)
    found = faces(read_photo(path))
    assert (found["width"], found["height"]) == (900, 512)
    assert [each["face"] for each in found["faces"]] == [1, 2]
    first, second = (each["box_px"] for each in found["faces"])
    assert first[0] > 350 > second[0] + second[2]
    assert first[2] * first[3] > 2 * second[2] * second[3]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_frames_expression_has_arkits_names(kind):
    read = expressions(encoded(kind))
    assert read["face"]
    assert list(read["expressions"]) == list(BLENDSHAPE_NAMES)
    assert read["expressions"]["mouthSmileLeft"] > 0.3 > read["expressions"]["jawOpen"]
    pitch, yaw, roll = read["head_rotation_deg"]
    mirrored = expressions(encoded(kind, ASTRONAUT.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert mirrored["head_rotation_deg"][1] == pytest.approx(-yaw, abs=4)
    assert abs(pitch) < 25 and abs(roll) < 25


def test_a_frame_without_a_face_and_one_that_is_none():
    assert expressions(encoded("JPEG", Image.new("RGB", (320, 240), "green"))) == {
        "face": False,
        "expressions": {},
        "head_rotation_deg": [],
    }
    for frame in (b"", b"\xff\xd8\xff", encoded("GIF")):
        with pytest.raises(InputError):
            expressions(frame)
    with pytest.raises(InputError, match="pixels"):
        expressions(encoded("PNG", Image.new("1", (8000, 8000))))


@pytest.mark.parametrize(
    ("kind", "stored_as"), [(np.uint8, "photo_0.png"), (np.uint16, "photo_0.tiff"), (np.float32, "photo_0.tiff")]
)
def test_other_kinds_are_stored_as_they_are_read(kind, stored_as, tmp_path):
    """16 bits are those of a grey picture, which the reader of photos keeps; floating point is colour."""
    values = np.random.default_rng(0).random((80, 64) if kind is np.uint16 else (80, 64, 3))
    path = tmp_path / "a.tiff"
    cv2.imwrite(str(path), values.astype(kind) if kind is np.float32 else (values * np.iinfo(kind).max).astype(kind))
    assert store(read_photo(path), tmp_path / "photo_0") == stored_as
    np.testing.assert_array_equal(read_photo(tmp_path / stored_as).rgb, read_photo(path).rgb)


def test_a_shown_photo_is_upright_small_and_bare(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    ASTRONAUT.resize((3000, 1500)).save(path, exif=exif)
    show(read_photo(path), tmp_path / "shown.jpg")
    shown = Image.open(io.BytesIO((tmp_path / "shown.jpg").read_bytes()))
    assert shown.size == (1024, 2048)
    assert not shown.getexif()
    assert {each.name for each in tmp_path.iterdir()} == {"a.jpg", "shown.jpg"}


def test_pixels_are_counted_before_they_are_decoded(tmp_path):
    path: Path = tmp_path / "a.tiff"
    Image.new("1", (3000, 3000)).save(path, compression="group4")
    check_pixels(path, most=9_000_000)
    with pytest.raises(InputError, match="more than 8,000,000 pixels"):
        check_pixels(path, most=8_000_000)
