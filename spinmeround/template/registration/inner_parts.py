"""What lies behind the skin goes along with it: eyeballs with their lids, teeth and tongue with the lips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.template.fit.free_form import surface_edges
from spinmeround.template.model.expression_transfer import EYES, IRISES, eyeball
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.registration.landmarks import SurfaceMarks
from spinmeround.template.registration.target import Target

_MM = 1e-3 / METRES_PER_UNIT
_AROUND_EYE = 1.5
"""Lids within so many radii of an eyeball's centre carry it."""
_SHOWN = 0.35
"""The front of an eyeball shows within so many radii around its pole."""
_FORWARD_MM, _BACK_MM = 2.0, 5.0
"""An eyeball goes so far at most from where its lids carry it."""
_SUNK_MM = 0.2
"""So deep most of the lids may lie in the ball before it gives way."""
_GROWTH = (0.85, 1.15)
_NEIGHBOURS = 60
_WIDEST_GAZE_DEG = 35.0
_STAY, _RELIEFS = 0.02, 3
_CLEAR_MM = 0.4
"""Lids that lie further off the eyeball than this may come as near."""


def with_inner_parts(
    model: HeadModel, base: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "n 3"], target: Target | None
) -> Float[np.ndarray, "n 3"]:
    """Moved skin with its eyes, teeth and tongue: whole pieces, moved and at most grown.

    Args:
        base: coarse vertices before; there everything is in place.
        moved: coarse vertices of which skin and mouth cavity have moved.
        target: the surface, part of which is what shows of the eyes, if it is believed.
    """
    moved = moved.copy()
    skin = model.part == PARTS.index("skin")
    for index, name in enumerate(PARTS):
        piece = model.part == index
        if name in EYES:
            moved[piece] = _with_lids(model, base, moved, name)
            moved[piece] += [0, 0, _eye_depth(model, base, moved, target, name)]
        elif name not in ("skin", "mouth_cavity"):
            moved[piece] = base[piece] + _mean_shift(base, moved, piece, skin)
    return moved


@dataclass(frozen=True)
class Lids:
    """Dense vertices around one eye that must not sink into its ball further than they do on the base.

    Attributes:
        vertices: indices.
        least: distance from the ball's centre that each keeps, in radii.
    """

    side: str
    vertices: np.ndarray
    least: Float[np.ndarray, "l"]

    @staticmethod
    def of(model: HeadModel, base: Float[np.ndarray, "n 3"], side: str) -> Lids:
        """Measured on the base."""
        centre, radius = eyeball(model, base, side)
        away = model.dense(base) - centre
        distance = np.linalg.norm(away, axis=1)
        skin = np.zeros(len(away), bool)
        skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
        near = np.flatnonzero(skin & (model.masks["lids"] > 0.2) & (distance < _AROUND_EYE * radius) & (away[:, 2] > 0))
        return Lids(side, near, np.minimum(distance[near] / radius, 1 + _CLEAR_MM * _MM / radius))

    def sunk(
        self, model: HeadModel, moved: Float[np.ndarray, "n 3"]
    ) -> tuple[np.ndarray, Float[np.ndarray, "s 3"], Float[np.ndarray, "s 3"]]:
        """The vertices that have sunk in, the nearest points where they may lie, and the directions out."""
        centre, radius = eyeball(model, moved, self.side)
        away = model.dense(moved)[self.vertices] - centre
        distance = np.linalg.norm(away, axis=1)
        inside = distance < self.least * radius
        out = away[inside] / distance[inside, None]
        return self.vertices[inside], centre + (self.least[inside] * radius)[:, None] * out, out


def gazing(model: HeadModel, posed: Float[np.ndarray, "n 3"], marks: SurfaceMarks) -> Float[np.ndarray, "n 3"]:
    """Eyeballs turned about their centres so that each iris lies where its landmark was seen."""
    posed = posed.copy()
    for side, iris in IRISES.items():
        centre, _ = eyeball(model, posed, side)
        now = landmark_points(model, posed, [iris])[0] - centre
        seen = marks.points[iris] - centre
        cosine = now @ seen / (np.linalg.norm(now) * np.linalg.norm(seen))
        if marks.weight[iris] > 0 and cosine > np.cos(np.radians(_WIDEST_GAZE_DEG)):
            turn, _ = Rotation.align_vectors(seen[None], now[None])
            piece = model.part == PARTS.index(side)
            posed[piece] = turn.apply(posed[piece] - centre) + centre
    return posed


