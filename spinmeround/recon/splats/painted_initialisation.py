"""Initialisation of a splat fit on what the views were drawn from: discs on what pixels show, needles along strands.

Each view is rasterised once. A pixel that shows the surface becomes a disc if no other view shows the same place at a
steeper angle: discs lie on a grid as fine as the pictures, on all that is seen and on nothing else. Where pictures are
smooth the four pixels of a block share a disc. Of strands each piece that some pixel shows becomes a needle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numba
import numpy as np
import torch
from jaxtyping import Float, Integer
from scipy.spatial.transform import Rotation

from spinmeround import mesh_raster
from spinmeround.errors import FitError
from spinmeround.geometry import camera_centres, ribbon_vertices, vertex_normals
from spinmeround.recon.splats.initialisation import (
    concatenate_splats,
    float_tensor,
    local_detail,
    pixel_width,
    quats_from_z,
)
from spinmeround.types import SH_C0, Cameras, Mesh, PaintedSurface, Splats, Views


@dataclass(frozen=True)
class PaintedStartSettings:
    """How Gaussians are laid on a painted surface and its strands.

    Attributes:
        max_strand_fraction: of all splats that lie along strands.
        disc_width: standard deviation of a disc, in widths of the pixels it stands for.
        disc_flatness: thickness of a disc over its width.
        disc_opacity: of all discs.
        min_cosine: least cosine between a disc's normal and the direction to its view: steeper ones are as wide as
            this one.
        inset: how far discs lie beneath the surface, in their standard deviations: seen edge-on they reach over it.
        depth_slack_px: by how many widths of a pixel a place may lie behind what a view shows and still be seen there.
        visible_slack_px: the same for a splat to be drawn in a view's steps; near it and behind others it counts.
        visible_around_px: how far from a splat's place what a view shows is looked at for that.
        overlap: standard deviation along a strand, over the length of a piece: a needle integrates to the piece, and so
            needles in a row add up to an even line.
        needle_opacity: most of a piece of a strand.
        min_needle_px: least standard deviation across a strand, in widths of a pixel: thinner ones alias.
        needle_flatness: standard deviation of a needle along the line of sight, over that across.
        dilation_px2: variance that drawing adds to that across a strand, px².
        firm_alpha: least alpha of a pixel whose detail counts.
        largest_block_px: most pixels along the side of a block that shares a disc.
    """

    max_strand_fraction: float = 0.6
    disc_width: float = 0.6
    disc_flatness: float = 0.06
    disc_opacity: float = 0.9
    min_cosine: float = 0.3
    inset: float = 0.5
    depth_slack_px: float = 1.5
    visible_slack_px: float = 4.0
    visible_around_px: int = 2
    overlap: float = float(1 / np.sqrt(2 * np.pi))
    needle_opacity: float = 0.95
    min_needle_px: float = 0.2
    needle_flatness: float = 0.5
    dilation_px2: float = 0.1
    firm_alpha: float = 0.95
    largest_block_px: int = 16


_SETTINGS = PaintedStartSettings()
_TINY = 1e-9
"""Keeps divisions by lengths finite."""


@dataclass(frozen=True)
class _Pieces:
    """Pieces of strands between two points, and how many pixels of all views show each."""

    start: Float[np.ndarray, "n 3"]
    end: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]
    width: Float[np.ndarray, "n"]
    pixels: Integer[np.ndarray, "n"]


def splats_on_painted_surface(
    views: Views, painted: PaintedSurface, *, count: int, sh_degree: int
) -> tuple[Splats, list[Integer[np.ndarray, "_"]]]:
    """Lay at most ``count`` splats on what the views show of a painted surface.

    Returns:
        The splats, third axes along the surface's normals, and the indices of those that each view sees.

    Raises:
        FitError: no view sees anything of it.
    """
    buffers, pieces = _rasterized(views.cameras, painted)
    needles = _needles(views, painted.mesh, pieces, int(_SETTINGS.max_strand_fraction * count))
    discs = _discs(views, painted, buffers, count - (0 if needles is None else len(needles)))
    start = discs if needles is None else concatenate_splats([needles, discs])
    if sh_degree:
        more = torch.zeros(len(start), (sh_degree + 1) ** 2 - 1, 3)
        start = Splats(start.means, start.scales, start.quats_wxyz, start.opacities, torch.cat([start.sh, more], 1))
    depths = np.stack([buffer.depth for buffer in buffers])
    return start, _seen(views, depths, start)


def _rasterized(cameras: Cameras, painted: PaintedSurface) -> tuple[list[mesh_raster.FaceBuffer], _Pieces | None]:
    """Return what each view shows, strands as faces behind those of the surface, and the pieces of strands."""
    mesh, strands = painted.mesh, painted.strands
    if strands is None:
        return [mesh_raster.rasterize(mesh.vertices, mesh.faces, cameras, i) for i in range(len(cameras))], None
    number = strands.points.shape[1]
    drawn = ((strands.widths[:, :-1] > 0) & (strands.widths[:, 1:] > 0)).ravel()
    first = (np.arange(len(strands))[:, None] * number + np.arange(number - 1)).ravel()[drawn]
    tangents = np.gradient(strands.points, axis=1).reshape(-1, 3)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), _TINY)
    centres, half_widths = strands.points.reshape(-1, 3), strands.widths.ravel() / 2
    a, b = 2 * first + len(mesh.vertices), 2 * (first + 1) + len(mesh.vertices)
    faces = np.concatenate([mesh.faces, np.stack([a, b, a + 1], axis=1), np.stack([a + 1, b, b + 1], axis=1)])
    buffers, pixels = [], np.zeros(len(first), np.int64)
    for index, eye in enumerate(camera_centres(cameras)):
        vertices = np.concatenate([mesh.vertices, ribbon_vertices(centres, tangents, half_widths, eye)])
        buffer = mesh_raster.rasterize(vertices, faces, cameras, index)
        hit = buffer.face[buffer.face >= len(mesh.faces)] - len(mesh.faces)
        pixels += np.bincount(hit % len(first), minlength=len(first))
        buffers.append(buffer)
    colours, widths = strands.colours.reshape(-1, 3), strands.widths.ravel()
    second = first + 1
    pieces = _Pieces(
        centres[first], centres[second], (colours[first] + colours[second]) / 2,
        (widths[first] + widths[second]) / 2, pixels,
    )  # fmt: skip
    return buffers, pieces


def _needles(views: Views, surface: Mesh, pieces: _Pieces | None, most: int) -> Splats | None:
    """Lay a needle along each piece that is seen, or along those that are seen most."""
    if pieces is None or not pieces.pixels.any():
        return None
    s = _SETTINGS
    seen = np.flatnonzero(pieces.pixels)
    if len(seen) > most:
        seen = np.sort(seen[np.argsort(-pieces.pixels[seen], kind="stable")[:most]])
    along = (pieces.end - pieces.start)[seen]
    length = np.linalg.norm(along, axis=1)
    along /= np.maximum(length, _TINY)[:, None]
    middle = (pieces.start + pieces.end)[seen] / 2
    outward = middle - surface.vertices.mean(axis=0)
    across = np.cross(outward, along)
    straight_off = np.linalg.norm(across, axis=1) < _TINY
    across[straight_off] = np.cross(along[straight_off], np.eye(3)[np.abs(along[straight_off]).argmin(axis=1)])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), _TINY)
    quats = Rotation.from_matrix(np.stack([along, across, np.cross(along, across)], axis=2)).as_quat()
    pixel = pixel_width(views, middle)
    area = pieces.width[seen] / np.sqrt(2 * np.pi)
    # Opacity times the width that is drawn, which is more than the splat's own by the dilation, is that of the strand.
    dilation = s.dilation_px2 * pixel**2
    thin = np.sqrt(np.maximum((area / s.needle_opacity) ** 2 - dilation, (s.min_needle_px * pixel) ** 2))
    opacities = np.minimum(area / np.sqrt(thin**2 + dilation), s.needle_opacity)
    return Splats(
        means=float_tensor(middle),
        scales=float_tensor(np.stack([np.maximum(s.overlap * length, thin), thin, s.needle_flatness * thin], axis=1)),
        quats_wxyz=float_tensor(quats[:, [3, 0, 1, 2]]),
        opacities=float_tensor(opacities),
        sh=float_tensor((pieces.colours[seen, None] - 0.5) / SH_C0),
    )


def _discs(views: Views, painted: PaintedSurface, buffers: Sequence[mesh_raster.FaceBuffer], count: int) -> Splats:
    """Lay discs on the surface, one for each pixel or block of pixels that shows it best."""
    s, found = _SETTINGS, _pixels(views, painted, buffers)
    if not len(found.pixel):
        raise FitError("no view sees any of the painted surface: do its cameras and the views' belong together?")
    members, sizes = _blocks(found, count, views.cameras.width_px)
    starts = np.cumsum(sizes) - sizes
    points, normals, colours = (
        np.add.reduceat(each[members], starts) / sizes[:, None] for each in (found.points, found.normals, found.colours)
    )
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), _TINY)
    width = np.add.reduceat(found.footprint[members], starts) / sizes * np.sqrt(sizes) * s.disc_width
    return Splats(
        means=float_tensor(points - s.inset * width[:, None] * normals),
        scales=float_tensor(np.stack([width, width, s.disc_flatness * width], axis=1)),
        quats_wxyz=float_tensor(quats_from_z(normals)),
        opacities=torch.full((len(points),), s.disc_opacity),
        sh=float_tensor((colours[:, None] - 0.5) / SH_C0),
    )


@dataclass(frozen=True)
class _Pixels:
    """Pixels of all views that show the surface, each place in the view that shows it at the steepest angle.

    Attributes:
        footprint: width of a pixel on the surface, head units.
        detail: of the picture around it.
    """

    view: Integer[np.ndarray, "n"]
    pixel: Integer[np.ndarray, "n"]
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]
    footprint: Float[np.ndarray, "n"]
    detail: Float[np.ndarray, "n"]


def _pixels(views: Views, painted: PaintedSurface, buffers: Sequence[mesh_raster.FaceBuffer]) -> _Pixels:
    """Collect the pixels that show the surface, each place in one view."""
    s, mesh, cameras = _SETTINGS, painted.mesh, views.cameras
    depths = np.stack([buffer.depth for buffer in buffers])
    attributes = np.concatenate([mesh.vertices, vertex_normals(mesh.vertices, mesh.faces)], axis=1)
    eyes = camera_centres(cameras)
    parts = []
    for index, buffer in enumerate(buffers):
        pixel = np.flatnonzero((buffer.face >= 0) & (buffer.face < len(mesh.faces)))
        face, weights = buffer.face.ravel()[pixel], buffer.barycentric.reshape(-1, 3)[pixel]
        points, normals = np.split(np.einsum("nk,nkc->nc", weights, attributes[mesh.faces[face]]), 2, axis=1)
        toward = eyes[index] - points
        distance = np.linalg.norm(toward, axis=1)
        cosine = (toward * normals).sum(1) / np.maximum(np.linalg.norm(normals, axis=1) * distance, _TINY)
        normals = normals * np.sign(cosine)[:, None]
        best = np.empty(len(pixel), np.bool_)
        _find_best(
            points, normals, index, eyes, cameras.camera_from_world, cameras.intrinsics_px, depths, s.depth_slack_px,
            best,
        )  # fmt: skip
        slant = np.maximum(np.abs(cosine[best]), s.min_cosine)
        firm = (views.alpha[index] > s.firm_alpha).astype(np.float32)
        parts.append(
            _Pixels(
                np.full(int(best.sum()), index),
                pixel[best],
                points[best],
                normals[best],
                painted.colours(face[best], weights[best]),
                distance[best] / cameras.intrinsics_px[index, 0, 0] / np.sqrt(slant),
                local_detail(views.rgb[index], firm).ravel()[pixel[best]],
            )
        )
    return _Pixels(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Pixels)))


def _blocks(found: _Pixels, count: int, width_px: int) -> tuple[Integer[np.ndarray, "n"], Integer[np.ndarray, "d"]]:
    """Return the pixels of each disc, disc after disc, and how many each has.

    Pixels of a block of 2 by 2, all of which are found, share a disc where there is least detail, until at most
    ``count`` discs are left; where that does not suffice blocks of 4 by 4 do, and so on, and in the end also blocks of
    which only some pixels are found. No disc is larger than a view, and there is at least one of each view.
    """
    row, column = np.divmod(found.pixel, width_px)
    disc, n_discs = np.arange(len(found.pixel)), len(found.pixel)
    whole_sides = 2 ** np.arange(1, int(np.log2(_SETTINGS.largest_block_px)) + 1)
    any_sides = 2 ** np.arange(1, int(np.ceil(np.log2(max(row.max(), column.max()) + 1))) + 1)
    for side, partly in [*((side, False) for side in whole_sides), *((side, True) for side in any_sides)]:
        if n_discs <= count:
            break
        place = (found.view << 40) + (row // side << 20) + column // side
        _, first, block, sizes = np.unique(place, return_index=True, return_inverse=True, return_counts=True)
        heads = np.flatnonzero(disc == np.arange(len(disc)))
        discs = np.bincount(block[heads], minlength=len(sizes))
        mergeable = np.flatnonzero((partly | (sizes == side * side)) & (discs > 1))
        order = mergeable[np.argsort((np.bincount(block, found.detail) / sizes)[mergeable], kind="stable")]
        saved = np.cumsum(discs[order] - 1)
        merged = order[: np.searchsorted(saved, n_discs - count) + 1]
        is_merged = np.isin(np.arange(len(sizes)), merged)
        disc = np.where(is_merged[block], first[block], disc)
        n_discs = len(np.unique(disc))
    return np.argsort(disc, kind="stable"), np.unique(disc, return_counts=True)[1]


@numba.njit(parallel=True, cache=True)
def _find_best(points, normals, own, eyes, poses, intrinsics, depths, slack_px, best):
    """Check which points no other view shows at a steeper angle than view ``own`` does; of equal ones the first."""
    views, height, width = depths.shape
    for i in numba.prange(len(points)):
        best[i] = True
        own_cosine = _cosine(points[i], normals[i], eyes[own])
        for view in range(views):
            if view == own:
                continue
            cosine = _cosine(points[i], normals[i], eyes[view])
            if cosine < own_cosine or (cosine == own_cosine and view > own):
                continue
            if _is_shown(points[i], poses[view], intrinsics[view], depths[view], height, width, slack_px):
                best[i] = False
                break


@numba.njit(cache=True)
def _cosine(point, normal, eye):
    x, y, z = eye[0] - point[0], eye[1] - point[1], eye[2] - point[2]
    return (x * normal[0] + y * normal[1] + z * normal[2]) / np.sqrt(x * x + y * y + z * z)


@numba.njit(cache=True)
def _is_shown(point, pose, intrinsics, depth, height, width, slack_px):
    """Check whether a point lies at most a slack behind what a view shows."""
    x = pose[0, 0] * point[0] + pose[0, 1] * point[1] + pose[0, 2] * point[2] + pose[0, 3]
    y = pose[1, 0] * point[0] + pose[1, 1] * point[1] + pose[1, 2] * point[2] + pose[1, 3]
    z = pose[2, 0] * point[0] + pose[2, 1] * point[1] + pose[2, 2] * point[2] + pose[2, 3]
    if z <= 0:
        return False
    column = int(np.floor(intrinsics[0, 0] * x / z + intrinsics[0, 2]))
    row = int(np.floor(intrinsics[1, 1] * y / z + intrinsics[1, 2]))
    if column < 0 or row < 0 or column >= width or row >= height:
        return False
    return z < depth[row, column] + slack_px * z / intrinsics[0, 0]


@numba.njit(parallel=True, cache=True)
def _mark_shown(points, poses, intrinsics, depths, slack_px, shown):
    """Fill ``shown``: which points each view shows."""
    views, height, width = depths.shape
    for i in numba.prange(len(points)):
        for view in range(views):
            shown[view, i] = _is_shown(points[i], poses[view], intrinsics[view], depths[view], height, width, slack_px)


def _seen(views: Views, depths: Float[np.ndarray, "v h w"], splats: Splats) -> list[Integer[np.ndarray, "_"]]:
    """Return the splats that each view sees, or that lie so little behind what it sees that they may count."""
    window = np.ones((2 * _SETTINGS.visible_around_px + 1,) * 2, np.uint8)
    far = np.stack([cv2.dilate(depth, window) for depth in depths])
    shown = np.empty((len(views), len(splats)), np.bool_)
    _mark_shown(
        splats.means.numpy().astype(np.float64), views.cameras.camera_from_world, views.cameras.intrinsics_px, far,
        _SETTINGS.visible_slack_px, shown,
    )  # fmt: skip
    return [np.flatnonzero(each) for each in shown]
