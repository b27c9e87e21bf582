"""From near to on the surface: an elastic displacement of the template that keeps its regularity, coarse to fine.

Point-to-plane matches pull (Chen and Medioni 1992), a thin plate resists (Botsch and Sorkine 2008), stiff at first and
softer with every round (Amberg, Romdhani and Vetter 2007). What no picture shows follows smoothly or as a whole piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Float

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.template.fit.free_form import surface_edges, touching_pairs
from spinmeround.template.fit.observations import FACE_OVAL
from spinmeround.template.model.expression_transfer import EYES
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.registration.inner_parts import Lids, with_inner_parts
from spinmeround.template.registration.landmarks import SurfaceMarks
from spinmeround.template.registration.model_fit import Regions
from spinmeround.template.registration.target import Target

_MM = 1e-3 / METRES_PER_UNIT


@dataclass(frozen=True)
class _Round:
    """How stiff the template is, and from how far the surface pulls."""

    stiffness: float
    reach_mm: float


_ROUNDS = tuple(
    _Round(float(stiffness), float(reach))
    for stiffness, reach in zip(np.geomspace(300, 1.5, 8), np.geomspace(9, 3, 8), strict=True)
)
_TANGENTIAL = 0.02
"""Say of a match across its normal: enough to tell where sliding would be free."""
_MARK_WORTH = 0.15
_MARK_MM = 4.0
"""Landmarks further off than this have slipped."""
_CLOSED = 30.0
_COVERED_MM = 3.0
"""A surface that lies further outside the scalp than this is hair."""
_REST = 1e-3
_BY_MARKS = 5
"""Rounds where landmarks alone pull: a softer template would take their noise for form."""
_ALIKE = 0.4
_PRECISE, _MOST_STEPS = 1e-4, 60
_SYMMETRIC = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}, "diag_pivot_thresh": 0.0}
_WITH_EYES, _PUSH = 5, 1.5
"""Round from which on eyeballs push their lids off, and how much a push counts against a match."""


def bend_onto(
    model: HeadModel,
    base: Float[np.ndarray, "n 3"],
    target: Target,
    marks: SurfaceMarks | None,
) -> Float[np.ndarray, "n 3"]:
    """Coarse vertices on the surface.

    Args:
        base: coarse vertices that are near it.
        target: in the frame of ``base``.
        marks: in the frame of ``base``. Where they do not believe the surface, it only bounds the head from outside.
    """
    believed = marks is None or marks.surface_believed
    seen = target if believed else None
    plate = _Plate.of(model, base)
    lids = [Lids.of(model, base, side) for side in EYES]
    moved = base.astype(np.float64).copy()
    for number, each in enumerate(_ROUNDS if believed else _ROUNDS[:_BY_MARKS]):
        pulls = _pulls(model, moved, target, each.reach_mm, only_inward=not believed)
        if number >= _WITH_EYES:
            pulls = pulls.and_off(model, moved, lids)
        moved = with_inner_parts(model, base, plate.solved(pulls, marks, each.stiffness), seen)
    return moved


@dataclass(frozen=True)
class _Pulls:
    """Matches of dense vertices: where each should lie, along which direction, and how much that counts."""

    rows: sp.csr_matrix
    point: Float[np.ndarray, "a 3"]
    normal: Float[np.ndarray, "a 3"]
    weight: Float[np.ndarray, "a"]

    def and_off(self, model: HeadModel, moved: Float[np.ndarray, "n 3"], lids: Sequence[Lids]) -> _Pulls:
        """With pushes on lids that have sunk into an eyeball."""
        sunk, points, out = (
            np.concatenate(part) for part in zip(*(each.sunk(model, moved) for each in lids), strict=True)
        )
        return _Pulls(
            sp.vstack([self.rows, model.subdivision[sunk].astype(np.float64)]).tocsr(),
            np.concatenate([self.point, points]),
            np.concatenate([self.normal, out]),
            np.concatenate([self.weight, np.full(len(sunk), _PUSH)]),
        )


def _pulls(
    model: HeadModel, coarse: Float[np.ndarray, "n 3"], target: Target, reach_mm: float, *, only_inward: bool
) -> _Pulls:
    regions = Regions.of(model)
    dense = model.dense(coarse)
    normals = vertex_normals(dense, model.dense_faces)
    asked = np.flatnonzero(regions.asked)
    points = dense[asked]
    matches = target.match(points, normals[asked])
    outside_mm = ((matches.point - points) * matches.normal).sum(1) / _MM
    gap_mm = np.linalg.norm(matches.point - points, axis=1) / _MM
    bare = regions.bare[asked]
    reach = np.where(outside_mm > 0, _COVERED_MM + (reach_mm - _COVERED_MM) * bare, reach_mm)
    weight = 1 / (1 + (gap_mm / reach) ** 4) * (gap_mm < 2 * reach) * matches.found
    weight *= _say(model)[asked] * _area(dense, model)[asked]
    if only_inward:
        weight *= outside_mm < 0
    return _Pulls(model.subdivision[asked].astype(np.float64).tocsr(), matches.point, matches.normal, weight)


def _say(model: HeadModel) -> Float[np.ndarray, "m"]:
    """How far the surface is believed: less where it is too smooth to show lids, lips' seam and ears as they are."""
    masks = model.masks
    finer = np.maximum.reduce([0.7 * masks["lids"], 0.8 * masks["ear_left"], 0.8 * masks["ear_right"]])
    return np.clip(1 - finer, 0, 1).astype(np.float64)


