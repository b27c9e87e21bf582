"""The portrait: a crop that leads back to the photo, and a result that says what was seen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spinmeround.io.photo import Photo
from spinmeround.portrait import make_portrait, portrait
from spinmeround.portrait.landmarks import find_faces
from spinmeround.portrait.pose import fit_head
from spinmeround.types import HeadFrame, Segmentation


def test_landmarks_lead_back_to_the_photo(astronaut, astronaut_portrait):
    found = astronaut_portrait.portrait
    source_from_crop = np.linalg.inv(found.crop_from_source)
    back = found.landmarks_px @ source_from_crop[:2, :2].T + source_from_crop[:2, 2]
    np.testing.assert_allclose(back, find_faces(astronaut)[0].landmarks_px, atol=1e-3)


def test_crop_shows_the_photo_where_it_says(astronaut, astronaut_portrait):
    found = astronaut_portrait.portrait
    assert found.rgb.shape == (768, 768, 3)
    assert found.rgb.dtype == np.float32
    scale, shift = found.crop_from_source[0, 0], found.crop_from_source[:2, 2]
    grid = np.stack(np.meshgrid(np.arange(768) + 0.5, np.arange(768) + 0.5), -1)
    source = (grid - shift) / scale - 0.5
    expected = cv2.remap(astronaut, source.astype(np.float32), None, cv2.INTER_LINEAR)
    assert np.abs(found.rgb - expected)[found.observed].mean() < 0.006
    inside = ((source > -0.5) & (source < 511.5)).all(-1)
    assert (found.observed != inside).sum() <= 4 * 768
    assert (found.rgb[~found.observed] == 1).all()


def test_head_fits_into_the_crop(astronaut_portrait):
    found = astronaut_portrait.portrait
    face = np.linalg.norm(found.landmarks_px[10] - found.landmarks_px[152])
    assert 768 / face == pytest.approx(2.6, abs=0.15)
    hair = np.argwhere(found.hair > 0.5)
    assert hair.min() > 10
    assert hair[:, 1].max() < 758
    assert (found.alpha[-1] > 0.5).any(), "shoulders reach the lower border"


def test_result_says_what_was_seen(astronaut_portrait):
    assert astronaut_portrait.faces_seen == 1
    assert astronaut_portrait.face_taken == 1
    assert astronaut_portrait.presence > 0.99
    assert any("pixels high" in note for note in astronaut_portrait.notes)
    assert abs(astronaut_portrait.portrait.head_pose_deg[0]) < 8


def test_repeats_exactly(astronaut, astronaut_portrait):
    again = make_portrait(Photo(astronaut)).portrait
    for name in ("rgb", "alpha", "hair", "clothes", "observed", "landmarks_px", "blendshapes", "crop_from_source"):
        np.testing.assert_array_equal(getattr(again, name), getattr(astronaut_portrait.portrait, name), name)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_on_its_side_is_turned(astronaut, astronaut_portrait, quarters):
    lying = np.ascontiguousarray(np.rot90(astronaut, quarters))
    result = make_portrait(Photo(lying))
    assert any("was turned by" in note for note in result.notes)
    assert np.abs(result.portrait.head_pose_deg - astronaut_portrait.portrait.head_pose_deg).max() < 3
    assert np.abs(result.portrait.rgb - astronaut_portrait.portrait.rgb).mean() < 0.02
    crop_from_source = result.portrait.crop_from_source
    assert np.linalg.det(crop_from_source[:2, :2]) > 0
    source = np.linalg.inv(crop_from_source) @ [*result.portrait.landmarks_px[1], 1]
    x, y = (np.clip(np.floor(source[:2]), 0, 511)).astype(int)
    crop_x, crop_y = result.portrait.landmarks_px[1].astype(int)
    assert np.abs(lying[y, x] - result.portrait.rgb[crop_y, crop_x]).max() < 0.1


def test_shrunk_photos_lead_back_to_the_stored_pixels(astronaut):
    result = make_portrait(Photo(astronaut, photo_from_source=np.diag([0.5, 0.5, 1.0])))
    plain = make_portrait(Photo(astronaut)).portrait.crop_from_source
    np.testing.assert_allclose(result.portrait.crop_from_source, plain @ np.diag([0.5, 0.5, 1]))


def test_hair_over_the_border_is_noted(astronaut):
    result = make_portrait(Photo(np.ascontiguousarray(astronaut[45:])))
    assert any("hair reaches over the border" in note for note in result.notes)


def test_crop_is_placed_by_the_head_alone():
    frame = HeadFrame(np.diag([1.0, -1, -1]), np.array([300.0, 200.0]), 5.0)
    crop = portrait.place_crop(frame)
    np.testing.assert_allclose(crop @ [300, 200, 1], [384, 384, 1], atol=1e-9)
    assert 768 / crop[0, 0] == pytest.approx(2.6 * 17.66 * 5)
    wider = portrait.place_crop(frame, 1.35)
    assert crop[0, 0] / wider[0, 0] == pytest.approx(1.35)


@pytest.mark.parametrize("scale", [0.31, 1.0, 2.7])
def test_warp_keeps_a_ramp(scale):
    y, x = np.mgrid[:900, :1100] + 0.5
    ramp = np.stack([x / 1100, y / 900, 0 * x], -1).astype(np.float32)
    crop_from_photo = np.array([[scale, 0, -scale * 100.3], [0, scale, -scale * 60.7], [0, 0, 1]])
    crop = portrait.warp_crop(ramp, crop_from_photo)
    px = (np.arange(768) + 0.5) / scale + 100.3
    py = (np.arange(768) + 0.5) / scale + 60.7
    inner_x, inner_y = px < 1090, py < 890
    row = np.flatnonzero(inner_y)[20]
    np.testing.assert_allclose(crop[row, inner_x, 0][20:], px[inner_x][20:] / 1100, atol=2e-3)
    column = np.flatnonzero(inner_x)[20]
    np.testing.assert_allclose(crop[inner_y, column, 1][20:], py[inner_y][20:] / 900, atol=2e-3)


def test_every_shared_photo_makes_a_portrait(models, test_data):
    from spinmeround.io.photo import read_photo

    for path in sorted((test_data / "faces").glob("*.jpg")):
        result = make_portrait(read_photo(path))
        found = result.portrait
        assert result.faces_seen >= 1
        head = fit_head(find_faces(read_photo(path).rgb)[0])
        np.testing.assert_allclose(found.head_pose_deg, head.angles_deg, atol=1e-6)
        assert 0.005 < found.hair.mean() < 0.15, path.name
        assert 0.1 < found.clothes.mean() < 0.6, path.name


class BallOfHair:
    """A matte and hair model that sees a ball of hair around the head, of a radius in centimetres."""

    licences = ()

    def __init__(self, radius_cm: float) -> None:
        self.radius_cm = radius_cm

    def matte(self, crop):
        middle = crop.face.frame.project(np.array([0.0, 3.6, -3.8]))
        y, x = np.mgrid[: len(crop.rgb), : len(crop.rgb)] + 0.5
        away = np.hypot(x - middle[0], y - middle[1])
        return ((away < self.radius_cm * crop.face.frame.scale_px) & crop.observed).astype(np.float32)

    def segment(self, crop, alpha):
        face = cv2.fillConvexPoly(
            np.zeros(alpha.shape, np.uint8), cv2.convexHull(crop.face.landmarks_px.astype(np.int32)), 1
        )
        return Segmentation(hair=alpha * (face == 0), clothes=np.zeros_like(alpha))


def test_large_hair_gets_a_wider_crop(astronaut):
    wide = cv2.copyMakeBorder(astronaut, 300, 0, 300, 300, cv2.BORDER_REPLICATE)
    scales = []
    for radius_cm in (14, 26):
        ball = BallOfHair(radius_cm)
        found = make_portrait(Photo(wide), matte_model=ball, hair_model=ball).portrait
        scales.append(found.crop_from_source[0, 0])
        assert found.hair[0].max() == 0, "all of the hair is in the crop"
    assert scales[1] < 0.8 * scales[0]
