"""A head outside the template's shape space: a random head of the space, deformed, rotated, moved and scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.template.registration.landmarks import SurfaceLandmarks
from spinmeround.types import Mesh

MM = 1000 * METRES_PER_UNIT
"""Millimetres in a head unit."""


@dataclass(frozen=True)
class Stranger:
    """The truth and what registration is given of it.

    Attributes:
        posed: coarse vertices in the frame of ``surface``.
        neutral: the same without expression.
        surface: the part of the head that is visible from outside.
        marks: landmarks on the surface, with noise of a millimetre.
    """

    posed: np.ndarray
    neutral: np.ndarray
    surface: Mesh
    landmarks: SurfaceLandmarks


def stranger(model: HeadModel, seed: int, *, off_space_mm: float = 3.0, expression: np.ndarray | None = None):
    """Make a random head; its landmarks have noise of a millimetre per axis."""
    rng = np.random.default_rng(seed)
    shape = np.where(np.arange(len(model.shape_names)) < 20, 0.8, 0.1) * rng.normal(size=len(model.shape_names))
    actions = np.zeros(52) if expression is None else expression
    neutral = model.vertices(shape).astype(np.float64)
    neutral += _bump_field(model, neutral, rng, off_space_mm / MM)
    posed = neutral + np.tensordot(actions, model.expression_basis, 1)
    turn = Rotation.from_euler("YXZ", [7.0, -5.0, 3.0], degrees=True).as_matrix()
    neutral, posed = (1.07 * v @ turn.T + [0.02, -0.03, 0.01] for v in (neutral, posed))
    points = landmark_points(model, posed, range(478)) + rng.normal(size=(478, 3)) / MM
    return Stranger(posed, neutral, _outside(model, posed), SurfaceLandmarks(points, np.ones(478), actions, 1))


def _bump_field(model: HeadModel, vertices: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """Return a smooth random displacement of root mean square ``size``; each eyeball moves as a whole."""
    where = vertices.copy()
    for eye in ("eye_left", "eye_right"):
        piece = model.part == PARTS.index(eye)
        where[piece] = vertices[piece].mean(0)
    centres = vertices[rng.integers(0, len(vertices), 60)]
    gap = ((where[:, None] - centres) ** 2).sum(-1)
    field = np.exp(-gap / (2 * (28 / MM) ** 2)) @ rng.normal(size=(60, 3))
    return field * size / np.sqrt((field**2).sum(1).mean())


def _outside(model: HeadModel, coarse: np.ndarray) -> Mesh:
    """Return the skin without the inside of sockets and mouth, and the fronts of the eyeballs."""
    dense, faces, part = model.dense(coarse), model.dense_faces, model.dense_part
    hidden = (model.masks["cavity"][faces].max(1) > 0.5) | (dense[faces][:, :, 1].min(1) < -0.5)
    ahead = model.dense(model.mean)[faces][:, :, 2].min(1)
    eyes = np.isin(part, [PARTS.index(name) for name in ("eye_left", "eye_right")])
    shown = ((part == PARTS.index("skin")) & ~hidden) | (eyes & (ahead > 0.16))
    used, compact = np.unique(faces[shown], return_inverse=True)
    return Mesh(dense[used], compact.reshape(-1, 3))
