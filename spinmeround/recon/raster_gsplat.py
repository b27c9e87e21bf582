"""The CUDA rasteriser: gsplat behind the same protocol and with the same meaning as the CPU one."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.errors import MissingDependencyError
from spinmeround.types import Cameras, Rendering, Splats

_DEVICE = "cuda"


@final
class GsplatRasterizer:
    """``Rasterizer`` on an Nvidia card, differentiable in every field of ``Splats`` and in the poses.

    Fields may live on any device; pictures come back to where the fields are. It differs from ``NumbaRasterizer`` only
    where gsplat does: it stops one splat earlier in nearly opaque pixels, holds the slope of splats outside the picture
    tighter, and adds in an order that is not reproducible.
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
        """
        home = splats.means.device
        means, scales, quats, opacities, sh = (
            field.to(_DEVICE, torch.float32)
            for field in (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
        )
        given = torch.as_tensor(cameras.camera_from_world) if camera_from_world is None else camera_from_world
        poses = given.to(_DEVICE, torch.float32)
        eyes = -torch.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])
        toward_splat = means - eyes[:, None]
        values = torch.cat([self._colours(toward_splat, sh), _normals(toward_splat, scales, quats)], dim=-1)
        picture, alpha, _ = self._gsplat.rasterization(
            means,
            quats,
            scales,
            opacities,
            values,
            poses,
            torch.as_tensor(cameras.intrinsics_px, dtype=torch.float32, device=_DEVICE),
            cameras.width_px,
            cameras.height_px,
            eps2d=self._dilation_px2,
            packed=False,
            render_mode="RGB+D",
            rasterize_mode=self._mode,
        )
        picture, alpha = picture.to(home), alpha.to(home)
        return Rendering(
            rgb=picture[..., :3], alpha=alpha[..., 0], depth=picture[..., 6], normals_world=picture[..., 3:6]
        )

    def _colours(self, toward_splat: Float[Tensor, "v n 3"], sh: Float[Tensor, "n k 3"]) -> Float[Tensor, "v n 3"]:
        degree = round(sh.shape[1] ** 0.5) - 1
        directions = torch.nn.functional.normalize(toward_splat, dim=-1)
        coefficients = sh.expand(len(toward_splat), -1, -1, -1)
        return (0.5 + self._gsplat.spherical_harmonics(degree, directions, coefficients)).clamp_min(0)


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


def _normals(
    toward_splat: Float[Tensor, "v n 3"], scales: Float[Tensor, "n 3"], quats_wxyz: Float[Tensor, "n 4"]
) -> Float[Tensor, "v n 3"]:
    """The shortest axis of each splat, turned toward each camera."""
    w, x, y, z = torch.nn.functional.normalize(quats_wxyz, dim=1).unbind(1)
    axes = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1),
        ],
        dim=1,
    )
    shortest = axes[torch.arange(len(axes), device=axes.device), torch.argmin(scales, dim=1)]
    away = (toward_splat * shortest).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -shortest, shortest)
