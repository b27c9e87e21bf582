"""The visible edges of the lips, where detectors put the landmarks of the mouth's opening."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer
from scipy.spatial import cKDTree

from spinmeround.template.fit.residuals import Pose
from spinmeround.template.fit.settings import LipEdgeSettings
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points

UPPER_EDGE = np.array([191, 80, 81, 82, 13, 312, 311, 310, 415])
"""Landmarks along the lower edge of the upper lip, from the subject's right to its left."""
LOWER_EDGE = np.array([95, 88, 178, 87, 14, 317, 402, 318, 324])
"""Those along the upper edge of the lower lip, each below the one of the upper lip."""
_HIGHEST, _LOWEST = 0, 17
"""On the outer borders of the lips, in the middle."""
_JAW = "jawOpen"

_EDGES = LipEdgeSettings()


def lip_edges(
    model: HeadModel, vertices: Float[np.ndarray, "n 3"], pose: Pose, landmarks_px: Float[np.ndarray, "478 2"]
) -> tuple[Integer[np.ndarray, "l"], Integer[np.ndarray, "l"]]:
    """Return the landmarks of the mouth's opening, and for each the vertex that is the lip's visible edge there.

    Lips bulge before the line on which they meet. Parted, they hide that line: landmarks taken for points on it would
    leave the mouth half open. Closed, both edges are that line: landmarks taken for points further out on either lip
    would make lips thicker than they are.

    Args:
        vertices: coarse vertices with the photo's expression, world frame.
    """
    down_px = landmarks_px[_LOWEST] - landmarks_px[_HIGHEST]
    down_px = down_px / max(float(np.linalg.norm(down_px)), 1e-6)
    across = np.array([down_px[1], -down_px[0]])
    pixels = pose.project(vertices)
    aside_px = _EDGES.aside * pose.focal_px / pose.translation[2]
    numbers, found = [], []
    for edge, lip, inward in zip((UPPER_EDGE, LOWER_EDGE), lips(model), (down_px, -down_px), strict=True):
        for number in edge:
            offset = pixels[lip] - landmarks_px[number]
            beside = np.abs(offset @ across) < aside_px
            if beside.any():
                numbers.append(number)
                found.append(lip[np.where(beside, offset @ inward, -np.inf).argmax()])
    return np.array(numbers, int), np.array(found, int)


def lips(model: HeadModel) -> tuple[Integer[np.ndarray, "u"], Integer[np.ndarray, "l"]]:
    """Return the vertices around the edge of the upper lip, and of the lower one: it moves with the jaw."""
    jaw = np.linalg.norm(model.expression_basis[model.expression_names.index(_JAW)], axis=1)
    pairs = np.concatenate([UPPER_EDGE, LOWER_EDGE])
    distance, nearest = cKDTree(landmark_points(model, model.mean, pairs)).query(model.mean)
    around = (model.part == PARTS.index("skin")) & (distance < _EDGES.reach)
    moved = landmark_points(model, jaw, pairs).reshape(2, -1).mean(0)
    lower = jaw > moved[nearest % len(UPPER_EDGE)]
    return np.flatnonzero(around & ~lower), np.flatnonzero(around & lower)
