"""Stage one with the diffusion model: portraits to views with true cameras."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np

from spinmeround.diffusion.camera import photo_poses, rig_of
from spinmeround.diffusion.decode import Matte, decode_views
from spinmeround.diffusion.inputs import Conditioning, Pose, Sampling, ViewSampler
from spinmeround.diffusion.portrait_crop import model_from_crop, model_picture
from spinmeround.errors import FitError, InputError
from spinmeround.types import Cameras, Portrait, Progress, Views, no_progress

log = logging.getLogger(__name__)

_SAMPLING = Sampling()
_WIDENING = 1.6
"""A pixel beyond the photo may still be head up to this ratio of its distance to the head and that to the photo."""
_OBSERVED = 0.99
"""Coverage by the photo from which on a resampled pixel counts as observed."""
_INSIDE = 0.5
"""Alpha above which a pixel is head."""


class DiffusionGenerator:
    """Portraits to views by the multi-view diffusion model.

    Args:
        sampler: the model.
        progress: called with a fraction in [0, 1] and what is being done.
    """

    def __init__(
        self, sampler: ViewSampler, *, sampling: Sampling = _SAMPLING, progress: Progress | None = None
    ) -> None:
        self._sampler = sampler
        self._sampling = sampling
        self._progress = progress or no_progress

    def generate(self, portraits: Sequence[Portrait], cameras: Cameras, *, seed: int) -> Views:
        """Make views from cameras of the model's own rig, see ``rig_cameras``; a photo's own view is the photo.

        Args:
            portraits: of one person, each with its identity.

        Raises:
            InputError: no portrait, one without identity, or angles the model does not know.
            ResourceError: not enough memory; the message says what to lower.
            FitError: the model's pictures hold NaN or infinity.
            ValueError: cameras of another rig.
        """
        if not portraits:
            raise InputError("no photo to look at: give at least one")
        identity = portraits[0].identity
        if identity is None:
            raise InputError("the model needs to know who it is: give the portrait an identity")
        rig, size_px = rig_of(portraits[0]), cameras.width_px
        poses, own = rig.poses(cameras), photo_poses(portraits)
        pictures = np.stack([model_picture(portrait, size_px=size_px) for portrait in portraits])
        sampled = self._sampler(
            Conditioning(pictures, own, identity), poses, seed=seed, sampling=self._sampling, progress=self._progress
        )
        if not (np.isfinite(sampled.rgb).all() and np.isfinite(sampled.normals).all()):
            raise FitError(
                f"the model's pictures of {size_px} px hold NaN; use precision float32, check that the weights are "
                "whole, and use a model for 512 px or more: below that its pass of normals overshoots"
            )
        log.debug("the UNet evaluated %d views", sampled.unet_passes)
        mattes = {
            view: _matte(portraits[own.index(pose)], size_px=size_px) for view, pose in enumerate(poses) if pose in own
        }
        return decode_views(sampled.rgb, sampled.normals, cameras, world_from_rig=rig.world_from_rig, mattes=mattes)


def rig_cameras(portraits: Sequence[Portrait], poses: Sequence[Pose], *, size_px: int) -> tuple[Cameras, int]:
    """Return the photos' own cameras first, then those of the model's poses, all in the world.

    Returns:
        The cameras, and how many of them are photos'.
    """
    own = tuple(dict.fromkeys(photo_poses(portraits)))
    around = [pose for pose in poses if pose not in own]
    return rig_of(portraits[0]).cameras([*own, *around], size_px=size_px), len(own)


def cameras_toward(
    portraits: Sequence[Portrait], directions_deg: Sequence[tuple[float, float]], *, size_px: int
) -> Cameras:
    """Return the model's cameras in directions (azimuth, elevation) of the head.

    Raises:
        InputError: a direction the model has no camera in.
    """
    rig = rig_of(portraits[0])
    return rig.cameras(rig.toward(directions_deg), size_px=size_px)


def _matte(portrait: Portrait, *, size_px: int) -> Matte:
    """Return the matte of the photo's own view; beyond the photo its weight is 0.

    Where the border cuts the head, alpha is 1 beyond it in a widening region, so that nothing is carved away there.
    """
    matrix = model_from_crop(portrait.landmarks_px, size_px=size_px)
    shift = matrix[:2, 2] + matrix[:2, :2] @ np.full(2, 0.5) - 0.5  # OpenCV counts from pixel centres
    stacked = np.dstack([portrait.alpha, portrait.observed.astype(np.float32)]).astype(np.float32)
    moved = cv2.warpAffine(
        stacked, np.column_stack([matrix[:2, :2], shift]), (size_px, size_px), flags=cv2.INTER_LINEAR
    )
    alpha, observed = np.clip(moved[..., 0], 0, 1), moved[..., 1] > _OBSERVED
    to_photo = cv2.distanceTransform((~observed).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    head = observed & (alpha > _INSIDE)
    to_head = cv2.distanceTransform((~head).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    beyond = (to_head <= _WIDENING * to_photo + 1).astype(np.float32)
    return Matte(np.where(observed, alpha, beyond), observed.astype(np.float32))
