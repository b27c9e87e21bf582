"""Upper lids: the skin that an open eye hides is repainted in the colours around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.geometry import MILLIMETRE, camera_centres, face_normals
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.texture.fill import MembraneSolver, colour_similarity

_SHADE_RGB = np.array([0.8, 1.05, 1.15])
"""Exponent of a shade in each channel: shade in skin is red, since light has gone through it."""


@dataclass(frozen=True)
class _LidSettings:
    """Constants of the lids. Colours are sRGB in [0, 1], weights and fractions are in [0, 1].

    Attributes:
        visible_fraction: trust grows between these fractions of the closed lid's area that a picture shows.
        moved_mm: between these displacements of a blink skin becomes lid, millimetres.
        max_cavity: vertices with more of the eye socket than this are no outer skin.
        max_trust: vertices with less trust than this are repainted.
        grown_rings: so many rings of faces around them give the colours, about a centimetre.
        tolerance: colours so far from the usual skin around the eyes count half: brows and lashes.
        skin_percentiles: of brightness around the lids, between which it is skin: brows, lashes and folds are darker.
        half_weight: summed texel weight at which a vertex counts half, texels.
        prior_weight: weight of the usual colour against differences between neighbours.
        min_brightness: darker colours are taken for this one: the logarithm of black has no bound.
        fold_weight: weight of a vertex's shade against its neighbours': a millimetre is averaged.
        darkest_fold: natural logarithm of the strongest shade.
        max_repainted: part of the colour that changes at most: an open eye shows a line of the lid, which is part of
            its look.
    """

    visible_fraction: tuple[float, float] = (0.25, 0.6)
    moved_mm: tuple[float, float] = (0.5, 2.0)
    max_cavity: float = 0.5
    max_trust: float = 0.99
    grown_rings: int = 10
    tolerance: float = 0.12
    skin_percentiles: tuple[int, int] = (55, 85)
    half_weight: float = 2
    prior_weight: float = 0.003
    min_brightness: float = 0.02
    fold_weight: float = 3.0
    darkest_fold: float = -0.6
    max_repainted: float = 0.75


_LID = _LidSettings()


def lid_trust(
    model: HeadModel,
    seen: Float[np.ndarray, "m 3"],
    neutral: Float[np.ndarray, "m 3"],
    camera_centre: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "m"]:
    """Return how far the colours that a camera saw can be stretched over a closed lid; 1 beside the lids.

    Where few pixels have to cover much skin, brows and lashes would become streaks.

    Args:
        seen: dense vertices as they were photographed.
        neutral: the same at rest, with open eyes.
        camera_centre: in their frame.

    Returns:
        A trust in [0, 1] per dense vertex.
    """
    shut = sum(model.expression_basis[model.expression_names.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    drop = model.dense(np.asarray(shut, np.float64))
    faces = model.dense_faces
    toward = camera_centre - seen[faces].mean(1)
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    visible_area = np.maximum((face_normals(seen, faces) * toward).sum(1), 0)
    closed_area = np.linalg.norm(face_normals(neutral + drop, faces), axis=1)
    visible = np.bincount(faces.ravel(), np.repeat(visible_area, 3), len(seen))
    fraction = visible / np.maximum(np.bincount(faces.ravel(), np.repeat(closed_area, 3), len(seen)), 1e-12)
    moved = smooth_ramp(np.linalg.norm(drop, axis=1) / MILLIMETRE, *_LID.moved_mm) * (1 - model.masks["cavity"])
    return 1 - moved * (1 - smooth_ramp(fraction, *_LID.visible_fraction))


def best_lid_trust(head: FittedHead) -> Float[np.ndarray, "m"]:
    """Return ``lid_trust`` of the photo that shows the most of the lids, per dense vertex."""
    model, neutral = head.model, head.model.dense(head.neutral)
    trusts = [
        lid_trust(model, model.dense(head.posed(index)), neutral, camera_centres(photo.camera)[0])
        for index, photo in enumerate(head.photos)
    ]
    return np.max(trusts, axis=0)


def repaint_lids(
    model: HeadModel, atlas: Atlas, skin: Float32[np.ndarray, "t t 3"], trust: Float[np.ndarray, "m"]
) -> Float32[np.ndarray, "t t 3"]:
    """Return the skin's texture with lids in the colours of the skin around them, where they are not trusted.

    Of what was seen there a soft shade stays: the fold of the lid, which is part of an open eye's look.

    Args:
        trust: per dense vertex, see ``lid_trust``.
    """
    doubt = atlas.spread(1 - trust[:, None])[..., 0] * (atlas.part == PARTS.index("skin"))
    around = _surrounding_skin(model, trust)
    count = len(trust)
    near = atlas.spread(around[:, None].astype(np.float64))[..., 0] > 0.5
    values, weight_sum = atlas.gather(skin, (near * (1 - doubt)).astype(np.float32), count)
    usual = _usual_colour(values[(weight_sum > 0) & around])
    similar = colour_similarity(values, usual, _LID.tolerance)
    membrane = MembraneSolver.on_faces(model.dense_faces[around[model.dense_faces].all(1)], count)
    smooth = membrane.interpolate(
        values,
        similar * weight_sum / (weight_sum + _LID.half_weight),
        np.broadcast_to(usual, values.shape),
        prior_weight=_LID.prior_weight,
    )
    shown, shown_sum = atlas.gather(skin, near.astype(np.float32), count)
    floor = _LID.min_brightness
    shade = np.log(np.maximum(shown.mean(1), floor) / np.maximum(smooth.mean(1), floor))[:, None]
    fold = membrane.interpolate(
        shade,
        _LID.fold_weight * shown_sum / (shown_sum + _LID.half_weight),
        np.zeros_like(shade),
        prior_weight=_LID.prior_weight,
    )
    smooth = smooth * np.exp(np.clip(fold, _LID.darkest_fold, 0) * _SHADE_RGB)
    weight = _LID.max_repainted * doubt[..., None]
    return (skin * (1 - weight) + atlas.spread(smooth) * weight).astype(np.float32)


def _usual_colour(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """Return the mean of the colours whose brightness is that of skin."""
    brightness = colours.mean(1)
    low, high = np.percentile(brightness, _LID.skin_percentiles)
    return colours[(brightness >= low) & (brightness <= high)].mean(0)


def _surrounding_skin(model: HeadModel, trust: Float[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
    """Return the vertices of the outer skin within a centimetre or so of what is not trusted, and those themselves."""
    skin = np.unique(model.dense_faces[model.dense_part == PARTS.index("skin")])
    outer = np.zeros(len(trust), bool)
    outer[skin] = model.masks["cavity"][skin] < _LID.max_cavity
    grown = trust < _LID.max_trust
    for _ in range(_LID.grown_rings):
        touched = model.dense_faces[grown[model.dense_faces].any(1)]
        grown[touched] = True
    return grown & outer
