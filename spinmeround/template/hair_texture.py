"""Colour of the hair: the photo where it sees the hair, and the same hair continued where it does not.

All hair is unrolled onto one map around the vertical axis of the skull: columns go round the head, rows go from the
crown outward and then down, which is the way strands run. What the photo shows of the map is split into slow colour
and fine strands. Slow colour is spread over the whole map; strands are continued by quilting patches of the visible
ones (after Efros and Freeman, "Image quilting for texture synthesis and transfer", 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float

from spinmeround import mesh_raster
from spinmeround.geometry import project, vertex_normals
from spinmeround.images import sample
from spinmeround.template.photo_evidence import PhotoEvidence
from spinmeround.types import Mesh

WIDTH, HEIGHT = 1536, 896
"""Size of the map in texels."""

_RADIUS = 0.25
"""Mean radius of the skull, head units: makes rows and columns of the map equally long on the side of the head."""

_REACH = 0.92
"""Length from the crown that the rows of the map cover, head units."""

_PATCH, _OVERLAP = 40, 14


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


def paint_hair(hair: Mesh, evidence: Sequence[PhotoEvidence], *, generator: np.random.Generator) -> HairTexture:
    """Projects the photos onto the hair and continues them all round.

    Args:
        hair: the hair's surface, world frame.
        generator: draws the places that patches are tried from.
    """
    centre = hair.vertices.mean(0) * [1, 0, 1]
    centre[1] = hair.vertices[:, 1].max() - _RADIUS - 0.03
    position, normal, occupied = _surface_of_map(hair, centre)
    colour, trust = _project_photos(hair, position, normal, occupied, evidence)
    slow = _slow_colour(colour, trust)
    detail = np.where(trust[..., None] > 0, colour - slow, 0)
    exemplar = _wrap(trust, 0) > 0.55
    filled = _quilt_detail(detail, exemplar, occupied, generator)
    blend = cv2.GaussianBlur(np.clip(trust * 1.6, 0, 1), (0, 0), 2)[..., None]
    strands = detail * blend + filled * (1 - blend) / np.sqrt(blend**2 + (1 - blend) ** 2).clip(0.7)
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
    return np.stack([(around / (2 * np.pi) + 0.5) * WIDTH, along / _REACH * HEIGHT], axis=1)


def _surface_of_map(hair: Mesh, centre):
    """World position and normal of the outermost hair at each texel."""
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


def _wrap(image, margin: int):
    """The map continued by ``margin`` texels past its left and right end."""
    return np.concatenate([image[:, -margin:], image, image[:, :margin]], axis=1) if margin else image


def _slow_colour(colour, trust):
    """Colour without strands: blurred at growing scales, so that the unseen takes the colour of the nearest seen."""
    margin = WIDTH // 4
    slow, known = None, None
    for sigma in (14.0, 40.0, 110.0, 260.0):
        # The map is shrunk in step with the blur: the same result at a fraction of the work.
        shrink = max(1, int(sigma / 6))
        size = ((WIDTH + 2 * margin) // shrink, HEIGHT // shrink)
        weighted = cv2.resize(_wrap(colour * trust[..., None], margin), size, interpolation=cv2.INTER_AREA)
        weights = cv2.resize(_wrap(trust, margin), size, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(
            np.dstack([weighted, weights]), (0, 0), sigma / shrink, borderType=cv2.BORDER_REFLECT
        )
        blurred = cv2.resize(blurred, (WIDTH + 2 * margin, HEIGHT), interpolation=cv2.INTER_LINEAR)[:, margin:-margin]
        weights = blurred[..., 3:]
        level = blurred[..., :3] / np.maximum(weights, 1e-6)
        trusted = np.clip(weights / 0.25, 0, 1)
        slow, known = (
            (level, trusted) if slow is None else (slow * known + level * (1 - known), np.maximum(known, trusted))
        )
    overall = (colour * trust[..., None]).sum((0, 1)) / max(trust.sum(), 1e-6)
    sure = np.clip(weights / 1e-3, 0, 1)
    return slow * sure + overall * (1 - sure)


def _quilt_detail(detail, exemplar: Bool[np.ndarray, "h w"], occupied, generator: np.random.Generator):
    """Continues the strands over the map; without enough exemplar the hair stays smooth."""
    kernel = np.ones((_PATCH, _PATCH), np.uint8)
    # Anchor (0, 0) makes the eroded pixel the patch's top-left corner.
    inside = cv2.erode(exemplar.astype(np.uint8), kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    rows, columns = np.nonzero(inside)
    if len(rows) < 40:
        return np.zeros_like(detail)
    step = _PATCH - _OVERLAP
    places = [(r, c) for r in range(0, HEIGHT - _PATCH + 1, step) for c in range(0, WIDTH, step)]
    places = np.array([(r, c) for r, c in places if occupied[r : r + _PATCH, c : c + _PATCH].any()], np.int64)
    tries = generator.integers(0, len(rows), size=(len(places), 96))
    sources = np.stack([rows[tries], columns[tries]], axis=-1).astype(np.int64)
    ramp = np.minimum(np.arange(_PATCH) + 1, np.arange(_PATCH)[::-1] + 1) / (_OVERLAP + 1)
    window = np.minimum(ramp, 1)[:, None] * np.minimum(ramp, 1)[None]
    out, weight = _quilt(detail.astype(np.float32), places, sources, window.astype(np.float32), WIDTH)
    return out / np.maximum(weight, 1e-6)[..., None]


@numba.njit(cache=True)
def _quilt(detail, places, sources, window, width):  # pragma: no cover - compiled
    height = detail.shape[0]
    size = window.shape[0]
    out = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width), np.float32)
    energy = np.zeros((height, width), np.float32)
    for p in range(places.shape[0]):
        top, left = places[p, 0], places[p, 1]
        best, best_error = 0, np.inf
        for t in range(sources.shape[1]):
            r0, c0 = sources[p, t, 0], sources[p, t, 1]
            error = 0.0
            for r in range(0, size, 2):
                for c in range(0, size, 2):
                    x = (left + c) % width
                    w = weight[top + r, x]
                    if w > 0:
                        for k in range(3):
                            d = out[top + r, x, k] / w - detail[r0 + r, c0 + c, k]
                            error += d * d
                if error >= best_error:
                    break
            if error < best_error:
                best, best_error = t, error
        r0, c0 = sources[p, best, 0], sources[p, best, 1]
        for r in range(size):
            for c in range(size):
                x = (left + c) % width
                w = window[r, c]
                for k in range(3):
                    out[top + r, x, k] += w * detail[r0 + r, c0 + c, k]
                weight[top + r, x] += w
                energy[top + r, x] += w * w
    # Averaging overlapping strands would flatten them: keep their deviation.
    for r in range(height):
        for c in range(width):
            if weight[r, c] > 0:
                gain = weight[r, c] / np.sqrt(energy[r, c])
                for k in range(3):
                    out[r, c, k] *= min(gain, np.float32(1.3))
    return out, weight


def _relief(strands):
    """Strand height from brightness: bright strands lie on top; smoothed along the strands."""
    luminance = strands @ np.array([0.3, 0.6, 0.1])
    height = cv2.GaussianBlur(luminance.astype(np.float32), (0, 0), sigmaX=1.0, sigmaY=4.0)
    height -= cv2.GaussianBlur(height, (0, 0), 8)
    return height / max(float(height.std()), 1e-6)
