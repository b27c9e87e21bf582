"""Per-pixel coordinates relative to a head: the geometry that matting and segmentation use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.portrait.landmarks import FACE_OVAL
from spinmeround.types import FaceGeometry, HeadFrame

# Points and sizes of an average head and trunk in the head frame (see ``types.HeadFrame``), centimetres.
_CHIN_CM, _HAIRLINE_CM = np.array([0.0, -9.4, 4.3]), np.array([0.0, 8.26, 4.5])
_SKULL_CENTRE_CM, _SKULL_RADII_CM = np.array([0.0, 3.6, -3.8]), np.array([7.9, 10.3, 10.0])
_EAR_CM, _EAR_RADII_CM = np.array([7.7, 0.0, -3.0]), (2.2, 3.6)
"""Middle of the left ear, and its half-width and half-height."""
_HIDDEN_EAR, _HIDDEN_EAR_WIDTH = 0.35, 0.12
"""Cosine between the ear's outward direction and the viewing ray at which the ear is half hidden, and the sigmoid's
width."""
_SHOULDER_CM, _SHOULDER_HALF_WIDTH_CM = -17.0, 20.0
_NECK_TOP_CM, _NECK_HALF_WIDTH_CM = -5.0, 6.0
_HEAD_SCALE, _HEAD_RADIUS_CM = 1.05, 9.0
"""A head with hair is this much larger than its skull; the radius turns units of ``HeadMap.skull`` into centimetres."""
_SUBPIXEL_BITS = 4
"""Binary digits after the point in the corners that OpenCV fills polygons between."""

# Landmarks around both cheeks and the nose.
_SKIN_PATCHES: tuple[tuple[int, ...], ...] = (
    (117, 118, 119, 47, 126, 209, 49, 129, 203, 206, 216, 207, 187, 123),
    (346, 347, 348, 277, 355, 429, 279, 358, 423, 426, 436, 427, 411, 352),
    (168, 193, 245, 188, 174, 217, 126, 49, 4, 279, 355, 437, 399, 412, 465, 417),
)
_FEATURES: tuple[tuple[int, ...], ...] = (
    (70, 63, 105, 66, 107, 9, 336, 296, 334, 293, 300, 383, 446, 261, 448, 449, 450, 451, 452, 453, 464, 6, 244, 233,
     232, 231, 230, 229, 228, 31, 226, 156),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
)  # fmt: skip
"""Landmarks around brows with eyes, and around the mouth: neither hair of the head nor plain skin."""


@dataclass(frozen=True)
class HeadMap:
    """Per-pixel coordinates of a square picture relative to one head, in axes turned by the head's roll.

    Attributes:
        frame, landmarks_px: the head in pixels of this picture.
        side_px: of the picture.
    """

    frame: HeadFrame
    landmarks_px: Float[np.ndarray, "478 2"]
    side_px: int

    @classmethod
    def of(cls, face: FaceGeometry, *, picture_px: int, side_px: int) -> HeadMap:
        """Return the map of a face in a square picture of ``picture_px``, at the resolution ``side_px``."""
        ratio = side_px / picture_px
        return cls(face.frame.moved(np.diag([ratio, ratio, 1.0])), face.landmarks_px * ratio, side_px)

    @cached_property
    def _offset_px(self) -> Float[np.ndarray, "w w 2"]:
        axis = np.arange(self.side_px) + 0.5
        return np.stack(np.meshgrid(axis, axis), axis=-1) - self.frame.origin_px

    @cached_property
    def _axes(self) -> Float[np.ndarray, "2 2"]:
        """Rows: right and up of the head in the picture."""
        roll = np.radians(self.frame.angles_deg[2])
        return np.array([[np.cos(roll), np.sin(roll)], [np.sin(roll), -np.cos(roll)]])

    @cached_property
    def aside_cm(self) -> Float[np.ndarray, "w w"]:
        """Offset to the right in the picture from the middle of the head."""
        return self._offset_px @ self._axes[0] / self.frame.scale_px

    @cached_property
    def height(self) -> Float[np.ndarray, "w w"]:
        """Height along the face: 0 at the chin, 1 at the hairline of an average face."""
        ends_px = self.frame.project(np.stack([_CHIN_CM, _HAIRLINE_CM])) - self.frame.origin_px
        chin, hairline = ends_px @ self._axes[1]
        return (self._offset_px @ self._axes[1] - chin) / (hairline - chin)

    @cached_property
    def inside_face(self) -> Bool[np.ndarray, "w w"]:
        """Inside the face oval of the landmarks."""
        return self._fill([FACE_OVAL])

    @cached_property
    def depth_in_face_cm(self) -> Float[np.ndarray, "w w"]:
        """Signed distance to the face oval of the landmarks, positive inside."""
        inside = self.inside_face.astype(np.uint8)
        inner, outer = (cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5) for mask in (inside, 1 - inside))
        signed = inner - outer
        return signed.astype(np.float64) / self.frame.scale_px

    @cached_property
    def skull(self) -> Float[np.ndarray, "w w"]:
        """Elliptic radius about an average skull: 1 on the silhouette of the ellipsoid, less inside."""
        rows = self.frame.picture_from_head[:2] * _SKULL_RADII_CM
        shape = np.linalg.inv(rows @ rows.T)
        offset = self._offset_px + self.frame.origin_px - self.frame.project(_SKULL_CENTRE_CM)
        return np.sqrt(np.einsum("hwi,ij,hwj->hw", offset, shape, offset)) / self.frame.scale_px

    @cached_property
    def ear(self) -> Float[np.ndarray, "w w"]:
        """Likelihood of an ear that faces the camera, in [0, 1]."""
        result = np.zeros((self.side_px, self.side_px))
        for side in (-1, 1):
            centre = self.frame.project(_EAR_CM * [side, 1, 1]) - self.frame.origin_px
            away = side * self.frame.picture_from_head[2, 0]  # of the ear's outward direction, from the camera
            visible = 1 / (1 + np.exp((away - _HIDDEN_EAR) / _HIDDEN_EAR_WIDTH))
            local = (self._offset_px - centre) @ self._axes.T / self.frame.scale_px / np.array(_EAR_RADII_CM)
            result = np.maximum(result, visible * np.exp(-(local**2).sum(-1)))
        return result

    @cached_property
    def certain_skin(self) -> Bool[np.ndarray, "w w"]:
        """Cheeks and nose, which are skin in every photo."""
        return self._fill(_SKIN_PATCHES)

    @cached_property
    def features(self) -> Bool[np.ndarray, "w w"]:
        """Brows, eyes and mouth."""
        return self._fill(_FEATURES)

    @cached_property
    def distance_to_person_cm(self) -> Float[np.ndarray, "w w"]:
        """Distance to a head, a neck and a trunk of average size, 0 inside."""
        head = np.maximum(self.skull - _HEAD_SCALE, 0) * _HEAD_RADIUS_CM
        up = self._offset_px @ self._axes[1] / self.frame.scale_px
        beside = np.maximum(np.abs(self.aside_cm) - _SHOULDER_HALF_WIDTH_CM, 0)
        above = np.maximum(up - _SHOULDER_CM, 0)
        beside_neck = np.maximum(np.abs(self.aside_cm) - _NECK_HALF_WIDTH_CM, 0)
        neck = np.hypot(beside_neck, np.maximum(up - _NECK_TOP_CM, 0))
        return np.minimum(np.minimum(head, np.hypot(beside, above)), neck)

    def _fill(self, polygons: tuple[tuple[int, ...], ...] | list[tuple[int, ...]]) -> Bool[np.ndarray, "w w"]:
        """Rasterize polygons of landmarks."""
        mask = np.zeros((self.side_px, self.side_px), np.uint8)
        for polygon in polygons:
            corners = np.round((self.landmarks_px[list(polygon)] - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(mask, [corners], 1, shift=_SUBPIXEL_BITS)
        return mask > 0
