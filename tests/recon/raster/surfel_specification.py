"""Reference rasteriser of surfels in plain torch, which the fast rasterisers are compared with.

2D Gaussian Splatting (Huang et al. 2024) with the paper's homogeneous planes: a pixel is the meeting of a plane of
constant x and one of constant y; both, carried into a surfel's own frame by (WH)^T, meet its plane in (u, v). Float64
in mind: every surfel meets every pixel, autograd differentiates.
"""

from __future__ import annotations

import torch

from spinmeround.types import Cameras, Rendering, Splats
from tests.recon.raster.splat_specification import (
    MIN_ALPHA,
    NEAR,
    blending_weights,
    colours_and_normals,
    gather_median,
    pixel_centres,
    rotation_matrices,
)

FILTER_VARIANCE_PX2, EDGE_ON = 0.5, 1e-6


def render(splats: Splats, cameras: Cameras, *, camera_from_world: torch.Tensor | None = None) -> Rendering:
    """Render ``splats`` in their own dtype; differentiable in every field and in the poses."""
    poses = torch.as_tensor(cameras.camera_from_world) if camera_from_world is None else camera_from_world
    views = [_view(splats, cameras, pose.to(splats.means.dtype), index) for index, pose in enumerate(poses)]
    rgb, alpha, depth, normals, median, distortion = (torch.stack(planes) for planes in zip(*views, strict=True))
    return Rendering(rgb, alpha, depth, normals, median_depth=median, distortion=distortion)


def _view(splats, cameras, camera_from_world, index):
    k = torch.as_tensor(cameras.intrinsics_px[index], dtype=splats.means.dtype)
    size = (cameras.height_px, cameras.width_px)
    camera = splats.means @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    drawn = torch.nonzero(
        (camera[:, 2] >= NEAR) & (splats.opacities > MIN_ALPHA) & (splats.quats_wxyz.norm(dim=1) > 0)
    )[:, 0]
    drawn = drawn[torch.argsort(camera[drawn, 2], stable=True)]
    raw, z = intersections(splats, drawn, camera_from_world, k, *size)
    weights, median = blending_weights(raw)
    axis = torch.full((len(splats),), 2)
    colours, normals = (values[drawn] for values in colours_and_normals(splats, camera_from_world, axis))
    pictures = (
        weights @ colours,
        weights.sum(1),
        (weights * z).sum(1),
        weights @ normals,
        gather_median(z, median),
        pairwise_spread(weights, z),
    )
    return tuple(picture.reshape(*size, *picture.shape[1:]) for picture in pictures)


def intersections(splats, drawn, camera_from_world, k, height, width):
    """Return alpha and depth of each drawn surfel at each pixel: both [pixels, surfels]."""
    dtype = k.dtype
    one, zero = torch.ones(len(drawn), dtype=dtype), torch.zeros(len(drawn), dtype=dtype)
    axes = rotation_matrices(splats.quats_wxyz[drawn])
    h = torch.stack(
        [
            torch.cat([splats.scales[drawn, :1] * axes[:, :, 0], zero[:, None]], 1),
            torch.cat([splats.scales[drawn, 1:2] * axes[:, :, 1], zero[:, None]], 1),
            torch.zeros(len(drawn), 4, dtype=dtype),
            torch.cat([splats.means[drawn], one[:, None]], 1),
        ],
        2,
    )
    # Rows of W: x z, y z, z, z of a point seen at pixel (x, y) and depth z.
    projection = torch.stack([torch.cat([row, torch.zeros(1, dtype=dtype)]) for row in (k[0], k[1], k[2], k[2])])
    wh = projection @ camera_from_world @ h
    pixels = pixel_centres(width, height, dtype)
    h_u = pixels[..., :1] * wh[:, 3] - wh[:, 0]
    h_v = pixels[..., 1:] * wh[:, 3] - wh[:, 1]
    denominator = h_u[..., 0] * h_v[..., 1] - h_u[..., 1] * h_v[..., 0]
    mean = camera_from_world[:3] @ h[:, :, 3].T
    normal = camera_from_world[:3, :3] @ axes[:, :, 2].T
    usable = ((mean * normal).sum(0).abs() > EDGE_ON * mean.norm(dim=0)) & (denominator != 0)
    denominator = torch.where(usable, denominator, 1)
    u = (h_u[..., 1] * h_v[..., 3] - h_u[..., 3] * h_v[..., 1]) / denominator
    v = (h_u[..., 3] * h_v[..., 0] - h_u[..., 0] * h_v[..., 3]) / denominator
    z = wh[:, 2, 0] * u + wh[:, 2, 1] * v + wh[:, 2, 3]
    disc = torch.where(usable & (z >= NEAR), u * u + v * v, torch.inf)
    blur = (pixels - wh[:, :2, 3] / wh[:, 3:, 3]).square().sum(-1) / FILTER_VARIANCE_PX2
    hit = disc < blur
    falloff = 0.5 * torch.where(hit, disc, blur)
    return splats.opacities[drawn] * torch.exp(-falloff), torch.where(hit, z, mean[2])


def pairwise_spread(weights, z):
    """Return the sum over pairs of weight times weight times squared gap in depth, by the paper's running sums."""

    def in_front(values):
        return torch.cumsum(values, 1) - values

    before = z * z * in_front(weights) + in_front(weights * z * z) - 2 * z * in_front(weights * z)
    return (weights * before).sum(1)
