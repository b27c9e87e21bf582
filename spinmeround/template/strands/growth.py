"""Strands grown from roots on the scalp through the volume of the hair."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from spinmeround.geometry import vertex_normals
from spinmeround.template.hair.nearest_on_grid import Grid, nearest_vertices
from spinmeround.template.strands.settings import GrowthSettings
from spinmeround.threads import over_ranges
from spinmeround.types import Mesh

_SETTINGS = GrowthSettings()

_OUTWARD, _ABOVE_HAIR, _ABOVE_SKIN, _CHANNELS = slice(3, 6), 6, 7, 8
"""Of the volume's fields: normals of the hair's surface, distances to it and to the skin, and how many there are."""


@dataclass(frozen=True)
class HairVolume:
    """What a strand needs to know at each place, on a grid.

    Attributes:
        low: world position of the first cell.
        cell: spacing, head units.
        fields: per cell the direction of growth, the normal of the nearest hair surface, and the signed distances to
            the surfaces of hair and skin, positive outside.
    """

    low: Float[np.ndarray, "3"]
    cell: float
    fields: Float32[np.ndarray, "x y z c"]

    @classmethod
    def of(
        cls, hair: Mesh, directions: Float[np.ndarray, "v 3"], skin: Mesh, skin_normals: Float[np.ndarray, "m 3"]
    ) -> HairVolume:
        """Sample the volume between skin and hair, and a margin around it."""
        s = _SETTINGS
        margin = s.margin_cells * s.cell
        grid = Grid.covering(hair.vertices.min(0) - margin, hair.vertices.max(0) + margin, s.cell)
        normals = vertex_normals(hair.vertices, hair.faces)
        above_hair, nearest = _signed_distance(grid, hair.vertices, normals, rim=_rim(hair))
        above_skin, _ = _signed_distance(grid, skin.vertices, skin_normals, rim=np.zeros(len(skin.vertices), bool))
        fields = np.concatenate(
            [directions[nearest], normals[nearest], above_hair[:, None], above_skin[:, None]], axis=1
        )
        return cls(grid.low, s.cell, np.ascontiguousarray(fields.reshape(*grid.shape, _CHANNELS), np.float32))

    def above_hair(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return how far points lie above the hair's surface, negative below, head units."""
        return self._at(points)[:, _ABOVE_HAIR]

    def above_skin(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """Return how far points lie above the skin, negative below, head units."""
        return self._at(points.reshape(-1, 3))[:, _ABOVE_SKIN].reshape(points.shape[:-1])

    def outward(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Return the unit normal of the hair's surface nearest to each point."""
        normals = self._at(points.reshape(-1, 3))[:, _OUTWARD]
        return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)).reshape(points.shape)

    def _at(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n c"]:
        values = np.empty((len(points), _CHANNELS))
        points = np.ascontiguousarray(points, np.float64)
        over_ranges(len(points), _look_up_all, self.fields, self.low, self.cell, points, values)
        return values


def _rim(mesh: Mesh) -> Bool[np.ndarray, "v"]:
    """Return which vertices lie on the open border of a mesh."""
    edges = np.sort(np.concatenate([mesh.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    on_rim = np.zeros(len(mesh.vertices), bool)
    on_rim[unique[count == 1]] = True
    return on_rim


def _signed_distance(grid: Grid, vertices, normals, *, rim):
    """Return a distance for each point of a grid, and the index of the nearest vertex.

    It is that to the vertex's tangent plane where the vertex is near, and to the vertex elsewhere.

    Positive on the side the normals point to, and beside a vertex of the open ``rim``.
    """
    s = _SETTINGS
    points = grid.points()
    distance, nearest = nearest_vertices(grid, points, vertices)
    along = ((points - vertices[nearest]) * normals[nearest]).sum(1)
    signed = np.where(distance < s.plane_distance, along, np.copysign(distance, along))
    beside = rim[nearest] & (np.abs(along) < s.beside_rim * distance) & (distance > s.rim_width)
    return np.where(beside, distance, signed), nearest


def grow(
    volume: HairVolume,
    roots: Float[np.ndarray, "s 3"],
    normals: Float[np.ndarray, "s 3"],
    *,
    depths: Float[np.ndarray, "s"],
    lengths: Float[np.ndarray, "s"],
    overshoots: Float[np.ndarray, "s"],
) -> tuple[Float[np.ndarray, "s q 3"], Int64[np.ndarray, "s"]]:
    """Grow a strand from each root along the volume's directions.

    A strand leaves the skin along its normal, rises to its own depth below the hair's surface, and stays there. It ends
    at its length, or where it comes out of the hair.

    Args:
        normals: of the skin at the roots.
        depths: how far below the hair's surface each strand runs.
        lengths: longest length of each strand.
        overshoots: how far each strand may come out of the hair.

    Returns:
        Points at even steps, and how many of them each strand has; the last one is repeated behind them.
    """
    s = _SETTINGS
    steps = int(np.ceil(min(lengths.max(initial=s.step), s.max_length) / s.step)) + 1
    points = np.zeros((len(roots), steps, 3))
    counts = np.zeros(len(roots), np.int64)
    over_ranges(
        len(roots), _grow, volume.fields, volume.low, volume.cell, roots, normals, depths, lengths, overshoots, s.step,
        s.rise, s.settle, s.max_slope, s.turn, s.clearance, points, counts,
    )  # fmt: skip
    return points, counts


@numba.njit(cache=True)
def _look_up(fields, low, cell, point, values):
    """Interpolate all channels at a point, clamped to the grid."""
    base = np.empty(3, np.int64)
    part = np.empty(3)
    for k in range(3):
        place = (point[k] - low[k]) / cell
        place = min(max(place, 0.0), fields.shape[k] - 1.001)
        base[k] = int(place)
        part[k] = place - base[k]
    for c in range(fields.shape[3]):
        values[c] = 0
    for i in range(2):
        for j in range(2):
            for k in range(2):
                weight = (part[0] if i else 1 - part[0]) * (part[1] if j else 1 - part[1])
                weight *= part[2] if k else 1 - part[2]
                for c in range(fields.shape[3]):
                    values[c] += weight * fields[base[0] + i, base[1] + j, base[2] + k, c]


@numba.njit(nogil=True, cache=True)
def _look_up_all(first, end, fields, low, cell, points, values):
    for index in range(first, end):
        _look_up(fields, low, cell, points[index], values[index])


@numba.njit(cache=True)
def _normalise(vector):
    length = max(np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2), 1e-9)
    for k in range(3):
        vector[k] /= length


@numba.njit(nogil=True, cache=True)
def _grow(
    first, end, fields, low, cell, roots, normals, depths, lengths, overshoots, step, rise, settle, max_slope, turn,
    clearance, points, counts,
):  # fmt: skip
    """Integrate each strand with even steps; see ``grow``."""
    # Vectors are handled by component: expressions of whole arrays take seconds to compile.
    values, here, heading, wanted = np.empty(fields.shape[3]), np.empty(3), np.empty(3), np.empty(3)
    for strand in range(first, end):
        _look_up(fields, low, cell, roots[strand], values)
        # Thin hair lies down at once, or it would rise through its own surface.
        upright = min(max(-values[6] / rise, 0.0), 1.0)
        for k in range(3):
            here[k] = roots[strand, k]
            heading[k] = upright * normals[strand, k] + (1 - upright) * values[k]
        count = 0
        while count < points.shape[1] and count * step <= lengths[strand] + step:
            for k in range(3):
                points[strand, count, k] = here[k]
            count += 1
            _look_up(fields, low, cell, here, values)
            if count > 2 and values[6] > overshoots[strand]:
                break
            above = values[6] + depths[strand]
            slope = min(max(-above / (settle if above > 0 else rise), -max_slope), max_slope)
            for k in range(3):
                wanted[k] = values[k] + slope * values[3 + k]
            _normalise(wanted)
            for k in range(3):
                heading[k] += turn * (wanted[k] - heading[k])
            _normalise(heading)
            for k in range(3):
                here[k] += step * heading[k]
            _look_up(fields, low, cell, here, values)
            if values[7] < clearance:
                push = min(clearance - values[7], step)
                for k in range(3):
                    here[k] += push * values[3 + k]
        for rest in range(count, points.shape[1]):
            for k in range(3):
                points[strand, rest, k] = points[strand, count - 1, k]
        counts[strand] = count
