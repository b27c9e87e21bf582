"""The skin's texture: project the photos, part their light from colours, complete hidden places, light all again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model import neck_cut
from spinmeround.template.model.atlas import Atlas, build_atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, load_head_model
from spinmeround.template.texture.at_rest import skin_at_rest
from spinmeround.template.texture.eyes import complete_eyes
from spinmeround.template.texture.fill import Layer, MembraneSolver, mix_in, vertex_areas
from spinmeround.template.texture.hidden_skin import complete_skin
from spinmeround.template.texture.lighting import GAMMA, PhotoLight, SkinLight, fit_light
from spinmeround.template.texture.mouth import complete_mouth
from spinmeround.template.texture.occluding_contour import contour_light
from spinmeround.template.texture.occlusion import Visibility, relief_light, with_interreflection
from spinmeround.template.texture.photo_merge import PhotoLayer, merge_photos, photo_fitness
from spinmeround.template.texture.projection import Projection, project_photo
from spinmeround.template.texture.skin_tone import SkinCanvas, SkinPlaces, unlikeness, usual_skin, weighted_median
from spinmeround.types import Portrait

TEXTURE_PX = 2048
"""Side of the baked texture, texels."""

_SKIN = PARTS.index("skin")
_TINY = 1e-12


@dataclass(frozen=True)
class _BakeSettings:
    """Constants of the skin's texture. Weights and fractions are in [0, 1].

    Attributes:
        side_distance: between these distances from the middle plane the front of a face becomes the side of a head,
            head units.
        max_plain_hair: a texel whose pixel has less hair than this can show plain skin.
        max_plain_coverage: a texel that hair covers by less than this can show plain skin.
        min_plain_weight: a texel that is weighted more than this counts as skin when the light is estimated.
        hair_excess: where a pixel has more hair than belongs over its texel, the hair is an obstruction: it takes away
            weight from this excess on, in the centre and above the eyes, and on cheeks, jaw and neck, which are filled
            where single hairs darken them, ...
        hair_excess_range: ... and all of it after this much more.
        seen_prior_weight: weight of "no difference" when the tone of two seen layers is matched; small, since both
            show the same person.
        light_detail: weight of the light on single vertices against that on their neighbours: skin scatters light, and
            fitted normals are not certain, so that two centimetres are averaged.
        light_half_weight: summed weight at which a vertex is half seen as far as light is concerned, texels.
        light_seen: weight of the light on seen vertices against that on their neighbours, where it is continued.
        light_reach_mm: so far from what is seen an even light has won all but 1/e, millimetres. No photo shows what
            light falls on skin that it does not see.
        light_facing: cosines between normal and line of sight between which the light on seen skin comes to count.
        hidden_level: strength of that light: 0 is that on sure skin, which faces the lamp more than most; 1, in
            logarithms, the mean of what is seen.
        throat_occlusion: part of its shade, in logarithms, that the neck has: shoulders and collars give light back.
        min_openness: no place is less open than this: depth buffers find no light in narrow folds.
    """

    side_distance: tuple[float, float] = (0.085, 0.135)
    max_plain_hair: float = 0.2
    max_plain_coverage: float = 0.3
    min_plain_weight: float = 0.3
    hair_excess: tuple[float, float] = (0.15, 0.05)
    hair_excess_range: float = 0.35
    seen_prior_weight: float = 1e-3
    light_detail: float = 0.05
    light_half_weight: float = 2.0
    light_seen: float = 2.0
    light_reach_mm: float = 15
    light_facing: tuple[float, float] = (0.15, 0.5)
    hidden_level: float = 0.5
    min_openness: float = 0.1
    throat_occlusion: float = 0.5


_BAKE = _BakeSettings()


@dataclass(frozen=True)
class SkinTexture:
    """Colours of everything but the hair.

    Attributes:
        albedo: sRGB texture, row 0 at the top. Where the photos show skin it is lit as in the first of them, and so is
            skin that none shows. Eyes and mouth are as that photo shows them with its expression: with the shadow of
            lids, with lashes, with teeth up to the lips.
        observed: weight in [0, 1] of the photos in each texel, rather than of a mirror image or of invented colours.
        resting_albedo: the same for the face at rest: what showed in an open mouth is not on lips that are closed. None
            if ``albedo`` is so already.
        animatable_albedo: that with whole eyes and teeth, none of them in a shadow, for a head whose eyes turn and
            whose mouth opens. None if ``albedo`` is so already.
        light: the first photo's light. Without it, skin has its colour under an even light. None if there is none.
    """

    albedo: Float32[np.ndarray, "t t 3"]
    observed: Float32[np.ndarray, "t t"]
    resting_albedo: Float32[np.ndarray, "t t 3"] | None = None
    animatable_albedo: Float32[np.ndarray, "t t 3"] | None = None
    light: SkinLight | None = None


def bake_skin_texture(
    model: HeadModel,
    head: FittedHead,
    portraits: Sequence[Portrait],
    hair_coverage: Float[np.ndarray, "m"],
    *,
    size_px: int = TEXTURE_PX,
    seed: int = 0,
) -> SkinTexture:
    """Paint the head's texture from its photos.

    Args:
        hair_coverage: fraction of hair over each dense vertex. There a photo's hair belongs on the skin, elsewhere it
            is an obstruction.
        size_px: side of the texture, texels.
        seed: of the fine grain given to skin that no photo shows.
    """
    atlas = shared_atlas(size_px) if model is load_head_model() else build_atlas(model, size_px)
    canvas = _canvas(model, atlas, hair_coverage)
    photos = [_project(canvas, portrait, head, index) for index, portrait in enumerate(portraits)]
    first_inner, shown, light = photos[0].layer.inner.rgb, photos[0].in_openings, photos[0].light
    merged = merge_photos(
        [photo.layer for photo in photos],
        atlas,
        canvas.membrane,
        canvas.inside,
        prior_weight=_BAKE.seen_prior_weight,
    )
    border = np.sum([share * photo.border for share, photo in zip(merged.shares, photos, strict=True)], axis=0)
    skin_seen, inner_seen = merged.skin, merged.inner
    del photos, merged  # each map has 4 million texels
    occlusion = _occlusion(canvas, head, light.photo, skin_seen)
    complete = complete_skin(canvas, skin_seen, border, occlusion, rng=np.random.default_rng(seed))
    del skin_seen, border
    inside = atlas.part >= 0
    observed = np.where(inside, np.where(canvas.inside, complete.weight, inner_seen.weight), 0).astype(np.float32)
    lit = light.on_texels(atlas, 1.0)
    rested = skin_at_rest(canvas, complete, head.posed(0), head.neutral) * lit
    skin = complete.rgb
    skin *= lit
    del complete, lit
    eyes, mouth = complete_eyes(model, atlas, inner_seen), complete_mouth(model, atlas, inner_seen)
    whole = eyes.rgb + mouth.rgb
    as_seen = whole.copy()
    mix_in(inner_seen.rgb, inner_seen.weight, as_seen)
    del eyes, mouth, inner_seen
    gutters = np.flatnonzero(~inside)
    borders = atlas.nearest_inside(inside).ravel()[gutters]
    on_skin = canvas.inside.astype(np.uint8)
    expressive = cv2.copyTo(skin, on_skin, as_seen.copy())
    mix_in(first_inner, shown, expressive)
    del skin, first_inner, shown
    animatable, resting = (cv2.copyTo(rested, on_skin, inner) for inner in (whole, as_seen))
    for rgb in (expressive, animatable, resting):
        flat = rgb.reshape(-1, 3)
        flat[gutters] = flat[borders]
        np.clip(rgb, 0, 1, out=rgb)
    return SkinTexture(expressive, observed, resting, animatable, light)


def _occlusion(canvas: SkinCanvas, head: FittedHead, light: PhotoLight, seen: Layer) -> Float[np.ndarray, "m 3"]:
    """Return the factor on sRGB colours at each dense vertex by which more or less light gets there than elsewhere."""
    model = canvas.model
    sky = Visibility.of(head.neutral, model.faces)
    openness = model.subdivision @ sky.openness(light.radiance(sky.directions))
    colours, seen_sum = canvas.gather(seen)
    usual = usual_skin(colours, seen_sum, canvas.places.sure)
    dense = model.dense(head.neutral)
    for name in ("ear_left", "ear_right"):
        ear = model.masks[name]
        relief = relief_light(dense, model.dense_faces, ear > 0, light.radiance)
        openness = openness + ear * (relief - openness)
    logs = np.log(with_interreflection(np.maximum(openness, _BAKE.min_openness), usual**GAMMA)) / GAMMA
    # Lids and lips meet others of their kind here, and are painted as a photo shows them.
    moving = np.maximum.reduce([model.masks[name] for name in ("lids", "lips", "cavity")])
    usual_level = weighted_median(logs.mean(1), _bare_areas(canvas))
    throat = 1 - (1 - _BAKE.throat_occlusion) * model.masks["neck"]
    return np.exp((logs - usual_level) * (throat * (1 - moving))[:, None])


def _bare_areas(canvas: SkinCanvas) -> Float[np.ndarray, "m"]:
    """Return the area around each dense vertex that is bare skin above the cut through the neck.

    What is seen counts as well: under long hair all that no photo shows lies in the shade.
    """
    shown = _outer_skin(canvas.model) * (canvas.model.dense(canvas.model.mean)[:, 1] > neck_cut.HEIGHT)
    return canvas.areas * shown * (1 - canvas.hair_coverage) + _TINY


@functools.lru_cache(maxsize=1)
def shared_atlas(size_px: int) -> Atlas:
    """Return the atlas of the head model that ships with the package, built once."""
    return build_atlas(load_head_model(), size_px)


def _canvas(model: HeadModel, atlas: Atlas, hair_coverage: Float[np.ndarray, "m"]) -> SkinCanvas:
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == _SKIN], len(hair_coverage))
    coverage = np.asarray(hair_coverage, np.float64)
    areas = vertex_areas(model.dense(model.mean), model.dense_faces)
    return SkinCanvas(model, atlas, atlas.part == _SKIN, membrane, coverage, areas, SkinPlaces.on(model))


@dataclass(frozen=True)
class _ProjectedPhoto:
    """One photo on the texture.

    Attributes:
        layer: the skin without the photo's light; eyes and mouth as they are.
        border: see ``Projection``, as for ``in_openings``.
        light: the photo's.
    """

    layer: PhotoLayer
    border: Float32[np.ndarray, "t t"]
    in_openings: Float32[np.ndarray, "t t"]
    light: SkinLight


def _project(canvas: SkinCanvas, portrait: Portrait, head: FittedHead, index: int) -> _ProjectedPhoto:
    """Look a photo up, and part its skin's colours from its light."""
    model, atlas, inside = canvas.model, canvas.atlas, canvas.inside
    camera, posed = head.photos[index].camera, model.dense(head.posed(index))
    projection = project_photo(model, atlas, portrait, camera, posed, canvas.places.features)
    coverage = canvas.spread(canvas.hair_coverage)
    at_centre, aside = _BAKE.hair_excess
    allowed = aside + canvas.spread(canvas.places.own) * (at_centre - aside)
    obstruction = np.clip((projection.hair - coverage - allowed) / _BAKE.hair_excess_range, 0, 1)
    seen = Layer(projection.rgb, np.where(inside, projection.weight * (1 - obstruction), 0).astype(np.float32))
    plain = inside & (projection.hair < _BAKE.max_plain_hair) & (coverage < _BAKE.max_plain_coverage)
    side = smooth_ramp(np.abs(model.dense(model.mean)[:, 0]), *_BAKE.side_distance)
    at_contour = contour_light(
        atlas, canvas.membrane, seen, projection.facing, plain, side * (1 - _beard_of(canvas, seen))
    )
    # It is not put back: from anywhere but the camera a rim of shadow or backlight looks like paint.
    seen = Layer(_without_light(atlas, seen.rgb, at_contour), seen.weight)
    light = _light_of(canvas, seen, plain, projection)
    delit = _without_light(atlas, seen.rgb, light.shading)
    inner = Layer(projection.rgb, np.where(inside, 0, projection.weight).astype(np.float32))
    moved = np.linalg.norm(posed - model.dense(head.posed(0)), axis=1)
    fitness = photo_fitness(projection.sharpness, atlas, moved)
    layer = PhotoLayer(Layer(delit, seen.weight), inner, fitness, projection.hair)
    return _ProjectedPhoto(layer, projection.border, projection.in_openings, light)


