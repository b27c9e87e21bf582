"""The CPU rasteriser: 3D Gaussians to RGB, normals, expected depth and alpha, with analytic gradients.

Four steps a view, each over ranges of work handed to a few threads: project every splat (``raster_projection``), sort
the visible ones once by depth and deal them out to 16 by 16 pixel tiles, blend each tile front to back
(``raster_tiles``); backward blends again, front to back, and then carries each splat's sum to its fields.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from spinmeround.errors import ResourceError
from spinmeround.recon.raster_projection import project_splats, project_splats_backward
from spinmeround.recon.raster_tiles import RECORD, TILE, blend_tiles, blend_tiles_backward, count_pairs, list_pairs
from spinmeround.types import Cameras, Rendering, Splats

_PARTS_PER_THREAD = 6
_MAX_PAIRS = 1 << 26
"""A pair costs 8 bytes forward and 64 bytes backward."""


@dataclass(frozen=True)
class _View:
    """What the kernels take of a camera beside its pose."""

    lens: Float[np.ndarray, "4"]
    width_px: int
    height_px: int
    dilation_px2: float
    antialiased: bool


@dataclass(frozen=True)
class _Pairs:
    """Which splats touch which tiles, tile by tile, near to far."""

    tile_starts: Int64[np.ndarray, "tiles_and_one"]
    splat_starts: Int64[np.ndarray, "splats_and_one"]
    splat: Int32[np.ndarray, "p"]
    row: Int32[np.ndarray, "p"]


class _Workers:
    """A few threads that run a kernel over ranges of work. Ranges share no outputs, so their order does not matter."""

    def __init__(self, threads: int) -> None:
        self.parts = threads * _PARTS_PER_THREAD if threads > 1 else 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="splats") if threads > 1 else None
        self._idle_rows: list[Float[np.ndarray, "p 16"]] = []

    def borrow_rows(self, count: int) -> Float[np.ndarray, "p 16"]:
        """Gradient rows, not cleared. The largest array by far: touching fresh pages of it would cost as much as
        blending, so ``return_rows`` keeps one for the next view."""
        kept = self._idle_rows.pop() if self._idle_rows else np.empty((0, RECORD), np.float32)
        return kept if len(kept) >= count else np.empty((count + count // 8, RECORD), np.float32)

    def return_rows(self, rows: Float[np.ndarray, "p 16"]) -> None:
        """Ends a loan."""
        self._idle_rows[:] = [rows]

    def over_items(self, count: int, kernel: Callable[..., None], *arguments: Any) -> None:
        """Ranges of equal length."""
        self._run(np.linspace(0, count, self.parts + 1).astype(np.int64), kernel, *arguments)

    def over_tiles(
        self, tile_starts: Int64[np.ndarray, "tiles_and_one"], kernel: Callable[..., None], *arguments: Any
    ) -> None:
        """Ranges of tiles with about equal numbers of pairs; an empty tile counts a little, for its pixels."""
        cost = tile_starts + 8 * np.arange(len(tile_starts))
        bounds = np.searchsorted(cost, np.linspace(0, cost[-1], self.parts + 1))
        self._run(bounds, kernel, *arguments)

    def _run(self, bounds: Int64[np.ndarray, "k"], kernel: Callable[..., None], *arguments: Any) -> None:
        ranges = [(int(a), int(b)) for a, b in itertools.pairwise(bounds) if b > a]
        if self._pool is None or len(ranges) < 2:
            for first, last in ranges:
                kernel(first, last, *arguments)
        else:
            for future in [self._pool.submit(kernel, first, last, *arguments) for first, last in ranges]:
                future.result()


@final
class NumbaRasterizer:
    """``Rasterizer`` for 3D Gaussians on the CPU, differentiable in every field of ``Splats`` and in the poses.

    Results depend neither on the number of threads nor on their timing. Quaternions need not be unit: they are
    normalised, and the gradient knows. Splats nearer than 0.01 head units or behind the camera, those of opacity at
    most 1/255, and those with a zero or NaN rotation or covariance are not drawn and get zero gradients.

    Alpha of a splat is held below 0.999, values under 1/255 count as 0, and a pixel is finished when less than 1e-4 of
    the light gets through. Normals are each splat's shortest axis turned toward the camera; expected depth is that of
    the means.
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
        self._dilation_px2 = dilation_px2
        self._antialiased = antialiased
        self._workers = _Workers(threads or torch.get_num_threads())

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
        _check(splats, cameras)
        poses = (
            torch.from_numpy(cameras.camera_from_world.astype(np.float64))
            if camera_from_world is None
            else camera_from_world
        )
        if poses.dtype != torch.float64 or poses.device.type != "cpu" or poses.shape != (len(cameras), 4, 4):
            raise ValueError(
                f"poses must be float64 on the CPU, {len(cameras)} of 4 by 4; got {poses.dtype} on {poses.device},"
                f" {tuple(poses.shape)}"
            )
        fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
        pictures = []
        for index, pose in enumerate(poses):
            k = cameras.intrinsics_px[index]
            view = _View(
                lens=np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]], np.float64),
                width_px=cameras.width_px,
                height_px=cameras.height_px,
                dilation_px2=self._dilation_px2,
                antialiased=self._antialiased,
            )
            pictures.append(_Render.apply(*fields, pose, view, self._workers))
        rgb, normals, depth, alpha = (torch.stack(planes) for planes in zip(*pictures, strict=True))
        return Rendering(rgb=rgb, alpha=alpha, depth=depth, normals_world=normals)


