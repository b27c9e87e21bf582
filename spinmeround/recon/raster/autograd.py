"""Render views on the CPU as one differentiable torch function, for either kind of splat."""

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
class SplatKernels:
    """The kernels of one kind of splat, and the shapes of the pictures they draw.

    Attributes:
        means2d_size: columns of ``means2d``.
        image_channels: shape of a pixel of each picture, in the kernels' order; () for a plane without channels.
        saved_channels: the same of what blending saves for the backward pass.
    """

    project: Callable[..., None]
    project_backward: Callable[..., None]
    blend: Callable[..., None]
    blend_backward: Callable[..., None]
    means2d_size: int
    image_channels: tuple[tuple[int, ...], ...]
    saved_channels: tuple[tuple[int, ...], ...] = ()


def render_views(
    kernels: SplatKernels,
    splats: Splats,
    cameras: Cameras,
    camera_from_world: Float[Tensor, "v 4 4"] | None,
    *,
    options: tuple[Any, ...] = (),
    workers: Workers,
) -> list[Float[Tensor, "v h w ..."]]:
    """Render all views; return the pictures in the kernels' order, each stacked over the views.

    Args:
        options: what projection takes beside the camera.

    Raises:
        ValueError: as ``checked_poses``.
        ResourceError: as ``project``.
    """
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    poses = checked_poses(splats, cameras, camera_from_world)
    drawn = [
        _RenderView.apply(*fields, pose, view, kernels, options, workers)
        for pose, view in zip(poses, views_of(cameras), strict=True)
    ]
    return [torch.stack(planes) for planes in zip(*drawn, strict=True)]


class _RenderView(torch.autograd.Function):
    """Render one view, differentiable in the fields of the splats and in the pose."""

    @staticmethod
    def forward(ctx, means, scales, quats, opacities, sh, pose, view, kernels, options, workers):
        fields = (means, scales, quats, opacities, sh)
        projected = project(
            kernels.project, fields, pose, view, options=options, means2d_size=kernels.means2d_size, workers=workers
        )
        pairs, size = projected.pairs, (view.height_px, view.width_px)
        pictures = [np.empty((*size, *channels), np.float32) for channels in kernels.image_channels]
        saved = [np.empty((*size, *channels), np.float32) for channels in kernels.saved_channels]
        n_processed, median_pair = np.empty(len(pairs.tile_starts) - 1, np.int32), np.empty(size, np.int32)
        blended = (
            pairs.tile_starts, pairs.splat, projected.means2d, projected.records, n_processed,
            *pictures, *saved, median_pair,
        )  # fmt: skip
        workers.over_tiles(pairs.tile_starts, kernels.blend, *blended)
        ctx.kept = (projected, blended, kernels, workers)
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx, *gradients):
        projected, blended, kernels, workers = ctx.kept
        pairs = projected.pairs
        pair_grads = workers.borrow_pair_grads(len(pairs.grad_row))
        arrays = [gradient.contiguous().numpy() for gradient in gradients]
        workers.over_tiles(pairs.tile_starts, kernels.blend_backward, *blended, *arrays, pairs.grad_row, pair_grads)
        pose_needs_grad = ctx.needs_input_grad[5]
        fields = project_backward(
            kernels.project_backward, projected, pair_grads, pose_needs_grad=pose_needs_grad, workers=workers
        )
        return *fields, None, None, None, None
