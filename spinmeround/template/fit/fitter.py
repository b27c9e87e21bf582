"""Fit of the head model to photos of one person: one shape, and for each photo a camera and an expression."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from spinmeround.errors import FitError
from spinmeround.mesh_raster import rasterize
from spinmeround.template.fit.canonical_frame import (
    canonical_from_fitted,
    pose_in_canonical,
    similarity_free_surface,
)
from spinmeround.template.fit.expression_prior import expected_expression
from spinmeround.template.fit.free_form import (
    LinearResiduals,
    closure_residuals,
    follow_nearest,
    smooth_displacement,
    surface_edges,
    touching_pairs,
)
from spinmeround.template.fit.levenberg_marquardt import FitPriors, FitState, solve
from spinmeround.template.fit.lip_edges import lips
from spinmeround.template.fit.observations import (
    MorphableSurface,
    PosedSurface,
    eye_distance_px,
    landmark_errors_px,
    landmark_term,
    lowest_row,
    silhouette_term,
)
from spinmeround.template.fit.residuals import PointTerm, Pose, SurfacePoints, scaled_orthographic_pose
from spinmeround.template.fit.settings import Elasticity, FitSettings, FitStage, PriorSettings
from spinmeround.template.fit.silhouette import skin_silhouette_iou
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.types import Cameras, Portrait

log = logging.getLogger(__name__)

_PRIORS, _SETTINGS = PriorSettings(), FitSettings()

_LOWER_LIP = "mouth-lowerlip-height-incr"
_LOG_DISTANCE = (float(np.log(_PRIORS.camera_distance)), _PRIORS.log_distance_sigma)
"""Mean and standard deviation of the logarithm of the camera's distance."""

_PROGRESS_STEPS = len(_SETTINGS.stages) + 2
"""Stages of the parametric fit, then the personal displacement, then the final poses and correctives."""


@dataclass(frozen=True)
class FittedPhoto:
    """The fit of one photo.

    Attributes:
        camera: one camera in the canonical world frame, of the photo crop's size.
        expression: weights of the model's expressions, in [0, 1].
        corrective: displacement of each coarse vertex by what the expression basis cannot express, head units.
        landmark_error_px: mean distance between the detected landmarks and the model's, contour landmarks across the
            contour only, pixels of the crop.
        landmark_error_iod: the same in distances between the centres of the eyes as seen in this photo.
        silhouette_iou: intersection over union of the model's mask and the matte where the matte is bare skin.
    """

    camera: Cameras
    expression: Float[np.ndarray, "e"]
    corrective: Float[np.ndarray, "n 3"]
    landmark_error_px: float
    landmark_error_iod: float
    silhouette_iou: float


@dataclass(frozen=True)
class FittedHead:
    """One person's head in the canonical world frame: upright, facing +Z, of the mean head's size and position.

    Attributes:
        shape: parameters of the model; ``neutral`` is ``model.vertices(shape)`` plus ``offsets``, moved to the
            canonical frame.
        offsets: personal displacement of each coarse vertex that the parameters cannot express, head units.
        neutral: coarse vertices without expression.
        photos: one for each photo, in their order.
    """

    model: HeadModel
    shape: Float[np.ndarray, "k"]
    offsets: Float[np.ndarray, "n 3"]
    neutral: Float[np.ndarray, "n 3"]
    photos: tuple[FittedPhoto, ...]

    def posed(self, photo: int) -> Float[np.ndarray, "n 3"]:
        """Return the coarse vertices with the expression of one photo, world frame."""
        fitted = self.photos[photo]
        return self.neutral + np.tensordot(fitted.expression, self.model.expression_basis, 1) + fitted.corrective


def fit_head(
    portraits: Sequence[Portrait], model: HeadModel, *, progress: Callable[[float], None] | None = None
) -> FittedHead:
    """Fit one head to one or several photos of a person by maximum a posteriori.

    Shape, expression, pose and focal length are fitted together (Levenberg-Marquardt, analytic derivatives) to
    landmarks, to a jaw contour that slides along the model's occluding contour, and to the silhouette of bare skin.
    Smooth free-form displacements then fit the residuals that the parameters leave: one of the person, from all photos
    together, and one of each photo's expression.

    Args:
        portraits: photos of one person, any number from one.
        progress: called with the fraction done, in [0, 1].

    Raises:
        FitError: no photo was given, or the model stays far from the landmarks of one.
    """
    if not portraits:
        raise FitError("fitting a head needs at least one photo, got none: pass one")
    report = progress or (lambda fraction: None)
    surface = MorphableSurface.from_vertices(model, similarity_free_surface(model))
    priors = _fit_priors(model, portraits)
    state = _first_state(surface, portraits, priors)
    for number, stage in enumerate(_SETTINGS.stages):
        terms_at = _terms_of_state(surface, portraits, stage)
        state = solve(state, priors, terms_at, steps=stage.steps, shape_free=stage.shape_free)
        report((number + 1) / _PROGRESS_STEPS)
    personal = _personal_displacement(surface, portraits, state)
    report((_PROGRESS_STEPS - 1) / _PROGRESS_STEPS)
    canonical, canonical_state = _to_canonical(surface, state, personal)
    terms_at = _terms_of_state(canonical, portraits, _SETTINGS.stages[-1])
    canonical_state = solve(canonical_state, _without_shape(priors), terms_at, steps=_SETTINGS.final_steps)
    report(1.0)
    photos = tuple(_fitted_photo(canonical, portrait, canonical_state, i) for i, portrait in enumerate(portraits))
    neutral = canonical.vertices.mean
    return FittedHead(model, state.shape, personal, neutral, photos)


