"""Photos of a painted mean head from several sides, each under its own exposure and white balance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spinmeround.geometry import project
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.model.head_model import HeadModel, landmark_points
from spinmeround.types import Portrait


def brightened(rgb: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return sRGB under a gain in linear light."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) * gain
    return np.clip(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055), 0, 1)


def photographed(
    model: HeadModel, colours: np.ndarray, azimuths_deg: Sequence[float], gains: Sequence[Sequence[float]]
) -> tuple[list[Portrait], FittedHead]:
    """Return portraits of the mean head, without hair and clothes, and the head as if it had been fitted to them.

    Args:
        colours: sRGB of the dense vertices.
    """
    dense, marks = model.dense(model.mean), np.asarray(landmark_points(model, model.mean), np.float64)
    still = np.zeros_like(model.mean, np.float64)
    portraits, photos = [], []
    for azimuth_deg, gain in zip(azimuths_deg, gains, strict=True):
        camera = orbit_cameras([azimuth_deg], [0.0], size_px=384)
        buffer = rasterize(dense, model.dense_faces, camera, 0)
        alpha = (buffer.face >= 0).astype(np.float32)
        none = np.zeros_like(alpha)
        painted = interpolate(colours.astype(np.float32), model.dense_faces, buffer)
        portraits.append(
            Portrait(
                rgb=brightened(painted, np.asarray(gain)).astype(np.float32),
                alpha=alpha,
                hair=none,
                clothes=none,
                headwear=none,
                foreground=brightened(painted, np.asarray(gain)).astype(np.float32),
                observed=np.ones(alpha.shape, bool),
                landmarks_px=project(marks, camera.camera_from_world[0], camera.intrinsics_px[0])[:, :2],
                blendshapes=np.zeros(52),
                head_pose_deg=np.zeros(3),
                crop_from_source=np.eye(3),
            )
        )
        photos.append(FittedPhoto(camera, np.zeros(52), still, 0.0, 0.0, 1.0))
    shape = np.zeros(len(model.shape_names))
    return portraits, FittedHead(model, shape, still, model.mean.astype(np.float64), tuple(photos))
