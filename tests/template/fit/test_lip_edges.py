"""The mouth's opening on the model is where a photo shows it, not where the lips would meet."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.geometry import MILLIMETRE
from spinmeround.template.fit.fitter import _fit_priors
from spinmeround.template.fit.lip_edges import LOWER_EDGE, UPPER_EDGE, lip_edges
from spinmeround.template.fit.residuals import Pose
from spinmeround.template.model.head_model import landmark_points, load_head_model

FRONT = Pose(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 2.7]), float(np.log(2000)), np.array([384.0, 384.0]))


@pytest.fixture(scope="module")
def model():
    return load_head_model()


def _posed(model, jaw_open):
    return model.mean + jaw_open * model.expression_basis[model.expression_names.index("jawOpen")]


def _edges(model, vertices):
    landmarks_px = FRONT.project(landmark_points(model, vertices, range(478)))
    return landmarks_px, *lip_edges(model, vertices, FRONT, landmarks_px)


def test_both_edges_of_closed_lips_are_the_line_on_which_they_meet(model):
    _, numbers, found = _edges(model, model.mean)
    places = dict(zip(numbers.tolist(), model.mean[found], strict=True))
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        apart_mm = abs(places[upper][1] - places[lower][1]) / MILLIMETRE
        assert apart_mm < 1.5, "landmarks further out on either lip would make closed lips thicker than they are"


def test_each_edge_is_on_its_own_lip_and_inside_the_line_on_which_the_lips_meet(model):
    vertices = _posed(model, 0.4)
    landmarks_px, numbers, found = _edges(model, vertices)
    assert {13, 14, 82, 312, 87, 317} <= set(numbers.tolist())
    pixels = FRONT.project(vertices)[found]
    rows = dict(zip(numbers.tolist(), pixels[:, 1], strict=True))
    for upper, lower in ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402)):
        assert upper in UPPER_EDGE
        assert lower in LOWER_EDGE
        assert landmarks_px[upper, 1] - 1 < rows[upper] < rows[lower] < landmarks_px[lower, 1] + 1
    assert rows[13] > landmarks_px[13, 1] + 2, "the upper lip hangs below the line on which it met the lower one"
    assert np.abs(pixels[:, 0] - landmarks_px[numbers, 0]).max() < 6


def test_a_lower_lip_is_expected_to_have_the_height_of_peoples(model):
    expected = model.vertices(_fit_priors(model, ()).shape_mean)
    upper, lower, border, right, left = landmark_points(model, expected, (13, 14, 17, 33, 263))
    height = (upper[1] + lower[1]) / 2 - border[1]
    assert 0.105 < height / np.linalg.norm(left - right) < 0.125, "between those of Europeans and of Africans"
