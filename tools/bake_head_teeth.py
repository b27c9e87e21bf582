"""Head bake: teeth. MakeHuman has a plain band for each row; single teeth are modelled on it, linear in its vertices.

A band is a grid: along the arch, and across it from the gum over the outer face and the biting edge to the inner
face. Widths of teeth are the usual mean ones (Wheeler's Dental Anatomy), fitted to the length of the band.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from bake_head_flatten import border_loops, triangulated
from bake_head_source import Source
from jaxtyping import Float, Int

WIDTHS_MM = {"teeth_upper": (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.5), "teeth_lower": (5.0, 5.5, 7.0, 7.0, 7.0, 11.0, 10.5)}
"""Of single teeth from the midline backward."""
ACROSS = np.array([-1.0, -0.93, -0.78, -0.45, 0.0, 0.45, 0.78, 0.93, 1.0])
"""Sample positions across a tooth, from gap to gap; neighbours share the gap."""
PROFILE = np.array(
    [
        (1.45, 0.50, 0.0), (1.15, 0.02, 0.0), (0.92, -0.12, 0.0), (0.77, -0.13, 0.1), (0.68, -0.07, 0.6),
        (0.665, 0.0, 1.0), (0.50, -0.02, 1.0), (0.33, 0.02, 1.0), (0.15, 0.10, 1.0), (0.04, 0.20, 1.0),
        (0.0, 0.32, 1.0), (0.02, 0.45, 1.0), (0.15, 0.62, 1.0), (0.42, 0.82, 1.0), (0.62, 1.00, 0.8),
        (0.635, 1.08, 0.5), (0.90, 1.30, 0.0), (1.30, 1.75, 0.0), (1.70, 2.30, 0.0),
    ]
)  # fmt: skip
"""Cross-section of a row from the outer gum over the biting edge to the inner gum: height over the edge in heights of
the band, depth inward in thicknesses of it, and the weight of the single teeth's relief. The crowns of people's front
teeth are about two thirds of MakeHuman's band high."""
GUMS = ((0, 4), (15, 18))
"""First and last row of the outer and of the inner gum."""
GUM_LINE = 0.67
PAPILLA, PAPILLA_REACH = 0.13, 0.15
"""Length of the gum's papilla between two teeth, and the heights over which it fades (heights of the band)."""
GAP_DEPTH, GAP_POWER = 0.32, 6
"""Depth of the gaps (thicknesses of the band), and the exponent of their profile: the higher, the squarer the teeth."""
CORNER_HEIGHT, CORNER_POWER = 0.05, 6
"""Rounding of the biting edge's corners (heights of the band), and its exponent."""

SEATED = {"teeth_upper": (0.0, -0.008, 0.0), "teeth_lower": (0.0, -0.002, -0.008), "tongue": (0.0, -0.005, -0.012)}
"""Shifts of the mouth's parts: the upper teeth show a little below the lip and overlap the lower ones."""
TONGUE_FLATTENS = 0.45
"""Fraction of its height that the tongue loses as the jaw opens."""
TONGUE_OUT_LIFT = (0.0, 0.025, 0.012)
TONGUE_OUT_TIP = (0.0, -0.030, 0.040)
"""Further shift of the tongue's tip: out of the lips, and bent over the lower one."""


@dataclass(frozen=True)
class ToothRow:
    """One row of teeth in its gum over the band's vertices, with its texture on a unit square.

    Attributes:
        gum: 1 on the vertices of the gum, 0 on those of the teeth.
    """

    matrix: sp.csr_matrix
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "t 2"]
    gum: Float[np.ndarray, "v"]


def with_seated_mouth(source: Source) -> Source:
    """Move teeth and tongue to natural places, and flatten the tongue in an open mouth."""
    mean, actions = source.mean.copy(), source.expression_basis.copy()
    for name, shift in SEATED.items():
        mean[np.unique(source.quads[name])] += shift
    tongue = np.unique(source.quads["tongue"])
    jaw = source.expression_names.index("jawOpen")
    actions[jaw, tongue, 1] -= TONGUE_FLATTENS * (mean[tongue, 1] - mean[tongue, 1].min())
    # A tongue that is out must clear the lower teeth, although jawOpen flattens it.
    out = source.expression_names.index("tongueOut")
    toward_tip = (mean[tongue, 2] - mean[tongue, 2].min()) / np.ptp(mean[tongue, 2])
    actions[out, tongue] += toward_tip[:, None] * TONGUE_OUT_LIFT + toward_tip[:, None] ** 4 * TONGUE_OUT_TIP
    return replace(source, mean=mean, expression_basis=actions)


