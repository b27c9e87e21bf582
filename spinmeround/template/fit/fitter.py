"""Fitting the head model to photos of one person: one shape, and for each photo a camera and an expression."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from spinmeround.errors import FitError
from spinmeround.mesh_raster import rasterize
from spinmeround.template.fit.canonical_frame import canonical_from_fitted, pose_in_canonical, stable_surface
from spinmeround.template.fit.free_form import (
    Elasticity,
    LeftOver,
    follow_nearest,
    kept_closed,
    smooth_displacement,
    surface_edges,
    touching_pairs,
)
from spinmeround.template.fit.levenberg_marquardt import FitPriors, FitState, solve
from spinmeround.template.fit.observations import (
    Sighting,
    Surface,
    eye_distance_px,
    landmark_errors_px,
    landmark_term,
    lowest_row,
    outline_term,
)
from spinmeround.template.fit.residuals import PointTerm, Pose, SurfacePoints, scaled_orthographic_pose
from spinmeround.template.fit.silhouette import skin_outline_iou
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.types import Cameras, Portrait

_log = logging.getLogger(__name__)

_DISTANCE = (float(np.log(2.7)), 0.2)
"""Camera to head: portraits are taken from about 1.1 m (2.7 head units), rarely from two thirds or 1.5 of it."""
_LOCAL_SIGMA = 0.15
_MIRROR_SIGMA = 0.1
_EXPRESSION_SIGMA = 0.25
_GAZE_SIGMA = 0.3
_WORST_ERROR = 0.2
_BACK = -0.05
_PERSONAL_TRUST, _MOMENTARY_TRUST = 8.0, 40.0
_LOOSEST = 0.015
_PERSONAL = Elasticity(stiffness=3e5, rest=0.005, mirror=0.004)
_MOMENTARY = Elasticity(stiffness=8e3, rest=0.03, mirror=1.0)
"""What is left in one photo after the personal shape belongs to its expression: softer, and lopsided if it likes."""


@dataclass(frozen=True)
class FittedPhoto:
    """How one photo sees the fitted head.

    Attributes:
        camera: one camera of the photo crop's size.
        expression: weights of the model's expressions, in [0, 1].
        corrective: what the expression basis cannot say of this photo's expression, per coarse vertex, head units.
        landmark_error_px: mean distance between the detected landmarks and the model's, contour landmarks across the
            contour only, pixels of the crop.
        landmark_error_iod: the same in distances between the centres of the eyes as seen in this photo.
        outline_iou: intersection over union of the model's mask and the matte where the matte is bare skin.
    """

    camera: Cameras
    expression: Float[np.ndarray, "e"]
    corrective: Float[np.ndarray, "n 3"]
    landmark_error_px: float
    landmark_error_iod: float
    outline_iou: float


@dataclass(frozen=True)
class FittedHead:
    """One person's head in the canonical world frame: upright, facing +Z, of the mean head's size and place.

    Attributes:
        shape: parameters of the model; ``neutral`` is ``model.vertices(shape)`` plus ``offsets``, moved a little.
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
        """Coarse vertices with the expression of one photo, world frame."""
        seen = self.photos[photo]
        return self.neutral + np.tensordot(seen.expression, self.model.expression_basis, 1) + seen.corrective


def fit_head(
    portraits: Sequence[Portrait], model: HeadModel, *, progress: Callable[[float], None] | None = None
) -> FittedHead:
    """Fits one head to one or several photos of a person by maximum a posteriori.

    Landmarks, a jaw contour whose correspondence slides along the model's limb, and the outline of bare skin are
    explained by shape, expression, pose and focal length together (Levenberg-Marquardt, analytic derivatives); a smooth
    personal displacement then takes up what the model's parameters cannot say.

    Args:
        portraits: photos of one person, any number from one.
        progress: called with the share done, 0 to 1.

    Raises:
        FitError: no photo was given, or the model does not come near the landmarks of one.
    """
    if not portraits:
        raise FitError("fitting a head needs at least one photo, got none: pass one")
    report = progress or (lambda share: None)
    surface = Surface.of(model, stable_surface(model))
    priors = _priors(model, portraits)
    state = _first_state(surface, portraits, priors)
    stages = ((6, False, False, False), (8, True, True, False), (12, True, True, True))
    for number, (steps, shape_free, slide, outline) in enumerate(stages):
        terms_at = _evidence(surface, portraits, slide=slide, outline=outline)
        state = solve(state, priors, terms_at, steps=steps, shape_free=shape_free)
        report((number + 1) / 5)
    personal = _personal(surface, portraits, state)
    report(0.8)
    placed, shown = _placed(surface, state, personal)
    shown = solve(shown, _without_shape(priors), _evidence(placed, portraits, slide=True, outline=True), steps=5)
    report(1.0)
    photos = tuple(_measured(placed, portrait, shown, i) for i, portrait in enumerate(portraits))
    neutral = placed.vertices.mean
    return FittedHead(model, state.shape, personal, neutral, photos)