def off_eyeballs(
    model: HeadModel, base: Float[np.ndarray, "n 3"], rest: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Coarse vertices with lids lifted off the eyeballs, by as little and as smoothly as can be.

    Args:
        base: coarse vertices on which everything is in place.
        rest: what has to be relieved.
    """
    rest = rest.copy()
    for side in EYES:
        lids = Lids.of(model, base, side)
        centre, radius = eyeball(model, rest, side)
        soft = np.flatnonzero(
            (model.part == PARTS.index("skin")) & (np.linalg.norm(rest - centre, axis=1) < 2 * radius)
        )
        edges = surface_edges(model.faces, len(rest))
        degree = np.maximum(np.asarray(edges.sum(1)).ravel(), 1)
        laplacian = sp.identity(len(rest)) - sp.diags(1 / degree) @ edges
        quiet = (laplacian.T @ laplacian).tocsr()[soft][:, soft] + _STAY * sp.identity(len(soft))
        for _ in range(_RELIEFS):
            sunk, points, _ = lids.sunk(model, rest)
            rows = model.subdivision[sunk][:, soft].astype(np.float64)
            right = rows.T @ (points - model.dense(rest)[sunk])
            rest[soft] += spla.splu((quiet + rows.T @ rows).tocsc()).solve(right)
    return rest


def _with_lids(model: HeadModel, base, moved, side: str) -> Float[np.ndarray, "e 3"]:
    """An eyeball moved and grown as the lids around it were; its gaze stays."""
    piece = model.part == PARTS.index(side)
    centre, radius = eyeball(model, base, side)
    lids = _coarse(model, model.masks["lids"]) > 0.5
    skin = model.part == PARTS.index("skin")
    near = lids & skin & (np.linalg.norm(base - centre, axis=1) < _AROUND_EYE * radius)
    growth = float(np.clip((moved[near].std(0)[:2] / base[near].std(0)[:2]).mean(), *_GROWTH))
    return moved[near].mean(0) + growth * (base[piece] - base[near].mean(0))


def _eye_depth(model: HeadModel, base, moved, target: Target | None, side: str) -> float:
    """How far forward an eyeball has to go: what shows of it lies on the surface, and its lids stay off it."""
    centre, radius = eyeball(model, moved, side)
    dense = model.dense(moved)
    wanted = 0.0 if target is None else _ahead(model, dense, target, side, centre, radius)
    lids = Lids.of(model, base, side)
    for shift in np.linspace(min(wanted, _FORWARD_MM * _MM), -_BACK_MM * _MM, 15):
        distance = np.linalg.norm(dense[lids.vertices] - centre - [0, 0, shift], axis=1)
        if np.percentile(lids.least * radius - distance, 90) < _SUNK_MM * _MM:
            return float(shift)
    return -_BACK_MM * _MM


def _ahead(model: HeadModel, dense, target: Target, side: str, centre, radius: float) -> float:
    """How far the surface lies before what shows of an eyeball."""
    eye = dense[np.unique(model.dense_faces[model.dense_part == PARTS.index(side)])]
    beside = np.linalg.norm((eye - centre)[:, :2], axis=1)
    front = eye[(beside < _SHOWN * radius) & (eye[:, 2] > centre[2])]
    matches = target.match(front, (front - centre) / np.linalg.norm(front - centre, axis=1, keepdims=True))
    ahead = ((matches.point - front) * matches.normal).sum(1) / np.maximum(matches.normal[:, 2], 0.5)
    return float(np.median(ahead[matches.found])) if matches.found.any() else 0.0


def _mean_shift(base, moved, piece: Bool[np.ndarray, "n"], skin: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "3"]:
    index = np.flatnonzero(skin)
    nearest = index[np.argsort(np.linalg.norm(base[index] - base[piece].mean(0), axis=1), kind="stable")[:_NEIGHBOURS]]
    return (moved - base)[nearest].mean(0)


def _coarse(model: HeadModel, mask: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    """A dense mask on the coarse vertices."""
    total = np.asarray(model.subdivision.sum(0)).ravel()
    return np.asarray(model.subdivision.T @ mask.astype(np.float64)).ravel() / np.maximum(total, 1e-9)
