"""Tangent space: the frames at the corners and texels of a textured mesh in which normal maps are stored.

The frames are those of MikkTSpace (Mikkelsen, "Simulation of Wrinkled Surfaces Revisited", 2008), which glTF
prescribes, so that bakers and renderers agree on them.
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
"""The surface's own normal in tangent space."""
_MIN_TANGENT = 1e-12
"""Sums of tangents shorter than this have no direction."""
_MIN_VOLUME = 1e-6
"""Frames whose determinant is less than this cannot be inverted."""


@dataclass(frozen=True)
class TangentCorners:
    """A vertex for each combination of position, texture coordinate and tangent in use.

    Attributes:
        vertex, uv: which position and texture coordinate it has.
        faces: index these combinations.
        tangents: unit vectors along growing u, orthogonal to the vertex normal; the fourth number is the sign s of the
            bitangent ``s * cross(normal, tangent)``, which points along growing v (upward in the picture).
    """

    vertex: Int64[np.ndarray, "n"]
    uv: Int64[np.ndarray, "n"]
    faces: Int64[np.ndarray, "f 3"]
    tangents: Float[np.ndarray, "n 4"]


def tangent_corners(mesh: TexturedMesh, normals: Float[np.ndarray, "v 3"]) -> TangentCorners:
    """Compute tangents as MikkTSpace does.

    Corners with the same position and texture coordinate share a tangent where their faces are connected and have the
    same orientation in the texture; each face is weighted by its angle there. Where no face has a tangent, it is any
    direction orthogonal to the normal.

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
    ahead, behind = (_unit(_orthogonal_part(np.roll(at, shift, axis=1) - at, normal)) for shift in (-1, 1))
    angle = np.arccos(np.clip((ahead * behind).sum(-1, keepdims=True), -1, 1))
    part = (_unit(_orthogonal_part(np.broadcast_to(along_u[:, None], at.shape), normal)) * angle).reshape(-1, 3)
    total = np.stack([np.bincount(corner.ravel(), part[:, axis], len(first)) for axis in range(3)], axis=1)
    none = np.linalg.norm(total, axis=1) < _MIN_TANGENT
    total[none] = _any_orthogonal(normals[vertex[none]])
    sign = np.where(np.repeat(mirrored, 3)[first], -1.0, 1.0)
    return TangentCorners(
        vertex, uv, corner.reshape(-1, 3).astype(np.int64), np.concatenate([_unit(total), sign[:, None]], axis=1)
    )


def _along_u(mesh: TexturedMesh) -> tuple[Float[np.ndarray, "f 3"], Bool[np.ndarray, "f"]]:
    """Return the unit direction of growing u on each face and whether it is mirrored in the texture.

    The direction is 0 where the face has no area in the texture.
    """
    at, uv = np.asarray(mesh.vertices, np.float64)[mesh.faces], np.asarray(mesh.uv, np.float64)[mesh.uv_faces]
    one, two = at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]
    (u1, v1), (u2, v2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    area = u1 * v2 - u2 * v1
    direction = np.sign(area)[:, None] * (v2[:, None] * one - v1[:, None] * two)
    return _unit(direction), area < 0


def _groups(pair: Int64[np.ndarray, "f 3"], mirrored: Bool[np.ndarray, "f"]) -> Int64[np.ndarray, "k"]:
    """Label corners by the tangent they share: those of equally oriented faces that meet at an edge have one label."""
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


def _orthogonal_part(
    vectors: Float[np.ndarray, "*n 3"], normal: Float[np.ndarray, "*n 3"]
) -> Float[np.ndarray, "*n 3"]:
    """Remove the components of vectors along unit normals."""
    return vectors - (vectors * normal).sum(-1, keepdims=True) * normal


def _any_orthogonal(normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return a vector orthogonal to each normal."""
    return np.cross(normal, np.eye(3)[np.abs(normal).argmin(1)])


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Normalise vectors; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


@dataclass(frozen=True)
class TexelFrames:
    """World positions of a mesh's texels, and the frames that a renderer has there.

    Attributes:
        covered: texels on some face; the arrays below have a row for each of them, in this order.
        points: world frame, head units.
        tangents, bitangents, normals: as renderers interpolate them over a face, so neither unit nor quite orthogonal.
    """

    covered: Bool[np.ndarray, "h w"]
    points: Float32[np.ndarray, "n 3"]
    tangents: Float32[np.ndarray, "n 3"]
    bitangents: Float32[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]

    def from_world(self, directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Transform world directions to tangent space, of unit length; those that point inward become the normal."""
        first = np.cross(self.bitangents, self.normals)
        volume = (self.tangents * first).sum(1)
        rows = [first, np.cross(self.normals, self.tangents), np.cross(self.tangents, self.bitangents)]
        local = np.stack([(directions * row).sum(1) for row in rows], axis=1) * np.sign(volume)[:, None]
        local[(local[:, 2] <= 0) | (np.abs(volume) < _MIN_VOLUME)] = _FLAT
        return _unit(local).astype(np.float32)

    def picture(self, directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "h w 3"]:
        """Return directions, one for each texel covered, as a picture, row 0 at the top, by ``fill_from_nearest``."""
        drawn = np.zeros((*self.covered.shape, 3), np.float32)
        drawn[self.covered] = directions
        return fill_from_nearest(drawn, self.covered)

    def to_world(self, directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Transform directions in tangent space to the world, of unit length."""
        x, y, z = np.asarray(directions, np.float32).T[..., None]
        return _unit(x * self.tangents + y * self.bitangents + z * self.normals).astype(np.float32)


def texel_frames(mesh: TexturedMesh, normals: Float[np.ndarray, "v 3"]) -> TexelFrames:
    """Compute the frames at the texels of a mesh's texture.

    Texture coordinates repeat in u. Where faces overlap in the texture, one that is not mirrored wins.

    Args:
        normals: unit normals of the vertices.
    """
    height, width = mesh.albedo.shape[:2]
    corners = tangent_corners(mesh, normals)
    uv = np.asarray(mesh.uv, np.float64)[corners.uv]
    depth = np.where(corners.tangents[:, 3] < 0, 2.0, 1.0)
    layout = np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height, depth], axis=1)
    repeats = range(int(np.floor(uv[:, 0].min())), max(1, int(np.ceil(uv[:, 0].max()))))
    layouts = np.concatenate([layout - [repeat * width, 0, 0] for repeat in repeats])
    faces = np.concatenate([corners.faces + k * len(uv) for k in range(len(repeats))])
    buffer = rasterize_pixels(layouts, faces, width, height)
    covered = buffer.face >= 0
    columns = [np.asarray(mesh.vertices)[corners.vertex], normals[corners.vertex], corners.tangents]
    attributes = np.tile(np.concatenate(columns, axis=1), (len(repeats), 1))
    texels = interpolate(attributes, faces, buffer)[covered]
    points, normal, tangent, sign = texels[:, :3], texels[:, 3:6], texels[:, 6:9], texels[:, 9:]
    return TexelFrames(covered, points, tangent, sign * np.cross(normal, tangent), normal)


def fill_from_nearest(
    picture: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Give each unknown texel the value of the nearest known one, so that charts are padded beyond their borders."""
    _, label = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((int(label.max()) + 1, 3), np.float32)
    by_label[label[known]] = picture[known]
    return by_label[label]
