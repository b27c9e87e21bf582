"""Residuals that fit a signed distance to views: normals, silhouettes, patches of pictures and the eikonal equation.

Each kind is weighed by its own noise. A normal that is seen frontally and has a noise of
``ResidualSettings.normal_noise_rad`` has weight 1; all other weights are relative to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int32

from spinmeround.recon.evidence.patch_matching import PatchTerms
from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.sdf.gauss_newton import LeastSquaresTerms
from spinmeround.recon.sdf.pixel_samples import PixelIndices, closest_approaches, intersect_rays
from spinmeround.recon.sdf.spline_field import SplineField, project_to_zero_set

_RAYLEIGH_MEDIAN = 1.386
"""Median squared length of a two-dimensional error of unit variance, 2 ln 2."""
_SIGMA_PER_MAD = 1.48
"""As ``numerics.SIGMA_PER_MAD``, in the precision that the published results were made with."""


@dataclass(frozen=True)
class ResidualSettings:
    """Weights and limits of the residuals.

    Attributes:
        normal_noise_rad: noise of normals, per axis, at which they have weight 1; up to it they are taken as unbiased
            and pictures are not compared.
        outlier_sigmas: a residual of this many standard deviations counts a quarter (Geman-McClure).
        min_outlier_rad: residual of a normal that counts a quarter at least, however little noise there is.
        min_trust: pixels with less trust than this, in [0, 1], give no residual.
        min_cosine: least cosine between the field's gradient and the direction to the camera for a residual.
        min_seen_cosine: the same for the picture's normal.
        silhouette_band_px: silhouettes are compared at pixels this near to the mask's.
        silhouette_reach_cells: rays that pass the surface further than this away do not count in the noise of
            silhouettes, and have no residual.
        min_silhouette_noise_px: silhouettes are not believed to be better than this.
        correlated_silhouette_noise_px: noisier silhouettes err alike over long stretches, and count less the more they
            do; at this noise half.
        patch_weight: factor on the information of patch matching; its errors reach over few pixels.
        bias_sigma: standard deviation of the Gaussian that separates low frequencies, as a fraction of the picture's
            width. Smoother errors of the normals can be told from the relief of a head.
        bias_retention: fraction of the bias that is kept from step to step, against drift.
        bias_prior: weight of a bias of zero, against weights of 1 per pixel; keeps regions without residuals at rest.
    """

    normal_noise_rad: float = 0.03
    outlier_sigmas: float = 3.0
    min_outlier_rad: float = 0.2
    min_trust: float = 0.3
    min_cosine: float = 0.05
    min_seen_cosine: float = 0.1
    silhouette_band_px: float = 1.5
    silhouette_reach_cells: float = 2.0
    min_silhouette_noise_px: float = 0.1
    correlated_silhouette_noise_px: float = 0.3
    patch_weight: float = 6.0
    bias_sigma: float = 1 / 32
    bias_retention: float = 0.99
    bias_prior: float = 0.02


@dataclass(frozen=True)
class Regularisation:
    """Weights of what does not depend on the views.

    Attributes:
        smoothness: of second differences along the axes, in cells.
        eikonal: of the gradient's length, which is 1 (eikonal equation), per node.
        damping: of the change itself, in cells (Levenberg-Marquardt).
    """

    smoothness: float = 5e-5
    eikonal: float = 0.002
    damping: float = 1e-7

    def scaled(self, factor: float) -> Regularisation:
        """Return the same with smoothness and eikonal equation, not damping, multiplied by ``factor``."""
        return Regularisation(self.smoothness * factor, self.eikonal * factor, self.damping)


class LowFrequencyBias:
    """The low-frequency error of each view's normals, or colours, estimated together with the surface.

    Normals by a network are good in their relief, but biased at low frequencies, differently in each view. What the
    surface cannot follow in all views at once is ascribed to that bias; where views agree it stays 0.
    """

    def __init__(self, settings: ResidualSettings) -> None:
        self.settings = settings
        self.maps: Float[np.ndarray, "v h w 3"] | None = None

    def resize(self, n_views: int, height: int, width: int) -> None:
        """Resample the estimate to another picture size; start at 0 the first time."""
        if self.maps is None:
            self.maps = np.zeros((n_views, height, width, 3), np.float32)
        elif self.maps.shape[1:3] != (height, width):
            self.maps = np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in self.maps])

    def update(
        self,
        pixels: PixelIndices,
        difference: Float[np.ndarray, "n 3"],
        weight: Float[np.ndarray, "n"],
        noise: float,
    ) -> Float[np.ndarray, "n 3"]:
        """Update the estimate from differences between pictures and surface, and return the bias at the pixels.

        Args:
            difference: what the pictures show less what the surface shows.
            noise: of one pixel; up to ``normal_noise_rad`` there is no bias.
        """
        assert self.maps is not None, "resized before the first use"
        fraction = max(0.0, 1 - (self.settings.normal_noise_rad / max(noise, 1e-9)) ** 2)
        retention = self.settings.bias_retention * fraction
        residual, total = np.zeros_like(self.maps), np.zeros(self.maps.shape[:3], np.float32)
        residual[pixels] = (difference - self.maps[pixels]) * weight[:, None]
        total[pixels] = weight
        sigma_px = self.maps.shape[2] * self.settings.bias_sigma
        for view in range(len(residual)):
            low = cv2.GaussianBlur(residual[view], (0, 0), sigma_px)
            known = cv2.GaussianBlur(total[view], (0, 0), sigma_px)
            self.maps[view] = retention * (self.maps[view] + low / (known[..., None] + self.settings.bias_prior))
        return self.maps[pixels]


@dataclass(frozen=True)
class WeighedNormals:
    """Target normals of pixels and their weights.

    Attributes:
        normals: unit, less each view's low-frequency bias.
        weight: see the module.
        noise_rad: error of one pixel's normal, per axis.
    """

    normals: Float[np.ndarray, "n 3"]
    weight: Float[np.ndarray, "n"]
    noise_rad: float


def weigh_normals(
    pixels: PixelIndices,
    gradient: Float[np.ndarray, "n 3"],
    seen: Float[np.ndarray, "n 3"],
    to_camera: Float[np.ndarray, "n 3"],
    trust: Float[np.ndarray, "n"],
    bias: LowFrequencyBias,
) -> WeighedNormals:
    """Return target normals, corrected for their bias, and weights from their noise, trust and obliquity.

    Args:
        gradient: of the field where the pixels see it.
        seen: unit normals in the pictures.
        to_camera: unit directions to the camera.
        bias: updated with these pixels.
    """
    settings = bias.settings
    current = _unit(gradient)
    cosine, seen_cosine = (np.maximum((to_camera * normal).sum(1), 0.0) for normal in (current, seen))
    valid = (trust > 0) & (seen_cosine > settings.min_seen_cosine) & (cosine > settings.min_cosine)
    squares = ((current - seen) ** 2).sum(1)
    noise_rad = _noise_per_axis(squares[valid])
    limit = max(settings.outlier_sigmas * noise_rad, settings.min_outlier_rad)
    robust = trust * valid / (1 + squares / limit**2) ** 2
    normals = _unit(seen - bias.update(pixels, seen - current, robust, noise_rad))
    # Noise of single pixels grows with obliquity. Bias is common to all pixels around: where it dominates, weights tend
    # to 1 / (bias_ratio * cosine), which makes up for oblique regions having fewer pixels.
    frontal = (cosine * seen_cosine) ** 2
    bias_ratio = max(0.0, (noise_rad / settings.normal_noise_rad) ** 2 - 1)
    return WeighedNormals(normals, robust * frontal / (1 + bias_ratio * frontal * cosine), noise_rad)


def normal_residuals(
    field: SplineField, level: NormalPyramidLevel, depth: Float[np.ndarray, "v h w"], bias: LowFrequencyBias
) -> tuple[LeastSquaresTerms, float]:
    """Return residuals of the gradient where pixels' rays end, and the noise of one normal per axis, in radians.

    Args:
        depth: depth maps of the zero set in the cameras of ``level``.
        bias: updated with these pixels.
    """
    hits = intersect_rays(field, level.cameras, depth, level.trust > bias.settings.min_trust)
    pixels = (hits.view, hits.row, hits.column)
    to_camera = _unit(level.eyes[hits.view] - hits.points)
    seen = _unit(level.normals[pixels].astype(np.float64))
    target = weigh_normals(pixels, hits.gradient, seen, to_camera, level.trust[pixels].astype(np.float64), bias)
    return LeastSquaresTerms.of_gradients(hits.points, target.normals, weight=target.weight), target.noise_rad


def median_noise(residuals: Float[np.ndarray, "n"]) -> float:
    """Return the standard deviation of residuals about 0 from their median magnitude; 0 if there are none."""
    return float(_SIGMA_PER_MAD * np.median(np.abs(residuals))) if len(residuals) else 0.0


def _noise_per_axis(squares: Float[np.ndarray, "n"]) -> float:
    return float(np.sqrt(np.median(squares) / _RAYLEIGH_MEDIAN)) if len(squares) else 0.0


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Normalise vectors; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def silhouette_residuals(
    field: SplineField, level: NormalPyramidLevel, settings: ResidualSettings
) -> LeastSquaresTerms:
    """Return residuals of the value where rays near a mask's silhouette pass the surface.

    A ray that misses a solid by some distance has that distance as the least value of the field along it. A change of
    the field changes that least value by as much as it changes the field at that point, to first order, although the
    point moves along the ray (envelope theorem).
    """
    points, targets, widths = [], [], []
    height, width = level.contour_px.shape[1:]
    for view, silhouette_px in enumerate(level.contour_px):
        rows, columns = np.nonzero(np.abs(silhouette_px) < settings.silhouette_band_px)
        inner = (rows > 1) & (rows < height - 2) & (columns > 1) & (columns < width - 2)
        rows, columns = rows[inner], columns[inner]
        closest, depth = closest_approaches(field, level.cameras, view, rows, columns)
        pixel_width = depth / level.cameras.intrinsics_px[view, [0, 1], [0, 1]].mean()
        points.append(closest)
        targets.append(-silhouette_px[rows, columns] * pixel_width)
        widths.append(pixel_width)
    closest, target, pixel_width = (
        np.concatenate(points), np.concatenate(targets).astype(np.float64), np.concatenate(widths),
    )  # fmt: skip
    value = field.value_and_gradient(closest)[:, 0]
    near = np.abs(value) < settings.silhouette_reach_cells * field.cell
    residual_px = (target - value) / pixel_width
    noise_px = max(median_noise(residual_px[near]), settings.min_silhouette_noise_px)
    independent = 1 / (1 + (noise_px / settings.correlated_silhouette_noise_px) ** 2)
    weight = near * independent * (settings.normal_noise_rad * field.cell / pixel_width / noise_px) ** 2
    weight /= (1 + (residual_px / (settings.outlier_sigmas * noise_px)) ** 2) ** 2
    return LeastSquaresTerms.of_values(closest, target, weight=weight)


def patch_residuals(
    field: SplineField, points: Float[np.ndarray, "n 3"], patches: PatchTerms, settings: ResidualSettings
) -> LeastSquaresTerms:
    """Return residuals of the value at points of the zero set that move it to where patches of the pictures agree."""
    value = -patches.right / np.maximum(patches.information, 1e-12)
    value = np.clip(value, -field.cell, field.cell)
    weight = settings.patch_weight * patches.information * (settings.normal_noise_rad * field.cell) ** 2
    return LeastSquaresTerms.of_values(points, value, weight=weight)


def eikonal_residuals(field: SplineField, unknown: Int32[np.ndarray, "x y z"], *, weight: float) -> LeastSquaresTerms:
    """Return residuals of the gradient's length, which is 1, at all nodes that may change; its direction is free."""
    points = np.argwhere(unknown >= 0) * field.cell + field.origin
    direction = _unit(field.value_and_gradient(points)[:, 1:])
    return LeastSquaresTerms.of_gradients(
        points, direction, weight=np.full(len(points), weight), along_target_only=True
    )


def zero_set_points(
    field: SplineField, near: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Move points onto the zero set; return them and the unit normals there."""
    points = project_to_zero_set(field, near)
    return points, _unit(field.value_and_gradient(points)[:, 1:])
