"""Headwear as geometry and colour: a hat, cap, scarf or helmet as a closed surface around the skull.

Its volume is made as that of hair, with the headwear's matte in the place of the hair's. What no photo shows is
continued plainly: cloth goes round the head at the height of its lower edge on the sides, and its pattern fades to the
cloth's own colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components

from spinmeround.images import blur_cyclic, sample
from spinmeround.numerics import factorised, smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence, mesh_laplacian
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.hair.texture import (
    HairTexture,
    base_colour,
    centre_of_map,
    project_photos,
    surface_of_map,
)
from spinmeround.template.hair.volume import contour_thickness, decide_ears, hair_surface, outer_skin
from spinmeround.template.model.head_model import HeadModel
from spinmeround.types import Mesh, Portrait

_TINY = 1e-9
"""Keeps divisions by weights finite."""


@dataclass(frozen=True)
class _CoverageSettings:
    """Where the head is covered. Lengths are in head units (0.41 m), heights those of the mean head.

    Attributes:
        facing_slack, facing_power: weight of an observation, ``(cosine + slack) ** power``, as for hair.
        observation_weight: of a vertex that is seen frontally, against ``prior_weight`` and ``smoothness``.
        mirrored_weight: of the same vertex on the other side, where that one is seen and this one is not.
        prior_weight: of cloth that goes round at the height of its edge.
        face_prior_weight: of the prior that nothing covers the face; small, so that what is seen beside decides.
        smoothness: weight of the mesh's Laplacian.
        dip_deg: how far the edge sinks toward the back: hats rest on the forehead, above the ears and below the
            bulge of the occiput.
        behind: distance over which vertices further forward say less about the height of the edge behind.
        face: value of the face's mask from which no cloth is expected where none is seen.
        least: total weight of covered vertices from which there is headwear at all.
    """

    facing_slack: float = 0.1
    facing_power: float = 1.5
    observation_weight: float = 4.0
    mirrored_weight: float = 1.0
    prior_weight: float = 0.3
    face_prior_weight: float = 0.02
    smoothness: float = 0.5
    dip_deg: float = 15.0
    behind: float = 0.08
    face: float = 0.3
    least: float = 20.0


@dataclass(frozen=True)
class _ClothSettings:
    """The cloth itself.

    Attributes:
        thickness: least thickness of cloth over the skin, head units (4 mm).
        fade: weight of the cloth's median colour against seen colours at each scale: so soon patterns fade.
        min_trust: weight of the photos from which a texel tells the median colour.
        usual: differences from the median colour over which a colour stops to be continued far, against the median
            difference: prints, and the shadow below a brim, stay where they are seen.
        near_texels: standard deviation of the blur that continues any colour, so that none ends with an edge.
        blend_gain: how soon the photo replaces continued colour as its weight grows.
    """

    thickness: float = 0.01
    fade: float = 0.15
    min_trust: float = 0.5
    usual: tuple[float, float] = (1.5, 3.0)
    near_texels: float = 10.0
    blend_gain: float = 1.6


_COVERAGE, _CLOTH = _CoverageSettings(), _ClothSettings()


def as_hair(portrait: Portrait) -> Portrait:
    """Return a portrait whose headwear counts as hair: for what only has to know what covers the skin."""
    return replace(portrait, hair=portrait.hair + portrait.headwear)


def headwear_evidence(evidence: Sequence[PhotoEvidence]) -> list[PhotoEvidence]:
    """Return the photos with the headwear in the place of the hair."""
    return [replace(photo, portrait=replace(photo.portrait, hair=photo.portrait.headwear)) for photo in evidence]


def headwear_coverage(model: HeadModel, evidence: Sequence[PhotoEvidence]) -> Float[np.ndarray, "m"]:
    """Return the fraction of headwear over each dense vertex, in [0, 1]; 0 everywhere if nothing is worn.

    Where a photo sees the vertex, the value is observed; elsewhere headwear is symmetrical, and goes round the head at
    the height of its edge on the sides.

    Args:
        evidence: of ``headwear_evidence``.
    """
    s = _COVERAGE
    count = len(model.masks["scalp"])
    weight, total = np.zeros(count), np.zeros(count)
    for photo in evidence:
        facing = np.clip(photo.facing + s.facing_slack, 0, 1) ** s.facing_power
        trust = np.where(photo.visible, facing * sample(photo.portrait.alpha, photo.pixels), 0)
        weight += trust
        total += trust * sample(photo.portrait.hair, photo.pixels)
    if total.sum() < s.least:
        return np.zeros(count)
    decide_ears(model, evidence, weight, total)
    observed = total / np.maximum(weight, _TINY)
    prior = _above_edge(model, weight, observed)
    prior_weight = np.where(model.masks["face"] < s.face, s.prior_weight, s.face_prior_weight)
    mirror = model.dense_mirror()
    own = np.minimum(weight, 1)
    data, other = s.observation_weight * own, s.mirrored_weight * (1 - own) * own[mirror]
    system = sp.diags(data + other + prior_weight) + s.smoothness * mesh_laplacian(model.dense_faces, count)
    solved = factorised(system).solve(data * observed + other * observed[mirror] + prior_weight * prior)
    return np.where(outer_skin(model), np.clip(solved, 0, 1), 0)


def _above_edge(model: HeadModel, weight: Float[np.ndarray, "m"], observed: Float[np.ndarray, "m"]):
    """Return 1 above the plane that tells seen covered from seen bare vertices of the sides best, 0 below it.

    Args:
        weight: of the observation of each dense vertex.
    """
    s = _COVERAGE
    mean = model.dense(model.mean)
    beside_face = outer_skin(model) & (model.masks["face"] < s.face)
    height = mean[:, 1] - np.tan(np.deg2rad(s.dip_deg)) * mean[:, 2]
    backness = np.exp((mean[:, 2].min() - mean[:, 2]) / s.behind)
    seen = np.flatnonzero(beside_face & (weight > 0))
    order = seen[np.argsort(height[seen], kind="stable")]
    gain = (weight * backness * (2 * observed - 1))[order]
    # An edge below the first k vertices gains the covered ones above it and loses the bare ones.
    above = np.append(np.cumsum(gain[::-1])[::-1], 0.0)
    best = int(above.argmax())
    edge = height[order[best]] if 0 < best < len(order) else -np.inf if best == 0 else np.inf
    return (beside_face & (height > edge)).astype(np.float64)


def headwear_surface(
    model: HeadModel,
    neutral_dense: Float[np.ndarray, "m 3"],
    coverage: Float[np.ndarray, "m"],
    evidence: Sequence[PhotoEvidence],
) -> Mesh | None:
    """Return the outside of the headwear as a mesh in the world frame; None if nothing is worn.

    Args:
        evidence: of ``headwear_evidence``.
    """
    if not coverage.any():
        return None
    thickness = np.maximum(contour_thickness(model, coverage, evidence), _CLOTH.thickness)
    surface = hair_surface(model, neutral_dense, coverage, thickness, evidence)
    return None if surface is None else _in_one_piece(surface)


def _in_one_piece(surface: Mesh) -> Mesh:
    """Return the largest connected part: flaps beside the ears or on the shoulders are not worn on the head."""
    faces = surface.faces
    links = sp.coo_matrix(
        (np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), [len(surface.vertices)] * 2
    )
    _, component = connected_components(links, directed=False)
    of_face = component[faces[:, 0]]
    used, compact = np.unique(faces[of_face == np.bincount(of_face).argmax()], return_inverse=True)
    return Mesh(surface.vertices[used], compact.reshape(-1, 3))


def paint_headwear(surface: Mesh, evidence: Sequence[PhotoEvidence]) -> HairTexture:
    """Project the photos onto the headwear and continue its plain colour where they do not see it.

    Args:
        evidence: of ``headwear_evidence``.
    """
    s = _CLOTH
    centre = centre_of_map(surface)
    position, normal, occupied = surface_of_map(surface, centre)
    photos = [ProjectedPhoto.of(photo, surface) for photo in evidence]
    colour, trust = project_photos(photos, position, normal, occupied)
    certain = trust > s.min_trust
    certain = certain if certain.any() else trust > 0
    overall = np.median(colour[certain].reshape(-1, 3), axis=0)
    difference = np.linalg.norm(colour - overall, axis=-1)
    least, most = np.array(s.usual) * max(float(np.median(difference[certain])), _TINY)
    usual = trust * (1 - smooth_ramp(difference, least, most))
    plain = base_colour(colour, usual.astype(np.float32), overall=overall, prior=s.fade)
    near = blur_cyclic(np.dstack([colour * trust[..., None], trust]), s.near_texels)
    plain = (near[..., :3] + s.fade * plain) / (near[..., 3:] + s.fade)
    seen = np.clip(trust * s.blend_gain, 0, 1)[..., None]
    albedo = np.clip(colour * seen + plain * (1 - seen), 0, 1).astype(np.float32)
    return HairTexture(centre, albedo, albedo, np.zeros(trust.shape), trust.astype(np.float32), occupied, photos[0])
