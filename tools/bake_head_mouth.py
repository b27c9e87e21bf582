"""Head bake: ambient occlusion inside an open mouth, by ray casting."""

from __future__ import annotations

import numpy as np
import trimesh
from bake_head_dense import Dense
from bake_head_source import Source
from jaxtyping import Float

from spinmeround.geometry import vertex_normals
from spinmeround.template.model.head_model import PARTS

MOUTH_OPEN = {
    "jawOpen": 0.6, "mouthUpperUpLeft": 0.6, "mouthUpperUpRight": 0.6, "mouthLowerDownLeft": 0.6,
    "mouthLowerDownRight": 0.6, "mouthSmileLeft": 0.3, "mouthSmileRight": 0.3,
}  # fmt: skip
"""An open mouth that shows as much of its inside as is usual."""
TONGUE_OUT = {"jawOpen": 0.5, "tongueOut": 1.0}
TONGUE_OUTSIDE = 0.7
RAYS = 256
RAY_OFFSET = 0.0008
"""Distance above the surface at which rays start, head units."""
INSIDE = ("teeth_upper", "teeth_lower", "tongue", "mouth_cavity")


def mouth_light(source: Source, dense: Dense) -> Float[np.ndarray, "m"]:
    """Return the visibility of a uniform sky at each vertex inside the open mouth, at most 1; 0 outside the mouth.

    The tongue gets the larger of its visibility inside and ``TONGUE_OUTSIDE`` of that when it is out.
    """
    light = _sky_visibility(source, dense, MOUTH_OPEN)
    tongue = np.unique(dense.faces[dense.part == PARTS.index("tongue")])
    light[tongue] = np.maximum(light[tongue], TONGUE_OUTSIDE * _sky_visibility(source, dense, TONGUE_OUT)[tongue])
    return light / light.max()


def _sky_visibility(source: Source, dense: Dense, pose: dict[str, float]) -> Float[np.ndarray, "m"]:
    weights = np.array([pose.get(name, 0.0) for name in source.expression_names])
    vertices = dense.matrix @ (source.mean + np.tensordot(weights, source.expression_basis, 1))
    inside = np.unique(dense.faces[np.isin(dense.part, [PARTS.index(name) for name in INSIDE])])
    normals = vertex_normals(vertices, dense.faces)[inside]
    mesh = trimesh.Trimesh(vertices, dense.faces, process=False)
    frames, unoccluded = _frames(normals), np.zeros(len(inside))
    for ray in _cosine_lobe():
        unoccluded += ~mesh.ray.intersects_any(vertices[inside] + RAY_OFFSET * normals, frames @ ray)
    light = np.zeros(len(vertices))
    light[inside] = unoccluded / RAYS
    return light


def _frames(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Return frames whose columns are two tangents and the normal."""
    helper = np.where(np.abs(normals[:, [1]]) > 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    side = np.cross(helper, normals)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    return np.stack([side, np.cross(normals, side), normals], axis=2)


def _cosine_lobe() -> Float[np.ndarray, "r 3"]:
    """Return directions about +Z with cosine-weighted density, on a golden spiral."""
    radius = np.sqrt((np.arange(RAYS) + 0.5) / RAYS)
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(RAYS)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=1)
