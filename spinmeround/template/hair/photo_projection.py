"""Photos looked up straight from where they see a surface, which a map around the head would stretch."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from spinmeround import mesh_raster
from spinmeround.geometry import project
from spinmeround.images import sample
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.settings import PhotoProjectionSettings
from spinmeround.types import Mesh

_SETTINGS = PhotoProjectionSettings()


@dataclass(frozen=True)
class ProjectedPhoto:
    """One photo and what it sees of a surface.

    Attributes:
        camera_from_world: rigid transform, OpenCV camera axes.
        rgb: the person's own colours, sRGB.
        trust: in [0, 1]: certainly this surface, far from its outline.
        depth: of the nearest surface at each pixel, head units.
    """

    camera_from_world: Float[np.ndarray, "4 4"]
    intrinsics_px: Float[np.ndarray, "3 3"]
    rgb: Float[np.ndarray, "h w 3"]
    trust: Float32[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]

    @classmethod
    def of(cls, photo: PhotoEvidence, surface: Mesh) -> ProjectedPhoto:
        """Prepare the photo for looking up a surface that its hair matte shows."""
        height, width = photo.portrait.alpha.shape
        pixels = project(surface.vertices, photo.camera_from_world, photo.intrinsics_px)
        depth = mesh_raster.rasterize_pixels(pixels, surface.faces, width, height).depth
        matte = (photo.portrait.hair * photo.portrait.observed).astype(np.float32)
        matte = cv2.erode(matte, np.ones((_SETTINGS.erosion_px,) * 2, np.uint8))
        trust = cv2.GaussianBlur(matte, (0, 0), _SETTINGS.blur_px)
        return cls(
            photo.camera_from_world,
            photo.intrinsics_px,
            photo.portrait.foreground,
            trust,
            np.minimum(depth, photo.skin_depth),
        )

    def paint(
        self, colours: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Return colours with the photo's in their place where it sees the points well.

        Args:
            points: on the surface, world frame.
            normals: unit normals there.
        """
        eye = -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]
        toward = eye - points
        facing = (toward * normals).sum(1) / np.linalg.norm(toward, axis=1)
        near = np.flatnonzero(facing > _SETTINGS.facing[0])
        pixels = project(points[near], self.camera_from_world, self.intrinsics_px)
        height, width = self.trust.shape
        column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
        within = (pixels[:, :2] >= 0).all(1) & (column < width) & (row < height)
        near, pixels, column, row = near[within], pixels[within], column[within], row[within]
        seen = pixels[:, 2] < self.depth[row, column] + _SETTINGS.depth_tolerance
        weight = smooth_ramp(facing[near], *_SETTINGS.facing) * smooth_ramp(
            sample(self.trust, pixels), *_SETTINGS.matte
        )
        weight = (weight * seen)[:, None]
        out = colours.copy()
        out[near] = colours[near] * (1 - weight) + sample(self.rgb, pixels) * weight
        return out
