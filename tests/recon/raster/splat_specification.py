"""Reference rasteriser of 3D Gaussians in plain torch, which the fast rasterisers are compared with.

Written for reading, float64 in mind: every splat meets every pixel, autograd differentiates. See the docstring of
``spinmeround.recon.raster.gaussian_projection`` for the equations.
"""

from __future__ import annotations

import torch

from spinmeround.types import Cameras, Rendering, Splats

NEAR, MIN_ALPHA, MAX_ALPHA, MIN_TRANSMITTANCE, FIELD_MARGIN = 0.01, 1 / 255, 0.999, 1e-4, 0.3


def render(
    splats: Splats,
    cameras: Cameras,
    *,
    camera_from_world: torch.Tensor | None = None,
    dilation_px2: float = 0.1,
    antialiased: bool = False,
) -> Rendering:
    """Render ``splats`` in their own dtype; differentiable in every field and in the poses."""
    poses = torch.as_tensor(cameras.camera_from_world) if camera_from_world is None else camera_from_world
    views = [_view(splats, cameras, pose, index, dilation_px2, antialiased) for index, pose in enumerate(poses)]
    rgb, alpha, depth, normals, median = (torch.stack(planes) for planes in zip(*views, strict=True))
    return Rendering(rgb=rgb, alpha=alpha, depth=depth, normals_world=normals, median_depth=median)


def rotation_matrices(quats_wxyz):
    w, x, y, z = torch.nn.functional.normalize(quats_wxyz, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def sh_sum(sh, directions):
    """Return the sum of coefficients times the real harmonics, the basis with its textbook constants."""
    x, y, z = directions.unbind(1)
    one = torch.ones_like(x)
    pi = torch.pi
    basis = [0.5 * (1 / pi) ** 0.5 * one]
    c = (3 / (4 * pi)) ** 0.5
    basis += [-c * y, c * z, -c * x]
    c = (15 / (4 * pi)) ** 0.5
    basis += [c * x * y, -c * y * z, (5 / (16 * pi)) ** 0.5 * (3 * z * z - 1), -c * x * z, c / 2 * (x * x - y * y)]
    a, b, c = (35 / (32 * pi)) ** 0.5, (105 / (4 * pi)) ** 0.5, (21 / (32 * pi)) ** 0.5
    basis += [
        -a * y * (3 * x * x - y * y),
        b * x * y * z,
        -c * y * (5 * z * z - 1),
        (7 / (16 * pi)) ** 0.5 * z * (5 * z * z - 3),
        -c * x * (5 * z * z - 1),
        b / 2 * z * (x * x - y * y),
        -a * x * (x * x - 3 * y * y),
    ]
    basis = torch.stack(basis, dim=1)[:, : sh.shape[1]]
    return (basis[..., None] * sh).sum(1)


def _view(splats, cameras, camera_from_world, index, dilation_px2, antialiased):
    dtype = splats.means.dtype
    camera_from_world = camera_from_world.to(dtype)
    intrinsics_px = torch.as_tensor(cameras.intrinsics_px[index], dtype=dtype)
    axis = torch.argmin(splats.scales, dim=1)
    picture, alpha, median = blend(
        splats.means, splats.quats_wxyz, splats.scales, splats.opacities,
        torch.cat(colours_and_normals(splats, camera_from_world, axis), 1),
        camera_from_world, intrinsics_px, cameras.width_px, cameras.height_px, dilation_px2, antialiased,
    )  # fmt: skip
    return picture[..., :3], alpha, picture[..., 6], picture[..., 3:6], median


def colours_and_normals(splats, camera_from_world, axis):
    """Return each splat's colour seen from the camera, and its normal, which is the given one of its axes."""
    eye = -camera_from_world[:3, :3].T @ camera_from_world[:3, 3]
    directions = torch.nn.functional.normalize(splats.means - eye, dim=1)
    colours = (0.5 + sh_sum(splats.sh, directions)).clamp_min(0)
    normals = rotation_matrices(splats.quats_wxyz)[torch.arange(len(axis)), :, axis]
    return colours, torch.where((directions * normals).sum(1, keepdim=True) <= 0, normals, -normals)


def pixel_centres(width, height, dtype):
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([columns, rows], -1).reshape(-1, 1, 2).to(dtype)


def blending_weights(raw):
    """Return splats' weights from their alpha [pixels, near to far], and whose depth is the median (-1 for none)."""
    opaque = torch.where(raw >= MIN_ALPHA, raw.clamp_max(MAX_ALPHA), 0)
    transmittance = torch.cumprod(torch.cat([torch.ones_like(opaque[:, :1]), 1 - opaque], 1), 1)[:, :-1]
    weights = torch.where(transmittance > MIN_TRANSMITTANCE, opaque * transmittance, 0)
    place = torch.arange(raw.shape[1]).expand_as(raw)
    return weights, one_more(torch.where((weights > 0) & (transmittance > 0.5), place, -1), -1).amax(1)


def gather_median(depths, median):
    """Return, of depths [pixels, splats], the one the median comes from."""
    return one_more(depths, 0).gather(1, median[:, None] + 1)[:, 0]


def one_more(values, first):
    """Prepend a column, so that there is one even if there are no splats."""
    return torch.nn.functional.pad(values, (1, 0), value=first)


def blend(
    means, quats, scales, opacities, values, camera_from_world, k, width, height, dilation_px2, antialiased=False
):
    """Blend values and depth of the splats front to back; return ([h w c+1], alpha, median depth)."""
    dtype = means.dtype
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    camera = means @ rotation.T + translation
    drawn = torch.nonzero((camera[:, 2] >= NEAR) & (opacities > MIN_ALPHA) & (quats.norm(dim=1) > 0))[:, 0]
    drawn = drawn[torch.argsort(camera[drawn, 2], stable=True)]
    x, y, z = camera[drawn].unbind(1)
    focal, centre_px, size_px = k[[0, 1], [0, 1]], k[:2, 2], torch.tensor([width, height], dtype=dtype)

    margin = FIELD_MARGIN * 0.5 * size_px / focal
    lowest, highest = (-centre_px / focal - margin).clamp_max(-1), ((size_px - centre_px) / focal + margin).clamp_min(1)
    held_x, held_y = (x / z).clamp(lowest[0], highest[0]), (y / z).clamp(lowest[1], highest[1])
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([focal[0] / z, zero, -focal[0] * held_x / z], 1),
            torch.stack([zero, focal[1] / z, -focal[1] * held_y / z], 1),
        ],
        1,
    )
    half_axes = jacobian @ rotation @ rotation_matrices(quats[drawn]) * scales[drawn][:, None, :]
    sharp = half_axes @ half_axes.transpose(1, 2)
    covariance = sharp + dilation_px2 * torch.eye(2, dtype=dtype)
    strength = opacities[drawn]
    if antialiased:
        strength = strength * torch.sqrt(torch.linalg.det(sharp) / torch.linalg.det(covariance))

    offset = pixel_centres(width, height, dtype) - (focal * torch.stack([x / z, y / z], 1) + centre_px)
    falloff = 0.5 * torch.einsum("pni,nij,pnj->pn", offset, torch.linalg.inv(covariance), offset)
    raw = strength * torch.exp(-falloff)
    weights, median = blending_weights(raw)
    picture = weights @ torch.cat([values[drawn], z[:, None]], 1)
    depth = gather_median(z.expand_as(raw), median)
    return picture.reshape(height, width, -1), weights.sum(1).reshape(height, width), depth.reshape(height, width)
