"""Volume rendering of a spline field in torch: places along rays, what the field holds there, and their sum.

Opacity grows along a ray, between one sample and the next, by the share by which a logistic function of the signed
distance falls (NeuS, Wang et al. 2021); normals and colours are summed with the weights that gives. Lengths are in
cells of the grid throughout. Plain torch, for any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from spinmeround.recon.sdf.spline_field import SplineField

FIRMNESS = 0.4
"""Scale of the logistic function, cells."""

_BAND = 1.6
"""Samples lie where the distance is less; beyond that a ray is clear, or closed, to 2 %."""
_STEP = 0.75
"""By how much the distance falls from sample to sample."""
_SAMPLES, _ROUNDS = 16, 80
_LEAST_SLOPE = 0.35
_TOUCHED, _FREE = 5.0, 2.5
"""Samples read nodes two and a half cells further than they lie."""
_BORDER = 3


@dataclass(frozen=True)
class NodeRows:
    """The nodes of a grid that lie near the zero set, as rows of a table.

    Attributes:
        row: of each node of the grid, -1 for those that have none.
        nodes: indices of each row's node.
        free: 1 for rows that may change, else 0.
        values: the field at all nodes.
    """

    row: Int32[Tensor, "x y z"]
    nodes: Int64[Tensor, "k 3"]
    free: Float[Tensor, "k"]
    values: Float[Tensor, "x y z"]


def node_rows(field: SplineField, device: torch.device) -> NodeRows:
    """Rows for all nodes that samples near the zero set of ``field`` read."""
    values = torch.from_numpy(field.sampled() / field.cell).to(device, torch.float32)
    inner = torch.zeros_like(values, dtype=torch.bool)
    inner[_BORDER:-_BORDER, _BORDER:-_BORDER, _BORDER:-_BORDER] = True
    near = values.abs() < _TOUCHED
    nodes = near.nonzero()
    row = torch.full(values.shape, -1, dtype=torch.int32, device=device)
    row[near] = torch.arange(len(nodes), dtype=torch.int32, device=device)
    return NodeRows(row, nodes, ((values.abs() < _FREE) & inner)[near].float(), values)


def taps(rows: NodeRows, points: Float[Tensor, "n 3"]) -> tuple[Int64[Tensor, "n 27"], Float[Tensor, "n 27 4"]]:
    """Rows of the 27 nodes around each point, and their weights in value and gradient there.

    Nodes without a row get weight 0.
    """
    shape = rows.row.shape
    top = points.new_tensor(shape)
    held = torch.minimum(points.clamp(min=0.5), top - 1.5)
    nearest = torch.minimum((held + 0.5).floor().clamp(min=1), top - 2)
    d = held - nearest
    value = torch.stack([0.5 * (0.5 - d) ** 2, 0.75 - d**2, 0.5 * (0.5 + d) ** 2], dim=-1)
    slope = torch.stack([d - 0.5, -2 * d, d + 0.5], dim=-1)
    kinds = [[slope if axis == along else value for axis in range(3)] for along in (None, 0, 1, 2)]
    basis = torch.stack(
        [torch.einsum("ni,nj,nk->nijk", a[:, 0], b[:, 1], c[:, 2]).reshape(-1, 27) for a, b, c in kinds], dim=-1
    )
    near = torch.arange(-1, 2, device=points.device)
    i, j, k = (nearest[:, axis, None].long() + near for axis in range(3))
    flat = (i[:, :, None, None] * shape[1] + j[:, None, :, None]) * shape[2] + k[:, None, None, :]
    row = rows.row.reshape(-1)[flat.reshape(-1, 27)].long()
    return row.clamp(min=0), basis * (row >= 0)[..., None]


def places(
    values: Float[Tensor, "x y z"], start: Float[Tensor, "n 3"], ray: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n s"], Bool[Tensor, "n s"]]:
    """Distances along unit rays at which to sample, and which of them are used; the unused come last.

    Rays are followed by what the values allow, and within the band by even falls of the value, to the first place deep
    inside.
    """
    size = start.new_tensor(values.shape)
    safe = torch.where(ray.abs() < 1e-9, 1e-9, ray)
    walls = torch.stack([(1 - start) / safe, (size - 2 - start) / safe])
    far, leave = walls.amin(0).amax(1).clamp(min=0), walls.amax(0).amin(1)
    found, count = start.new_zeros(len(start), _SAMPLES), torch.zeros(len(start), dtype=torch.long, device=start.device)
    open_, before, step = far < leave, torch.full_like(far, np.inf), torch.ones_like(far)
    slot = torch.arange(_SAMPLES, device=start.device)
    for _ in range(_ROUNDS):
        at = 2 * (start + far[:, None] * ray) / (size - 1) - 1
        value = torch.nn.functional.grid_sample(
            values[None, None], at.flip(-1)[None, None, None], align_corners=True
        ).reshape(-1)
        open_ = open_ & (far < leave)
        near = open_ & (value < _BAND)
        found = torch.where(near[:, None] & (slot == count[:, None]), far[:, None], found)
        count = count + near
        open_ = open_ & (value > -_BAND) & (count < _SAMPLES)
        if not open_.any():
            break
        slope = ((before - value).abs() / step).clamp(_LEAST_SLOPE, 1.0)
        step = torch.where(value < _BAND, _STEP / slope, (value - 0.9 * _BAND).clamp(min=0.5))
        before, far = value, far + step
    return found, slot < count[:, None]


def shares(value: Float[Tensor, "n s"], used: Bool[Tensor, "n s"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n s"]]:
    """Opacity of each ray, and the shares its samples have in that: each stands for half the way to its neighbours.

    Args:
        value: signed distance at the samples.
        used: the others are as if they were not there.
    """
    clear = torch.where(used, torch.sigmoid(value / FIRMNESS), 1.0)
    start = torch.ones_like(clear[:, :1])
    passing = torch.cumprod((clear / torch.cat([start, clear[:, :-1]], dim=1)).clamp(max=1.0), dim=1)
    risen = torch.cat([start, passing[:, :-1]], dim=1) - passing
    after = torch.cat([risen[:, 1:], torch.zeros_like(start)], dim=1)
    first = torch.cat([risen[:, :1], torch.zeros_like(risen[:, 1:])], dim=1)
    return 1 - passing[:, -1], 0.5 * (risen + after + first)
