"""The matte is of one person and ends where the person ends; hair, skin and clothes are segmented."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround.io.photo import Photo
from spinmeround.portrait import make_portrait, matting, segmentation
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import FACE_OVAL, find_faces
from spinmeround.portrait.pose import fit_head
from spinmeround.types import FaceGeometry, HeadCrop, Segmentation


def _face_mask(landmarks_px: np.ndarray, side: int) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(landmarks_px[list(FACE_OVAL)]).astype(np.int32)], 1)
    return mask > 0


def _head_map(picture: np.ndarray, index: int = 0) -> HeadMap:
    mesh = find_faces(picture)[index]
    return HeadMap(fit_head(mesh), mesh.landmarks_px, picture.shape[0])


def test_guided_filter_is_local_linear_regression():
    rng = np.random.default_rng(0)
    guide, value = rng.random((12, 13, 3), np.float32), rng.random((12, 13), np.float32)
    radius, epsilon = 2, 1e-2
    fast = matting.guided_filter(guide, value, radius, epsilon)
    padded_g = np.pad(guide.astype(np.float64), ((4, 4), (4, 4), (0, 0)), mode="symmetric")
    padded_v = np.pad(value.astype(np.float64), 4, mode="symmetric")
    slopes = np.zeros((12, 13, 4))
    for y in range(12):
        for x in range(13):
            g = padded_g[y + 2 : y + 7, x + 2 : x + 7].reshape(-1, 3)
            v = padded_v[y + 2 : y + 7, x + 2 : x + 7].ravel()
            centred = g - g.mean(0)
            slope = np.linalg.solve(centred.T @ centred / 25 + epsilon * np.eye(3), centred.T @ (v - v.mean()) / 25)
            slopes[y, x] = [*slope, v.mean() - slope @ g.mean(0)]
    smooth = cv2.blur(slopes, (5, 5), borderType=cv2.BORDER_REFLECT)
    expected = (smooth[..., :3] * guide).sum(-1) + smooth[..., 3]
    np.testing.assert_allclose(fast, expected, atol=2e-4)


def test_astronaut_is_cut_out(astronaut_portrait):
    portrait = astronaut_portrait.portrait
    face = cv2.erode(_face_mask(portrait.landmarks_px, 768).astype(np.uint8), np.ones((15, 15))) > 0
    assert portrait.alpha[face].min() > 0.98
    background = portrait.rgb[:60][portrait.observed[:60]]
    assert len(background) == 0 or portrait.alpha[:60].max() < 0.02
    assert portrait.alpha[100:300, :120].max() < 0.05, "the wall beside her"
    soft = (portrait.alpha > 0.05) & (portrait.alpha < 0.95)
    assert 0.002 < soft.mean() < 0.06, "an edge, neither hard nor foggy"


def test_matte_of_a_person_on_another_wall(astronaut, astronaut_portrait):
    """What was cut out is pasted before a busy wall and cut out again."""
    first = astronaut_portrait.portrait
    rng = np.random.default_rng(3)
    wall = cv2.resize(rng.random((40, 40, 3), np.float32), (768, 768), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    alpha = first.alpha[..., None]
    again = make_portrait(Photo((first.rgb * alpha + wall * (1 - alpha)).astype(np.float32))).portrait
    source_from_crop = np.linalg.inv(again.crop_from_source)
    grid = np.stack(np.meshgrid(np.arange(768) + 0.5, np.arange(768) + 0.5), -1).reshape(-1, 2)
    place = (grid @ source_from_crop[:2, :2].T + source_from_crop[:2, 2] - 0.5).astype(np.float32).reshape(768, 768, 2)
    truth = cv2.remap(first.alpha, place, None, cv2.INTER_LINEAR) > 0.5
    ours = again.alpha > 0.5
    upper = again.observed & (np.arange(768) < 560)[:, None]
    assert (truth & ours & upper).sum() / ((truth | ours) & upper).sum() > 0.97


@pytest.fixture(scope="module")
def two_people(models, astronaut) -> np.ndarray:
    """Two heads side by side before one wall, the left one a little larger."""
    wall = np.broadcast_to(astronaut[20:60, 20:60].mean((0, 1)), (420, 640, 3)).astype(np.float32).copy()
    wall += np.random.default_rng(0).normal(0, 0.01, wall.shape).astype(np.float32)
    head = astronaut[:330, 150:306]
    wall[90:, 320:476] = head[:, ::-1]
    wall[80:420, 160:320] = cv2.resize(head, (160, 340))
    return wall.clip(0, 1)


def test_neighbours_do_not_leak_in(two_people):
    faces = find_faces(two_people)
    assert len(faces) == 2
    for number in (1, 2):
        result = make_portrait(Photo(two_people), face=number)
        assert result.faces_seen == 2
        assert result.face_taken == number
        crop = result.portrait.crop_from_source
        other = faces[2 - number].landmarks_px @ crop[:2, :2].T + crop[:2, 2]
        mine = _face_mask(result.portrait.landmarks_px, 768)
        theirs = _face_mask(other, 768) & result.portrait.observed
        assert theirs.sum() > 1000
        assert result.portrait.alpha[theirs].mean() < 0.02
        assert result.portrait.alpha[mine].mean() > 0.98


def test_own_transparency_bounds_the_matte(astronaut, astronaut_portrait):
    disc = np.hypot(*(np.mgrid[:512, :512] - np.array([130, 225])[:, None, None])) < 110
    framed = make_portrait(Photo(astronaut, disc.astype(np.float32))).portrait
    crop = framed.crop_from_source
    y, x = np.mgrid[:768, :768] + 0.5
    source = np.stack([x, y], -1) - crop[:2, 2]
    outside = np.hypot(source[..., 1] / crop[1, 1] - 130, source[..., 0] / crop[0, 0] - 225) > 113
    assert framed.alpha[outside].max() < 1e-6
    assert framed.alpha[100:200, 60:110].max() < 0.05, "inside the disc the wall is still no person"


def test_own_transparency_of_one_person_is_the_matte(astronaut_portrait):
    first = astronaut_portrait.portrait
    again = make_portrait(Photo(first.rgb, first.alpha)).portrait
    assert np.abs(np.diag(again.crop_from_source)[:2] - 1).max() < 0.03
    shift = np.round(again.crop_from_source[:2, 2]).astype(int)
    moved = np.roll(first.alpha, shift[::-1], (0, 1))
    assert np.abs(moved - again.alpha)[60:-60, 60:-60].mean() < 0.01


def test_masks_are_fractions_of_alpha(astronaut_portrait):
    portrait = astronaut_portrait.portrait
    for mask in (portrait.alpha, portrait.hair, portrait.clothes, portrait.headwear):
        assert mask.min() >= 0
        assert mask.max() <= 1
    assert (portrait.hair + portrait.clothes + portrait.headwear <= portrait.alpha + 1e-6).all()
    assert (portrait.alpha[~portrait.observed] == 0).all()


def _at(portrait, mask: np.ndarray, landmark: int, up_cm: float = 0.0) -> float:
    x, y = portrait.landmarks_px[landmark]
    cm = np.linalg.norm(portrait.landmarks_px[10] - portrait.landmarks_px[152]) / 17.66
    x, y = round(x), round(y - up_cm * cm)
    return float(mask[y - 3 : y + 4, x - 3 : x + 4].mean())


def test_hair_skin_and_clothes_of_the_astronaut(astronaut_portrait):
    portrait = astronaut_portrait.portrait
    assert _at(portrait, portrait.hair, 10, up_cm=4) > 0.95
    for skin in (50, 280, 1, 152, 66, 296):  # cheeks, nose, chin, brows
        assert _at(portrait, portrait.hair, skin) < 0.05
        assert _at(portrait, portrait.clothes, skin) < 0.05
    assert _at(portrait, portrait.clothes, 152, up_cm=-9) > 0.95
    assert _at(portrait, portrait.hair, 152, up_cm=-9) < 0.05


def _scalp_painted(portrait, paint: np.ndarray) -> HeadCrop:
    """The crop of a portrait with its hair painted over."""
    mesh = find_faces(portrait.rgb)[0]
    cover = cv2.GaussianBlur(portrait.hair, (0, 0), 3)[..., None]
    rgb = (portrait.rgb * (1 - cover) + paint * cover).clip(0, 1).astype(np.float32)
    return HeadCrop(rgb, portrait.observed, None, FaceGeometry(mesh.landmarks_px, fit_head(mesh)))


def _parse_without_hair(portrait, crop: HeadCrop) -> Segmentation:
    """Segment a head whose hair was painted over: no network sees hair, and what stuck out is background."""
    head = HeadMap.of(crop.face, picture_px=768, side_px=matting.WORK_PX)
    bare = cv2.resize(((head.skull < 1) | head.inside_face | (head.height < 0)).astype(np.float32), (768, 768))
    return segmentation.parse(crop, portrait.alpha * bare, np.zeros((768, 768), np.float32), head)


@pytest.mark.parametrize("tone", [(1, 1, 1), (0.45, 0.38, 0.33)])
def test_a_bald_head_wears_nothing(astronaut_portrait, tone):
    """The hair is painted over with the cheeks' colour, shading, grain and a highlight."""
    portrait = astronaut_portrait.portrait
    rng = np.random.default_rng(0)
    skin = np.median(portrait.rgb[_face_mask(portrait.landmarks_px, 768)], axis=0)
    light = np.linspace(1.08, 0.85, 768)[:, None, None] * (1 + rng.normal(0, 0.02, (768, 768, 1)))
    x, y = portrait.landmarks_px[10]
    spot = np.exp(-(np.hypot(*(np.mgrid[:768, :768] - np.array([y - 50, x])[:, None, None])) ** 2) / 30**2)
    crop = _scalp_painted(portrait, skin * light + 0.25 * spot[..., None])
    found = _parse_without_hair(portrait, replace(crop, rgb=(crop.rgb * np.array(tone)).astype(np.float32)))
    assert found.hair.max() == 0
    assert found.headwear is not None
    assert found.headwear.sum() < 0.02 * portrait.hair.sum()


