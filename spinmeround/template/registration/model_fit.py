"""Fit of the head model itself to a surface: size and pose, shape and expression, by Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import MILLIMETRE, vertex_normals
from spinmeround.template.fit.canonical_frame import similarity_free_surface
from spinmeround.template.fit.observations import FACE_OVAL
from spinmeround.template.fit.residuals import SurfacePoints
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.registration.landmarks import SurfaceLandmarks
from spinmeround.template.registration.target import Similarity, Target, align_by_shape, umeyama

_SIMILARITY_PARAMETERS = 7
"""Rotation vector, translation, logarithm of the scale."""


@dataclass(frozen=True)
class _RegionSettings:
    """Constants of the model's regions; masks are in [0, 1].

    Attributes:
        max_cavity: vertices with less of eye sockets and mouth than this are outside.
        max_nostrils: vertices with less of the nostrils than this are outside.
        max_neck: vertices with less of the neck than this align the head.
    """

    max_cavity: float = 0.1
    max_nostrils: float = 0.3
    max_neck: float = 0.3


@dataclass(frozen=True)
class _ModelFitSettings:
    """Constants of the fit. Standard deviations of parameters are in units of the model's parameters.

    Attributes:
        stride: one in so many dense vertices is matched with the surface.
        match_weight: of each match; neighbouring ones repeat each other and are not independent.
        landmark_weight: of each landmark, for the same reason.
        contour_weight: factor on landmarks of the face's contour, which belong to the picture rather than to the head.
        landmark_steps: steps with landmarks alone.
        match_steps: steps with matches.
        match_sigma_mm: standard deviation of a match on the face, at the first of these steps and at the last; it
            shrinks geometrically.
        covered_mm: by so much a surface may lie outside the scalp, the ears and the neck, where hair and clothes are.
        detector_mm: standard deviation of the landmark detector.
        cauchy_scale: residuals so many standard deviations large count half or less.
        local_sigma: standard deviation of local shape parameters; that of principal components is 1.
        mirror_sigma: standard deviation of the difference between the two sides of a head.
        expression_sigma: standard deviation of expression weights around the detected ones.
        max_principal: bound of principal components.
        max_local: bound of local shape parameters.
    """

    stride: int = 8
    match_weight: float = 0.12
    landmark_weight: float = 0.3
    contour_weight: float = 0.1
    landmark_steps: int = 8
    match_steps: int = 14
    match_sigma_mm: tuple[float, float] = (6.0, 1.2)
    covered_mm: float = 8.0
    detector_mm: float = 1.5
    cauchy_scale: float = 2.5
    local_sigma: float = 0.2
    mirror_sigma: float = 0.1
    expression_sigma: float = 0.2
    max_principal: float = 3.0
    max_local: float = 1.0


_REGION, _FIT = _RegionSettings(), _ModelFitSettings()


@dataclass(frozen=True)
class ModelFit:
    """The head model on a surface.

    Attributes:
        shape: the model's shape parameters.
        expression: weights of the model's expressions.
        posed: coarse vertices with the expression, in the model's frame.
        neutral: the same without expression.
        world_from_model: from the model's frame to the surface's.
    """

    shape: Float[np.ndarray, "k"]
    expression: Float[np.ndarray, "52"]
    posed: Float[np.ndarray, "n 3"]
    neutral: Float[np.ndarray, "n 3"]
    world_from_model: Similarity


@dataclass(frozen=True)
class Regions:
    """Which dense vertices can be matched with a surface, and how.

    Attributes:
        outer_skin: outside of face and head: neither the inside of sockets, nostrils and mouth, nor another part.
        bare: 1 on the face, 0 where hair or clothes may lie between skin and surface.
    """

    outer_skin: Bool[np.ndarray, "m"]
    bare: Float[np.ndarray, "m"]

    @staticmethod
    def of(model: HeadModel) -> Regions:
        """Return those of the model's masks."""
        skin = np.zeros(model.subdivision.shape[0], bool)
        skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
        open_ = (model.masks["cavity"] < _REGION.max_cavity) & (model.masks["nostrils"] < _REGION.max_nostrils)
        covered = np.maximum.reduce([model.masks[name] for name in ("scalp", "neck", "ear_left", "ear_right")])
        return Regions(skin & open_, np.clip(model.masks["face"] - covered, 0, 1).astype(np.float64))


def fit_model(model: HeadModel, target: Target, landmarks: SurfaceLandmarks | None) -> ModelFit:
    """Return maximum a posteriori shape, expression and similarity; without landmarks the face is taken for neutral."""
    solver = _Solver(model, target, landmarks)
    if landmarks is None:
        motion = _align(model, target)
    else:
        points = solver.model_landmarks.positions(solver.shape, solver.expression)
        motion = umeyama(points, landmarks.points, _landmark_weight(landmarks))
        for _ in range(_FIT.landmark_steps):
            motion = solver.step(motion, match_sigma_mm=None)
    for sigma_mm in np.geomspace(*_FIT.match_sigma_mm, _FIT.match_steps):
        motion = solver.step(motion, match_sigma_mm=float(sigma_mm))
    return ModelFit(
        solver.shape,
        solver.expression,
        solver.vertices.positions(solver.shape, solver.expression),
        solver.vertices.positions(solver.shape, np.zeros(len(solver.expression))),
        motion,
    )


