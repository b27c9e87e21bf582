"""The lighting of a photo, estimated from smooth shading, and a correction that takes its one-sidedness out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import rasterize_pixels

_RIDGE = np.array([0.0, 0.02, 0.02, 0.02, 0.1, 0.1, 0.1, 0.1, 0.1])
"""Tikhonov weight of each harmonic, in the order of ``_basis``; higher degrees are less certain."""
_REMOVED = np.array([0, 0.8, 0.1, 0.2, 0.8, 0.1, 0.8, 0.2, 0.2])
"""Fraction taken out of each harmonic (1, x, y, z, xy, yz, xz, xx - yy, zz): most of what is brighter on one side,
little of the rest, which makes an unlit picture look solid and the face look like the photo."""


@dataclass(frozen=True)
class _LightingSettings:
    """Constants of ``shading_correction``. Errors and limits are natural logarithms of sRGB colours.

    Attributes:
        min_vertices: with fewer coloured vertices the lighting cannot be estimated.
        min_colour: darker colours are taken for this one, sRGB in [0, 1]: the logarithm of black has no bound.
        rounds: of iteratively reweighted least squares.
        cauchy_scale: scale of the Cauchy weights, in medians of the error.
        min_error: least median error that sets that scale.
        chroma_fraction: part of the coloured lighting that is taken for lighting. Colour belongs to the skin more than
            to the lighting: cheeks are red also on the lit side.
        max_change: no colour is changed by more than this.
    """

    min_vertices: int = 200
    min_colour: float = 0.02
    rounds: int = 6
    cauchy_scale: float = 1.5
    min_error: float = 0.02
    chroma_fraction: float = 0.3
    max_change: float = 0.5


@dataclass(frozen=True)
class _OcclusionSettings:
    """Constants of ``ambient_occlusion``.

    Attributes:
        directions: from which light comes, evenly over the sphere.
        size_px: side of the depth buffers.
        margin: half the side of a depth buffer over the mesh's largest extent.
        depth_tolerance: a vertex so far behind the nearest surface is still lit, head units.
        depth_offset: added to depths, which must be positive, head units.
    """

    directions: int = 60
    size_px: int = 256
    margin: float = 1.05
    depth_tolerance: float = 0.02
    depth_offset: float = 4


_LIGHTING, _OCCLUSION = _LightingSettings(), _OcclusionSettings()


def shading_correction(
    rgb: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"], weight: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3"]:
    """Return the factor on the colour at each normal that evens out the lighting of a photo.

    Second-order spherical harmonics of the normal (Ramamoorthi & Hanrahan 2001 for why nine numbers suffice) are fitted
    to logarithms of skin colours. Spots, brows and beard are outliers; Cauchy weights take them out over a few rounds.
    ``_REMOVED`` says how much of each harmonic is taken out; the mean over the seen skin stays.

    Args:
        rgb: colours seen at the vertices; only those with weight count.
        normals: unit normals, world frame.
        weight: of each vertex, not negative.

    Returns:
        Factors, all 1 if too little is seen.
    """
    used = weight > 0
    if used.sum() < _LIGHTING.min_vertices:
        return np.ones_like(rgb)
    target, trust = np.log(np.clip(rgb[used], _LIGHTING.min_colour, 1.0)), weight[used].astype(np.float64)
    basis = _basis(normals)
    design, coefficients = basis[used], np.zeros((9, 3))
    for _ in range(_LIGHTING.rounds):
        total = max(trust.sum(), 1e-9)
        matrix = (design * trust[:, None]).T @ design / total + np.diag(_RIDGE) + 1e-9 * np.eye(9)
        coefficients = np.linalg.solve(matrix, (design * trust[:, None]).T @ target / total)
        error = np.linalg.norm(target - design @ coefficients, axis=1)
        scale = _LIGHTING.cauchy_scale * max(float(np.median(error)), _LIGHTING.min_error)
        trust = weight[used] / (1 + (error / scale) ** 2)
    grey = coefficients.mean(1, keepdims=True)
    removed = _REMOVED[:, None] * (grey + _LIGHTING.chroma_fraction * (coefficients - grey))
    removed[0] = -np.average(design[:, 1:] @ removed[1:], axis=0, weights=weight[used])
    return np.exp(-np.clip(basis @ removed, -_LIGHTING.max_change, _LIGHTING.max_change))


def ambient_occlusion(vertices: Float[np.ndarray, "m 3"], faces: np.ndarray) -> Float[np.ndarray, "m"]:
    """Return the visible fraction of an even sky at each vertex, in [0, 1] (1 is unoccluded), from depth buffers.

    Directions are weighted by the cosine to the normal.
    """
    normals = vertex_normals(vertices, faces)
    size, reach = _OCCLUSION.size_px, _OCCLUSION.margin * np.abs(vertices - vertices.mean(0)).max()
    seen, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for direction in _sphere(_OCCLUSION.directions):
        side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[1]) > 0.9 else [0.0, 1.0, 0.0])
        side /= np.linalg.norm(side)
        frame = np.stack([side, np.cross(direction, side), -direction])
        turned = (vertices - vertices.mean(0)) @ frame.T
        depths = turned[:, 2:] + _OCCLUSION.depth_offset
        pixels = np.concatenate([(turned[:, :2] / reach + 1) * size / 2, depths], axis=1)
        depth = rasterize_pixels(pixels, faces, size, size).depth
        column, row = (np.clip(pixels[:, c].astype(int), 0, size - 1) for c in (0, 1))
        facing = np.maximum(normals @ direction, 0)
        seen += facing * (pixels[:, 2] < depth[row, column] + _OCCLUSION.depth_tolerance)
        possible += facing
    return seen / possible


def _basis(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=-1)


def _sphere(count: int) -> Float[np.ndarray, "d 3"]:
    """Return directions spread evenly over the sphere on a golden spiral."""
    index = np.arange(count) + 0.5
    height, angle = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)
