"""Tangent space: a frame on every corner and texel of a textured mesh, in which normal maps are written.

The frames are those of MikkTSpace (Mikkelsen, "Simulation of Wrinkled Surfaces Revisited", 2008), which glTF
prescribes: what a baker writes in them, a renderer reads back the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Float32, Int64
from scipy.sparse.csgraph import connected_components

from spinmeround.mesh_raster import interpolate, rasterize_pixels
from spinmeround.types import TexturedMesh

_FLAT = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class TangentCorners:
    """A vertex for each combination of position, texture coordinate and tangent in use.

    Attributes:
        vertex, uv: which position and texture coordinate it has.
        faces: index these combinations.
        tangents: unit vectors along growing u, across the vertex normal; the fourth number is the sign s of the
            bitangent ``s * cross(normal, tangent)``, which points to growing v (upward in the picture).
    """

    vertex: Int64[np.ndarray, "n"]
    uv: Int64[np.ndarray, "n"]
    faces: Int64[np.ndarray, "f 3"]
    tangents: Float[np.ndarray, "n 4"]


def tangent_corners(mesh: TexturedMesh, normals: Float[np.ndarray, "v 3"]) -> TangentCorners:
    """Tangents as MikkTSpace has them.

    Corners with the same position and texture coordinate share a tangent where their faces hang together and lie the
    same way round in the picture; each face counts by its angle there. Where no face tells one, it is any direction
    across the normal.

    Args:
        normals: unit normals of the vertices.
    """
    pairs, pair = np.unique(mesh.faces.astype(np.int64) * len(mesh.uv) + mesh.uv_faces, return_inverse=True)
    pair = pair.reshape(-1, 3).astype(np.int64)
    along_u, mirrored = _along_u(mesh)
    group = _groups(pair, mirrored)
    _, first, corner = np.unique(group, return_index=True, return_inverse=True)
    vertex, uv = np.divmod(pairs[pair.ravel()[first]], len(mesh.uv))

    at = np.asarray(mesh.vertices, np.float64)[mesh.faces]
    normal = normals[mesh.faces]
    ahead, behind = (_unit(_across(np.roll(at, shift, axis=1) - at, normal)) for shift in (-1, 1))
    angle = np.arccos(np.clip((ahead * behind).sum(-1, keepdims=True), -1, 1))
    part = (_unit(_across(np.broadcast_to(along_u[:, None], at.shape), normal)) * angle).reshape(-1, 3)
    total = np.stack([np.bincount(corner.ravel(), part[:, axis], len(first)) for axis in range(3)], axis=1)
    none = np.linalg.norm(total, axis=1) < 1e-12
    total[none] = _any_across(normals[vertex[none]])
    sign = np.where(np.repeat(mirrored, 3)[first], -1.0, 1.0)
    return TangentCorners(
        vertex, uv, corner.reshape(-1, 3).astype(np.int64), np.concatenate([_unit(total), sign[:, None]], axis=1)
    )


def _along_u(mesh: TexturedMesh) -> tuple[Float[np.ndarray, "f 3"], Bool[np.ndarray, "f"]]:
    """The direction of growing u on each face, 0 where the picture has none, and whether it lies there mirrored."""
    at, uv = np.asarray(mesh.vertices, np.float64)[mesh.faces], np.asarray(mesh.uv, np.float64)[mesh.uv_faces]
    one, two = at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]
    (u1, v1), (u2, v2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    area = u1 * v2 - u2 * v1
    direction = np.sign(area)[:, None] * (v2[:, None] * one - v1[:, None] * two)
    return _unit(direction), area < 0


def _groups(pair: Int64[np.ndarray, "f 3"], mirrored: Bool[np.ndarray, "f"]) -> Int64[np.ndarray, "k"]:
    """Which of all corners share a tangent: those of faces across an edge that lie the same way round."""
    corners = np.arange(pair.size).reshape(-1, 3)
    ends, end_corner = np.roll(pair, -1, axis=1).ravel(), np.roll(corners, -1, axis=1).ravel()
    starts, count = pair.ravel(), int(pair.max()) + 1
    edge, opposite = starts * count + ends, ends * count + starts
    order = np.argsort(edge, kind="stable")
    found = np.minimum(np.searchsorted(edge, opposite, sorter=order), len(edge) - 1)
    other = order[found]
    same = (edge[other] == opposite) & (np.repeat(mirrored, 3)[other] == np.repeat(mirrored, 3))
    here, there = np.flatnonzero(same), other[same]
    one, two = np.concatenate([here, end_corner[here]]), np.concatenate([end_corner[there], there])
    links = sp.csr_matrix((np.ones(len(one), bool), (one, two)), (pair.size,) * 2)
    return connected_components(links, directed=False)[1].astype(np.int64)


def _across(vectors: Float[np.ndarray, "*n 3"], normal: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return vectors - (vectors * normal).sum(-1, keepdims=True) * normal


def _any_across(normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return np.cross(normal, np.eye(3)[np.abs(normal).argmin(1)])


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


@dataclass(frozen=True)
class TexelFrames:
    """Where the texels of a mesh lie, and the frame a renderer has there.

    Attributes:
        covered: texels on some face; the arrays below have a row for each of them, in this order.
        points: head units.
        tangents, bitangents, normals: as renderers blend them over a face, so neither unit nor quite orthogonal.
    """

    covered: Bool[np.ndarray, "h w"]
    points: Float32[np.ndarray, "n 3"]
    tangents: Float32[np.ndarray, "n 3"]
    bitangents: Float32[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]

    def from_world(self, directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Directions in the frames, of unit length; those that point away from the surface become its normal."""
        across = np.cross(self.bitangents, self.normals)
        volume = (self.tangents * across).sum(1)
        parts = [across, np.cross(self.normals, self.tangents), np.cross(self.tangents, self.bitangents)]
        inside = np.stack([(directions * part).sum(1) for part in parts], axis=1) * np.sign(volume)[:, None]
        inside[(inside[:, 2] <= 0) | (np.abs(volume) < 1e-6)] = _FLAT
        return _unit(inside).astype(np.float32)

    def picture(self, directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "h w 3"]:
        """Directions, one for each texel covered, as a picture, row 0 at the top, see ``continued``."""
        drawn = np.zeros((*self.covered.shape, 3), np.float32)
        drawn[self.covered] = directions
        return continued(drawn, self.covered)

    def to_world(self, directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """The way back."""
        x, y, z = np.asarray(directions, np.float32).T[..., None]
        return _unit(x * self.tangents + y * self.bitangents + z * self.normals).astype(np.float32)


def texel_frames(mesh: TexturedMesh, normals: Float[np.ndarray, "v 3"]) -> TexelFrames:
    """The frames under the texels of a mesh's texture.

    Coordinates left or right of the picture begin it anew. Where faces share a texel, one that is not mirrored has it.

    Args:
        normals: unit normals of the vertices.
    """
    height, width = mesh.albedo.shape[:2]
    corners = tangent_corners(mesh, normals)
    uv = np.asarray(mesh.uv, np.float64)[corners.uv]
    behind = np.where(corners.tangents[:, 3] < 0, 2.0, 1.0)
    layout = np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height, behind], axis=1)
    turns = range(int(np.floor(uv[:, 0].min())), max(1, int(np.ceil(uv[:, 0].max()))))
    layouts = np.concatenate([layout - [turn * width, 0, 0] for turn in turns])
    faces = np.concatenate([corners.faces + k * len(uv) for k in range(len(turns))])
    buffer = rasterize_pixels(layouts, faces, width, height)
    covered = buffer.face >= 0
    columns = [np.asarray(mesh.vertices)[corners.vertex], normals[corners.vertex], corners.tangents]
    attributes = np.tile(np.concatenate(columns, axis=1), (len(turns), 1))
    there = interpolate(attributes, faces, buffer)[covered]
    points, normal, tangent, sign = there[:, :3], there[:, 3:6], there[:, 6:9], there[:, 9:]
    return TexelFrames(covered, points, tangent, sign * np.cross(normal, tangent), normal)


def continued(picture: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The picture, each unknown texel like the nearest known one, so that charts go on beyond their borders."""
    _, label = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((int(label.max()) + 1, 3), np.float32)
    by_label[label[known]] = picture[known]
    return by_label[label]
