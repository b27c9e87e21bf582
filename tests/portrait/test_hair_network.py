"""The package's own hair network: its file, and hair on a photo and on synthetic people it was not trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from spinmeround.portrait.hair_network import WEIGHTS, OwnHairNetwork, hair_inputs
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import find_faces
from spinmeround.portrait.pose import fit_head, fit_landmarks
from spinmeround.types import FaceGeometry

DRAWN = sorted((Path(__file__).parent / "synthetic_hair").glob("*.jpg"))
"""Drawn by ``tools/hair_people.py``; the number is the seed, below those of training."""


@pytest.fixture(scope="module")
def network() -> OwnHairNetwork:
    return OwnHairNetwork()


@pytest.fixture(scope="module")
def astronaut_head(astronaut_portrait) -> HeadMap:
    portrait = astronaut_portrait.portrait
    height_px = float(np.linalg.norm(portrait.landmarks_px[10] - portrait.landmarks_px[152]))
    frame = fit_landmarks(portrait.landmarks_px, face_height_px=height_px)
    return HeadMap.of(FaceGeometry(portrait.landmarks_px, frame), picture_px=len(portrait.rgb), side_px=384)


def test_the_file_is_small_and_needs_no_pickle():
    assert WEIGHTS.stat().st_size < 300_000
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype == np.float16 for name in arrays.files)
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)


def test_the_astronaut_has_hair_around_her_face_and_none_on_it(network, astronaut_portrait, astronaut_head):
    found = network.hair_probability(astronaut_portrait.portrait.rgb, astronaut_head)
    small = cv2.resize(found, (384, 384), interpolation=cv2.INTER_AREA)
    assert found.shape == (768, 768) and found.min() >= 0 and found.max() <= 1
    other = astronaut_portrait.portrait.hair > 0.5  # by colours, which are plain to tell apart in this photo
    assert ((found > 0.5) & other).sum() / ((found > 0.5) | other).sum() > 0.7
    assert small[astronaut_head.certain_skin].mean() < 0.05
    assert 0.04 < (found > 0.5).mean() < 0.25


def test_the_same_crop_gives_the_same_bytes(network, astronaut_portrait, astronaut_head):
    rgb = astronaut_portrait.portrait.rgb
    first, again = (each.hair_probability(rgb, astronaut_head) for each in (network, OwnHairNetwork()))
    assert first.tobytes() == again.tobytes()


def test_the_resolution_of_the_head_map_does_not_matter(network, astronaut_portrait, astronaut_head):
    rgb = astronaut_portrait.portrait.rgb
    frame = astronaut_head.frame.moved(np.diag([2.0, 2.0, 1.0]))
    larger = HeadMap(frame, astronaut_head.landmarks_px * 2, 768)
    expected = network.hair_probability(rgb, astronaut_head)
    np.testing.assert_allclose(network.hair_probability(rgb, larger), expected, atol=1e-3)


def test_a_mirrored_crop_has_its_place_mirrored(astronaut_portrait, astronaut_head):
    rgb = astronaut_portrait.portrait.rgb
    straight = hair_inputs(rgb, astronaut_head)
    mirrored = hair_inputs(np.ascontiguousarray(rgb[:, ::-1]), astronaut_head, mirrored=True)
    place = straight.planes[8:]
    np.testing.assert_allclose(mirrored.planes[8:], place[:, :, ::-1])
    np.testing.assert_allclose(mirrored.planes[:3], straight.planes[:3, :, ::-1], atol=2e-2)


@pytest.mark.parametrize("photo", DRAWN, ids=lambda path: path.stem)
def test_hair_of_synthetic_people(network, photo):
    rgb = cv2.imread(str(photo))[..., ::-1].astype(np.float32) / 255
    true = cv2.imread(str(photo.with_suffix(".png")), cv2.IMREAD_GRAYSCALE) > 127
    face = find_faces(np.ascontiguousarray(rgb))[0]
    geometry = FaceGeometry(face.landmarks_px, fit_head(face))
    head = HeadMap.of(geometry, picture_px=len(rgb), side_px=128)
    found = network.hair_probability(rgb, head) > 0.5
    assert (found & true).sum() / (found | true).sum() > 0.8


def test_there_are_synthetic_people():
    assert len(DRAWN) == 3
