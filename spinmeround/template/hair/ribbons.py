"""Strands as ribbons that face a camera, to be drawn as triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from scipy.spatial import cKDTree

from spinmeround.geometry import vertex_normals
from spinmeround.types import HairStrands, Mesh

_TINY = 1e-9
"""Keeps divisions by lengths finite."""


@dataclass(frozen=True)
class Ribbons:
    """Strands with everything about them that no camera changes.

    Attributes:
        centres: points of all strands in turn, world frame.
        tangents: unit direction of the strand at each of them.
        half_widths: head units.
        normals: unit normals of the surface of the hair near each point, by which strands are shaded.
        faces: two triangles a segment; vertex 2 i lies on the one side of centre i, vertex 2 i + 1 on the other.
    """

    centres: Float[np.ndarray, "n 3"]
    tangents: Float[np.ndarray, "n 3"]
    half_widths: Float[np.ndarray, "n"]
    colours: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    faces: Int64[np.ndarray, "f 3"]

    @classmethod
    def of(cls, strands: HairStrands, surface: Mesh, *, floor: float) -> Ribbons:
        """Prepare strands for drawing, as far as they run above the height ``floor``.

        Args:
            surface: of the hair.
        """
        points = strands.points
        tangents = np.gradient(points, axis=1)
        tangents /= np.maximum(np.linalg.norm(tangents, axis=2, keepdims=True), _TINY)
        centres = points.reshape(-1, 3)
        _, nearest = cKDTree(surface.vertices).query(centres, workers=-1)
        index = np.arange(len(centres)).reshape(points.shape[:2])
        first, second = index[:, :-1].ravel(), index[:, 1:].ravel()
        drawn = (centres[first, 1] > floor) & (centres[second, 1] > floor) & (strands.widths[:, :-1].ravel() > 0)
        a, b = 2 * first[drawn], 2 * second[drawn]
        faces = np.concatenate([np.stack([a, b, a + 1], axis=1), np.stack([a + 1, b, b + 1], axis=1)])
        return cls(
            centres,
            tangents.reshape(-1, 3),
            strands.widths.ravel() / 2,
            strands.colours.reshape(-1, 3),
            vertex_normals(surface.vertices, surface.faces)[nearest],
            faces.astype(np.int64),
        )

    def toward(self, eye: Float[np.ndarray, "3"]) -> Float[np.ndarray, "v 3"]:
        """Return the vertices of ribbons that turn their width to a camera at ``eye``, world frame."""
        side = np.cross(self.tangents, eye - self.centres)
        side *= (self.half_widths / np.maximum(np.linalg.norm(side, axis=1), _TINY))[:, None]
        return np.stack([self.centres - side, self.centres + side], axis=1).reshape(-1, 3)
