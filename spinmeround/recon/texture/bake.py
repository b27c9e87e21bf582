"""Textures from posed pictures: each texel takes its colour from the views that see it best, without seams.

Two bands, after Burt and Adelson, "A Multiresolution Spline with Application to Image Mosaics" (1983): low frequencies
are averaged over all views that see a texel, so that brightness has no seams; high frequencies come from the best view,
so that small misfits between views do not blur. Texels no view sees continue their surroundings harmonically.
"""

from __future__ import annotations

import logging
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
from spinmeround.recon.image_sampling import bilinear, project_point
from spinmeround.recon.texture.atlas import Atlas, simplify, unwrap
from spinmeround.scratch import planes
from spinmeround.types import ColouredMesh, Mesh, Progress, TexturedMesh, Views, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _BlendSettings:
    """How views are prepared, and how their colours are blended with the fill.

    Attributes:
        low_band_sigma: standard deviation of the blur that leaves the low band, picture widths.
        low_band_shrink: factor by which the low band is stored smaller; it has no finer detail.
        feather: distance over which views fade in from silhouettes and depth edges, picture widths.
        steep: depth steps within three pixels above this many pixel footprints are edges, or surfaces seen too
            obliquely.
        full_weight: points seen with at least this weight take no fill.
        unseen_rgb: colour in sRGB of a mesh that no view sees.
    """

    low_band_sigma: float = 1 / 64
    low_band_shrink: int = 4
    feather: float = 1 / 64
    steep: float = 6.0
    full_weight: float = 0.1
    unseen_rgb: float = 0.5


_BLEND = _BlendSettings()

# The compiled kernel reads these.
_MIN_COSINE = 0.15
"""Between a surface normal and the direction to the camera: views more oblique than this are not sampled."""
_HIGH_BAND_POWER = 16.0
"""A view's weight in the high band is its weight against the best view's to this power: nearly all from the best."""
_MIN_HIGH_BAND_WEIGHT = 1e-3
_MIN_VIEW_WEIGHT = 1e-6
_DEPTH_SLACK_PX = 2
"""How far behind the depth map a point still counts as seen, pixel footprints at frontal view."""


@dataclass(frozen=True)
class _SourceViews:
    """The views ready to be sampled.

    Attributes:
        projections: pixels from world.
        eyes: positions of the cameras, world.
        footprints: width of a pixel on the surface, head units.
        low: the low band, shrunk.
        trust: how far the colours count, in [0, 1].
        depth: depth maps of the surface.
    """

    projections: Float[np.ndarray, "v 3 4"]
    eyes: Float[np.ndarray, "v 3"]
    footprints: Float[np.ndarray, "v"]
    rgb: Float[np.ndarray, "v h w 3"]
    low: Float[np.ndarray, "v h2 w2 3"]
    trust: Float[np.ndarray, "v h w"]
    depth: Float[np.ndarray, "v h w"]


@dataclass(frozen=True)
class _BakeTarget:
    """A mesh and what its colours are taken from.

    Attributes:
        normals: of its vertices.
        fill: low-band sRGB colours of its vertices, for what no view sees.
    """

    mesh: Mesh
    normals: Float[np.ndarray, "v 3"]
    sources: _SourceViews
    fill: Float[np.ndarray, "v 3"]


def bake_texture(
    views: Views, mesh: Mesh, *, size_px: int = 2048, faces: int = 20_000, progress: Progress = no_progress
) -> TexturedMesh:
    """Decimate a surface, unwrap it and bake the views into its texture.

    Args:
        views: pictures; colours count by ``alpha`` and ``weight``.
        mesh: closed surface in the world frame.
        size_px: side of the square texture.
        faces: face budget, met within 2 % when the surface has more.
        progress: called with the fraction done and what is being done.

    Raises:
        MissingDependencyError: xatlas is not installed.
    """
    progress(0.0, "simplifying")
    small = simplify(mesh, faces)
    progress(0.05, "unwrapping")
    atlas = unwrap(small, size_px)
    progress(0.5, "painting")
    albedo, _ = _bake(_target(small, _source_views(views, small)), atlas, size_px)
    progress(1.0, "texture done")
    return TexturedMesh(small.vertices, small.faces, atlas.uv, atlas.uv_faces, albedo)


