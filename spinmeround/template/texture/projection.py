"""Projection of photos onto the texture: the colour each texel has in a photo, and its weight."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.geometry import camera_centres, project, resized, vertex_normals
from spinmeround.mesh_raster import rasterize
from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.threads import over_ranges
from spinmeround.types import Cameras, Portrait

# fmt: off
_RIGHT_EYE = np.array([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7])
_LEFT_EYE = np.array([263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249])
_INNER_LIPS = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95])
# fmt: on

_DEPTH_TOLERANCE = 0.006
"""A texel so far behind the nearest surface of its pixel is still visible, head units. Used in a kernel."""
_N_TRUST_MAPS = 3
"""The first of the maps that are looked up: their values are 0 where a texel is hidden. Used in a kernel."""
_DISTANCE_MASK_PX = 5
"""Size of the mask of OpenCV's approximate distance transform."""
_FRACTION_BITS = 4
"""Binary places of a pixel in which polygons are drawn."""


@dataclass(frozen=True)
class _ProjectionSettings:
    """Constants of a photo's projection. Distances in pixels are those of a crop ``reference_px`` wide.

    Attributes:
        reference_px: side of the crop in which the distances are given; they scale with the crop.
        supersampling: photos are enlarged so many times by a cubic spline, so that bilinear look-ups keep them sharp.
        facing: the weight grows from 0 to 1 between these cosines of normal and line of sight.
        facing_features: the same around eyes, nose and mouth, where nothing but the face lies behind a contour.
        contour: cosines between which skin comes to lie along the photo's contour, where shadows behind it mix in.
        min_alpha: pixels with less of the person are background.
        max_clothes: pixels with more clothes than this are no skin.
        max_hair: pixels with more hair than this are no skin.
        mixed_px: so far from the silhouette pixels may hold some background.
        hair_margin_px: pixels next to hair that are not continued as skin, side of the square; does not scale.
        continued_blur_px: standard deviation of the blur of continued skin.
        edge_blur_px: standard deviation of the transition from the photo to continued skin.
        depth_step: neighbouring pixels further apart than this lie on two surfaces of the head, head units.
        untrusted_px: pixels nearer than this to a border have no weight; does not scale.
        edge_px: distance over which the weight grows from there to 1.
        openings_blur_px: standard deviation of the soft border of eyes and mouth.
        margin_px: by so much openings are widened, and mouths are closed that are parted by less than twice as much.
        teeth_margin_px: by so much an open mouth is widened where skin is concerned: a tooth that gets onto a lip shows
            far more than a lip that goes on behind a tooth.
        other: pixels with more hair, clothes and headwear than this border on skin.
        border_share: width of that border, fraction of the distance between the outer corners of the eyes.
    """

    reference_px: int = 768
    supersampling: int = 2
    facing: tuple[float, float] = (0.12, 0.45)
    facing_features: tuple[float, float] = (0.0, 0.15)
    contour: tuple[float, float] = (0.2, 0.5)
    min_alpha: float = 0.6
    max_clothes: float = 0.3
    max_hair: float = 0.3
    mixed_px: float = 6.0
    hair_margin_px: int = 5
    continued_blur_px: float = 2
    edge_blur_px: float = 1
    depth_step: float = 0.03
    untrusted_px: float = 2
    edge_px: float = 4.0
    openings_blur_px: float = 1
    margin_px: float = 2
    teeth_margin_px: float = 1
    other: float = 0.15
    border_share: float = 0.15


_PROJECTION = _ProjectionSettings()
_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Projection:
    """One photo in the layout of the texture.

    Attributes:
        rgb: colour of each texel in the photo, sRGB.
        weight: trust in [0, 1]: visible, facing the camera, far from borders, neither cloth nor background. Skin has
            weight outside an open mouth only, eyes and mouth inside their openings only.
        in_openings: trust in what shows in the openings of eyes and mouth and at their borders, whatever part of the
            head is there.
        hair: fraction of hair in the texel's pixel.
        facing: cosine between the surface's normal and the direction to the camera at the dense vertices.
        sharpness: pixels of the photo to a head unit on the surface; 0 where it faces away.
        border: 1 next to what hides skin in the photo, as hair and clothes do, and along the photo's contour; 0 far
            from both.
        normals: unit normals of the posed head at the dense vertices, world frame.
    """

    rgb: Float32[np.ndarray, "t t 3"]
    weight: Float32[np.ndarray, "t t"]
    hair: Float32[np.ndarray, "t t"]
    facing: Float[np.ndarray, "m"]
    sharpness: Float32[np.ndarray, "t t"]
    border: Float32[np.ndarray, "t t"]
    in_openings: Float32[np.ndarray, "t t"]
    normals: Float[np.ndarray, "m 3"]