@pytest.mark.parametrize("cloth", [(0.1, 0.2, 0.6), (0.9, 0.9, 0.92), (0.06, 0.06, 0.07)])
def test_cloth_on_the_head_is_headwear(astronaut_portrait, cloth):
    portrait = astronaut_portrait.portrait
    weave = 1 + 0.05 * np.sin(np.mgrid[:768, :768].sum(0) / 2)[..., None]
    found = _parse_without_hair(portrait, _scalp_painted(portrait, np.array(cloth) * weave))
    assert found.headwear is not None
    assert _at(portrait, found.headwear, 10, up_cm=4) > 0.95
    for skin in (50, 280, 1, 152):
        assert _at(portrait, found.headwear, skin) < 0.05


def test_hair_needs_roots_on_the_head(astronaut_portrait):
    """A patch beside the head that looks like hair belongs to somebody else."""
    portrait = astronaut_portrait.portrait
    probability = portrait.hair.copy()
    probability[560:700, 40:130] = 1
    crop = _scalp_painted(portrait, portrait.rgb)
    head = HeadMap.of(crop.face, picture_px=768, side_px=matting.WORK_PX)
    found = segmentation.parse(crop, np.ones((768, 768), np.float32), probability, head)
    assert found.hair[580:680, 60:110].max() < 0.05
    assert _at(portrait, found.hair, 10, up_cm=4) > 0.95


