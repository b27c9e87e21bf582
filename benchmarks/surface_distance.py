"""Distance of one surface from another after a similarity alignment.

Points sampled evenly on the true face are matched to the nearest points of the other surface, and a similarity is
fitted to the matches iteratively by point-to-plane ICP (Chen and Medioni 1992) with robust weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

_CANDIDATES = 12
"""Triangles with the nearest centroids, among which the nearest point is sought."""


@dataclass(frozen=True)
class Alignment:
    """``aligned = scale * points @ rotation.T + translation``."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return the aligned points."""
        return self.scale * points @ self.rotation.T + self.translation


def sample_surface(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], count: int, *, rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Return points drawn uniformly over the area of a mesh."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    root, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return (1 - root) * a[chosen] + root * (1 - v) * b[chosen] + root * v * c[chosen]


def closest_on_triangles(
    points: Float[np.ndarray, "n 3"],
    a: Float[np.ndarray, "n 3"],
    b: Float[np.ndarray, "n 3"],
    c: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n 3"]:
    """Return the nearest point on one triangle for each point."""
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    determinant = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / determinant, (d00 * d21 - d01 * d20) / determinant
    best = a + v[..., None] * ab + w[..., None] * ac
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    gap = np.where(inside, ((points - best) ** 2).sum(-1), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = end - start
        t = ((points - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-30)
        on_edge = start + np.clip(t, 0, 1)[..., None] * edge
        edge_gap = ((points - on_edge) ** 2).sum(-1)
        nearer = edge_gap < gap
        best = np.where(nearer[..., None], on_edge, best)
        gap = np.where(nearer, edge_gap, gap)
    return best


class Surface:
    """A mesh with a search tree for nearest points."""

    def __init__(self, vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> None:
        self._corners = vertices[faces].astype(np.float64)
        self._tree = cKDTree(self._corners.mean(1))
        normals = np.cross(self._corners[:, 1] - self._corners[:, 0], self._corners[:, 2] - self._corners[:, 0])
        self._normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)

    def nearest(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Return nearest points and the normals there, among the triangles with the nearest centroids."""
        candidates = self._tree.query(points, k=min(_CANDIDATES, len(self._corners)))[1].reshape(len(points), -1)
        corners = self._corners[candidates]
        spread = np.broadcast_to(points[:, None], (*corners.shape[:2], 3))
        closest = closest_on_triangles(spread, corners[:, :, 0], corners[:, :, 1], corners[:, :, 2])
        best = ((closest - spread) ** 2).sum(-1).argmin(1)
        row = np.arange(len(points))
        return closest[row, best], self._normals[candidates[row, best]]


def similarity(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Alignment:
    """Return the least-squares similarity between matched points (Umeyama 1991)."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    u, singular, vt = np.linalg.svd((target - mean_t).T @ (source - mean_s))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / ((source - mean_s) ** 2).sum())
    return Alignment(scale, rotation, mean_t - scale * rotation @ mean_s)


def _tangent_step(source: np.ndarray, target: np.ndarray, normals: np.ndarray, weights: np.ndarray) -> Alignment:
    """Solve one linearised step of rotation, translation and scale about the points' centroid."""
    middle = source.mean(0)
    centred = source - middle
    columns = np.concatenate([np.cross(centred, normals), normals, (centred * normals).sum(1, keepdims=True)], axis=1)
    gaps = ((target - source) * normals).sum(1)
    step = np.linalg.lstsq(columns * weights[:, None], gaps * weights, rcond=None)[0]
    rotation, scale = Rotation.from_rotvec(step[:3]).as_matrix(), 1 + step[6]
    return Alignment(scale, rotation, middle + step[3:6] - scale * rotation @ middle)


def best_alignment(
    truth: Float[np.ndarray, "n 3"], surface: Surface, start: Alignment, *, steps: int = 40
) -> Alignment:
    """Return the similarity that brings true points nearest to a surface.

    Args:
        start: initial alignment of the frame of ``truth`` to that of ``surface``, within a head's width.
    """
    found = start
    for _ in range(steps):
        points = found(truth)
        nearest, normals = surface.nearest(points)
        gaps = np.linalg.norm(nearest - points, axis=1)
        weights = 1 / np.sqrt(1 + (gaps / (2 * np.median(gaps) + 1e-12)) ** 2)
        step = _tangent_step(points, nearest, normals, weights)
        found = Alignment(step.scale * found.scale, step.rotation @ found.rotation, step(found.translation))
    return found


def distances(truth: Float[np.ndarray, "n 3"], surface: Surface, alignment: Alignment) -> Float[np.ndarray, "n"]:
    """Return distances of aligned true points to a surface, in the units of ``truth``."""
    points = alignment(truth)
    return np.linalg.norm(surface.nearest(points)[0] - points, axis=1) / alignment.scale


def distance_after_alignment(
    truth: Float[np.ndarray, "n 3"], surface: Surface, start: Alignment
) -> Float[np.ndarray, "n"]:
    """Return distances of true points to a surface after the best similarity, in the units of ``truth``."""
    return distances(truth, surface, best_alignment(truth, surface, start))
