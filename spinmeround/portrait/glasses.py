"""Glasses: found by the dark frame across the bridge of the nose and below both eyes, and filled if they shall go.

All is measured in a patch in which the line through the eyes is horizontal and their outer corners lie at a fixed
distance, so that lengths are pixels of that patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

_OUTER, _INNER = (33, 263), (133, 362)
"""Landmarks of the eyes' outer and inner corners, right eye first."""
_BROW_ROOT, _MID_NOSE = 8, 195
"""Landmarks between the brows, and in the middle of the nose."""
_BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
_LIDS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)


@dataclass(frozen=True)
class _Settings:
    """What a frame looks like. Lengths are pixels of the patch, widths are those of an eye, depths levels of Lab L.

    Attributes:
        corner_distance: between the outer corners of the eyes.
        width, height, eye_row: size of the patch, and the row of the eyes.
        thickest: of a frame.
        smoothing: standard deviation of the blur that removes noise.
        bridge: the middle part of the distance between the inner corners, in which the bridge is looked for.
        most_rough: mean jump between rows at which neighbouring columns have the bridge; a frame runs across.
        rim_deg: directions from an eye, clockwise from the right in the picture, in which its lower rim is looked for.
        rim_widths: how far from the middle of the eye.
        bridge_quantile, rim_quantile: the depth that all but such a part of columns or directions have.
        least_depth: geometric mean of the depths of bridge and rims from which it is a frame.
        frame_depth: depth from which a pixel near the lenses belongs to the frame.
        lens: half the width and half the height of what is around an eye and may hold the frame, in widths.
        temple: half the height of the band from there to the ears.
        spread: by so much the frame's pixels are grown before they are filled: its edge and its shadow.
        fill_radius: from so near the fill is taken, pixels of the picture.
    """

    corner_distance: float = 160.0
    width: int = 400
    height: int = 200
    eye_row: float = 90.0
    thickest: int = 11
    smoothing: float = 0.8
    bridge: tuple[float, float] = (0.3, 0.7)
    most_rough: float = 3.0
    rim_deg: tuple[float, float] = (35.0, 145.0)
    rim_widths: tuple[float, float] = (0.45, 1.15)
    bridge_quantile: float = 0.2
    rim_quantile: float = 0.25
    least_depth: float = 8.5
    frame_depth: float = 6.0
    lens: tuple[float, float] = (1.15, 1.0)
    temple: float = 0.3
    spread: int = 7
    fill_radius: float = 4.0


_SETTINGS = _Settings()


