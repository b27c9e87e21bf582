"""Elastic registration: a displacement that brings the template onto the surface and keeps it regular, coarse to fine.

Point-to-plane matches pull (Chen and Medioni 1992), a thin plate resists (Botsch and Sorkine 2008), stiff at first and
softer with every round (Amberg, Romdhani and Vetter 2007). What no picture shows follows smoothly or as a rigid piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Float, Integer

from spinmeround.geometry import MILLIMETRE, vertex_normals
from spinmeround.template.fit.free_form import surface_edges, touching_pairs
from spinmeround.template.fit.observations import FACE_OVAL
from spinmeround.template.model.expression_transfer import EYES
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.registration.inner_parts import LidClearance, carry_inner_parts
from spinmeround.template.registration.landmarks import SurfaceLandmarks
from spinmeround.template.registration.model_fit import Regions
from spinmeround.template.registration.target import Target


@dataclass(frozen=True)
class _Round:
    """One round of the registration.

    Attributes:
        stiffness: weight of the thin plate against matches.
        reach_mm: distance at which a match counts half, millimetres.
    """

    stiffness: float
    reach_mm: float


_ROUNDS = tuple(
    _Round(float(stiffness), float(reach))
    for stiffness, reach in zip(np.geomspace(300, 1.5, 8), np.geomspace(9, 3, 8), strict=True)
)
_FACTORISATION = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}, "diag_pivot_thresh": 0.0}


@dataclass(frozen=True)
class _ElasticSettings:
    """Constants of the elastic registration. Weights are relative to that of a match over a mean coarse vertex's area.

    Attributes:
        tangential: weight of a match across its normal: enough to decide where sliding would be free.
        max_reach: matches further away than this many reaches are dropped.
        covered_mm: a surface that lies further outside scalp, ears and neck than this is hair, millimetres.
        lid_distrust: part of a match's weight that is taken away at lids: surfaces are too smooth there.
        ear_distrust: the same at ears.
        landmark_weight: of a landmark.
        landmark_mm: landmarks this far off count half: they are wrong, millimetres.
        landmark_sigma_mm: landmarks whose detections scatter by this much count half, millimetres.
        landmark_rounds: rounds with landmarks alone, where the surface is not trusted: a softer template would follow
            their noise.
        seam_weight: of differences between skin that touches without being connected, such as closed lips.
        rest_weight: of the displacement itself, which makes the system definite.
        fineness: range of the plate's local factor: second differences are divided by squared edge lengths.
        eye_round: round from which on eyeballs push their lids off.
        eye_weight: of such a push.
        preconditioner_weight: factor on the weights of matches in the preconditioner, which ignores their normals.
        tolerance: relative residual at which the conjugate gradients end.
        max_steps: of the conjugate gradients.
    """

    tangential: float = 0.02
    max_reach: float = 2
    covered_mm: float = 3.0
    lid_distrust: float = 0.7
    ear_distrust: float = 0.8
    landmark_weight: float = 0.15
    landmark_mm: float = 4.0
    landmark_sigma_mm: float = 1.5
    landmark_rounds: int = 5
    seam_weight: float = 30.0
    rest_weight: float = 1e-3
    fineness: tuple[float, float] = (0.2, 12)
    eye_round: int = 5
    eye_weight: float = 1.5
    preconditioner_weight: float = 0.4
    tolerance: float = 1e-4
    max_steps: int = 60


_ELASTIC = _ElasticSettings()


def deform_onto(
    model: HeadModel,
    base: Float[np.ndarray, "n 3"],
    target: Target,
    landmarks: SurfaceLandmarks | None,
) -> Float[np.ndarray, "n 3"]:
    """Return coarse vertices on the surface.

    Args:
        base: coarse vertices that are near it.
        target: in the frame of ``base``.
        landmarks: in the frame of ``base``. If they say the surface is not trusted, it only bounds the head from
            outside.
    """
    trusted = landmarks is None or landmarks.surface_trusted
    eye_target = target if trusted else None
    plate = _ThinPlate.of(model, base)
    lids = [LidClearance.of(model, base, side) for side in EYES]
    moved = base.astype(np.float64).copy()
    for number, each in enumerate(_ROUNDS if trusted else _ROUNDS[: _ELASTIC.landmark_rounds]):
        planes = _match_planes(model, moved, target, each.reach_mm, only_inward=not trusted)
        if number >= _ELASTIC.eye_round:
            planes = planes.with_eyeballs(model, moved, lids)
        moved = carry_inner_parts(model, base, plate.solve(planes, landmarks, each.stiffness), eye_target)
    return moved


@dataclass(frozen=True)
class _MatchedPlanes:
    """Point-to-plane constraints on dense vertices.

    Attributes:
        rows: the vertices, as combinations of coarse ones.
        point: where each should lie.
        normal: along which direction; tangentially a match weighs less.
        weight: of each.
    """

    rows: sp.csr_matrix
    point: Float[np.ndarray, "a 3"]
    normal: Float[np.ndarray, "a 3"]
    weight: Float[np.ndarray, "a"]

    def with_eyeballs(
        self, model: HeadModel, moved: Float[np.ndarray, "n 3"], lids: Sequence[LidClearance]
    ) -> _MatchedPlanes:
        """Add constraints on lids that penetrate an eyeball."""
        inside, points, out = (
            np.concatenate(part) for part in zip(*(each.penetrations(model, moved) for each in lids), strict=True)
        )
        return _MatchedPlanes(
            sp.vstack([self.rows, model.subdivision[inside].astype(np.float64)]).tocsr(),
            np.concatenate([self.point, points]),
            np.concatenate([self.normal, out]),
            np.concatenate([self.weight, np.full(len(inside), _ELASTIC.eye_weight)]),
        )

    def pull(self, shift: Float[np.ndarray, "a 3"]) -> Float[np.ndarray, "a 3"]:
        """Return the weighted shift of the points, less of it across the normals."""
        along = (self.normal * shift).sum(1, keepdims=True) * self.normal
        return self.weight[:, None] * ((1 - _ELASTIC.tangential) * along + _ELASTIC.tangential * shift)


def _match_planes(
    model: HeadModel, coarse: Float[np.ndarray, "n 3"], target: Target, reach_mm: float, *, only_inward: bool
) -> _MatchedPlanes:
    """Match the outer skin with the surface.

    Args:
        only_inward: whether the surface only bounds the head from outside.
    """
    regions = Regions.of(model)
    dense = model.dense(coarse)
    normals = vertex_normals(dense, model.dense_faces)
    matched = np.flatnonzero(regions.outer_skin)
    points = dense[matched]
    matches = target.match(points, normals[matched])
    outside_mm = ((matches.point - points) * matches.normal).sum(1) / MILLIMETRE
    gap_mm = np.linalg.norm(matches.point - points, axis=1) / MILLIMETRE
    bare = regions.bare[matched]
    covered_mm = _ELASTIC.covered_mm
    reach = np.where(outside_mm > 0, covered_mm + (reach_mm - covered_mm) * bare, reach_mm)
    weight = 1 / (1 + (gap_mm / reach) ** 4) * (gap_mm < _ELASTIC.max_reach * reach) * matches.found
    weight *= _region_trust(model)[matched] * _vertex_area(dense, model)[matched]
    if only_inward:
        weight *= outside_mm < 0
    return _MatchedPlanes(model.subdivision[matched].astype(np.float64).tocsr(), matches.point, matches.normal, weight)


def _region_trust(model: HeadModel) -> Float[np.ndarray, "m"]:
    """Return how far the surface is trusted: less where it is too smooth to show lids and ears as they are."""
    masks = model.masks
    distrust = np.maximum.reduce(
        [
            _ELASTIC.lid_distrust * masks["lids"],
            _ELASTIC.ear_distrust * masks["ear_left"],
            _ELASTIC.ear_distrust * masks["ear_right"],
        ]
    )
    return np.clip(1 - distrust, 0, 1).astype(np.float64)


def _vertex_area(dense: Float[np.ndarray, "m 3"], model: HeadModel) -> Float[np.ndarray, "m"]:
    """Return the area around each dense vertex, relative to the mean area around a coarse one of the skin."""
    corners = dense[model.dense_faces]
    double = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = np.bincount(model.dense_faces.ravel(), np.repeat(double, 3), len(dense))
    skin = np.zeros(len(dense), bool)
    skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
    return area * int((model.part == PARTS.index("skin")).sum()) / area[skin].sum()


@dataclass(frozen=True)
class _ThinPlate:
    """The soft part of the template, which resists being bent away from ``base``.

    Attributes:
        soft: coarse vertices of skin and mouth cavity; the others follow.
        bending: thin-plate matrix over the soft ones.
        seams: differences between skin that touches without being connected.
    """

    model: HeadModel
    base: Float[np.ndarray, "n 3"]
    soft: Integer[np.ndarray, "s"]
    bending: sp.csr_matrix
    seams: sp.csr_matrix

    @staticmethod
    def of(model: HeadModel, base: Float[np.ndarray, "n 3"]) -> _ThinPlate:
        """Return the plate that is at rest on the base."""
        soft = np.flatnonzero(np.isin(model.part, [PARTS.index("skin"), PARTS.index("mouth_cavity")]))
        place = np.full(len(base), -1)
        place[soft] = np.arange(len(soft))
        edges = surface_edges(model.faces, len(base))
        degree = np.maximum(np.asarray(edges.sum(1)).ravel(), 1)
        laplacian = sp.identity(len(base)) - sp.diags(1 / degree) @ edges
        start, end = edges.nonzero()
        length = np.bincount(start, np.linalg.norm(base[start] - base[end], axis=1), len(base)) / degree
        # A plate's energy: second differences are divided by squared lengths, and weighted by area.
        fineness = np.clip((np.median(length[soft]) / np.maximum(length, 1e-6)) ** 2, *_ELASTIC.fineness)
        bending = (laplacian.T @ sp.diags(fineness) @ laplacian).tocsr()[soft][:, soft]
        pairs = place[touching_pairs(model.mean, edges, model.part == PARTS.index("skin"))]
        count = np.arange(len(pairs))
        seams = sp.csr_matrix(
            (np.repeat([1.0, -1.0], len(pairs)), (np.tile(count, 2), pairs.T.ravel())), (len(pairs), len(soft))
        )
        return _ThinPlate(model, base.astype(np.float64), soft, bending, seams)

    def solve(
        self, planes: _MatchedPlanes, landmarks: SurfaceLandmarks | None, stiffness: float
    ) -> Float[np.ndarray, "n 3"]:
        """Return the coarse vertices where matches, landmarks and plate are in balance, by conjugate gradients."""
        size = len(self.soft)
        regulariser = (
            stiffness * self.bending
            + _ELASTIC.seam_weight * self.seams.T @ self.seams
            + _ELASTIC.rest_weight * sp.identity(size)
        )
        rows = planes.rows[:, self.soft]
        residual = planes.point - planes.rows @ self.base
        right = np.zeros((size, 3))
        if landmarks is not None:
            landmark_rows, landmark_residual, landmark_weight = self._landmark_terms(landmarks)
            regulariser = regulariser + landmark_rows.T @ sp.diags(landmark_weight) @ landmark_rows
            right += landmark_rows.T @ (landmark_weight[:, None] * landmark_residual)
        right += rows.T @ planes.pull(residual)
        system = spla.LinearOperator(
            (3 * size, 3 * size),
            lambda x: (regulariser @ _columns(x) + rows.T @ planes.pull(rows @ _columns(x))).T.ravel(),
            dtype=np.float64,
        )
        # The preconditioner ignores the normals of the matches: one small factor for all three coordinates.
        isotropic = rows.T @ sp.diags(_ELASTIC.preconditioner_weight * planes.weight) @ rows
        factor = spla.splu((regulariser + isotropic).tocsc(), **_FACTORISATION)
        approximate = spla.LinearOperator(system.shape, lambda x: factor.solve(_columns(x)).T.ravel(), dtype=np.float64)
        found, _ = spla.cg(system, right.T.ravel(), rtol=_ELASTIC.tolerance, maxiter=_ELASTIC.max_steps, M=approximate)
        moved = self.base.copy()
        moved[self.soft] += _columns(found)
        return moved

    def _landmark_terms(
        self, landmarks: SurfaceLandmarks
    ) -> tuple[sp.csr_matrix, Float[np.ndarray, "478 3"], Float[np.ndarray, "478"]]:
        """Return the landmarks as combinations of soft vertices, their residuals on the base, and their weights."""
        model = self.model
        corners = model.faces[model.landmark_faces]
        count = len(corners)
        rows = sp.csr_matrix(
            (model.landmark_barycentric.ravel(), (np.repeat(np.arange(count), 3), corners.ravel())),
            (count, len(self.base)),
        )
        residual = landmarks.points - rows @ self.base
        distance = np.linalg.norm(residual, axis=1)
        weight = (
            _ELASTIC.landmark_weight * landmarks.weight / (1 + (distance / (_ELASTIC.landmark_mm * MILLIMETRE)) ** 2)
        )
        weight /= 1 + (model.landmark_sigma / (_ELASTIC.landmark_sigma_mm * MILLIMETRE)) ** 2
        weight[FACE_OVAL] = 0
        return rows[:, self.soft], residual, weight


def _columns(x: Float[np.ndarray, "c"]) -> Float[np.ndarray, "s 3"]:
    """Return a flat vector of all x, all y, all z as points."""
    return np.ascontiguousarray(x.reshape(3, -1).T)
