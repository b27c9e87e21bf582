"""Strands as ribbons that face a camera, to be drawn as triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.spatial import cKDTree

from spinmeround.geometry import ribbon_vertices, vertex_normals
from spinmeround.numerics import evenly_spread
from spinmeround.template.strands.resampling import resampled
from spinmeround.template.strands.settings import RibbonSettings
from spinmeround.types import HairStrands, Mesh

_SETTINGS = RibbonSettings()

_KEPT_MULTIPLE = 7
"""Of a strand's number, by which it is kept or not: those that are kept are spread over neighbours in number."""
_TINY = 1e-9
"""Keeps divisions by lengths finite."""


@dataclass(frozen=True)
class Ribbons:
    """Strands with everything about them that no camera changes.

    Attributes:
        centres: points of all strands in turn, world frame.
        tangents: unit direction of the strand at each of them.
        half_widths: head units.
        normals: unit normals of the surface of the hair near each point, by which strands are shaded.
        faces: two triangles a segment; vertex 2 i lies on the one side of centre i, vertex 2 i + 1 on the other.
    """

    centres: Float[np.ndarray, "n 3"]
    tangents: Float[np.ndarray, "n 3"]
    half_widths: Float[np.ndarray, "n"]
    colours: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    faces: Int64[np.ndarray, "f 3"]

    @classmethod
    def of(cls, strands: HairStrands, surface: Mesh) -> Ribbons:
        """Prepare strands for drawing, see ``drawn_strands``.

        Args:
            surface: of the hair.
        """
        points = strands.points
        tangents = np.gradient(points, axis=1)
        tangents /= np.maximum(np.linalg.norm(tangents, axis=2, keepdims=True), _TINY)
        centres = points.reshape(-1, 3)
        _, nearest = cKDTree(surface.vertices).query(centres, workers=-1)
        index = np.arange(len(centres)).reshape(points.shape[:2])
        first, second = index[:, :-1].ravel(), index[:, 1:].ravel()
        drawn = ((strands.widths[:, :-1] > 0) & (strands.widths[:, 1:] > 0)).ravel()
        a, b = 2 * first[drawn], 2 * second[drawn]
        faces = np.concatenate([np.stack([a, b, a + 1], axis=1), np.stack([a + 1, b, b + 1], axis=1)])
        return cls(
            centres,
            tangents.reshape(-1, 3),
            strands.widths.ravel() / 2,
            strands.colours.reshape(-1, 3),
            vertex_normals(surface.vertices, surface.faces)[nearest],
            faces.astype(np.int64),
        )

    def toward(self, eye: Float[np.ndarray, "3"]) -> Float[np.ndarray, "v 3"]:
        """Return the vertices of ribbons that turn their width to a camera at ``eye``, world frame."""
        return ribbon_vertices(self.centres, self.tangents, self.half_widths, eye)


def drawn_strands(strands: HairStrands, *, pixel: float, floor: float) -> HairStrands:
    """Return strands as pictures show them: as wide as a pixel on average, and none below the neck's cut.

    Strands thinner than a pixel differ from pixel to pixel and from view to view. Fewer and wider ones cover as much,
    and look the same at that size.

    Args:
        pixel: its width at the head, head units.
        floor: height above which strands are drawn; those that would be cut there end at different heights above.

    Returns:
        Strands whose widths are 0 where they are not drawn.
    """
    above_end = strands.points[..., 1] - _end_heights(strands.points, floor)[:, None]
    widths = strands.widths * np.clip(above_end / _SETTINGS.taper, 0, 1)
    mean = float(strands.widths.mean(where=strands.widths > 0)) if (strands.widths > 0).any() else pixel
    wider = max(1.0, pixel / mean)
    # Another multiple than that of their ends, so that those kept end at all heights.
    kept = evenly_spread(_KEPT_MULTIPLE * np.arange(len(strands))) < 1 / wider
    points = _tucked(strands.points[kept], floor)
    return HairStrands(points, wider * widths[kept], strands.colours[kept], strands.root_uv[kept])


def under_strands(surface: Mesh, strands: HairStrands, *, floor: float, retreat: float = _SETTINGS.retreat) -> Mesh:
    """Return the surface of the hair as it is seen between strands: it retreats where they cover it, not elsewhere.

    Where long hair is cut by ``floor`` it ends before its strands do, lock by lock as they do.

    Args:
        retreat: how far it lies under its place where strands cover it.
    """
    s = _SETTINGS
    points = strands.points.reshape(-1, 3)
    near = cKDTree(points).query_ball_point(surface.vertices, s.near, workers=-1, return_length=True)
    covered = np.minimum(near / s.covering, 1)
    normals = vertex_normals(surface.vertices, surface.faces)
    hem = surface.vertices[:, 1] < floor + s.ends * _mixed(_of_lock(surface.vertices), s.surface_ends)
    retreated = surface.vertices - (retreat * covered)[:, None] * normals
    return Mesh(_tucked(retreated, floor), surface.faces[~hem[surface.faces].all(1)])


def _end_heights(points: Float[np.ndarray, "s p 3"], floor: float) -> Float[np.ndarray, "s"]:
    """Return the height above which each strand is drawn: partly in common with its lock, partly its own."""
    return floor + _SETTINGS.ends * _mixed(_of_lock(points[:, -1]), evenly_spread(np.arange(len(points))))


def _mixed(of_lock: Float[np.ndarray, "s"], own: Float[np.ndarray, "s"] | float) -> Float[np.ndarray, "s"]:
    return _SETTINGS.lock_share * of_lock + (1 - _SETTINGS.lock_share) * own


def _of_lock(points: Float[np.ndarray, "s 3"]) -> Float[np.ndarray, "s"]:
    """Return a number in [0, 1] that points at the same angle around the head have in common."""
    lock: Int64[np.ndarray, "s"] = np.floor(np.arctan2(points[:, 0], points[:, 2]) / _SETTINGS.lock).astype(np.int64)
    return evenly_spread(lock)


def _tucked(points: Float[np.ndarray, "*n 3"], floor: float) -> Float[np.ndarray, "*n 3"]:
    """Draw points in toward the neck the nearer they are to ``floor``: hair that is cut off turns in at its ends."""
    s = _SETTINGS
    near = np.clip((floor + s.tuck_height - points[..., 1:2]) / s.tuck_height, 0, 1)
    from_axis = (points - [0, 0, s.neck_depth]) * [1, 0, 1]
    return points - s.tuck * near**2 * from_axis


def visible_strands(strands: HairStrands, hidden: Bool[np.ndarray, "s p"], *, floor: float) -> HairStrands:
    """Return strands up to where they are hidden or, as those that are drawn, end above ``floor``.

    What is left of a strand has as many points as the whole one; strands with less than two points left are left out.
    """
    ends = _end_heights(strands.points, floor)
    drawn = (strands.points[..., 1] > ends[:, None]) & (strands.widths > 0) & ~hidden
    counts = np.where(drawn.all(1), drawn.shape[1], drawn.argmin(1))
    kept = np.flatnonzero(counts >= 2)
    values = np.concatenate([_tucked(strands.points, floor), strands.widths[..., None], strands.colours], axis=2)
    values = resampled(values[kept], counts[kept], drawn.shape[1])
    return HairStrands(values[..., :3], values[..., 3], values[..., 4:], strands.root_uv[kept])
