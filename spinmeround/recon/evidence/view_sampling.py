"""What comparisons between views share: which views see a vertex, how much each counts, and what it shows there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.recon.evidence.targets import NormalPyramidLevel
from spinmeround.recon.image_sampling import project_point
from spinmeround.types import Mesh, Views

FINE_PX = 0.8
"""Standard deviation of the blur that pictures get before they are compared; finer detail is aliasing."""
MIN_COSINE = 0.35
"""Between a vertex normal and the direction to the camera: views more oblique than this are not compared."""
MIN_TRUST = 0.05
"""Pixels with a lower trust are not compared."""
UNKNOWN_NOISE = 1e3
"""Noise assumed before any is measured, picture values: so large that every view counts in full."""
_MIN_NOISE = 1e-3
"""Added to measured noise, so that views that agree exactly do not get infinite weight."""
_CHI_SQUARE_MEDIAN = 0.455
"""Median of the square of a standard normal variable."""
_WHOLE_ALPHA = 0.99
"""Above this alpha, no background is mixed into a pixel."""


@dataclass(frozen=True)
class PictureLevel:
    """Pictures to compare, at the resolution of a ``NormalPyramidLevel``.

    Attributes:
        pictures: sRGB colours and, after them, world normals; band-passed for cameras, smoothed for patches.
        trust: in [0, 1], 0 where a view has no data or is near its silhouette's contour.
    """

    pictures: Float[np.ndarray, "v h w c"]
    trust: Float[np.ndarray, "v h w"]


@dataclass(frozen=True)
class SurfaceInViews:
    """A surface and what decides which views see its vertices.

    Attributes:
        normals: unit vertex normals, world frame.
        level: resolution and cameras of the pictures.
        depth: depth maps of the surface and of all that may hide it, in the cameras of ``level``.
        tolerance: how far off the depth map a vertex still counts as seen, head units at frontal view.
    """

    mesh: Mesh
    normals: Float[np.ndarray, "n 3"]
    level: NormalPyramidLevel
    depth: Float[np.ndarray, "v h w"]
    tolerance: float


def masked_view(
    views: Views, level: NormalPyramidLevel, view: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Return one view at the level's size: its colours, 1 where its mask is whole, and its trust.

    The trust is 0 up to two pixels inside the whole mask.
    """
    height, width = level.trust.shape[1:]
    alpha, rgb, weight = (
        cv2.resize(plane[view].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for plane in (views.alpha, views.rgb, views.weight)
    )
    inside = (alpha > _WHOLE_ALPHA).astype(np.float32)
    return rgb, inside, cv2.erode(inside, np.ones((5, 5), np.uint8)) * weight


def blur_inside(
    picture: Float[np.ndarray, "h w c"], inside: Float[np.ndarray, "h w"], sigma_px: float
) -> Float[np.ndarray, "h w c"]:
    """Return a Gaussian blur that reads only pixels that lie inside (normalised convolution)."""
    coverage = np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma_px), 1e-3)
    return cv2.GaussianBlur(picture * inside[..., None], (0, 0), sigma_px) / coverage[..., None]


def robust_noise(
    variance: Float[np.ndarray, "n c"], compared: Bool[np.ndarray, "n"], before: Float[np.ndarray, "c"]
) -> Float[np.ndarray, "c"]:
    """Return the standard deviation of one view from the others, per channel, by the median of variances.

    Args:
        variance: of the views at each vertex.
        compared: vertices that two or more views see.
        before: returned if there are none.
    """
    if not compared.any():
        return before
    return np.sqrt(np.median(variance[compared], axis=0) / _CHI_SQUARE_MEDIAN) + _MIN_NOISE


@numba.njit(cache=True, inline="always")
def cosine_to_camera(eye, x, y, z, normal):
    """Return the cosine between a unit normal at a point and the direction from there to the camera."""
    dx, dy, dz = eye[0] - x, eye[1] - y, eye[2] - z
    return (dx * normal[0] + dy * normal[1] + dz * normal[2]) / np.sqrt(dx * dx + dy * dy + dz * dz)


@numba.njit(cache=True, inline="always")
def is_visible(depth, column, row, point_depth, slack):
    """Check whether all four pixels around an index show the surface that the point lies on."""
    height, width = depth.shape
    if not (0 <= column < width - 1 and 0 <= row < height - 1):
        return False
    ic, ir = int(column), int(row)
    seen = True
    for k in range(4):
        seen &= abs(depth[ir + k // 2, ic + k % 2] - point_depth) <= slack
    return seen


@numba.njit(cache=True, inline="always")
def visible_trust(depth, trust, column, row, point_depth, slack):
    """Return a view's trust where it shows a point, column and row in pixels; 0 if hidden or below ``MIN_TRUST``."""
    if not is_visible(depth, column - 0.5, row - 0.5, point_depth, slack):
        return 0.0
    here = trust[int(row), int(column)]
    return here if here >= MIN_TRUST else 0.0


@numba.njit(cache=True, inline="always")
def observe(projection, eye, depth, trust, x, y, z, normal, tolerance):
    """Return how much a view counts at a point, 0 if it does not see it, and column, row (pixels) and cosine there."""
    cosine = cosine_to_camera(eye, x, y, z, normal)
    if cosine < MIN_COSINE:
        return 0.0, 0.0, 0.0, cosine
    column, row, point_depth = project_point(projection, x, y, z)
    here = visible_trust(depth, trust, column, row, point_depth, tolerance / cosine)
    return here * cosine * cosine, column, row, cosine


@numba.njit(cache=True, inline="always")
def sample_with_gradient(picture, column, row, out):
    """Write bilinear values and slopes of all channels at an index: ``out[c] = value, d/dx, d/dy``."""
    ic, ir = int(column), int(row)
    fc, fr = column - ic, row - ir
    for c in range(picture.shape[2]):
        a, b = picture[ir, ic, c], picture[ir, ic + 1, c]
        d, e = picture[ir + 1, ic, c], picture[ir + 1, ic + 1, c]
        out[c, 0] = (a * (1 - fc) + b * fc) * (1 - fr) + (d * (1 - fc) + e * fc) * fr
        out[c, 1] = (b - a) * (1 - fr) + (e - d) * fr
        out[c, 2] = (d - a) * (1 - fc) + (e - b) * fc


@numba.njit(cache=True, inline="always")
def geman_mcclure_weight(weight, squared, channels):
    """Return a weight lowered for a residual; a quarter is left at twice the noise in every channel.

    Args:
        squared: sum over the channels of the squared residuals, each in units of its noise.
    """
    return weight / (1 + squared / (4 * channels)) ** 2
