"""Colours for what no photo shows: smooth ones continued over the surface, fine ones from the person's own skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Float32, Integer

from spinmeround.numerics import factorised
from spinmeround.template.model.atlas import Atlas
from spinmeround.threads import over_ranges


@dataclass(frozen=True)
class _BlendSettings:
    """Constants of ``tone_matched``.

    Attributes:
        tone_tolerance: a difference so large between two layers counts half when their tone is matched, sRGB in [0, 1]:
            larger ones are another surface, such as clothes, hair or a highlight.
        half_weight: summed texel weight at which the difference at a vertex counts half, texels.
        data_weight: weight of a fully trusted difference against differences between neighbours.
    """

    tone_tolerance: float = 0.12
    half_weight: float = 2.0
    data_weight: float = 2


@dataclass(frozen=True)
class _GrainSettings:
    """Constants of ``synthesise_grain``.

    Attributes:
        patch: side of the patch that is measured and of the tile that is repeated, of the texture's side.
        min_patch_weight: below this mean weight a patch shows too little skin, and there is no grain.
        coarsest: standard deviation of the blur that separates grain from shading, of the texture's side.
        percentiles: grain is clipped to these: single moles would ring through the whole map.
    """

    patch: float = 160 / 2048
    min_patch_weight: float = 0.3
    coarsest: float = 6 / 2048
    percentiles: tuple[int, int] = (2, 98)


_BLEND, _GRAIN = _BlendSettings(), _GrainSettings()
_KERNEL_DEVIATIONS = 4
"""Reach of a Gaussian's kernel, standard deviations."""


@dataclass(frozen=True)
class MembraneSolver:
    """Membrane interpolation over a mesh: continues known values smoothly, across all cuts of the texture.

    Attributes:
        laplacian: graph Laplacian of the mesh, unweighted.
    """

    laplacian: sp.csr_matrix

    @staticmethod
    def on_faces(faces: Integer[np.ndarray, "g 3"], vertex_count: int) -> MembraneSolver:
        """Return the solver over the mesh of these faces; other vertices keep their prior."""
        a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
        links = sp.csr_matrix((np.ones(len(a)), (a, b)), (vertex_count, vertex_count))
        links = ((links + links.T) > 0).astype(np.float64)
        return MembraneSolver((sp.diags(np.asarray(links.sum(1)).ravel()) - links).tocsr())

    def interpolate(
        self,
        values: Float[np.ndarray, "m c"],
        confidence: Float[np.ndarray, "m"],
        prior: Float[np.ndarray, "m c"],
        *,
        prior_weight: float | Float[np.ndarray, "m"],
    ) -> Float[np.ndarray, "m c"]:
        """Minimise differences between neighbours, to known values by confidence, and weakly to a prior.

        All three are squared; a difference between neighbours has weight 1.
        """
        diagonal = confidence + prior_weight
        system = self.laplacian + sp.diags(diagonal)
        right = confidence[:, None] * values + np.broadcast_to(prior_weight, confidence.shape)[:, None] * prior
        return factorised(system).solve(right)


