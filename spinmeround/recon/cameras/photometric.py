"""Camera refinement for views without normals: find the poses with which one set of splats shows all views.

Pictures whose cameras are only nearly known (generated ones, a rig assumed level) blur a splat fit more than anything
else does. A small fit at low resolution optimises the poses along with the splats. Each pose gets the sum of two
motions in the camera's own axes: one that all views share, since views of one rig share its errors, and a smaller one
of its own. Cameras turn about the world's origin and shift across their line of sight; their distance is the unit of
length and stays.

Such a fit is good to about a pixel, so it does not improve cameras that are better. The views' silhouettes tell whether
it is needed, and whether it helped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.protocols import Rasterizer
from spinmeround.recon.cameras.silhouettes import improves, silhouette_gap
from spinmeround.recon.splats.initialisation import open_visual_hull, pixel_width, splats_on_surface
from spinmeround.recon.splats.losses import structural_dissimilarity, weighted_l1
from spinmeround.recon.splats.optimizer import SplatOptimizer, ViewCrop, one_torch_thread, view_order
from spinmeround.recon.view_scaling import shrink_views
from spinmeround.types import Cameras, Progress, Splats, Views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Stage:
    """One fit of splats and poses, from a fresh hull.

    Attributes:
        size_px: longer side of the pictures.
        splats: how many.
        epochs: how often each view is used.
        hull_cells: voxels along the longest side of the hull.
        common_rate, per_view_rate: Adam's learning rates at the start, radians and head units.
    """

    size_px: int
    splats: int
    epochs: int
    hull_cells: int
    common_rate: float
    per_view_rate: float


_STAGES = (
    _Stage(128, 8_000, 12, 40, 2e-2, 0.0),
    _Stage(128, 8_000, 12, 40, 1e-2, 2e-3),
    _Stage(256, 16_000, 6, 56, 2e-3, 1e-3),
)
_FINAL_RATE = 0.02
"""Fraction of a learning rate that is left at the last step, so that good cameras are not moved at random."""
_MAX_GAP = 0.003
"""Silhouette gap, picture widths, up to which cameras are kept. Exact cameras have nearly as much, from voxels and from
hair thinner than they; a head seen from degrees off has twice as much."""
_FREE = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
"""1 for the components of a motion that are optimised: all but the shift along the line of sight."""


@dataclass(frozen=True)
class _LossWeights:
    """Weights of the terms of the loss."""

    colour: float = 0.8
    dissimilarity: float = 0.2
    silhouette: float = 0.2


_LOSS = _LossWeights()


@dataclass(frozen=True)
class CameraCorrection:
    """Motions of the cameras, each in the camera's own axes: a rotation vector in radians, then a shift in head units.

    The rotation turns about the world's origin. A camera's motion is the sum of the common and its own one.

    Attributes:
        common: what all views share.
        per_view: what each view has beside that.
    """

    common: Float[np.ndarray, "6"]
    per_view: Float[np.ndarray, "v 6"]

    def apply(self, views: Views) -> Views:
        """Return the views with corrected cameras; they must be those that were refined, in the same order."""
        cameras = _move_cameras(views.cameras, self.common + self.per_view)
        return replace(views, cameras=cameras, exact_cameras=False)


def refine_cameras(views: Views, rasterizer: Rasterizer, *, seed: int, progress: Progress) -> CameraCorrection:
    """Fit the cameras of ``views``; deterministic for a seed.

    Raises:
        InputError: masks and cameras that do not belong together.
        FitError: no view sees the hull of the masks.
    """
    rng = np.random.default_rng(seed)
    common = torch.zeros(6, dtype=torch.float64)
    per_view = [torch.zeros(6, dtype=torch.float64) for _ in range(len(views))]
    total, done = sum(stage.epochs for stage in _STAGES), 0
    with one_torch_thread():
        for stage in _STAGES:
            progress(done / total, f"refining cameras at {stage.size_px} pixels")
            _fit(views, rasterizer, stage, common, per_view, rng)
            done += stage.epochs
    return CameraCorrection(common.numpy(), torch.stack(per_view).numpy())


def refine_cameras_if_needed(
    views: Views, rasterizer: Rasterizer, *, seed: int, progress: Progress
) -> CameraCorrection | None:
    """Refine cameras whose silhouettes contradict each other.

    Returns:
        The correction; None if the silhouettes agree as they are, or agree no better with it.

    Raises:
        InputError, FitError: as ``refine_cameras``.
    """
    progress(0.0, "comparing silhouettes")
    before = silhouette_gap(views.cameras, views.alpha)
    if before < _MAX_GAP:
        log.info("silhouettes agree to %.2f %% of the picture: the cameras are taken as they are", 100 * before)
        return None
    correction = refine_cameras(views, rasterizer, seed=seed, progress=progress)
    corrected = correction.apply(views)
    improved = improves(before, silhouette_gap(corrected.cameras, corrected.alpha), "refined")
    return correction if improved else None


def _fit(
    views: Views,
    rasterizer: Rasterizer,
    stage: _Stage,
    common: Tensor,
    per_view: list[Tensor],
    rng: np.random.Generator,
) -> None:
    """Do one stage; updates ``common`` and ``per_view`` in place."""
    small = shrink_views(views, stage.size_px)
    start = replace(small, cameras=_move_cameras(small.cameras, (common + torch.stack(per_view)).detach().numpy()))
    shell = open_visual_hull(start, cells=stage.hull_cells)
    optimizer = SplatOptimizer(
        splats_on_surface(start, shell, count=stage.splats, sh_degree=0, rng=rng),
        pixel_width(start, shell.vertices),
        regularise_positions=False,
    )
    motions = [
        {"params": [common.requires_grad_()], "start": stage.common_rate},
        {"params": [motion.requires_grad_() for motion in per_view], "start": stage.per_view_rate},
    ]
    adam = torch.optim.Adam(motions, lr=0.0, betas=(0.9, 0.99), eps=1e-15)
    given = torch.from_numpy(small.cameras.camera_from_world.astype(np.float64))
    steps = stage.epochs * len(views)
    for step, index in enumerate(view_order(len(views), steps, rng)):
        pose = _move_pose(common + per_view[index], given[index])
        loss = _loss(optimizer.splats(), ViewCrop.of(small, index), pose, rasterizer, rng)
        # Motions of the other views have no gradient, so that Adam leaves them alone.
        adam.zero_grad(set_to_none=True)
        optimizer.step(loss, step / steps)
        for group in adam.param_groups:
            group["lr"] = group["start"] * _FINAL_RATE ** (step / steps)
        adam.step()
    for motion in (common, *per_view):
        motion.requires_grad_(False)
        motion.grad = None


def _loss(
    splats: Splats, picture: ViewCrop, pose: Float[Tensor, "4 4"], rasterizer: Rasterizer, rng: np.random.Generator
) -> Float[Tensor, ""]:
    """Return the loss of one view over a random background."""
    background = torch.from_numpy(rng.random(3, np.float32))
    rendering = rasterizer.render(splats, picture.camera, camera_from_world=pose[None])
    alpha = rendering.alpha[0]
    prediction = rendering.rgb[0] + (1 - alpha)[..., None] * background
    target = torch.lerp(background.expand_as(picture.rgb), picture.rgb, picture.alpha[..., None])
    loss = _LOSS.colour * weighted_l1(prediction, target, picture.weight)
    loss = loss + _LOSS.dissimilarity * structural_dissimilarity(prediction, target, picture.weight)
    return loss + _LOSS.silhouette * weighted_l1(alpha[..., None], picture.alpha[..., None], picture.weight)


def _move_cameras(cameras: Cameras, motions: Float[np.ndarray, "v 6"]) -> Cameras:
    """Return the cameras after one motion each."""
    poses = torch.from_numpy(cameras.camera_from_world.astype(np.float64))
    moved = [_move_pose(torch.from_numpy(m), pose) for m, pose in zip(motions, poses, strict=True)]
    return replace(cameras, camera_from_world=torch.stack(moved).numpy().astype(cameras.camera_from_world.dtype))


def _move_pose(motion: Float[Tensor, "6"], pose: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """Return the pose after turning about the world's origin and shifting, in the camera's axes; differentiable."""
    x, y, z, across, down, along = (motion * torch.tensor(_FREE, dtype=motion.dtype)).unbind()
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    rotation = torch.linalg.matrix_exp(generator) @ pose[:3, :3]
    shift = pose[:3, 3] + torch.stack([across, down, along])
    return torch.cat([torch.cat([rotation, shift[:, None]], dim=1), pose[3:]])
