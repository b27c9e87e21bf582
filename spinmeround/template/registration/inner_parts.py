"""What lies behind the skin moves along with it: eyeballs with their lids, teeth and tongue with the lips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float, Integer
from scipy.spatial.transform import Rotation

from spinmeround.geometry import MILLIMETRE
from spinmeround.template.fit.free_form import surface_edges
from spinmeround.template.model.expression_transfer import EYES, IRISES, eyeball
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.registration.landmarks import SurfaceLandmarks
from spinmeround.template.registration.target import Target


@dataclass(frozen=True)
class _EyeballSettings:
    """Constants of how eyeballs are placed. Radii are those of the eyeball.

    Attributes:
        lid_distance: lids within so many radii of an eyeball's centre carry it.
        visible_distance: the front of an eyeball shows within so many radii around its pole.
        min_normal_z: least forward component of the surface's normal by which a gap is converted into a shift.
        scale: range of an eyeball's growth with its lids.
        max_forward_mm: an eyeball moves so far forward at most from where its lids carry it, millimetres.
        max_back_mm: the same backward.
        shifts: number of shifts that are tried between these.
        penetration_percentile: percentile of the lids' depth in the ball that decides.
        max_penetration_mm: that depth at which the ball moves back, millimetres.
        max_gaze_deg: larger turns toward an iris landmark are taken for errors, degrees.
        neighbours: teeth and tongue move as so many nearest vertices of the skin on average.
    """

    lid_distance: float = 1.5
    visible_distance: float = 0.35
    min_normal_z: float = 0.5
    scale: tuple[float, float] = (0.85, 1.15)
    max_forward_mm: float = 2.0
    max_back_mm: float = 5.0
    shifts: int = 15
    penetration_percentile: float = 90
    max_penetration_mm: float = 0.2
    max_gaze_deg: float = 35.0
    neighbours: int = 60


@dataclass(frozen=True)
class _LidSettings:
    """Constants of how lids are kept off the eyeballs. Masks are in [0, 1].

    Attributes:
        min_lid: dense vertices with more of the lids than this keep a distance.
        min_coarse_lid: coarse vertices with more of the lids than this carry an eyeball.
        clearance_mm: lids that lie further off the eyeball than this may come as near, millimetres.
        soft_distance: skin within so many radii of an eyeball's centre may be lifted.
        rest_weight: of the displacement itself against its bending and the distance to keep.
        steps: how often lids are checked and lifted.
    """

    min_lid: float = 0.2
    min_coarse_lid: float = 0.5
    clearance_mm: float = 0.4
    soft_distance: float = 2
    rest_weight: float = 0.02
    steps: int = 3


_EYEBALL, _LID = _EyeballSettings(), _LidSettings()


def carry_inner_parts(
    model: HeadModel, base: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "n 3"], target: Target | None
) -> Float[np.ndarray, "n 3"]:
    """Return moved skin with its eyes, teeth and tongue: rigid pieces, moved and at most scaled.

    Args:
        base: coarse vertices before; there everything is in place.
        moved: coarse vertices of which skin and mouth cavity have moved.
        target: the surface, if it is trusted; the visible part of the eyes lies on it.
    """
    moved = moved.copy()
    skin = model.part == PARTS.index("skin")
    for index, name in enumerate(PARTS):
        piece = model.part == index
        if name in EYES:
            moved[piece] = _carry_by_lids(model, base, moved, name)
            moved[piece] += [0, 0, _forward_shift(model, base, moved, target, name)]
        elif name not in ("skin", "mouth_cavity"):
            moved[piece] = base[piece] + _mean_shift(base, moved, piece, skin)
    return moved


@dataclass(frozen=True)
class LidClearance:
    """Dense vertices around one eye that must not penetrate its ball further than they do on the base.

    Attributes:
        side: the eye, by its part's name.
        vertices: indices.
        min_distance: from the ball's centre that each keeps, in radii.
    """

    side: str
    vertices: Integer[np.ndarray, "l"]
    min_distance: Float[np.ndarray, "l"]

    @staticmethod
    def of(model: HeadModel, base: Float[np.ndarray, "n 3"], side: str) -> LidClearance:
        """Return the distances on the base, up to the clearance."""
        centre, radius = eyeball(model, base, side)
        away = model.dense(base) - centre
        distance = np.linalg.norm(away, axis=1)
        skin = np.zeros(len(away), bool)
        skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
        lids = skin & (model.masks["lids"] > _LID.min_lid)
        near = np.flatnonzero(lids & (distance < _EYEBALL.lid_distance * radius) & (away[:, 2] > 0))
        cleared = 1 + _LID.clearance_mm * MILLIMETRE / radius
        return LidClearance(side, near, np.minimum(distance[near] / radius, cleared))

    def penetrations(
        self, model: HeadModel, moved: Float[np.ndarray, "n 3"]
    ) -> tuple[Integer[np.ndarray, "s"], Float[np.ndarray, "s 3"], Float[np.ndarray, "s 3"]]:
        """Return the vertices that lie too deep, the nearest points where they may lie, and the directions out."""
        centre, radius = eyeball(model, moved, self.side)
        away = model.dense(moved)[self.vertices] - centre
        distance = np.linalg.norm(away, axis=1)
        inside = distance < self.min_distance * radius
        out = away[inside] / distance[inside, None]
        return self.vertices[inside], centre + (self.min_distance[inside] * radius)[:, None] * out, out


def turn_eyes(
    model: HeadModel, posed: Float[np.ndarray, "n 3"], landmarks: SurfaceLandmarks
) -> Float[np.ndarray, "n 3"]:
    """Turn the eyeballs about their centres so that each iris lies where its landmark was seen."""
    posed = posed.copy()
    for side, iris in IRISES.items():
        centre, _ = eyeball(model, posed, side)
        now = landmark_points(model, posed, [iris])[0] - centre
        seen = landmarks.points[iris] - centre
        cosine = now @ seen / (np.linalg.norm(now) * np.linalg.norm(seen))
        if landmarks.weight[iris] > 0 and cosine > np.cos(np.radians(_EYEBALL.max_gaze_deg)):
            turn, _ = Rotation.align_vectors(seen[None], now[None])
            piece = model.part == PARTS.index(side)
            posed[piece] = turn.apply(posed[piece] - centre) + centre
    return posed


def lift_lids(
    model: HeadModel, base: Float[np.ndarray, "n 3"], rest: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Return coarse vertices with lids lifted off the eyeballs, by as little and as smoothly as possible.

    Args:
        base: coarse vertices on which everything is in place.
        rest: coarse vertices whose lids may penetrate the eyeballs.
    """
    rest = rest.copy()
    for side in EYES:
        lids = LidClearance.of(model, base, side)
        centre, radius = eyeball(model, rest, side)
        near = np.linalg.norm(rest - centre, axis=1) < _LID.soft_distance * radius
        soft = np.flatnonzero((model.part == PARTS.index("skin")) & near)
        edges = surface_edges(model.faces, len(rest))
        degree = np.maximum(np.asarray(edges.sum(1)).ravel(), 1)
        laplacian = sp.identity(len(rest)) - sp.diags(1 / degree) @ edges
        bending = (laplacian.T @ laplacian).tocsr()[soft][:, soft]
        regulariser = bending + _LID.rest_weight * sp.identity(len(soft))
        for _ in range(_LID.steps):
            inside, points, _ = lids.penetrations(model, rest)
            rows = model.subdivision[inside][:, soft].astype(np.float64)
            right = rows.T @ (points - model.dense(rest)[inside])
            rest[soft] += spla.splu((regulariser + rows.T @ rows).tocsc()).solve(right)
    return rest


