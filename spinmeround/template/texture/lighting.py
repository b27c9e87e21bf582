"""The light of a photo, as far as smooth shading tells it, and colours with its one-sidedness taken out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import rasterize_pixels

_COLOURED = 0.3
_ENOUGH = 200
"""Vertices with a colour without which nothing can be said about the light."""
_LIMIT = 0.5
"""No colour is changed by more than this factor's logarithm."""
_RIDGE = np.array([0.0, 0.02, 0.02, 0.02, 0.1, 0.1, 0.1, 0.1, 0.1])
_REMOVED = np.array([0, 0.8, 0.1, 0.2, 0.8, 0.1, 0.8, 0.2, 0.2])
"""Share taken out of each harmonic (1, x, y, z, xy, yz, xz, xx - yy, zz): most of what is brighter on one side, little
of the rest, which makes an unlit picture look solid and the face look like the photo."""


def light_factor(
    rgb: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"], weight: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3"]:
    """What colours at each normal have to be multiplied by so that the light of a photo is evened out.

    Second-order spherical harmonics of the normal (Ramamoorthi & Hanrahan 2001 for why nine numbers suffice) are fitted
    to logarithms of skin colours; spots, brows and beard are outliers and lose their say over a few rounds of Cauchy
    weights. ``_REMOVED`` says how much of it is taken out; the mean over the seen skin stays.

    Args:
        rgb: colours seen at the vertices; only those with weight count.
        normals: unit normals, world frame.
    """
    used = weight > 0
    if used.sum() < _ENOUGH:
        return np.ones_like(rgb)
    target, trust = np.log(np.clip(rgb[used], 0.02, 1.0)), weight[used].astype(np.float64)
    basis = _basis(normals)
    design, coefficients = basis[used], np.zeros((9, 3))
    for _ in range(6):
        total = max(trust.sum(), 1e-9)
        matrix = (design * trust[:, None]).T @ design / total + np.diag(_RIDGE) + 1e-9 * np.eye(9)
        coefficients = np.linalg.solve(matrix, (design * trust[:, None]).T @ target / total)
        error = np.linalg.norm(target - design @ coefficients, axis=1)
        trust = weight[used] / (1 + (error / (1.5 * max(float(np.median(error)), 0.02))) ** 2)
    # Colour belongs to the skin more than to the light: cheeks are red also on the lit side.
    grey = coefficients.mean(1, keepdims=True)
    removed = _REMOVED[:, None] * (grey + _COLOURED * (coefficients - grey))
    removed[0] = -np.average(design[:, 1:] @ removed[1:], axis=0, weights=weight[used])
    return np.exp(-np.clip(basis @ removed, -_LIMIT, _LIMIT))


def ambient_occlusion(vertices: Float[np.ndarray, "m 3"], faces: np.ndarray) -> Float[np.ndarray, "m"]:
    """Share of an even sky that each vertex sees, in [0, 1], from depth buffers along 60 directions."""
    normals = vertex_normals(vertices, faces)
    size, reach = 256, 1.05 * np.abs(vertices - vertices.mean(0)).max()
    seen, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for direction in _sphere(60):
        side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[1]) > 0.9 else [0.0, 1.0, 0.0])
        side /= np.linalg.norm(side)
        frame = np.stack([side, np.cross(direction, side), -direction])
        turned = (vertices - vertices.mean(0)) @ frame.T
        pixels = np.concatenate([(turned[:, :2] / reach + 1) * size / 2, turned[:, 2:] + 4], axis=1)
        depth = rasterize_pixels(pixels, faces, size, size).depth
        column, row = (np.clip(pixels[:, c].astype(int), 0, size - 1) for c in (0, 1))
        facing = np.maximum(normals @ direction, 0)
        seen += facing * (pixels[:, 2] < depth[row, column] + 0.02)
        possible += facing
    return seen / possible


def _basis(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=-1)


def _sphere(count: int) -> Float[np.ndarray, "d 3"]:
    """Directions spread evenly over the sphere on a golden spiral."""
    index = np.arange(count) + 0.5
    height, angle = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)
