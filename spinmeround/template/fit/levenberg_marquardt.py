"""Levenberg-Marquardt over one shape and, for each photo, a pose and an expression: state, priors, the solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.template.fit.residuals import POSE_SIZE, PointTerm, Pose


@dataclass(frozen=True)
class FitState:
    """Everything that is being fitted."""

    shape: Float[np.ndarray, "k"]
    expressions: tuple[Float[np.ndarray, "e"], ...]
    poses: tuple[Pose, ...]


@dataclass(frozen=True)
class FitPriors:
    """What is believed before a photo is seen, as standard deviations.

    Attributes:
        shape_sigma: of each shape parameter around 0.
        mirror_pairs: shape parameters that are mirror images of each other.
        mirror_sigma: of the difference within a pair.
        shape_limit: bound on the absolute value of each shape parameter.
        expressions: expected expression of each photo; bounds are 0 and 1.
        expression_sigma: around it.
        log_distance: of the camera from the head centre in head units, mean and standard deviation of its logarithm.
    """

    shape_sigma: Float[np.ndarray, "k"]
    mirror_pairs: Integer[np.ndarray, "p 2"]
    mirror_sigma: float
    shape_limit: Float[np.ndarray, "k"]
    expressions: tuple[Float[np.ndarray, "e"], ...]
    expression_sigma: Float[np.ndarray, "e"]
    log_distance: tuple[float, float]


Terms = Sequence[Sequence[PointTerm]]
"""For each photo the terms that tie it to the model."""


def solve(
    state: FitState,
    priors: FitPriors,
    terms_at: Callable[[FitState], Terms],
    *,
    steps: int,
    shape_free: bool = True,
) -> FitState:
    """Damped Gauss-Newton (Levenberg 1944, Marquardt 1963) with correspondences renewed at every step.

    A step is taken only if it lowers the cost for the correspondences it was computed with; parameters at a bound that
    want to leave it are held for that step. With ``shape_free`` false only poses and expressions move.
    """
    damping = 1e-3
    for _ in range(steps):
        terms = terms_at(state)
        matrix, gradient = _normal_equations(state, priors, terms)
        free = _free(state, priors, gradient, shape_free)
        before = total_cost(state, priors, terms)
        for _attempt in range(6):
            step = _damped_step(matrix, gradient, free, damping)
            candidate = _moved(state, priors, step)
            after = total_cost(candidate, priors, terms)
            if after <= before:
                break
            damping *= 8
        else:
            return state
        state, damping = candidate, max(damping / 6, 1e-7)
    return state


def total_cost(state: FitState, priors: FitPriors, terms: Terms) -> float:
    """Negative logarithm of the posterior up to a constant."""
    cost = 0.5 * ((state.shape / priors.shape_sigma) ** 2).sum()
    difference = state.shape[priors.mirror_pairs[:, 0]] - state.shape[priors.mirror_pairs[:, 1]]
    cost += 0.5 * ((difference / priors.mirror_sigma) ** 2).sum()
    mean, sigma = priors.log_distance
    for photo, pose in enumerate(state.poses):
        expression = state.expressions[photo]
        cost += 0.5 * (((expression - priors.expressions[photo]) / priors.expression_sigma) ** 2).sum()
        cost += 0.5 * ((_log_distance(pose) - mean) / sigma) ** 2
        cost += sum(term.cost(pose, state.shape, expression) for term in terms[photo])
    return float(cost)


def _log_distance(pose: Pose) -> float:
    return float(np.log(max(pose.translation[2], 1e-3)))


def _normal_equations(
    state: FitState, priors: FitPriors, terms: Terms
) -> tuple[Float[np.ndarray, "u u"], Float[np.ndarray, "u"]]:
    """Unknowns in the order shape, then (expression, pose) of each photo."""
    k, e = len(state.shape), len(priors.expression_sigma)
    block = e + POSE_SIZE
    size = k + block * len(state.poses)
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    _add_shape_prior(matrix, gradient, state, priors)
    mean, sigma = priors.log_distance
    for photo, pose in enumerate(state.poses):
        expression, first = state.expressions[photo], k + block * photo
        index = np.concatenate([np.arange(k), np.arange(first, first + block)])
        for term in terms[photo]:
            part, slope = term.normal_equations(pose, state.shape, expression)
            matrix[np.ix_(index, index)] += part
            gradient[index] += slope
        own = np.arange(first, first + e)
        matrix[own, own] += priors.expression_sigma**-2
        gradient[own] += (expression - priors.expressions[photo]) / priors.expression_sigma**2
        depth, z = first + e + 5, pose.translation[2]
        matrix[depth, depth] += 1 / (sigma * z) ** 2
        gradient[depth] += (_log_distance(pose) - mean) / (sigma**2 * z)
    return matrix, gradient


def _add_shape_prior(matrix: np.ndarray, gradient: np.ndarray, state: FitState, priors: FitPriors) -> None:
    k = len(state.shape)
    matrix[np.arange(k), np.arange(k)] += priors.shape_sigma**-2
    gradient[:k] += state.shape / priors.shape_sigma**2
    left, right = priors.mirror_pairs.T
    worth = priors.mirror_sigma**-2
    difference = worth * (state.shape[left] - state.shape[right])
    for a, b, sign in ((left, right, 1.0), (right, left, -1.0)):
        matrix[a, a] += worth
        matrix[a, b] -= worth
        gradient[a] += sign * difference


def _free(
    state: FitState, priors: FitPriors, gradient: Float[np.ndarray, "u"], shape_free: bool
) -> Bool[np.ndarray, "u"]:
    """Unknowns that may move: not those at a bound that the descent would push through it."""
    free = np.ones(len(gradient), bool)
    k, e = len(state.shape), len(priors.expression_sigma)
    free[:k] = shape_free & ~(
        ((state.shape >= priors.shape_limit) & (gradient[:k] < 0))
        | ((state.shape <= -priors.shape_limit) & (gradient[:k] > 0))
    )
    for photo, expression in enumerate(state.expressions):
        first = k + (e + POSE_SIZE) * photo
        slope = gradient[first : first + e]
        free[first : first + e] = ~(((expression <= 0) & (slope > 0)) | ((expression >= 1) & (slope < 0)))
    return free


def _damped_step(
    matrix: Float[np.ndarray, "u u"], gradient: Float[np.ndarray, "u"], free: Bool[np.ndarray, "u"], damping: float
) -> Float[np.ndarray, "u"]:
    step = np.zeros(len(gradient))
    system = matrix[np.ix_(free, free)]
    diagonal = np.einsum("ii->i", system)
    diagonal += damping * np.maximum(diagonal, 1e-9)
    step[free] = -np.linalg.solve(system, gradient[free])
    return step


def _moved(state: FitState, priors: FitPriors, step: Float[np.ndarray, "u"]) -> FitState:
    k, e = len(state.shape), len(priors.expression_sigma)
    shape = np.clip(state.shape + step[:k], -priors.shape_limit, priors.shape_limit)
    blocks = step[k:].reshape(len(state.poses), e + POSE_SIZE)
    expressions = tuple(np.clip(x + d[:e], 0, 1) for x, d in zip(state.expressions, blocks, strict=True))
    poses = tuple(pose.moved(d[e:]) for pose, d in zip(state.poses, blocks, strict=True))
    return FitState(shape, expressions, poses)