def tooth_row(source: Source, name: str) -> ToothRow:
    """Return the teeth of one row; ``name`` is a part."""
    grid = _band(source, source.quads[name])
    place, across = _places(source.mean[grid[1]], WIDTHS_MM[name])
    along = _cubic(place, grid.shape[1])
    count = len(source.mean)

    def row(index: int) -> sp.csr_matrix:
        """Return cubic interpolation along one row of the band, for every place along the arch."""
        columns = np.arange(grid.shape[1])
        spread = sp.csr_matrix((np.ones(len(columns)), (columns, grid[index])), shape=(len(columns), count))
        return sp.csr_matrix(along @ spread)

    gum, middle, edge, inner = (row(index) for index in range(4))
    rows = []
    for height, depth, tooth in PROFILE:
        corner = (1 - height) * CORNER_HEIGHT * np.abs(across) ** CORNER_POWER
        rise = sp.diags(height + np.where(height < GUM_LINE, corner, 0) - _papilla(height) * across**2)
        inward = sp.diags(depth + tooth * GAP_DEPTH * (1 - depth) * np.abs(across) ** GAP_POWER)
        rows.append(edge + rise @ (gum - edge) + inward @ (inner - middle))
    matrix = sp.csr_matrix(sp.vstack(rows))
    faces = _grid_faces(len(PROFILE), len(place))
    v, u = np.meshgrid(_along_profile(), place / place[-1], indexing="ij")
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    if _faces_inward(matrix @ source.mean, faces[: 6 * (len(place) - 1)]):
        faces = faces[:, ::-1]
    first = uv[faces[0]]
    if np.linalg.det([first[1] - first[0], first[2] - first[0]]) < 0:
        uv = uv * [1, -1] + [0, 1]
    rank = np.arange(len(PROFILE))
    is_gum = np.any([(rank >= first) & (rank <= last) for first, last in GUMS], axis=0)
    return ToothRow(matrix, faces, uv, np.repeat(is_gum.astype(float), len(place)))


def _papilla(height: float) -> float:
    """Return how far a row is lowered between two teeth; most at the gum line."""
    return PAPILLA * float(np.exp(-(((height - GUM_LINE) / PAPILLA_REACH) ** 2)))


def _along_profile() -> Float[np.ndarray, "r"]:
    """Return the texture coordinate of each row, by weighted length along the profile plus a constant per row."""
    step = np.linalg.norm(np.diff(PROFILE[:, :2] * [1.0, 0.25], axis=0), axis=1) + 0.02
    return np.concatenate([[0], np.cumsum(step)]) / step.sum()


def _faces_inward(vertices: Float[np.ndarray, "n 3"], outer_faces: Int[np.ndarray, "f 3"]) -> bool:
    corners = vertices[outer_faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return bool((normal * (corners[:, 0] - vertices.mean(0))).sum() < 0)


def _band(source: Source, quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "4 c"]:
    """Return the band's vertices in rows from gum to inner face, each from the subject's right to the left."""
    (loop,) = border_loops(triangulated(quads))
    corners = np.flatnonzero(np.bincount(quads.ravel())[loop] == 1)
    long_sides = []
    for start, end in zip(corners, np.roll(corners, -1), strict=True):
        side = np.roll(loop, -start)[: (end - start) % len(loop) + 1]
        if len(side) > len(quads) // 6:
            long_sides.append(side)
    row = max(long_sides, key=lambda side: source.mean[side, 2].max())
    row = row if source.mean[row[0], 0] < source.mean[row[-1], 0] else row[::-1]
    rows, left = [row], {frozenset(q) for q in quads.tolist()}
    while left:
        next_row: list[int] = []
        for a, b in zip(rows[-1][:-1].tolist(), rows[-1][1:].tolist(), strict=True):
            quad = next(q for q in left if a in q and b in q)
            left.remove(quad)
            ring = next(q for q in quads.tolist() if frozenset(q) == quad)
            at = ring.index(a)
            beside = ring[(at + 1) % 4] if ring[(at - 1) % 4] == b else ring[(at - 1) % 4]
            across = next(v for v in ring if v not in (a, b, beside))
            next_row = next_row or [beside]
            next_row.append(across)
        rows.append(np.array(next_row))
    return np.stack(rows)


def _places(middle: Float[np.ndarray, "c 3"], widths_mm: tuple[float, ...]):
    """Return each vertex's place along the band, in columns, and its place across its tooth, -1 and 1 at the gaps."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(middle, axis=0), axis=1))])
    widths = np.array([*widths_mm[::-1], *widths_mm])
    gaps = np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    fraction, across = [0.0], [-1.0]
    for start, end in pairwise(gaps):
        fraction += list(start + (ACROSS[1:] + 1) / 2 * (end - start))
        across += list(ACROSS[1:])
    return np.interp(np.array(fraction) * length[-1], length, np.arange(len(length))), np.array(across)


def _cubic(place: Float[np.ndarray, "p"], count: int) -> sp.csr_matrix:
    """Return Catmull-Rom weights of ``count`` knots at fractional positions."""
    knot = np.clip(np.floor(place).astype(int), 0, count - 2)
    t = place - knot
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1)
    columns = np.clip(knot[:, None] + np.arange(-1, 3), 0, count - 1)
    rows = np.repeat(np.arange(len(place)), 4)
    return sp.csr_matrix((weights.ravel() / 2, (rows, columns.ravel())), shape=(len(place), count))


def _grid_faces(height: int, width: int) -> Int[np.ndarray, "f 3"]:
    at = np.arange(height * width).reshape(height, width)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, 1:].ravel(), at[1:, :-1].ravel()
    return np.stack([a, d, b, b, d, c], axis=1).reshape(-1, 3)