@dataclass(frozen=True)
class _Patch:
    """The surroundings of the eyes.

    Attributes:
        lightness: Lab L.
        landmarks: in pixels of the patch.
        patch_from_picture: affine map.
    """

    lightness: Float32[np.ndarray, "h w"]
    landmarks: Float[np.ndarray, "478 2"]
    patch_from_picture: Float[np.ndarray, "2 3"]

    @classmethod
    def of(cls, rgb: Float[np.ndarray, "s s 3"], landmarks_px: Float[np.ndarray, "478 2"]) -> _Patch:
        s = _SETTINGS
        right, left = landmarks_px[_OUTER[0]], landmarks_px[_OUTER[1]]
        x, y = (left - right) * s.corner_distance / max(float(((left - right) ** 2).sum()), 1.0)
        turn = np.array([[x, y], [-y, x]])
        shift = np.array([s.width / 2, s.eye_row]) - turn @ (left + right) / 2
        matrix = np.column_stack([turn, shift])
        size = (s.width, s.height)
        patch = cv2.warpAffine(np.asarray(rgb, np.float32), matrix, size, borderMode=cv2.BORDER_REPLICATE)
        lightness = cv2.cvtColor(np.clip(patch, 0, 1), cv2.COLOR_RGB2LAB)[..., 0]
        return cls(cv2.GaussianBlur(lightness, (0, 0), s.smoothing), landmarks_px @ turn.T + shift, matrix)

    def along(self, lines: Float[np.ndarray, "r c 2"]) -> Float32[np.ndarray, "r c"]:
        """Return the depth of dark lines across each of the columns of ``lines``."""
        x, y = np.moveaxis(lines, -1, 0).astype(np.float32)
        profile = cv2.remap(self.lightness, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        kernel = np.ones((_SETTINGS.thickest, 1), np.uint8)
        return cv2.morphologyEx(profile, cv2.MORPH_BLACKHAT, kernel)


def has_glasses(rgb: Float[np.ndarray, "s s 3"], landmarks_px: Float[np.ndarray, "478 2"]) -> bool:
    """Check whether a face wears glasses with a visible frame: a dark line across the nose and one below each eye.

    Rimless and pale thin frames are not found.

    Args:
        rgb: sRGB in [0, 1].
    """
    s = _SETTINGS
    patch = _Patch.of(rgb, landmarks_px)
    depth = patch.along(_bridge_lines(patch.landmarks))
    rough = np.abs(np.diff(depth.argmax(0))).mean()
    bridge = float(np.quantile(depth.max(0), s.bridge_quantile))
    rims = (patch.along(_rim_lines(patch.landmarks, eye)).max(0) for eye in (0, 1))
    rim = min(float(np.quantile(each, s.rim_quantile)) for each in rims)
    return bool(np.sqrt(bridge * rim) > s.least_depth and rough < s.most_rough)


def _bridge_lines(landmarks: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "r c 2"]:
    """Return lines down the nose, side by side between the eyes."""
    right, left = landmarks[list(_INNER)]
    down = landmarks[_MID_NOSE] - landmarks[_BROW_ROOT]
    beside = np.linspace(*_SETTINGS.bridge, 15)[:, None] - 0.5
    steps = np.linspace(0, 1, int(np.linalg.norm(down)) + 2)[:, None, None]
    return landmarks[_BROW_ROOT] + steps * down + (beside * (left - right))[None]


def _rim_lines(landmarks: Float[np.ndarray, "478 2"], eye: int) -> Float[np.ndarray, "r c 2"]:
    """Return lines from an eye down and aside over the cheek."""
    outer, inner = landmarks[_OUTER[eye]], landmarks[_INNER[eye]]
    angle = np.deg2rad(np.linspace(*_SETTINGS.rim_deg, 23))
    near, far = np.array(_SETTINGS.rim_widths) * np.linalg.norm(outer - inner)
    radius = np.arange(near, max(far, near + 2))[:, None, None]
    return (outer + inner) / 2 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]


def without_glasses(
    rgb: Float[np.ndarray, "s s 3"], landmarks_px: Float[np.ndarray, "478 2"]
) -> Float32[np.ndarray, "s s 3"]:
    """Return the picture with the frame filled from the skin beside it; what lies behind lenses stays.

    The fill is the fast marching method of Telea, "An Image Inpainting Technique Based on the Fast Marching Method",
    2004.
    """
    s = _SETTINGS
    patch = _Patch.of(rgb, landmarks_px)
    frame = _frame(patch).astype(np.uint8)
    grown = cv2.dilate(frame, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (s.spread, s.spread)))
    back = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    mask = cv2.warpAffine(grown * np.uint8(255), patch.patch_from_picture, rgb.shape[1::-1], flags=back)
    levels = np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    filled = cv2.inpaint(levels, (mask > 0).astype(np.uint8), s.fill_radius, cv2.INPAINT_TELEA)
    weight = (mask > 0)[..., None]
    return np.where(weight, filled.astype(np.float32) / 255, rgb).astype(np.float32)


def _frame(patch: _Patch) -> Bool[np.ndarray, "h w"]:
    """Return the pixels of the frame: thin and dark, around the eyes and toward the ears, neither brow nor lid."""
    s = _SETTINGS
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (s.thickest, s.thickest))
    dark = cv2.morphologyEx(patch.lightness, cv2.MORPH_BLACKHAT, kernel) > s.frame_depth
    near, own = (np.zeros(dark.shape, np.uint8) for _ in range(2))
    row, column = np.mgrid[: s.height, : s.width]
    for eye in (0, 1):
        outer, inner = patch.landmarks[_OUTER[eye]], patch.landmarks[_INNER[eye]]
        middle, width = (outer + inner) / 2, np.linalg.norm(outer - inner)
        across, up = (column - middle[0]) / width, (row - middle[1]) / width
        outside = np.sign(outer[0] - inner[0]) * across > 0
        near |= ((across / s.lens[0]) ** 2 + (up / s.lens[1]) ** 2 < 1) | (outside & (np.abs(up) < s.temple))
        for ring in (_BROWS[eye], _LIDS[eye]):
            cv2.fillPoly(own, [np.round(patch.landmarks[list(ring)]).astype(np.int32)], 1)
    own = cv2.dilate(own, kernel)
    face = (column > patch.landmarks[:, 0].min()) & (column < patch.landmarks[:, 0].max())
    return dark & face & (near > 0) & (own == 0)