def colour_vertices(views: Views, surface: Mesh) -> ColouredMesh:
    """Return a surface whose vertices have the colours of the views that see them best."""
    target = _target(surface, _source_views(views, surface))
    sampled, weight = _sample(surface.vertices, target.normals, target.sources, high=True)
    seen = np.clip(weight / _BLEND.full_weight, 0, 1)[:, None]
    colours = seen * sampled + (1 - seen) * target.fill
    return ColouredMesh(surface.vertices, surface.faces, np.clip(colours, 0, 1))


def bake_onto_atlas(
    views: Views, surface: Mesh, mesh: Mesh, atlas: Atlas, *, size_px: int
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """Bake views of a surface into the texture of a mesh that lies on it and has an atlas of its own.

    Args:
        surface: what the views see; parts of ``mesh`` that lie well under it are hidden.
        mesh: gives the texels their places in the world.

    Returns:
        sRGB texture, row 0 at the top, and the fraction of each texel that was seen; 0 between charts.
    """
    return _bake(_target(mesh, _source_views(views, surface)), atlas, size_px)


def _target(mesh: Mesh, sources: _SourceViews) -> _BakeTarget:
    normals = vertex_normals(mesh.vertices, mesh.faces)
    return _BakeTarget(mesh, normals, sources, _fill_colours(mesh, normals, sources))


def _source_views(views: Views, mesh: Mesh) -> _SourceViews:
    """Return the views ready to be sampled on a mesh."""
    cameras = views.cameras
    eyes = camera_centres(cameras)
    distance = np.linalg.norm(eyes - mesh.vertices.mean(0), axis=1)
    footprints = distance / cameras.intrinsics_px[:, [0, 1], [0, 1]].mean(1)
    low = []
    trust, depth = planes(views.alpha.shape, views.alpha.shape)
    for index in range(len(views)):
        depth[index] = rasterize(mesh.vertices, mesh.faces, cameras, index).depth
        trust[index] = _trust(views.alpha[index], depth[index], footprints[index]) * views.weight[index]
        low.append(_low_band(views.rgb[index], trust[index] > 0))
    rgb = np.ascontiguousarray(views.rgb, np.float32)
    return _SourceViews(projection_matrices(cameras), eyes, footprints, rgb, np.stack(low), trust, depth)


def _trust(
    alpha: Float[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"], footprint: float
) -> Float[np.ndarray, "h w"]:
    """Return weights that rise from 0 at silhouettes and depth edges to the alpha's square inside."""
    known = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    step = cv2.dilate(known, np.ones((3, 3))) - cv2.erode(known, np.ones((3, 3)))
    good = (alpha > 0.5) & np.isfinite(depth) & (step < _BLEND.steep * footprint)
    good[[0, -1]] = good[:, [0, -1]] = False
    distance = cv2.distanceTransform(good.astype(np.uint8), cv2.DIST_L2, 5)
    feather_px = _BLEND.feather * alpha.shape[1]
    return np.clip((distance - 1) / feather_px, 0, 1) * alpha.astype(np.float32) ** 2


def _low_band(rgb: Float[np.ndarray, "h w 3"], good: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2 3"]:
    """Return the Gaussian mean over trusted pixels, shrunk."""
    sigma_px = _BLEND.low_band_sigma * rgb.shape[1]
    mask = good.astype(np.float32)
    total = cv2.GaussianBlur(rgb.astype(np.float32) * mask[..., None], (0, 0), sigma_px)
    low = total / np.maximum(cv2.GaussianBlur(mask, (0, 0), sigma_px), 1e-4)[..., None]
    shrink = _BLEND.low_band_shrink
    return cv2.resize(
        low, (max(2, rgb.shape[1] // shrink), max(2, rgb.shape[0] // shrink)), interpolation=cv2.INTER_AREA
    )


def _fill_colours(mesh: Mesh, normals: Float[np.ndarray, "v 3"], sources: _SourceViews) -> Float[np.ndarray, "v 3"]:
    """Return low-band colours of the vertices; unseen ones solve Laplace's equation between the seen ones."""
    colours, weight = _sample(mesh.vertices, normals, sources, high=False)
    free = weight < _BLEND.full_weight
    if free.all():
        return np.full_like(colours, _BLEND.unseen_rgb)
    if not free.any():
        return colours
    ends = mesh.faces[:, [1, 2, 0]].ravel()
    graph = scipy.sparse.csr_matrix((np.ones(mesh.faces.size), (mesh.faces.ravel(), ends)), (len(colours),) * 2)
    graph = graph.maximum(graph.T)
    laplacian = scipy.sparse.diags(np.asarray(graph.sum(1)).ravel() + 1e-9) - graph
    system = laplacian[free][:, free].tocsc()
    colours[free] = scipy.sparse.linalg.splu(system).solve(-(laplacian[free][:, ~free] @ colours[~free]))
    return colours


def _bake(
    target: _BakeTarget, atlas: Atlas, size_px: int
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """Return the texture, and the fraction of each texel that was seen."""
    layout = np.stack([atlas.uv[:, 0] * size_px, (1 - atlas.uv[:, 1]) * size_px, np.ones(len(atlas.uv))], axis=1)
    buffer = rasterize_pixels(layout, atlas.uv_faces, size_px, size_px)
    covered = buffer.face >= 0
    # Gutters take the colour of the nearest covered texel.
    _, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    attributes = np.concatenate([target.mesh.vertices, target.normals, target.fill], axis=1)
    texels = interpolate(attributes, target.mesh.faces, buffer)[covered]
    sampled, weight = _sample(texels[:, :3], texels[:, 3:6], target.sources, high=True)
    fraction = np.clip(weight / _BLEND.full_weight, 0, 1)[:, None]
    log.debug("texture: %d texels, %.3f of them observed", len(texels), fraction.mean())
    colours = np.clip(fraction * sampled + (1 - fraction) * texels[:, 6:], 0, 1).astype(np.float32)
    nearest = np.asarray(nearest, np.int64)
    by_label = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    by_label[nearest[covered]] = colours
    seen = np.zeros(covered.shape, np.float32)
    seen[covered] = fraction[:, 0]
    return by_label[nearest], seen


def _sample(
    points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], sources: _SourceViews, *, high: bool
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return colours of surface points, and how well they are seen (1: frontally by one fully trusted view).

    Args:
        high: whether the high band is added to the low band.
    """
    colours, weight = np.zeros((len(points), 3)), np.zeros(len(points))
    _blend(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(normals, np.float64),
        sources.projections, sources.eyes, sources.footprints, sources.rgb, sources.low, sources.trust, sources.depth,
        high, colours, weight,
    )  # fmt: skip
    return colours, weight


@numba.njit(cache=True)
def _cubic(t):
    """Return the Catmull-Rom weights of four neighbours at -1, 0, 1, 2."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@numba.njit(parallel=True, cache=True)
def _blend(points, normals, projections, eyes, footprints, rgb, low, trust, depth, high, out, out_weight):
    """Fill in the colour and the summed weight of every point."""
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
            if cosine < _MIN_COSINE:
                continue
            column, row, point_depth = project_point(projections[v], x, y, z)
            column, row = column - 0.5, row - 0.5
            if not (1 <= column < width - 2 and 1 <= row < height - 2):
                continue
            if point_depth > depth[v, int(row + 0.5), int(column + 0.5)] + _DEPTH_SLACK_PX * footprints[v] / cosine:
                continue
            weight = bilinear(trust[v], column, row) * (cosine - _MIN_COSINE) ** 2 / (1 - _MIN_COSINE) ** 2
            if weight <= _MIN_VIEW_WEIGHT:
                continue
            seen[count, 0], seen[count, 1], seen[count, 2] = weight, column, row
            index[count] = v
            count += 1
            total += weight
            best = max(best, weight)
        high_total = 0.0
        for k in range(count):
            high_weight = (seen[k, 0] / best) ** _HIGH_BAND_POWER
            seen[k, 3] = high_weight if high and high_weight > _MIN_HIGH_BAND_WEIGHT else 0.0
            high_total += seen[k, 3]
        for k in range(count):
            v = index[k]
            column, row = seen[k, 1], seen[k, 2]
            ic, ir = int(column), int(row)
            fc, fr = column - ic, row - ir
            high_fraction = seen[k, 3] / high_total if high else 0.0
            # The low band counts with the views' plain weight; the high band is the picture less its low band.
            low_fraction = seen[k, 0] / total - high_fraction
            low_column, low_row = (column + 0.5) * across_low - 0.5, (row + 0.5) * down_low - 0.5
            for c in range(3):
                out[i, c] += low_fraction * bilinear(low[v, :, :, c], low_column, low_row)
            if high_fraction > 0:
                across, down = _cubic(fc), _cubic(fr)
                for c in range(3):
                    value = 0.0
                    for r in range(4):
                        line = 0.0
                        for s in range(4):
                            line += across[s] * rgb[v, ir - 1 + r, ic - 1 + s, c]
                        value += down[r] * line
                    out[i, c] += high_fraction * value
        out_weight[i] = total
