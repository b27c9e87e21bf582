"""Drawing views on the CPU as one differentiable function, whatever the kind of splat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.raster.view_plan import Workers, checked_poses, project, project_backward, views_of
from spinmeround.types import Cameras, Splats


@dataclass(frozen=True)
class Kind:
    """The kernels of a kind of splat, and the pictures they draw.

    Attributes:
        centre_columns: numbers that projection keeps of a splat in float64.
        pictures: channels of each picture, in the kernels' order; none for a plane.
        remembered: the same of what blending leaves for its way back.
    """

    project: Callable[..., None]
    project_backward: Callable[..., None]
    blend: Callable[..., None]
    blend_backward: Callable[..., None]
    centre_columns: int
    pictures: tuple[tuple[int, ...], ...]
    remembered: tuple[tuple[int, ...], ...] = ()


def render_views(
    kind: Kind,
    splats: Splats,
    cameras: Cameras,
    camera_from_world: Float[Tensor, "v 4 4"] | None,
    *,
    options: tuple[Any, ...] = (),
    workers: Workers,
) -> list[Float[Tensor, "v h w ..."]]:
    """The pictures of a kind, each stacked over the views.

    Args:
        options: what projection takes beside the camera.

    Raises:
        ValueError: as ``checked_poses``.
        ResourceError: as ``project``.
    """
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    poses = checked_poses(splats, cameras, camera_from_world)
    drawn = [
        _View.apply(*fields, pose, view, kind, options, workers)
        for pose, view in zip(poses, views_of(cameras), strict=True)
    ]
    return [torch.stack(planes) for planes in zip(*drawn, strict=True)]


class _View(torch.autograd.Function):
    """Fields of the splats and a pose to the pictures of one view."""

    @staticmethod
    def forward(ctx, means, scales, quats, opacities, sh, pose, view, kind, options, workers):
        fields = (means, scales, quats, opacities, sh)
        projected = project(
            kind.project, fields, pose, view, options=options, centre_columns=kind.centre_columns, workers=workers
        )
        pairs, size = projected.pairs, (view.height_px, view.width_px)
        pictures = [np.empty((*size, *channels), np.float32) for channels in kind.pictures]
        remembered = [np.empty((*size, *channels), np.float32) for channels in kind.remembered]
        walked, median_pair = np.empty(len(pairs.tile_starts) - 1, np.int32), np.empty(size, np.int32)
        forward = (
            pairs.tile_starts, pairs.splat, projected.centres, projected.records, walked,
            *pictures, *remembered, median_pair,
        )  # fmt: skip
        workers.over_tiles(pairs.tile_starts, kind.blend, *forward)
        ctx.kept = (projected, forward, kind, workers)
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx, *gradients):
        projected, forward, kind, workers = ctx.kept
        pairs = projected.pairs
        rows = workers.borrow_rows(len(pairs.row))
        arrays = [gradient.contiguous().numpy() for gradient in gradients]
        workers.over_tiles(pairs.tile_starts, kind.blend_backward, *forward, *arrays, pairs.row, rows)
        wanted = ctx.needs_input_grad[5]
        fields = project_backward(kind.project_backward, projected, rows, pose=wanted, workers=workers)
        return *fields, None, None, None, None