def _check(splats: Splats, cameras: Cameras) -> None:
    for name in ("means", "scales", "quats_wxyz", "opacities", "sh"):
        field = getattr(splats, name)
        if field.dtype != torch.float32 or field.device.type != "cpu":
            raise ValueError(f"the CPU rasteriser takes float32 on the CPU, got {name} {field.dtype} on {field.device}")
    if splats.sh.shape[1] not in (1, 4, 9, 16):
        raise ValueError(f"spherical harmonics come in 1, 4, 9 or 16 coefficients, got {splats.sh.shape[1]}")
    if np.any(cameras.intrinsics_px[:, 0, 1] != 0) or np.any(cameras.intrinsics_px[:, 1, 0] != 0):
        raise ValueError("cameras with skew are not supported: intrinsics_px[:, 0, 1] must be 0")


def _deal_out(records: Float[np.ndarray, "n 16"], tiles: Int32[np.ndarray, "n 4"], view: _View) -> _Pairs:
    """Sorts by depth once, then deals the splats out to the tiles; equal depths keep their order."""
    tiles_x, tiles_y = (view.width_px + TILE - 1) // TILE, (view.height_px + TILE - 1) // TILE
    tile_starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    splat_starts = np.zeros(len(tiles) + 1, np.int64)
    pairs = count_pairs(tiles, tiles_x, tile_starts, splat_starts)
    if pairs > _MAX_PAIRS:
        raise ResourceError(
            f"{len(tiles)} splats touch {pairs} tiles of one {view.width_px}x{view.height_px} view, more than"
            f" {_MAX_PAIRS}: they are far too large; check the unit of the scales, or use fewer splats"
        )
    visible = np.flatnonzero(tiles[:, 1] > tiles[:, 0])
    order = visible[np.argsort(records[visible, 14], kind="stable")]
    splat, row = np.empty(pairs, np.int32), np.empty(pairs, np.int32)
    list_pairs(order, tiles, tiles_x, tile_starts, splat_starts, splat, row)
    return _Pairs(tile_starts, splat_starts, splat, row)


class _Render(torch.autograd.Function):
    """One view: fields of the splats and a pose to (rgb, normals, depth, alpha)."""

    @staticmethod
    def forward(ctx, means, scales, quats, opacities, sh, pose, view, workers):
        fields = [f.detach().contiguous().numpy() for f in (means, scales, quats, opacities, sh)]
        pose = np.ascontiguousarray(pose[:3].detach().numpy())
        camera = (
            pose,
            view.lens,
            -pose[:, :3].T @ pose[:, 3],
            view.width_px,
            view.height_px,
            view.dilation_px2,
            view.antialiased,
        )
        records, tiles = np.empty((len(means), RECORD), np.float32), np.empty((len(means), 4), np.int32)
        workers.over_items(len(means), project_splats, *fields, *camera, records, tiles)
        pairs = _deal_out(records, tiles, view)
        size = (view.height_px, view.width_px)
        rgb, normals = np.empty((*size, 3), np.float32), np.empty((*size, 3), np.float32)
        depth, alpha = np.empty(size, np.float32), np.empty(size, np.float32)
        walked = np.empty(len(pairs.tile_starts) - 1, np.int32)
        pictures = (rgb, normals, depth, alpha)
        workers.over_tiles(
            pairs.tile_starts, blend_tiles, pairs.tile_starts, pairs.splat, records, *pictures, walked
        )  # fmt: skip
        ctx.kept = (fields, camera, records, pairs, pictures, walked, workers)
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx, *gradients):
        fields, camera, records, pairs, pictures, walked, workers = ctx.kept
        gradients = [g.contiguous().numpy() for g in gradients]
        rows = workers.borrow_rows(len(pairs.row))
        workers.over_tiles(
            pairs.tile_starts, blend_tiles_backward, pairs.tile_starts, pairs.splat, pairs.row, records,
            *pictures, walked, *gradients, rows,
        )  # fmt: skip
        out = [np.empty_like(field) for field in fields]
        by_camera = np.empty((len(records) if ctx.needs_input_grad[5] else 0, 15))
        workers.over_items(
            len(records), project_splats_backward, *fields, *camera, records, pairs.splat_starts, rows, *out, by_camera
        )  # fmt: skip
        workers.return_rows(rows)
        g_pose = torch.from_numpy(_pose_gradient(camera[0], by_camera)) if ctx.needs_input_grad[5] else None
        return *(torch.from_numpy(g) for g in out), g_pose, None, None


def _pose_gradient(pose: Float[np.ndarray, "3 4"], by_camera: Float[np.ndarray, "n 15"]) -> Float[np.ndarray, "4 4"]:
    """Adds the splats' shares; the eye is -R^T t."""
    total = by_camera.sum(axis=0)
    turn, shift, eye = total[:9].reshape(3, 3), total[9:12], total[12:]
    out = np.zeros((4, 4))
    out[:3, :3] = turn - np.outer(pose[:, 3], eye)
    out[:3, 3] = shift - pose[:, :3] @ eye
    return out
