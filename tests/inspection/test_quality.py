"""Figures, verdicts and reasons from measures; likeness from pictures."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import skimage.data

from spinmeround.errors import WeightsError
from spinmeround.inspection.quality import (
    FIGURES,
    SCALES,
    HeadMeasures,
    Likeness,
    PhotoFit,
    Scale,
    assess,
    measure_likeness,
)
from spinmeround.io.photo import Photo
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait.quality import PhotoMeasures
from spinmeround.types import Views

PHOTO = PhotoMeasures(
    blur_px=0.5,
    face_height_px=400.0,
    light_stops=1.0,
    burnt_out=0.0,
    black=0.0,
    yaw_deg=3.0,
    pitch_deg=-5.0,
    covered=0.01,
    matte_doubt=0.02,
    head_cut=0.0,
)
HEAD = HeadMeasures((PhotoFit(0.006, 0.98, Likeness(0.01, 2.5, 0.97)),), observed_skin=0.22, observed_hair=0.12)


def with_fit(**changed) -> HeadMeasures:
    fit = HEAD.fits[0]
    like = {field.name for field in fields(Likeness)}
    likeness = replace(fit.likeness, **{name: value for name, value in changed.items() if name in like})
    rest = {name: value for name, value in changed.items() if name not in like}
    return replace(HEAD, fits=(replace(fit, likeness=likeness, **rest),))


def test_scales_run_from_their_worst_to_their_best():
    falling, sizes = Scale(10.0, 2.0), Scale(50.0, 200.0, logarithmic=True)
    assert [falling.figure(v) for v in (20, 10, 6, 2, 0)] == [0, 0, 0.5, 1, 1]
    assert sizes.figure(100) == pytest.approx(0.5)
    assert sizes.figure(0) == 0


def test_a_good_photo_and_a_good_head_are_good():
    quality = assess([PHOTO], HEAD)
    assert quality.verdict == "good"
    assert quality.reasons == ()
    assert quality.sentence == "quality: good"
    assert set(quality.figures) == set(FIGURES)
    assert all(figure is not None and figure > 0.8 for figure in quality.figures.values())


@pytest.mark.parametrize(
    ("changed", "figure", "words"),
    [
        ({"blur_px": 3.0}, "sharpness", "blurred"),
        ({"face_height_px": 45.0}, "size", "only 45 pixels high"),
        ({"light_stops": 7.5}, "light", "one side"),
        ({"burnt_out": 0.6}, "light", "overexposed"),
        ({"black": 0.6}, "light", "underexposed"),
        ({"yaw_deg": -56.0}, "pose", "turned aside by 56 degrees"),
        ({"pitch_deg": 44.0}, "pose", "looks up by 44 degrees"),
        ({"covered": 0.4}, "occlusion", "covers part of the face"),
        ({"matte_doubt": 0.2}, "matte", "background"),
        ({"head_cut": 1.5}, "matte", "border"),
    ],
)
def test_what_is_wrong_with_the_photo_is_named(changed, figure, words):
    quality = assess([replace(PHOTO, **changed)], HEAD)
    assert quality.verdict == "poor"
    assert len(quality.reasons) == 1
    assert words in quality.reasons[0]
    assert min(quality.figures, key=lambda name: quality.figures[name] or 0.0) == figure
    assert words in quality.sentence


@pytest.mark.parametrize(
    ("changed", "figure", "words"),
    [
        ({"landmark_share": None}, "likeness", "no face is found"),
        ({"colour": 20.0}, "likeness", "colours"),
        ({"outline_iou": 0.5}, "likeness", "hair and outline"),
        ({"skin_iou": 0.4}, "fit", "outline"),
    ],
)
def test_what_is_wrong_with_the_head_is_named(changed, figure, words):
    if changed.keys() == {"landmark_share"}:
        fit = HEAD.fits[0]
        head = replace(HEAD, fits=(replace(fit, likeness=replace(fit.likeness, landmark_share=None)),))
    else:
        head = with_fit(**changed)
    quality = assess([PHOTO], head)
    assert quality.verdict == "poor"
    assert quality.figures[figure] == 0
    assert words in quality.reasons[0]


def test_between_good_and_poor_is_fair_and_two_faults_are_worse_than_one():
    def blurred(figure: float) -> float:
        scale = SCALES.blur_px
        return scale.worst * (scale.best / scale.worst) ** figure

    one = assess([replace(PHOTO, blur_px=blurred(0.22))], HEAD)
    two = assess([replace(PHOTO, blur_px=blurred(0.22), yaw_deg=58 - 0.22 * 43)], HEAD)
    assert (one.verdict, two.verdict) == ("fair", "poor")
    assert len(two.reasons) == 2
    assert assess([replace(PHOTO, blur_px=blurred(0.5))], HEAD).verdict == "good"


def test_what_is_not_known_is_left_out():
    quality = assess([replace(PHOTO, matte_doubt=None)])
    assert quality.verdict == "good"
    assert quality.figures["fit"] is quality.figures["likeness"] is quality.figures["hidden"] is None
    assert quality.figures["matte"] == 1
    described = quality.described()
    assert described["hidden"] is None
    assert described["verdict"] == "good"
    bald = replace(HEAD, observed_hair=None)
    assert assess([PHOTO], bald).figures["hidden"] == 1


def test_of_several_photos_the_best_pose_and_the_worst_light_count():
    other = replace(PHOTO, yaw_deg=50.0, blur_px=4.0, light_stops=7.0)
    figures = assess([other, PHOTO], HEAD).figures
    assert figures["pose"] == figures["sharpness"] == 1
    assert figures["light"] == 0


@pytest.fixture(scope="module")
def portrait():
    from spinmeround import weights
    from spinmeround.portrait import make_portrait

    try:
        weights.fetch()
    except WeightsError as error:
        pytest.skip(f"the models are not to be had: {error}")
    return make_portrait(Photo(skimage.data.astronaut().astype(np.float32) / 255)).portrait


def seen(portrait, rgb=None, alpha=None) -> Views:
    """The portrait itself as a picture of a head, or what is given in its place."""
    camera = orbit_cameras([0.0], [0.0], size_px=len(portrait.rgb))
    rgb = portrait.foreground if rgb is None else rgb
    alpha = np.where(portrait.clothes > 0.5, 0, portrait.alpha) if alpha is None else alpha
    return Views(camera, rgb[None], np.zeros_like(rgb)[None], alpha[None], np.ones_like(alpha)[None])


def test_a_picture_like_the_photo_is_like_it(portrait):
    like = measure_likeness(seen(portrait), portrait)
    assert like.landmark_share is not None
    assert like.landmark_share < 0.01
    assert like.colour < 2
    assert like.outline_iou > 0.97


def test_another_face_other_colours_and_no_hair_are_told(portrait):
    side = len(portrait.rgb)
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    middle = portrait.landmarks_px[4, 1]
    longer = cv2.remap(portrait.foreground, x, middle + (y - middle) / np.float32(1.12), cv2.INTER_LINEAR)
    stretched = measure_likeness(seen(portrait, rgb=longer), portrait)
    assert stretched.landmark_share is not None
    assert stretched.landmark_share > 0.03
    grey = portrait.foreground.mean(-1, keepdims=True).repeat(3, -1)
    assert measure_likeness(seen(portrait, rgb=grey), portrait).colour > 7
    bald = np.where(portrait.hair > 0.5, 0, portrait.alpha * (portrait.clothes < 0.5)).astype(np.float32)
    assert measure_likeness(seen(portrait, alpha=bald), portrait).outline_iou < 0.8


def test_a_picture_without_a_face_has_none(portrait):
    blank = np.full_like(portrait.rgb, 0.5)
    assert measure_likeness(seen(portrait, rgb=blank), portrait).landmark_share is None
