"""Photos onto the texture: the colour each texel has in a photo, and how far it can be trusted there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Float, Float32

from spinmeround.geometry import camera_centres, project, resized, vertex_normals
from spinmeround.mesh_raster import rasterize
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.types import Cameras, Portrait

# fmt: off
_RIGHT_EYE = np.array([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7])
_LEFT_EYE = np.array([263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249])
_INNER_LIPS = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95])
# fmt: on

_DEPTH_STEP = 0.03
"""Neighbouring pixels further apart than this lie on two sheets of the head, head units."""
_TOLERANCE = 0.006
_GRAZING = (0.08, 0.4)
"""Trust grows from nothing to full between these cosines of the angle of sight."""
_EDGE_PX = 4.0
"""Trust grows over this distance from any border of what a photo shows, pixels of a 768-pixel crop."""

_MIXED_PX = 6.0
"""So far from its outline a person's pixels may hold background, pixels of a 768-pixel crop."""


@dataclass(frozen=True)
class Projection:
    """One photo seen through the texture map.

    Attributes:
        rgb: colour of each texel in the photo, sRGB.
        weight: trust in [0, 1]: visible, facing the camera, far from borders, neither clothes nor background; skin
            trusts only what lies outside the eyes' and the mouth's openings, eyes and mouth only what lies inside.
        hair: share of hair at that place of the photo.
        facing: cosine between the surface's normal and the direction to the camera.
        normals: unit normals of the posed head at the dense vertices, world frame.
    """

    rgb: Float32[np.ndarray, "t t 3"]
    weight: Float32[np.ndarray, "t t"]
    hair: Float32[np.ndarray, "t t"]
    facing: Float32[np.ndarray, "t t"]
    normals: Float[np.ndarray, "m 3"]


def project_photo(
    model: HeadModel, atlas: Atlas, portrait: Portrait, camera: Cameras, posed: Float[np.ndarray, "m 3"]
) -> Projection:
    """Looks every texel up in a photo.

    Args:
        posed: dense vertices with the photo's expression, world frame.
    """
    normals = vertex_normals(posed, model.dense_faces)
    buffer = rasterize(posed, model.dense_faces, camera, 0)
    skin_trust, inner_trust = _photo_trust(portrait, buffer.depth)
    toward = camera_centres(camera)[0] - posed
    facing = (normals * toward).sum(1, keepdims=True) / np.linalg.norm(toward, axis=1, keepdims=True)
    pixels = project(posed, camera.camera_from_world[0], camera.intrinsics_px[0])
    texels = atlas.spread(np.concatenate([pixels, facing], axis=1))
    # Twice as large by a cubic spline first, so that bilinear look-ups keep the photo's sharpness.
    large = resized(camera, 2 * camera.width_px, 2 * camera.height_px)
    rgb = cv2.resize(_to_the_edge(portrait), (large.width_px, large.height_px), interpolation=cv2.INTER_CUBIC)
    openings, around = face_openings(portrait.landmarks_px, portrait.alpha.shape[0], portrait.alpha.shape[1])
    maps = np.dstack([skin_trust * (1 - around), inner_trust * openings, portrait.hair]).astype(np.float32)
    depth = np.where(np.isfinite(buffer.depth), buffer.depth, 0).astype(np.float32)
    out_rgb, out_maps = _look_up(atlas.face, texels, np.clip(rgb, 0, 1).astype(np.float32), maps, depth)
    angle = np.clip((texels[..., 3] - _GRAZING[0]) / (_GRAZING[1] - _GRAZING[0]), 0, 1)
    allowed = np.where(atlas.part == PARTS.index("skin"), out_maps[..., 0], out_maps[..., 1])
    weight = allowed * angle * angle * (3 - 2 * angle)
    return Projection(out_rgb, weight, out_maps[..., 2], texels[..., 3], normals)


