"""The surface to register to: its nearest compatible points, and a rough first alignment of the template with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from spinmeround.geometry import vertex_normals
from spinmeround.types import Mesh

MIN_NORMAL_COSINE = 0.5
"""Surfaces whose normals differ by more than 60 degrees are different sheets: both sides of an ear, two lips."""
_NEAREST_COUNT = 6
"""Of so many nearest vertices the first compatible one is the match."""


@dataclass(frozen=True)
class _BoundarySettings:
    """Constants of where a surface ends.

    Attributes:
        cut_height: a flat cut lies within this fraction of the surface's height above its lowest point, and affects
            vertices up to this much further above.
        max_cut_normal_y: normals of a cut point down at least so much.
        min_normal_length: vertices with shorter normals belong to no face.
    """

    cut_height: float = 0.02
    max_cut_normal_y: float = -0.9
    min_normal_length: float = 0.5


@dataclass(frozen=True)
class _AlignmentSettings:
    """Constants of ``align_by_shape``.

    Attributes:
        yaws_deg: headings from which it starts, degrees.
        pitches_deg: pitches from which it starts, degrees.
        scales: sizes from which it starts, relative to the given points.
        head_height: so much of the template's height, from the top of the surface down, is taken for its head.
        stride: the starts are compared on every so many-th point.
        start_steps: iterations of each start.
        final_steps: iterations from the best start.
        trimmed_fraction: part of the matches that are used, the nearest ones; hair and clothes are elsewhere.
    """

    yaws_deg: tuple[float, ...] = (0.0, -35.0, 35.0)
    pitches_deg: tuple[float, ...] = (0.0, 15.0, -15.0)
    scales: tuple[float, ...] = (0.8, 1.0)
    head_height: float = 0.9
    stride: int = 6
    start_steps: int = 10
    final_steps: int = 40
    trimmed_fraction: float = 0.75


_BOUNDARY, _ALIGNMENT = _BoundarySettings(), _AlignmentSettings()


@dataclass(frozen=True)
class Similarity:
    """``moved = scale * points @ rotation.T + translation``."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Return the points, moved."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self) -> Similarity:
        """Return the inverse transform."""
        return Similarity(1 / self.scale, self.rotation.T, -(self.rotation.T @ self.translation) / self.scale)

    def after_step(self, step: Float[np.ndarray, "7"]) -> Similarity:
        """Follow it by a small motion of the moved points: rotation vector, translation, logarithm of a scale."""
        turn, growth = Rotation.from_rotvec(step[:3]).as_matrix(), float(np.exp(step[6]))
        return Similarity(growth * self.scale, turn @ self.rotation, growth * turn @ self.translation + step[3:6])


@dataclass(frozen=True)
class Matches:
    """For each query point the nearest compatible vertex of the surface and the normal there.

    Attributes:
        found: false where no vertex nearby faces the same way, or the surface ends; point and normal are invalid there.
    """

    point: Float[np.ndarray, "m 3"]
    normal: Float[np.ndarray, "m 3"]
    found: Bool[np.ndarray, "m"]


