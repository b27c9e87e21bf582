"""Hair that the face cannot reach: what lies on moving skin at rest makes room for every morph target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from spinmeround.geometry import vertex_normals
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model.head_model import HeadModel
from spinmeround.types import AvatarPart


@dataclass(frozen=True)
class _ClearanceSettings:
    """How much room hair makes. Lengths are in head units.

    Attributes:
        reach: from skin that moves, up to which vertices are looked at (2 cm).
        min_motion: of skin that moves (0.4 mm).
        depth: under the moved skin at which a vertex may lie (0.8 mm).
        rounds: for each morph target at most, since the nearest place of the skin changes as vertices move.
    """

    reach: float = 0.05
    min_motion: float = 0.001
    depth: float = 0.002
    rounds: int = 2


_SETTINGS = _ClearanceSettings()


def clear_of_expressions(
    part: AvatarPart, model: HeadModel, rest: Float[np.ndarray, "m 3"], morphs: Float[np.ndarray, "k m 3"]
) -> AvatarPart:
    """Return hair moved out so far that no morph target at full weight brings skin over it.

    Vertices that lie under the skin at rest stay: they are roots.

    Args:
        rest: dense vertices.
        morphs: displacement of the dense vertices by each morph target.
    """
    s = _SETTINGS
    points = part.mesh.vertices.copy()
    skin = outer_skin(model)
    moving = skin & (np.linalg.norm(morphs, axis=2).max(0) > s.min_motion)
    distance, _ = cKDTree(rest[moving]).query(points, distance_upper_bound=s.reach)
    near = np.flatnonzero(np.isfinite(distance))
    if len(near) == 0:
        return part
    distance, _ = cKDTree(points[near]).query(rest, distance_upper_bound=2 * s.reach)
    patch = _Patch(model, skin & np.isfinite(distance))
    near = near[patch.heights(points[near], rest)[0] > 0]
    reached = [moved for moved in morphs if np.linalg.norm(moved[patch.vertices], axis=1).max(initial=0) > s.min_motion]
    for moved in reached:
        for _ in range(s.rounds):
            height, normals = patch.heights(points[near], rest + moved)
            missing = np.maximum(-s.depth - height, 0)
            if not missing.any():
                break
            points[near] += missing[:, None] * normals
    return replace(part, mesh=replace(part.mesh, vertices=points))


class _Patch:
    """Part of the skin, over which heights are measured.

    Args:
        used: its dense vertices.
    """

    def __init__(self, model: HeadModel, used: Bool[np.ndarray, "m"]) -> None:
        self.vertices = np.flatnonzero(used)
        self.faces = model.dense_faces[used[model.dense_faces].any(1)]

    def heights(
        self, points: Float[np.ndarray, "n 3"], dense: Float[np.ndarray, "m 3"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
        """Return how far points lie above the tangent plane of the nearest vertex, and its normal.

        Args:
            dense: vertices of the head in one expression.
        """
        _, nearest = cKDTree(dense[self.vertices]).query(points)
        nearest = self.vertices[nearest]
        normals = vertex_normals(dense, self.faces)[nearest]
        return ((points - dense[nearest]) * normals).sum(1), normals
