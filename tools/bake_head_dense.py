"""Head bake: the dense mesh, subdivided from the cage together with its texture layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from bake_head_flatten import unfold
from bake_head_masks import hairline_height
from bake_head_source import Source
from bake_head_subdivide import plan, refine
from bake_head_teeth import WIDTHS_MM, tooth_row
from bake_head_uv import TILES, Island, layout

from spinmeround.template.model.head_model import PARTS

SKIN_GROUPS = ("skin", "neck", "cap", "eye_socket", "mouth_cavity")
FINER_MARGIN = 0.03
"""Height below the hairline, head units, down to which the scalp is subdivided twice; the rest is once."""


def coarse_mesh(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return the cage's triangles and the part of each of its vertices."""
    part = np.zeros(len(source.mean), np.int8)
    faces = []
    for name, polygons in source.quads.items():
        if name in PARTS and name != "skin":
            part[np.unique(polygons)] = PARTS.index(name)
        faces.append(polygons if polygons.shape[1] == 3 else split_quads(polygons))
    # The rim of the mouth cavity belongs to the lips.
    part[np.unique(source.quads["skin"])] = 0
    return np.concatenate(faces), part


def split_quads(quads: np.ndarray) -> np.ndarray:
    """Return two triangles per quad, next to each other."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)


@dataclass(frozen=True)
class Dense:
    """The subdivided head.

    Attributes:
        matrix: dense vertices from coarse ones.
        faces: dense triangles; part: index into ``PARTS`` of each.
        uv: texture coordinates; uv_faces: their indices per triangle.
        on_skin: 1 on the vertices of the skin, the linings of sockets and mouth included.
        cavity: 1 on those linings.
        gums: 1 on the vertices of gums.
        painted: MakeHuman's painted masks.
    """

    matrix: sp.csr_matrix
    faces: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    on_skin: np.ndarray
    cavity: np.ndarray
    gums: np.ndarray
    painted: dict[str, np.ndarray]


def densify(source: Source) -> Dense:
    """Subdivide skin and tongue, positions and texture alike, and model teeth; eyeballs stay as they are."""
    count = len(source.mean)
    islands = layout(source)
    skin = np.concatenate([source.quads[name] for name in SKIN_GROUPS])
    group = np.repeat(np.arange(len(SKIN_GROUPS)), [len(source.quads[name]) for name in SKIN_GROUPS])
    finer = (group == 0) & (hairline_height(source.mean[skin].mean(1)) > -FINER_MARGIN)
    skin_island = joined([islands[name] for name in ("skin+neck", "cap", "eye_socket", "mouth_cavity")])
    pieces = [subdivided(skin, count, skin_island, finer)]
    in_mouth = group[pieces[0].source_quad] == SKIN_GROUPS.index("mouth_cavity")
    parts = [np.where(in_mouth, PARTS.index("mouth_cavity"), 0)]
    for name in PARTS[1:6]:
        if name in WIDTHS_MM:
            pieces.append(tooth_piece(source, name))
        elif name == "tongue":
            pieces.append(subdivided(source.quads[name], count, islands[name], np.zeros(len(source.quads[name]), bool)))
        else:
            pieces.append(unsubdivided(source.quads[name], count, islands[name]))
        parts.append(np.full(len(pieces[-1].faces), PARTS.index(name)))
    matrix = sp.csr_matrix(sp.vstack([p.matrix for p in pieces]))
    matrix.sort_indices()
    first = np.cumsum([0] + [p.matrix.shape[0] for p in pieces])
    first_uv = np.cumsum([0] + [len(p.uv) for p in pieces])
    on_skin = (np.arange(matrix.shape[0]) < first[1]).astype(float)
    inner = np.zeros(count)
    inner[np.unique(skin[group >= 3])] = 1
    inner[np.unique(skin[group < 3])] = 0
    return Dense(
        matrix=matrix,
        faces=np.concatenate([p.faces + at for p, at in zip(pieces, first, strict=False)]),
        part=np.concatenate(parts).astype(np.int8),
        uv=np.concatenate([p.uv for p in pieces]),
        uv_faces=np.concatenate([p.uv_faces + at for p, at in zip(pieces, first_uv, strict=False)]),
        on_skin=on_skin,
        cavity=np.clip(matrix @ inner, 0, 1) * on_skin,
        gums=np.concatenate([p.gum if p.gum is not None else np.zeros(p.matrix.shape[0]) for p in pieces]),
        painted={name: matrix @ values for name, values in source.painted.items()},
    )


@dataclass(frozen=True)
class Piece:
    """One connected part, subdivided; ``gum`` is 1 on vertices of gums, None for parts without them."""

    matrix: sp.csr_matrix
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    source_quad: np.ndarray
    gum: np.ndarray | None = None


def joined(islands: list[Island]) -> Island:
    """Join the islands of consecutive polygon groups."""
    first = np.cumsum([0] + [len(island.uv) for island in islands])
    corners = np.concatenate([island.corners + at for island, at in zip(islands, first, strict=False)])
    return Island(corners, np.concatenate([island.uv for island in islands]))


def subdivided(quads: np.ndarray, count: int, island: Island, finer: np.ndarray) -> Piece:
    """Subdivide positions and texture coordinates by Catmull-Clark, with the same triangles."""
    topology = plan(quads, count, finer)
    matrix, faces = refine(quads, count, topology)
    uv_matrix, uv_faces = refine(island.corners, len(island.uv), topology)
    return Piece(matrix, faces, unfold(uv_matrix @ island.uv, uv_faces), uv_faces, topology.source_quad)


def tooth_piece(source: Source, name: str) -> Piece:
    """Return a row of teeth, stretched to the full height of its texture tile."""
    row = tooth_row(source, name)
    left, bottom, right, top = TILES[name]
    uv = np.array([left, bottom]) + row.uv * [right - left, top - bottom]
    return Piece(row.matrix, row.faces, uv, row.faces, np.arange(len(row.faces)), row.gum)


def unsubdivided(triangles: np.ndarray, count: int, island: Island) -> Piece:
    """Return triangles as they are, with the vertices they use."""
    used, compact = np.unique(triangles, return_inverse=True)
    matrix = sp.csr_matrix(sp.identity(count, format="csr")[used])
    return Piece(matrix, compact.reshape(-1, 3), island.uv, island.corners, np.arange(len(triangles)))
