"""Initialisation of a splat fit, where hair is known as strands: long thin Gaussians along those that are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from spinmeround import mesh_raster
from spinmeround.geometry import project, vertex_normals
from spinmeround.recon.splats.initialisation import float_tensor, pixel_index, pixel_width
from spinmeround.types import SH_C0, HairStrands, Mesh, Splats, Views


@dataclass(frozen=True)
class StrandSplatSettings:
    """How Gaussians are laid along strands.

    Attributes:
        max_fraction: of all splats that lie along strands.
        piece: length of strand that one Gaussian stands for, head units (4 mm).
        overlap: standard deviation along the strand over half the length of a piece.
        min_width_px: least standard deviation across the strand, in widths of a pixel at the head: thinner ones alias.
        flatness: standard deviation along the hair's normal over that across.
        opacity: of all.
        depth: how far behind the surface a strand can be seen, head units.
    """

    max_fraction: float = 0.5
    piece: float = 0.01
    overlap: float = 0.7
    min_width_px: float = 0.35
    flatness: float = 0.5
    opacity: float = 0.8
    depth: float = 0.012


_SETTINGS = StrandSplatSettings()
_TINY = 1e-9
"""Keeps divisions by lengths finite."""


def splats_on_strands(
    views: Views,
    strands: HairStrands,
    surface: Mesh,
    *,
    count: int,
    sh_degree: int,
    rng: np.random.Generator,
) -> Splats:
    """Lay Gaussians along the pieces of strands that some view can see.

    Their first axis runs along the strand, their third one along the normal of the surface.

    Args:
        surface: of the whole head.
        count: of all splats of the head, of which at most ``StrandSplatSettings.max_fraction`` lie along strands.
    """
    s = _SETTINGS
    start, end, colours, width = _pieces(strands)
    middle = (start + end) / 2
    seen = np.flatnonzero(_seen(views, surface, middle))
    most = int(s.max_fraction * count)
    if len(seen) > most:
        seen = np.sort(rng.choice(seen, most, replace=False))
    along = (end - start)[seen]
    length = np.linalg.norm(along, axis=1)
    along /= np.maximum(length, _TINY)[:, None]
    _, nearest = cKDTree(surface.vertices).query(middle[seen])
    normal = vertex_normals(surface.vertices, surface.faces)[nearest]
    across = np.cross(normal, along)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), _TINY)
    frames = np.stack([along, across, np.cross(along, across)], axis=2)
    quats = Rotation.from_matrix(frames).as_quat()[:, [3, 0, 1, 2]]
    thin = np.maximum(width[seen] / 4, s.min_width_px * pixel_width(views, surface.vertices))
    sh = np.zeros((len(seen), (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (colours[seen] - 0.5) / SH_C0
    return Splats(
        means=float_tensor(middle[seen]),
        scales=float_tensor(np.stack([np.maximum(s.overlap * length / 2, thin), thin, s.flatness * thin], axis=1)),
        quats_wxyz=float_tensor(quats),
        opacities=torch.full((len(seen),), s.opacity),
        sh=float_tensor(sh),
    )


def _pieces(
    strands: HairStrands,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return start, end, mean colour and width of pieces of about one length, along all strands."""
    segment = np.linalg.norm(np.diff(strands.points, axis=1), axis=2).mean()
    stride = max(1, round(_SETTINGS.piece / max(float(segment), _TINY)))
    points, widths = strands.points[:, ::stride], strands.widths[:, ::stride]
    colours = strands.colours[:, ::stride]
    kept = (widths[:, :-1] > 0).ravel()
    mean = [((each[:, :-1] + each[:, 1:]) / 2) for each in (colours, widths[..., None])]
    return (
        points[:, :-1].reshape(-1, 3)[kept],
        points[:, 1:].reshape(-1, 3)[kept],
        mean[0].reshape(-1, 3)[kept],
        mean[1].ravel()[kept],
    )


def _seen(views: Views, surface: Mesh, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Check which points lie at most ``StrandSplatSettings.depth`` behind the surface in some view's silhouette."""
    seen = np.zeros(len(points), np.bool_)
    for index in range(len(views)):
        depth = mesh_raster.rasterize(surface.vertices, surface.faces, views.cameras, index).depth
        pixels = project(points, views.cameras.camera_from_world[index], views.cameras.intrinsics_px[index])
        column, row, inside = pixel_index(views, pixels)
        shown = views.alpha[index][row, column] > 0
        seen |= inside & shown & (pixels[:, 2] < depth[row, column] + _SETTINGS.depth)
    return seen
