"""The face of an avatar at rest: the photos' corrective has weight 1, half of that at the lids, none at the lips."""

from __future__ import annotations

import numpy as np

from spinmeround.orbits import orbit_cameras
from spinmeround.template.avatar.rest_pose import rest_vertices
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.model.head_model import HeadModel, landmark_points, load_head_model

FOREHEAD, CHIN, CHEEK, LIDS, LIPS = 151, 152, 425, (386, 145), (13, 14, 78, 308)


def fitted(model: HeadModel, *correctives: np.ndarray) -> FittedHead:
    camera, still = orbit_cameras([0.0], [0.0], size_px=64), np.zeros(len(model.expression_names))
    photos = tuple(FittedPhoto(camera, still, corrective, 1.0, 0.01, 0.99) for corrective in correctives)
    neutral = model.mean.astype(np.float64)
    return FittedHead(model, np.zeros(len(model.shape_names)), np.zeros_like(neutral), neutral, photos)


def test_the_corrective_has_full_weight_half_of_it_at_lids_and_none_at_lips():
    model = load_head_model()
    one, two = (np.tile(step, (len(model.mean), 1)) for step in ([0.01, 0.0, 0.0], [0.0, 0.02, 0.0]))
    moved = landmark_points(
        model, rest_vertices(fitted(model, one, two)) - model.mean, (FOREHEAD, CHIN, CHEEK, *LIDS, *LIPS)
    )
    np.testing.assert_allclose(moved[:3], [[0.005, 0.01, 0]] * 3, atol=1e-9)
    np.testing.assert_allclose(moved[3:5], [[0.0025, 0.005, 0]] * 2, atol=1e-9)
    np.testing.assert_allclose(moved[5:], 0, atol=1e-9)
    np.testing.assert_array_equal(rest_vertices(fitted(model, 0 * one)), model.mean.astype(np.float64))
