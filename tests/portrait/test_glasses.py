"""Glasses painted on a face are found and can be filled; a face without them is left alone."""

import cv2
import numpy as np
import pytest

from spinmeround.io.photo import Photo
from spinmeround.portrait import make_portrait
from spinmeround.portrait.glasses import has_glasses, without_glasses


@pytest.fixture
def portrait(astronaut_portrait):
    return astronaut_portrait.portrait


def painted(portrait, thickness, colour, size):
    """Paint round frames and a bridge; return the picture and the mask of the paint."""
    landmarks = portrait.landmarks_px
    distance = float(np.linalg.norm(landmarks[33] - landmarks[263]))
    mask = np.zeros(portrait.alpha.shape, np.uint8)
    line = max(1, round(thickness * distance))
    middles = [landmarks[list(corners)].mean(0) for corners in ((33, 133), (263, 362))]
    for middle in middles:
        cv2.circle(mask, np.round(middle).astype(int).tolist(), round(size * distance), 255, line)
    along = (middles[1] - middles[0]) / np.linalg.norm(middles[1] - middles[0]) * size * distance
    ends = [np.round(point).astype(int).tolist() for point in (middles[0] + along, middles[1] - along)]
    cv2.line(mask, *ends, 255, line)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8)[..., None]
    return (portrait.rgb * (1 - soft) + soft * np.array(colour)).astype(np.float32), mask > 0


@pytest.mark.parametrize(("thickness", "colour"), [(0.02, (0.12, 0.1, 0.1)), (0.04, (0.05, 0.05, 0.06))])
def test_frames_are_found_and_filled_with_skin(portrait, thickness, colour):
    picture, frame = painted(portrait, thickness, colour, 0.23)
    assert has_glasses(picture, portrait.landmarks_px)
    filled = without_glasses(picture, portrait.landmarks_px)
    worse, better = (np.abs(each - portrait.rgb)[frame].mean() for each in (picture, filled))
    assert better < 0.4 * worse
    far = ~cv2.dilate(frame.astype(np.uint8), np.ones((61, 61))).astype(bool)
    assert np.array_equal(filled[far], picture[far])
    assert not has_glasses(filled, portrait.landmarks_px)


def test_a_face_without_glasses_has_none(astronaut, portrait):
    assert not has_glasses(portrait.rgb, portrait.landmarks_px)
    assert "no glasses found to remove" in make_portrait(Photo(astronaut), remove_glasses=True).notes