def _fit_priors(model: HeadModel, portraits: Sequence[Portrait]) -> FitPriors:
    """Return the priors of all unknowns; those of expressions follow the detector's scores."""
    principal = np.array([name.startswith("pca_") for name in model.shape_names])
    index = np.arange(len(principal))
    first = index < model.shape_mirror
    expected = [expected_expression(model.expression_names, portrait.blendshapes) for portrait in portraits]
    return FitPriors(
        shape_mean=np.where(np.array(model.shape_names) == _LOWER_LIP, _PRIORS.lower_lip, 0.0),
        shape_sigma=np.where(principal, 1.0, _PRIORS.local_shape_sigma),
        mirror_pairs=np.stack([index[first], np.asarray(model.shape_mirror)[first]], axis=1),
        mirror_sigma=_PRIORS.mirror_sigma,
        shape_limit=np.where(principal, _PRIORS.principal_limit, _PRIORS.local_limit),
        expressions=tuple(mean for mean, _ in expected),
        expression_sigmas=tuple(sigma for _, sigma in expected),
        log_distance=_LOG_DISTANCE,
    )


def _first_state(surface: MorphableSurface, portraits: Sequence[Portrait], priors: FitPriors) -> FitState:
    """Return the expected shape, the expected expressions, and scaled orthographic poses."""
    shape = priors.shape_mean
    poses = []
    for portrait, expression in zip(portraits, priors.expressions, strict=True):
        centre = np.array(portrait.alpha.shape[::-1]) / 2
        points = surface.landmarks.positions(shape, expression)
        distance = float(np.exp(_LOG_DISTANCE[0]))
        poses.append(scaled_orthographic_pose(points, portrait.landmarks_px, distance, centre))
    return FitState(shape, priors.expressions, tuple(poses))


def _terms_of_state(
    surface: MorphableSurface, portraits: Sequence[Portrait], stage: FitStage
) -> Callable[[FitState], list[list[PointTerm]]]:
    """Return a function from a state to the terms of all photos, with correspondences found for that state."""

    def terms_at(state: FitState) -> list[list[PointTerm]]:
        out = []
        for portrait, pose, expression in zip(portraits, state.poses, state.expressions, strict=True):
            posed = PosedSurface.from_state(surface, pose, state.shape, expression)
            terms = [landmark_term(surface, portrait, pose, posed, slide=stage.slide, edges=stage.edges)]
            if stage.silhouette:
                terms.append(silhouette_term(surface, portrait, pose, posed))
            out.append(terms)
        return out

    return terms_at


def _displacement(
    surface: MorphableSurface, residuals: Sequence[LinearResiduals], elasticity: Elasticity
) -> Float[np.ndarray, "n 3"]:
    """Fit a free-form displacement to residuals; eyes, teeth and tongue follow the skin around them rigidly."""
    model = surface.model
    skin = model.part == PARTS.index("skin")
    soft = skin | (model.part == PARTS.index("mouth_cavity"))
    front = model.mean[:, 2] > _SETTINGS.front
    edges = surface_edges(model.faces, len(model.mean))
    offsets = smooth_displacement(edges, model.vertex_mirror, soft & front, residuals, elasticity)
    for index, name in enumerate(PARTS):
        rigid = (model.part == index) & (name not in ("skin", "mouth_cavity"))
        if rigid.any():
            offsets[rigid] = follow_nearest(model.mean, offsets, rigid, skin, count=_SETTINGS.guide_vertices)
    return offsets


def _personal_displacement(
    surface: MorphableSurface, portraits: Sequence[Portrait], state: FitState
) -> Float[np.ndarray, "n 3"]:
    """Fit the displacement of the person to the residuals of all photos together; lips stay closed."""
    residuals = []
    terms_of_photos = _terms_of_state(surface, portraits, _SETTINGS.stages[-1])(state)
    weight = _SETTINGS.personal_weight
    for terms, pose, expression in zip(terms_of_photos, state.poses, state.expressions, strict=True):
        residuals += [_linearised(term, pose, state.shape, expression, weight=weight) for term in terms]
    edges = surface_edges(surface.model.faces, len(surface.model.mean))
    pairs = touching_pairs(surface.model.mean, edges, surface.model.part == PARTS.index("skin"))
    neutral = surface.vertices.positions(state.shape, np.zeros(len(surface.model.expression_names)))
    closed = surface.vertices.mean.copy()
    closed[lips(surface.model)[0], 1] -= _SETTINGS.lip_pressure
    residuals.append(closure_residuals(pairs, closed, neutral))
    return _displacement(surface, residuals, _SETTINGS.personal)


