"""The skin's texture: project the photos, part their light from colours, complete hidden places, light all again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.atlas import Atlas, build_atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, load_head_model
from spinmeround.template.texture.eyes import complete_eyes
from spinmeround.template.texture.fill import Layer, MembraneSolver
from spinmeround.template.texture.hidden_skin import SkinCanvas, complete_skin
from spinmeround.template.texture.lighting import SkinLight, ambient_occlusion, photo_shading
from spinmeround.template.texture.mouth import complete_mouth
from spinmeround.template.texture.occluding_contour import correct_contour_colours
from spinmeround.template.texture.photo_merge import PhotoLayer, merge_photos, photo_fitness
from spinmeround.template.texture.projection import project_photo
from spinmeround.template.texture.skin_tone import SkinPlaces, beardedness, unlikeness, usual_skin
from spinmeround.types import Cameras, Portrait

TEXTURE_PX = 2048
"""Side of the baked texture, texels."""

_SKIN = PARTS.index("skin")


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
            weight from this excess on ...
        hair_excess_range: ... and all of it after this much more.
        seen_prior_weight: weight of "no difference" when the tone of two seen layers is matched; small, since both
            show the same person.
        known_light: cosines between normal and line of sight between which the light becomes known. No photo shows
            what light falls on skin it does not see, which is taken for that on sure skin.
        light_detail: weight of the light on single vertices against that on their neighbours: skin scatters light, and
            fitted normals are not certain, so that two centimetres are averaged.
    """

    side_distance: tuple[float, float] = (0.085, 0.135)
    max_plain_hair: float = 0.2
    max_plain_coverage: float = 0.3
    min_plain_weight: float = 0.3
    hair_excess: float = 0.15
    hair_excess_range: float = 0.35
    seen_prior_weight: float = 1e-3
    known_light: tuple[float, float] = (0.0, 0.4)
    light_detail: float = 0.05


_BAKE = _BakeSettings()


@dataclass(frozen=True)
class SkinTexture:
    """Colours of everything but the hair.

    Attributes:
        albedo: sRGB texture, row 0 at the top. Where the photos show skin it is lit as in the first of them, and so is
            skin that none shows. Eyes and mouth are as the photos show them: with the shadow of lids, and lashes.
        observed: weight in [0, 1] of the photos in each texel, rather than of a mirror image or of invented colours.
        animatable_albedo: the same with whole eyes and teeth, none of them in a shadow, for a head whose eyes turn and
            whose mouth opens. None if ``albedo`` is so already.
        light: the first photo's light. Without it, skin has its colour under an even light. None if there is none.
    """

    albedo: Float32[np.ndarray, "t t 3"]
    observed: Float32[np.ndarray, "t t"]
    animatable_albedo: Float32[np.ndarray, "t t 3"] | None = None
    light: SkinLight | None = None


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
    canvas = _canvas(model, atlas, hair_coverage)
    photos = [_project(canvas, portrait, head, index) for index, portrait in enumerate(portraits)]
    merged = merge_photos(
        [photo.layer for photo in photos],
        atlas,
        canvas.membrane,
        canvas.inside,
        prior_weight=_BAKE.seen_prior_weight,
    )
    skin_seen, inner_seen = merged.skin, merged.inner
    border = np.sum([share * photo.border for share, photo in zip(merged.shares, photos, strict=True)], axis=0)
    visibility = ambient_occlusion(model.dense(head.neutral), model.dense_faces)
    complete = complete_skin(canvas, skin_seen, border, visibility, rng=np.random.default_rng(seed))
    lit = complete.rgb * photos[0].light.on_texels(atlas, complete.weight, 1.0)
    eyes, mouth = complete_eyes(model, atlas, inner_seen), complete_mouth(model, atlas, inner_seen)
    whole, seen_weight = eyes.rgb + mouth.rgb, inner_seen.weight[..., None]
    as_seen = inner_seen.rgb * seen_weight + whole * (1 - seen_weight)
    inside = atlas.part >= 0
    albedo, animatable = (
        atlas.padded(np.clip(np.where(canvas.inside[..., None], lit, inner), 0, 1), inside)
        for inner in (as_seen, whole)
    )
    observed = np.where(inside, np.where(canvas.inside, complete.weight, inner_seen.weight), 0).astype(np.float32)
    return SkinTexture(albedo, observed, animatable, photos[0].light)


