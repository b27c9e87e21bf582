"""Headwear painted over a person whose other classes are known: a beanie in one colour, a scarf round the face."""

import cv2
import numpy as np
import pytest

from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import find_faces
from spinmeround.portrait.matting import WORK_PX
from spinmeround.portrait.portrait import CROP_PX, place_crop
from spinmeround.portrait.pose import fit_head
from spinmeround.portrait.segmentation import parse
from spinmeround.types import FaceGeometry, HeadCrop

CLOTH_RGB = np.array([0.1, 0.45, 0.45])


@pytest.fixture
def portrait(astronaut_portrait):
    return astronaut_portrait.portrait


@pytest.fixture(scope="module")
def face(astronaut):
    mesh = find_faces(astronaut)[0]
    frame = fit_head(mesh)
    matrix = place_crop(frame)
    return FaceGeometry(mesh.landmarks_px @ matrix[:2, :2].T + matrix[:2, 2], frame.moved(matrix))


@pytest.fixture(scope="module")
def head(face):
    return HeadMap.of(face, picture_px=CROP_PX, side_px=CROP_PX)


def classes(portrait, face, cloth):
    """The portrait's classes once cloth is painted over it."""
    soft = cv2.GaussianBlur(cloth.astype(np.float32), (0, 0), 1.0)
    rgb = portrait.rgb * (1 - soft[..., None]) + CLOTH_RGB * soft[..., None]
    crop = HeadCrop(rgb.astype(np.float32), portrait.observed, None, face, ())
    alpha = np.maximum(portrait.alpha, soft)
    small = HeadMap.of(face, picture_px=CROP_PX, side_px=WORK_PX)
    found = parse(crop, alpha, np.where(cloth, 0, portrait.hair).astype(np.float32), small)
    assert found.headwear is not None
    return found.hair, found.headwear


def overlap(soft, mask):
    found = soft > 0.5
    return (found & mask).sum() / (found | mask).sum()


def test_a_beanie_is_headwear_and_the_hair_below_it_is_hair(portrait, face, head):
    cloth = (head.height > 0.95) & (portrait.alpha > 0.5)
    hair, headwear = classes(portrait, face, cloth)
    assert overlap(headwear, cloth) > 0.85
    assert hair[~cloth].sum() > 0.6 * portrait.hair[~cloth].sum()


def test_a_scarf_leaves_the_face(portrait, face, head):
    around = (head.skull < 1.25) & (head.depth_in_face_cm < -0.2) & (head.height > -0.1)
    _, headwear = classes(portrait, face, around)
    assert overlap(headwear, around) > 0.7
    assert headwear[head.certain_skin].mean() < 0.05


def test_nothing_is_worn_on_bare_hair(portrait):
    assert portrait.headwear.max() < 0.5
