"""A flat, closed cut through the neck, so that every camera of the rig sees the whole head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from spinmeround.types import Mesh

HEIGHT = -0.4
"""World y of the cut, head units: below the chin, within the pictures of the whole-head rig."""


@dataclass(frozen=True)
class Cut:
    """A mesh above ``HEIGHT``, closed by a flat fan of triangles.

    Attributes:
        corner_from: for each corner of a face, the two corners of the input (indices into its ``faces.ravel()``)
            between which it lies.
        corner_fraction: how far it lies from the first to the second one, in [0, 1].
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    corner_from: Integer[np.ndarray, "f 3 2"]
    corner_fraction: Float[np.ndarray, "f 3"]

    def at_corners(self, values: Float[np.ndarray, "c d"]) -> Float[np.ndarray, "f 3 d"]:
        """Interpolate what is given per corner of the input at the corners of the cut mesh."""
        first, second = values[self.corner_from[..., 0]], values[self.corner_from[..., 1]]
        return first + self.corner_fraction[..., None] * (second - first)


def cut(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Cut:
    """Cut a mesh exactly along the plane; vertices of the input keep their indices, new ones follow."""
    corners = np.arange(faces.size).reshape(faces.shape)
    below = vertices[:, 1] < HEIGHT
    count = below[faces].sum(1)
    pieces = [_whole(faces[count == 0], corners[count == 0])]
    points: dict[tuple[int, int], int] = {}
    added: list[np.ndarray] = []
    boundary: list[tuple[int, int, int]] = []

    def crossing(a: int, b: int) -> tuple[int, float]:
        """Return the vertex where an edge meets the plane, and how far it lies from a to b, in [0, 1]."""
        fraction = float((HEIGHT - vertices[a, 1]) / (vertices[b, 1] - vertices[a, 1]))
        key = (min(a, b), max(a, b))
        if key not in points:
            points[key] = len(vertices) + len(added)
            added.append(np.array([*(vertices[a] + fraction * (vertices[b] - vertices[a]))]))
            added[-1][1] = HEIGHT
        return points[key], fraction

    new_faces, new_from, new_fraction = [], [], []
    crossed = (count > 0) & (count < 3)
    for face, corner in zip(faces[crossed], corners[crossed], strict=True):
        # Rotated so that the vertex that is alone on its side of the plane comes first.
        alone = int(np.argmax(below[face] == (below[face].sum() == 1)))
        (a, b, c), (i, j, k) = np.roll(face, -alone).tolist(), np.roll(corner, -alone).tolist()
        (ab, fraction_b), (ac, fraction_c) = crossing(a, b), crossing(a, c)
        on_ab, on_ac, at_a, at_b, at_c = (i, j, fraction_b), (i, k, fraction_c), (i, i, 0.0), (j, j, 0.0), (k, k, 0.0)
        if below[a]:
            made = [((ab, b, c), (on_ab, at_b, at_c)), ((ab, c, ac), (on_ab, at_c, on_ac))]
            boundary.append((ab, ac, i))
        else:
            made = [((a, ab, ac), (at_a, on_ab, on_ac))]
            boundary.append((ac, ab, i))
        for triangle, where in made:
            new_faces.append(triangle)
            new_from.append([w[:2] for w in where])
            new_fraction.append([w[2] for w in where])
    if added:
        middle = len(vertices) + len(added)
        added.append(np.mean(added, axis=0))
        added[-1][1] = HEIGHT
        new_faces += [(start, end, middle) for start, end, _ in boundary]
        new_from += [[(source, source)] * 3 for _, _, source in boundary]
        new_fraction += [[0.0] * 3 for _ in boundary]
        pieces.append((np.array(new_faces), np.array(new_from), np.array(new_fraction)))
        vertices = np.concatenate([vertices, added])
    return Cut(vertices, *(np.concatenate(part) for part in zip(*pieces, strict=True)))


def split_crease(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Mesh:
    """Give the flat end vertices of its own, so that vertex normals are not averaged over its edge."""
    flat = (vertices[faces, 1] == HEIGHT).all(1)
    used, corners = np.unique(faces[flat], return_inverse=True)
    apart = faces.copy()
    apart[flat] = corners.reshape(-1, 3) + len(vertices)
    return Mesh(np.concatenate([vertices, vertices[used]]), apart)


def _whole(faces, corners):
    """Faces that are not cut, with their corners taken from the input as they are."""
    return faces, np.stack([corners, corners], axis=-1), np.zeros(faces.shape)