@functools.lru_cache(maxsize=1)
def shared_atlas(size_px: int) -> Atlas:
    """Return the atlas of the head model that ships with the package, built once."""
    return build_atlas(load_head_model(), size_px)


def _canvas(model: HeadModel, atlas: Atlas, hair_coverage: Float[np.ndarray, "m"]) -> SkinCanvas:
    membrane = MembraneSolver.on_faces(model.dense_faces[model.dense_part == _SKIN], len(hair_coverage))
    coverage = np.asarray(hair_coverage, np.float64)
    return SkinCanvas(model, atlas, atlas.part == _SKIN, membrane, coverage, SkinPlaces.on(model))


@dataclass(frozen=True)
class _ProjectedPhoto:
    """One photo on the texture.

    Attributes:
        layer: the skin without the photo's light; eyes and mouth as they are.
        border: see ``Projection``.
        light: the photo's.
    """

    layer: PhotoLayer
    border: Float32[np.ndarray, "t t"]
    light: SkinLight


def _project(canvas: SkinCanvas, portrait: Portrait, head: FittedHead, index: int) -> _ProjectedPhoto:
    """Look a photo up, and part its skin's colours from its light."""
    model, atlas, inside = canvas.model, canvas.atlas, canvas.inside
    camera, posed = head.photos[index].camera, model.dense(head.posed(index))
    projection = project_photo(model, atlas, portrait, camera, posed)
    coverage = canvas.spread(canvas.hair_coverage)
    obstruction = np.clip((projection.hair - coverage - _BAKE.hair_excess) / _BAKE.hair_excess_range, 0, 1)
    seen = Layer(projection.rgb, np.where(inside, projection.weight * (1 - obstruction), 0).astype(np.float32))
    plain = inside & (projection.hair < _BAKE.max_plain_hair) & (coverage < _BAKE.max_plain_coverage)
    side = smooth_ramp(np.abs(model.dense(model.mean)[:, 0]), *_BAKE.side_distance)
    seen = correct_contour_colours(atlas, canvas.membrane, seen, projection.facing, plain, side)
    light = _light_of(canvas, seen, plain, projection.normals, camera)
    delit = (seen.rgb / np.maximum(atlas.spread(light.seen), 1e-3)).astype(np.float32)
    inner = Layer(projection.rgb, np.where(inside, 0, projection.weight).astype(np.float32))
    moved = np.linalg.norm(posed - model.dense(head.posed(0)), axis=1)
    fitness = photo_fitness(projection.sharpness, atlas, moved)
    layer = PhotoLayer(Layer(delit, seen.weight), inner, fitness, projection.hair)
    return _ProjectedPhoto(layer, projection.border, light)


def _light_of(
    canvas: SkinCanvas,
    seen: Layer,
    plain: Bool[np.ndarray, "t t"],
    normals: Float[np.ndarray, "m 3"],
    camera: Cameras,
) -> SkinLight:
    """Return a photo's light, fitted on the skin of the face."""
    weight = np.where(plain & (seen.weight > _BAKE.min_plain_weight), seen.weight, 0).astype(np.float32)
    colours, weight_sum = canvas.atlas.gather(seen.rgb, weight, len(normals))
    usual = usual_skin(colours, weight_sum, canvas.places.sure)
    face = canvas.model.masks["face"] * (1 - canvas.model.masks["lips"]) * (1 - canvas.model.masks["lids"])
    unlike = unlikeness(colours, usual)
    beard = beardedness(unlike, weight_sum, canvas.places)
    shading = photo_shading(colours, normals, weight_sum * face * (1 - beard), sure=canvas.places.sure, skin_rgb=usual)
    backward = -camera.camera_from_world[0, 2, :3]
    known = smooth_ramp(normals @ backward, *_BAKE.known_light)[:, None]
    smooth = np.full(len(normals), _BAKE.light_detail)
    shading = canvas.membrane.interpolate(shading, smooth, shading, prior_weight=0.0)
    outside = np.zeros((len(normals), 1))
    outside[np.unique(canvas.model.dense_faces[canvas.model.dense_part == _SKIN])] = 1
    shading = shading ** (outside * (1 - canvas.model.masks["cavity"][:, None]))
    return SkinLight(shading, shading**known)
