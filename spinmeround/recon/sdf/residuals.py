"""What pixels, outlines, pictures and the eikonal equation ask of the neural surface, each weighed by its own errors.

All weights are against a normal seen frontally that is right to ``SURE_NORMAL_RAD``, which counts 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int32, Integer

from spinmeround.recon.evidence.patch_matching import PatchTerms
from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.sdf.gauss_newton import Wishes
from spinmeround.recon.sdf.pixel_samples import nearest_passes, ray_hits
from spinmeround.recon.sdf.spline_field import SplineField, onto_zero

Pixels = tuple[Integer[np.ndarray, "n"], Integer[np.ndarray, "n"], Integer[np.ndarray, "n"]]
"""Views, rows and columns."""

SURE_NORMAL_RAD = 0.03
"""Noise of normals below which nothing is gained by doubting them."""

_LEAST_TRUST = 0.3
_LEAST_COSINE, _LEAST_SEEN_COSINE = 0.05, 0.1
ROBUST_NOISES = 3.0
_LEAST_ROBUST_RAD = 0.2
_RAYLEIGH_MEDIAN = 1.386
"""Median square length of a two-dimensional error of unit variance."""
_SIGMA_PER_MEDIAN = 1.48
_OUTLINE_PX = 1.5
_OUTLINE_REACH = 2.0
LEAST_OUTLINE_NOISE_PX = 0.1
FAIR_OUTLINE_PX = 0.3
"""Outlines noisier than this err alike over long stretches, and count less the more they do."""
_PATCH_SHARE = 6.0
_ERROR_WIDTH = 1 / 32
"""Errors of normals smoother than this, against the width of the picture, can be told from the relief of the head."""
_ERROR_SHARE = 0.99
_BAND = 2.5
EIKONAL = 0.002


class SlowErrors:
    """The smooth part of what each view's normals, or colours, get wrong, learnt beside the surface.

    Normals that a network made are good in their relief and off in their slow parts, otherwise in every view. What the
    surface cannot follow is ascribed to such errors; where views agree there are none.
    """

    def __init__(self) -> None:
        self.maps: Float[np.ndarray, "v h w 3"] | None = None

    def resize(self, count: int, height: int, width: int) -> None:
        """Goes on at another picture size."""
        if self.maps is None:
            self.maps = np.zeros((count, height, width, 3), np.float32)
        elif self.maps.shape[1:3] != (height, width):
            self.maps = np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in self.maps])

    def learnt(
        self, at: Pixels, off: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, "n"], noise: float
    ) -> Float[np.ndarray, "n 3"]:
        """Takes in by how much what is seen differs from the surface; returns the errors at the pixels.

        Args:
            at: views, rows and columns.
            noise: of one pixel; up to ``SURE_NORMAL_RAD`` nothing is ascribed to errors.
        """
        assert self.maps is not None, "resized before the first use"
        share = _ERROR_SHARE * max(0.0, 1 - (SURE_NORMAL_RAD / max(noise, 1e-9)) ** 2)
        gap, total = np.zeros_like(self.maps), np.zeros(self.maps.shape[:3], np.float32)
        gap[at] = (off - self.maps[at]) * weight[:, None]
        total[at] = weight
        width_px = self.maps.shape[2] * _ERROR_WIDTH
        for view in range(len(gap)):
            blurred = cv2.GaussianBlur(gap[view], (0, 0), width_px)
            known = cv2.GaussianBlur(total[view], (0, 0), width_px)
            self.maps[view] = share * (self.maps[view] + blurred / (known[..., None] + 0.02))
        return self.maps[at]


@dataclass(frozen=True)
class WeighedNormals:
    """Pixels' normals as they are asked for.

    Attributes:
        normals: unit, less each view's slow errors.
        weight: against a normal seen frontally that is right to ``SURE_NORMAL_RAD``.
        noise_rad: error of one pixel's normal, per axis.
    """

    normals: Float[np.ndarray, "n 3"]
    weight: Float[np.ndarray, "n"]
    noise_rad: float


def weighed_normals(
    at: Pixels,
    now: Float[np.ndarray, "n 3"],
    seen: Float[np.ndarray, "n 3"],
    back: Float[np.ndarray, "n 3"],
    trust: Float[np.ndarray, "n"],
    errors: SlowErrors,
) -> WeighedNormals:
    """What normals are worth, from how they differ from the surface's.

    Args:
        at: views, rows and columns.
        now: gradients of the field where the pixels see it.
        seen: unit normals in the pictures.
        back: unit directions to the camera.
        errors: go on being learnt.
    """
    now = _unit(now)
    cosine, seen_cosine = (np.maximum((back * each).sum(1), 0.0) for each in (now, seen))
    good = (trust > 0) & (seen_cosine > _LEAST_SEEN_COSINE) & (cosine > _LEAST_COSINE)
    apart = ((now - seen) ** 2).sum(1)
    noise_rad = _noise(apart[good])
    limit = max(ROBUST_NOISES * noise_rad, _LEAST_ROBUST_RAD)
    robust = trust * good / (1 + apart / limit**2) ** 2
    normals = _unit(seen - errors.learnt(at, seen - now, robust, noise_rad))
    # Pixels' own errors grow as the view gets oblique, where there are fewer of them. Slow errors are shared by all the
    # pixels around, so that a few tell as much as many.
    frontal = (cosine * seen_cosine) ** 2
    slow = max(0.0, (noise_rad / SURE_NORMAL_RAD) ** 2 - 1)
    return WeighedNormals(normals, robust * frontal / (1 + slow * frontal * cosine), noise_rad)


def normal_votes(
    field: SplineField,
    level: NormalPyramidLevel,
    depth: Float[np.ndarray, "v h w"],
    errors: SlowErrors,
) -> tuple[Wishes, float]:
    """Gradients at the places where the pixels' rays end, and the error of one pixel's normal per axis, in radians.

    Args:
        depth: depth maps of the zero set in the cameras of ``level``.
        errors: go on being learnt.
    """
    hits = ray_hits(field, level.cameras, depth, level.trust > _LEAST_TRUST)
    at = (hits.view, hits.row, hits.column)
    back = _unit(level.eyes[hits.view] - hits.points)
    seen = _unit(level.normals[at].astype(np.float64))
    votes = weighed_normals(at, hits.gradient, seen, back, level.trust[at].astype(np.float64), errors)
    none = np.zeros(len(votes.weight))
    return Wishes(hits.points, votes.normals, votes.weight, none, none, none > 0), votes.noise_rad


def _noise(squares: Float[np.ndarray, "n"]) -> float:
    return float(np.sqrt(np.median(squares) / _RAYLEIGH_MEDIAN)) if len(squares) else 0.0


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def outline_wishes(field: SplineField, level: NormalPyramidLevel) -> Wishes:
    """Values where rays near a mask's outline pass the surface.

    A ray that misses a solid by some distance has that distance as the least value of the field along it. A change of
    the field changes that least value as it changes the field there, whichever way the place moves.
    """
    points, goals, sizes = [], [], []
    height, width = level.contour_px.shape[1:]
    for view, outline_px in enumerate(level.contour_px):
        rows, columns = np.nonzero(np.abs(outline_px) < _OUTLINE_PX)
        inner = (rows > 1) & (rows < height - 2) & (columns > 1) & (columns < width - 2)
        rows, columns = rows[inner], columns[inner]
        places, far = nearest_passes(field, level.cameras, view, rows, columns)
        size = far / level.cameras.intrinsics_px[view, [0, 1], [0, 1]].mean()
        points.append(places)
        goals.append(-outline_px[rows, columns] * size)
        sizes.append(size)
    places, goal, size = np.concatenate(points), np.concatenate(goals).astype(np.float64), np.concatenate(sizes)
    now = field.at(places)[:, 0]
    near = np.abs(now) < _OUTLINE_REACH * field.cell
    off_px = (goal - now) / size
    noise_px = float(_SIGMA_PER_MEDIAN * np.median(np.abs(off_px[near]))) if near.any() else 0.0
    noise_px = max(noise_px, LEAST_OUTLINE_NOISE_PX)
    share = 1 / (1 + (noise_px / FAIR_OUTLINE_PX) ** 2)
    weight = near * share * (SURE_NORMAL_RAD * field.cell / size / noise_px) ** 2
    weight /= (1 + (off_px / (ROBUST_NOISES * noise_px)) ** 2) ** 2
    none = np.zeros(len(places))
    return Wishes(places, np.zeros_like(places), none, goal, weight, none > 0)


def patch_wishes(field: SplineField, points: Float[np.ndarray, "n 3"], pulls: PatchTerms) -> Wishes:
    """Values at points of the zero set that make it move to where the pictures agree."""
    none = np.zeros(len(points))
    value = -pulls.right / np.maximum(pulls.information, 1e-12)
    value = np.clip(value, -field.cell, field.cell)
    weight = _PATCH_SHARE * pulls.information * (SURE_NORMAL_RAD * field.cell) ** 2
    return Wishes(points, np.zeros_like(points), none, value, weight, none > 0)


def free_nodes(field: SplineField) -> Int32[np.ndarray, "x y z"]:
    """Numbers of the nodes near the zero set, -1 for all others."""
    near: Bool[np.ndarray, "x y z"] = np.abs(field.sampled()) < _BAND * field.cell
    for axis in range(3):
        ends = np.moveaxis(near, axis, 0)
        ends[:3] = ends[-3:] = False
    free = np.full(near.shape, -1, np.int32)
    free[near] = np.arange(near.sum())
    return free


def eikonal_wishes(field: SplineField, free: Int32[np.ndarray, "x y z"], *, stress: float) -> Wishes:
    """Gradients of length one at all free nodes, ``stress`` times as strong as in the end; their direction is free."""
    points = np.argwhere(free >= 0) * field.cell + field.low
    none = np.zeros(len(points))
    gradient = _unit(field.at(points)[:, 1:])
    return Wishes(points, gradient, none + EIKONAL * stress, none, none, none == 0)


def surface_points(
    field: SplineField, near: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points moved onto the zero set, and the unit normals there."""
    points = onto_zero(field, near)
    return points, _unit(field.at(points)[:, 1:])
