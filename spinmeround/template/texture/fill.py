"""Colours for what no photo shows: smooth ones spread over the surface itself, fine ones from the person's own skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float, Float32, Integer

from spinmeround.template.model.atlas import Atlas

_TONE = 0.12
_PATCH = 160
_STRONGEST_GRAIN = 0.012


@dataclass(frozen=True)
class Spreader:
    """Membranes over a mesh: known values spread smoothly into unknown places, across all cuts of the texture."""

    laplacian: sp.csr_matrix

    @staticmethod
    def over(faces: Integer[np.ndarray, "g 3"], count: int) -> Spreader:
        """Over the mesh of these faces; other vertices keep their prior."""
        a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
        links = sp.csr_matrix((np.ones(len(a)), (a, b)), (count, count))
        links = ((links + links.T) > 0).astype(np.float64)
        return Spreader((sp.diags(np.asarray(links.sum(1)).ravel()) - links).tocsr())

    def spread(
        self,
        values: Float[np.ndarray, "m c"],
        confidence: Float[np.ndarray, "m"],
        prior: Float[np.ndarray, "m c"],
        *,
        pull: float | Float[np.ndarray, "m"],
    ) -> Float[np.ndarray, "m c"]:
        """Least squares of neighbouring differences, with known values by confidence and a weak pull to a prior."""
        diagonal = confidence + pull
        system = (self.laplacian + sp.diags(diagonal)).tocsc()
        right = confidence[:, None] * values + np.broadcast_to(pull, confidence.shape)[:, None] * prior
        return spla.splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(right)


@dataclass(frozen=True)
class Layer:
    """Colours with a trust in [0, 1] a texel."""

    rgb: Float32[np.ndarray, "t t 3"]
    weight: Float32[np.ndarray, "t t"]


def underlay(
    top: Layer, below: Layer, atlas: Atlas, spreader: Spreader, inside: Bool[np.ndarray, "t t"], *, pull: float
) -> Layer:
    """Puts one layer under another so that no border shows.

    Where both are trusted their difference is measured; spread over the surface, it moves the lower layer's slow
    colours onto the upper's, and the rest is a soft change-over (the membrane of Perez et al. 2003, with soft ends).
    """
    both = np.where(inside, top.weight * below.weight, 0).astype(np.float32)
    count = spreader.laplacian.shape[0]
    difference, mass = atlas.gather((top.rgb - below.rgb).astype(np.float32), both * both, count)
    # A large difference is no matter of tone but another surface: clothes, hair, a highlight.
    confidence = mass / (mass + 2.0) / (1 + (np.linalg.norm(difference, axis=1) / _TONE) ** 4)
    smooth = spreader.spread(difference, 2 * confidence, np.zeros_like(difference), pull=pull)
    moved = below.rgb + atlas.spread(smooth)
    under = (1 - top.weight) * below.weight
    weight = top.weight + under
    share = (top.weight / np.maximum(weight, 1e-6))[..., None]
    return Layer(np.clip(top.rgb * share + moved * (1 - share), 0, 1).astype(np.float32), weight)


def skin_detail(
    layer: Layer, centres: Integer[np.ndarray, "s 2"], *, generator: np.random.Generator
) -> Float32[np.ndarray, "t t"]:
    """Pores and fine spots: noise over the whole map with the spectrum of the best-seen patch of skin.

    Random phases under a measured amplitude (Galerne, Gousseau & Morel 2011) repeat without a seam and show no pattern.

    Args:
        centres: (column, row) of candidate patches, for instance both cheeks and the forehead.
    """
    half = _PATCH // 2
    patches = [np.s_[y - half : y + half, x - half : x + half] for x, y in centres]
    seen = [float(layer.weight[p].mean()) if layer.weight[p].shape == (_PATCH, _PATCH) else 0.0 for p in patches]
    best = patches[int(np.argmax(seen))]
    if max(seen) < 0.3:
        amplitude = np.zeros((_PATCH, _PATCH))
    else:
        grey = layer.rgb[best].mean(-1)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 6.0)
        # Single moles would ring through the whole map.
        fine = np.clip(fine, *np.percentile(fine, [2, 98]))
        amplitude = _without_direction(fine - fine.mean())
    phase = np.angle(np.fft.fft2(generator.standard_normal((_PATCH, _PATCH))))
    tile = np.fft.ifft2(amplitude * np.exp(1j * phase)).real.astype(np.float32)
    repeats = -(-layer.weight.shape[0] // _PATCH)
    size = layer.weight.shape[0]
    return np.tile(tile, (repeats, repeats))[:size, :size]


def _without_direction(fine: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p p"]:
    """Amplitudes of a patch by frequency alone: wrinkles of the patch must not run over the whole map."""
    window = np.outer(np.hanning(_PATCH), np.hanning(_PATCH))
    power = np.abs(np.fft.fft2(fine * window)) ** 2 / (window**2).mean()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_PATCH), np.fft.fftfreq(_PATCH))) * _PATCH
    ring = np.minimum(frequency.astype(int), _PATCH // 2)
    # The median of a ring's power passes over single strong waves.
    level = np.array([np.median(power[ring == r]) for r in range(_PATCH // 2 + 1)]) / np.log(2)
    amplitude = np.sqrt(level[ring])
    deviation = np.sqrt((amplitude**2).sum()) / _PATCH**2
    return amplitude * min(1.0, _STRONGEST_GRAIN / max(float(deviation), 1e-9))
