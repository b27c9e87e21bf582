"""Photos of the mean head, painted by position: all that a texture should hold is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spinmeround.geometry import project
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.model.head_model import HeadModel, landmark_points
from spinmeround.types import Portrait


def painted_portrait(
    model: HeadModel, paint: Callable, *, clothes: Callable | None = None
) -> tuple[Portrait, FittedHead]:
    """Return a frontal photo of the head without hair, and the head as fitted to it.

    Args:
        paint: from dense vertices to their colours.
        clothes: from dense vertices to their fraction of clothes; by default none.
    """
    camera = orbit_cameras([0.0], [0.0], size_px=512)
    dense = model.dense(model.mean)
    buffer = rasterize(dense, model.dense_faces, camera, 0)
    alpha = (buffer.face >= 0).astype(np.float32)
    landmarks = landmark_points(model, model.mean)
    pixels = project(np.asarray(landmarks, np.float64), camera.camera_from_world[0], camera.intrinsics_px[0])[:, :2]
    none = np.zeros_like(alpha)
    rgb = interpolate(paint(dense), model.dense_faces, buffer)
    worn = none
    if clothes is not None:
        worn = interpolate(clothes(dense).astype(np.float32)[:, None], model.dense_faces, buffer)[..., 0]
    portrait = Portrait(
        rgb=rgb,
        alpha=alpha,
        hair=none,
        clothes=worn,
        headwear=none,
        foreground=rgb,
        observed=np.ones(alpha.shape, bool),
        landmarks_px=pixels,
        blendshapes=np.zeros(52),
        head_pose_deg=np.zeros(3),
        crop_from_source=np.eye(3),
    )
    still = np.zeros_like(model.mean, np.float64)
    photo = FittedPhoto(camera, np.zeros(52), still, 0.0, 0.0, 1.0)
    return portrait, FittedHead(model, np.zeros(len(model.shape_names)), still, model.mean.astype(np.float64), (photo,))
