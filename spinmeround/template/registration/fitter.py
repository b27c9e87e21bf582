"""Registration of the template to a surface that it did not make, which gives any head bones and expressions.

First the model's own shape, expression and pose come as near as they can. Then an elastic displacement takes up the
rest, and eyes, teeth and tongue follow. The expression that the surface has is removed from the result.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from spinmeround.geometry import MILLIMETRE, face_normals, vertex_normals
from spinmeround.template.fit.observations import EYE_CORNERS
from spinmeround.template.model import neck_cut
from spinmeround.template.model.expression_transfer import EYES, LIDS
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.registration.elastic import deform_onto
from spinmeround.template.registration.inner_parts import lift_lids, turn_eyes
from spinmeround.template.registration.landmarks import SurfaceLandmarks
from spinmeround.template.registration.model_fit import ModelFit, Regions, fit_model
from spinmeround.template.registration.target import Similarity, Target
from spinmeround.types import Mesh, Progress, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _AcceptanceSettings:
    """What a surface with the form of a face is allowed.

    Attributes:
        max_distance_mm: a surface further from the registered face than this in one place of twenty is no face,
            millimetres.
        max_hull_distance_mm: half of the face may lie so far from a hull that only bounds it, millimetres: less than
            from eye sockets to the tip of the nose.
        max_size: heads larger or smaller than the mean one by this factor stand in a world of another unit.
        max_flipped_faces: a surface that turns over more faces of the template than this is no face.
    """

    max_distance_mm: float = 4.0
    max_hull_distance_mm: float = 20.0
    max_size: float = 1.3
    max_flipped_faces: int = 20


@dataclass(frozen=True)
class _RestSettings:
    """Constants of the head at rest and of the report; masks are in [0, 1].

    Attributes:
        open_eye: height of an open eye relative to its width: what is less open is a blink, what is more is surprise.
        min_bare: vertices with more bare skin than this are measured in the report.
        max_cavity: faces with less of eye sockets and mouth than this are measured for their regularity.
    """

    open_eye: tuple[float, float] = (0.27, 0.4)
    min_bare: float = 0.5
    max_cavity: float = 0.5


_ACCEPTANCE, _REST = _AcceptanceSettings(), _RestSettings()


@dataclass(frozen=True)
class RegisteredHead:
    """The template on a surface.

    Attributes:
        posed: coarse vertices on the surface, in the frame of the upright head.
        neutral: the same head at rest: without the expression that the surface has.
        world_from_head: from the frame of the upright head, which looks along +Z, to the surface's; it scales only
            where the surface's world is not that of a head, as that of a bust is not.
        report: how near the template comes, and how regular it stayed.
    """

    model: HeadModel
    posed: Float[np.ndarray, "n 3"]
    neutral: Float[np.ndarray, "n 3"]
    world_from_head: Similarity
    report: dict[str, Any]

    @property
    def is_face(self) -> bool:
        """Whether the surface turned out to have the form of a face."""
        distance_mm = self.report["face_distance_mm"]
        if self.report["surface_believed"]:
            near = distance_mm["p95"] < _ACCEPTANCE.max_distance_mm
        else:
            near = distance_mm["median"] < _ACCEPTANCE.max_hull_distance_mm
        return near and self.report["flipped_faces"] <= _ACCEPTANCE.max_flipped_faces


def register_template(
    model: HeadModel,
    surface: Mesh,
    landmarks: SurfaceLandmarks | None,
    *,
    progress: Progress = no_progress,
) -> RegisteredHead:
    """Register the template to a surface; ``RegisteredHead.report`` says how well that went.

    Args:
        surface: a head in the world frame; may be open, may have hair, clothes and a cut neck.
        landmarks: on it; without them the head must stand about upright and is taken for neutral.
    """
    target = Target(surface)
    progress(0.0, "fitting the head's shape")
    fit = fit_model(model, target, landmarks)
    progress(0.3, "bending the head onto the surface")
    model_from_world = fit.world_from_model.inverse()
    target = target.moved(model_from_world)
    if landmarks is not None:
        landmarks = replace(landmarks, points=model_from_world(landmarks.points))
    posed = deform_onto(model, fit.posed, target, landmarks)
    scale, least = fit.world_from_model.scale, 1 / _ACCEPTANCE.max_size
    is_head_sized = least < scale < _ACCEPTANCE.max_size
    own, world = (scale, 1.0) if is_head_sized else (1.0, scale)
    if not is_head_sized:
        log.info("the capture's unit is not that of a head but %.2f of it: the avatar has the size of a head", scale)
    trusted = landmarks is None or landmarks.surface_trusted
    report = {"surface_believed": trusted} | _report(model, fit, posed, target, head_from_model=own)
    log.info("template on the surface: %s", report)
    progress(1.0, "head registered")
    return RegisteredHead(
        model,
        own * (posed if landmarks is None else turn_eyes(model, posed, landmarks)),
        own * _neutral(model, fit, posed),
        Similarity(world, fit.world_from_model.rotation, fit.world_from_model.translation),
        report,
    )


def _neutral(model: HeadModel, fit: ModelFit, posed: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the posed head without its expression; lids that are as open as lids usually are stay as they are."""
    kept_weights = fit.expression * 0
    for side in ("Left", "Right"):
        lids = [i for i, name in enumerate(model.expression_names) if name.startswith("eye") and name.endswith(side)]
        lid_weights = np.zeros(len(kept_weights))
        lid_weights[lids] = fit.expression[lids]
        moved = np.tensordot(lid_weights, model.expression_basis, 1)
        neutral = posed + fit.neutral - fit.posed
        height, width = _eye_opening(model, neutral, side)
        posed_height, _ = _eye_opening(model, neutral + moved, side)
        least, most = _REST.open_eye
        wanted = float(np.clip(posed_height, least * width, most * width))
        fraction = np.clip((wanted - height) / min(posed_height - height, -1e-6), 0, 1)
        kept_weights[lids] = fraction * fit.expression[lids]
    kept = np.tensordot(kept_weights, model.expression_basis, 1)
    kept[np.isin(model.part, [PARTS.index(name) for name in EYES])] = 0
    return lift_lids(model, fit.neutral, posed + fit.neutral - fit.posed + kept)


