"""How deep hair gets under the skin as the face moves."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model.head_model import HeadModel

MM = 1000 * METRES_PER_UNIT


def heights_mm(model: HeadModel, dense: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far points lie above the outer skin."""
    skin = np.flatnonzero(outer_skin(model))
    _, nearest = cKDTree(dense[skin]).query(points)
    nearest = skin[nearest]
    normals = vertex_normals(dense, model.dense_faces[outer_skin(model)[model.dense_faces].all(1)])[nearest]
    return ((points - dense[nearest]) * normals).sum(1) * MM


def deepest_mm(model: HeadModel, morphs: np.ndarray, points: np.ndarray) -> float:
    """The least height of points in any expression of the mean head, of those that are outside at rest."""
    rest = model.dense(model.mean)
    outside = heights_mm(model, rest, points) > 0
    return min(heights_mm(model, rest + moved, points)[outside].min() for moved in morphs)
