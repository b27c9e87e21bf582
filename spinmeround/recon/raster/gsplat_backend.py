"""The CUDA rasterisers: gsplat behind the same protocol and with the same meaning as the CPU ones."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spinmeround.errors import MissingDependencyError
from spinmeround.recon.raster.checks import check_splats_and_cameras
from spinmeround.types import Cameras, Rendering, Splats

_DEVICE = "cuda"
_NORMAL = 2
"""The axis of a surfel that is its normal."""


@final
class GsplatRasterizer:
    """``Rasterizer`` on an Nvidia card, differentiable in every field of ``Splats`` and in the poses.

    Fields may live on any device; pictures come back to where the fields are. It differs from ``NumbaRasterizer`` only
    where gsplat does: it stops one splat earlier in nearly opaque pixels, holds the slope of splats outside the picture
    tighter, adds in an order that is not reproducible, and has no median depth.
    """

    def __init__(self, *, dilation_px2: float = 0.1, antialiased: bool = False) -> None:
        """Loads gsplat, which compiles its kernels on first use.

        Args:
            dilation_px2: added to both variances of every footprint, see ``NumbaRasterizer``.
            antialiased: make splats more transparent by what that makes them larger, see there.

        Raises:
            MissingDependencyError: gsplat is not installed, or torch sees no CUDA device.
        """
        self._gsplat = _load()
        self._dilation_px2 = dilation_px2
        self._mode = "antialiased" if antialiased else "classic"

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Draws all cameras in one call.

        Args:
            splats: SH of degree 0 to 3, seen along the ray from the camera's centre.
            cameras: no skew.
            camera_from_world: poses in place of those of ``cameras``.

        Returns:
            float32 tensors on the device of ``splats.means``, premultiplied over black.

        Raises:
            ValueError: coefficients that no degree has, a skewed camera, or not one pose a camera.
        """
        sent = _send(splats, cameras, camera_from_world)
        values = torch.cat([_colours(self._gsplat, sent), _normals(sent, torch.argmin(sent.scales, dim=1))], dim=-1)
        picture, alpha, _ = self._gsplat.rasterization(
            sent.means,
            sent.quats,
            sent.scales,
            sent.opacities,
            values,
            sent.poses,
            sent.intrinsics_px,
            cameras.width_px,
            cameras.height_px,
            eps2d=self._dilation_px2,
            packed=False,
            render_mode="RGB+D",
            rasterize_mode=self._mode,
        )
        picture, alpha = picture.to(sent.home), alpha.to(sent.home)
        return Rendering(
            rgb=picture[..., :3], alpha=alpha[..., 0], depth=picture[..., 6], normals_world=picture[..., 3:6]
        )


@final
class GsplatSurfelRasterizer:
    """``Rasterizer`` for surfels on an Nvidia card, differentiable in every field of ``Splats`` and in the poses.

    Fields may live on any device; pictures come back to where the fields are. It differs from ``NumbaSurfelRasterizer``
    where gsplat does, above all in that a surfel has one depth, its mean's, and shows no slant in the two depths and in
    distortion; and as ``GsplatRasterizer`` does.
    """

    def __init__(self) -> None:
        """Loads gsplat, which compiles its kernels on first use.

        Raises:
            MissingDependencyError: gsplat is not installed, or torch sees no CUDA device.
        """
        self._gsplat = _load()

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Draws all cameras in one call; arguments, results and errors are those of ``GsplatRasterizer.render``."""
        sent = _send(splats, cameras, camera_from_world)
        depth = torch.einsum("vj,nj->vn", sent.poses[:, 2, :3], sent.means) + sent.poses[:, 2, 3:]
        # Squares of depths from the middle of the head, not from the camera: the difference below has to be accurate.
        middle = depth.detach().mean(dim=1, keepdim=True)
        axis = torch.full((len(sent.means),), _NORMAL, device=_DEVICE)
        # With gsplat's own depth last these are eight channels: fewer would be filled up with uninitialised memory.
        values = torch.cat(
            [_colours(self._gsplat, sent), _normals(sent, axis), (depth - middle).square()[..., None]], dim=-1
        )
        picture, alpha, _, _, _, median, _ = self._gsplat.rasterization_2dgs(
            sent.means,
            sent.quats,
            sent.scales,
            sent.opacities,
            values,
            sent.poses,
            sent.intrinsics_px,
            cameras.width_px,
            cameras.height_px,
            packed=False,
            render_mode="RGB+D",
        )
        spread = picture[..., 7] - middle[:, None] * alpha[..., 0]
        distortion = (alpha[..., 0] * picture[..., 6] - spread.square()).clamp_min(0)
        return Rendering(
            rgb=picture[..., :3].to(sent.home),
            alpha=alpha[..., 0].to(sent.home),
            depth=picture[..., 7].to(sent.home),
            normals_world=picture[..., 3:6].to(sent.home),
            median_depth=median[..., 0].to(sent.home),
            distortion=distortion.to(sent.home),
        )


@dataclass(frozen=True)
class _Sent:
    """Splats and cameras on the card, in float32."""

    home: torch.device
    means: Float[Tensor, "n 3"]
    scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    opacities: Float[Tensor, "n"]
    sh: Float[Tensor, "n k 3"]
    poses: Float[Tensor, "v 4 4"]
    intrinsics_px: Float[Tensor, "v 3 3"]
    toward_splat: Float[Tensor, "v n 3"]


def _send(splats: Splats, cameras: Cameras, camera_from_world: Float[Tensor, "..."] | None) -> _Sent:
    check_splats_and_cameras(splats, cameras, camera_from_world)
    means, scales, quats, opacities, sh = (
        field.to(_DEVICE, torch.float32)
        for field in (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    )
    given = torch.as_tensor(cameras.camera_from_world) if camera_from_world is None else camera_from_world
    poses = given.to(_DEVICE, torch.float32)
    intrinsics_px = torch.as_tensor(cameras.intrinsics_px, dtype=torch.float32, device=_DEVICE)
    eyes = -torch.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])
    return _Sent(splats.means.device, means, scales, quats, opacities, sh, poses, intrinsics_px, means - eyes[:, None])


def _load() -> ModuleType:
    try:
        gsplat = importlib.import_module("gsplat")
    except ImportError as error:
        raise MissingDependencyError(
            f'the CUDA rasteriser needs gsplat, which cannot be imported ({error}): pip install "spinmeround[cuda]",'
            " or use --device cpu"
        ) from error
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"gsplat is installed but torch {torch.__version__} sees no CUDA device: install a CUDA build of torch"
            " (https://pytorch.org/get-started/locally), or use --device cpu"
        )
    return gsplat


def _colours(gsplat: ModuleType, sent: _Sent) -> Float[Tensor, "v n 3"]:
    degree = round(sent.sh.shape[1] ** 0.5) - 1
    directions = torch.nn.functional.normalize(sent.toward_splat, dim=-1)
    coefficients = sent.sh.expand(len(sent.poses), -1, -1, -1)
    return (0.5 + gsplat.spherical_harmonics(degree, directions, coefficients)).clamp_min(0)


def _normals(sent: _Sent, axis: Int64[Tensor, "n"]) -> Float[Tensor, "v n 3"]:
    """One axis of each splat, turned toward each camera."""
    w, x, y, z = torch.nn.functional.normalize(sent.quats, dim=1).unbind(1)
    axes = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1),
        ],
        dim=1,
    )
    normals = axes[torch.arange(len(axes), device=axes.device), axis]
    away = (sent.toward_splat * normals).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -normals, normals)
