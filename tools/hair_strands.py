"""Hair of synthetic people: strands that grow out of a scalp, fall around the body, and are drawn one over the other.

Lengths are millimetres, in the frame of the synthetic people: origin midway between the eyes, +Y up, +Z out of the
face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Integer
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

_GRID_LOW, _GRID_HIGH, _GRID_STEP = np.array([-330.0, -420.0, -420.0]), np.array([330.0, 260.0, 170.0]), 14.0
_STEPS = 17
"""Segments of a strand."""


class BodyDistance:
    """Signed distance to a body on a grid, positive outside."""

    def __init__(self, points: Float[np.ndarray, "v 3"], normals: Float[np.ndarray, "v 3"]) -> None:
        axes = [np.arange(a, b, _GRID_STEP) for a, b in zip(_GRID_LOW, _GRID_HIGH, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
        distance, nearest = tree.query(grid.reshape(-1, 3), eps=0.1)
        outside = ((grid.reshape(-1, 3) - points[nearest]) * normals[nearest]).sum(1) > 0
        self.values = np.where(outside, distance, -distance).reshape(grid.shape[:3])
        self.smooth = gaussian_filter(self.values, 1.3)
        """Without ears and nose."""
        self._slopes = [s / _GRID_STEP for s in np.gradient(self.smooth)]

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return the distance of points to the smoothed body."""
        return self._sample(self.smooth, points)

    def outward(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return the unit direction away from the smoothed body."""
        return unit(np.stack([self._sample(slope, points) for slope in self._slopes], axis=-1))

    def surface(self, offset_mm: float) -> tuple[Float[np.ndarray, "v 3"], Integer[np.ndarray, "f 3"]]:
        """Return the surface at a distance outside the smoothed body: vertices and faces."""
        vertices, faces, _, _ = marching_cubes(self.smooth, offset_mm)
        return vertices * _GRID_STEP + _GRID_LOW, faces.astype(np.int64)

    @staticmethod
    def _sample(values: Float[np.ndarray, "x y z"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        return map_coordinates(values, ((points - _GRID_LOW) / _GRID_STEP).T, order=1, mode="nearest")


def unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Scale vectors to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Growth:
    """How strands grow.

    Attributes:
        length_mm: of a strand, by its root.
        comb: direction in which each root's strand is combed, any length; 0 is not combed at all.
        comb_reach_mm: length over which the comb's influence fades.
        lift, fall: strength of growing straight out of the skin, and of gravity, relative to the comb's.
        stiffness: how much of its direction a strand keeps from one step to the next, 0 to 1.
        volume_mm: thickness of the layer that strands fill over the body.
        curl_mm, curl_length_mm: radius of the helix, and length of one turn.
        frizz: deviation of the direction at each step.
        clones, clump_mm: strands around each guide, and their distance to it.
        gather_mm: a point to which strands are drawn, for tails and buns; None for loose hair.
    """

    length_mm: Float[np.ndarray, "n"]
    comb: Float[np.ndarray, "n 3"]
    comb_reach_mm: float
    lift: float
    fall: float
    stiffness: float
    volume_mm: float
    curl_mm: float
    curl_length_mm: float
    frizz: float
    clones: int
    clump_mm: float
    gather_mm: Float[np.ndarray, "3"] | None = None


@dataclass(frozen=True)
class Strands:
    """Polylines and what shades them.

    Attributes:
        depth: of each strand in its layer, 0 innermost, 1 outermost.
        tone: brightness of each strand.
    """

    points_mm: Float[np.ndarray, "n s 3"]
    depth: Float[np.ndarray, "n"]
    tone: Float[np.ndarray, "n"]


def grow(
    roots: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    growth: Growth,
    body: BodyDistance,
    rng: np.random.Generator,
) -> Strands:
    """Grow guides step by step under comb, gravity and stiffness, outside the body; then clones around each guide."""
    count, g = len(roots), growth
    depth = rng.random(count)
    layer_mm = (1.0 + g.volume_mm * depth)[:, None]
    step = (g.length_mm * rng.uniform(0.75, 1.0, count))[:, None] / _STEPS
    points, here = [roots], roots
    direction = unit(normals * (0.1 + 0.7 * g.lift) + 0.5 * g.comb)
    for k in range(_STEPS):
        t = k / _STEPS
        combed = np.exp(-k * step / g.comb_reach_mm)
        wish = normals * g.lift * combed**2 + g.comb * combed + np.array([0, -g.fall, 0]) * (1.1 - combed)
        if g.gather_mm is not None:
            wish = wish + 2.0 * unit(g.gather_mm - here)
        wish = unit(wish) + g.frizz * rng.normal(size=(count, 3))
        direction = unit(g.stiffness * direction + (1 - g.stiffness) * wish)
        here = here + direction * step
        inside = np.maximum(layer_mm * min(1.0, 2 * (t + 0.15)) - body.distance(here)[:, None], 0)
        here = here + body.outward(here) * np.minimum(inside, 25.0)
        points.append(here)
    guides = np.stack(points, axis=1)
    return _cloned(guides, depth, growth, rng)


def _cloned(
    guides: Float[np.ndarray, "n s 3"], depth: Float[np.ndarray, "n"], growth: Growth, rng: np.random.Generator
) -> Strands:
    """Return strands around each guide: curled like it, a little apart."""
    g = growth
    tangent = unit(np.gradient(guides, axis=1))
    side = unit(np.cross(tangent, np.array([0.13, 0.31, 0.94])))
    other = np.cross(tangent, side)
    lengths = np.linalg.norm(np.diff(guides, axis=1), axis=-1)
    along = np.concatenate([np.zeros((len(guides), 1)), np.cumsum(lengths, axis=1)], axis=1)
    copies = np.repeat(np.arange(len(guides)), g.clones)
    phase = rng.uniform(0, 2 * np.pi, len(guides))[copies, None] + rng.normal(0, 0.5, (len(copies), 1))
    turn = 2 * np.pi / (g.curl_length_mm * rng.uniform(0.8, 1.25, len(guides)))[copies, None]
    radius = g.curl_mm * rng.uniform(0.6, 1.3, len(copies))[:, None] * np.minimum(along[copies] / 15, 1)
    angle = phase + along[copies] * turn
    spread = g.clump_mm * (0.6 + 0.6 * np.minimum(along[copies] / 60, 1))
    a = radius * np.cos(angle) + spread * rng.normal(size=(len(copies), 1))
    b = radius * np.sin(angle) + spread * rng.normal(size=(len(copies), 1))
    points = guides[copies] + side[copies] * a[..., None] + other[copies] * b[..., None]
    tone = np.exp(rng.normal(0, 0.16, len(guides)))[copies] * np.exp(rng.normal(0, 0.22, len(copies)))
    return Strands(points, np.clip(depth[copies] + rng.normal(0, 0.1, len(copies)), 0, 1), tone)


def shaded(
    strands: Strands,
    colour: Float[np.ndarray, "n 3"],
    body: BodyDistance,
    lights: tuple[Float[np.ndarray, "l 3"], Float[np.ndarray, "l 3"]],
    sky: Float[np.ndarray, "3"],
    *,
    gloss: float,
) -> Float[np.ndarray, "n t 3"]:
    """Shade each segment with the model of Kajiya and Kay (1989), darker toward the roots and in inner layers.

    Args:
        colour: of each strand, linear.
        lights: directions to lamps and their colours.
    """
    middles = (strands.points_mm[:, 1:] + strands.points_mm[:, :-1]) / 2
    tangent = unit(np.diff(strands.points_mm, axis=1))
    outward = body.outward(middles.reshape(-1, 3)).reshape(middles.shape)
    along = np.linspace(0, 1, middles.shape[1])[None, :, None]
    open_sky = (0.35 + 0.65 * strands.depth[:, None, None]) * (0.75 + 0.25 * along)
    lit = sky * open_sky * (0.65 + 0.35 * outward[..., 1:2])
    shine = np.zeros_like(lit)
    for direction, lamp in zip(*lights, strict=True):
        across = np.sqrt(np.clip(1 - (tangent @ direction) ** 2, 0, 1))[..., None]
        facing = np.clip((outward @ direction + 0.35) / 1.35, 0, None)[..., None]
        lit = lit + lamp * across * facing * open_sky
        halfway = unit(direction + np.array([0.0, 0.0, 1.0]))
        ridge = np.clip(1 - (tangent @ halfway) ** 2, 0, 1)[..., None] ** 30
        shine = shine + lamp * ridge * facing * open_sky
    return (colour * strands.tone[:, None])[:, None] * lit * 1.3 + gloss * shine


@numba.njit(cache=True)
def draw_segments(ends, colours, coverage, label, width, depth, rgb, hair):
    """Draw segments, in the order given, over ``rgb`` and ``hair`` where nothing solid lies before them.

    Args:
        ends: (n, 6): x px, y px and depth of both ends.
        colours, coverage: of each segment.
        label: 1 draws hair, 0 draws what is not hair.
        width: of a segment, pixels.
        depth: of the solid surface; changed nowhere.
    """
    height, wide = depth.shape
    for k in range(len(ends)):
        x0, y0, z0, x1, y1, z1 = ends[k]
        dx, dy = x1 - x0, y1 - y0
        steps = int(max(abs(dx), abs(dy))) + 1
        for s in range(steps):
            t = (s + 0.5) / steps
            x, y, z = x0 + t * dx - 0.5, y0 + t * dy - 0.5, z0 + t * (z1 - z0)
            steep = abs(dy) > abs(dx)
            across = x if steep else y
            along = round(y) if steep else round(x)
            first = int(np.ceil(across - width / 2 - 0.5))
            last = int(np.floor(across + width / 2 + 0.5))
            for q in range(first, last + 1):
                part = min(1.0, width / 2 + 0.5 - abs(q - across))
                row, column = (along, q) if steep else (q, along)
                if part <= 0 or row < 0 or column < 0 or row >= height or column >= wide:
                    continue
                if z > depth[row, column] + 3.0:
                    continue
                a = part * coverage[k]
                for c in range(3):
                    rgb[row, column, c] += a * (colours[k, c] - rgb[row, column, c])
                hair[row, column] += a * (label - hair[row, column])


def sorted_segments(
    pixels: Float[np.ndarray, "n s 3"], colours: Float[np.ndarray, "n t 3"]
) -> tuple[Float[np.ndarray, "m 6"], Float[np.ndarray, "m 3"], Integer[np.ndarray, "m"]]:
    """Return segments from far to near, their colours, and which of the flattened segments each is."""
    ends = np.concatenate([pixels[:, :-1], pixels[:, 1:]], axis=-1).reshape(-1, 6)
    order = np.argsort(-(ends[:, 2] + ends[:, 5]), kind="stable")
    return ends[order], colours.reshape(-1, 3)[order], order
