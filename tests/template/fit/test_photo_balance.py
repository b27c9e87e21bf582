"""Photos of one head under other exposures and white balances agree after balancing; the better one is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.template.fit.photo_balance import agreed_tone, balance_photos, best_seen_shares, photo_gains
from spinmeround.template.fit.photo_lookup import gather_evidence
from spinmeround.template.model.head_model import load_head_model
from tests.template.photographed import brightened, photographed

GAINS = np.array([[1.0, 1.0, 1.0], [0.55, 0.6, 0.75], [0.9, 1.1, 0.95]])


@pytest.fixture(scope="module")
def model():
    return load_head_model()


def evidence_of(model, gains, azimuths_deg=(30.0, -30.0, 0.0)):
    height = model.dense(model.mean)[:, 1:2]
    colours = np.array([0.62, 0.47, 0.4]) + 0.05 * np.sin(25 * height)
    portraits, head = photographed(model, colours, azimuths_deg[: len(gains)], gains)
    return gather_evidence(model, head, portraits)


def test_gains_undo_exposure_and_white_balance_whatever_a_minority_of_pixels_shows(model):
    evidence = evidence_of(model, GAINS)
    spoilt = evidence[1].portrait.rgb.copy()
    spoilt[190:230] = [0.2, 0.6, 0.9]  # something before the face
    evidence[1] = replace(evidence[1], portrait=replace(evidence[1].portrait, rgb=spoilt))
    gains = photo_gains(model, evidence)
    ratio = gains * GAINS
    np.testing.assert_allclose(ratio / ratio[0], 1, atol=0.03)
    assert (np.abs(gains - 1).max(axis=1) == 0).sum() == 1, "one photo keeps its colours"


def test_of_two_photos_the_first_keeps_its_colours(model):
    evidence = evidence_of(model, GAINS[:2])
    balanced = balance_photos(model, evidence)
    np.testing.assert_allclose(balanced[0].portrait.rgb, evidence[0].portrait.rgb, atol=1e-5)
    inside = evidence[1].portrait.alpha > 0
    truth = brightened(evidence[1].portrait.rgb, 1 / GAINS[1])
    assert np.abs(balanced[1].portrait.rgb - truth)[inside].mean() < 0.01


def test_one_photo_and_photos_without_common_skin_stay_as_they_are(model):
    alone = evidence_of(model, GAINS[:1])
    assert balance_photos(model, alone) == alone
    nothing = np.zeros_like(alone[0].portrait.alpha)
    blind = replace(alone[0], portrait=replace(alone[0].portrait, alpha=nothing))
    np.testing.assert_array_equal(photo_gains(model, [alone[0], blind]), 1)


def test_tone_of_hair_agrees_where_both_see_it():
    rng = np.random.default_rng(0)
    first = rng.uniform(0.15, 0.5, (4000, 3))
    second = brightened(first, np.array([2.0, 1.7, 1.5]))
    seen = np.arange(4000) < 3000
    found = agreed_tone([first, second], [seen, ~seen | (np.arange(4000) > 1000)])
    np.testing.assert_allclose(found[0], first, atol=1e-5)
    np.testing.assert_allclose(found[1], first, atol=0.01)


def test_the_first_photo_is_taken_unless_another_sees_clearly_better():
    first, second = np.array([1.0, 1.0, 1.0, 0.0, 0.0]), np.array([1.0, 1.25, 2.0, 0.01, 0.0])
    shares = best_seen_shares([first, second])
    np.testing.assert_allclose(shares[0] + shares[1], [1, 1, 1, 1, 0])
    np.testing.assert_allclose(shares[1][[0, 2, 3]], [0, 1, 1])
    assert 0.05 < shares[1][1] < 0.6
