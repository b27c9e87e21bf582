"""What both kinds of splats share outside the kernels: checks, threads, and the plan of one view (tiles and pairs)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int32, Int64
from torch import Tensor

from spinmeround.errors import ResourceError
from spinmeround.recon.raster.checks import check_splats_and_cameras
from spinmeround.recon.raster.layout import MEAN2D_DEPTH, RECORD_SIZE, TILE, TILES_X0, TILES_X1
from spinmeround.recon.raster.rigid import POSE_CENTRE, POSE_GRAD_SIZE, POSE_ROTATION, POSE_TRANSLATION
from spinmeround.recon.raster.tiles import count_pairs, list_pairs
from spinmeround.types import Cameras, Splats

_PARTS_PER_THREAD = 6
"""Ranges of work per thread: more than one, so that threads that finish early take over from the others."""
_COST_OF_TILE = 8
"""Work on a tile without splats, in pairs."""
_MAX_PAIRS = 1 << 26
"""Most (tile, splat) pairs of a view. A pair costs 8 bytes forward and 64 bytes backward."""


@dataclass(frozen=True)
class View:
    """What the kernels take of a camera beside its pose.

    Attributes:
        intrinsics: fx, fy, cx, cy in pixels.
    """

    intrinsics: Float64[np.ndarray, "4"]
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Pairs:
    """The (tile, splat) pairs of a view, tile by tile, near to far.

    Attributes:
        tile_starts: of each tile's pairs in ``splat`` and ``grad_row``; the number of pairs at the end.
        splat_starts: of each splat's rows in ``pair_grads``; the number of pairs at the end.
        splat: the splat of each pair.
        grad_row: the row of each pair in ``pair_grads``.
    """

    tile_starts: Int64[np.ndarray, "tiles_and_one"]
    splat_starts: Int64[np.ndarray, "splats_and_one"]
    splat: Int32[np.ndarray, "p"]
    grad_row: Int32[np.ndarray, "p"]


@dataclass(frozen=True)
class Projected:
    """One view after projection, with what the backward pass needs. ``layout`` names the columns.

    Attributes:
        fields: means, scales, quaternions, opacities, SH.
        camera: what projection takes: pose, intrinsics, the camera's centre in the world, width and height in pixels,
            then the options of the kind of splat.
    """

    fields: tuple[Float32[np.ndarray, "..."], ...]
    camera: tuple[Any, ...]
    means2d: Float64[np.ndarray, "n c"]
    records: Float32[np.ndarray, "n 16"]
    pairs: Pairs


class Workers:
    """Threads that run a kernel over ranges of work. Ranges share no outputs, so their order does not matter."""

    def __init__(self, threads: int) -> None:
        self.parts = threads * _PARTS_PER_THREAD if threads > 1 else 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="splats") if threads > 1 else None
        self._idle_pair_grads: list[Float32[np.ndarray, "p 16"]] = []

    def borrow_pair_grads(self, count: int) -> Float32[np.ndarray, "p 16"]:
        """Return at least ``count`` rows of ``pair_grads``, not cleared.

        This is the largest array by far, and touching fresh pages of it would cost as much as blending:
        ``return_pair_grads`` keeps one for the next view.
        """
        kept = self._idle_pair_grads.pop() if self._idle_pair_grads else np.empty((0, RECORD_SIZE), np.float32)
        return kept if len(kept) >= count else np.empty((count + count // 8, RECORD_SIZE), np.float32)

    def return_pair_grads(self, pair_grads: Float32[np.ndarray, "p 16"]) -> None:
        """Keep an array for the next ``borrow_pair_grads``."""
        self._idle_pair_grads[:] = [pair_grads]

    def over_items(self, count: int, kernel: Callable[..., None], *arguments: Any) -> None:
        """Run a kernel over ranges of equal length."""
        self._run(np.linspace(0, count, self.parts + 1).astype(np.int64), kernel, *arguments)

    def over_tiles(
        self, tile_starts: Int64[np.ndarray, "tiles_and_one"], kernel: Callable[..., None], *arguments: Any
    ) -> None:
        """Run a kernel over ranges of tiles with about equal numbers of pairs; an empty tile counts for its pixels."""
        cost = tile_starts + _COST_OF_TILE * np.arange(len(tile_starts))
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


def checked_poses(
    splats: Splats, cameras: Cameras, camera_from_world: Float[Tensor, "v 4 4"] | None
) -> Float64[Tensor, "v 4 4"]:
    """Check the input of a rendering and return its poses.

    Raises:
        ValueError: fields or poses of another dtype or device, or what ``check_splats_and_cameras`` refuses.
    """
    for name in ("means", "scales", "quats_wxyz", "opacities", "sh"):
        field = getattr(splats, name)
        if field.dtype != torch.float32 or field.device.type != "cpu":
            raise ValueError(f"the CPU rasteriser takes float32 on the CPU, got {name} {field.dtype} on {field.device}")
    check_splats_and_cameras(splats, cameras, camera_from_world)
    if camera_from_world is None:
        return torch.from_numpy(cameras.camera_from_world.astype(np.float64))
    if camera_from_world.dtype != torch.float64 or camera_from_world.device.type != "cpu":
        raise ValueError(
            f"poses must be float64 on the CPU, got {camera_from_world.dtype} on {camera_from_world.device}"
        )
    return camera_from_world


def views_of(cameras: Cameras) -> list[View]:
    """Return one ``View`` a camera."""
    return [
        View(np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]], np.float64), cameras.width_px, cameras.height_px)
        for k in cameras.intrinsics_px
    ]


def project(
    kernel: Callable[..., None],
    fields: tuple[Tensor, ...],
    pose: Tensor,
    view: View,
    *,
    options: tuple[Any, ...] = (),
    means2d_size: int,
    workers: Workers,
) -> Projected:
    """Project all splats with a kernel and list the pairs of each tile.

    Args:
        options: what the kernel takes beside the camera.
        means2d_size: columns of ``means2d``.

    Raises:
        ResourceError: the splats are so large that the view would need gigabytes of (tile, splat) pairs.
    """
    arrays = tuple(field.detach().contiguous().numpy() for field in fields)
    matrix = np.ascontiguousarray(pose[:3].detach().numpy())
    camera_centre = -matrix[:, :3].T @ matrix[:, 3]
    camera = (matrix, view.intrinsics, camera_centre, view.width_px, view.height_px, *options)
    count = len(arrays[0])
    means2d, records = np.empty((count, means2d_size)), np.empty((count, RECORD_SIZE), np.float32)
    tiles = np.empty((count, 4), np.int32)
    workers.over_items(count, kernel, *arrays, *camera, means2d, records, tiles)
    return Projected(arrays, camera, means2d, records, _assign_tiles(means2d, tiles, view))


def project_backward(
    kernel: Callable[..., None],
    projected: Projected,
    pair_grads: Float32[np.ndarray, "p 16"],
    *,
    pose_needs_grad: bool,
    workers: Workers,
) -> tuple[Tensor | None, ...]:
    """Carry ``pair_grads`` to the fields and to the pose; return the array to the workers.

    Returns:
        Gradients of the fields in their order, then that of the pose, None if it needs none.
    """
    out = [np.empty_like(field) for field in projected.fields]
    count = len(projected.records)
    g_poses = np.empty((count, POSE_GRAD_SIZE if pose_needs_grad else 0))
    workers.over_items(
        count, kernel, *projected.fields, *projected.camera, projected.records, projected.pairs.splat_starts,
        pair_grads, *out, g_poses,
    )  # fmt: skip
    workers.return_pair_grads(pair_grads)
    g_pose = torch.from_numpy(_pose_gradient(projected.camera[0], g_poses)) if pose_needs_grad else None
    return *(torch.from_numpy(gradient) for gradient in out), g_pose


def _assign_tiles(means2d: Float64[np.ndarray, "n c"], tiles: Int32[np.ndarray, "n 4"], view: View) -> Pairs:
    """Sort the splats by depth once, then list the pairs of each tile; equal depths keep their order."""
    tiles_x, tiles_y = (view.width_px + TILE - 1) // TILE, (view.height_px + TILE - 1) // TILE
    tile_starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    splat_starts = np.zeros(len(tiles) + 1, np.int64)
    pairs = count_pairs(tiles, tiles_x, tile_starts, splat_starts)
    if pairs > _MAX_PAIRS:
        raise ResourceError(
            f"{len(tiles)} splats touch {pairs} tiles of one {view.width_px}x{view.height_px} view, more than"
            f" {_MAX_PAIRS}: they are far too large; check the unit of the scales, or use fewer splats"
        )
    visible = np.flatnonzero(tiles[:, TILES_X1] > tiles[:, TILES_X0])
    order = visible[np.argsort(means2d[visible, MEAN2D_DEPTH], kind="stable")]
    splat, grad_row = np.empty(pairs, np.int32), np.empty(pairs, np.int32)
    list_pairs(order, tiles, tiles_x, tile_starts, splat_starts, splat, grad_row)
    return Pairs(tile_starts, splat_starts, splat, grad_row)


def _pose_gradient(
    pose: Float64[np.ndarray, "3 4"], by_splat: Float64[np.ndarray, "n 15"]
) -> Float64[np.ndarray, "4 4"]:
    """Add up the splats' parts; the camera's centre is -R^T t."""
    total = by_splat.sum(axis=0)
    g_rotation = total[POSE_ROTATION:POSE_TRANSLATION].reshape(3, 3)
    g_translation, g_centre = total[POSE_TRANSLATION:POSE_CENTRE], total[POSE_CENTRE:]
    out = np.zeros((4, 4))
    out[:3, :3] = g_rotation - np.outer(pose[:, 3], g_centre)
    out[:3, 3] = g_translation - pose[:, :3] @ g_centre
    return out