def _to_the_edge(portrait: Portrait) -> Float32[np.ndarray, "h w 3"]:
    """The photo with its skin continued over the last pixels before the background, whose light has mixed into them."""
    scale = portrait.alpha.shape[0] / 768
    person = (portrait.alpha > 0.6) & portrait.observed & (portrait.clothes <= 0.3)
    hair = portrait.hair > 0.3
    pure = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, 5) > _MIXED_PX * scale
    skin = pure & ~cv2.dilate(hair.astype(np.uint8), np.ones((5, 5))).astype(bool)
    if not skin.any():
        return portrait.rgb
    _, label = cv2.distanceTransformWithLabels((~skin).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(int(label.max()) + 1, np.int64)
    nearest[label[skin]] = np.flatnonzero(skin.ravel())
    continued = cv2.GaussianBlur(portrait.rgb.reshape(-1, 3)[nearest[label]], (0, 0), 2 * scale)
    share = cv2.GaussianBlur((~pure & ~hair).astype(np.float32), (0, 0), scale)
    share = np.where(hair, 0, np.where(person, share, 1))[..., None]
    return (portrait.rgb * (1 - share) + continued * share).astype(np.float32)


def face_openings(
    landmarks_px: Float[np.ndarray, "478 2"], height_px: int, width_px: int
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """1 inside the eyes and between the lips, 0 on skin, with a soft border; and the same with more room around teeth.

    A tooth that gets onto a lip shows far more than a lip that goes on behind a tooth.
    """
    softness = height_px / 768
    eyes, mouth = (np.zeros((height_px, width_px), np.uint8) for _ in range(2))
    for drawn, ring in ((eyes, _RIGHT_EYE), (eyes, _LEFT_EYE), (mouth, _INNER_LIPS)):
        cv2.fillPoly(drawn, [np.round(landmarks_px[ring] * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    wide = cv2.dilate(mouth, np.ones((3, 3), np.uint8), iterations=max(1, round(2 * softness)))
    soft = [cv2.GaussianBlur(np.maximum(eyes, m).astype(np.float32) / 255, (0, 0), softness) for m in (mouth, wide)]
    return soft[0], soft[1]


def _photo_trust(
    portrait: Portrait, depth: Float[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Trust of each pixel for skin and for what lies in openings.

    It grows with the distance from the matte's edge and from clothes; for skin also from jumps in depth, while eyes and
    teeth lie behind such a jump by nature.
    """
    edge = _EDGE_PX * portrait.alpha.shape[0] / 768
    near = np.where(np.isfinite(depth), depth, 1e3).astype(np.float32)
    jump = cv2.dilate(near, np.ones((3, 3))) - cv2.erode(near, np.ones((3, 3))) > _DEPTH_STEP
    clothes = cv2.dilate((portrait.clothes > 0.3).astype(np.uint8), np.ones((3, 3)), iterations=max(1, round(edge / 2)))
    free = (portrait.alpha > 0.6) & portrait.observed & (clothes == 0)
    trusts = []
    for allowed in (free & ~jump, free):
        distance = cv2.distanceTransform(allowed.astype(np.uint8), cv2.DIST_L2, 5)
        trusts.append(np.clip((distance - 2) / edge, 0, 1).astype(np.float32))
    return trusts[0], trusts[1]


@numba.njit(parallel=True, cache=True)
def _look_up(face, texels, rgb, maps, depth):
    size = face.shape[0]
    height, width = depth.shape
    zoom = rgb.shape[0] / height
    out_rgb, out_maps = np.zeros((size, size, 3), np.float32), np.zeros((size, size, 3), np.float32)
    for row in numba.prange(size):
        for column in range(size):
            if face[row, column] < 0:
                continue
            x, y, z = texels[row, column, 0], texels[row, column, 1], texels[row, column, 2]
            if x < 1 or y < 1 or x > width - 2 or y > height - 2:
                continue
            px, py = x * zoom - 0.5, y * zoom - 0.5
            i, j = int(px), int(py)
            fx, fy = px - i, py - j
            for c in range(3):
                upper = rgb[j, i, c] * (1 - fx) + rgb[j, i + 1, c] * fx
                lower = rgb[j + 1, i, c] * (1 - fx) + rgb[j + 1, i + 1, c] * fx
                out_rgb[row, column, c] = upper * (1 - fy) + lower * fy
            px, py = x - 0.5, y - 0.5
            i, j = int(px), int(py)
            fx, fy = px - i, py - j
            far = max(max(depth[j, i], depth[j, i + 1]), max(depth[j + 1, i], depth[j + 1, i + 1]))
            hidden = z > far + _TOLERANCE
            for c in range(3):
                upper = maps[j, i, c] * (1 - fx) + maps[j, i + 1, c] * fx
                lower = maps[j + 1, i, c] * (1 - fx) + maps[j + 1, i + 1, c] * fx
                out_maps[row, column, c] = upper * (1 - fy) + lower * fy
            if hidden:
                out_maps[row, column, :2] = 0.0
    return out_rgb, out_maps
