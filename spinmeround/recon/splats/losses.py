"""Image losses of the splat fit: weighted L1, squares, and structural dissimilarity with its gradient written out.

Automatic differentiation of SSIM costs more than rasterising the splats: it keeps fifteen full pictures and filters
most of them twice. All windows here are the same box filter, which with zeros beyond the border is its own adjoint, so
that the gradient needs just three more filterings. Bands of rows are worked through one by one, so that the dozen
temporary pictures stay in the cache and off the page tables: that alone is a factor of four.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

WINDOW_PX = 7
_BAND_ROWS = 32
_HALO_ROWS = 2 * (WINDOW_PX // 2)
"""A row's gradient needs the statistics of the rows within half a window, and those need as many rows again."""
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)


def weighted_l1(
    prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], weight: Float[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Absolute difference times ``weight``, mean over all pixels: pictures trusted half as much pull half as hard."""
    return (torch.abs(prediction - target) * weight[..., None]).mean()


def weighted_squares(
    prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], weight: Float[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Squared difference times ``weight``, mean over all pixels: where pictures contradict each other, their mean."""
    return ((prediction - target) ** 2 * weight[..., None]).mean()


def structural_dissimilarity(
    prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], weight: Float[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """(1 - SSIM) times ``weight``, mean over pixels and channels; 7 by 7 box windows, zeros beyond the border.

    Wang et al., Image quality assessment: from error visibility to structural similarity, 2004, with its constants for
    a range of 1. Differentiable once, in ``prediction`` only. float32 on the CPU.
    """
    return _Dissimilarity.apply(prediction, target, weight)


def _mean(picture: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w c"]:
    filtered = cv2.boxFilter(picture, -1, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_CONSTANT)
    return filtered.reshape(picture.shape)


def _similarity(
    x: Float[np.ndarray, "h w c"], y: Float[np.ndarray, "h w c"], share: Float[np.ndarray, "h w 1"]
) -> tuple[Float[np.ndarray, "h w c"], Float[np.ndarray, "h w c"]]:
    """SSIM times ``share``, and the gradient of its sum to ``x``."""
    mean_x, mean_y = _mean(x), _mean(y)
    cross, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    a1, a2 = 2 * cross + _C1, 2 * (_mean(x * y) - cross) + _C2
    b1, b2 = squares + _C1, _mean(x * x + y * y) - squares + _C2
    scale = share / (b1 * b2)
    similarity = a1 * a2 * scale
    by_mean = 2 * (mean_y * (a2 - a1) * scale + mean_x * similarity * (1 / b2 - 1 / b1))
    return similarity, _mean(by_mean) + y * _mean(2 * a1 * scale) - 2 * x * _mean(similarity / b2)


class _Dissimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, prediction, target, weight):
        x, y = np.ascontiguousarray(prediction.detach().numpy()), np.ascontiguousarray(target.numpy())
        share = weight.numpy()[..., None] / np.float32(x.size)
        loss = float(share.sum(dtype=np.float64)) * x.shape[-1]
        slope = np.empty_like(x)
        for first in range(0, len(x), _BAND_ROWS):
            start, rows = max(0, first - _HALO_ROWS), min(_BAND_ROWS, len(x) - first)
            outer = slice(start, first + rows + _HALO_ROWS)
            inner = slice(first - start, first - start + rows)
            similarity, gradient = _similarity(x[outer], y[outer], share[outer])
            loss -= float(similarity[inner].sum(dtype=np.float64))
            np.negative(gradient[inner], out=slope[first : first + rows])
        ctx.slope = torch.from_numpy(slope)
        return prediction.new_tensor(loss)

    @staticmethod
    def backward(ctx, *gradients):
        return ctx.slope * gradients[0], None, None
