"""Better cameras for views without normals: the poses that let one set of splats show them all.

Pictures whose cameras are only nearly known (generated ones, a rig assumed level) blur a splat fit more than anything
else does. A small fit at low resolution carries the poses along: by a motion all views share, in each camera's own
axes, since views of one rig share its mistakes, and a small one of each view's own. Cameras turn about the world's
origin and shift across their line of sight; their distance is the unit of length and stays.

Such a fit is good to about a pixel, so it is no help to cameras that are better. Whether it is needed, and whether it
helped, is told by the outlines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.protocols import Rasterizer
from spinmeround.recon.cameras.silhouettes import helps, outline_gap
from spinmeround.recon.splats.initialisation import open_visual_hull, pixel_width, splats_on_surface
from spinmeround.recon.splats.losses import structural_dissimilarity, weighted_l1
from spinmeround.recon.splats.optimizer import SplatOptimizer, ViewCrop, one_torch_thread, view_order
from spinmeround.recon.view_scaling import shrink_views
from spinmeround.types import Cameras, Splats, Views

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Round:
    """One fit from a fresh hull. Rates are those of Adam at the start, radians and head units."""

    size_px: int
    splats: int
    turns: int
    hull_cells: int
    shared_rate: float
    own_rate: float


_ROUNDS = (
    _Round(128, 8_000, 12, 40, 2e-2, 0.0),
    _Round(128, 8_000, 12, 40, 1e-2, 2e-3),
    _Round(256, 16_000, 6, 56, 2e-3, 1e-3),
)
_LAST_RATE = 0.02
"""Share of a rate that is left at the last step: a camera that was right must not end up shaken."""
_FAIR_GAP = 0.003
"""Voxels and hair thinner than they make most of it with exact cameras; a head seen from degrees off makes twice it."""
_FREE = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
"""Which parts of a motion are fitted: all but the one along the line of sight."""


@dataclass(frozen=True)
class Registration:
    """How cameras move: rotation vector in radians, then a shift in head units, in each camera's own axes.

    Attributes:
        shared: what all views have in common.
        own: what each of the views that were registered moves beside that.
    """

    shared: Float[np.ndarray, "6"]
    own: Float[np.ndarray, "v 6"]

    def applied(self, views: Views) -> Views:
        """The views that were registered, with better cameras."""
        return replace(views, cameras=_moved(views.cameras, self.shared + self.own))


def register(
    views: Views, rasterizer: Rasterizer, *, seed: int, progress: Callable[[float, str], None]
) -> Registration:
    """Fits the cameras of ``views``; deterministic for a seed.

    Raises:
        InputError: masks and cameras that do not belong together.
        FitError: no view sees the hull of the masks.
    """
    source = np.random.default_rng(seed)
    shared = torch.zeros(6, dtype=torch.float64)
    own = [torch.zeros(6, dtype=torch.float64) for _ in range(len(views))]
    total, done = sum(each.turns for each in _ROUNDS), 0
    with one_torch_thread():
        for each in _ROUNDS:
            progress(done / total, f"registering cameras at {each.size_px} pixels")
            _fit(views, rasterizer, each, shared, own, source)
            done += each.turns
    return Registration(shared.numpy(), torch.stack(own).numpy())


def register_if_needed(
    views: Views, rasterizer: Rasterizer, *, seed: int, progress: Callable[[float, str], None]
) -> Registration | None:
    """``register`` where outlines contradict each other; nothing where they do not, or go on to contradict each other.

    Raises:
        InputError, FitError: as ``register``.
    """
    progress(0.0, "comparing outlines")
    before = outline_gap(views.cameras, views.alpha)
    if before < _FAIR_GAP:
        _log.info("outlines agree to %.2f %% of the picture: the cameras are taken as they are", 100 * before)
        return None
    found = register(views, rasterizer, seed=seed, progress=progress)
    better = found.applied(views)
    helped = helps(before, outline_gap(better.cameras, better.alpha), "registered")
    return found if helped else None


def _fit(
    views: Views, rasterizer: Rasterizer, how: _Round, shared: Tensor, own: list[Tensor], source: np.random.Generator
) -> None:
    """One round; moves ``shared`` and ``own`` in place."""
    small = shrink_views(views, how.size_px)
    start = replace(small, cameras=_moved(small.cameras, (shared + torch.stack(own)).detach().numpy()))
    shell = open_visual_hull(start, cells=how.hull_cells)
    descent = SplatOptimizer(
        splats_on_surface(start, shell, count=how.splats, sh_degree=0, rng=source),
        pixel_width(start, shell.vertices),
        regularise_positions=False,
    )
    motions = [
        {"params": [shared.requires_grad_()], "start": how.shared_rate},
        {"params": [motion.requires_grad_() for motion in own], "start": how.own_rate},
    ]
    adam = torch.optim.Adam(motions, lr=0.0, betas=(0.9, 0.99), eps=1e-15)
    given = torch.from_numpy(small.cameras.camera_from_world.astype(np.float64))
    steps = how.turns * len(views)
    for step, index in enumerate(view_order(len(views), steps, source)):
        pose = _moved_pose(shared + own[index], given[index])
        loss = _loss(descent.splats(), ViewCrop.of(small, index), pose, rasterizer, source)
        # Motions of views that are not in this picture have no gradient, and Adam leaves them alone.
        adam.zero_grad(set_to_none=True)
        descent.step(loss, step / steps)
        for group in adam.param_groups:
            group["lr"] = group["start"] * _LAST_RATE ** (step / steps)
        adam.step()
    for motion in (shared, *own):
        motion.requires_grad_(False)
        motion.grad = None


def _loss(
    splats: Splats, picture: ViewCrop, pose: Float[Tensor, "4 4"], rasterizer: Rasterizer, source: np.random.Generator
) -> Float[Tensor, ""]:
    background = torch.from_numpy(source.random(3, np.float32))
    drawn = rasterizer.render(splats, picture.camera, camera_from_world=pose[None])
    alpha = drawn.alpha[0]
    prediction = drawn.rgb[0] + (1 - alpha)[..., None] * background
    target = torch.lerp(background.expand_as(picture.rgb), picture.rgb, picture.alpha[..., None])
    loss = 0.8 * weighted_l1(prediction, target, picture.weight)
    loss = loss + 0.2 * structural_dissimilarity(prediction, target, picture.weight)
    return loss + 0.2 * weighted_l1(alpha[..., None], picture.alpha[..., None], picture.weight)


def _moved(cameras: Cameras, motions: Float[np.ndarray, "v 6"]) -> Cameras:
    poses = torch.from_numpy(cameras.camera_from_world.astype(np.float64))
    moved = [_moved_pose(torch.from_numpy(m), pose) for m, pose in zip(motions, poses, strict=True)]
    return replace(cameras, camera_from_world=torch.stack(moved).numpy().astype(cameras.camera_from_world.dtype))


def _moved_pose(motion: Float[Tensor, "6"], pose: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """The pose after turning about the world's origin and shifting, both in the camera's axes."""
    x, y, z, across, down, along = (motion * torch.tensor(_FREE, dtype=motion.dtype)).unbind()
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    turn = torch.linalg.matrix_exp(generator) @ pose[:3, :3]
    shift = pose[:3, 3] + torch.stack([across, down, along])
    return torch.cat([torch.cat([turn, shift[:, None]], dim=1), pose[3:]])