def vertex_areas(vertices: Float[np.ndarray, "m 3"], faces: Integer[np.ndarray, "g 3"]) -> Float[np.ndarray, "m"]:
    """Return a third of the area of the faces around each vertex, in squared units of the vertices."""
    first, second, third = (np.asarray(vertices, np.float64)[faces[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    return np.bincount(faces.ravel(), np.repeat(area / 3, 3), len(vertices))


def screening_weight(areas: Float[np.ndarray, "m"], reach: float | Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Return the prior's weight that screens a membrane: away from what is known it falls to 1/e over ``reach``.

    A regular mesh of edge h is assumed around each vertex. There the unweighted graph Laplacian is -3/2 h² times that
    of the surface, and a vertex has an area of √3/2 h².

    Args:
        areas: of the vertices, see ``vertex_areas``.
        reach: in the unit of the vertices.
    """
    return np.sqrt(3) * areas / np.square(reach)


@dataclass(frozen=True)
class Layer:
    """Colours with a weight in [0, 1] per texel: how far they are trusted."""

    rgb: Float32[np.ndarray, "t t 3"]
    weight: Float32[np.ndarray, "t t"]


def window_of(wanted: Bool[np.ndarray, "t t"], *, blur_px: float, margin_px: int = 0) -> tuple[slice, slice]:
    """Return rows and columns of a texture that hold all that is wanted, and what a blur reaches from there.

    Args:
        blur_px: standard deviation of the blur, texels.
        margin_px: further texels around.
    """
    margin, slices = margin_px + int(np.ceil(_KERNEL_DEVIATIONS * blur_px)), []
    for axis in (1, 0):
        found = np.flatnonzero(wanted.any(axis))
        first, last = (found[0], found[-1]) if len(found) else (0, -1)
        slices.append(slice(max(first - margin, 0), last + 1 + margin))
    return slices[0], slices[1]


def colour_similarity(
    colours: Float[np.ndarray, "n 3"], reference: Float[np.ndarray, "... 3"], tolerance: float
) -> Float[np.ndarray, "n"]:
    """Return 1 for colours at the reference, 1/2 at the tolerance, and next to 0 far beyond it."""
    return 1 / (1 + (np.linalg.norm(colours - reference, axis=1) / tolerance) ** 4)


def blend_under(
    top: Layer,
    below: Layer,
    atlas: Atlas,
    membrane: MembraneSolver,
    inside: Bool[np.ndarray, "t t"],
    *,
    prior_weight: float,
) -> Layer:
    """Put one layer under another so that no border shows: its tone is matched, and the transition is soft by weight.

    Args:
        prior_weight: of no difference, see ``tone_matched``.
    """
    moved = tone_matched(top, below, atlas, membrane, inside, prior_weight=prior_weight)
    under = (1 - top.weight) * below.weight
    weight = top.weight + under
    mix_in(top.rgb, top.weight / np.maximum(weight, 1e-6), moved)
    return Layer(moved, weight)


def mix_in(
    top: Float32[np.ndarray, "t t 3"], weight: Float32[np.ndarray, "t t"], below: Float32[np.ndarray, "t t 3"]
) -> None:
    """Replace ``below`` by a mean of two textures, weighted by ``weight`` and what it leaves of 1."""
    over_ranges(len(top), _mix_in, top, weight, below)


@numba.njit(nogil=True, cache=True)
def _mix_in(first_row, end_row, top, weight, below):
    """Kernel of ``mix_in``: numpy takes four times as long for three channels under one weight."""
    for row in range(first_row, end_row):
        for column in range(top.shape[1]):
            w = weight[row, column]
            rest = np.float32(1) - w
            for k in range(3):
                below[row, column, k] = top[row, column, k] * w + below[row, column, k] * rest


def tone_matched(
    top: Layer,
    below: Layer,
    atlas: Atlas,
    membrane: MembraneSolver,
    inside: Bool[np.ndarray, "t t"],
    *,
    prior_weight: float,
) -> Float32[np.ndarray, "t t 3"]:
    """Return the colours of one layer with the low frequencies of another.

    Where both are trusted their difference is measured, and interpolated over the surface. Method: seamless cloning by
    a membrane (Perez et al. 2003).

    Args:
        prior_weight: of no difference, against differences between neighbouring vertices.
    """
    both = np.where(inside, top.weight * below.weight, 0).astype(np.float32)
    count = membrane.laplacian.shape[0]
    difference, weight_sum = atlas.gather((top.rgb - below.rgb).astype(np.float32, copy=False), both * both, count)
    # A large difference is no matter of tone but another surface: clothes, hair, a highlight.
    outlier = (np.linalg.norm(difference, axis=1) / _BLEND.tone_tolerance) ** 4
    confidence = weight_sum / (weight_sum + _BLEND.half_weight) / (1 + outlier)
    smooth = membrane.interpolate(
        difference, _BLEND.data_weight * confidence, np.zeros_like(difference), prior_weight=prior_weight
    )
    matched = atlas.spread(smooth)
    matched += below.rgb
    return matched


def synthesise_grain(
    layer: Layer, centres: Integer[np.ndarray, "s 2"], *, max_deviation: float, rng: np.random.Generator
) -> Float32[np.ndarray, "t t"]:
    """Return pores, fine spots or hairs: noise over the whole map with the spectrum of the best-seen patch.

    Random phases under a measured amplitude (Galerne, Gousseau & Morel 2011) repeat without a seam and show no pattern.

    Args:
        centres: (column, row) of candidate patches, for instance both cheeks and the forehead.
        max_deviation: greatest standard deviation of the noise, fraction of the patch's mean brightness.
    """
    side = layer.weight.shape[0]
    half = round(_GRAIN.patch * side / 2)
    size_px = 2 * half
    patches = [np.s_[y - half : y + half, x - half : x + half] for x, y in centres]
    seen = [float(layer.weight[p].mean()) if layer.weight[p].shape == (size_px, size_px) else 0.0 for p in patches]
    best = patches[int(np.argmax(seen))]
    if max(seen) < _GRAIN.min_patch_weight:
        amplitude = np.zeros((size_px, size_px))
    else:
        grey = layer.rgb[best].mean(-1)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), _GRAIN.coarsest * side)
        fine = np.clip(fine, *np.percentile(fine, _GRAIN.percentiles))
        amplitude = _isotropic_amplitude(fine - fine.mean(), max_deviation * float(grey.mean()))
    phase = np.angle(np.fft.fft2(rng.standard_normal((size_px, size_px))))
    tile = np.fft.ifft2(amplitude * np.exp(1j * phase)).real.astype(np.float32)
    repeats = -(-side // size_px)
    return np.tile(tile, (repeats, repeats))[:side, :side]


def _isotropic_amplitude(fine: Float[np.ndarray, "p p"], max_deviation: float) -> Float[np.ndarray, "p p"]:
    """Return a patch's amplitudes by frequency alone: its wrinkles must not run over the whole map in one direction.

    Args:
        max_deviation: standard deviation beyond which they are scaled down.
    """
    size_px = len(fine)
    window = np.outer(np.hanning(size_px), np.hanning(size_px))
    power = np.abs(np.fft.fft2(fine * window)) ** 2 / (window**2).mean()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size_px), np.fft.fftfreq(size_px))) * size_px
    ring = np.minimum(frequency.astype(int), size_px // 2)
    # A ring's median ignores single strong waves. Power is exponentially distributed: its mean is the median / ln 2.
    level = np.array([np.median(power[ring == r]) for r in range(size_px // 2 + 1)]) / np.log(2)
    amplitude = np.sqrt(level[ring])
    deviation = np.sqrt((amplitude**2).sum()) / size_px**2
    return amplitude * min(1.0, max_deviation / max(float(deviation), 1e-9))
