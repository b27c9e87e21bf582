"""Levenberg-Marquardt over one shape and, for each photo, a pose and an expression: state, priors, solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.template.fit.residuals import POSE_SIZE, PointTerm, Pose
from spinmeround.template.fit.settings import SolverSettings

_SETTINGS = SolverSettings()

_MIN_DISTANCE = 1e-3
"""Lower bound of the camera's distance in its prior, head units; keeps the logarithm finite."""
_DEPTH = 5
"""Index of the translation along the camera's +Z among the unknowns of a pose."""


@dataclass(frozen=True)
class FitState:
    """All unknowns of the fit.

    Attributes:
        shape: parameters of the model.
        expressions: weights in [0, 1], one vector for each photo.
        poses: one for each photo.
    """

    shape: Float[np.ndarray, "k"]
    expressions: tuple[Float[np.ndarray, "e"], ...]
    poses: tuple[Pose, ...]


@dataclass(frozen=True)
class FitPriors:
    """Gaussian priors, as standard deviations, and bounds.

    Attributes:
        shape_mean: expected value of each shape parameter.
        shape_sigma: around it.
        mirror_pairs: shape parameters that are mirror images of each other.
        mirror_sigma: of the difference within a pair.
        shape_limit: bound on the absolute value of each shape parameter.
        expressions: expected expression of each photo; bounds are 0 and 1.
        expression_sigmas: around it.
        log_distance: mean and standard deviation of the logarithm of the camera's distance from the head's centre, head
            units.
    """

    shape_mean: Float[np.ndarray, "k"]
    shape_sigma: Float[np.ndarray, "k"]
    mirror_pairs: Integer[np.ndarray, "p 2"]
    mirror_sigma: float
    shape_limit: Float[np.ndarray, "k"]
    expressions: tuple[Float[np.ndarray, "e"], ...]
    expression_sigmas: tuple[Float[np.ndarray, "e"], ...]
    log_distance: tuple[float, float]


Terms = Sequence[Sequence[PointTerm]]
"""For each photo its residual terms."""


def solve(
    state: FitState,
    priors: FitPriors,
    terms_at: Callable[[FitState], Terms],
    *,
    steps: int,
    shape_free: bool = True,
) -> FitState:
    """Minimise the cost by damped Gauss-Newton (Levenberg 1944, Marquardt 1963).

    A step is taken only if it lowers the cost for the correspondences it was computed with. Parameters at a bound that
    the step would push beyond it are held for that step.

    Args:
        terms_at: finds the correspondences of a state; called at every step.
        steps: at most.
        shape_free: if false, only poses and expressions move.
    """
    damping = _SETTINGS.first_damping
    for _ in range(steps):
        terms = terms_at(state)
        matrix, gradient = _normal_equations(state, priors, terms)
        free = _free(state, priors, gradient, shape_free)
        before = total_cost(state, priors, terms)
        for _attempt in range(_SETTINGS.max_attempts):
            step = _damped_step(matrix, gradient, free, damping)
            candidate = _moved(state, priors, step)
            after = total_cost(candidate, priors, terms)
            if after <= before:
                break
            damping *= _SETTINGS.increase
        else:
            return state
        state, damping = candidate, max(damping / _SETTINGS.decrease, _SETTINGS.min_damping)
    return state


def total_cost(state: FitState, priors: FitPriors, terms: Terms) -> float:
    """Return the negative logarithm of the posterior up to a constant."""
    cost = 0.5 * (((state.shape - priors.shape_mean) / priors.shape_sigma) ** 2).sum()
    difference = state.shape[priors.mirror_pairs[:, 0]] - state.shape[priors.mirror_pairs[:, 1]]
    cost += 0.5 * ((difference / priors.mirror_sigma) ** 2).sum()
    mean, sigma = priors.log_distance
    for photo, pose in enumerate(state.poses):
        expression = state.expressions[photo]
        cost += 0.5 * (((expression - priors.expressions[photo]) / priors.expression_sigmas[photo]) ** 2).sum()
        cost += 0.5 * ((_log_distance(pose) - mean) / sigma) ** 2
        cost += sum(term.cost(pose, state.shape, expression) for term in terms[photo])
    return float(cost)


def _log_distance(pose: Pose) -> float:
    return float(np.log(max(pose.translation[2], _MIN_DISTANCE)))