def _beard_of(canvas: SkinCanvas, seen: Layer) -> Float[np.ndarray, "m"]:
    """Return how far a photo shows a beard at each dense vertex."""
    colours, weight_sum = canvas.gather(seen)
    usual = usual_skin(colours, weight_sum, canvas.places.sure)
    return canvas.beard(seen, unlikeness(colours, usual), weight_sum)


def _light_of(
    canvas: SkinCanvas,
    seen: Layer,
    plain: Bool[np.ndarray, "t t"],
    projection: Projection,
) -> SkinLight:
    """Return a photo's light: fitted on the skin of the face, and continued evenly where none is seen well.

    Toward the photo's contour light falls off. Were that kept, and skin behind lit evenly, a dark band would be left.
    """
    model, atlas, membrane, normals = canvas.model, canvas.atlas, canvas.membrane, projection.normals
    weight = np.where(plain & (seen.weight > _BAKE.min_plain_weight), seen.weight, 0).astype(np.float32)
    colours, weight_sum = atlas.gather(seen.rgb, weight, len(normals))
    usual = usual_skin(colours, weight_sum, canvas.places.sure)
    face = model.masks["face"] * (1 - model.masks["lips"]) * (1 - model.masks["lids"])
    beard = canvas.beard(seen, unlikeness(colours, usual), weight_sum)
    photo = fit_light(colours, normals, weight_sum * face * (1 - beard), sure=canvas.places.sure, skin_rgb=usual)
    shading = photo.shading(normals)
    smooth = np.full(len(normals), _BAKE.light_detail)
    shading = membrane.interpolate(shading, smooth, shading, prior_weight=0.0)
    _, seen_sum = atlas.gather(seen.rgb, seen.weight, len(normals))
    confidence = _BAKE.light_seen * seen_sum / (seen_sum + _BAKE.light_half_weight)
    confidence *= np.maximum(smooth_ramp(projection.facing, *_BAKE.light_facing), canvas.places.core_features)
    log_light = np.log(np.maximum(shading, 1e-3))
    if weight_sum.any():
        level = _BAKE.hidden_level * np.average(log_light, axis=0, weights=weight_sum)
    else:
        level = np.zeros(3)
    prior = np.broadcast_to(level, log_light.shape)
    log_light = membrane.interpolate(log_light, confidence, prior, prior_weight=canvas.screen(_BAKE.light_reach_mm))
    return SkinLight(np.exp(log_light * _outer_skin(model)[:, None]), photo)


def _outer_skin(model: HeadModel) -> Float[np.ndarray, "m"]:
    """Return 1 on skin, 0 elsewhere, with a soft border to sockets and mouth."""
    return model.dense_vertices_of("skin") * (1 - model.masks["cavity"])


def _without_light(
    atlas: Atlas, rgb: Float32[np.ndarray, "t t 3"], shading: Float[np.ndarray, "m 3"]
) -> Float32[np.ndarray, "t t 3"]:
    """Return a texture divided by factors at the dense vertices; it may be brighter than 1."""
    light = atlas.spread(shading)
    np.maximum(light, 1e-3, out=light)
    return np.divide(rgb, light, out=light)
