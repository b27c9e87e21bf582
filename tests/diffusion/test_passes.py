"""Which views are sampled together."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.diffusion.inputs import ANCHORS
from spinmeround.diffusion.sampling.passes import plan, same
from spinmeround.errors import InputError
from spinmeround.orbits import ORBITS

FRONT = ((0.0, 0.0),)
SPIN = ORBITS["spin-48"]


def test_few_views_are_one_pass():
    (only,) = plan(FRONT, ANCHORS, views_at_once=8)
    assert only.given == FRONT
    assert only.sampled == ANCHORS


def test_a_full_turn_is_anchors_first_then_the_views_between():
    first, *between = plan(FRONT, SPIN, views_at_once=8)
    assert first.given == FRONT
    assert first.sampled == ANCHORS
    assert len(between) == 8
    for joint in between:
        photo, *nearest = joint.given
        assert photo == FRONT[0]
        assert len(nearest) == 2
        assert len(joint.sampled) == 5  # eight views at once, as the model learned
        middle = np.mean([azimuth for azimuth, _ in joint.sampled])
        distances = sorted(abs((middle - a + 180) % 360 - 180) for a, _ in ANCHORS)
        assert max(abs((middle - a + 180) % 360 - 180) for a, _ in nearest) == pytest.approx(distances[1])
    sampled = [pose for joint in (first, *between) for pose in joint.sampled]
    assert len(sampled) == 47
    assert all(any(same(pose, other) for other in (*sampled, *FRONT)) for pose in SPIN)


def test_neighbours_of_the_back_are_on_both_sides():
    (joint,) = (joint for joint in plan(FRONT, SPIN, views_at_once=8) if (142.5, 0.0) in joint.sampled)
    assert {azimuth for azimuth, _ in joint.given[1:]} == {135.0, 180.0}


@pytest.mark.parametrize("photos", [FRONT, (*FRONT, (45.0, 0.0)), (*FRONT, (90.0, 0.0), (-90.0, 5.0))])
@pytest.mark.parametrize("views_at_once", [6, 8, 16])
def test_every_wanted_view_is_sampled_once_from_views_already_there(photos, views_at_once):
    wanted = [(azimuth, elevation) for elevation in (0.0, 12.0) for azimuth, _ in SPIN]
    known = list(photos)
    for joint in plan(photos, wanted, views_at_once=views_at_once):
        assert len(joint.given) + len(joint.sampled) <= views_at_once
        assert joint.given[: len(photos)] == photos
        assert all(pose in known for pose in joint.given)
        assert not any(same(pose, other) for pose in joint.sampled for other in known)
        known += joint.sampled
    assert all(any(same(pose, other) for other in known) for pose in wanted)


def test_a_photos_own_view_and_repeated_views_are_not_sampled():
    assert plan(FRONT, [(360.0, 0.0), (0.0, 0.0)], views_at_once=8) == ()
    (only,) = plan(FRONT, [(30.0, 0.0), (-330.0, 0.0), (30.0, 0.0)], views_at_once=8)
    assert only.sampled == ((30.0, 0.0),)


def test_a_photo_that_is_an_anchor_takes_its_place():
    first, *_ = plan((*FRONT, (90.0, 0.0)), SPIN, views_at_once=9)
    assert len(first.sampled) == 6


@pytest.mark.parametrize(
    ("photos", "wanted", "at_once", "words"),
    [
        ((), FRONT, 8, "no photo"),
        (FRONT, (), 8, "no view was asked for"),
        (FRONT, ((float("nan"), 0.0),), 8, "no view from azimuth nan"),
        (FRONT, ((1e6, 0.0),), 8, "within ±3600"),
        (FRONT, ((0.0, 90.0),), 8, "elevations within ±85"),
        (((0.0, float("inf")),), FRONT, 8, "elevation inf"),
        (FRONT, SPIN, 3, "raise it to 4 or more"),
    ],
)
def test_what_cannot_be_planned_is_said(photos, wanted, at_once, words):
    with pytest.raises(InputError, match=words):
        plan(photos, wanted, views_at_once=at_once)