def _align(model: HeadModel, target: Target) -> Similarity:
    """Align the mean head with the surface without landmarks."""
    dense = model.dense(np.asarray(model.mean, np.float64))
    head = Regions.of(model).outer_skin & (model.masks["neck"] < _REGION.max_neck)
    chosen = np.flatnonzero(head)[:: _FIT.stride]
    return align_by_shape(dense[chosen], vertex_normals(dense, model.dense_faces)[chosen], target)


def _landmark_weight(landmarks: SurfaceLandmarks) -> Float[np.ndarray, "478"]:
    """Return the weights with less on the contour, whose landmarks belong to the picture rather than to the head."""
    weight = landmarks.weight.astype(np.float64).copy()
    weight[FACE_OVAL] *= _FIT.contour_weight
    return weight


class _Solver:
    """The state of the fit and its normal equations; residuals are measured in the model's frame."""

    def __init__(self, model: HeadModel, target: Target, landmarks: SurfaceLandmarks | None) -> None:
        self.model, self.target, self.landmarks = model, target, landmarks
        self.vertices = similarity_free_surface(model)
        self.model_landmarks = self.vertices.at_barycentric(
            model.faces[model.landmark_faces], model.landmark_barycentric
        )
        regions = Regions.of(model)
        self.matched = np.flatnonzero(regions.outer_skin)[:: _FIT.stride]
        surface_trusted = landmarks is None or landmarks.surface_trusted
        self.bare = regions.bare[self.matched] * surface_trusted
        self.samples = _surface_points(self.vertices, model, self.matched)
        self.shape = np.zeros(len(model.shape_names))
        self.expression = np.zeros(52) if landmarks is None else np.clip(landmarks.blendshapes, 0, 1)
        self.expected = self.expression
        principal = np.array([name.startswith("pca_") for name in model.shape_names])
        self.sigma = np.where(principal, 1.0, _FIT.local_sigma)
        self.limit = np.where(principal, _FIT.max_principal, _FIT.max_local)
        index = np.arange(len(principal))
        first = index < model.shape_mirror
        self.pairs = np.stack([index[first], np.asarray(model.shape_mirror)[first]], axis=1)

    def step(self, motion: Similarity, *, match_sigma_mm: float | None) -> Similarity:
        """Take one Gauss-Newton step with new correspondences.

        Args:
            motion: world from model.
            match_sigma_mm: standard deviation of a match on the face; None for landmarks alone.

        Returns:
            The similarity after the step.
        """
        k, e = len(self.shape), len(self.expression)
        count = k + e + _SIMILARITY_PARAMETERS
        matrix, gradient = np.zeros((count,) * 2), np.zeros(count)
        self._add_priors(matrix, gradient)
        model_from_world = motion.inverse()
        if self.landmarks is not None:
            self._add_landmarks(self.landmarks, matrix, gradient, model_from_world)
        if match_sigma_mm is not None:
            self._add_matches(matrix, gradient, model_from_world, match_sigma_mm)
        free = self._free_parameters(gradient)
        step = np.zeros(len(gradient))
        step[free] = -np.linalg.solve(matrix[np.ix_(free, free)], gradient[free])
        self.shape = np.clip(self.shape + step[:k], -self.limit, self.limit)
        self.expression = np.clip(self.expression + step[k : k + e], 0, 1)
        return model_from_world.after_step(step[k + e :]).inverse()

    def _free_parameters(self, gradient: Float[np.ndarray, "u"]) -> Bool[np.ndarray, "u"]:
        """Return false for parameters at a bound through which the step would push them."""
        k, e = len(self.shape), len(self.expression)
        free = np.ones(len(gradient), bool)
        free[:k] = ~(
            ((self.shape >= self.limit) & (gradient[:k] < 0)) | ((self.shape <= -self.limit) & (gradient[:k] > 0))
        )
        slope = gradient[k : k + e]
        free[k : k + e] = ~(((self.expression <= 0) & (slope > 0)) | ((self.expression >= 1) & (slope < 0)))
        if self.landmarks is None:
            free[k : k + e] = False
        return free

    def _add_priors(self, matrix: np.ndarray, gradient: np.ndarray) -> None:
        """Add Gaussian priors of shape and expression and of the symmetry of the shape, in place."""
        k, e = len(self.shape), len(self.expression)
        own = np.arange(k + e)
        sigma = np.concatenate([self.sigma, np.full(e, _FIT.expression_sigma)])
        value = np.concatenate([self.shape, self.expression - self.expected])
        matrix[own, own] += sigma**-2
        gradient[own] += value / sigma**2
        left, right = self.pairs.T
        weight = _FIT.mirror_sigma**-2
        difference = weight * (self.shape[left] - self.shape[right])
        for a, b, sign in ((left, right, 1.0), (right, left, -1.0)):
            matrix[a, a] += weight
            matrix[a, b] -= weight
            gradient[a] += sign * difference

    def _add_landmarks(
        self, landmarks: SurfaceLandmarks, matrix: np.ndarray, gradient: np.ndarray, model_from_world: Similarity
    ) -> None:
        """Add the landmarks' distances, in place."""
        wanted = model_from_world(landmarks.points)
        points = self.model_landmarks.positions(self.shape, self.expression)
        sigma = np.hypot(self.model.landmark_sigma, _FIT.detector_mm * MILLIMETRE)
        root_weight = np.sqrt(_FIT.landmark_weight * _landmark_weight(landmarks)) / sigma
        residual = points - wanted
        root_weight /= np.sqrt(1 + ((residual / sigma[:, None]) ** 2).sum(1) / _FIT.cauchy_scale**2)
        jacobian = np.concatenate([self.model_landmarks.jacobian(self.shape), -_similarity_jacobian(wanted)], axis=2)
        _add_residuals(matrix, gradient, jacobian, residual, root_weight)

    def _add_matches(
        self, matrix: np.ndarray, gradient: np.ndarray, model_from_world: Similarity, match_sigma_mm: float
    ) -> None:
        """Add point-to-plane distances to the surface, in place."""
        posed = self.vertices.positions(self.shape, self.expression)
        dense = self.model.dense(posed)
        normals = vertex_normals(dense, self.model.dense_faces)[self.matched]
        points = dense[self.matched]
        world_from_model = model_from_world.inverse()
        matches = self.target.match(world_from_model(points), normals @ world_from_model.rotation.T)
        wanted, wanted_normals = model_from_world(matches.point), matches.normal @ model_from_world.rotation.T
        residual = ((points - wanted) * wanted_normals).sum(1)
        # Under hair and clothes the surface lies outside the skin; skin never lies outside the surface.
        inside = residual < 0
        covered_sigma_mm = match_sigma_mm + _FIT.covered_mm * (1 - self.bare)
        sigma = MILLIMETRE * np.where(inside, covered_sigma_mm, match_sigma_mm)
        distance = np.linalg.norm(points - wanted, axis=1)
        root_weight = np.sqrt(_FIT.match_weight) / sigma / (1 + (distance / (_FIT.cauchy_scale * sigma)) ** 2)
        root_weight = np.where(matches.found, root_weight, 0)
        jacobian = np.concatenate([self.samples.jacobian(self.shape), -_similarity_jacobian(wanted)], axis=2)
        along_normal = np.einsum("mc,mcu->mu", wanted_normals, jacobian)[:, None]
        _add_residuals(matrix, gradient, along_normal, residual[:, None], root_weight)


