"""The skin's texture: project the photos, even out their lighting, complete hidden places from the seen colours."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.atlas import Atlas, build_atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points, load_head_model
from spinmeround.template.texture.eyes import complete_eyes
from spinmeround.template.texture.fill import (
    Layer,
    MembraneSolver,
    blend_under,
    colour_similarity,
    synthesise_skin_grain,
)
from spinmeround.template.texture.lighting import ambient_occlusion, shading_correction
from spinmeround.template.texture.mouth import complete_mouth
from spinmeround.template.texture.occluding_contour import correct_contour_colours
from spinmeround.template.texture.photo_merge import PhotoLayer, merge_photos, photo_fitness
from spinmeround.template.texture.projection import Projection, project_photo
from spinmeround.types import Portrait

TEXTURE_PX = 2048
"""Side of the baked texture, texels."""

_SKIN = PARTS.index("skin")
_CHEEKS_AND_FOREHEAD = (50, 280, 151, 205, 425)
"""Landmarks on large patches of plain skin."""
_DEFAULT_SKIN_RGB = np.array([0.72, 0.55, 0.47])
"""Mean colour of skin where a photo shows too little of it, sRGB."""


@dataclass(frozen=True)
class _BakeSettings:
    """Constants of the skin's texture. Colours are sRGB in [0, 1], weights and fractions are in [0, 1].

    Attributes:
        side_distance: between these distances from the middle plane the front of a face becomes the side of a head,
            head units.
        max_plain_hair: a texel whose pixel has less hair than this can show plain skin.
        max_plain_coverage: a texel that hair covers by less than this can show plain skin.
        min_plain_weight: a texel that is weighted more than this counts as skin when the lighting is estimated.
        hair_excess: where a pixel has more hair than belongs over its texel, the hair is an obstruction: it takes away
            weight from this excess on ...
        hair_excess_range: ... and all of it after this much more.
        seen_prior_weight: weight of "no difference" when the tone of two seen layers is matched; small, since both
            show the same person.
        invented_prior_weight: the same for invented colours, whose tone has to match near their border only.
        smooth_power: power of the weights with which texels give their vertex its colour.
        smooth_tolerance: a vertex that differs so much from the usual colour counts half when colours are continued.
        smooth_half_weight: summed texel weight at which the colour of a vertex counts half, texels.
        smooth_prior_weight: weight of the usual colour of bare skin: it wins far from what is seen.
        hair_prior_weight: added to it under hair, where nearby skin must not be continued.
        open_percentile: percentile of the ambient visibility from which on a place is open and not darkened.
        hollow_brightness: brightness that invented colours have in the deepest hollow; 1 is that in the open.
        outlier_power: power of the weights with which texels give the colour that outliers are compared with.
        outlier_tolerance: vertices that differ so much from the usual colour count half in that comparison.
        outlier_half_weight: summed texel weight at which a vertex counts half in that comparison, texels.
        outlier_data_weight: weight of single vertices against their neighbours: a few centimetres are averaged.
        outlier_prior_weight: weight of the usual colour in that comparison.
        outlier_difference: texels that differ by more than this from the skin around them lose weight, ...
        outlier_range: ... and lose it all after this much more.
        min_mean_weight: mean colours need at least this summed weight, texels.
        mean_ranks: part of the weight, from dark to bright, that mean colours use: shadows and highlights are left out.
        hair_to_skin: brightness of hair relative to skin, where a photo shows no hair.
    """

    side_distance: tuple[float, float] = (0.085, 0.135)
    max_plain_hair: float = 0.2
    max_plain_coverage: float = 0.3
    min_plain_weight: float = 0.3
    hair_excess: float = 0.15
    hair_excess_range: float = 0.35
    seen_prior_weight: float = 1e-3
    invented_prior_weight: float = 0.02
    smooth_power: int = 3
    smooth_tolerance: float = 0.15
    smooth_half_weight: float = 2.0
    smooth_prior_weight: float = 0.003
    hair_prior_weight: float = 0.05
    open_percentile: float = 70
    hollow_brightness: float = 0.6
    outlier_power: int = 4
    outlier_tolerance: float = 0.25
    outlier_half_weight: float = 20.0
    outlier_data_weight: float = 0.03
    outlier_prior_weight: float = 1e-4
    outlier_difference: float = 0.15
    outlier_range: float = 0.12
    min_mean_weight: float = 20
    mean_ranks: tuple[float, float] = (0.2, 0.9)
    hair_to_skin: float = 0.5


_BAKE = _BakeSettings()


@dataclass(frozen=True)
class SkinTexture:
    """Colours of everything but the hair.

    Attributes:
        albedo: sRGB texture, row 0 at the top. Lighting from the side is mostly taken out, soft shading stays. Eyes and
            mouth are as the photos show them: with the shadow of lids, and lashes.
        observed: weight in [0, 1] of the photos in each texel, rather than of a mirror image or of invented colours.
        animatable_albedo: the same with whole eyes and teeth, none of them in a shadow, for a head whose eyes turn and
            whose mouth opens. None if ``albedo`` is so already.
    """

    albedo: Float32[np.ndarray, "t t 3"]
    observed: Float32[np.ndarray, "t t"]
    animatable_albedo: Float32[np.ndarray, "t t 3"] | None = None


def bake_skin_texture(
    model: HeadModel,
    head: FittedHead,
    portraits: Sequence[Portrait],
    hair_coverage: Float[np.ndarray, "m"],
    *,
    seed: int = 0,
) -> SkinTexture:
    """Paint the head's texture from its photos.

    Args:
        hair_coverage: fraction of hair over each dense vertex. There a photo's hair belongs on the skin, elsewhere it
            is an obstruction.
        seed: of the fine grain given to skin that no photo shows.
    """
    atlas = shared_atlas(TEXTURE_PX) if model is load_head_model() else build_atlas(model, TEXTURE_PX)
    skin = atlas.part == _SKIN
    neutral = model.dense(head.neutral)
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == _SKIN], len(neutral))
    coverage_map = atlas.spread(np.asarray(hair_coverage, np.float64)[:, None])[..., 0]
    side = smooth_ramp(np.abs(model.dense(model.mean)[:, 0]), *_BAKE.side_distance)
    layers = []
    posed = [model.dense(head.posed(index)) for index in range(len(portraits))]
    for index, portrait in enumerate(portraits):
        projection = project_photo(model, atlas, portrait, head.photos[index].camera, posed[index])
        relit, inner = _photo_layers(projection, atlas, skin, coverage_map)
        plain = skin & (projection.hair < _BAKE.max_plain_hair) & (coverage_map < _BAKE.max_plain_coverage)
        relit = correct_contour_colours(atlas, membrane, relit, projection.facing, plain, side)
        fitness = photo_fitness(projection.sharpness, atlas, np.linalg.norm(posed[index] - posed[0], axis=1))
        layers.append(PhotoLayer(relit, inner, fitness, projection.hair))
    merged = merge_photos(layers, atlas, membrane, skin, prior_weight=_BAKE.seen_prior_weight)
    skin_seen, inner_seen = merged.skin, merged.inner
    visibility = ambient_occlusion(neutral, model.dense_faces)
    rng = np.random.default_rng(seed)
    complete = _complete_skin(model, atlas, membrane, skin_seen, skin, hair_coverage, visibility, rng)
    eyes, mouth = complete_eyes(model, atlas, inner_seen), complete_mouth(model, atlas, inner_seen)
    whole, seen_weight = eyes.rgb + mouth.rgb, inner_seen.weight[..., None]
    as_seen = inner_seen.rgb * seen_weight + whole * (1 - seen_weight)
    inside = atlas.part >= 0
    albedo, animatable = (
        atlas.padded(np.clip(np.where(skin[..., None], complete, inner), 0, 1), inside) for inner in (as_seen, whole)
    )
    observed = np.where(inside, np.where(skin, skin_seen.weight, inner_seen.weight), 0).astype(np.float32)
    return SkinTexture(albedo, observed, animatable)


@functools.lru_cache(maxsize=1)
def shared_atlas(size_px: int) -> Atlas:
    """Return the atlas of the head model that ships with the package, built once."""
    return build_atlas(load_head_model(), size_px)


def _photo_layers(
    projection: Projection, atlas: Atlas, skin: Bool[np.ndarray, "t t"], coverage_map: Float32[np.ndarray, "t t"]
) -> tuple[Layer, Layer]:
    """Return one photo as a layer of evenly lit skin, and as it is for eyes and mouth."""
    obstruction = np.clip((projection.hair - coverage_map - _BAKE.hair_excess) / _BAKE.hair_excess_range, 0, 1)
    weight = np.where(skin, projection.weight * (1 - obstruction), 0).astype(np.float32)
    plain = (
        (weight > _BAKE.min_plain_weight)
        & (projection.hair < _BAKE.max_plain_hair)
        & (coverage_map < _BAKE.max_plain_coverage)
    )
    plain_weight = np.where(plain, weight, 0).astype(np.float32)
    colours, weight_sum = atlas.gather(projection.rgb, plain_weight, len(projection.normals))
    factor = shading_correction(colours, projection.normals, weight_sum)
    relit = (projection.rgb * atlas.spread(factor)).astype(np.float32)
    return Layer(relit, weight), Layer(projection.rgb, np.where(skin, 0, projection.weight).astype(np.float32))


def _complete_skin(
    model: HeadModel,
    atlas: Atlas,
    membrane: MembraneSolver,
    seen: Layer,
    skin: Bool[np.ndarray, "t t"],
    hair_coverage: Float[np.ndarray, "m"],
    visibility: Float[np.ndarray, "m"],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "t t 3"]:
    """Return skin everywhere: the photos, under them their mirror image, under that smooth colours with grain."""
    seen = _suppress_outliers(model, atlas, membrane, seen, skin, hair_coverage)
    weight = atlas.mirrored(seen.weight)
    rgb = atlas.mirrored(seen.rgb * seen.weight[..., None]) / np.maximum(weight, 1e-4)[..., None]
    mirrored = Layer(rgb.astype(np.float32), np.where(skin, weight, 0).astype(np.float32))
    with_mirror = blend_under(seen, mirrored, atlas, membrane, skin, prior_weight=_BAKE.seen_prior_weight)
    base = _smooth_colours(atlas, membrane, with_mirror, skin, hair_coverage, visibility)
    texels = _landmark_texels(model, atlas.size)
    grain = synthesise_skin_grain(with_mirror, texels[list(_CHEEKS_AND_FOREHEAD)], rng=rng)
    bare = 1 - atlas.spread(np.asarray(hair_coverage, np.float64)[:, None])[..., 0]
    invented = Layer((atlas.spread(base) + (grain * bare)[..., None]).astype(np.float32), skin.astype(np.float32))
    return blend_under(with_mirror, invented, atlas, membrane, skin, prior_weight=_BAKE.invented_prior_weight).rgb


def _smooth_colours(
    atlas: Atlas,
    membrane: MembraneSolver,
    seen: Layer,
    skin: Bool[np.ndarray, "t t"],
    hair_coverage: Float[np.ndarray, "m"],
    visibility: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3"]:
    """Return a colour for every vertex: seen ones continued, far from them mean skin or hair, darker in hollows."""
    weight = np.where(skin, seen.weight**_BAKE.smooth_power, 0).astype(np.float32)
    values, weight_sum = atlas.gather(seen.rgb, weight, len(hair_coverage))
    prior = _mean_colours(values, weight_sum, hair_coverage)
    similar = colour_similarity(values, prior, _BAKE.smooth_tolerance)
    smooth = membrane.interpolate(
        values,
        similar * weight_sum / (weight_sum + _BAKE.smooth_half_weight),
        prior,
        prior_weight=_BAKE.smooth_prior_weight + _BAKE.hair_prior_weight * hair_coverage,
    )
    open_sky = max(float(np.percentile(visibility, _BAKE.open_percentile)), 1e-6)
    openness = np.clip(visibility / open_sky, 0, 1)
    return smooth * (_BAKE.hollow_brightness + (1 - _BAKE.hollow_brightness) * openness)[:, None]


def _mean_colours(
    values: Float[np.ndarray, "m 3"], weight_sum: Float[np.ndarray, "m"], hair_coverage: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3"]:
    """Return the person's mean colour of skin or hair, by what covers each vertex."""
    mean_skin = _robust_mean(values, weight_sum * (1 - hair_coverage), _DEFAULT_SKIN_RGB)
    mean_hair = _robust_mean(values, weight_sum * hair_coverage**2, _BAKE.hair_to_skin * mean_skin)
    return mean_skin * (1 - hair_coverage[:, None]) + mean_hair * hair_coverage[:, None]