def project_photo(
    model: HeadModel,
    atlas: Atlas,
    portrait: Portrait,
    camera: Cameras,
    posed: Float[np.ndarray, "m 3"],
    features: Float[np.ndarray, "m"],
) -> Projection:
    """Look every texel up in a photo.

    Args:
        posed: dense vertices with the photo's expression, world frame.
        features: per dense vertex, 1 around eyes, nose and mouth.
    """
    normals = vertex_normals(posed, model.dense_faces)
    buffer = rasterize(posed, model.dense_faces, camera, 0)
    part = np.where(buffer.face >= 0, model.dense_part[buffer.face], -1)
    inner = (part >= 0) & (part != PARTS.index("skin"))
    skin_trust, inner_trust = _pixel_trust(portrait, buffer.depth, inner)
    toward = camera_centres(camera)[0] - posed
    facing = (normals * toward).sum(1, keepdims=True) / np.linalg.norm(toward, axis=1, keepdims=True)
    pixels = project(posed, camera.camera_from_world[0], camera.intrinsics_px[0])
    texels = atlas.spread(np.concatenate([pixels, facing, features[:, None]], axis=1))
    zoom = _PROJECTION.supersampling
    large = resized(camera, zoom * camera.width_px, zoom * camera.height_px)
    rgb = _continue_skin_over_silhouette(portrait)
    rgb = cv2.resize(rgb, (large.width_px, large.height_px), interpolation=cv2.INTER_CUBIC)
    openings = face_openings(portrait.landmarks_px, portrait.alpha.shape[0], portrait.alpha.shape[1])
    layers = [
        skin_trust * (1 - openings.open_mouth),
        inner_trust * openings.inside,
        inner_trust * openings.around,
        portrait.hair,
        _border_of_skin(portrait),
    ]
    maps = np.dstack(layers).astype(np.float32)
    depth = np.where(np.isfinite(buffer.depth), buffer.depth, 0).astype(np.float32)
    np.clip(rgb, 0, 1, out=rgb)
    out_rgb, out_maps = (np.zeros((*atlas.face.shape, channels), np.float32) for channels in (3, maps.shape[2]))
    over_ranges(atlas.size, _look_up, atlas.face, texels, rgb, maps, depth, out_rgb, out_maps)
    angle = smooth_ramp(texels[..., 3], *_PROJECTION.facing)
    angle += texels[..., 4] * (smooth_ramp(texels[..., 3], *_PROJECTION.facing_features) - angle)
    allowed = np.where(atlas.part == PARTS.index("skin"), out_maps[..., 0], out_maps[..., 1])
    sharpness = camera.intrinsics_px[0, 0, 0] * np.clip(texels[..., 3], 0, 1) / np.maximum(texels[..., 2], 1e-3)
    return Projection(
        rgb=out_rgb,
        weight=(allowed * angle).astype(np.float32),
        # Copies, so that not all maps stay in memory.
        in_openings=out_maps[..., 2].copy(),
        hair=out_maps[..., 3].copy(),
        border=np.maximum(out_maps[..., 4], 1 - smooth_ramp(texels[..., 3], *_PROJECTION.contour)).astype(np.float32),
        facing=facing[:, 0],
        sharpness=sharpness.astype(np.float32),
        normals=normals,
    )


def _continue_skin_over_silhouette(portrait: Portrait) -> Float32[np.ndarray, "h w 3"]:
    """Return the photo with its skin continued over the last pixels before the background, which have mixed colours."""
    scale = portrait.alpha.shape[0] / _PROJECTION.reference_px
    person = (
        (portrait.alpha > _PROJECTION.min_alpha) & portrait.observed & (portrait.clothes <= _PROJECTION.max_clothes)
    )
    hair = portrait.hair > _PROJECTION.max_hair
    inside_px = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, _DISTANCE_MASK_PX)
    pure = inside_px > _PROJECTION.mixed_px * scale
    hair_margin = np.ones((_PROJECTION.hair_margin_px,) * 2)
    skin = pure & ~cv2.dilate(hair.astype(np.uint8), hair_margin).astype(bool)
    if not skin.any():
        return portrait.foreground
    _, label = cv2.distanceTransformWithLabels(
        (~skin).astype(np.uint8), cv2.DIST_L2, _DISTANCE_MASK_PX, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(label.max()) + 1, np.int64)
    nearest[label[skin]] = np.flatnonzero(skin.ravel())
    nearest_rgb = portrait.foreground.reshape(-1, 3)[nearest[label]]
    continued = cv2.GaussianBlur(nearest_rgb, (0, 0), _PROJECTION.continued_blur_px * scale)
    weight = cv2.GaussianBlur((~pure & ~hair).astype(np.float32), (0, 0), _PROJECTION.edge_blur_px * scale)
    weight = np.where(hair, 0, np.where(person, weight, 1))[..., None]
    return (portrait.foreground * (1 - weight) + continued * weight).astype(np.float32)


