"""The surface that the template is brought onto: nearest compatible points, and a first rough alignment to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from spinmeround.geometry import vertex_normals
from spinmeround.types import Mesh

_CANDIDATES = 6
LEAST_COSINE = 0.5
"""Surfaces whose normals differ by more than 60 degrees are different sheets: both sides of an ear, two lips."""

_FEW, _TRIMMED = 6, 0.75
_CUT_SHARE = 0.02
"""A flat cut lies within this share of the surface's height above its lowest point."""


@dataclass(frozen=True)
class Similarity:
    """``moved = scale * points @ rotation.T + translation``."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """The points, moved."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self) -> Similarity:
        """The way back."""
        return Similarity(1 / self.scale, self.rotation.T, -(self.rotation.T @ self.translation) / self.scale)

    def after_step(self, step: Float[np.ndarray, "7"]) -> Similarity:
        """Followed by a small motion of the moved points: rotation vector, translation, logarithm of a scale."""
        turn, grow = Rotation.from_rotvec(step[:3]).as_matrix(), float(np.exp(step[6]))
        return Similarity(grow * self.scale, turn @ self.rotation, grow * turn @ self.translation + step[3:6])


@dataclass(frozen=True)
class Matches:
    """For each asked point the nearest compatible vertex of the surface and the normal there.

    Attributes:
        found: false where no vertex nearby faces the same way; point and normal mean nothing there.
    """

    point: Float[np.ndarray, "m 3"]
    normal: Float[np.ndarray, "m 3"]
    found: Bool[np.ndarray, "m"]


class Target:
    """A surface, seen as many points with normals.

    Where it ends, at an open border or at the flat cut under a neck or bust, it says nothing about a head.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.points = np.asarray(mesh.vertices, np.float64)
        self.normals = vertex_normals(mesh.vertices, mesh.faces)
        self.ends = _ends(mesh, self.normals)
        self._tree = cKDTree(self.points)

    def moved(self, motion: Similarity) -> Target:
        """The same surface elsewhere."""
        other = object.__new__(Target)
        other.points, other.normals, other.ends = motion(self.points), self.normals @ motion.rotation.T, self.ends
        other._tree = cKDTree(other.points)
        return other

    def match(self, points: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"]) -> Matches:
        """Nearest vertices that face the same way as the asker."""
        index = self._tree.query(points, k=min(_CANDIDATES, len(self.points)))[1].reshape(len(points), -1)
        alike = np.einsum("mkc,mc->mk", self.normals[index], normals) > LEAST_COSINE
        first = alike.argmax(1)
        chosen = index[np.arange(len(points)), first]
        return Matches(self.points[chosen], self.normals[chosen], alike.any(1) & ~self.ends[chosen])


def without_ends(mesh: Mesh) -> Mesh:
    """The surface without the faces at open borders and at a flat cut below, which belong to no head."""
    ends = _ends(mesh, vertex_normals(mesh.vertices, mesh.faces))
    return Mesh(mesh.vertices, mesh.faces[~ends[mesh.faces].any(1)])


def _ends(mesh: Mesh, normals: Float[np.ndarray, "v 3"]) -> Bool[np.ndarray, "v"]:
    """Vertices on open borders, and near the lowest level those that a flat cut has."""
    count = len(mesh.vertices)
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    directed = sp.csr_matrix((np.ones(len(start)), (start, end)), (count, count))
    single = abs(directed - directed.T)
    height = mesh.vertices[:, 1]
    low = height < height.min() + _CUT_SHARE * np.ptp(height)
    cut = low & (normals[:, 1] < -0.9)
    near_cut = height < (height[cut].max() if cut.any() else -np.inf) + _CUT_SHARE * np.ptp(height)
    return (np.asarray(single.sum(1)).ravel() > 0) | near_cut | (np.linalg.norm(normals, axis=1) < 0.5)


def umeyama(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, "n"]
) -> Similarity:
    """The similarity that carries weighted points onto others best (Umeyama 1991)."""
    share = (weight / weight.sum())[:, None]
    by, to = (share * source).sum(0), (share * target).sum(0)
    left, values, right = np.linalg.svd((target - to).T @ (share * (source - by)))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ (flip[:, None] * right)
    scale = float((values * flip).sum() / (share * (source - by) ** 2).sum())
    return Similarity(scale, rotation, to - scale * rotation @ by)


def align_without_marks(
    points: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"], target: Target
) -> Similarity:
    """Brings head points onto a surface that stands about upright, from nothing but its form.

    Iterated closest points from several headings, sizes and heights; the one that ends nearest wins. Each iteration is
    the closed-form similarity of those matches that are nearest.

    Args:
        points: of the head without its neck.
    """
    high, size = target.points[:, 1].max(), np.ptp(points[:, 1])
    crown = target.points[target.points[:, 1] > high - 0.9 * size]
    middle = (crown.min(0) + crown.max(0)) / 2
    best, least = Similarity(1.0, np.eye(3), np.zeros(3)), np.inf
    few, facing = points[::_FEW], normals[::_FEW]
    for yaw_deg in (0.0, -35.0, 35.0):
        for pitch_deg in (0.0, 15.0, -15.0):
            for scale in (0.8, 1.0):
                turn = Rotation.from_euler("YX", [yaw_deg, pitch_deg], degrees=True).as_matrix()
                place = scale * turn @ points.mean(0)
                start = Similarity(scale, turn, middle - place)
                found, cost = _iterated_closest(few, facing, target, start, steps=10)
                if cost < least:
                    best, least = found, cost
    return _iterated_closest(points, normals, target, best, steps=40)[0]


def _iterated_closest(points, normals, target: Target, start: Similarity, *, steps: int) -> tuple[Similarity, float]:
    """Trimmed iterated closest points, and the mean distance of the better matches."""
    found, cost = start, np.inf
    for _ in range(steps):
        moved = found(points)
        matches = target.match(moved, normals @ found.rotation.T)
        gap = np.where(matches.found, np.linalg.norm(matches.point - moved, axis=1), np.inf)
        kept = np.argsort(gap, kind="stable")[: int(_TRIMMED * len(gap))]
        if not np.isfinite(gap[kept]).all():
            return found, np.inf
        cost = float(gap[kept].mean())
        found = umeyama(points[kept], matches.point[kept], np.ones(len(kept)))
    return found, cost / found.scale