def test_alpha_follows_a_strand_and_colours_come_without_the_wall():
    """A disc of one colour with a thin strand on a wall of another, each seen by the network coarsely."""
    side, disc_rgb, wall_rgb = 768, np.array([0.2, 0.1, 0.05]), np.array([0.5, 0.7, 0.9])
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(x - 384, y - 384) < 200
    strand = (np.abs(x - 384) < 1.5) & (y < 190) & (y > 176)
    coverage = cv2.GaussianBlur((disc | strand).astype(np.float32), (0, 0), 1.0)
    rgb = (coverage[..., None] * disc_rgb + (1 - coverage[..., None]) * wall_rgb).astype(np.float32)
    seen = cv2.GaussianBlur(disc.astype(np.float32), (0, 0), 5)
    mask = cv2.resize(disc.astype(np.float32), (matting.WORK_PX,) * 2) > 0.5
    everywhere = np.ones((side, side), bool)
    alpha = matting.closed_form_alpha(rgb, everywhere, mask, person=seen, hair=seen)
    assert np.abs(alpha - coverage).mean() < 0.004
    assert alpha[177:182, 384].mean() > 0.5 * coverage[177:182, 384].mean()
    assert alpha[177:180, 345:375].max() < 0.15
    colours = matting.foreground_colours(rgb, coverage, coverage)
    assert np.abs(colours[coverage > 0.2] - disc_rgb).max() < 0.1


