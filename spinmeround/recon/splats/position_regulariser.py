"""What holds splats to the surface they start on, where views hardly do: along its normal."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from torch import Tensor

from spinmeround.recon.splats.initialisation import z_axes
from spinmeround.types import Splats

_TO_NEIGHBOURS = 0.05
"""Share of a splat's distance from its neighbours' mean height that a pull takes back."""
_TO_START = 0.004
"""The same of its distance from the start surface: no more than settles what no view tells."""
_NEIGHBOURS = 16
_LEAST_COSINE = 0.5
"""Between the normals of neighbours: the other side of an ear is near but none."""


class Tether:
    """Pulls splats to the heights of their neighbours and, weakly, back to the start surface.

    A splat by itself wanders along the normal, and at an outline the outermost ones count. Noise of single splats does
    not survive among neighbours; where the surface lies wrong they all have to move, and together they can. Pulls are
    shares of a distance, so that steps of the fit outweigh them where views insist.
    """

    def __init__(self, start: Splats) -> None:
        self._means, self._normals = start.means, z_axes(start.quats_wxyz)
        self._neighbours_mean = _mean_over_neighbours(start.means.numpy(), self._normals.numpy())

    @torch.no_grad()
    def pull(self, means: Float[Tensor, "n 3"]) -> None:
        """Moves means in place, by one step's worth."""
        height = ((means - self._means) * self._normals).sum(dim=1)
        around = torch.from_numpy(self._neighbours_mean @ height.numpy())
        back = _TO_NEIGHBOURS * (height - around) + _TO_START * height
        means -= back[:, None] * self._normals


def _mean_over_neighbours(points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> csr_matrix:
    """Times heights: the mean over the nearest that face about the same way; the own one where none do."""
    count = len(points)
    near = cKDTree(points).query(points, k=min(_NEIGHBOURS + 1, count))[1].reshape(count, -1)
    alike = (normals[near] * normals[:, None]).sum(axis=2) > _LEAST_COSINE
    alike[:, 0] = ~alike[:, 1:].any(axis=1)
    weights = alike / alike.sum(axis=1, keepdims=True)
    rows = np.arange(count + 1) * near.shape[1]
    return csr_matrix((weights.ravel().astype(np.float32), near.ravel(), rows), shape=(count, count))
