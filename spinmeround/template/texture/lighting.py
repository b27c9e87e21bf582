"""The light of a photo, estimated from the shading of skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.template.model.atlas import Atlas

GAMMA = 2.2
"""sRGB is taken for this power of linear light, so that a factor on light is a factor on the coded colour."""
_RIDGE = np.array([0.0, 0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 0.05, 0.05])
"""Tikhonov weight of each harmonic, in the order of ``_basis``; higher degrees are less certain."""


@dataclass(frozen=True)
class _LightSettings:
    """Constants of ``fit_light``. Errors are natural logarithms of linear light.

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


_LIGHT = _LightSettings()


@dataclass(frozen=True)
class PhotoLight:
    """Light on skin of one colour as second-order spherical harmonics of its normal.

    Nine numbers suffice for light on matt surfaces (Ramamoorthi & Hanrahan 2001).

    Attributes:
        harmonics: of linear light, relative to the skin's usual colour, per channel.
        unshaded: factor on sRGB colours that counts as no shading.
    """

    harmonics: Float[np.ndarray, "9 3"]
    unshaded: Float[np.ndarray, "3"]

    def shading(self, normals: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3"]:
        """Return the factor on sRGB colours by which the light shades each unit normal, world frame."""
        linear = np.clip(_basis(normals) @ self.harmonics, _LIGHT.darkest, _LIGHT.brightest)
        return linear ** (1 / GAMMA) / self.unshaded

    def radiance(self, directions: Float[np.ndarray, "d 3"]) -> Float[np.ndarray, "d"]:
        """Return the brightness of the surroundings in each direction against their mean, by its first-order harmonics.

        A matt surface shows the first order by 2/3 (Ramamoorthi & Hanrahan 2001).
        """
        grey = self.harmonics.mean(1)
        linear = 1 + 1.5 * directions @ grey[1:4] / max(float(grey[0]), _LIGHT.darkest)
        return np.clip(linear, _LIGHT.darkest, None)


def fit_light(
    rgb: Float[np.ndarray, "m 3"],
    normals: Float[np.ndarray, "m 3"],
    weight: Float[np.ndarray, "m"],
    *,
    sure: Float[np.ndarray, "m"],
    skin_rgb: Float[np.ndarray, "3"],
) -> PhotoLight:
    """Return the light in a photo.

    Linear light on skin of one colour is fitted. Errors are relative to what is expected; spots, brows, beard and cast
    shadows are outliers, which Cauchy weights take out over a few rounds. A light of one colour is fitted first, then,
    with ``chroma_fraction``, that of each channel.

    Args:
        rgb: colours seen at the vertices, sRGB; only those with weight count.
        normals: unit normals, world frame.
        weight: of each vertex, not negative.
        sure: weight of each vertex in what counts as unshaded.
        skin_rgb: the skin's usual colour there, sRGB.

    Returns:
        Light whose factors have a mean of 1 over seen, unshaded vertices; it is even if too little is seen. To take it
        out, divide by them.
    """
    used = weight > 0
    if used.sum() < _LIGHT.min_vertices:
        return PhotoLight(np.repeat(np.eye(9)[:, :1], 3, axis=1), np.ones(3))
    trust = weight[used].astype(np.float64)
    light = np.clip(rgb[used] / skin_rgb, 1e-2, None) ** GAMMA
    design = _basis(normals[used])
    grey, trust = _fit_harmonics(design, light.mean(1), trust)
    own = np.stack([_fit_harmonics(design, light[:, channel], trust)[0] for channel in range(3)], axis=1)
    harmonics = grey[:, None] + _LIGHT.chroma_fraction * (own - grey[:, None])
    shading = PhotoLight(harmonics, np.ones(3)).shading(normals[used])
    unshaded = trust * (sure[used] + 1e-6)
    return PhotoLight(harmonics, np.exp(np.average(np.log(shading), axis=0, weights=unshaded)))


@dataclass(frozen=True)
class SkinLight:
    """A photo's light on the head's skin.

    Attributes:
        shading: factor on the sRGB colour at each dense vertex.
        photo: what was fitted of it.
    """

    shading: Float[np.ndarray, "m 3"]
    photo: PhotoLight

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


def _fit_harmonics(
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


def _basis(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=-1)
