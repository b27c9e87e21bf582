"""Head bake: how much light reaches the inside of an open mouth, by rays."""

from __future__ import annotations

import numpy as np
import trimesh
from bake_head_dense import Dense
from bake_head_source import Source
from jaxtyping import Float

from spinmeround.geometry import vertex_normals
from spinmeround.template.model.head_model import PARTS

BARED = {
    "jawOpen": 0.6, "mouthUpperUpLeft": 0.6, "mouthUpperUpRight": 0.6, "mouthLowerDownLeft": 0.6,
    "mouthLowerDownRight": 0.6, "mouthSmileLeft": 0.3, "mouthSmileRight": 0.3,
}  # fmt: skip
"""An open mouth that shows as much as mouths do."""
OUT = {"jawOpen": 0.5, "tongueOut": 1.0}
TONGUE_OUTSIDE = 0.7
RAYS = 256
OFF = 0.0008
"""Rays start this far above the surface."""
INSIDE = ("teeth_upper", "teeth_lower", "tongue", "mouth_cavity")


def mouth_light(source: Source, dense: Dense) -> Float[np.ndarray, "m"]:
    """How much of an even sky each vertex inside the mouth sees while it is open, 1 where most; 0 outside the mouth.

    The tongue comes out into the light: it has the most of what it sees inside and, less, of what it sees outside.
    """
    light = _sky(source, dense, BARED)
    tongue = np.unique(dense.faces[dense.part == PARTS.index("tongue")])
    light[tongue] = np.maximum(light[tongue], TONGUE_OUTSIDE * _sky(source, dense, OUT)[tongue])
    return light / light.max()


def _sky(source: Source, dense: Dense, pose: dict[str, float]) -> Float[np.ndarray, "m"]:
    weights = np.array([pose.get(name, 0.0) for name in source.expression_names])
    vertices = dense.matrix @ (source.mean + np.tensordot(weights, source.expression_basis, 1))
    inside = np.unique(dense.faces[np.isin(dense.part, [PARTS.index(name) for name in INSIDE])])
    normals = vertex_normals(vertices, dense.faces)[inside]
    mesh = trimesh.Trimesh(vertices, dense.faces, process=False)
    frames, free = _frames(normals), np.zeros(len(inside))
    for ray in _cosine_lobe():
        free += ~mesh.ray.intersects_any(vertices[inside] + OFF * normals, frames @ ray)
    light = np.zeros(len(vertices))
    light[inside] = free / RAYS
    return light


def _frames(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Columns: two directions along the surface, and out of it."""
    helper = np.where(np.abs(normals[:, [1]]) > 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    side = np.cross(helper, normals)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    return np.stack([side, np.cross(normals, side), normals], axis=2)


def _cosine_lobe() -> Float[np.ndarray, "r 3"]:
    """Directions about +Z, as dense as their cosine, on a golden spiral."""
    radius = np.sqrt((np.arange(RAYS) + 0.5) / RAYS)
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(RAYS)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=1)
