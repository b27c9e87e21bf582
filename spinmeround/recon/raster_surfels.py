"""The CPU rasteriser of surfels: flat Gaussians to RGB, normals, depths, alpha and distortion, with gradients.

The same four steps as for 3D Gaussians (``raster_numba``), with a projection and a blending of their own.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.raster_surfel_blending import blend_surfels, blend_surfels_backward
from spinmeround.recon.raster_surfel_projection import project_surfels, project_surfels_backward
from spinmeround.recon.raster_work import Workers, checked_poses, project, project_backward, views_of
from spinmeround.types import Cameras, Rendering, Splats


@final
class NumbaSurfelRasterizer:
    """``Rasterizer`` for surfels on the CPU, differentiable in every field of ``Splats`` and in the poses.

    2D Gaussian Splatting (Huang et al. 2024): a splat is flat, in the plane of its first two axes; the third is its
    normal, and the third scale has no meaning and no gradient. Depths are those where rays meet the splats, so a
    slanted splat shows its slant. What is not drawn, and how alpha and light are held, is as in ``NumbaRasterizer``;
    splats of zero size are not drawn either. A splat never looks smaller than a Gaussian of 1/2 pixel^2.

    The gradient of median depth is that of the one meeting it comes from.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        """Sets the threads up.

        Args:
            threads: by default as many as torch uses.
        """
        self._workers = Workers(threads or torch.get_num_threads())

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Draws all cameras; arguments, results and errors are those of ``NumbaRasterizer.render``."""
        fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
        poses = checked_poses(splats, cameras, camera_from_world)
        pictures = [
            _Render.apply(*fields, pose, view, self._workers)
            for pose, view in zip(poses, views_of(cameras), strict=True)
        ]
        rgb, normals, depth, alpha, median, distortion = (torch.stack(planes) for planes in zip(*pictures, strict=True))
        return Rendering(rgb, alpha, depth, normals, median_depth=median, distortion=distortion)


class _Render(torch.autograd.Function):
    """One view: fields of the splats and a pose to (rgb, normals, depth, alpha, median depth, distortion)."""

    @staticmethod
    def forward(ctx, means, scales, quats, opacities, sh, pose, view, workers):
        fields = (means, scales, quats, opacities, sh)
        projected = project(project_surfels, fields, pose, view, centre_columns=6, workers=workers)
        pairs, size = projected.pairs, (view.height_px, view.width_px)
        rgb, normals = np.empty((*size, 3), np.float32), np.empty((*size, 3), np.float32)
        depth, alpha, median, distortion = (np.empty(size, np.float32) for _ in range(4))
        moments = np.empty((*size, 2), np.float32)
        walked, median_pair = np.empty(len(pairs.tile_starts) - 1, np.int32), np.empty(size, np.int32)
        pictures = (rgb, normals, depth, alpha, median, distortion)
        forward = (
            pairs.tile_starts, pairs.splat, projected.centres, projected.records, walked,
            *pictures, moments, median_pair,
        )  # fmt: skip
        workers.over_tiles(pairs.tile_starts, blend_surfels, *forward)
        ctx.kept = (projected, forward, workers)
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx, *gradients):
        projected, forward, workers = ctx.kept
        pairs = projected.pairs
        rows = workers.borrow_rows(len(pairs.row))
        arrays = [gradient.contiguous().numpy() for gradient in gradients]
        workers.over_tiles(pairs.tile_starts, blend_surfels_backward, *forward, *arrays, pairs.row, rows)
        wanted = ctx.needs_input_grad[5]
        return *project_backward(project_surfels_backward, projected, rows, pose=wanted, workers=workers), None, None