def _priors(model: HeadModel, portraits: Sequence[Portrait]) -> FitPriors:
    principal = np.array([name.startswith("pca_") for name in model.shape_names])
    index = np.arange(len(principal))
    first = index < model.shape_mirror
    gaze = np.array([name.startswith("eyeLook") for name in model.expression_names])
    return FitPriors(
        shape_sigma=np.where(principal, 1.0, _LOCAL_SIGMA),
        mirror_pairs=np.stack([index[first], np.asarray(model.shape_mirror)[first]], axis=1),
        mirror_sigma=_MIRROR_SIGMA,
        shape_limit=np.where(principal, 3.0, 1.0),
        expressions=tuple(np.clip(p.blendshapes, 0, 1).astype(np.float64) for p in portraits),
        expression_sigma=np.where(gaze, _GAZE_SIGMA, _EXPRESSION_SIGMA),
        log_distance=_DISTANCE,
    )


def _first_state(surface: Surface, portraits: Sequence[Portrait], priors: FitPriors) -> FitState:
    shape = np.zeros(len(priors.shape_sigma))
    poses = []
    for portrait, expression in zip(portraits, priors.expressions, strict=True):
        centre = np.array(portrait.alpha.shape[::-1]) / 2
        points = surface.landmarks.positions(shape, expression)
        poses.append(scaled_orthographic_pose(points, portrait.landmarks_px, float(np.exp(_DISTANCE[0])), centre))
    return FitState(shape, priors.expressions, tuple(poses))


def _evidence(
    surface: Surface, portraits: Sequence[Portrait], *, slide: bool, outline: bool
) -> Callable[[FitState], list[list[PointTerm]]]:
    """Terms of all photos as a function of the state, correspondences found anew."""

    def terms_at(state: FitState) -> list[list[PointTerm]]:
        out = []
        for portrait, pose, expression in zip(portraits, state.poses, state.expressions, strict=True):
            sighting = Sighting.of(surface, pose, state.shape, expression)
            terms = [landmark_term(surface, portrait, pose, sighting, slide=slide)]
            if outline:
                terms.append(outline_term(surface, portrait, pose, sighting))
            out.append(terms)
        return out

    return terms_at


def _displacement(surface: Surface, left_over: Sequence[LeftOver], elasticity: Elasticity) -> Float[np.ndarray, "n 3"]:
    """What is left over, as a displacement; eyes, teeth and tongue follow the skin around them as whole pieces."""
    model = surface.model
    skin = model.part == PARTS.index("skin")
    soft = skin | (model.part == PARTS.index("mouth_cavity"))
    front = model.mean[:, 2] > _BACK
    edges = surface_edges(model.faces, len(model.mean))
    offsets = smooth_displacement(edges, model.vertex_mirror, soft & front, left_over, elasticity)
    for index, name in enumerate(PARTS):
        rigid = (model.part == index) & (name not in ("skin", "mouth_cavity"))
        if rigid.any():
            offsets[rigid] = follow_nearest(model.mean, offsets, rigid, skin, count=60)
    return offsets


def _personal(surface: Surface, portraits: Sequence[Portrait], state: FitState) -> Float[np.ndarray, "n 3"]:
    """What all photos leave over together, and lips that stay closed."""
    left_over = []
    terms_of_photos = _evidence(surface, portraits, slide=True, outline=True)(state)
    for terms, pose, expression in zip(terms_of_photos, state.poses, state.expressions, strict=True):
        left_over += [_left_over(term, pose, state.shape, expression, trust=_PERSONAL_TRUST) for term in terms]
    edges = surface_edges(surface.model.faces, len(surface.model.mean))
    pairs = touching_pairs(surface.model.mean, edges, surface.model.part == PARTS.index("skin"))
    neutral = surface.vertices.positions(state.shape, np.zeros(len(surface.model.expression_names)))
    left_over.append(kept_closed(pairs, surface.vertices.mean, neutral))
    return _displacement(surface, left_over, _PERSONAL)


