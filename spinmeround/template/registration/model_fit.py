"""How near the head model itself comes to a surface: size and pose, shape and expression, by Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.template.fit.canonical_frame import similarity_free_surface
from spinmeround.template.fit.observations import FACE_OVAL
from spinmeround.template.fit.residuals import SurfacePoints
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.registration.landmarks import SurfaceMarks
from spinmeround.template.registration.target import Similarity, Target, align_without_marks, umeyama

_MM = 1e-3 / METRES_PER_UNIT
_STRIDE = 8
"""One in so many dense vertices asks the surface where it is."""
_WORTH = 0.12
"""Neighbouring matches repeat each other: so many independent ones is each of them worth."""
_STEPS_BY_MARKS, _STEPS = 8, 14
_NEAR_MM = (6.0, 1.2)
"""Standard deviation of a match on the face, at the first step and at the last."""
_HAIR_MM = 8.0
"""By so much a surface may lie outside the scalp, the ears and the neck: hair and clothes do."""
_DETECTOR_MM = 1.5
_ROBUST = 2.5
_LOCAL_SIGMA, _MIRROR_SIGMA, _EXPRESSION_SIGMA = 0.2, 0.1, 0.2


@dataclass(frozen=True)
class SpaceFit:
    """The head model on a surface.

    Attributes:
        shape: parameters of ``surface``.
        posed: coarse vertices with the expression, in the model's frame.
        neutral: the same without expression.
        world_from_model: carries the model's frame onto the surface's.
    """

    shape: Float[np.ndarray, "k"]
    expression: Float[np.ndarray, "52"]
    posed: Float[np.ndarray, "n 3"]
    neutral: Float[np.ndarray, "n 3"]
    world_from_model: Similarity


@dataclass(frozen=True)
class Regions:
    """What each dense vertex of the skin can be asked.

    Attributes:
        asked: outside of the face and head: neither the inside of sockets, nostrils and mouth, nor another part.
        bare: 1 on the face, 0 where hair or clothes may lie between skin and surface.
    """

    asked: Bool[np.ndarray, "m"]
    bare: Float[np.ndarray, "m"]

    @staticmethod
    def of(model: HeadModel) -> Regions:
        """Those of the model's masks."""
        skin = np.zeros(model.subdivision.shape[0], bool)
        skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
        asked = skin & (model.masks["cavity"] < 0.1) & (model.masks["nostrils"] < 0.3)
        covered = np.maximum.reduce([model.masks[name] for name in ("scalp", "neck", "ear_left", "ear_right")])
        return Regions(asked, np.clip(model.masks["face"] - covered, 0, 1).astype(np.float64))


def fit_space(model: HeadModel, target: Target, marks: SurfaceMarks | None) -> SpaceFit:
    """Maximum a posteriori shape, expression and similarity; without landmarks the face is taken for neutral."""
    solver = _Solver(model, target, marks)
    if marks is None:
        motion = _aligned(model, target)
    else:
        points = solver.marks.positions(solver.shape, solver.expression)
        motion = umeyama(points, marks.points, _mark_weight(marks))
        for _ in range(_STEPS_BY_MARKS):
            motion = solver.step(motion, near_mm=None)
    for spread in np.geomspace(*_NEAR_MM, _STEPS):
        motion = solver.step(motion, near_mm=float(spread))
    return SpaceFit(
        solver.shape,
        solver.expression,
        solver.vertices.positions(solver.shape, solver.expression),
        solver.vertices.positions(solver.shape, np.zeros(len(solver.expression))),
        motion,
    )


def _aligned(model: HeadModel, target: Target) -> Similarity:
    dense = model.dense(np.asarray(model.mean, np.float64))
    chosen = np.flatnonzero(Regions.of(model).asked & (model.masks["neck"] < 0.3))[::_STRIDE]
    return align_without_marks(dense[chosen], vertex_normals(dense, model.dense_faces)[chosen], target)


