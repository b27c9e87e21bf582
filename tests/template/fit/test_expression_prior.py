"""What expression scores are worth: identity stays in the neutral face, and the neutral face stays shut."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.geometry import project
from spinmeround.mesh_raster import rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.expression_prior import slopes_and_sigmas
from spinmeround.template.fit.fitter import fit_head
from spinmeround.template.model.head_model import landmark_points, load_head_model
from spinmeround.types import Portrait

SIZE = 384
MOUTH_CORNERS, EYE_CORNERS, LIPS = (61, 291), (33, 263), ((13, 14), (82, 87), (312, 317))


@pytest.fixture(scope="module")
def model():
    return load_head_model()


def _photo(model, vertices, scores) -> Portrait:
    """Exact landmarks and silhouette from the front, and the scores as a detector might give them."""
    camera = orbit_cameras([0.0], [0.0], size_px=SIZE)
    pixels = project(landmark_points(model, vertices), camera.camera_from_world[0], camera.intrinsics_px[0])[:, :2]
    alpha = (rasterize(vertices, model.faces, camera, 0).face >= 0).astype(np.float32)
    blendshapes = np.array([scores.get(name, 0.0) for name in model.expression_names])
    none = np.zeros_like(alpha)
    observed = np.ones(alpha.shape, bool)
    rgb = np.ones((SIZE, SIZE, 3), np.float32)
    return Portrait(rgb, alpha, none, none, none, rgb, observed, pixels, blendshapes, np.zeros(3), np.eye(3))


def _shape(model, **values) -> np.ndarray:
    names = [name.removeprefix("l-").removeprefix("r-").replace("-", "_") for name in model.shape_names]
    return np.array([values.get(name, 0.0) for name in names])


def _posed(model, neutral, **weights) -> np.ndarray:
    expression = np.array([weights.get(name, 0.0) for name in model.expression_names])
    return neutral + np.tensordot(expression, model.expression_basis, 1)


def _distance(model, vertices, pair) -> float:
    a, b = landmark_points(model, vertices, pair)
    return float(np.linalg.norm(a - b) / np.linalg.norm(np.subtract(*landmark_points(model, vertices, EYE_CORNERS))))


def _lift(model, vertices) -> float:
    """Return the height of the mouth's corners above its middle."""
    corners, middle = (landmark_points(model, vertices, pair)[:, 1].mean() for pair in (MOUTH_CORNERS, LIPS[0]))
    return float(corners - middle)


def test_scores_are_shrunk_alike_on_both_sides(model):
    slope, sigma = slopes_and_sigmas(model.expression_names)
    by_name = dict(zip(model.expression_names, zip(slope, sigma, strict=True), strict=True))
    assert slope.min() >= 0
    assert slope.max() <= 1
    assert sigma.min() >= 0.05
    for name, value in by_name.items():
        if name.endswith("Left") and name != "mouthLeft":
            assert by_name[name.removesuffix("Left") + "Right"] == value, name
    assert by_name["eyeSquintLeft"][0] < 0.5 < by_name["jawOpen"][0], "faces at rest are said to squint"


def test_a_wide_mouth_is_no_smile(model):
    neutral = model.vertices(_shape(model, mouth_scale_horiz_incr=0.6)).astype(np.float64)
    found = fit_head([_photo(model, neutral, {})], model)
    usual, wide = (_distance(model, v, MOUTH_CORNERS) for v in (model.mean, neutral))
    assert _distance(model, found.neutral, MOUTH_CORNERS) > usual + 0.6 * (wide - usual)


def test_a_smile_is_no_wide_mouth_and_leaves_the_lips_shut(model):
    mean = model.mean.astype(np.float64)
    smile = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.15}
    posed = _posed(model, mean, **smile)
    found = fit_head([_photo(model, posed, smile)], model)
    usual, wide = (_distance(model, v, MOUTH_CORNERS) for v in (mean, posed))
    assert _distance(model, found.neutral, MOUTH_CORNERS) < usual + 0.3 * (wide - usual)
    for pair in LIPS:
        assert _distance(model, found.neutral, pair) < _distance(model, mean, pair) + 0.01


def test_narrow_eyes_stay_narrow_though_they_are_said_to_squint(model):
    narrow = _shape(model, eye_height1_incr=-0.6, eye_height2_incr=-0.6, eye_height3_incr=-0.6)
    neutral = model.vertices(narrow).astype(np.float64)
    scores = {"eyeSquintLeft": 0.5, "eyeSquintRight": 0.5}
    found = fit_head([_photo(model, neutral, scores)], model)
    lids = (159, 145)
    usual, true = (_distance(model, v, lids) for v in (model.mean, neutral))
    assert _distance(model, found.neutral, lids) < usual - 0.25 * (usual - true)


def test_lowered_corners_over_a_raised_chin_are_a_frown(model):
    mean = model.mean.astype(np.float64)
    posed = _posed(model, mean, mouthFrownLeft=0.5, mouthFrownRight=0.5)
    found = fit_head([_photo(model, posed, {"mouthShrugLower": 0.5})], model)
    usual, low = _lift(model, mean), _lift(model, posed)
    assert _lift(model, found.neutral) > usual + 0.35 * (low - usual)


def test_a_raised_chin_alone_leaves_the_corners_level(model):
    mean = model.mean.astype(np.float64)
    found = fit_head([_photo(model, mean, {"mouthShrugLower": 0.5})], model)
    assert _lift(model, found.neutral) < _lift(model, mean) + 0.004