def _eye_opening(model: HeadModel, coarse: Float[np.ndarray, "n 3"], side: str) -> tuple[float, float]:
    """Return height and width of an eye's opening, head units."""
    upper, lower = LIDS[side]
    height = (landmark_points(model, coarse, upper) - landmark_points(model, coarse, lower))[:, 1]
    corners = landmark_points(model, coarse, EYE_CORNERS[side == "Left"])
    return float(height[1:4].mean()), float(np.linalg.norm(corners[0] - corners[1]))


def _report(
    model: HeadModel, fit: ModelFit, posed: Float[np.ndarray, "n 3"], target: Target, *, head_from_model: float
) -> dict[str, Any]:
    regions = Regions.of(model)
    dense = model.dense(posed)
    matches = target.match(dense, vertex_normals(dense, model.dense_faces))
    face = regions.outer_skin & (regions.bare > _REST.min_bare) & matches.found
    gap_mm = np.abs(((dense - matches.point) * matches.normal).sum(1))[face] * head_from_model / MILLIMETRE
    return {
        "face_distance_mm": {
            "median": round(float(np.median(gap_mm)), 3),
            "p95": round(float(np.percentile(gap_mm, 95)), 3),
        },
        **regularity(model, model.dense(fit.posed), dense),
    }


def regularity(model: HeadModel, before: Float[np.ndarray, "m 3"], after: Float[np.ndarray, "m 3"]) -> dict[str, Any]:
    """Measure what the elastic registration did to the outer faces above the neck's cut.

    Args:
        before: dense vertices of the model's own shape.
        after: the same on the surface.
    """
    faces = model.dense_faces[model.dense_part == PARTS.index("skin")]
    outside = model.masks["cavity"][faces].max(1) < _REST.max_cavity
    faces = faces[outside & (after[faces][:, :, 1].min(1) > neck_cut.HEIGHT)]
    normals_before, normals_after = face_normals(before, faces), face_normals(after, faces)
    area_ratio = np.linalg.norm(normals_after, axis=1) / np.linalg.norm(normals_before, axis=1)
    return {
        "flipped_faces": int(((normals_before * normals_after).sum(1) < 0).sum()),
        "area_ratio": {"least": round(float(area_ratio.min()), 3), "most": round(float(area_ratio.max()), 3)},
        "worst_quality": round(float((_quality(after, faces) / _quality(before, faces)).min()), 3),
    }


def _quality(vertices: Float[np.ndarray, "m 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "f"]:
    """Return 1 for an equilateral triangle, 0 for one without area."""
    corners = vertices[faces]
    edges = corners - np.roll(corners, 1, axis=1)
    return 2 * np.sqrt(3) * np.linalg.norm(face_normals(vertices, faces), axis=1) / (edges**2).sum((1, 2))
