"""Gaps and tufts in the outline of a cap of hair that is known exactly."""

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.template.hair.plain_outline import with_plain_outline
from spinmeround.template.hair.settings import OutlineSettings
from spinmeround.template.model.head_model import load_head_model
from tests.template.hair.capped import cap, front_of, photo_evidence


@pytest.fixture(scope="module")
def photo():
    model = load_head_model()
    buffer = front_of(model)
    (photo,) = photo_evidence(model, buffer, cap(model, buffer, 30))
    return photo


def _with(photo, hair, alpha):
    return replace(photo, portrait=replace(photo.portrait, hair=hair, alpha=alpha))


def _tower(photo, width):
    """Rows and columns of a tower on top of the hair, and its width in pixels."""
    rows, columns = np.nonzero(photo.portrait.hair > 0.5)
    middle, half = int(columns.mean()), max(1, round(width * photo.unit_px / 2))
    return np.s_[rows.min() - 10 : rows.min() + 4, middle - half : middle + half]


@pytest.mark.parametrize(("width", "stays"), [(0.6, False), (2.0, True)])
def test_narrow_tufts_go_and_wide_ones_stay(photo, width, stays):
    tower = _tower(photo, width * OutlineSettings().tuft)
    hair, alpha = photo.portrait.hair.copy(), photo.portrait.alpha.copy()
    hair[tower] = alpha[tower] = 1
    portrait = with_plain_outline(_with(photo, hair, alpha)).portrait
    tip = (slice(tower[0].start, tower[0].start + 5), tower[1])
    assert (portrait.hair[tip].mean() > 0.5) == stays
    assert (portrait.alpha[tip].mean() > 0.5) == stays


def test_a_hole_in_the_hair_is_filled_and_the_outline_is_kept(photo):
    rows, columns = np.nonzero(photo.portrait.hair > 0.5)
    hole = np.s_[rows.min() + 8 : rows.min() + 12, int(columns.mean()) - 2 : int(columns.mean()) + 2]
    hair, alpha = photo.portrait.hair.copy(), photo.portrait.alpha.copy()
    hair[hole] = alpha[hole] = 0
    portrait = with_plain_outline(_with(photo, hair, alpha)).portrait
    assert portrait.hair[hole].min() == portrait.alpha[hole].min() == 1
    changed = (portrait.alpha > 0.5) != (photo.portrait.alpha > 0.5)
    assert changed.mean() < 1e-3
    assert (portrait.hair > 0.5)[photo.portrait.hair > 0.5].mean() > 0.999


def test_a_head_that_the_photos_border_cuts_keeps_its_corners_there(photo):
    observed = photo.portrait.observed.copy()
    cut = int(np.nonzero(photo.portrait.hair > 0.5)[0].min()) + 12
    observed[:cut] = False
    hair, alpha = photo.portrait.hair * observed, photo.portrait.alpha * observed
    part = replace(photo, portrait=replace(photo.portrait, hair=hair, alpha=alpha, observed=observed))
    portrait = with_plain_outline(part).portrait
    np.testing.assert_array_equal(portrait.alpha[:cut], 0)
    np.testing.assert_array_equal(portrait.alpha[cut : cut + 5] > 0.5, alpha[cut : cut + 5] > 0.5)
