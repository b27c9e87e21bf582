"""The CUDA rasterisers: gsplat behind the protocol of the CPU ones, with the same conventions."""

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
_NORMAL_AXIS = 2
"""The axis of a surfel that is its normal."""


@final
class GsplatRasterizer:
    """``Rasterizer`` on an Nvidia GPU, differentiable in every field of ``Splats`` and in the poses.

    Fields may live on any device; pictures come back to where the fields are. It differs from ``NumbaRasterizer`` only
    where gsplat does: it stops one splat earlier in nearly opaque pixels, clamps the slope of splats beyond the picture
    to a narrower field, adds in an order that is not reproducible, and has no median depth.
    """

    def __init__(self, *, dilation_px2: float = 0.1, antialiased: bool = False) -> None:
        """Load gsplat, which compiles its kernels on first use.

        Args:
            dilation_px2: added to both variances of every footprint, see ``NumbaRasterizer``.
            antialiased: make splats more transparent by what dilation makes them larger, see there.

        Raises:
            MissingDependencyError: gsplat is not installed, or torch sees no CUDA device.
        """
        self._gsplat = _load_gsplat()
        self._dilation_px2 = dilation_px2
        self._mode = "antialiased" if antialiased else "classic"

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Render all cameras in one call.

        Args:
            splats: SH of degree 0 to 3, seen along the ray from the camera's centre.
            cameras: no skew.
            camera_from_world: poses in place of those of ``cameras``.

        Returns:
            float32 tensors on the device of ``splats.means``, premultiplied over black.

        Raises:
            ValueError: coefficients that no degree has, a skewed camera, or not one pose a camera.
        """
        gpu = _to_gpu(splats, cameras, camera_from_world)
        values = torch.cat(
            [_sh_colours(self._gsplat, gpu), _facing_normals(gpu, torch.argmin(gpu.scales, dim=1))], dim=-1
        )
        picture, alpha, _ = self._gsplat.rasterization(
            gpu.means,
            gpu.quats,
            gpu.scales,
            gpu.opacities,
            values,
            gpu.poses,
            gpu.intrinsics_px,
            cameras.width_px,
            cameras.height_px,
            eps2d=self._dilation_px2,
            packed=False,
            render_mode="RGB+D",
            rasterize_mode=self._mode,
        )
        picture, alpha = picture.to(gpu.home), alpha.to(gpu.home)
        return Rendering(
            rgb=picture[..., :3], alpha=alpha[..., 0], depth=picture[..., 6], normals_world=picture[..., 3:6]
        )


@final
class GsplatSurfelRasterizer:
    """``Rasterizer`` for surfels on an Nvidia GPU, differentiable in every field of ``Splats`` and in the poses.

    Fields may live on any device; pictures come back to where the fields are. It differs from ``NumbaSurfelRasterizer``
    where gsplat does, above all in that a surfel has one depth, its mean's, and shows no slant in the two depths and in
    distortion; and as ``GsplatRasterizer`` does.
    """

    def __init__(self) -> None:
        """Load gsplat, which compiles its kernels on first use.

        Raises:
            MissingDependencyError: gsplat is not installed, or torch sees no CUDA device.
        """
        self._gsplat = _load_gsplat()

    def render(
        self, splats: Splats, cameras: Cameras, *, camera_from_world: Float[Tensor, "v 4 4"] | None = None
    ) -> Rendering:
        """Render all cameras in one call; arguments, results and errors are those of ``GsplatRasterizer.render``."""
        gpu = _to_gpu(splats, cameras, camera_from_world)
        depth = torch.einsum("vj,nj->vn", gpu.poses[:, 2, :3], gpu.means) + gpu.poses[:, 2, 3:]
        # Squares of depths from the middle of the head, not from the camera: the difference below has to be accurate.
        middle = depth.detach().mean(dim=1, keepdim=True)
        axis = torch.full((len(gpu.means),), _NORMAL_AXIS, device=_DEVICE)
        # With gsplat's own depth last these are eight channels: gsplat would fill fewer up with uninitialised memory.
        values = torch.cat(
            [_sh_colours(self._gsplat, gpu), _facing_normals(gpu, axis), (depth - middle).square()[..., None]],
            dim=-1,
        )
        picture, alpha, _, _, _, median, _ = self._gsplat.rasterization_2dgs(
            gpu.means,
            gpu.quats,
            gpu.scales,
            gpu.opacities,
            values,
            gpu.poses,
            gpu.intrinsics_px,
            cameras.width_px,
            cameras.height_px,
            packed=False,
            render_mode="RGB+D",
        )
        spread = picture[..., 7] - middle[:, None] * alpha[..., 0]
        distortion = (alpha[..., 0] * picture[..., 6] - spread.square()).clamp_min(0)
        return Rendering(
            rgb=picture[..., :3].to(gpu.home),
            alpha=alpha[..., 0].to(gpu.home),
            depth=picture[..., 7].to(gpu.home),
            normals_world=picture[..., 3:6].to(gpu.home),
            median_depth=median[..., 0].to(gpu.home),
            distortion=distortion.to(gpu.home),
        )


@dataclass(frozen=True)
class _OnGpu:
    """Splats and cameras on the GPU, in float32.

    Attributes:
        home: the device the fields came from.
        toward_splat: means minus the camera's centre, world frame.
    """

    home: torch.device
    means: Float[Tensor, "n 3"]
    scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    opacities: Float[Tensor, "n"]
    sh: Float[Tensor, "n k 3"]
    poses: Float[Tensor, "v 4 4"]
    intrinsics_px: Float[Tensor, "v 3 3"]
    toward_splat: Float[Tensor, "v n 3"]


def _to_gpu(splats: Splats, cameras: Cameras, camera_from_world: Float[Tensor, "..."] | None) -> _OnGpu:
    check_splats_and_cameras(splats, cameras, camera_from_world)
    means, scales, quats, opacities, sh = (
        field.to(_DEVICE, torch.float32)
        for field in (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    )
    poses = torch.as_tensor(cameras.camera_from_world) if camera_from_world is None else camera_from_world
    poses = poses.to(_DEVICE, torch.float32)
    intrinsics_px = torch.as_tensor(cameras.intrinsics_px, dtype=torch.float32, device=_DEVICE)
    camera_centres = -torch.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])
    return _OnGpu(
        splats.means.device, means, scales, quats, opacities, sh, poses, intrinsics_px, means - camera_centres[:, None]
    )


def _load_gsplat() -> ModuleType:
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


def _sh_colours(gsplat: ModuleType, gpu: _OnGpu) -> Float[Tensor, "v n 3"]:
    degree = round(gpu.sh.shape[1] ** 0.5) - 1
    directions = torch.nn.functional.normalize(gpu.toward_splat, dim=-1)
    coefficients = gpu.sh.expand(len(gpu.poses), -1, -1, -1)
    return (0.5 + gsplat.spherical_harmonics(degree, directions, coefficients)).clamp_min(0)


def _facing_normals(gpu: _OnGpu, axis: Int64[Tensor, "n"]) -> Float[Tensor, "v n 3"]:
    """Return one axis of each splat, turned toward each camera."""
    w, x, y, z = torch.nn.functional.normalize(gpu.quats, dim=1).unbind(1)
    axes = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1),
        ],
        dim=1,
    )
    normals = axes[torch.arange(len(axes), device=axes.device), axis]
    away = (gpu.toward_splat * normals).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -normals, normals)
