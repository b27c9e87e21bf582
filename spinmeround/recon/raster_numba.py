"""The CPU rasteriser: 3D Gaussians to RGB, normals, depth and alpha, with analytic gradients.

Four steps a view, each over ranges of work handed to a few threads: project every splat (``raster_projection``), sort
the visible ones once by depth and deal them out to 16 by 16 pixel tiles (``raster_work``), blend each tile front to
back (``raster_blending``); backward blends again, front to back, and then carries each splat's sum to its fields.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.raster_blending import blend_gaussians, blend_gaussians_backward
from spinmeround.recon.raster_projection import project_gaussians, project_gaussians_backward
from spinmeround.recon.raster_work import Workers, checked_poses, project, project_backward, views_of
from spinmeround.types import Cameras, Rendering, Splats


@final
class NumbaRasterizer:
    """``Rasterizer`` for 3D Gaussians on the CPU, differentiable in every field of ``Splats`` and in the poses.

    Results depend neither on the number of threads nor on their timing. Quaternions need not be unit: they are
    normalised, and the gradient knows. Splats nearer than 0.01 head units or behind the camera, those of opacity at
    most 1/255, and those with a zero or NaN rotation or covariance are not drawn and get zero gradients.

    Alpha of a splat is held below 0.999, values under 1/255 count as 0, and a pixel is finished when less than 1e-4 of
    the light gets through. Normals are each splat's shortest axis turned toward the camera; depths are those of the
    means. The gradient of median depth is that of the one mean it comes from. There is no distortion.
    """

    def __init__(self, *, dilation_px2: float = 0.1, antialiased: bool = False, threads: int | None = None) -> None:
        """Sets the threads up.

        Args:
            dilation_px2: added to both variances of every footprint. Viewers of 3DGS files add 0.3 of *their* pixels,
                which are finer than those of the pictures splats are fitted to; 0.1 stands for that, and blurs
                outlines less.
            antialiased: make splats more transparent by what dilation makes them larger, so that small ones far away
                do not grow bold. Viewers must do the same, and many do not.
            threads: by default as many as torch uses.
        """
        self._options = (dilation_px2, antialiased)
        self._workers = Workers(threads or torch.get_num_threads())

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Draws all cameras.

        Args:
            splats: float32 tensors on the CPU. SH of degree 0 to 3, seen along the ray from the camera's centre.
            cameras: no skew; crops are cameras with a shifted principal point and a smaller size.
            camera_from_world: poses in place of those of ``cameras``, float64 on the CPU. Their gradient is that of
                twelve free numbers: the caller's way of writing a rigid motion makes it one of six.

        Returns:
            float32 tensors, premultiplied over black.

        Raises:
            ValueError: fields of another dtype or device, or a skewed camera.
            ResourceError: the splats are so large that a view would need gigabytes of (tile, splat) pairs.
        """
        fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
        poses = checked_poses(splats, cameras, camera_from_world)
        pictures = [
            _Render.apply(*fields, pose, view, self._options, self._workers)
            for pose, view in zip(poses, views_of(cameras), strict=True)
        ]
        rgb, normals, depth, alpha, median = (torch.stack(planes) for planes in zip(*pictures, strict=True))
        return Rendering(rgb=rgb, alpha=alpha, depth=depth, normals_world=normals, median_depth=median)


class _Render(torch.autograd.Function):
    """One view: fields of the splats and a pose to (rgb, normals, depth, alpha, median depth)."""

    @staticmethod
    def forward(ctx, means, scales, quats, opacities, sh, pose, view, options, workers):
        fields = (means, scales, quats, opacities, sh)
        projected = project(project_gaussians, fields, pose, view, options=options, workers=workers)
        pairs, size = projected.pairs, (view.height_px, view.width_px)
        rgb, normals = np.empty((*size, 3), np.float32), np.empty((*size, 3), np.float32)
        depth, alpha, median = (np.empty(size, np.float32) for _ in range(3))
        walked, median_pair = np.empty(len(pairs.tile_starts) - 1, np.int32), np.empty(size, np.int32)
        pictures = (rgb, normals, depth, alpha, median)
        forward = (pairs.tile_starts, pairs.splat, projected.centres, projected.records, walked, *pictures, median_pair)
        workers.over_tiles(pairs.tile_starts, blend_gaussians, *forward)
        ctx.kept = (projected, forward, workers)
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx, *gradients):
        projected, forward, workers = ctx.kept
        pairs = projected.pairs
        rows = workers.borrow_rows(len(pairs.row))
        arrays = [gradient.contiguous().numpy() for gradient in gradients]
        workers.over_tiles(pairs.tile_starts, blend_gaussians_backward, *forward, *arrays, pairs.row, rows)
        wanted = ctx.needs_input_grad[5]
        return *project_backward(project_gaussians_backward, projected, rows, pose=wanted, workers=workers), *[None] * 3
