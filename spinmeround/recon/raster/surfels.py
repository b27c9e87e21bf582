"""The CPU rasteriser of surfels: RGB, normals, depths, alpha and distortion, with analytic gradients.

The steps are those of ``gaussians``, with a projection and a blending of their own.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.recon.raster.autograd import SplatKernels, render_views
from spinmeround.recon.raster.layout import SURFEL_MEAN2D_SIZE
from spinmeround.recon.raster.surfel_blending import blend_surfels, blend_surfels_backward
from spinmeround.recon.raster.surfel_projection import project_surfels, project_surfels_backward
from spinmeround.recon.raster.view_plan import Workers
from spinmeround.types import Cameras, Rendering, Splats

_SURFELS = SplatKernels(
    project_surfels,
    project_surfels_backward,
    blend_surfels,
    blend_surfels_backward,
    means2d_size=SURFEL_MEAN2D_SIZE,
    image_channels=((3,), (3,), (), (), (), ()),
    saved_channels=((2,),),
)


@final
class NumbaSurfelRasterizer:
    """``Rasterizer`` for surfels on the CPU, differentiable in every field of ``Splats`` and in the poses.

    2D Gaussian Splatting (Huang et al. 2024): a splat is flat, in the plane of its first two axes; the third is its
    normal, and the third scale has no meaning and no gradient. Depths are those where rays meet the splats, so a
    slanted splat shows its slant. What is not drawn, and the limits of alpha and transmittance, are as in
    ``NumbaRasterizer``;
    splats of zero size are not drawn either. A splat never looks smaller than a Gaussian of 1/2 pixel^2.

    The gradient of median depth is that of the one intersection it comes from.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        """Set up the threads.

        Args:
            threads: by default as many as torch uses.
        """
        self._workers = Workers(threads or torch.get_num_threads())

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Render all cameras; arguments, results and errors are those of ``NumbaRasterizer.render``."""
        drawn = render_views(_SURFELS, splats, cameras, camera_from_world, workers=self._workers)
        rgb, normals, depth, alpha, median, distortion = drawn
        return Rendering(rgb, alpha, depth, normals, median_depth=median, distortion=distortion)