def _normal_equations(
    state: FitState, priors: FitPriors, terms: Terms
) -> tuple[Float[np.ndarray, "u u"], Float[np.ndarray, "u"]]:
    """Return Gauss-Newton matrix and gradient; unknowns in the order shape, then (expression, pose) of each photo."""
    k, e = len(state.shape), len(priors.expressions[0])
    block = e + POSE_SIZE
    size = k + block * len(state.poses)
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    _add_shape_prior(matrix, gradient, state, priors)
    mean, sigma = priors.log_distance
    for photo, pose in enumerate(state.poses):
        expression, first = state.expressions[photo], k + block * photo
        index = np.concatenate([np.arange(k), np.arange(first, first + block)])
        for term in terms[photo]:
            block_matrix, block_gradient = term.normal_equations(pose, state.shape, expression)
            matrix[np.ix_(index, index)] += block_matrix
            gradient[index] += block_gradient
        own = np.arange(first, first + e)
        precision = priors.expression_sigmas[photo] ** -2
        matrix[own, own] += precision
        gradient[own] += precision * (expression - priors.expressions[photo])
        depth, z = first + e + _DEPTH, pose.translation[2]
        matrix[depth, depth] += 1 / (sigma * z) ** 2
        gradient[depth] += (_log_distance(pose) - mean) / (sigma**2 * z)
    return matrix, gradient


def _add_shape_prior(matrix: np.ndarray, gradient: np.ndarray, state: FitState, priors: FitPriors) -> None:
    """Add the priors of the shape to the normal equations, in place."""
    k = len(state.shape)
    matrix[np.arange(k), np.arange(k)] += priors.shape_sigma**-2
    gradient[:k] += (state.shape - priors.shape_mean) / priors.shape_sigma**2
    left, right = priors.mirror_pairs.T
    precision = priors.mirror_sigma**-2
    difference = precision * (state.shape[left] - state.shape[right])
    for a, b, sign in ((left, right, 1.0), (right, left, -1.0)):
        matrix[a, a] += precision
        matrix[a, b] -= precision
        gradient[a] += sign * difference


def _free(
    state: FitState, priors: FitPriors, gradient: Float[np.ndarray, "u"], shape_free: bool
) -> Bool[np.ndarray, "u"]:
    """Return which unknowns may move: not those at a bound that the descent would push beyond it."""
    free = np.ones(len(gradient), bool)
    k, e = len(state.shape), len(priors.expressions[0])
    free[:k] = shape_free & ~(
        ((state.shape >= priors.shape_limit) & (gradient[:k] < 0))
        | ((state.shape <= -priors.shape_limit) & (gradient[:k] > 0))
    )
    for photo, expression in enumerate(state.expressions):
        first = k + (e + POSE_SIZE) * photo
        uphill = gradient[first : first + e]
        free[first : first + e] = ~(((expression <= 0) & (uphill > 0)) | ((expression >= 1) & (uphill < 0)))
    return free


def _damped_step(
    matrix: Float[np.ndarray, "u u"], gradient: Float[np.ndarray, "u"], free: Bool[np.ndarray, "u"], damping: float
) -> Float[np.ndarray, "u"]:
    """Solve the damped normal equations over the free unknowns; the others get 0."""
    step = np.zeros(len(gradient))
    system = matrix[np.ix_(free, free)]
    diagonal = np.einsum("ii->i", system)
    diagonal += damping * np.maximum(diagonal, _SETTINGS.min_diagonal)
    step[free] = -np.linalg.solve(system, gradient[free])
    return step


def _moved(state: FitState, priors: FitPriors, step: Float[np.ndarray, "u"]) -> FitState:
    """Return the state after a step, clipped to the bounds."""
    k, e = len(state.shape), len(priors.expressions[0])
    shape = np.clip(state.shape + step[:k], -priors.shape_limit, priors.shape_limit)
    blocks = step[k:].reshape(len(state.poses), e + POSE_SIZE)
    expressions = tuple(np.clip(x + d[:e], 0, 1) for x, d in zip(state.expressions, blocks, strict=True))
    poses = tuple(pose.moved(d[e:]) for pose, d in zip(state.poses, blocks, strict=True))
    return FitState(shape, expressions, poses)
