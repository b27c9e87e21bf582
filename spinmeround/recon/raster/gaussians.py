"""The CPU rasteriser of 3D Gaussians: RGB, normals, depth and alpha, with analytic gradients.

A view takes three steps: project every splat (``gaussian_projection``), sort the visible ones once by depth and list
those of each tile of 16 by 16 pixels (``view_plan``), and blend each tile front to back (``gaussian_blending``). The
backward pass blends again, front to back, and then carries each splat's sum to its fields. Kernels run over ranges of
splats or tiles, in a few threads.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.raster.autograd import SplatKernels, render_views
from spinmeround.recon.raster.gaussian_blending import blend_gaussians, blend_gaussians_backward
from spinmeround.recon.raster.gaussian_projection import project_gaussians, project_gaussians_backward
from spinmeround.recon.raster.layout import GAUSSIAN_MEAN2D_SIZE
from spinmeround.recon.raster.view_plan import Workers
from spinmeround.types import Cameras, Rendering, Splats

_GAUSSIANS = SplatKernels(
    project_gaussians,
    project_gaussians_backward,
    blend_gaussians,
    blend_gaussians_backward,
    means2d_size=GAUSSIAN_MEAN2D_SIZE,
    image_channels=((3,), (3,), (), (), ()),
)


@final
class NumbaRasterizer:
    """``Rasterizer`` for 3D Gaussians on the CPU, differentiable in every field of ``Splats`` and in the poses.

    Results depend neither on the number of threads nor on their timing. Quaternions need not be unit: they are
    normalised, and so is the gradient. Splats nearer than 0.01 head units or behind the camera, those of opacity at
    most 1/255, and those with a zero or NaN rotation or covariance are not drawn and get zero gradients.

    Alpha of a splat is held below 0.999, values under 1/255 count as 0, and a pixel is finished when its transmittance
    falls to 1e-4. Normals are each splat's shortest axis turned toward the camera; depths are those of the
    means. The gradient of median depth is that of the one mean it comes from. There is no distortion.
    """

    def __init__(self, *, dilation_px2: float = 0.1, antialiased: bool = False, threads: int | None = None) -> None:
        """Set up the threads.

        Args:
            dilation_px2: added to both variances of every footprint. Viewers of 3DGS files add 0.3 of *their* pixels,
                which are finer than those of the pictures splats are fitted to; 0.1 stands for that, and blurs
                silhouettes less.
            antialiased: make splats more transparent by what dilation makes them larger, so that small ones far away
                do not grow bold. Viewers must do the same, and many do not.
            threads: by default as many as torch uses.
        """
        self._options = (dilation_px2, antialiased)
        self._workers = Workers(threads or torch.get_num_threads())

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Render all cameras.

        Args:
            splats: float32 tensors on the CPU. SH of degree 0 to 3, seen along the ray from the camera's centre.
            cameras: no skew; crops are cameras with a shifted principal point and a smaller size.
            camera_from_world: poses in place of those of ``cameras``, float64 on the CPU. Their gradient is that of
                twelve free numbers: the caller's parametrisation of a rigid motion makes it one of six.

        Returns:
            float32 tensors, premultiplied over black.

        Raises:
            ValueError: fields of another dtype or device, or a skewed camera.
            ResourceError: the splats are so large that a view would need gigabytes of (tile, splat) pairs.
        """
        drawn = render_views(
            _GAUSSIANS, splats, cameras, camera_from_world, options=self._options, workers=self._workers
        )
        rgb, normals, depth, alpha, median = drawn
        return Rendering(rgb=rgb, alpha=alpha, depth=depth, normals_world=normals, median_depth=median)