def _corrective(
    canonical: MorphableSurface, portrait: Portrait, state: FitState, photo: int
) -> Float[np.ndarray, "n 3"]:
    """Fit the corrective of one photo's expression to the residuals that are left there."""
    pose, expression = state.poses[photo], state.expressions[photo]
    posed = PosedSurface.from_state(canonical, pose, state.shape, expression)
    max_sigma = _SETTINGS.corrective_max_sigma
    landmarks = landmark_term(canonical, portrait, pose, posed, slide=True, edges=True, max_sigma=max_sigma)
    silhouette = silhouette_term(canonical, portrait, pose, posed)
    weight = _SETTINGS.corrective_weight
    residuals = [_linearised(term, pose, state.shape, expression, weight=weight) for term in (landmarks, silhouette)]
    return _displacement(canonical, residuals, _SETTINGS.corrective)


def _linearised(
    term: PointTerm, pose: Pose, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"], *, weight: float
) -> LinearResiduals:
    """Linearise one term by a displacement of its points; outliers are down-weighted as in the fit (Cauchy)."""
    residual = term.residuals(pose, shape, expression)
    root = np.sqrt(weight * term.weight / (1 + (residual**2).sum(1) / term.robust**2))
    jacobian = term.whiten @ pose.jacobian_by_point(term.points.positions(shape, expression))
    points = term.points
    return LinearResiduals(
        points.corners, points.barycentric, jacobian * root[:, None, None], -residual * root[:, None]
    )


def _to_canonical(
    surface: MorphableSurface, state: FitState, personal: Float[np.ndarray, "n 3"]
) -> tuple[MorphableSurface, FitState]:
    """Move the personal neutral head and the poses to the canonical frame; only expressions move that surface."""
    model, points = surface.model, surface.vertices
    neutral = points.positions(state.shape, np.zeros(points.expression.shape[2])) + personal
    scale, rotation, translation = canonical_from_fitted(model, neutral)
    no_shape = np.zeros((len(neutral), 3, 0))
    moved = scale * neutral @ rotation.T + translation
    canonical = MorphableSurface.from_vertices(
        model, SurfacePoints.of_vertices(moved, no_shape, no_shape, points.expression)
    )
    poses = tuple(pose_in_canonical(pose, scale, rotation, translation) for pose in state.poses)
    return canonical, FitState(np.zeros(0), state.expressions, poses)


def _without_shape(priors: FitPriors) -> FitPriors:
    """Return the priors of a fit without shape parameters."""
    empty = np.zeros(0)
    return replace(priors, shape_mean=empty, shape_sigma=empty, shape_limit=empty, mirror_pairs=np.zeros((0, 2), int))


def _fitted_photo(canonical: MorphableSurface, portrait: Portrait, state: FitState, photo: int) -> FittedPhoto:
    """Fit the corrective of one photo, and measure the errors that remain.

    Raises:
        FitError: the model is far from the landmarks.
    """
    pose, expression = state.poses[photo], state.expressions[photo]
    height, width = portrait.alpha.shape
    corrective = _corrective(canonical, portrait, state, photo)
    moved = replace(canonical.vertices, mean=canonical.vertices.mean + corrective)
    corrected = MorphableSurface.from_vertices(canonical.model, moved)
    posed = PosedSurface.from_state(corrected, pose, state.shape, expression)
    term = landmark_term(corrected, portrait, pose, posed, slide=True)
    error_px = float(landmark_errors_px(term, pose, state.shape, expression).mean())
    error_iod = error_px / eye_distance_px(portrait.landmarks_px)
    if not error_iod < _SETTINGS.max_error:
        raise FitError(
            f"photo {photo + 1}: the head model stays {error_iod:.0%} of the eye distance away from the landmarks; "
            "the face may be a drawing, hidden or cut off: try another photo"
        )
    camera = _camera(pose, width, height)
    mask = rasterize(posed.vertices, canonical.model.faces, camera, 0).face >= 0
    iou = skin_silhouette_iou(portrait, mask, lowest_row=lowest_row(canonical, posed, pose))
    log.info(
        "photo %d: landmarks %.2f px (%.2f %% of the eye distance), skin silhouette IoU %.3f",
        photo + 1,
        error_px,
        100 * error_iod,
        iou,
    )
    return FittedPhoto(camera, expression, corrective, error_px, error_iod, iou)


def _camera(pose: Pose, width_px: int, height_px: int) -> Cameras:
    """Return a pose as one camera."""
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = pose.rotation, pose.translation
    focal, (x, y) = pose.focal_px, pose.centre_px
    intrinsics_px = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    return Cameras(camera_from_world[None], intrinsics_px[None], width_px, height_px)