def _mark_weight(marks: SurfaceMarks) -> Float[np.ndarray, "478"]:
    """Landmarks of the contour belong to the picture rather than to the head."""
    weight = marks.weight.astype(np.float64).copy()
    weight[FACE_OVAL] *= 0.1
    return weight


class _Solver:
    """The state of the fit and its normal equations; the model's frame is the one in which errors are counted."""

    def __init__(self, model: HeadModel, target: Target, marks: SurfaceMarks | None) -> None:
        self.model, self.target, self.given = model, target, marks
        self.vertices = similarity_free_surface(model)
        self.marks = self.vertices.at_barycentric(model.faces[model.landmark_faces], model.landmark_barycentric)
        regions = Regions.of(model)
        self.asked = np.flatnonzero(regions.asked)[::_STRIDE]
        believed = marks is None or marks.surface_believed
        self.bare = regions.bare[self.asked] * believed
        self.samples = _rows(self.vertices, model, self.asked)
        self.shape = np.zeros(len(model.shape_names))
        self.expression = np.zeros(52) if marks is None else np.clip(marks.blendshapes, 0, 1)
        self.expected = self.expression
        principal = np.array([name.startswith("pca_") for name in model.shape_names])
        self.sigma = np.where(principal, 1.0, _LOCAL_SIGMA)
        self.limit = np.where(principal, 3.0, 1.0)
        index = np.arange(len(principal))
        first = index < model.shape_mirror
        self.pairs = np.stack([index[first], np.asarray(model.shape_mirror)[first]], axis=1)

    def step(self, motion: Similarity, *, near_mm: float | None) -> Similarity:
        """One Gauss-Newton step with correspondences found anew; landmarks alone where ``near_mm`` is none.

        Args:
            motion: world from model.

        Returns:
            the similarity after the step.
        """
        k, e = len(self.shape), len(self.expression)
        matrix, gradient = np.zeros((k + e + 7,) * 2), np.zeros(k + e + 7)
        self._add_priors(matrix, gradient)
        model_from_world = motion.inverse()
        if self.given is not None:
            self._add_marks(matrix, gradient, model_from_world)
        if near_mm is not None:
            self._add_matches(matrix, gradient, model_from_world, near_mm)
        free = self._free(gradient)
        step = np.zeros(len(gradient))
        step[free] = -np.linalg.solve(matrix[np.ix_(free, free)], gradient[free])
        self.shape = np.clip(self.shape + step[:k], -self.limit, self.limit)
        self.expression = np.clip(self.expression + step[k : k + e], 0, 1)
        return model_from_world.after_step(step[k + e :]).inverse()

    def _free(self, gradient: Float[np.ndarray, "u"]) -> Bool[np.ndarray, "u"]:
        """Not those at a bound that the descent would push through it."""
        k, e = len(self.shape), len(self.expression)
        free = np.ones(len(gradient), bool)
        free[:k] = ~(
            ((self.shape >= self.limit) & (gradient[:k] < 0)) | ((self.shape <= -self.limit) & (gradient[:k] > 0))
        )
        slope = gradient[k : k + e]
        free[k : k + e] = ~(((self.expression <= 0) & (slope > 0)) | ((self.expression >= 1) & (slope < 0)))
        return free if self.given is not None else free & ~_span(len(free), k, k + e)

    def _add_priors(self, matrix: np.ndarray, gradient: np.ndarray) -> None:
        k, e = len(self.shape), len(self.expression)
        own = np.arange(k + e)
        sigma = np.concatenate([self.sigma, np.full(e, _EXPRESSION_SIGMA)])
        value = np.concatenate([self.shape, self.expression - self.expected])
        matrix[own, own] += sigma**-2
        gradient[own] += value / sigma**2
        left, right = self.pairs.T
        worth = _MIRROR_SIGMA**-2
        difference = worth * (self.shape[left] - self.shape[right])
        for a, b, sign in ((left, right, 1.0), (right, left, -1.0)):
            matrix[a, a] += worth
            matrix[a, b] -= worth
            gradient[a] += sign * difference

    def _add_marks(self, matrix: np.ndarray, gradient: np.ndarray, model_from_world: Similarity) -> None:
        assert self.given is not None
        wanted = model_from_world(self.given.points)
        points = self.marks.positions(self.shape, self.expression)
        sigma = np.hypot(self.model.landmark_sigma, _DETECTOR_MM * _MM)
        root = np.sqrt(0.3 * _mark_weight(self.given)) / sigma
        error = points - wanted
        root /= np.sqrt(1 + ((error / sigma[:, None]) ** 2).sum(1) / _ROBUST**2)
        rows = np.concatenate([self.marks.jacobian(self.shape), -_by_motion(wanted)], axis=2)
        _add(matrix, gradient, rows, error, root)

    def _add_matches(
        self, matrix: np.ndarray, gradient: np.ndarray, model_from_world: Similarity, near_mm: float
    ) -> None:
        posed = self.vertices.positions(self.shape, self.expression)
        dense = self.model.dense(posed)
        normals = vertex_normals(dense, self.model.dense_faces)[self.asked]
        points = dense[self.asked]
        world_from_model = model_from_world.inverse()
        matches = self.target.match(world_from_model(points), normals @ world_from_model.rotation.T)
        wanted, facing = model_from_world(matches.point), matches.normal @ model_from_world.rotation.T
        error = ((points - wanted) * facing).sum(1)
        # Under hair and clothes the surface lies outside; no skin lies outside the surface.
        inside = error < 0
        sigma = _MM * np.where(inside, near_mm + _HAIR_MM * (1 - self.bare), near_mm)
        distance = np.linalg.norm(points - wanted, axis=1)
        root = np.sqrt(_WORTH) / sigma / (1 + (distance / (_ROBUST * sigma)) ** 2)
        root = np.where(matches.found, root, 0)
        rows = np.concatenate([self.samples.jacobian(self.shape), -_by_motion(wanted)], axis=2)
        along = np.einsum("mc,mcu->mu", facing, rows)[:, None]
        _add(matrix, gradient, along, error[:, None], root)


