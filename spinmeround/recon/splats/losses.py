"""Image losses of the splat fit: weighted L1, squared error, and SSIM with an analytic gradient.

Automatic differentiation of SSIM takes longer than rasterising the splats: it keeps fifteen full pictures and filters
most of them twice. All windows here are the same box filter, which with zeros beyond the border is its own adjoint, so
that the gradient needs just three more filterings. Bands of rows are processed one by one, so that the dozen temporary
pictures stay in the cache: that alone is a factor of four.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

WINDOW_PX = 7
"""Width of the box window of SSIM."""
_BAND_ROWS = 32
"""Pixel rows that are processed at once."""
_HALO_ROWS = 2 * (WINDOW_PX // 2)
"""A row's gradient needs the statistics of the rows within half a window, and those need as many rows again."""
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)
"""The constants of the paper, for a range of 1."""


def weighted_l1(
    prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], weight: Float[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Return the mean over all pixels and channels of the absolute difference times ``weight``."""
    return (torch.abs(prediction - target) * weight[..., None]).mean()


def weighted_squared_error(
    prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], weight: Float[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Return the mean over all pixels and channels of the squared difference times ``weight``."""
    return ((prediction - target) ** 2 * weight[..., None]).mean()


def structural_dissimilarity(
    prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], weight: Float[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Return the mean over pixels and channels of (1 - SSIM) times ``weight``.

    Windows are boxes of 7 by 7 pixels, with zeros beyond the border. Source: Wang et al., Image quality
    assessment: from error visibility to structural similarity, 2004. Differentiable once, in ``prediction`` only.
    float32 on the CPU.
    """
    return _Dissimilarity.apply(prediction, target, weight)


def _mean(picture: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w c"]:
    filtered = cv2.boxFilter(picture, -1, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_CONSTANT)
    return filtered.reshape(picture.shape)


def _similarity(
    x: Float[np.ndarray, "h w c"], y: Float[np.ndarray, "h w c"], pixel_weight: Float[np.ndarray, "h w 1"]
) -> tuple[Float[np.ndarray, "h w c"], Float[np.ndarray, "h w c"]]:
    """Return SSIM times ``pixel_weight``, and the gradient of its sum to ``x``."""
    mean_x, mean_y = _mean(x), _mean(y)
    cross, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    a1, a2 = 2 * cross + _C1, 2 * (_mean(x * y) - cross) + _C2
    b1, b2 = squares + _C1, _mean(x * x + y * y) - squares + _C2
    scale = pixel_weight / (b1 * b2)
    similarity = a1 * a2 * scale
    by_mean = 2 * (mean_y * (a2 - a1) * scale + mean_x * similarity * (1 / b2 - 1 / b1))
    return similarity, _mean(by_mean) + y * _mean(2 * a1 * scale) - 2 * x * _mean(similarity / b2)


class _Dissimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, prediction, target, weight):
        x, y = np.ascontiguousarray(prediction.detach().numpy()), np.ascontiguousarray(target.numpy())
        pixel_weight = weight.numpy()[..., None] / np.float32(x.size)
        loss = float(pixel_weight.sum(dtype=np.float64)) * x.shape[-1]
        slope = np.empty_like(x)
        for first in range(0, len(x), _BAND_ROWS):
            start, rows = max(0, first - _HALO_ROWS), min(_BAND_ROWS, len(x) - first)
            outer = slice(start, first + rows + _HALO_ROWS)
            inner = slice(first - start, first - start + rows)
            similarity, gradient = _similarity(x[outer], y[outer], pixel_weight[outer])
            loss -= float(similarity[inner].sum(dtype=np.float64))
            np.negative(gradient[inner], out=slope[first : first + rows])
        ctx.slope = torch.from_numpy(slope)
        return prediction.new_tensor(loss)

    @staticmethod
    def backward(ctx, *gradients):
        return ctx.slope * gradients[0], None, None