def _surface_points(vertices: SurfacePoints, model: HeadModel, chosen: Integer[np.ndarray, "a"]) -> SurfacePoints:
    """Return some dense vertices with their dependence on the model's parameters."""
    subdivision = model.subdivision[chosen].astype(np.float64)

    def mixed(field: Float[np.ndarray, "n 3 *c"]) -> Float[np.ndarray, "a 3 *c"]:
        return (subdivision @ field.reshape(len(field), -1)).reshape(len(chosen), *field.shape[1:])

    return SurfacePoints.of_vertices(
        mixed(vertices.mean), mixed(vertices.plus), mixed(vertices.minus), mixed(vertices.expression)
    )


def _similarity_jacobian(points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 7"]:
    """Return the derivatives of points by a small rotation, translation and growth."""
    out = np.zeros((len(points), 3, _SIMILARITY_PARAMETERS))
    x, y, z = points.T
    out[:, 0, 1], out[:, 0, 2] = z, -y
    out[:, 1, 0], out[:, 1, 2] = -z, x
    out[:, 2, 0], out[:, 2, 1] = y, -x
    out[:, :, 3:6] = np.eye(3)
    out[:, :, 6] = points
    return out


def _add_residuals(
    matrix: Float[np.ndarray, "u u"],
    gradient: Float[np.ndarray, "u"],
    jacobian: Float[np.ndarray, "m r u"],
    residual: Float[np.ndarray, "m r"],
    root_weight: Float[np.ndarray, "m"],
) -> None:
    """Add weighted squares to the normal equations, in place."""
    flat = jacobian.reshape(-1, jacobian.shape[2]) * np.repeat(root_weight, jacobian.shape[1])[:, None]
    matrix += flat.T @ flat
    gradient += flat.T @ (residual * root_weight[:, None]).ravel()