def _suppress_outliers(
    model: HeadModel,
    atlas: Atlas,
    membrane: MembraneSolver,
    seen: Layer,
    skin: Bool[np.ndarray, "t t"],
    hair_coverage: Float[np.ndarray, "m"],
) -> Layer:
    """Take weight from half-trusted texels that look nothing like the skin around: collars, strands, backlight.

    What is well seen on the face keeps its weight, highlights too: it may be strange in colour and still this person's.
    """
    weight = np.where(skin, seen.weight**_BAKE.outlier_power, 0).astype(np.float32)
    values, weight_sum = atlas.gather(seen.rgb, weight, len(hair_coverage))
    prior = _mean_colours(values, weight_sum, hair_coverage)
    similar = colour_similarity(values, prior, _BAKE.outlier_tolerance)
    confidence = _BAKE.outlier_data_weight * similar * weight_sum / (weight_sum + _BAKE.outlier_half_weight)
    around = atlas.spread(membrane.interpolate(values, confidence, prior, prior_weight=_BAKE.outlier_prior_weight))
    difference = seen.rgb - around
    outlier = np.clip((np.abs(difference).max(-1) - _BAKE.outlier_difference) / _BAKE.outlier_range, 0, 1)
    # On the neck a strange colour is a collar, at an ear it is hair or backlight, however well it is seen.
    outside = np.maximum.reduce([model.masks[name] for name in ("neck", "ear_left", "ear_right")])
    face = 1 - atlas.spread(outside.astype(np.float64)[:, None])[..., 0]
    return Layer(seen.rgb, (seen.weight * (1 - outlier * (1 - seen.weight * face))).astype(np.float32))


def _robust_mean(
    values: Float[np.ndarray, "m 3"], weight: Float[np.ndarray, "m"], default: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """Return the weighted mean of what is neither darkest nor brightest, ``default`` if there is too little."""
    used = np.flatnonzero(weight > 0)
    if weight[used].sum() < _BAKE.min_mean_weight:
        return default
    order = used[np.argsort(values[used].sum(1), kind="stable")]
    rank = np.cumsum(weight[order]) / weight[order].sum()
    darkest, brightest = _BAKE.mean_ranks
    kept = order[(rank > darkest) & (rank < brightest)]
    return np.average(values[kept], axis=0, weights=weight[kept])


def _landmark_texels(model: HeadModel, size: int) -> np.ndarray:
    """Return (column, row) of the texel nearest to each landmark."""
    landmarks = landmark_points(model, model.mean)
    dense = model.dense(model.mean)
    any_uv = np.zeros(len(dense), int)
    any_uv[model.dense_faces.ravel()] = model.uv_faces.ravel()
    nearest = cKDTree(dense).query(landmarks)[1]
    uv = model.uv[any_uv[nearest]]
    return np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], axis=1).astype(int)
