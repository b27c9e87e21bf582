"""The light of a photo, estimated from the shading of skin, and how much of an even sky each place sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.template.model.atlas import Atlas

_GAMMA = 2.2
"""sRGB is taken for this power of linear light, so that a factor on light is a factor on the coded colour."""
_RIDGE = np.array([0.0, 0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 0.05, 0.05])
"""Tikhonov weight of each harmonic, in the order of ``_basis``; higher degrees are less certain."""


@dataclass(frozen=True)
class _LightSettings:
    """Constants of ``photo_shading``. Errors are natural logarithms of linear light.

    Attributes:
        min_vertices: with fewer coloured vertices the light cannot be estimated.
        rounds: of iteratively reweighted least squares.
        cauchy_scale: scale of the Cauchy weights, in medians of the error.
        min_error: least median error that sets that scale.
        chroma_fraction: part of the coloured shading that is taken for light. Colour belongs to the skin more than to
            the light: cheeks are red also on the lit side.
        darkest: no place gets less light than this, relative to sure skin; deeper shadows are cast ones, ...
        brightest: ... and none more than this.
    """

    min_vertices: int = 200
    rounds: int = 8
    cauchy_scale: float = 1.5
    min_error: float = 0.05
    chroma_fraction: float = 0.3
    darkest: float = 0.3
    brightest: float = 1.8


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


_LIGHT, _OCCLUSION = _LightSettings(), _OcclusionSettings()


def photo_shading(
    rgb: Float[np.ndarray, "m 3"],
    normals: Float[np.ndarray, "m 3"],
    weight: Float[np.ndarray, "m"],
    *,
    sure: Float[np.ndarray, "m"],
    skin_rgb: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "m 3"]:
    """Return the factor on sRGB colours by which a photo's light shades each normal.

    Linear light on skin of one colour is fitted with second-order spherical harmonics of the normal (Ramamoorthi &
    Hanrahan 2001 for why nine numbers suffice). Errors are relative to what is expected; spots, brows, beard and cast
    shadows are outliers, which Cauchy weights take out over a few rounds. A light of one colour is fitted first, then,
    with ``chroma_fraction``, that of each channel.

    Args:
        rgb: colours seen at the vertices, sRGB; only those with weight count.
        normals: unit normals, world frame.
        weight: of each vertex, not negative.
        sure: weight of each vertex in what counts as unshaded.
        skin_rgb: the skin's usual colour there, sRGB.

    Returns:
        Factors whose mean over seen, unshaded vertices is 1; all 1 if too little is seen. To take the light out, divide
        by them.
    """
    used = weight > 0
    if used.sum() < _LIGHT.min_vertices:
        return np.ones_like(rgb)
    trust = weight[used].astype(np.float64)
    light = np.clip(rgb[used] / skin_rgb, 1e-2, None) ** _GAMMA
    basis = _basis(normals)
    design = basis[used]
    grey, trust = _fit_light(design, light.mean(1), trust)
    shading = np.repeat((basis @ grey)[:, None], 3, axis=1)
    for channel in range(3):
        own, _ = _fit_light(design, light[:, channel], trust)
        shading[:, channel] += _LIGHT.chroma_fraction * (basis @ (own - grey))
    shading = np.clip(shading, _LIGHT.darkest, _LIGHT.brightest) ** (1 / _GAMMA)
    unshaded = trust * (sure[used] + 1e-6)
    return shading / np.exp(np.average(np.log(shading[used]), axis=0, weights=unshaded))


@dataclass(frozen=True)
class SkinLight:
    """A photo's light on the head's skin.

    Attributes:
        shading: factor on the sRGB colour at each dense vertex.
    """

    shading: Float[np.ndarray, "m 3"]

    def on_texels(self, atlas: Atlas, fraction: float) -> Float32[np.ndarray, "t t 3"]:
        """Return the factor on each texel, of a fraction of the light in [0, 1]; 0 outside all charts."""
        return atlas.spread(self.shading**fraction)

    def taken_out(
        self, atlas: Atlas, rgb: Float32[np.ndarray, "t t 3"], fraction: float
    ) -> Float32[np.ndarray, "t t 3"]:
        """Return a lit texture with a fraction of the light, in [0, 1], taken out."""
        inside = atlas.part >= 0
        even = rgb.copy()
        even[inside] = np.clip(rgb / np.maximum(self.on_texels(atlas, fraction), 1e-3), 0, 1)[inside]
        return atlas.padded(even, inside)


def _fit_light(
    design: Float[np.ndarray, "n 9"], light: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "9"], Float[np.ndarray, "n"]]:
    """Return the light's harmonics, and the weights less those of outliers."""
    trust, expected = weight, np.full(len(light), float(np.median(light)))
    coefficients = np.zeros(9)
    for _ in range(_LIGHT.rounds):
        scaled = trust / expected**2
        scaled /= scaled.sum()
        matrix = (design * scaled[:, None]).T @ design + np.diag(_RIDGE) + 1e-9 * np.eye(9)
        coefficients = np.linalg.solve(matrix, (design * scaled[:, None]).T @ light)
        expected = np.clip(design @ coefficients, _LIGHT.darkest, None)
        error = np.abs(np.log(light / expected))
        scale = _LIGHT.cauchy_scale * max(float(np.median(error)), _LIGHT.min_error)
        trust = weight / (1 + (error / scale) ** 2)
    return coefficients, trust


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