def _carry_by_lids(
    model: HeadModel, base: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "n 3"], side: str
) -> Float[np.ndarray, "e 3"]:
    """Return an eyeball moved and scaled as the lids around it were; its gaze stays."""
    piece = model.part == PARTS.index(side)
    centre, radius = eyeball(model, base, side)
    lids = _to_coarse(model, model.masks["lids"]) > _LID.min_coarse_lid
    skin = model.part == PARTS.index("skin")
    near = lids & skin & (np.linalg.norm(base - centre, axis=1) < _EYEBALL.lid_distance * radius)
    scale = float(np.clip((moved[near].std(0)[:2] / base[near].std(0)[:2]).mean(), *_EYEBALL.scale))
    return moved[near].mean(0) + scale * (base[piece] - base[near].mean(0))


def _forward_shift(
    model: HeadModel, base: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "n 3"], target: Target | None, side: str
) -> float:
    """Return how far forward an eyeball has to move so that it lies on the surface and its lids stay off it."""
    centre, radius = eyeball(model, moved, side)
    dense = model.dense(moved)
    wanted = 0.0 if target is None else _surface_distance(model, dense, target, side, centre, radius)
    lids = LidClearance.of(model, base, side)
    furthest, nearest = -_EYEBALL.max_back_mm * MILLIMETRE, _EYEBALL.max_forward_mm * MILLIMETRE
    for shift in np.linspace(min(wanted, nearest), furthest, _EYEBALL.shifts):
        distance = np.linalg.norm(dense[lids.vertices] - centre - [0, 0, shift], axis=1)
        penetration = np.percentile(lids.min_distance * radius - distance, _EYEBALL.penetration_percentile)
        if penetration < _EYEBALL.max_penetration_mm * MILLIMETRE:
            return float(shift)
    return furthest


def _surface_distance(
    model: HeadModel,
    dense: Float[np.ndarray, "m 3"],
    target: Target,
    side: str,
    centre: Float[np.ndarray, "3"],
    radius: float,
) -> float:
    """Return how far the surface lies before the visible part of an eyeball, 0 if it has no match."""
    eye = dense[np.unique(model.dense_faces[model.dense_part == PARTS.index(side)])]
    off_axis = np.linalg.norm((eye - centre)[:, :2], axis=1)
    front = eye[(off_axis < _EYEBALL.visible_distance * radius) & (eye[:, 2] > centre[2])]
    matches = target.match(front, (front - centre) / np.linalg.norm(front - centre, axis=1, keepdims=True))
    normal_z = np.maximum(matches.normal[:, 2], _EYEBALL.min_normal_z)
    ahead = ((matches.point - front) * matches.normal).sum(1) / normal_z
    return float(np.median(ahead[matches.found])) if matches.found.any() else 0.0


def _mean_shift(
    base: Float[np.ndarray, "n 3"],
    moved: Float[np.ndarray, "n 3"],
    piece: Bool[np.ndarray, "n"],
    skin: Bool[np.ndarray, "n"],
) -> Float[np.ndarray, "3"]:
    """Return the mean shift of the skin nearest to a piece."""
    index = np.flatnonzero(skin)
    distance = np.linalg.norm(base[index] - base[piece].mean(0), axis=1)
    nearest = index[np.argsort(distance, kind="stable")[: _EYEBALL.neighbours]]
    return (moved - base)[nearest].mean(0)


def _to_coarse(model: HeadModel, mask: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    """Return a dense mask on the coarse vertices."""
    total = np.asarray(model.subdivision.sum(0)).ravel()
    return np.asarray(model.subdivision.T @ mask.astype(np.float64)).ravel() / np.maximum(total, 1e-9)
