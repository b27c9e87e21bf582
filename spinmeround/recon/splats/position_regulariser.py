"""Position regulariser of a splat fit: keeps splats near the surface they start on, along its normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from torch import Tensor

from spinmeround.recon.splats.initialisation import z_axes
from spinmeround.types import Splats


@dataclass(frozen=True)
class PositionRegulariserSettings:
    """How far one step moves a splat back. A height is a distance from the start surface, along its normal.

    Attributes:
        neighbour_rate: fraction of the difference from the neighbours' mean height that a step removes.
        start_rate: fraction of the height itself. Small: no more than settles what no view constrains.
        n_neighbours: nearest splats that are averaged over.
        min_cosine: least cosine between the normals of neighbours: the other side of an ear is near but no neighbour.
    """

    neighbour_rate: float = 0.05
    start_rate: float = 0.004
    n_neighbours: int = 16
    min_cosine: float = 0.5


_SETTINGS = PositionRegulariserSettings()


class PositionRegulariser:
    """Moves splats toward the heights of their neighbours and, weakly, back to the start surface.

    A single splat drifts along the normal, and at an occluding contour the outermost ones count. Averaging over
    neighbours removes the noise of single splats; where the surface lies wrong all neighbours move together. A step
    removes a fraction of a distance, so that the photometric loss outweighs it where views constrain the splat.
    """

    def __init__(self, start: Splats) -> None:
        """Remember where the splats start; their third axes are the surface's normals."""
        self._means, self._normals = start.means, z_axes(start.quats_wxyz)
        self._neighbour_average = _neighbour_average(start.means.numpy(), self._normals.numpy())

    @torch.no_grad()
    def apply(self, means: Float[Tensor, "n 3"]) -> None:
        """Move means in place, by one step."""
        height = ((means - self._means) * self._normals).sum(dim=1)
        average = torch.from_numpy(self._neighbour_average @ height.numpy())
        back = _SETTINGS.neighbour_rate * (height - average) + _SETTINGS.start_rate * height
        means -= back[:, None] * self._normals


def _neighbour_average(points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> csr_matrix:
    """Return the matrix that averages over each point's neighbours with similar normals; over itself if it has none."""
    count = len(points)
    near = cKDTree(points).query(points, k=min(_SETTINGS.n_neighbours + 1, count))[1].reshape(count, -1)
    alike = (normals[near] * normals[:, None]).sum(axis=2) > _SETTINGS.min_cosine
    alike[:, 0] = ~alike[:, 1:].any(axis=1)
    weights = alike / alike.sum(axis=1, keepdims=True)
    rows = np.arange(count + 1) * near.shape[1]
    return csr_matrix((weights.ravel().astype(np.float32), near.ravel(), rows), shape=(count, count))
