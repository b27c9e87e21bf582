"""Levels of detail: the head's mesh with a given number of faces, each of its vertices one of the dense mesh.

The sequence of edge collapses, each of a vertex into a neighbour, comes from ``tools/bake_head_levels.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jaxtyping import Bool, Int

from spinmeround.template.model.head_model import HeadModel


@dataclass(frozen=True)
class LevelOfDetail:
    """Part of the dense mesh's vertices and texture coordinates, connected by fewer faces.

    Attributes:
        faces: indices of dense vertices.
        uv_faces: indices into the model's ``uv``.
        part: index into ``PARTS`` of each face.
    """

    faces: Int[np.ndarray, "f 3"]
    uv_faces: Int[np.ndarray, "f 3"]
    part: Int[np.ndarray, "f"]


def level_of_detail(model: HeadModel, max_faces: int, count: Callable[[Int[np.ndarray, "f 3"]], int]) -> LevelOfDetail:
    """Return the finest level with at most ``max_faces`` faces, or the coarsest there is.

    Args:
        count: counts faces (of dense vertices), for instance only those that a cut leaves.
    """
    step, _ = _edge_collapses()
    low, high = 0, int(step.max()) + 1
    while low < high:
        middle = (low + high) // 2
        if count(_after_collapses(model, middle).faces) > max_faces:
            low = middle + 1
        else:
            high = middle
    return _after_collapses(model, low)


@functools.cache
def _edge_collapses() -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t"]]:
    """Return for each texture coordinate the step at which it collapses, -1 for never, and into which other one."""
    with resources.files("spinmeround.template").joinpath("head_levels.npz").open("rb") as stream:
        stored = np.load(stream, allow_pickle=False)
        return stored["step"].astype(np.int64), stored["target"].astype(np.int64)


def _after_collapses(model: HeadModel, steps: int) -> LevelOfDetail:
    """Return the mesh after the first so many steps."""
    step, target = _edge_collapses()
    assert len(step) == len(model.uv), "head.npz is newer: run tools/bake_head_levels.py"
    collapsed: Bool[np.ndarray, "t"] = (step >= 0) & (step < steps)
    final = np.where(collapsed, target, np.arange(len(target)))
    while (final[final] != final).any():
        final = final[final]
    vertex_of = np.empty(len(target), np.int64)
    vertex_of[model.uv_faces.ravel()] = model.dense_faces.ravel()
    uv_faces = final[model.uv_faces]
    faces = vertex_of[uv_faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(1)
    return LevelOfDetail(faces[kept], uv_faces[kept], model.dense_part[kept].astype(np.int64))
