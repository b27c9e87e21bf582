"""A textured mesh from posed pictures: colours are taken from where views see each texel best, seams levelled.

Two bands, after Burt and Adelson, "A Multiresolution Spline with Application to Image Mosaics" (1983): low frequencies
are averaged over all views that see a texel, so that brightness has no seams; high frequencies come from the best view,
so that small misfits between views do not blur. Texels no view sees continue their surroundings harmonically.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numba
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Bool, Float

from spinmeround.geometry import camera_centres, vertex_normals
from spinmeround.mesh_raster import interpolate, rasterize, rasterize_pixels
from spinmeround.recon.evidence.targets import projection_matrices
from spinmeround.recon.image_sampling import bilinear, seen_at
from spinmeround.recon.texture.atlas import Atlas, simplify, unwrap
from spinmeround.scratch import planes
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh, Views

logger = logging.getLogger(__name__)

_LOW_BAND = 1 / 64
"""Standard deviation of the low band, picture widths."""

_LOW_SHRINK = 4

_FEATHER = 1 / 64
"""Views fade in over this share of the picture's width from outlines and depth edges."""

_STEEP = 6.0
"""Depth steps above this many pixel footprints within three pixels are edges, or surfaces seen too obliquely."""

_SURE_WEIGHT = 0.1
_HIGH_BAND_POWER = 16.0
_LEAST_COSINE = 0.15


@dataclass(frozen=True)
class _Palette:
    """The views ready to be sampled: two bands, where to trust them, and how deep the surface lies.

    Attributes:
        low: shrunk by ``_LOW_SHRINK``: it has no detail that would need more.
    """

    projections: Float[np.ndarray, "v 3 4"]
    eyes: Float[np.ndarray, "v 3"]
    footprints: Float[np.ndarray, "v"]
    rgb: Float[np.ndarray, "v h w 3"]
    low: Float[np.ndarray, "v h2 w2 3"]
    trust: Float[np.ndarray, "v h w"]
    depth: Float[np.ndarray, "v h w"]


def bake_texture(
    views: Views,
    mesh: Mesh,
    *,
    size_px: int = 2048,
    faces: int = 20_000,
    progress: Callable[[float, str], None] | None = None,
) -> TexturedMesh:
    """Decimates a surface, unwraps it and paints it from the views.

    Args:
        views: pictures; ``alpha`` and ``weight`` say what to trust.
        mesh: closed surface in the world frame.
        size_px: side of the square texture.
        faces: face budget, met within 2 % when the surface has more.
        progress: told the share done and what is being done.

    Raises:
        MissingDependencyError: xatlas is not installed.
    """
    tell = progress or (lambda fraction, message: None)
    tell(0.0, "simplifying")
    small = simplify(mesh, faces)
    tell(0.05, "unwrapping")
    atlas = unwrap(small, size_px)
    tell(0.5, "painting")
    palette = _palette(views, small)
    normals = vertex_normals(small.vertices, small.faces)
    fill = _vertex_fill(small, normals, palette)
    albedo, _ = _paint(small, normals, atlas, palette, fill, size_px)
    tell(1.0, "texture done")
    return TexturedMesh(small.vertices, small.faces, atlas.uv, atlas.uv_faces, albedo)


def colour_vertices(views: Views, surface: Mesh) -> ColouredMesh:
    """A whole surface, each vertex in the colour that the views which see it best have there."""
    palette = _palette(views, surface)
    normals = vertex_normals(surface.vertices, surface.faces)
    sampled, weight = _sample(surface.vertices, normals, palette, high=True)
    share = np.clip(weight / _SURE_WEIGHT, 0, 1)[:, None]
    colours = share * sampled + (1 - share) * _vertex_fill(surface, normals, palette)
    return ColouredMesh(surface.vertices, surface.faces, np.clip(colours, 0, 1))


