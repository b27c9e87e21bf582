"""In which direction hair grows, over the surface of the hair: as the photos show it, and as hair falls elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from spinmeround.geometry import project, vertex_normals
from spinmeround.images import sample
from spinmeround.numerics import factorised, smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence, mesh_laplacian
from spinmeround.template.hair.orientation import HairOrientation, measure_orientation
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.strands.settings import DirectionSettings
from spinmeround.types import Mesh

_SETTINGS = DirectionSettings()

_DOWN = np.array([0.0, -1.0, 0.0])

_TINY = 1e-9
"""Keeps divisions by lengths finite."""


def photographed_orientations(evidence: Sequence[PhotoEvidence]) -> list[HairOrientation]:
    """Return the orientation of the strands in each photo."""
    hairs = [photo.portrait.hair * photo.portrait.observed for photo in evidence]
    return [
        measure_orientation(photo.portrait.foreground, hair, unit_px=photo.unit_px)
        for photo, hair in zip(evidence, hairs, strict=True)
    ]


def surface_directions(
    hair: Mesh,
    evidence: Sequence[PhotoEvidence],
    photos: Sequence[ProjectedPhoto],
    orientations: Sequence[HairOrientation],
) -> Float[np.ndarray, "v 3"]:
    """Return the unit direction of growth at each vertex of the hair's surface, world frame.

    Where a photo shows hair the direction is the measured orientation, lifted to the surface; a photo does not tell
    which way along it hair grows, so that is taken from the smooth field. Elsewhere hair falls: away from the whorl
    where the surface faces up, down where it does not. A membrane joins the two.

    Args:
        photos: as they see the hair's surface.
        orientations: see ``photographed_orientations``.
    """
    s = _SETTINGS
    normals = vertex_normals(hair.vertices, hair.faces)
    fallen = _falling(hair.vertices, normals)
    seen = [_photographed(hair, normals, *each) for each in zip(evidence, photos, orientations, strict=True)]
    weight = sum(each for _, each in seen)
    system = sp.diags(weight + s.falling_weight) + s.smoothness * mesh_laplacian(hair.faces, len(hair.vertices))
    factor = factorised(system)
    directions = fallen
    for _ in range(s.rounds):
        target = s.falling_weight * fallen
        for along, trust in seen:
            forward = np.where((along * directions).sum(1, keepdims=True) < 0, -1.0, 1.0)
            target = target + trust[:, None] * forward * along
        directions = _unit(factor.solve(target))
    return directions


def _falling(vertices: Float[np.ndarray, "v 3"], normals: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Return how hair falls that nobody combed: out of the whorl in a spiral on top, then down."""
    s = _SETTINGS
    centre = (vertices.min(0) + vertices.max(0)) / 2
    whorl = vertices[np.argmax((vertices - centre) @ np.array(s.whorl))]
    away = vertices - whorl
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    away = _unit(away - (away * normals).sum(1, keepdims=True) * normals)
    turn = np.deg2rad(s.swirl_deg) * np.exp(-((distance / s.swirl_radius) ** 2))
    away = np.cos(turn) * away + np.sin(turn) * np.cross(normals, away)
    top = smooth_ramp(normals[:, 1], *s.facing_up)[:, None]
    return _unit(top * away + (1 - top) * _DOWN)


def _photographed(
    hair: Mesh,
    normals: Float[np.ndarray, "v 3"],
    photo: PhotoEvidence,
    projected: ProjectedPhoto,
    measured: HairOrientation,
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "v"]]:
    """Return the measured orientation at each vertex as a unit tangent of either sign, and its weight in [0, 1]."""
    s = _SETTINGS
    _, trust, _ = projected.look_up(hair.vertices, normals)
    pixels = project(hair.vertices, photo.camera_from_world, photo.intrinsics_px)
    doubled = np.dstack([np.cos(2 * measured.angle), np.sin(2 * measured.angle)]) * measured.confidence[..., None]
    cosine, sine, confidence = sample(np.dstack([doubled, measured.confidence]), pixels).T
    angle = np.arctan2(sine, cosine) / 2
    # The tangent whose projection runs along that angle: two tangents, and where they go in the picture.
    first = _unit(np.cross(normals, np.where(np.abs(normals[:, 1:2]) < s.not_vertical, [[0, 1.0, 0]], [[1.0, 0, 0]])))
    second = np.cross(normals, first)
    columns = [
        (project(hair.vertices + s.probe * each, photo.camera_from_world, photo.intrinsics_px) - pixels)[:, :2]
        for each in (first, second)
    ]
    (a, c), (b, d) = columns[0].T, columns[1].T
    x, y = np.cos(angle), np.sin(angle)
    determinant = a * d - b * c
    determinant = np.where(np.abs(determinant) < _TINY, _TINY, determinant)
    along = ((d * x - b * y) / determinant)[:, None] * first + ((a * y - c * x) / determinant)[:, None] * second
    return _unit(along), trust * confidence


def _unit(vectors: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
