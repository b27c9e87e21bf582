"""What of a surface the template on it cannot express: hair that stands off, collars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Integer
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from spinmeround.geometry import METRES_PER_UNIT, face_normals, vertex_normals
from spinmeround.template.model import neck_cut
from spinmeround.template.registration.fitter import RegisteredHead
from spinmeround.template.registration.model_fit import Regions
from spinmeround.types import Mesh

_MM = 1e-3 / METRES_PER_UNIT
_OFF_MM, _OFF_FACE_MM = 3.0, 8.0
"""A part stands off by more than this somewhere: the scalp and the neck, and where skin is bare."""
_EDGE_MM, _EDGE_FACE_MM = 0.7, 3.0
"""And ends where it comes nearer than this, so that no step is seen."""
OFF = _OFF_MM * _MM
"""Farther off than this, in head units, the surface is another thing than the template's skin."""
_LEAST_MM2 = 400.0
_COVERED_MM = 5.0
_BELOW_CHIN = -0.03
_CHIN = 152


def left_over(head: RegisteredHead, surface: Mesh) -> dict[str, Mesh]:
    """The parts of a surface that stand off the template: ``hair`` and ``clothes``, in the world frame, open meshes."""
    model = head.model
    dense = head.world_from_head(model.dense(head.posed))
    outer = np.flatnonzero(Regions.of(model).asked)
    normals = vertex_normals(dense, model.dense_faces)[outer]
    gap, nearest = cKDTree(dense[outer]).query(surface.vertices)
    out = ((surface.vertices - dense[outer][nearest]) * normals[nearest]).sum(1)
    off_mm = np.where(out > 0, gap, -gap) / _MM
    masks = {name: mask[outer][nearest] for name, mask in model.masks.items()}
    bare = np.maximum.reduce([1 - np.maximum(masks["scalp"], masks["neck"]), masks["ear_left"], masks["ear_right"]])
    if not head.report["surface_believed"]:
        off_mm = np.where(bare > 0.5, 0.0, off_mm)
    seed = off_mm > _OFF_MM + (_OFF_FACE_MM - _OFF_MM) * bare
    grown = off_mm > _EDGE_MM + (_EDGE_FACE_MM - _EDGE_MM) * bare
    height = head.world_from_head.inverse()(surface.vertices)[:, 1]
    whole = (grown & (height > neck_cut.HEIGHT))[surface.faces].all(1)
    kept = _large_pieces(surface, whole, seed)
    chin = model.faces[model.landmark_faces[_CHIN]]
    low = (masks["neck"] > 0.5) & (height < head.posed[chin, 1].mean() + _BELOW_CHIN)
    clothes = low[surface.faces].all(1)
    parts = {"hair": kept & ~clothes, "clothes": kept & clothes}
    return {name: _piece(surface, faces) for name, faces in parts.items() if faces.any()}


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, first[:-1], strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def ears_under(head: RegisteredHead, surface: Mesh) -> Float[np.ndarray, "m"]:
    """Share in which each dense vertex of the ears lies under what covers them; 0 elsewhere."""
    model = head.model
    dense = head.world_from_head(model.dense(head.posed))
    ear = np.flatnonzero(np.maximum(model.masks["ear_left"], model.masks["ear_right"]) > 0.3)
    gap, nearest = cKDTree(surface.vertices).query(dense[ear])
    facing = vertex_normals(surface.vertices, surface.faces)[nearest]
    inside = ((surface.vertices[nearest] - dense[ear]) * facing).sum(1) > 0
    covered = np.zeros(len(dense))
    covered[ear] = inside & (gap > _COVERED_MM * _MM)
    return covered


def _large_pieces(surface: Mesh, chosen: Bool[np.ndarray, "f"], seed: Bool[np.ndarray, "v"]) -> Bool[np.ndarray, "f"]:
    """Chosen faces in connected pieces that are large enough and have a seed."""
    index = np.flatnonzero(chosen)
    kept = np.zeros(len(surface.faces), bool)
    if not len(index):
        return kept
    faces = surface.faces[index]
    count = len(surface.vertices)
    links = sp.csr_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), (count, count))
    piece = connected_components(links, directed=False)[1][faces[:, 0]]
    area = np.bincount(piece, np.linalg.norm(face_normals(surface.vertices, faces), axis=1) / 2)
    seeded = np.bincount(piece, seed[faces].any(1)) > 0
    kept[index] = (seeded & (area > _LEAST_MM2 * _MM**2))[piece]
    return kept


def _piece(surface: Mesh, faces: Bool[np.ndarray, "f"]) -> Mesh:
    used, compact = np.unique(surface.faces[faces], return_inverse=True)
    corners: Integer[np.ndarray, "g 3"] = compact.reshape(-1, 3)
    return Mesh(np.asarray(surface.vertices, np.float64)[used], corners)
