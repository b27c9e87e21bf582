"""Volume rendering of a spline field in torch: samples along rays, the basis of the field there, compositing weights.

Between one sample and the next the ray's transmittance falls by the fraction by which a logistic function of the signed
distance falls (NeuS, Wang et al. 2021, equations 10 to 13). Normals and colours are summed with the weights that gives.
Lengths are in cells of the grid throughout. Plain torch, for any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from spinmeround.recon.sdf.spline_field import BORDER_NODES, UNKNOWN_BAND_CELLS, SplineField

LOGISTIC_SCALE = 0.4
"""Scale of the logistic function, cells: 1 / s of NeuS."""

_ACTIVE_BAND_CELLS = 5.0
"""Nodes nearer to the zero set than this are kept: samples lie within ``RaySampling.band`` and read nodes up to two and
a half cells further."""


@dataclass(frozen=True)
class RaySampling:
    """Where rays are sampled. Lengths are in cells.

    Attributes:
        band: samples lie where the distance is less; beyond it transmittance is 1 or 0 to 2 %.
        fall: by how much the distance falls from sample to sample.
        min_slope: least fall of the distance along a ray, per cell, that the step to the next sample is computed with.
        max_samples: per ray.
        max_rounds: steps of sphere tracing and sampling together.
    """

    band: float = 1.6
    fall: float = 0.75
    min_slope: float = 0.35
    max_samples: int = 16
    max_rounds: int = 80


RAY_SAMPLING = RaySampling()


@dataclass(frozen=True)
class ActiveNodes:
    """The nodes of a grid that lie near the zero set, as rows of a table.

    Attributes:
        row: row of each node of the grid, -1 for those that are not active.
        nodes: grid indices of each row's node.
        unknown: 1 for rows that may change, else 0.
        values: the field at all nodes.
    """

    row: Int32[Tensor, "x y z"]
    nodes: Int64[Tensor, "k 3"]
    unknown: Float[Tensor, "k"]
    values: Float[Tensor, "x y z"]


def active_nodes(field: SplineField, device: torch.device) -> ActiveNodes:
    """Return the nodes that samples near the zero set of ``field`` read."""
    values = torch.from_numpy(field.node_values() / field.cell).to(device, torch.float32)
    inner = torch.zeros_like(values, dtype=torch.bool)
    inner[BORDER_NODES:-BORDER_NODES, BORDER_NODES:-BORDER_NODES, BORDER_NODES:-BORDER_NODES] = True
    near = values.abs() < _ACTIVE_BAND_CELLS
    nodes = near.nonzero()
    row = torch.full(values.shape, -1, dtype=torch.int32, device=device)
    row[near] = torch.arange(len(nodes), dtype=torch.int32, device=device)
    unknown = ((values.abs() < UNKNOWN_BAND_CELLS) & inner)[near].float()
    return ActiveNodes(row, nodes, unknown, values)


def spline_basis(
    active: ActiveNodes, points: Float[Tensor, "n 3"]
) -> tuple[Int64[Tensor, "n 27"], Float[Tensor, "n 27 4"]]:
    """Return the rows of the 27 nodes around each point, and their weights in value and gradient there.

    Nodes that are not active get weight 0.
    """
    shape = active.row.shape
    size = points.new_tensor(shape)
    clamped = torch.minimum(points.clamp(min=0.5), size - 1.5)
    nearest = torch.minimum((clamped + 0.5).floor().clamp(min=1), size - 2)
    d = clamped - nearest
    value = torch.stack([0.5 * (0.5 - d) ** 2, 0.75 - d**2, 0.5 * (0.5 + d) ** 2], dim=-1)
    slope = torch.stack([d - 0.5, -2 * d, d + 0.5], dim=-1)
    factors = [[slope if axis == derivative else value for axis in range(3)] for derivative in (None, 0, 1, 2)]
    basis = torch.stack(
        [torch.einsum("ni,nj,nk->nijk", a[:, 0], b[:, 1], c[:, 2]).reshape(-1, 27) for a, b, c in factors], dim=-1
    )
    offsets = torch.arange(-1, 2, device=points.device)
    i, j, k = (nearest[:, axis, None].long() + offsets for axis in range(3))
    flat = (i[:, :, None, None] * shape[1] + j[:, None, :, None]) * shape[2] + k[:, None, None, :]
    row = active.row.reshape(-1)[flat.reshape(-1, 27)].long()
    return row.clamp(min=0), basis * (row >= 0)[..., None]


def sample_rays(
    values: Float[Tensor, "x y z"],
    origin: Float[Tensor, "n 3"],
    direction: Float[Tensor, "n 3"],
    sampling: RaySampling = RAY_SAMPLING,
) -> tuple[Float[Tensor, "n s"], Bool[Tensor, "n s"]]:
    """Return the distances along unit rays at which to sample, and which of them are used; the unused come last.

    Rays are sphere traced to the band around the zero set. In it they are sampled where the value has fallen by equal
    amounts, until the first sample deep inside.
    """
    size = origin.new_tensor(values.shape)
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    walls = torch.stack([(1 - origin) / safe, (size - 2 - origin) / safe])
    distance, leave = walls.amin(0).amax(1).clamp(min=0), walls.amax(0).amin(1)
    sampled = origin.new_zeros(len(origin), sampling.max_samples)
    count = torch.zeros(len(origin), dtype=torch.long, device=origin.device)
    alive, before, step = distance < leave, torch.full_like(distance, np.inf), torch.ones_like(distance)
    slot = torch.arange(sampling.max_samples, device=origin.device)
    for _ in range(sampling.max_rounds):
        at = 2 * (origin + distance[:, None] * direction) / (size - 1) - 1
        value = torch.nn.functional.grid_sample(
            values[None, None], at.flip(-1)[None, None, None], align_corners=True
        ).reshape(-1)
        alive = alive & (distance < leave)
        near = alive & (value < sampling.band)
        sampled = torch.where(near[:, None] & (slot == count[:, None]), distance[:, None], sampled)
        count = count + near
        alive = alive & (value > -sampling.band) & (count < sampling.max_samples)
        if not alive.any():
            break
        slope = ((before - value).abs() / step).clamp(sampling.min_slope, 1.0)
        # Outside the band: to a tenth of its width within it, at least half a cell.
        approach = (value - 0.9 * sampling.band).clamp(min=0.5)
        step = torch.where(value < sampling.band, sampling.fall / slope, approach)
        before, distance = value, distance + step
    return sampled, slot < count[:, None]


def compositing_weights(
    value: Float[Tensor, "n s"], used: Bool[Tensor, "n s"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n s"]]:
    """Return the opacity of each ray and the weights of its samples, which sum to it.

    Each interval's opacity is split evenly between the samples at its ends.

    Args:
        value: signed distance at the samples.
        used: the others are as if they were not there.
    """
    logistic = torch.where(used, torch.sigmoid(value / LOGISTIC_SCALE), 1.0)
    one = torch.ones_like(logistic[:, :1])
    transmittance = torch.cumprod((logistic / torch.cat([one, logistic[:, :-1]], dim=1)).clamp(max=1.0), dim=1)
    absorbed = torch.cat([one, transmittance[:, :-1]], dim=1) - transmittance
    after = torch.cat([absorbed[:, 1:], torch.zeros_like(one)], dim=1)
    first = torch.cat([absorbed[:, :1], torch.zeros_like(absorbed[:, 1:])], dim=1)
    return 1 - transmittance[:, -1], 0.5 * (absorbed + after + first)
