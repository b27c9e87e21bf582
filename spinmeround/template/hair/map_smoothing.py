"""Blur of a map around the head, whose left and right border are the same place."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

_MARGIN_SIGMAS = 4
"""Columns that are repeated at either end, in standard deviations."""
_SMALLEST_SIGMA_TEXELS = 6
"""Standard deviation down to which a blur may be computed on a smaller map."""


def blur_cyclic(
    image: Float[np.ndarray, "h w ..."], sigma_texels: float, *, sigma_down: float | None = None
) -> Float[np.ndarray, "h w ..."]:
    """Blur with a Gaussian; columns wrap round, rows past the top and bottom are mirrored.

    A wide blur is computed on a downscaled map, which gives nearly the same result for a fraction of the work.

    Args:
        sigma_texels: standard deviation of the Gaussian.
        sigma_down: the same along columns, if it is another one.
    """
    columns = image.shape[1]
    margin = min(int(_MARGIN_SIGMAS * sigma_texels) + 1, columns)
    wrapped = np.concatenate([image[:, -margin:], image, image[:, :margin]], axis=1)
    down = sigma_texels if sigma_down is None else sigma_down
    shrink = max(1, int(min(sigma_texels, down) / _SMALLEST_SIGMA_TEXELS))
    size = (max(wrapped.shape[1] // shrink, 1), max(wrapped.shape[0] // shrink, 1))
    small = cv2.resize(wrapped, size, interpolation=cv2.INTER_AREA) if shrink > 1 else wrapped
    small = cv2.GaussianBlur(small, (0, 0), sigma_texels / shrink, sigmaY=down / shrink, borderType=cv2.BORDER_REFLECT)
    blurred = cv2.resize(small, wrapped.shape[1::-1], interpolation=cv2.INTER_LINEAR) if shrink > 1 else small
    return blurred[:, margin : margin + columns]
