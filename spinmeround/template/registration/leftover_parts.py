"""What the template cannot express of a surface: hair that stands off, collars, covered ears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Integer
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from spinmeround.geometry import MILLIMETRE, face_normals, vertex_normals
from spinmeround.template.model import neck_cut
from spinmeround.template.registration.fitter import RegisteredHead
from spinmeround.template.registration.model_fit import Regions
from spinmeround.types import Mesh

_CHIN = 152
"""Landmark at the lowest point of the chin."""


@dataclass(frozen=True)
class _LeftoverSettings:
    """Constants of the parts. Where there is a pair, it holds for scalp and neck, then for bare skin.

    Attributes:
        start_mm: a part stands off the template by more than this somewhere, millimetres.
        end_mm: it ends where it comes nearer than this, so that no step is seen, millimetres.
        min_area_mm2: smaller parts are dropped, square millimetres.
        min_bare: vertices with more bare skin than this belong to the template if the surface is not trusted there.
        min_neck: vertices with more of the neck than this can be clothes ...
        below_chin: ... if they lie lower than this relative to the chin, head units.
        min_ear: vertices with more of an ear than this can be covered.
        covered_mm: an ear is covered if it lies deeper than this under the surface, millimetres.
    """

    start_mm: tuple[float, float] = (3.0, 8.0)
    end_mm: tuple[float, float] = (0.7, 3.0)
    min_area_mm2: float = 400.0
    min_bare: float = 0.5
    min_neck: float = 0.5
    below_chin: float = -0.03
    min_ear: float = 0.3
    covered_mm: float = 5.0


_LEFTOVER = _LeftoverSettings()
MAX_SKIN_DISTANCE = _LEFTOVER.start_mm[0] * MILLIMETRE
"""A surface further from the template than this is not its skin, head units."""


def hair_and_clothes(head: RegisteredHead, surface: Mesh) -> dict[str, Mesh]:
    """Return the parts of a surface that stand off the template.

    Returns:
        ``hair`` and ``clothes``, in the world frame, open meshes; absent if there are none.
    """
    model, upright = head.model, _in_head_units(head, surface)
    dense = model.dense(head.posed)
    outer = np.flatnonzero(Regions.of(model).outer_skin)
    normals = vertex_normals(dense, model.dense_faces)[outer]
    gap, nearest = cKDTree(dense[outer]).query(upright.vertices)
    out = ((upright.vertices - dense[outer][nearest]) * normals[nearest]).sum(1)
    distance_mm = np.where(out > 0, gap, -gap) / MILLIMETRE
    masks = {name: mask[outer][nearest] for name, mask in model.masks.items()}
    bare = np.maximum.reduce([1 - np.maximum(masks["scalp"], masks["neck"]), masks["ear_left"], masks["ear_right"]])
    if not head.report["surface_believed"]:
        distance_mm = np.where(bare > _LEFTOVER.min_bare, 0.0, distance_mm)
    (start_mm, start_bare_mm), (end_mm, end_bare_mm) = _LEFTOVER.start_mm, _LEFTOVER.end_mm
    seed = distance_mm > start_mm + (start_bare_mm - start_mm) * bare
    grown = distance_mm > end_mm + (end_bare_mm - end_mm) * bare
    height = upright.vertices[:, 1]
    whole = (grown & (height > neck_cut.HEIGHT))[surface.faces].all(1)
    kept = _large_components(upright, whole, seed)
    chin = model.faces[model.landmark_faces[_CHIN]]
    low = (masks["neck"] > _LEFTOVER.min_neck) & (height < head.posed[chin, 1].mean() + _LEFTOVER.below_chin)
    clothes = low[surface.faces].all(1)
    parts = {"hair": kept & ~clothes, "clothes": kept & clothes}
    return {name: _submesh(surface, faces) for name, faces in parts.items() if faces.any()}


def merge_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Return several meshes as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, first[:-1], strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def ear_coverage(head: RegisteredHead, surface: Mesh) -> Float[np.ndarray, "m"]:
    """Return 1 for each dense vertex of the ears that lies under something else, such as hair; 0 elsewhere."""
    model, upright = head.model, _in_head_units(head, surface)
    dense = model.dense(head.posed)
    ear = np.flatnonzero(np.maximum(model.masks["ear_left"], model.masks["ear_right"]) > _LEFTOVER.min_ear)
    gap, nearest = cKDTree(upright.vertices).query(dense[ear])
    normals = vertex_normals(upright.vertices, upright.faces)[nearest]
    inside = ((upright.vertices[nearest] - dense[ear]) * normals).sum(1) > 0
    covered = np.zeros(len(dense))
    covered[ear] = inside & (gap > _LEFTOVER.covered_mm * MILLIMETRE)
    return covered


def _in_head_units(head: RegisteredHead, surface: Mesh) -> Mesh:
    """Return the surface in the frame of the upright head, where a millimetre is one whatever the world's unit is."""
    return Mesh(head.world_from_head.inverse()(np.asarray(surface.vertices, np.float64)), surface.faces)


def _large_components(
    surface: Mesh, chosen: Bool[np.ndarray, "f"], seed: Bool[np.ndarray, "v"]
) -> Bool[np.ndarray, "f"]:
    """Return chosen faces in connected components that are large enough and have a seed."""
    index = np.flatnonzero(chosen)
    kept = np.zeros(len(surface.faces), bool)
    if not len(index):
        return kept
    faces = surface.faces[index]
    count = len(surface.vertices)
    links = sp.csr_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), (count, count))
    component = connected_components(links, directed=False)[1][faces[:, 0]]
    area = np.bincount(component, np.linalg.norm(face_normals(surface.vertices, faces), axis=1) / 2)
    seeded = np.bincount(component, seed[faces].any(1)) > 0
    kept[index] = (seeded & (area > _LEFTOVER.min_area_mm2 * MILLIMETRE**2))[component]
    return kept


def _submesh(surface: Mesh, faces: Bool[np.ndarray, "f"]) -> Mesh:
    used, compact = np.unique(surface.faces[faces], return_inverse=True)
    corners: Integer[np.ndarray, "g 3"] = compact.reshape(-1, 3)
    return Mesh(np.asarray(surface.vertices, np.float64)[used], corners)