class Target:
    """A surface as a cloud of points with normals.

    Where it ends, at an open border or at the flat cut under a neck or bust, it matches nothing.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.points = np.asarray(mesh.vertices, np.float64)
        self.normals = vertex_normals(mesh.vertices, mesh.faces)
        self.on_boundary = _boundary_vertices(mesh, self.normals)
        self._tree = cKDTree(self.points)

    def moved(self, motion: Similarity) -> Target:
        """Return the same surface elsewhere."""
        other = object.__new__(Target)
        other.points, other.normals = motion(self.points), self.normals @ motion.rotation.T
        other.on_boundary = self.on_boundary
        other._tree = cKDTree(other.points)
        return other

    def match(self, points: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"]) -> Matches:
        """Find the nearest vertices whose normals are like those of the query points."""
        index = self._tree.query(points, k=min(_NEAREST_COUNT, len(self.points)))[1].reshape(len(points), -1)
        compatible = np.einsum("mkc,mc->mk", self.normals[index], normals) > MIN_NORMAL_COSINE
        first = compatible.argmax(1)
        chosen = index[np.arange(len(points)), first]
        return Matches(self.points[chosen], self.normals[chosen], compatible.any(1) & ~self.on_boundary[chosen])


def without_boundary(mesh: Mesh) -> Mesh:
    """Return the surface without the faces at open borders and at a flat cut below, which belong to no head."""
    boundary = _boundary_vertices(mesh, vertex_normals(mesh.vertices, mesh.faces))
    return Mesh(mesh.vertices, mesh.faces[~boundary[mesh.faces].any(1)])


def _boundary_vertices(mesh: Mesh, normals: Float[np.ndarray, "v 3"]) -> Bool[np.ndarray, "v"]:
    """Return true for vertices on open borders and, near the lowest level, for those of a flat cut."""
    count = len(mesh.vertices)
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    directed = sp.csr_matrix((np.ones(len(start)), (start, end)), (count, count))
    single = abs(directed - directed.T)
    height = mesh.vertices[:, 1]
    low = height < height.min() + _BOUNDARY.cut_height * np.ptp(height)
    cut = low & (normals[:, 1] < _BOUNDARY.max_cut_normal_y)
    near_cut = height < (height[cut].max() if cut.any() else -np.inf) + _BOUNDARY.cut_height * np.ptp(height)
    no_face = np.linalg.norm(normals, axis=1) < _BOUNDARY.min_normal_length
    return (np.asarray(single.sum(1)).ravel() > 0) | near_cut | no_face


def umeyama(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, "n"]
) -> Similarity:
    """Return the similarity that maps weighted points onto others in least squares (Umeyama 1991)."""
    weight = (weight / weight.sum())[:, None]
    source_mean, target_mean = (weight * source).sum(0), (weight * target).sum(0)
    left, values, right = np.linalg.svd((target - target_mean).T @ (weight * (source - source_mean)))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ (flip[:, None] * right)
    scale = float((values * flip).sum() / (weight * (source - source_mean) ** 2).sum())
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def align_by_shape(points: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"], target: Target) -> Similarity:
    """Align head points with a surface that stands about upright, by its shape alone, without landmarks.

    Iterated closest points (Besl and McKay 1992) from several headings, sizes and heights; the one that ends nearest
    wins. Each iteration is the closed-form similarity of those matches that are nearest.

    Args:
        points: of the head without its neck.
        normals: unit normals at the points.
    """
    top, size = target.points[:, 1].max(), np.ptp(points[:, 1])
    head = target.points[target.points[:, 1] > top - _ALIGNMENT.head_height * size]
    middle = (head.min(0) + head.max(0)) / 2
    best, least = Similarity(1.0, np.eye(3), np.zeros(3)), np.inf
    few, few_normals = points[:: _ALIGNMENT.stride], normals[:: _ALIGNMENT.stride]
    for yaw_deg in _ALIGNMENT.yaws_deg:
        for pitch_deg in _ALIGNMENT.pitches_deg:
            for scale in _ALIGNMENT.scales:
                turn = Rotation.from_euler("YX", [yaw_deg, pitch_deg], degrees=True).as_matrix()
                place = scale * turn @ points.mean(0)
                start = Similarity(scale, turn, middle - place)
                found, cost = _iterated_closest_points(few, few_normals, target, start, steps=_ALIGNMENT.start_steps)
                if cost < least:
                    best, least = found, cost
    return _iterated_closest_points(points, normals, target, best, steps=_ALIGNMENT.final_steps)[0]


def _iterated_closest_points(
    points: Float[np.ndarray, "m 3"],
    normals: Float[np.ndarray, "m 3"],
    target: Target,
    start: Similarity,
    *,
    steps: int,
) -> tuple[Similarity, float]:
    """Return the similarity after some trimmed iterations, and the mean distance of the used matches."""
    found, cost = start, np.inf
    for _ in range(steps):
        moved = found(points)
        matches = target.match(moved, normals @ found.rotation.T)
        gap = np.where(matches.found, np.linalg.norm(matches.point - moved, axis=1), np.inf)
        kept = np.argsort(gap, kind="stable")[: int(_ALIGNMENT.trimmed_fraction * len(gap))]
        if not np.isfinite(gap[kept]).all():
            return found, np.inf
        cost = float(gap[kept].mean())
        found = umeyama(points[kept], matches.point[kept], np.ones(len(kept)))
    return found, cost / found.scale