def _corrective(placed: Surface, portrait: Portrait, shown: FitState, photo: int) -> Float[np.ndarray, "n 3"]:
    """What one photo still leaves over; here every landmark is taken at its word, or texture would slide."""
    pose, expression = shown.poses[photo], shown.expressions[photo]
    sighting = Sighting.of(placed, pose, shown.shape, expression)
    landmarks = landmark_term(placed, portrait, pose, sighting, slide=True, loosest=_LOOSEST)
    outline = outline_term(placed, portrait, pose, sighting)
    left_over = [
        _left_over(term, pose, shown.shape, expression, trust=_MOMENTARY_TRUST) for term in (landmarks, outline)
    ]
    return _displacement(placed, left_over, _MOMENTARY)


def _left_over(
    term: PointTerm, pose: Pose, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"], *, trust: float
) -> LeftOver:
    """One term's errors as linear observations of a displacement, outliers down-weighted as in the fit."""
    residual = term.residuals(pose, shape, expression)
    root = np.sqrt(trust * term.weight / (1 + (residual**2).sum(1) / term.robust**2))
    rows = term.whiten @ pose.by_point(term.points.positions(shape, expression))
    return LeftOver(term.points.corners, term.points.barycentric, rows * root[:, None, None], -residual * root[:, None])


def _placed(surface: Surface, state: FitState, personal: Float[np.ndarray, "n 3"]) -> tuple[Surface, FitState]:
    """The personal neutral head in the canonical place, as a surface that only expressions move, and its photos."""
    model, points = surface.model, surface.vertices
    neutral = points.positions(state.shape, np.zeros(points.expression.shape[2])) + personal
    scale, rotation, translation = canonical_from_fitted(model, neutral)
    still = np.zeros((len(neutral), 3, 0))
    moved = scale * neutral @ rotation.T + translation
    placed = Surface.of(model, SurfacePoints.of_vertices(moved, still, still, points.expression))
    poses = tuple(pose_in_canonical(pose, scale, rotation, translation) for pose in state.poses)
    return placed, FitState(np.zeros(0), state.expressions, poses)


def _without_shape(priors: FitPriors) -> FitPriors:
    nothing = np.zeros(0)
    return replace(priors, shape_sigma=nothing, shape_limit=nothing, mirror_pairs=np.zeros((0, 2), int))


def _measured(placed: Surface, portrait: Portrait, shown: FitState, photo: int) -> FittedPhoto:
    """What is left of one photo goes into its corrective; then what the fit reached there.

    Raises:
        FitError: the model is far from the landmarks.
    """
    pose, expression = shown.poses[photo], shown.expressions[photo]
    height, width = portrait.alpha.shape
    corrective = _corrective(placed, portrait, shown, photo)
    corrected = Surface.of(placed.model, replace(placed.vertices, mean=placed.vertices.mean + corrective))
    sighting = Sighting.of(corrected, pose, shown.shape, expression)
    term = landmark_term(corrected, portrait, pose, sighting, slide=True)
    error_px = float(landmark_errors_px(term, pose, shown.shape, expression).mean())
    share = error_px / eye_distance_px(portrait.landmarks_px)
    if not share < _WORST_ERROR:
        raise FitError(
            f"photo {photo + 1}: the head model stays {share:.0%} of the eye distance away from the landmarks; "
            "the face may be a drawing, hidden or cut off: try another photo"
        )
    camera = _camera(pose, width, height)
    mask = rasterize(sighting.vertices, placed.model.faces, camera, 0).face >= 0
    iou = skin_outline_iou(portrait, mask, lowest_row=lowest_row(placed, sighting, pose))
    _log.info(
        "photo %d: landmarks %.2f px (%.2f %% of the eye distance), skin outline IoU %.3f",
        photo + 1,
        error_px,
        100 * share,
        iou,
    )
    return FittedPhoto(camera, expression, corrective, error_px, share, iou)


def _camera(pose: Pose, width_px: int, height_px: int) -> Cameras:
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = pose.rotation, pose.translation
    focal, (x, y) = pose.focal_px, pose.centre_px
    intrinsics_px = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    return Cameras(camera_from_world[None], intrinsics_px[None], width_px, height_px)
