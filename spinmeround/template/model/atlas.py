"""The texture atlas of the head: the surface point under each texel, and the mirrored texel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Integer

from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.template.model.head_model import HeadModel
from spinmeround.threads import over_ranges

_MAX_GROWTH, _MAX_GROWTH_TEXELS = 3, 4
"""A mirrored face that spans more than so many times its own span, plus so many texels, is torn between charts."""
_MAX_ASYMMETRY = 0.003
"""Distance between a mirrored vertex and the nearest one beyond which it has no mirror image, head units."""
_GATHERED_ROWS = 1024
"""So many rows and columns of texels are read for values at vertices: there are enough texels per vertex."""
_NO_MIRROR = np.float32(-10)
"""Coordinate outside the texture, in texels."""


@dataclass(frozen=True)
class Atlas:
    """A square texture over the dense mesh. Row 0 is the top row, where v = 1.

    Attributes:
        face: dense face under each texel, -1 outside all charts.
        barycentric: barycentric coordinates on that face.
        corners: dense vertices of each dense face.
        part: part of the head under each texel, index into ``PARTS``, -1 outside.
        mirror: per texel the (column, row) of the texel on the other side of the head; outside the
            texture where there is none.
    """

    face: Int32[np.ndarray, "t t"]
    barycentric: Float32[np.ndarray, "t t 3"]
    corners: Integer[np.ndarray, "g 3"]
    part: Int32[np.ndarray, "t t"]
    mirror: Float32[np.ndarray, "t t 2"]

    @property
    def size(self) -> int:
        """Number of texels along each side."""
        return self.face.shape[0]

    def spread(
        self, values: Float[np.ndarray, "m *c"], window: tuple[slice, slice] = np.s_[:, :]
    ) -> Float32[np.ndarray, "h w *c"]:
        """Interpolate values at dense vertices over the texels; 0 outside all charts.

        Args:
            window: rows and columns of the texels.
        """
        flat = np.ascontiguousarray(values.reshape(len(values), -1), np.float32)
        face, barycentric = (np.ascontiguousarray(each[window]) for each in (self.face, self.barycentric))
        return _interpolated(face, barycentric, self.corners, flat).reshape(*face.shape, *values.shape[1:])

    def gather(
        self, image: Float[np.ndarray, "t t c"], weight: Float[np.ndarray, "t t"], count: int
    ) -> tuple[Float[np.ndarray, "m c"], Float[np.ndarray, "m"]]:
        """Return the weighted mean of the texels around each of ``count`` dense vertices, and their summed weights."""
        step = max(1, self.size // _GATHERED_ROWS)
        return _gather(self.face, self.barycentric, self.corners, image, weight, count, step)

    def mirrored(self, image: Float[np.ndarray, "t t *c"]) -> Float32[np.ndarray, "t t *c"]:
        """Sample a texture at the mirrored texels; 0 where a texel has none."""
        grid = self.mirror
        return cv2.remap(np.asarray(image, np.float32), grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def padded(
        self, image: Float[np.ndarray, "t t c"], inside: Bool[np.ndarray, "t t"]
    ) -> Float32[np.ndarray, "t t c"]:
        """Extend colours into the gutters between charts, so that filtering at a border never reads background."""
        nearest = self.nearest_inside(inside)
        return image.reshape(-1, image.shape[2])[nearest].astype(np.float32, copy=False)

    def nearest_inside(self, inside: Bool[np.ndarray, "t t"]) -> Int32[np.ndarray, "t t"]:
        """Return for each texel the nearest one inside, as an index into the flattened texture."""
        _, label = cv2.distanceTransformWithLabels(
            (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        nearest = np.zeros(int(label.max()) + 1, np.int32)
        nearest[label[inside]] = np.flatnonzero(inside.ravel())
        return nearest[label]


def build_atlas(model: HeadModel, size: int) -> Atlas:
    """Rasterise the texture coordinates and match both halves of the head through the mean head's symmetry."""
    texels = np.stack([model.uv[:, 0], 1 - model.uv[:, 1], np.ones(len(model.uv))], axis=1) * [size, size, 1]
    drawn = rasterize_pixels(texels, model.uv_faces, size, size)
    part = np.where(drawn.face >= 0, model.dense_part[np.maximum(drawn.face, 0)], -1).astype(np.int32)
    corners = np.ascontiguousarray(model.dense_faces, np.int64)
    mirror = _mirror_map(model, texels[:, :2], drawn.face, drawn.barycentric)
    return Atlas(drawn.face, drawn.barycentric, corners, part, mirror)