def _span(count: int, start: int, stop: int) -> Bool[np.ndarray, "u"]:
    index = np.arange(count)
    return (index >= start) & (index < stop)


def _rows(vertices: SurfacePoints, model: HeadModel, chosen: Integer[np.ndarray, "a"]) -> SurfacePoints:
    """Some dense vertices with what moves them."""
    subdivision = model.subdivision[chosen].astype(np.float64)

    def mixed(field: Float[np.ndarray, "n 3 *c"]) -> Float[np.ndarray, "a 3 *c"]:
        return (subdivision @ field.reshape(len(field), -1)).reshape(len(chosen), *field.shape[1:])

    return SurfacePoints.of_vertices(
        mixed(vertices.mean), mixed(vertices.plus), mixed(vertices.minus), mixed(vertices.expression)
    )


def _by_motion(points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 7"]:
    """How points move with a small rotation, translation and growth."""
    out = np.zeros((len(points), 3, 7))
    x, y, z = points.T
    out[:, 0, 1], out[:, 0, 2] = z, -y
    out[:, 1, 0], out[:, 1, 2] = -z, x
    out[:, 2, 0], out[:, 2, 1] = y, -x
    out[:, :, 3:6] = np.eye(3)
    out[:, :, 6] = points
    return out


def _add(matrix, gradient, rows: Float[np.ndarray, "m r u"], error: Float[np.ndarray, "m r"], root) -> None:
    flat = rows.reshape(-1, rows.shape[2]) * np.repeat(root, rows.shape[1])[:, None]
    matrix += flat.T @ flat
    gradient += flat.T @ (error * root[:, None]).ravel()