def paint_layout(
    views: Views, surface: Mesh, mesh: Mesh, atlas: Atlas, *, size_px: int
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """Paints a mesh that has a layout of its own from views of a surface it lies on.

    Args:
        surface: what the views see; parts of ``mesh`` that lie well under it are hidden.
        mesh: its texels' places in the world.

    Returns:
        sRGB texture, row 0 at the top, and which share of each texel was seen; 0 between charts.
    """
    palette = _palette(views, surface)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    return _paint(mesh, normals, atlas, palette, _vertex_fill(mesh, normals, palette), size_px)


def _palette(views: Views, mesh: Mesh) -> _Palette:
    cameras = views.cameras
    eyes = camera_centres(cameras)
    distance = np.linalg.norm(eyes - mesh.vertices.mean(0), axis=1)
    footprints = distance / cameras.intrinsics_px[:, [0, 1], [0, 1]].mean(1)
    low = []
    trust, depth = planes(views.alpha.shape, views.alpha.shape)
    for index in range(len(views)):
        depth[index] = rasterize(mesh.vertices, mesh.faces, cameras, index).depth
        trust[index] = _confidence(views.alpha[index], depth[index], footprints[index]) * views.weight[index]
        low.append(_low_band(views.rgb[index], trust[index] > 0))
    rgb = np.ascontiguousarray(views.rgb, np.float32)
    return _Palette(projection_matrices(cameras), eyes, footprints, rgb, np.stack(low), trust, depth)


def _confidence(
    alpha: Float[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"], footprint: float
) -> Float[np.ndarray, "h w"]:
    """Rises from 0 at outlines and depth edges to the alpha's square inside."""
    known = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    step = cv2.dilate(known, np.ones((3, 3))) - cv2.erode(known, np.ones((3, 3)))
    good = (alpha > 0.5) & np.isfinite(depth) & (step < _STEEP * footprint)
    good[[0, -1]] = good[:, [0, -1]] = False
    distance = cv2.distanceTransform(good.astype(np.uint8), cv2.DIST_L2, 5)
    feather_px = _FEATHER * alpha.shape[1]
    return np.clip((distance - 1) / feather_px, 0, 1) * alpha.astype(np.float32) ** 2


def _low_band(rgb: Float[np.ndarray, "h w 3"], good: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2 3"]:
    """Gaussian mean over trusted pixels only, shrunk."""
    sigma_px = _LOW_BAND * rgb.shape[1]
    mask = good.astype(np.float32)
    total = cv2.GaussianBlur(rgb.astype(np.float32) * mask[..., None], (0, 0), sigma_px)
    low = total / np.maximum(cv2.GaussianBlur(mask, (0, 0), sigma_px), 1e-4)[..., None]
    size_px = (max(2, rgb.shape[1] // _LOW_SHRINK), max(2, rgb.shape[0] // _LOW_SHRINK))
    return cv2.resize(low, size_px, interpolation=cv2.INTER_AREA)


def _vertex_fill(mesh: Mesh, normals: Float[np.ndarray, "v 3"], palette: _Palette) -> Float[np.ndarray, "v 3"]:
    """Low-band colours of the vertices; unseen ones continue the seen ones harmonically."""
    colours, weight = _sample(mesh.vertices, normals, palette, high=False)
    free = weight < _SURE_WEIGHT
    if free.all():
        return np.full_like(colours, 0.5)
    if not free.any():
        return colours
    ends = mesh.faces[:, [1, 2, 0]].ravel()
    graph = scipy.sparse.csr_matrix((np.ones(mesh.faces.size), (mesh.faces.ravel(), ends)), (len(colours),) * 2)
    graph = graph.maximum(graph.T)
    laplacian = scipy.sparse.diags(np.asarray(graph.sum(1)).ravel() + 1e-9) - graph
    system = laplacian[free][:, free].tocsc()
    colours[free] = scipy.sparse.linalg.splu(system).solve(-(laplacian[free][:, ~free] @ colours[~free]))
    return colours


def _paint(
    mesh: Mesh,
    normals: Float[np.ndarray, "v 3"],
    atlas: Atlas,
    palette: _Palette,
    fill: Float[np.ndarray, "v 3"],
    size_px: int,
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """The texture, and how much of each texel was seen."""
    layout = np.stack([atlas.uv[:, 0] * size_px, (1 - atlas.uv[:, 1]) * size_px, np.ones(len(atlas.uv))], axis=1)
    buffer = rasterize_pixels(layout, atlas.uv_faces, size_px, size_px)
    covered = buffer.face >= 0
    # Gutters take the colour of the nearest covered texel.
    _, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    attributes = np.concatenate([mesh.vertices, normals, fill], axis=1)
    texels = interpolate(attributes, mesh.faces, buffer)[covered]
    sampled, weight = _sample(texels[:, :3], texels[:, 3:6], palette, high=True)
    share = np.clip(weight / _SURE_WEIGHT, 0, 1)[:, None]
    logger.debug("texture: %d texels, %.3f of them observed", len(texels), share.mean())
    colours = np.clip(share * sampled + (1 - share) * texels[:, 6:], 0, 1).astype(np.float32)
    nearest = np.asarray(nearest, np.int64)
    by_label = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    by_label[nearest[covered]] = colours
    seen = np.zeros(covered.shape, np.float32)
    seen[covered] = share[:, 0]
    return by_label[nearest], seen


def _sample(
    points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], palette: _Palette, *, high: bool
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Colours of surface points, and how well they are seen (1: frontally by one fully trusted view)."""
    colours, weight = np.zeros((len(points), 3)), np.zeros(len(points))
    _blend(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(normals, np.float64),
        palette.projections, palette.eyes, palette.footprints, palette.rgb, palette.low, palette.trust, palette.depth,
        high, colours, weight,
    )  # fmt: skip
    return colours, weight


@numba.njit(cache=True)
def _cubic(t):
    """Catmull-Rom weights of four neighbours at -1, 0, 1, 2."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@numba.njit(parallel=True, cache=True)
def _blend(points, normals, projections, eyes, footprints, rgb, low, trust, depth, high, out, out_weight):
    views, height, width = depth.shape
    across_low, down_low = low.shape[2] / width, low.shape[1] / height
    for i in numba.prange(points.shape[0]):
        seen = np.empty((views, 4))
        count = 0
        best = total = 0.0
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
        index = np.empty(views, np.int64)
        for v in range(views):
            dx, dy, dz = eyes[v, 0] - x, eyes[v, 1] - y, eyes[v, 2] - z
            cosine = (dx * nx + dy * ny + dz * nz) / (length * np.sqrt(dx * dx + dy * dy + dz * dz))
            if cosine < _LEAST_COSINE:
                continue
            column, row, far = seen_at(projections[v], x, y, z)
            column, row = column - 0.5, row - 0.5
            if not (1 <= column < width - 2 and 1 <= row < height - 2):
                continue
            if far > depth[v, int(row + 0.5), int(column + 0.5)] + 2 * footprints[v] / cosine:
                continue
            weight = bilinear(trust[v], column, row) * (cosine - _LEAST_COSINE) ** 2 / (1 - _LEAST_COSINE) ** 2
            if weight <= 1e-6:
                continue
            seen[count, 0], seen[count, 1], seen[count, 2] = weight, column, row
            index[count] = v
            count += 1
            total += weight
            best = max(best, weight)
        sharp_total = 0.0
        for k in range(count):
            share = (seen[k, 0] / best) ** _HIGH_BAND_POWER
            seen[k, 3] = share if high and share > 1e-3 else 0.0
            sharp_total += seen[k, 3]
        for k in range(count):
            v = index[k]
            column, row = seen[k, 1], seen[k, 2]
            ic, ir = int(column), int(row)
            fc, fr = column - ic, row - ir
            sharp = seen[k, 3] / sharp_total if high else 0.0
            # The low band counts with the soft weight; the high band is the picture less its low band.
            blunt = seen[k, 0] / total - sharp
            low_column, low_row = (column + 0.5) * across_low - 0.5, (row + 0.5) * down_low - 0.5
            for c in range(3):
                out[i, c] += blunt * bilinear(low[v, :, :, c], low_column, low_row)
            if sharp > 0:
                across, down = _cubic(fc), _cubic(fr)
                for c in range(3):
                    value = 0.0
                    for r in range(4):
                        line = 0.0
                        for s in range(4):
                            line += across[s] * rgb[v, ir - 1 + r, ic - 1 + s, c]
                        value += down[r] * line
                    out[i, c] += sharp * value
        out_weight[i] = total