def _mirror_map(model: HeadModel, texels, face, barycentric) -> Float32[np.ndarray, "t t 2"]:
    """Return the texels of mirrored points, interpolated between the texture coordinates of the mirrored corners.

    Corners on a seam have several coordinates; a face takes those nearest to each other. A face whose mirror image
    still spans several charts has none.
    """
    dense = model.dense(model.mean)
    twin = model.dense_mirror()
    distance = np.linalg.norm(dense[twin] - dense * [-1, 1, 1], axis=1)
    corner_uv = np.full(len(dense), -1)
    corner_uv[model.dense_faces.ravel()] = model.uv_faces.ravel()
    target = texels[_mirrored_coordinates(model, twin, corner_uv, texels)]
    span = np.ptp(target, axis=1).max(1)
    own = np.ptp(texels[model.uv_faces], axis=1).max(1)
    one_chart = span < _MAX_GROWTH * own + _MAX_GROWTH_TEXELS
    valid = one_chart & (distance[model.dense_faces].max(1) < _MAX_ASYMMETRY)
    out = _interpolated(
        face, barycentric, np.arange(3 * len(target)).reshape(-1, 3), target.reshape(-1, 2).astype(np.float32)
    )
    usable = (face >= 0) & valid[np.maximum(face, 0)]
    return np.where(usable[..., None], out - 0.5, _NO_MIRROR)


def _mirrored_coordinates(model: HeadModel, twin, any_uv, texels) -> Integer[np.ndarray, "g 3"]:
    """Return per face the texture coordinates of its mirrored corners, from one chart where a vertex has several."""
    mirrored = twin[model.dense_faces]
    pairs = np.unique(np.stack([model.dense_faces.ravel(), model.uv_faces.ravel()], axis=1), axis=0)
    first = np.searchsorted(pairs[:, 0], np.arange(len(twin) + 1))
    single = any_uv[mirrored]
    several = (np.diff(first) > 1)[mirrored].any(1)
    chosen = single.copy()
    for f in np.flatnonzero(several):
        options = [pairs[first[v] : first[v + 1], 1] for v in mirrored[f]]
        grid = np.stack(np.meshgrid(*options, indexing="ij"), axis=-1).reshape(-1, 3)
        chosen[f] = grid[np.ptp(texels[grid], axis=1).max(1).argmin()]
    return chosen


def _interpolated(face, barycentric, corners, values) -> Float32[np.ndarray, "h w c"]:
    """Interpolate values at the corners of faces over texels."""
    out = np.zeros((*face.shape, values.shape[1]), np.float32)
    over_ranges(len(face), _spread, face, barycentric, corners, values, out)
    return out


@numba.njit(nogil=True, cache=True)
def _spread(first_row, end_row, face, barycentric, corners, values, out):
    """Kernel of ``Atlas.spread``."""
    channels = values.shape[1]
    for row in range(first_row, end_row):
        for column in range(face.shape[1]):
            f = face[row, column]
            if f < 0:
                continue
            first, second, third = corners[f, 0], corners[f, 1], corners[f, 2]
            a, b, c = barycentric[row, column, 0], barycentric[row, column, 1], barycentric[row, column, 2]
            if channels == 1:  # by far the most usual
                out[row, column, 0] = a * values[first, 0] + b * values[second, 0] + c * values[third, 0]
                continue
            for k in range(channels):
                out[row, column, k] = a * values[first, k] + b * values[second, k] + c * values[third, k]


@numba.njit(cache=True)
def _gather(face, barycentric, corners, image, weight, count, step):
    """Kernel of ``Atlas.gather``."""
    channels = image.shape[2]
    total, mass = np.zeros((count, channels)), np.zeros(count)
    height, width = face.shape
    for row in range(0, height, step):
        for column in range(0, width, step):
            f = face[row, column]
            w = weight[row, column]
            if f < 0 or w <= 0:
                continue
            for k in range(3):
                b, v = w * barycentric[row, column, k], corners[f, k]
                mass[v] += b
                for c in range(channels):
                    total[v, c] += b * image[row, column, c]
    for v in range(count):
        if mass[v] > 0:
            for c in range(channels):
                total[v, c] /= mass[v]
    return total, mass
