"""Colours and normals of the samples of a picture, summed over each pixel's samples.

One pass a part of the head, straight from the face buffer into pixels: no table of all samples is ever made. Colours
are looked up at every sample, since textures have details finer than a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

from spinmeround.mesh_raster import FaceBuffer
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.hair.settings import PhotoProjectionSettings
from spinmeround.template.hair.texture import RADIUS, TEXEL, HairTexture
from spinmeround.threads import over_ranges

_PROJECTION = PhotoProjectionSettings()
_STRAND_HEIGHT = 0.0003
"""Standard deviation of the strands' height, head units (0.12 mm)."""
_STRAND_STEP = 0.0015
"""Half the distance over which the slope of the strands' height is measured, head units (0.6 mm, a texel)."""
_MAX_STRAND_SLOPE = 0.7
"""Bound on that slope, so that no normal tilts by more than about 35 degrees along one axis."""
_SLOPE = _STRAND_HEIGHT / (2 * _STRAND_STEP)
_TINY = 1e-6
"""Keeps divisions by lengths finite."""


@dataclass(frozen=True)
class Surface:
    """Faces that are drawn, as kernels take them.

    Attributes:
        vertices: those of coverings at least; those of strands, which come last, may be left out.
        normals: unit normals of all vertices.
    """

    vertices: Float32[np.ndarray, "u 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "v 3"]


@dataclass(frozen=True)
class CoveringTexture:
    """Colours of hair or headwear, as kernels take them.

    Attributes:
        centre: of the map around the skull, world frame.
        albedo: the map with one more column on either side, so that look-ups wrap round.
        relief: height of its strands, as wide.
        pose: ``camera_from_world`` of the photo that is shown in the map's place where it sees the surface.
        projection: the photo's pixels times depth from homogeneous world points.
        eye: the photo's, world frame.
        photo: its colours; empty if there is none.
        trust: in it.
        depth: of what it shows, head units.
    """

    centre: Float[np.ndarray, "3"]
    albedo: Float32[np.ndarray, "th ww 3"]
    relief: Float32[np.ndarray, "th ww 1"]
    projection: Float[np.ndarray, "3 4"]
    eye: Float[np.ndarray, "3"]
    photo: Float32[np.ndarray, "h w 3"]
    trust: Float32[np.ndarray, "h w 1"]
    depth: Float32[np.ndarray, "h w"]

    @classmethod
    def of(cls, texture: HairTexture) -> CoveringTexture:
        """Prepare a texture."""
        photo = texture.photo or _NO_PHOTO
        pose = photo.camera_from_world
        return cls(
            np.asarray(texture.centre, np.float64),
            _wrapped(texture.albedo),
            _wrapped(texture.relief[..., None]),
            photo.intrinsics_px @ pose[:3],
            -pose[:3, :3].T @ pose[:3, 3],
            np.ascontiguousarray(photo.rgb, np.float32),
            np.ascontiguousarray(photo.trust, np.float32)[..., None],
            np.ascontiguousarray(photo.depth, np.float32),
        )

    # Numbers of other modules are handed to kernels: a kernel that is cached would keep the old ones when they change.
    @property
    def map(self) -> tuple[np.ndarray, ...]:
        """What places on the map and their heights are looked up in."""
        return self.centre, self.relief, np.array([RADIUS, TEXEL])

    @property
    def colours(self) -> tuple[np.ndarray, ...]:
        """What colours are looked up in."""
        limits = np.array([*_PROJECTION.facing, *_PROJECTION.matte, _PROJECTION.depth_tolerance])
        return self.albedo, self.projection, self.eye, self.photo, self.trust, self.depth, limits


_NO_PHOTO = ProjectedPhoto(
    np.eye(4), np.eye(3), np.zeros((0, 0, 3), np.float32), np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
)


class Shading:
    """Sums over the samples of each pixel; parts of the head are added in turn.

    Attributes:
        alpha: fraction of each pixel's samples that hit a face.
        colours: summed over samples.
        normals: unit world normals, summed over the samples around the pixel's centre, over all samples where none of
            those hits: normals are smooth and cost more than colours.
    """

    def __init__(self, buffer: FaceBuffer, samples: int) -> None:
        """Count what a picture with ``samples`` by ``samples`` samples a pixel hits."""
        height, width = (size // samples for size in buffer.face.shape)
        self._buffer, self._samples = buffer, samples
        self.alpha: Float32[np.ndarray, "h w"] = np.empty((height, width), np.float32)
        self._inner: Bool[np.ndarray, "h w"] = np.empty((height, width), np.bool_)
        self.colours: Float32[np.ndarray, "h w 3"] = np.zeros((height, width, 3), np.float32)
        self.normals: Float32[np.ndarray, "h w 3"] = np.zeros((height, width, 3), np.float32)
        over_ranges(height, _cover, buffer.face, samples, self.alpha, self._inner)

    def _add(self, kernel: Callable[..., None], *arguments: Any) -> None:
        """Run a kernel over rows of pixels."""
        b = self._buffer
        pixels = b.face, b.barycentric, self._samples, self._inner, self.colours, self.normals
        over_ranges(len(self.alpha), kernel, *pixels, *arguments)

    def add_textured(
        self, surface: Surface, corner_uv: Float32[np.ndarray, "n 3 2"], albedo: Float32[np.ndarray, "th tw 3"]
    ) -> None:
        """Add the first ``n`` faces, with a texture; the origin of uv is the bottom-left of the picture."""
        self._add(_add_textured, surface.faces, surface.normals, corner_uv, albedo)

    def add_covering(self, surface: Surface, first: int, end: int, texture: CoveringTexture) -> None:
        """Add faces from ``first`` to before ``end``, with the texture of a covering and the relief of its strands."""
        s = surface
        self._add(_add_covering, s.faces, s.vertices, s.normals, first, end, texture.map, texture.colours)

    def add_coloured(self, surface: Surface, first: int, vertex_colours: Float32[np.ndarray, "n 3"]) -> None:
        """Add all faces from ``first`` on, with colours of the last ``n`` vertices, which are theirs."""
        self._add(_add_coloured, surface.faces, surface.normals, first, vertex_colours)


def tilted_by_strands(
    texture: CoveringTexture, points: Float32[np.ndarray, "n 3"], normals: Float32[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n 3"]:
    """Tilt unit normals by the slope of the strands' relief, around the head and downward."""
    tilted = np.empty((len(points), 3), np.float32)
    arguments = points.astype(np.float32), normals.astype(np.float32), texture.map, tilted
    over_ranges(len(points), _tilt_all, *arguments)
    return tilted


def _wrapped(picture: Float[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h ww c"]:
    """Add the last column before the first and the first behind the last."""
    return np.concatenate([picture[:, -1:], picture, picture[:, :1]], axis=1).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _cover(first_row, end_row, face, samples, alpha, inner):
    """Fill ``alpha``, and whether any sample that is not on a pixel's rim hits a face."""
    for row in range(first_row, end_row):
        for column in range(alpha.shape[1]):
            hits, hits_inside = 0, 0
            for y in range(samples):
                for x in range(samples):
                    if face[row * samples + y, column * samples + x] >= 0:
                        hits += 1
                        hits_inside += _is_inside(y, x, samples)
            alpha[row, column] = hits / samples**2
            inner[row, column] = hits_inside > 0


@numba.njit(cache=True)
def _is_inside(y, x, samples):
    return 0 < y < samples - 1 and 0 < x < samples - 1


@numba.njit(cache=True)
def _mixed(values, corners, weights):
    """Return the weighted sum of three rows of ``values``."""
    (a, b, c), (wa, wb, wc) = corners, weights
    return (
        wa * values[a, 0] + wb * values[b, 0] + wc * values[c, 0],
        wa * values[a, 1] + wb * values[b, 1] + wc * values[c, 1],
        wa * values[a, 2] + wb * values[b, 2] + wc * values[c, 2],
    )


@numba.njit(cache=True)
def _unit(x, y, z):
    scale = 1 / max(np.sqrt(x * x + y * y + z * z), _TINY)
    return x * scale, y * scale, z * scale


@numba.njit(cache=True)
def _place(picture, x, y):
    """Return between which rows and columns of a picture a position (px) lies, and how far; clamped at the border."""
    x, y = min(max(x - 0.5, 0.0), picture.shape[1] - 1.0), min(max(y - 0.5, 0.0), picture.shape[0] - 1.0)
    left, top = int(x), int(y)
    return top, min(top + 1, picture.shape[0] - 1), left, min(left + 1, picture.shape[1] - 1), x - left, y - top


@numba.njit(cache=True)
def _at(picture, place, channel):
    """Look up a channel bilinearly."""
    top, bottom, left, right, x, y = place
    upper = (1 - x) * picture[top, left, channel] + x * picture[top, right, channel]
    lower = (1 - x) * picture[bottom, left, channel] + x * picture[bottom, right, channel]
    return (1 - y) * upper + y * lower


@numba.njit(cache=True)
def _arctan2(y, x):
    """Return the angle to within 2e-6, a thousandth of a texel, six times faster than the exact one.

    The polynomial is that of Hastings, Approximations for Digital Computers (1955).
    """
    short, long = min(abs(x), abs(y)), max(abs(x), abs(y), 1e-30)
    t = short / long
    s = t * t
    odd = ((((-0.01172120 * s + 0.05265332) * s - 0.11643287) * s + 0.19354346) * s - 0.33262347) * s + 0.99997726
    angle = t * odd if abs(y) <= abs(x) else np.pi / 2 - t * odd
    angle = np.pi - angle if x < 0 else angle
    return -angle if y < 0 else angle


@numba.njit(cache=True)
def _unrolled(point, centre, wrapped, sizes):
    """Return the place of a world point on a covering's map, see ``spinmeround.template.hair.texture``."""
    x, y, z = point[0] - centre[0], point[1] - centre[1], point[2] - centre[2]
    radius, texel = sizes[0], sizes[1]
    along = _arctan2(np.sqrt(x * x + z * z), y) * radius if y > 0 else np.pi / 2 * radius - y
    turn = _arctan2(x, z) / (2 * np.pi) + 0.5
    return _place(wrapped, turn * (wrapped.shape[1] - 2) + 1, along / texel)


@numba.njit(cache=True)
def _ramp(value, low, high):
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True)
def _covering_colour(point, normal, place, covering_colours):
    """Return the colour of the map, under that of the photo as far as it is trusted to show a place."""
    albedo, projection, eye, photo, trust, depth, limits = covering_colours
    (facing_low, facing_high), (matte_low, matte_high) = (limits[0], limits[1]), (limits[2], limits[3])
    depth_tolerance = limits[4]
    r, g, b = _at(albedo, place, 0), _at(albedo, place, 1), _at(albedo, place, 2)
    if photo.size == 0:
        return r, g, b
    toward = _unit(eye[0] - point[0], eye[1] - point[1], eye[2] - point[2])
    facing = toward[0] * normal[0] + toward[1] * normal[1] + toward[2] * normal[2]
    if facing <= facing_low:
        return r, g, b
    m = projection
    z = m[2, 0] * point[0] + m[2, 1] * point[1] + m[2, 2] * point[2] + m[2, 3]
    x = (m[0, 0] * point[0] + m[0, 1] * point[1] + m[0, 2] * point[2] + m[0, 3]) / z
    y = (m[1, 0] * point[0] + m[1, 1] * point[1] + m[1, 2] * point[2] + m[1, 3]) / z
    if not (0 <= x < photo.shape[1] and 0 <= y < photo.shape[0]) or z >= depth[int(y), int(x)] + depth_tolerance:
        return r, g, b
    seen = _place(photo, x, y)
    fraction = _ramp(facing, facing_low, facing_high) * _ramp(_at(trust, seen, 0), matte_low, matte_high)
    if fraction <= 0:
        return r, g, b
    return (
        r + fraction * (_at(photo, seen, 0) - r),
        g + fraction * (_at(photo, seen, 1) - g),
        b + fraction * (_at(photo, seen, 2) - b),
    )


@numba.njit(cache=True)
def _tilted(point, normal, covering_map):
    """Tilt a unit normal by the slope of the strands' relief, around the head and downward."""
    centre, relief, sizes = covering_map
    nx, ny, nz = normal
    level = max(np.sqrt(nx * nx + nz * nz), _TINY)
    x, z = nz / level, -nx / level
    tilted_x, tilted_y, tilted_z = nx, ny, nz
    for tx, ty, tz in ((x, 0.0, z), (ny * z, nz * x - nx * z, -ny * x)):
        dx, dy, dz = _STRAND_STEP * tx, _STRAND_STEP * ty, _STRAND_STEP * tz
        ahead = _at(relief, _unrolled((point[0] + dx, point[1] + dy, point[2] + dz), centre, relief, sizes), 0)
        behind = _at(relief, _unrolled((point[0] - dx, point[1] - dy, point[2] - dz), centre, relief, sizes), 0)
        slope = min(max((ahead - behind) * _SLOPE, -_MAX_STRAND_SLOPE), _MAX_STRAND_SLOPE)
        tilted_x, tilted_y, tilted_z = tilted_x - slope * tx, tilted_y - slope * ty, tilted_z - slope * tz
    return _unit(tilted_x, tilted_y, tilted_z)


@numba.njit(nogil=True, cache=True)
def _tilt_all(first, end, points, normals, covering_map, tilted):
    for i in range(first, end):
        point, normal = points[i], normals[i]
        tilted[i, 0], tilted[i, 1], tilted[i, 2] = _tilted(
            (point[0], point[1], point[2]), (normal[0], normal[1], normal[2]), covering_map
        )


@numba.njit(cache=True)
def _corners_and_weights(f, faces, weights):
    return (faces[f, 0], faces[f, 1], faces[f, 2]), (weights[0], weights[1], weights[2])


@numba.njit(cache=True)
def _add(sums, value):
    sums[0] += value[0]
    sums[1] += value[1]
    sums[2] += value[2]


@numba.njit(nogil=True, cache=True)
def _add_textured(
    first_row, end_row, face, barycentric, samples, inner, colours, normals, faces, vertex_normals, corner_uv, albedo
):  # fmt: skip
    """Add what ``Shading.add_textured`` says."""
    height, width = albedo.shape[:2]
    for row in range(first_row, end_row):
        for y in range(samples):
            for sample in range(face.shape[1]):
                f, weights = face[row * samples + y, sample], barycentric[row * samples + y, sample]
                if f < 0 or f >= len(corner_uv):
                    continue
                column = sample // samples
                corners, weights = _corners_and_weights(f, faces, weights)
                u = weights[0] * corner_uv[f, 0, 0] + weights[1] * corner_uv[f, 1, 0] + weights[2] * corner_uv[f, 2, 0]
                v = weights[0] * corner_uv[f, 0, 1] + weights[1] * corner_uv[f, 1, 1] + weights[2] * corner_uv[f, 2, 1]
                place = _place(albedo, u * width, (1 - v) * height)
                _add(colours[row, column], (_at(albedo, place, 0), _at(albedo, place, 1), _at(albedo, place, 2)))
                if not inner[row, column] or _is_inside(y, sample - column * samples, samples):
                    _add(normals[row, column], _unit(*_mixed(vertex_normals, corners, weights)))


@numba.njit(nogil=True, cache=True)
def _add_covering(
    first_row, end_row, face, barycentric, samples, inner, colours, normals, faces, vertices, vertex_normals, first,
    end, covering_map, covering_colours,
):  # fmt: skip
    """Add what ``Shading.add_covering`` says."""
    centre, relief, sizes = covering_map
    for row in range(first_row, end_row):
        for y in range(samples):
            for sample in range(face.shape[1]):
                f, weights = face[row * samples + y, sample], barycentric[row * samples + y, sample]
                if f < first or f >= end:
                    continue
                column = sample // samples
                corners, weights = _corners_and_weights(f, faces, weights)
                point = _mixed(vertices, corners, weights)
                normal = _unit(*_mixed(vertex_normals, corners, weights))
                place = _unrolled(point, centre, relief, sizes)
                _add(colours[row, column], _covering_colour(point, normal, place, covering_colours))
                if not inner[row, column] or _is_inside(y, sample - column * samples, samples):
                    _add(normals[row, column], _tilted(point, normal, covering_map))


@numba.njit(nogil=True, cache=True)
def _add_coloured(
    first_row, end_row, face, barycentric, samples, inner, colours, normals, faces, vertex_normals, first,
    vertex_colours,
):  # fmt: skip
    """Add what ``Shading.add_coloured`` says."""
    before = len(vertex_normals) - len(vertex_colours)
    for row in range(first_row, end_row):
        for y in range(samples):
            for sample in range(face.shape[1]):
                f, weights = face[row * samples + y, sample], barycentric[row * samples + y, sample]
                if f < first:
                    continue
                column = sample // samples
                (a, b, c), weights = _corners_and_weights(f, faces, weights)
                _add(colours[row, column], _mixed(vertex_colours, (a - before, b - before, c - before), weights))
                if not inner[row, column] or _is_inside(y, sample - column * samples, samples):
                    _add(normals[row, column], _unit(*_mixed(vertex_normals, (a, b, c), weights)))
