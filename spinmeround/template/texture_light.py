"""The light of a photo, as far as smooth shading tells it, and colours with its one-sidedness taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.geometry import face_normals
from spinmeround.mesh_raster import rasterize_pixels

_ONE_SIDED = 0.8
_EVEN = 0.25
_COLOURED = 0.3
_LIMIT = 0.5
"""No colour is changed by more than this factor's logarithm."""
_RIDGE = np.array([0.0, 0.02, 0.02, 0.02, 0.1, 0.1, 0.1, 0.1, 0.1])
_ODD = np.array([0, 1, 0, 0, 1, 0, 1, 0, 0], bool)


@dataclass(frozen=True)
class Light:
    """The part of a photo's shading that is to be taken out, as second-order spherical harmonics of the normal.

    Attributes:
        coefficients: of the logarithm, one set a colour channel; its mean over the seen skin is 0.
    """

    coefficients: Float[np.ndarray, "9 3"]

    def without(
        self, rgb: Float[np.ndarray, "*n 3"], normals: Float[np.ndarray, "*n 3"]
    ) -> Float32[np.ndarray, "*n 3"]:
        """Colours with that part divided out."""
        exponent = _basis(normals).astype(np.float32) @ self.coefficients.astype(np.float32)
        return (rgb * np.exp(-np.clip(exponent, -_LIMIT, _LIMIT))).astype(np.float32)


def estimate_light(
    rgb: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, "n"]
) -> Light:
    """Robust least squares on logarithms of skin colours (Ramamoorthi & Hanrahan 2001 for why nine numbers suffice).

    Spots, brows and beard are outliers and lose their say over a few rounds of Cauchy weights. Most of what differs
    between left and right is to be removed, and a little of the rest: light from above is what makes an unlit picture
    look solid.
    """
    design = _basis(normals)
    target = np.log(np.clip(rgb, 0.02, 1.0))
    trust = weight.astype(np.float64)
    coefficients = np.zeros((9, 3))
    for _ in range(6):
        total = max(trust.sum(), 1e-9)
        matrix = (design * trust[:, None]).T @ design / total + np.diag(_RIDGE) + 1e-9 * np.eye(9)
        coefficients = np.linalg.solve(matrix, (design * trust[:, None]).T @ target / total)
        error = np.linalg.norm(target - design @ coefficients, axis=1)
        scale = 1.5 * max(float(np.median(error[weight > 0])) if (weight > 0).any() else 1.0, 0.02)
        trust = weight / (1 + (error / scale) ** 2)
    # Colour belongs to the skin more than to the light: cheeks are red also on the lit side.
    grey = coefficients.mean(1, keepdims=True)
    removed = np.where(_ODD, _ONE_SIDED, _EVEN)[:, None] * (grey + _COLOURED * (coefficients - grey))
    removed[0] = -np.average(design[:, 1:] @ removed[1:], axis=0, weights=weight)
    return Light(removed)


def ambient_occlusion(vertices: Float[np.ndarray, "m 3"], faces: np.ndarray) -> Float[np.ndarray, "m"]:
    """Share of an even sky that each vertex sees, in [0, 1], from depth buffers along 60 directions."""
    normals = np.zeros_like(vertices)
    weighted = face_normals(vertices, faces)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], weighted)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
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
