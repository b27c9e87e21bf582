"""Photos looked up from the points of a surface that they see."""

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
from spinmeround.template.hair.background_colours import background_shown
from spinmeround.template.hair.settings import PhotoProjectionSettings
from spinmeround.types import Mesh

_SETTINGS = PhotoProjectionSettings()


@dataclass(frozen=True)
class ProjectedPhoto:
    """One photo and what it sees of a surface.

    Attributes:
        camera_from_world: rigid transform, OpenCV camera axes.
        rgb: the person's own colours, sRGB.
        trust: in [0, 1]: certainly this surface by matte and colour, far from its outline.
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
        shown = photo.portrait.hair * photo.portrait.observed
        matte = (shown * (1 - background_shown(photo.portrait, photo.unit_px))).astype(np.float32)
        matte = cv2.erode(matte, np.ones((_SETTINGS.erosion_px,) * 2, np.uint8))
        trust = cv2.GaussianBlur(matte, (0, 0), _SETTINGS.blur_px)
        return cls(
            photo.camera_from_world,
            photo.intrinsics_px,
            photo.portrait.foreground,
            trust,
            np.minimum(depth, photo.skin_depth),
        )

    def look_up(
        self, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Return the colour at points of the surface, its trust in [0, 1], and how sharp it is.

        Args:
            points: world frame.
            normals: unit normals there.

        Returns:
            Colour and trust, and the pixels to a head unit on the surface; all 0 where the photo does not see it.
        """
        s = _SETTINGS
        height, width = self.trust.shape
        centre = -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]
        toward = centre.astype(points.dtype) - points
        facing = np.einsum("nc,nc->n", toward, normals) / np.sqrt(np.einsum("nc,nc->n", toward, toward))
        near = np.flatnonzero(facing > s.facing[0])
        pixels = project(points[near], self.camera_from_world, self.intrinsics_px)
        column, row = pixels[:, 0].astype(int), pixels[:, 1].astype(int)
        within = (pixels[:, :2] >= 0).all(1) & (column < width) & (row < height)
        near, pixels, column, row = near[within], pixels[within], column[within], row[within]
        seen = pixels[:, 2] < self.depth[row, column] + s.depth_tolerance
        rgb = np.zeros((len(points), 3), np.float32)
        trust, sharpness = (np.zeros(len(points), np.float32) for _ in range(2))
        rgb[near] = sample(self.rgb, pixels)
        trust[near] = smooth_ramp(facing[near], *s.facing) * smooth_ramp(sample(self.trust, pixels), *s.matte) * seen
        sharpness[near] = self.intrinsics_px[0, 0] * facing[near] / pixels[:, 2]
        return rgb, trust, sharpness
