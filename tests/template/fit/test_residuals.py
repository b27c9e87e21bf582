"""The arithmetic of the fit against finite differences and plain statements."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.template.fit.free_form import (
    LinearResiduals,
    closure_residuals,
    smooth_displacement,
    surface_edges,
    touching_pairs,
)
from spinmeround.template.fit.levenberg_marquardt import FitPriors, FitState, solve, total_cost
from spinmeround.template.fit.residuals import (
    PointTerm,
    Pose,
    SurfacePoints,
    contour_whitening,
    isotropic_whitening,
    scaled_orthographic_pose,
)
from spinmeround.template.fit.settings import Elasticity, FreeFormSettings

FRONT = np.diag([1.0, -1.0, -1.0])


def _points(rng: np.random.Generator, count: int = 40, k: int = 5, e: int = 3) -> SurfacePoints:
    small = lambda *size: 0.03 * rng.standard_normal(size)  # noqa: E731
    return SurfacePoints.of_vertices(
        0.2 * rng.standard_normal((count, 3)), small(count, 3, k), small(count, 3, k), small(count, 3, e)
    )


def _pose(rng: np.random.Generator) -> Pose:
    rotation = Rotation.from_rotvec(0.3 * rng.standard_normal(3)).as_matrix() @ FRONT
    return Pose(rotation, np.array([0.05, -0.03, 3.0]), float(np.log(2000.0)), np.array([384.0, 384.0]))


def _priors(k: int, e: int, photos: int, weak: float) -> FitPriors:
    return FitPriors(
        shape_mean=np.zeros(k),
        shape_sigma=np.full(k, weak),
        mirror_pairs=np.array([[0, 1]]),
        mirror_sigma=weak,
        shape_limit=np.ones(k),
        expressions=(np.full(e, 0.4),) * photos,
        expression_sigmas=(np.full(e, weak),) * photos,
        log_distance=(float(np.log(3.0)), 0.3),
    )


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_cost(seed):
    rng = np.random.default_rng(seed)
    points, pose = _points(rng), _pose(rng)
    shape, expression = rng.uniform(-0.8, 0.8, 5), rng.uniform(0, 1, 3)
    target = pose.project(points.positions(shape, expression)) + 0.3 * rng.standard_normal((40, 2))
    normal = rng.standard_normal((40, 2))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    # Errors far below the robust limit, so that fixed Cauchy weights give the true gradient.
    term = PointTerm(
        points, target, contour_whitening(normal, np.full(40, 2.0), along=0.3), 50.0, rng.uniform(0.2, 1, 40)
    )
    _, gradient = term.normal_equations(pose, shape, expression)

    def cost(step: np.ndarray) -> float:
        return term.cost(pose.moved(step[8:]), shape + step[:5], expression + step[5:8])

    numeric = np.array([(cost(1e-6 * d) - cost(-1e-6 * d)) / 2e-6 for d in np.eye(15)])
    assert np.allclose(gradient, numeric, rtol=2e-4, atol=1e-3 * np.abs(numeric).max())


def test_derivative_by_a_point():
    rng = np.random.default_rng(0)
    pose, points = _pose(rng), 0.2 * rng.standard_normal((6, 3))
    for axis in range(3):
        step = 1e-6 * np.eye(3)[axis]
        numeric = (pose.project(points + step) - pose.project(points - step)) / 2e-6
        assert np.allclose(pose.jacobian_by_point(points)[:, :, axis], numeric, rtol=1e-5, atol=1e-4)


def test_sliding_leaves_errors_along_the_contour_alone():
    white = contour_whitening(np.array([[1.0, 0.0]]), np.array([2.0]))
    assert np.allclose(white @ np.array([[[0.0], [9.0]]]), 0)
    assert np.allclose(white @ np.array([[[4.0], [0.0]]]), [[[2.0], [0.0]]])
    assert np.allclose(isotropic_whitening(np.array([2.0])) @ np.array([3.0, 4.0]), [[1.5, 2.0]])


def test_first_pose_of_a_turned_head():
    rng = np.random.default_rng(3)
    points = 0.2 * rng.standard_normal((100, 3)) * [1, 1, 0.5]
    rotation = Rotation.from_euler("YXZ", [40, -10, 15], degrees=True).as_matrix() @ FRONT
    truth = Pose(rotation, np.array([0.1, 0.0, 60.0]), float(np.log(60000.0)), np.array([384.0, 384.0]))
    found = scaled_orthographic_pose(points, truth.project(points), 3.0, truth.centre_px)
    angle = Rotation.from_matrix(found.rotation @ rotation.T).magnitude()
    assert np.degrees(angle) < 0.5
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    assert found.focal_px / 3.0 == pytest.approx(1000, rel=0.01)


def test_solver_recovers_shape_and_poses_from_two_photos():
    rng = np.random.default_rng(5)
    points = _points(rng, count=120)
    truth = FitState(
        np.array([0.5, 0.4, -0.6, 0.2, -0.3]),
        (np.array([0.7, 0.1, 0.0]), np.array([0.0, 0.9, 0.5])),
        (_pose(rng), _pose(rng)),
    )
    targets = [p.project(points.positions(truth.shape, e)) for p, e in zip(truth.poses, truth.expressions, strict=True)]
    terms = [[PointTerm(points, t, isotropic_whitening(np.full(120, 0.5)), 3.0, np.ones(120))] for t in targets]
    priors = _priors(5, 3, 2, 10.0)
    start = FitState(
        np.zeros(5),
        priors.expressions,
        tuple(
            scaled_orthographic_pose(points.mean, t, 3.0, p.centre_px)
            for t, p in zip(targets, truth.poses, strict=True)
        ),
    )
    found = solve(start, priors, lambda _: terms, steps=40)
    assert np.allclose(found.shape, truth.shape, atol=0.01)
    assert np.allclose(found.expressions, truth.expressions, atol=0.01)
    assert total_cost(found, priors, terms) < 1.0
    assert min(map(np.min, found.expressions)) >= 0
    held = solve(start, priors, lambda _: terms, steps=5, shape_free=False)
    assert not held.shape.any()


def _sheet(size: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A flat square of triangles, symmetric in x, with its faces and its mirror."""
    x, y = np.meshgrid(np.linspace(-0.1, 0.1, size), np.linspace(-0.1, 0.1, size))
    index = np.arange(size * size).reshape(size, size)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3), faces, index[:, ::-1].ravel()


