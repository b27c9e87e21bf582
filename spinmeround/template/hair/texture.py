"""Colour of the hair: projected from the photos where they see it, synthesised to match where they do not.

All hair is unrolled onto one map around the vertical axis of the skull: columns go round the head, rows go from the
crown outward and then down, which is the way strands run. The colours seen by the photos are split into a base colour
(low frequencies) and strands (the rest). ``unseen_colour`` extends the base colour; ``strand_texture`` synthesises
the strands that are not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer
from scipy.spatial import cKDTree

from spinmeround import mesh_raster
from spinmeround.geometry import vertex_normals
from spinmeround.images import blur_cyclic, sample
from spinmeround.template.fit.photo_balance import agreed_tone, best_seen_shares
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.locks import Canvas, lay_locks, shown_contrast
from spinmeround.template.hair.orientation import LUMINANCE
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.hair.settings import HairColourSettings
from spinmeround.template.hair.strand_texture import synthesise_strands
from spinmeround.template.hair.unseen_colour import continued_colour, lit, shading_of_form
from spinmeround.types import Mesh

WIDTH, HEIGHT = 1024, 608
"""Size of the map in texels."""

RADIUS = 0.25
"""Mean radius of the skull, head units: makes rows and columns of the map equally long on the side of the head."""

TEXEL = 2 * np.pi * RADIUS / WIDTH
"""Side of a texel in head units (0.6 mm): about a pixel of a 512-pixel view."""

_STRETCH = 1 / np.sin(np.clip((np.arange(HEIGHT) + 0.5) * TEXEL / RADIUS, 1 / 16, np.pi / 2))
"""By how much rows over the top of a round skull are longer on the map than they are."""

_BELOW_TOP = 0.03
"""How far the top of the skull lies below the top of the hair, head units."""

_RELIEF_SIGMA_ACROSS, _RELIEF_SIGMA_ALONG, _RELIEF_SIGMA_COARSE = 0.8, 3.0, 6
"""Standard deviations in texels: of the smoothing across and along strands, and of what is removed as shading."""

_PROBE = 1e-3
"""By how much a point is moved to see where it goes on the map, head units."""

_SETTINGS = HairColourSettings()


@dataclass(frozen=True)
class HairTexture:
    """Colours and strand heights of the hair, looked up by position.

    Attributes:
        centre: a point on the axis of the skull, world frame.
        albedo: the map, sRGB.
        base: the same without strands.
        relief: height of the strands, zero mean, unit standard deviation.
        observed: weight in [0, 1] of the photos in each texel.
        occupied: texels that hold hair.
        lift: by how much locks stand out from the surface, head units; None if there are none.
        photo: the first one of the same surface, shown in the map's place where it sees the surface: a map around the
            head stretches what faces forward beside it.
    """

    centre: Float[np.ndarray, "3"]
    albedo: Float[np.ndarray, "th tw 3"]
    base: Float[np.ndarray, "th tw 3"]
    relief: Float[np.ndarray, "th tw"]
    observed: Float32[np.ndarray, "th tw"]
    occupied: Bool[np.ndarray, "th tw"]
    photo: ProjectedPhoto | None = None
    lift: Float32[np.ndarray, "th tw"] | None = None

    @property
    def observed_fraction(self) -> float:
        """Fraction of the hair's surface that a photo showed."""
        if not self.occupied.any():
            return 0.0
        return float((self.observed > _SETTINGS.observed_weight)[self.occupied].mean())

    def sample_apart(
        self, points: Float[np.ndarray, "n 3"], strand_points: Float[np.ndarray, "s 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "s 3"]]:
        """Return the colour without strands at some points, and what strands add to it at others."""
        return self._look_up(self.base, points), self._look_up(self.albedo - self.base, strand_points)

    def lift_at(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return how far a lock stands out from the surface near each point, head units."""
        if self.lift is None:
            return np.zeros(len(points))
        return self._look_up(self.lift[..., None], points)[:, 0]

    def _look_up(self, channels: Float[np.ndarray, "th tw c"], points: Float[np.ndarray, "n 3"]):
        texels = _unroll(points, self.centre)
        # One more column on either side, so that the look-up wraps round.
        wrapped = np.concatenate([channels[:, -1:], channels, channels[:, :1]], axis=1)
        return sample(wrapped, np.stack([np.mod(texels[:, 0], WIDTH) + 1, texels[:, 1]], axis=1))

    def corner_uv(
        self, vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]
    ) -> Float[np.ndarray, "f 3 2"]:
        """Return texture coordinates of a mesh near the hair's surface, origin at the bottom-left of ``albedo``.

        Faces across the back seam reach past u = 1, where the map begins anew.
        """
        columns, rows = np.moveaxis(_unroll(vertices, self.centre)[faces], -1, 0)
        wraps = np.ptp(columns, axis=1, keepdims=True) > WIDTH / 2
        columns = columns + WIDTH * (wraps & (columns < WIDTH / 2))
        return np.stack([columns / WIDTH, 1 - np.clip(rows, 0, HEIGHT) / HEIGHT], axis=-1)


def paint_hair(
    hair: Mesh,
    directions: Float[np.ndarray, "v 3"],
    curl: Curl,
    evidence: Sequence[PhotoEvidence],
    photos: Sequence[ProjectedPhoto],
    *,
    length: float,
    rng: np.random.Generator,
) -> HairTexture:
    """Project the photos onto the hair and synthesise what they do not see.

    Args:
        hair: the hair's surface, world frame.
        directions: in which hair grows at its vertices, unit vectors.
        curl: of its strands.
        photos: of the evidence, as they see the hair's surface.
        length: of the hair where it is longest, head units.
        rng: draws the noise of synthesised strands, and locks.
    """
    s = _SETTINGS
    centre = centre_of_map(hair)
    position, normal, occupied = surface_of_map(hair, centre)
    colour, trust = project_photos(photos, position, normal, occupied)
    along, flow = _flow_on_map(hair, directions, centre, position, occupied)
    canvas = Canvas(lambda points: _unroll(points, centre), WIDTH, HEIGHT)
    locks = lay_locks(hair, directions, curl, canvas, length=length, rng=rng)
    form = shading_of_form(normal, locks.turned(along, normal), colour, trust)
    base = lit(continued_colour(colour / form, trust), form)
    seen = np.where(trust[..., None] > 0, colour - base, 0)
    synthetic = synthesise_strands(evidence, flow, curl, texel=TEXEL, stretch=_STRETCH, rng=rng)
    blend = cv2.GaussianBlur(np.clip(trust * s.blend_gain, 0, 1), (0, 0), s.blend_blur_texels)[..., None]
    # Blending two uncorrelated patterns lowers their variance; the square root restores it.
    strands = (seen * blend + synthetic * (1 - blend)) / np.sqrt(blend**2 + (1 - blend) ** 2)
    shade = locks.shading(normal, shown_contrast(colour, trust))[..., None]
    base = np.clip(base * shade ** (1 - blend), 0, 1).astype(np.float32)
    albedo = np.clip(base + strands, 0, 1).astype(np.float32)
    lift = (locks.lift() * (1 - blend[..., 0])).astype(np.float32)
    return HairTexture(centre, albedo, base, _relief(strands), trust.astype(np.float32), occupied, photos[0], lift)


def _flow_on_map(
    hair: Mesh, directions, centre, position, occupied
) -> tuple[Float[np.ndarray, "th tw 3"], Float[np.ndarray, "th tw 2"]]:
    """Return in which direction hair grows at each texel: in the world, and in columns and rows; unit vectors."""
    _, nearest = cKDTree(hair.vertices).query(position[occupied], workers=-1)
    here = position[occupied].astype(np.float64)
    moved = _unroll(here + _PROBE * directions[nearest], centre) - _unroll(here, centre)
    moved[:, 0] = np.mod(moved[:, 0] + WIDTH / 2, WIDTH) - WIDTH / 2
    along, flow = np.zeros((*occupied.shape, 3), np.float32), np.zeros((*occupied.shape, 2), np.float32)
    flow[..., 1], along[..., 1] = 1, -1
    flow[occupied] = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
    along[occupied] = directions[nearest]
    return along, flow


def centre_of_map(hair: Mesh) -> Float[np.ndarray, "3"]:
    """Return the point on the axis of the skull around which a surface is unrolled, world frame."""
    centre = hair.vertices.mean(0) * [1, 0, 1]
    centre[1] = hair.vertices[:, 1].max() - RADIUS - _BELOW_TOP
    return centre


def _unroll(points, centre):
    """Map world points to (column, row) of the map, texels."""
    local = points - centre.astype(points.dtype)
    around = np.arctan2(local[:, 0], local[:, 2])
    radius = np.hypot(local[:, 0], local[:, 2])
    over_the_top = np.arctan2(radius, local[:, 1]) * RADIUS
    down = np.pi / 2 * RADIUS - local[:, 1]
    along = np.where(local[:, 1] > 0, over_the_top, down)
    return np.stack([(around / (2 * np.pi) + 0.5) * WIDTH, along / TEXEL], axis=1)


def surface_of_map(
    hair: Mesh, centre: Float[np.ndarray, "3"]
) -> tuple[Float32[np.ndarray, "th tw 3"], Float32[np.ndarray, "th tw 3"], Bool[np.ndarray, "th tw"]]:
    """Return world position and normal of the outermost hair at each texel, and a mask of texels that hold hair.

    The normals are interpolated and not of unit length.
    """
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


def project_photos(
    photos: Sequence[ProjectedPhoto],
    position: Float32[np.ndarray, "th tw 3"],
    normal: Float32[np.ndarray, "th tw 3"],
    occupied: Bool[np.ndarray, "th tw"],
) -> tuple[Float32[np.ndarray, "th tw 3"], Float32[np.ndarray, "th tw"]]:
    """Return the colour of the photo that sees each texel best, and its weight in [0, 1]."""
    points, normals = position[occupied].astype(np.float64), normal[occupied]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    colours, trusts, qualities = [], [], []
    for photo in photos:
        rgb, trust, sharpness = photo.look_up(points, normals)
        colours.append(rgb)
        trusts.append(trust)
        qualities.append(trust * sharpness)
    if len(photos) > 1:  # hair shines: its light differs more from photo to photo than that of skin
        colours = agreed_tone(colours, [trust > _SETTINGS.observed_weight for trust in trusts])
    best = sum(rgb * share[:, None] for rgb, share in zip(colours, best_seen_shares(qualities), strict=True))
    colour, weight = np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    weight[occupied] = np.max(trusts, axis=0)
    colour[occupied] = best
    return np.where(weight[..., None] > _SETTINGS.min_weight, colour, 0), weight


def base_colour(
    colour: Float32[np.ndarray, "th tw 3"],
    trust: Float32[np.ndarray, "th tw"],
    *,
    overall: Float[np.ndarray, "3"],
    prior: float,
) -> Float[np.ndarray, "th tw 3"]:
    """Return colours without detail: blurred at ever finer scales, so that unseen texels take the nearest seen colour.

    With the distance from what is seen they fade to one tone.

    Args:
        overall: that tone.
        prior: weight of the colour at the next coarser scale.
    """
    base = np.broadcast_to(overall, colour.shape)
    premultiplied = np.dstack([colour * trust[..., None], trust])
    for sigma in _SETTINGS.base_blurs_texels:
        blurred = blur_cyclic(premultiplied, sigma)
        base = (blurred[..., :3] + prior * base) / (blurred[..., 3:] + prior)
    return base


def _relief(strands):
    """Height of the strands from their lightness: light strands lie on top; smoothed along the strands."""
    height = (strands @ np.array(LUMINANCE)).astype(np.float32)
    height = cv2.GaussianBlur(height, (0, 0), sigmaX=_RELIEF_SIGMA_ACROSS, sigmaY=_RELIEF_SIGMA_ALONG)
    height -= cv2.GaussianBlur(height, (0, 0), _RELIEF_SIGMA_COARSE)
    return height / max(float(height.std()), 1e-6)
