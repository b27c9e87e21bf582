"""Colour of the hair: the photo where it sees the hair, and the same hair continued where it does not.

All hair is unrolled onto one map around the vertical axis of the skull: columns go round the head, rows go from the
crown outward and then down, which is the way strands run. What the photo shows of the map is split into slow colour
and fine strands. Slow colour is spread over the whole map, strands are continued by ``hair_strands``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

from spinmeround import mesh_raster
from spinmeround.geometry import project, vertex_normals
from spinmeround.images import sample
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.map_smoothing import blur_around
from spinmeround.template.hair.strand_texture import grow_strands, strand_flow
from spinmeround.types import Mesh

WIDTH, HEIGHT = 1024, 608
"""Size of the map in texels."""

_RADIUS = 0.25
"""Mean radius of the skull, head units: makes rows and columns of the map equally long on the side of the head."""

_TEXEL = 2 * np.pi * _RADIUS / WIDTH
"""Side of a texel in head units (0.6 mm): about a pixel of a 512-pixel view."""

_FAR_PRIOR = 0.02
"""Weight of the hair's overall colour against what is seen: matters only where nothing near is seen."""


@dataclass(frozen=True)
class HairTexture:
    """Colours and strand relief of the hair, looked up by position.

    Attributes:
        centre: a point on the axis of the skull, world frame.
        albedo: the map, sRGB.
        relief: height of the strands, zero mean, unit deviation.
        observed_share: share of the hair's surface that a photo showed.
    """

    centre: Float[np.ndarray, "3"]
    albedo: Float[np.ndarray, "th tw 3"]
    relief: Float[np.ndarray, "th tw"]
    observed_share: float

    def sample(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Colour and relief at world points near the hair's surface."""
        texels = _unroll(points, self.centre)
        channels = np.dstack([self.albedo, self.relief])
        # One more column on either side, so that the look-up wraps round.
        wrapped = np.concatenate([channels[:, -1:], channels, channels[:, :1]], axis=1)
        values = sample(wrapped, np.stack([np.mod(texels[:, 0], WIDTH) + 1, texels[:, 1]], axis=1))
        return values[:, :3], values[:, 3]

    def corner_uv(
        self, vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]
    ) -> Float[np.ndarray, "f 3 2"]:
        """Texture coordinates of a mesh near the hair's surface, origin at the bottom-left of ``albedo``.

        Faces across the back seam reach past u = 1, where the map begins anew.
        """
        columns, rows = np.moveaxis(_unroll(vertices, self.centre)[faces], -1, 0)
        wraps = np.ptp(columns, axis=1, keepdims=True) > WIDTH / 2
        columns = columns + WIDTH * (wraps & (columns < WIDTH / 2))
        return np.stack([columns / WIDTH, 1 - np.clip(rows, 0, HEIGHT) / HEIGHT], axis=-1)


def paint_hair(hair: Mesh, evidence: Sequence[PhotoEvidence], *, generator: np.random.Generator) -> HairTexture:
    """Projects the photos onto the hair and continues them all round.

    Args:
        hair: the hair's surface, world frame.
        generator: draws the noise that unseen strands are made from.
    """
    centre = hair.vertices.mean(0) * [1, 0, 1]
    centre[1] = hair.vertices[:, 1].max() - _RADIUS - 0.03
    position, normal, occupied = surface_of_map(hair, centre)
    colour, trust = _project_photos(hair, position, normal, occupied, evidence)
    slow = _slow_colour(colour, trust)
    seen = np.where(trust[..., None] > 0, colour - slow, 0)
    continued = grow_strands(evidence, strand_flow(colour, trust), _TEXEL, generator=generator)
    blend = cv2.GaussianBlur(np.clip(trust * 1.6, 0, 1), (0, 0), 2)[..., None]
    # Two unrelated patterns average out; the square root keeps their deviation.
    strands = (seen * blend + continued * (1 - blend)) / np.sqrt(blend**2 + (1 - blend) ** 2)
    albedo = np.clip(slow + strands, 0, 1).astype(np.float32)
    share = float((trust > 0.3)[occupied].mean()) if occupied.any() else 0.0
    return HairTexture(centre, albedo, _relief(strands), share)


def _unroll(points, centre):
    """World points to (column, row) of the map."""
    local = points - centre
    around = np.arctan2(local[:, 0], local[:, 2])
    radius = np.hypot(local[:, 0], local[:, 2])
    over_the_top = np.arctan2(radius, local[:, 1]) * _RADIUS
    down = np.pi / 2 * _RADIUS - local[:, 1]
    along = np.where(local[:, 1] > 0, over_the_top, down)
    return np.stack([(around / (2 * np.pi) + 0.5) * WIDTH, along / _TEXEL], axis=1)


