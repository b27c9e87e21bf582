"""The template brought onto a surface that it did not make: the way from any head to one that moves.

First the model's own shape, expression and pose come as near as they can, then an elastic displacement takes up the
rest, and eyes, teeth and tongue follow. The expression that the surface has is taken out of the result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import METRES_PER_UNIT, face_normals, vertex_normals
from spinmeround.template.fit.observations import EYE_CORNERS
from spinmeround.template.model import neck_cut
from spinmeround.template.model.expression_transfer import EYES, LIDS
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.registration.elastic import bend_onto
from spinmeround.template.registration.inner_parts import gazing, off_eyeballs
from spinmeround.template.registration.landmarks import SurfaceMarks
from spinmeround.template.registration.model_fit import Regions, SpaceFit, fit_space
from spinmeround.template.registration.target import Similarity, Target
from spinmeround.types import Mesh

_log = logging.getLogger(__name__)

_MM = 1e-3 / METRES_PER_UNIT
_WORST_MM, _MOST_FLIPPED = 4.0, 20
"""A surface further from the face than this in one place of twenty, or that turns more faces over, is no face."""
_FARTHEST_MM = 20.0
"""From half of the face to a hull that only bounds it: less than from eye sockets to the tip of the nose."""
_OPEN_SHARE = (0.27, 0.4)
"""Height of an open eye by its width: what is less open is a blink, what is more is surprise."""


@dataclass(frozen=True)
class RegisteredHead:
    """The template on a surface.

    Attributes:
        posed: coarse vertices on the surface, in the frame of the upright head.
        neutral: the same head at rest: without the expression that the surface has.
        world_from_head: a turn and a shift, from the frame of the upright head, which looks along +Z, to the surface's.
        report: how near it comes and how regular it stayed.
    """

    model: HeadModel
    posed: Float[np.ndarray, "n 3"]
    neutral: Float[np.ndarray, "n 3"]
    world_from_head: Similarity
    report: dict[str, Any]

    @property
    def is_face(self) -> bool:
        """Whether the surface turned out to have the form of a face."""
        away_mm = self.report["face_distance_mm"]
        believed = self.report["surface_believed"]
        near = away_mm["p95"] < _WORST_MM if believed else away_mm["median"] < _FARTHEST_MM
        return near and self.report["flipped_faces"] <= _MOST_FLIPPED


def register_template(
    model: HeadModel,
    surface: Mesh,
    marks: SurfaceMarks | None,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> RegisteredHead:
    """Brings the template onto a surface; ``RegisteredHead.report`` says how well that went.

    Args:
        surface: a head in the world frame; may be open, may have hair, clothes and a cut neck.
        marks: landmarks on it; without them the head must stand about upright and is taken for neutral.
        progress: told the share done and what is being done.
    """
    tell = progress or (lambda share, message: None)
    target = Target(surface)
    tell(0.0, "fitting the head's shape")
    near = fit_space(model, target, marks)
    tell(0.3, "bending the head onto the surface")
    model_from_world = near.world_from_model.inverse()
    there = target.moved(model_from_world)
    here = None if marks is None else replace(marks, points=model_from_world(marks.points))
    posed = bend_onto(model, near.posed, there, here)
    scale = near.world_from_model.scale
    believed = marks is None or marks.surface_believed
    report = {"surface_believed": believed} | _report(model, near, posed, there)
    _log.info("template on the surface: %s", report)
    tell(1.0, "head registered")
    return RegisteredHead(
        model,
        scale * (posed if here is None else gazing(model, posed, here)),
        scale * _at_rest(model, near, posed),
        Similarity(1.0, near.world_from_model.rotation, near.world_from_model.translation),
        report,
    )


def _at_rest(model: HeadModel, near: SpaceFit, posed: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The posed head without its expression; lids that are as open as lids usually are stay as they are."""
    rest = near.expression * 0
    for side in ("Left", "Right"):
        lids = [i for i, name in enumerate(model.expression_names) if name.startswith("eye") and name.endswith(side)]
        only = np.zeros(len(rest))
        only[lids] = near.expression[lids]
        moved = np.tensordot(only, model.expression_basis, 1)
        here = posed + near.neutral - near.posed
        (open_, width), (now, _) = _opening(model, here, side), _opening(model, here + moved, side)
        wanted = float(np.clip(now, _OPEN_SHARE[0] * width, _OPEN_SHARE[1] * width))
        rest[lids] = np.clip((wanted - open_) / min(now - open_, -1e-6), 0, 1) * near.expression[lids]
    kept = np.tensordot(rest, model.expression_basis, 1)
    kept[np.isin(model.part, [PARTS.index(name) for name in EYES])] = 0
    return off_eyeballs(model, near.neutral, posed + near.neutral - near.posed + kept)


def _opening(model: HeadModel, coarse: Float[np.ndarray, "n 3"], side: str) -> tuple[float, float]:
    """Height and width of an eye's opening."""
    upper, lower = LIDS[side]
    height = (landmark_points(model, coarse, upper) - landmark_points(model, coarse, lower))[:, 1]
    corners = landmark_points(model, coarse, EYE_CORNERS[side == "Left"])
    return float(height[1:4].mean()), float(np.linalg.norm(corners[0] - corners[1]))


def _report(model: HeadModel, near: SpaceFit, posed: Float[np.ndarray, "n 3"], target: Target) -> dict[str, Any]:
    regions = Regions.of(model)
    dense = model.dense(posed)
    matches = target.match(dense, vertex_normals(dense, model.dense_faces))
    face = regions.asked & (regions.bare > 0.5) & matches.found
    scale_mm = near.world_from_model.scale / _MM
    gap_mm = np.abs(((dense - matches.point) * matches.normal).sum(1))[face] * scale_mm
    return {
        "face_distance_mm": {
            "median": round(float(np.median(gap_mm)), 3),
            "p95": round(float(np.percentile(gap_mm, 95)), 3),
        },
        **regularity(model, model.dense(near.posed), dense),
    }


def regularity(model: HeadModel, before: Float[np.ndarray, "m 3"], after: Float[np.ndarray, "m 3"]) -> dict[str, Any]:
    """What bending did to the outer faces above the neck's cut.

    Args:
        before: dense vertices of the model's own shape.
        after: the same on the surface.
    """
    faces = model.dense_faces[model.dense_part == PARTS.index("skin")]
    kept = (model.masks["cavity"][faces].max(1) < 0.5) & (after[faces][:, :, 1].min(1) > neck_cut.HEIGHT)
    faces = faces[kept]
    one, two = face_normals(before, faces), face_normals(after, faces)
    area_one, area_two = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    ratio = area_two / area_one
    return {
        "flipped_faces": int(((one * two).sum(1) < 0).sum()),
        "area_ratio": {"least": round(float(ratio.min()), 3), "most": round(float(ratio.max()), 3)},
        "worst_quality": round(float((_quality(after, faces) / _quality(before, faces)).min()), 3),
    }


def _quality(vertices: Float[np.ndarray, "m 3"], faces) -> Float[np.ndarray, "f"]:
    """1 for an equilateral triangle, 0 for one without area."""
    corners = vertices[faces]
    edges = corners - np.roll(corners, 1, axis=1)
    return 2 * np.sqrt(3) * np.linalg.norm(face_normals(vertices, faces), axis=1) / (edges**2).sum((1, 2))
