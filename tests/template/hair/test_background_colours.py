"""Mattes of hair that hold background, on painted mean heads before painted walls."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround import mesh_raster
from spinmeround.geometry import framed, project
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.fit.photo_lookup import gather_evidence
from spinmeround.template.hair import volume
from spinmeround.template.hair.background_colours import background_shown, without_background
from spinmeround.template.model.head_model import load_head_model
from tests.template.hair.capped import painted, portrait_of

SIZE = 384
SKIN_RGB, BROWN, BLUE, RED = np.array([[0.8, 0.6, 0.5], [0.3, 0.2, 0.1], [0.15, 0.25, 0.7], [0.7, 0.1, 0.1]])
TOO_WIDE_PX = 10


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def camera():
    return framed(orbit_cameras([0.0], [0.0], size_px=SIZE), 0.55, size_px=SIZE)


@pytest.fixture(scope="module")
def unit_px(camera):
    return camera.intrinsics_px[0, 0, 0] / camera.camera_from_world[0, 2, 3]


@pytest.fixture(scope="module")
def masks(model, camera):
    """The bare head, and long hair: a cap with a curtain on either side."""
    buffer = mesh_raster.rasterize(model.dense(model.mean), model.dense_faces, camera, 0)
    head = buffer.face >= 0
    scalp = mesh_raster.interpolate(model.masks["scalp"][:, None], model.dense_faces, buffer)[..., 0] > 0.5
    hair = scalp | (_grown(scalp, 12) & ~head)
    x = project(model.dense(model.mean), camera.camera_from_world[0], camera.intrinsics_px[0])[:, 0] - SIZE / 2
    half = int(np.abs(x)[model.masks["ear_left"] > 0.5].max())
    hair[110:330, SIZE // 2 - half - 18 : SIZE // 2 - half + 39] = True
    hair[110:330, SIZE // 2 + half - 39 : SIZE // 2 + half + 18] = True
    return head, hair


def _grown(mask, radius_px):
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def _shrunk(mask, radius_px):
    """Without the pixels that hold both hair and wall at the size at which colours are compared."""
    return ~_grown(~mask, radius_px)


def _portrait(masks, matte, hair_rgb, wall_rgb):
    """Hair of one colour a pixel before a wall of one colour, both with the noise of a photo."""
    head, hair = masks
    noise = 0.02 * np.random.default_rng(0).standard_normal((SIZE, SIZE, 1))
    rgb = np.where(hair[..., None], hair_rgb, np.where(head[..., None], SKIN_RGB, wall_rgb)) + noise
    return portrait_of(np.clip(rgb, 0, 1), head | matte, matte)


@pytest.fixture(scope="module")
def too_wide(masks):
    head, hair = masks
    return hair | (_grown(hair, TOO_WIDE_PX) & ~head)


def test_a_wall_in_the_matte_is_told_from_hair(masks, too_wide, unit_px):
    shown = background_shown(_portrait(masks, too_wide, BROWN, RED), unit_px)
    wall = too_wide & ~masks[1]
    assert (shown[wall] > 0.5).mean() > 0.95
    assert shown[_shrunk(masks[1], 3)].max() < 0.05


def test_hair_of_the_walls_colour_is_believed(masks, too_wide, unit_px):
    black = np.full(3, 0.05)
    assert background_shown(_portrait(masks, too_wide, black, black), unit_px).max() < 0.05


def test_dyed_tips_and_highlights_stay(masks, unit_px):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    dyed = np.where((rows > 270)[..., None], BLUE, BROWN * np.where(columns % 40 < 6, 1.8, 1.0)[..., None])
    shown = background_shown(_portrait(masks, masks[1], dyed, RED), unit_px)
    assert shown[_shrunk(masks[1], 3)].max() < 0.05


def test_a_matte_without_background_or_without_hair_is_believed(masks, unit_px):
    portrait = _portrait(masks, masks[1], BROWN, RED)
    everywhere, nothing = np.ones((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)
    assert background_shown(replace(portrait, alpha=everywhere, hair=everywhere), unit_px).max() == 0
    assert background_shown(replace(portrait, hair=nothing), unit_px).max() == 0


def test_a_piece_of_wall_leaves_the_matte_and_wisps_stay(masks, unit_px):
    head, hair = masks
    rows, columns = np.mgrid[:SIZE, :SIZE]
    piece = ((rows - 60) ** 2 + (columns - 330) ** 2 < (0.07 * unit_px) ** 2) & ~hair & ~head
    wisp = (np.abs(rows - 300) < 3) & (columns > 300) & ~hair
    portrait = _portrait(masks, hair | piece | wisp, BROWN, RED)
    # The networks are not sure of such a piece.
    matte = np.where(piece, np.float32(0.7), portrait.hair)
    cleaned = without_background(replace(portrait, hair=matte, alpha=np.where(piece, matte, portrait.alpha)), unit_px)
    assert cleaned.hair[piece].mean() < 0.1
    assert cleaned.alpha[piece].mean() < 0.1
    assert cleaned.hair[hair].min() == 1
    assert cleaned.hair[wisp].min() == 1
    untouched = _portrait(masks, hair, BROWN, RED)
    assert without_background(untouched, unit_px) is untouched


def test_what_is_enclosed_by_the_wall_leaves_the_matte_with_it(masks, unit_px):
    head, hair = masks
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(rows - 70, columns - 325) / unit_px
    piece, stranger = (distance < 0.08) & ~hair & ~head, distance < 0.02
    # A dark spot in the piece, such as the hair of a person behind, has the colour of the hair.
    portrait = _portrait((head, hair | stranger), hair | piece, BROWN, RED)
    matte = np.where(piece, np.float32(0.7), portrait.hair)
    cleaned = without_background(replace(portrait, hair=matte, alpha=np.where(piece, matte, portrait.alpha)), unit_px)
    assert cleaned.hair[stranger].max() < 0.1
    assert cleaned.hair[hair].min() == 1


def test_the_wall_is_not_printed_on_the_hair(model, camera, masks, too_wide):
    photo = FittedPhoto(camera, np.zeros(52), np.zeros_like(model.mean), 0.0, 0.0, 1.0)
    head = FittedHead(model, np.zeros(len(model.shape_names)), np.zeros_like(model.mean), model.mean, (photo,))
    evidence = gather_evidence(model, head, [_portrait(masks, too_wide, BROWN, RED)])
    coverage = volume.hair_coverage(model, evidence)
    neutral = volume.flatten_covered_ears(model, model.dense(model.mean), coverage)
    thickness = volume.hair_thickness(model, coverage, evidence)
    surface = volume.hair_surface(model, neutral, coverage, thickness, evidence)
    texture = painted(surface, evidence, seed=0)
    hair = texture.albedo[texture.occupied]
    assert np.abs(hair.mean(0) - BROWN).max() < 0.03
    assert (hair[:, 0] - hair[:, 1] > 0.25).mean() < 1e-3, "the wall has 0.6, brown hair 0.1"