def surface_of_map(
    hair: Mesh, centre: Float[np.ndarray, "3"]
) -> tuple[Float32[np.ndarray, "th tw 3"], Float32[np.ndarray, "th tw 3"], Bool[np.ndarray, "th tw"]]:
    """World position and normal, not of unit length, of the outermost hair at each texel, and where there is any."""
    texels = _unroll(hair.vertices, centre)
    faces = hair.faces
    columns = texels[faces, 0]
    seam = np.ptp(columns, axis=1) > WIDTH / 2
    # Faces across the back seam are drawn at both ends of the map.
    corners = texels[faces]
    corners[seam, :, 0] += np.where(columns[seam] < WIDTH / 2, WIDTH, 0)
    twice = corners[seam] - [WIDTH, 0]
    corners = np.concatenate([corners, twice])
    source = np.concatenate([faces, faces[seam]])
    radius = np.linalg.norm((hair.vertices - centre)[source], axis=-1)
    flat = np.concatenate([corners, 1 / (1 + radius)[..., None]], axis=-1).reshape(-1, 3)
    index = np.arange(len(flat)).reshape(-1, 3)
    buffer = mesh_raster.rasterize_pixels(flat, index, WIDTH, HEIGHT)
    normals = vertex_normals(hair.vertices, faces)
    attributes = np.concatenate([hair.vertices, normals], axis=1)[source].reshape(-1, 6)
    values = mesh_raster.interpolate(attributes, index, buffer)
    return values[..., :3], values[..., 3:], buffer.face >= 0


def _project_photos(hair: Mesh, position, normal, occupied, evidence: Sequence[PhotoEvidence]):
    total, weight = np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    points, normals = position[occupied].astype(np.float64), normal[occupied]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    for photo in evidence:
        height, width = photo.portrait.alpha.shape
        hair_pixels = project(hair.vertices, photo.camera_from_world, photo.intrinsics_px)
        depth = mesh_raster.rasterize_pixels(hair_pixels, hair.faces, width, height).depth
        depth = np.minimum(depth, photo.skin_depth)
        pixels = project(points, photo.camera_from_world, photo.intrinsics_px)
        eye = -photo.camera_from_world[:3, :3].T @ photo.camera_from_world[:3, 3]
        facing = ((eye - points) * normals).sum(1) / np.linalg.norm(eye - points, axis=1)
        column = np.clip(pixels[:, 0].astype(int), 0, width - 1)
        row = np.clip(pixels[:, 1].astype(int), 0, height - 1)
        visible = pixels[:, 2] < depth[row, column] + 0.02
        sure = cv2.erode((photo.portrait.hair * photo.portrait.observed).astype(np.float32), np.ones((5, 5)))
        sure = cv2.GaussianBlur(sure, (0, 0), 2)
        trust = np.clip((facing - 0.12) / 0.4, 0, 1) * visible
        trust *= np.clip(sample(sure, pixels) * 2.5 - 1.2, 0, 1)
        colour = sample(photo.portrait.rgb, pixels)
        total[occupied] += (trust[:, None] * colour).astype(np.float32)
        weight[occupied] += trust.astype(np.float32)
    colour = np.where(weight[..., None] > 1e-3, total / np.maximum(weight, 1e-3)[..., None], 0)
    return colour, np.clip(weight, 0, 1)


def _slow_colour(colour, trust):
    """Colour without strands: blurred at growing scales, so that the unseen takes the colour of the nearest seen."""
    overall = (colour * trust[..., None]).sum((0, 1)) / max(trust.sum(), 1e-6)
    slow = np.broadcast_to(overall, colour.shape)
    stacked = np.dstack([colour * trust[..., None], trust])
    for width in (160.0, 70.0, 28.0, 10.0):
        blurred = blur_around(stacked, width)
        slow = (blurred[..., :3] + _FAR_PRIOR * slow) / (blurred[..., 3:] + _FAR_PRIOR)
    return slow


def _relief(strands):
    """Strand height from brightness: bright strands lie on top; smoothed along the strands."""
    luminance = strands @ np.array([0.3, 0.6, 0.1])
    height = cv2.GaussianBlur(luminance.astype(np.float32), (0, 0), sigmaX=0.8, sigmaY=3.0)
    height -= cv2.GaussianBlur(height, (0, 0), 6)
    return height / max(float(height.std()), 1e-6)
