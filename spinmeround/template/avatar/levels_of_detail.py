"""Levels of detail: the head's mesh with as many faces as wanted, each of its vertices one of the dense mesh.

``tools/bake_head_levels.py`` made the order in which vertices merge into their neighbours.
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
class Level:
    """Part of the dense mesh's vertices and texture coordinates, joined by fewer faces.

    Attributes:
        faces: indices of dense vertices.
        uv_faces: indices into the model's ``uv``.
        part: index into ``PARTS`` of each face.
    """

    faces: Int[np.ndarray, "f 3"]
    uv_faces: Int[np.ndarray, "f 3"]
    part: Int[np.ndarray, "f"]


def level(model: HeadModel, wanted: int, count: Callable[[Int[np.ndarray, "f 3"]], int]) -> Level:
    """The finest level whose faces do not count more than ``wanted``, or the coarsest there is.

    Args:
        count: what faces (of dense vertices) count, for instance what a cut leaves of them.
    """
    step, _ = _merges()
    low, high = 0, int(step.max()) + 1
    while low < high:
        middle = (low + high) // 2
        if count(_after(model, middle).faces) > wanted:
            low = middle + 1
        else:
            high = middle
    return _after(model, low)


@functools.cache
def _merges() -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t"]]:
    """For each texture coordinate the step at which it merges, -1 for never, and into which other one."""
    with resources.files("spinmeround.template").joinpath("head_levels.npz").open("rb") as stream:
        stored = np.load(stream, allow_pickle=False)
        return stored["step"].astype(np.int64), stored["target"].astype(np.int64)


def _after(model: HeadModel, steps: int) -> Level:
    step, target = _merges()
    assert len(step) == len(model.uv), "head.npz is newer: run tools/bake_head_levels.py"
    merged: Bool[np.ndarray, "t"] = (step >= 0) & (step < steps)
    final = np.where(merged, target, np.arange(len(target)))
    while (final[final] != final).any():
        final = final[final]
    vertex_of = np.empty(len(target), np.int64)
    vertex_of[model.uv_faces.ravel()] = model.dense_faces.ravel()
    uv_faces = final[model.uv_faces]
    faces = vertex_of[uv_faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(1)
    return Level(faces[kept], uv_faces[kept], model.dense_part[kept].astype(np.int64))
