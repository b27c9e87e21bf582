"""What drawing 3D Gaussians and drawing surfels share outside the kernels: checks, threads, tiles, one view's plan."""

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
from spinmeround.recon.raster.tiles import RECORD, TILE, count_pairs, list_pairs
from spinmeround.types import Cameras, Splats

_PARTS_PER_THREAD = 6
_MAX_PAIRS = 1 << 26
"""A pair costs 8 bytes forward and 64 bytes backward."""


@dataclass(frozen=True)
class View:
    """What the kernels take of a camera beside its pose."""

    lens: Float64[np.ndarray, "4"]
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Pairs:
    """Which splats touch which tiles, tile by tile, near to far."""

    tile_starts: Int64[np.ndarray, "tiles_and_one"]
    splat_starts: Int64[np.ndarray, "splats_and_one"]
    splat: Int32[np.ndarray, "p"]
    row: Int32[np.ndarray, "p"]


@dataclass(frozen=True)
class Projected:
    """One view after projection, with what the way back needs.

    Attributes:
        fields: means, scales, quaternions, opacities, SH.
        camera: pose, lens, eye, width and height, then the options of the kind of splat: what projection takes.
        centres: u px, v px, depth; for surfels the root p, q, r as well.
    """

    fields: tuple[Float32[np.ndarray, "..."], ...]
    camera: tuple[Any, ...]
    centres: Float64[np.ndarray, "n c"]
    records: Float32[np.ndarray, "n 16"]
    pairs: Pairs


class Workers:
    """A few threads that run a kernel over ranges of work. Ranges share no outputs, so their order does not matter."""

    def __init__(self, threads: int) -> None:
        self.parts = threads * _PARTS_PER_THREAD if threads > 1 else 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="splats") if threads > 1 else None
        self._idle_rows: list[Float32[np.ndarray, "p 16"]] = []

    def borrow_rows(self, count: int) -> Float32[np.ndarray, "p 16"]:
        """Gradient rows, not cleared. The largest array by far: touching fresh pages of it would cost as much as
        blending, so ``return_rows`` keeps one for the next view."""
        kept = self._idle_rows.pop() if self._idle_rows else np.empty((0, RECORD), np.float32)
        return kept if len(kept) >= count else np.empty((count + count // 8, RECORD), np.float32)

    def return_rows(self, rows: Float32[np.ndarray, "p 16"]) -> None:
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


def checked_poses(
    splats: Splats, cameras: Cameras, camera_from_world: Float[Tensor, "v 4 4"] | None
) -> Float64[Tensor, "v 4 4"]:
    """The poses to draw from.

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
    """One view a camera."""
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
    centre_columns: int = 3,
    workers: Workers,
) -> Projected:
    """Projects all splats with a kernel, and deals them out to the tiles.

    Raises:
        ResourceError: the splats are so large that the view would need gigabytes of (tile, splat) pairs.
    """
    arrays = tuple(field.detach().contiguous().numpy() for field in fields)
    rows = np.ascontiguousarray(pose[:3].detach().numpy())
    camera = (rows, view.lens, -rows[:, :3].T @ rows[:, 3], view.width_px, view.height_px, *options)
    count = len(arrays[0])
    centres, records = np.empty((count, centre_columns)), np.empty((count, RECORD), np.float32)
    tiles = np.empty((count, 4), np.int32)
    workers.over_items(count, kernel, *arrays, *camera, centres, records, tiles)
    return Projected(arrays, camera, centres, records, _deal_out(centres, tiles, view))


def project_backward(
    kernel: Callable[..., None],
    projected: Projected,
    rows: Float32[np.ndarray, "p 16"],
    *,
    pose: bool,
    workers: Workers,
) -> tuple[Tensor | None, ...]:
    """Carries gradient rows to the fields and, when asked, to the pose (else None); ends the loan of the rows."""
    out = [np.empty_like(field) for field in projected.fields]
    count = len(projected.records)
    g_poses = np.empty((count, 15 if pose else 0))
    workers.over_items(
        count, kernel, *projected.fields, *projected.camera, projected.records, projected.pairs.splat_starts, rows,
        *out, g_poses,
    )  # fmt: skip
    workers.return_rows(rows)
    g_pose = torch.from_numpy(_pose_gradient(projected.camera[0], g_poses)) if pose else None
    return *(torch.from_numpy(gradient) for gradient in out), g_pose


def _deal_out(centres: Float64[np.ndarray, "n c"], tiles: Int32[np.ndarray, "n 4"], view: View) -> Pairs:
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
    order = visible[np.argsort(centres[visible, 2], kind="stable")]
    splat, row = np.empty(pairs, np.int32), np.empty(pairs, np.int32)
    list_pairs(order, tiles, tiles_x, tile_starts, splat_starts, splat, row)
    return Pairs(tile_starts, splat_starts, splat, row)


def _pose_gradient(
    pose: Float64[np.ndarray, "3 4"], by_splat: Float64[np.ndarray, "n 15"]
) -> Float64[np.ndarray, "4 4"]:
    """Adds the splats' shares; the eye is -R^T t."""
    total = by_splat.sum(axis=0)
    turn, shift, eye = total[:9].reshape(3, 3), total[9:12], total[12:]
    out = np.zeros((4, 4))
    out[:3, :3] = turn - np.outer(pose[:, 3], eye)
    out[:3, 3] = shift - pose[:, :3] @ eye
    return out