def _border_of_skin(portrait: Portrait) -> Float32[np.ndarray, "h w"]:
    """Return 1 where hair, clothes or headwear begin, falling to 0 on the skin away from them."""
    other = portrait.hair + portrait.clothes + portrait.headwear > _PROJECTION.other
    distance_px = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, _DISTANCE_MASK_PX)
    eyes_px = np.linalg.norm(portrait.landmarks_px[_RIGHT_EYE[0]] - portrait.landmarks_px[_LEFT_EYE[0]])
    return np.clip(1 - distance_px / (_PROJECTION.border_share * max(float(eyes_px), 1.0)), 0, 1).astype(np.float32)


@dataclass(frozen=True)
class FaceOpenings:
    """Openings of the face in a photo, each 1 inside and 0 outside with a soft border.

    Attributes:
        inside: eyes and mouth as their landmarks outline them.
        around: the same, a little wider.
        open_mouth: the mouth a little wider; 0 if it is closed.
    """

    inside: Float32[np.ndarray, "h w"]
    around: Float32[np.ndarray, "h w"]
    open_mouth: Float32[np.ndarray, "h w"]


def face_openings(landmarks_px: Float[np.ndarray, "478 2"], height_px: int, width_px: int) -> FaceOpenings:
    """Return the openings of the face."""
    scale = height_px / _PROJECTION.reference_px
    eyes, mouth = (np.zeros((height_px, width_px), np.uint8) for _ in range(2))
    for drawn, ring in ((eyes, _RIGHT_EYE), (eyes, _LEFT_EYE), (mouth, _INNER_LIPS)):
        corners = np.round(landmarks_px[ring] * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(drawn, [corners], 255, cv2.LINE_AA, _FRACTION_BITS)
    steps, teeth_steps = (max(1, round(px * scale)) for px in (_PROJECTION.margin_px, _PROJECTION.teeth_margin_px))
    parted = cv2.morphologyEx(mouth, cv2.MORPH_OPEN, _NEIGHBOURS, iterations=steps)
    both = np.maximum(eyes, mouth)
    around = cv2.dilate(both, _NEIGHBOURS, iterations=steps)
    open_mouth = cv2.dilate(parted, _NEIGHBOURS, iterations=teeth_steps)
    blur_px = _PROJECTION.openings_blur_px * scale
    soft = [cv2.GaussianBlur(m.astype(np.float32) / 255, (0, 0), blur_px) for m in (both, around, open_mouth)]
    return FaceOpenings(*soft)


def _pixel_trust(
    portrait: Portrait, depth: Float[np.ndarray, "h w"], inner: Bool[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Return the trust of each pixel for skin, and for what lies in openings.

    It grows with the distance from the matte's border and from clothes and headwear. For skin it also grows with the
    distance from jumps in depth from one piece of skin to another.

    Args:
        depth: of the head at each pixel; infinite beside it.
        inner: pixels of eyes and mouth, which always lie behind such a jump.
    """
    edge_px = _PROJECTION.edge_px * portrait.alpha.shape[0] / _PROJECTION.reference_px
    depth = np.where(np.isfinite(depth), depth, 1e3)
    farthest = cv2.dilate(np.where(inner, 0, depth).astype(np.float32), _NEIGHBOURS)
    nearest = cv2.erode(np.where(inner, 1e3, depth).astype(np.float32), _NEIGHBOURS)
    jump = farthest - nearest > _PROJECTION.depth_step
    clothes = (portrait.clothes + portrait.headwear > _PROJECTION.max_clothes).astype(np.uint8)
    clothes = cv2.dilate(clothes, _NEIGHBOURS, iterations=max(1, round(edge_px / 2)))
    free = (portrait.alpha > _PROJECTION.min_alpha) & portrait.observed & (clothes == 0)
    trusts = []
    for allowed in (free & ~jump, free):
        distance = cv2.distanceTransform(allowed.astype(np.uint8), cv2.DIST_L2, _DISTANCE_MASK_PX)
        trusts.append(np.clip((distance - _PROJECTION.untrusted_px) / edge_px, 0, 1).astype(np.float32))
    return trusts[0], trusts[1]


@numba.njit(nogil=True, cache=True)
def _look_up(first_row, end_row, face, texels, rgb, maps, depth, out_rgb, out_maps):
    height, width = depth.shape
    zoom = rgb.shape[0] / height
    for row in range(first_row, end_row):
        for column in range(face.shape[1]):
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
            hidden = z > far + _DEPTH_TOLERANCE
            for c in range(maps.shape[2]):
                upper = maps[j, i, c] * (1 - fx) + maps[j, i + 1, c] * fx
                lower = maps[j + 1, i, c] * (1 - fx) + maps[j + 1, i + 1, c] * fx
                out_maps[row, column, c] = 0.0 if hidden and c < _N_TRUST_MAPS else upper * (1 - fy) + lower * fy
