"""The mouth's opening on the model is where a photo shows it, not where the lips would meet."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.template.fit.lip_edges import LOWER_EDGE, UPPER_EDGE, parted_lip_edges
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
    eyes_px = float(np.linalg.norm(landmarks_px[33] - landmarks_px[263]))
    return landmarks_px, *parted_lip_edges(model, vertices, FRONT, landmarks_px, eyes_px)


def test_closed_lips_have_none(model):
    _, numbers, found = _edges(model, model.mean)
    assert len(numbers) == len(found) == 0


def test_each_edge_is_on_its_own_lip_and_inside_the_line_on_which_the_lips_meet(model):
    vertices = _posed(model, 0.4)
    landmarks_px, numbers, found = _edges(model, vertices)
    assert {13, 14, 82, 312, 87, 317} <= set(numbers.tolist())
    pixels = FRONT.project(vertices)[found]
    rows = dict(zip(numbers.tolist(), pixels[:, 1], strict=True))
    for upper, lower in zip(UPPER_EDGE.tolist(), LOWER_EDGE.tolist(), strict=True):
        if upper in rows and lower in rows:
            assert landmarks_px[upper, 1] - 1 < rows[upper] < rows[lower] < landmarks_px[lower, 1] + 1
    assert rows[13] > landmarks_px[13, 1] + 2, "the upper lip hangs below the line on which it met the lower one"
    assert np.abs(pixels[:, 0] - landmarks_px[numbers, 0]).max() < 6