def _area(dense: Float[np.ndarray, "m 3"], model: HeadModel) -> Float[np.ndarray, "m"]:
    """Area around each dense vertex, in shares of the mean area around a coarse one."""
    corners = dense[model.dense_faces]
    double = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = np.bincount(model.dense_faces.ravel(), np.repeat(double, 3), len(dense))
    skin = np.zeros(len(dense), bool)
    skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
    return area * int((model.part == PARTS.index("skin")).sum()) / area[skin].sum()


@dataclass(frozen=True)
class _Plate:
    """The soft part of the template: what resists being moved away from ``base``.

    Attributes:
        soft: coarse vertices of skin and mouth cavity; the others follow.
        bending: thin-plate matrix over the soft ones.
        closed: differences between skin that touches without being joined.
    """

    model: HeadModel
    base: Float[np.ndarray, "n 3"]
    soft: np.ndarray
    bending: sp.csr_matrix
    closed: sp.csr_matrix

    @staticmethod
    def of(model: HeadModel, base: Float[np.ndarray, "n 3"]) -> _Plate:
        """Measured on the base."""
        soft = np.flatnonzero(np.isin(model.part, [PARTS.index("skin"), PARTS.index("mouth_cavity")]))
        place = np.full(len(base), -1)
        place[soft] = np.arange(len(soft))
        edges = surface_edges(model.faces, len(base))
        degree = np.maximum(np.asarray(edges.sum(1)).ravel(), 1)
        laplacian = sp.identity(len(base)) - sp.diags(1 / degree) @ edges
        start, end = edges.nonzero()
        length = np.bincount(start, np.linalg.norm(base[start] - base[end], axis=1), len(base)) / degree
        # A plate's energy: second differences are divided by squared lengths, and count by area.
        fineness = np.clip((np.median(length[soft]) / np.maximum(length, 1e-6)) ** 2, 0.2, 12)
        bending = (laplacian.T @ sp.diags(fineness) @ laplacian).tocsr()[soft][:, soft]
        pairs = place[touching_pairs(model.mean, edges, model.part == PARTS.index("skin"))]
        count = np.arange(len(pairs))
        closed = sp.csr_matrix(
            (np.repeat([1.0, -1.0], len(pairs)), (np.tile(count, 2), pairs.T.ravel())), (len(pairs), len(soft))
        )
        return _Plate(model, base.astype(np.float64), soft, bending, closed)

    def solved(self, pulls: _Pulls, marks: SurfaceMarks | None, stiffness: float) -> Float[np.ndarray, "n 3"]:
        """Where pulls and plate are in balance."""
        size = len(self.soft)
        quiet = stiffness * self.bending + _CLOSED * self.closed.T @ self.closed + _REST * sp.identity(size)
        rows = pulls.rows[:, self.soft]
        error = pulls.point - pulls.rows @ self.base
        right = np.zeros((size, 3))
        if marks is not None:
            mark_rows, mark_error, mark_weight = self._marks(marks)
            quiet = quiet + mark_rows.T @ sp.diags(mark_weight) @ mark_rows
            right += mark_rows.T @ (mark_weight[:, None] * mark_error)
        right += rows.T @ _pulled(error, pulls)
        system = spla.LinearOperator(
            (3 * size, 3 * size),
            lambda x: (quiet @ _columns(x) + rows.T @ _pulled(rows @ _columns(x), pulls)).T.ravel(),
            dtype=np.float64,
        )
        # The same without the directions of the pulls: one small factor for all three coordinates.
        alike = spla.splu((quiet + rows.T @ sp.diags(_ALIKE * pulls.weight) @ rows).tocsc(), **_SYMMETRIC)
        rough = spla.LinearOperator(system.shape, lambda x: alike.solve(_columns(x)).T.ravel(), dtype=np.float64)
        found, _ = spla.cg(system, right.T.ravel(), rtol=_PRECISE, maxiter=_MOST_STEPS, M=rough)
        moved = self.base.copy()
        moved[self.soft] += _columns(found)
        return moved

    def _marks(self, marks: SurfaceMarks):
        model = self.model
        corners = model.faces[model.landmark_faces]
        rows = sp.csr_matrix(
            (model.landmark_barycentric.ravel(), (np.repeat(np.arange(478), 3), corners.ravel())), (478, len(self.base))
        )
        error = marks.points - rows @ self.base
        weight = _MARK_WORTH * marks.weight / (1 + (np.linalg.norm(error, axis=1) / (_MARK_MM * _MM)) ** 2)
        weight /= 1 + (model.landmark_sigma / (1.5 * _MM)) ** 2
        weight[FACE_OVAL] = 0
        return rows[:, self.soft], error, weight


def _pulled(shift: Float[np.ndarray, "a 3"], pulls: _Pulls) -> Float[np.ndarray, "a 3"]:
    """What pulls answer to a shift of their points."""
    along = (pulls.normal * shift).sum(1, keepdims=True) * pulls.normal
    return pulls.weight[:, None] * ((1 - _TANGENTIAL) * along + _TANGENTIAL * shift)


def _columns(x: Float[np.ndarray, "c"]) -> Float[np.ndarray, "s 3"]:
    return np.ascontiguousarray(x.reshape(3, -1).T)