def test_what_no_network_is_certain_of_ends_near_what_is_certain(astronaut):
    """Hair around the face is certain; the face itself and a wide slab beside the hair are only likely."""
    rgb = cv2.resize(astronaut, (matting.WORK_PX,) * 2, interpolation=cv2.INTER_AREA)
    head = _head_map(rgb)
    px = head.frame.scale_px
    beside_cm = cv2.distanceTransform((~head.inside_face).astype(np.uint8), cv2.DIST_L2, 5) / px
    hair = np.where((beside_cm > 0) & (beside_cm < 2), 1.0, 0).astype(np.float32)
    rows, columns = np.nonzero(head.inside_face)
    slab = np.zeros_like(head.inside_face)
    slab[rows.min() : rows.min() + round(6 * px), columns.max() : columns.max() + round(7 * px)] = True
    slab &= hair == 0
    hair[slab & ~head.inside_face] = 0.65
    person = np.where(head.inside_face, np.float32(0.7), np.float32(0))
    mask = matting._person_mask(rgb, person, hair, head, np.zeros_like(slab))
    assert mask[head.inside_face].all()
    assert mask[(beside_cm > 0.5) & (beside_cm < 1.5)].mean() > 0.95
    far = slab & (beside_cm > 3.2)
    assert far.sum() > 100 and not mask[far].any()


def test_a_wall_beside_the_hair_is_no_person(astronaut, astronaut_portrait):
    """A dark slab beside the head, as a shadow on a wall, is left out although it is as dark as hair."""
    shaded = astronaut.copy()
    shaded[40:200, 60:140] *= 0.15
    portrait = make_portrait(Photo(shaded)).portrait
    first = astronaut_portrait.portrait
    added = (portrait.alpha > 0.5) & ~(first.alpha > 0.5)
    assert added.sum() < 0.02 * (first.alpha > 0.5).sum()


def test_hair_of_a_grey_photo(astronaut):
    grey = np.repeat(astronaut @ np.array([[0.3], [0.59], [0.11]], np.float32), 3, axis=2)
    portrait = make_portrait(Photo(grey)).portrait
    assert _at(portrait, portrait.hair, 10, up_cm=4) > 0.9
    assert _at(portrait, portrait.hair, 50) < 0.1


def test_pymatting_is_imported_in_parts_and_can_be_imported_whole_afterwards():
    code = """
import sys
from spinmeround.portrait.pymatting_parts import cf_laplacian, estimate_foreground_ml
parts = cf_laplacian(), estimate_foreground_ml()
loaded = {name for name in sys.modules if name.startswith("pymatting")}
assert loaded == {"pymatting.laplacian.cf_laplacian", "pymatting.foreground.estimate_foreground_ml"}, loaded
import pymatting
assert (pymatting.cf_laplacian, pymatting.estimate_foreground_ml) == parts
"""
    subprocess.run([sys.executable, "-c", code], check=True)