def test_touching_skin_is_brought_together_again():
    sheet, faces, _ = _sheet(9)
    vertices = np.concatenate([sheet, sheet + np.array([0, 0, 0.001])])
    both = np.concatenate([faces, faces + len(sheet)])
    edges = surface_edges(both, len(vertices))
    pairs = touching_pairs(vertices, edges, np.ones(len(vertices), bool))
    assert sorted(map(tuple, np.sort(pairs, axis=1).tolist())) == [(i, i + len(sheet)) for i in range(len(sheet))]
    torn = vertices + np.where(np.arange(len(vertices)) < len(sheet), 0, 0.004)[:, None] * [0, 0, 1.0]
    itself = np.arange(len(vertices))
    free = np.ones(len(vertices), bool)
    closure = closure_residuals(pairs, vertices, torn)
    moved = torn + smooth_displacement(edges, itself, free, [closure], Elasticity(1e2, 0.02, 1.0))
    gap = (moved[len(sheet) :] - moved[: len(sheet)])[:, 2]
    assert np.abs(gap - 0.001).max() < 3e-4


def test_personal_offsets_explain_smoothly_and_stay_bounded():
    vertices, faces, mirror = _sheet()
    movable = np.abs(vertices[:, 1]) < 0.09
    seen = np.flatnonzero(np.linalg.norm(vertices, axis=1) < 0.06)
    corners = np.repeat(seen[:, None], 3, axis=1)
    rows = np.tile(np.array([[1.0, 0, 0], [0, 1.0, 0]]) / 1e-3, (len(seen), 1, 1))
    noisy = np.array([0.0, 0.004]) + 0.002 * np.random.default_rng(0).standard_normal((len(seen), 2))
    left = LinearResiduals(corners, np.tile([1.0, 0, 0], (len(seen), 1)), rows, noisy / 1e-3)
    links, firm = surface_edges(faces, len(vertices)), Elasticity(3e5, 0.02, 0.012)
    offsets = smooth_displacement(links, mirror, movable, [left], firm)
    assert np.abs(offsets[seen, 1].mean() - 0.004) < 0.001
    assert offsets[seen, 1].std() < 0.0015 < noisy[:, 1].std()
    assert not offsets[~movable].any()
    assert np.abs(offsets[:, 2]).max() < 1e-9, "nothing was seen along the line of sight"
    far = LinearResiduals(corners, left.barycentric, rows, noisy * 100 / 1e-3)
    bounded = smooth_displacement(links, mirror, movable, [far], firm)
    assert np.linalg.norm(bounded, axis=1).max() <= FreeFormSettings().max_length * 1.0001
