"""The skin's texture: photos projected, light evened out, hidden places completed from the person's own colours."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.atlas import Atlas, build_atlas
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points, load_head_model
from spinmeround.template.texture.eyes import complete_eyes
from spinmeround.template.texture.fill import Layer, Spreader, skin_detail, underlay
from spinmeround.template.texture.lighting import ambient_occlusion, light_factor
from spinmeround.template.texture.mouth import complete_mouth
from spinmeround.template.texture.occluding_contour import even_rim
from spinmeround.template.texture.projection import Projection, project_photo
from spinmeround.types import Portrait

SIZE = 2048

_SKIN = PARTS.index("skin")
_LOOSELY = 0.03
"""Hold of the colours of single vertices on the colour around them: a few centimetres are averaged."""
_SIDE = (0.085, 0.135)
"""Between these distances from the middle plane the front of a face becomes the side of a head, head units."""
_CHEEKS_AND_FOREHEAD = (50, 280, 151, 205, 425)
"""Landmarks on large patches of plain skin."""


@dataclass(frozen=True)
class SkinTexture:
    """Colours of everything but the hair.

    Attributes:
        albedo: sRGB texture, row 0 at the top; light from the side is mostly taken out, soft shade stays. Eyes and
            mouth are as the photos show them: with the shadow of lids, and lashes.
        observed: share of each texel that came from a photo rather than from a mirror image or invention.
        moving: the same with whole eyes and teeth, none of them in a shadow, for a head whose eyes turn and whose mouth
            opens; none where ``albedo`` is so already.
    """

    albedo: Float32[np.ndarray, "t t 3"]
    observed: Float32[np.ndarray, "t t"]
    moving: Float32[np.ndarray, "t t 3"] | None = None


def bake_texture(
    model: HeadModel,
    head: FittedHead,
    portraits: Sequence[Portrait],
    coverage: Float[np.ndarray, "m"],
    *,
    seed: int = 0,
) -> SkinTexture:
    """Paints the head's texture from its photos.

    Args:
        coverage: share of hair over each dense vertex; there a photo's hair is wanted on the skin, elsewhere it is in
            the way.
        seed: of the fine grain given to skin that no photo shows.
    """
    atlas = shared_atlas(SIZE) if model is load_head_model() else build_atlas(model, SIZE)
    skin = atlas.part == _SKIN
    neutral = model.dense(head.neutral)
    spreader = Spreader.over(model.dense_faces[model.dense_part == _SKIN], len(neutral))
    hairy = atlas.spread(np.asarray(coverage, np.float64)[:, None])[..., 0]
    side = np.clip((np.abs(model.dense(model.mean)[:, 0]) - _SIDE[0]) / (_SIDE[1] - _SIDE[0]), 0, 1)
    side = side * side * (3 - 2 * side)
    layers = []
    for index, portrait in enumerate(portraits):
        projection = project_photo(model, atlas, portrait, head.photos[index].camera, model.dense(head.posed(index)))
        lit, inner = _photo_layers(projection, atlas, skin, hairy)
        plain = skin & (projection.hair < 0.2) & (hairy < 0.3)
        layers.append((even_rim(atlas, spreader, lit, projection.facing, plain, side), inner))
    skin_seen, seen = layers[0]
    for more_skin, more in layers[1:]:
        skin_seen = underlay(skin_seen, more_skin, atlas, spreader, skin, pull=1e-3)
        seen = _merged(seen, more)
    occlusion = ambient_occlusion(neutral, model.dense_faces)
    complete = _completed(model, atlas, spreader, skin_seen, skin, coverage, occlusion, np.random.default_rng(seed))
    eyes, mouth = complete_eyes(model, atlas, seen), complete_mouth(model, atlas, seen)
    whole, share = eyes.rgb + mouth.rgb, seen.weight[..., None]
    as_seen = seen.rgb * share + whole * (1 - share)
    inside = atlas.part >= 0
    albedo, moving = (
        atlas.padded(np.clip(np.where(skin[..., None], complete, inner), 0, 1), inside) for inner in (as_seen, whole)
    )
    observed = np.where(inside, np.where(skin, skin_seen.weight, seen.weight), 0).astype(np.float32)
    return SkinTexture(albedo, observed, moving)


@functools.lru_cache(maxsize=1)
def shared_atlas(size: int) -> Atlas:
    """The atlas of the head model that ships with the package, built once."""
    return build_atlas(load_head_model(), size)


def _photo_layers(
    projection: Projection, atlas: Atlas, skin: Bool[np.ndarray, "t t"], hairy: Float32[np.ndarray, "t t"]
) -> tuple[Layer, Layer]:
    """One photo as a layer of skin with its light evened out, and as it is for eyes and mouth."""
    in_the_way = np.clip((projection.hair - hairy - 0.15) / 0.35, 0, 1)
    weight = np.where(skin, projection.weight * (1 - in_the_way), 0).astype(np.float32)
    plain = (weight > 0.3) & (projection.hair < 0.2) & (hairy < 0.3)
    colours, mass = atlas.gather(projection.rgb, np.where(plain, weight, 0).astype(np.float32), len(projection.normals))
    factor = light_factor(colours, projection.normals, mass)
    lit = (projection.rgb * atlas.spread(factor)).astype(np.float32)
    return Layer(lit, weight), Layer(projection.rgb, np.where(skin, 0, projection.weight).astype(np.float32))


def _merged(first: Layer, second: Layer) -> Layer:
    """Two photos of eyes and mouth: the better seen one wins, softly."""
    a, b = first.weight**4, second.weight**4
    share = (a / np.maximum(a + b, 1e-9))[..., None]
    rgb = first.rgb * share + second.rgb * (1 - share)
    return Layer(rgb.astype(np.float32), np.maximum(first.weight, second.weight))


def _completed(
    model: HeadModel,
    atlas: Atlas,
    spreader: Spreader,
    seen: Layer,
    skin: Bool[np.ndarray, "t t"],
    coverage: Float[np.ndarray, "m"],
    occlusion: Float[np.ndarray, "m"],
    generator: np.random.Generator,
) -> Float32[np.ndarray, "t t 3"]:
    """Skin everywhere: the photos, under them their mirror image, under that smooth colours with the grain of skin."""
    seen = _without_strays(model, atlas, spreader, seen, skin, coverage)
    weight = atlas.mirrored(seen.weight)
    rgb = atlas.mirrored(seen.rgb * seen.weight[..., None]) / np.maximum(weight, 1e-4)[..., None]
    mirrored = Layer(rgb.astype(np.float32), np.where(skin, weight, 0).astype(np.float32))
    with_mirror = underlay(seen, mirrored, atlas, spreader, skin, pull=1e-3)
    base = _smooth_colours(atlas, spreader, with_mirror, skin, coverage, occlusion)
    texels = _landmark_texels(model, atlas.size)
    grain = skin_detail(with_mirror, texels[list(_CHEEKS_AND_FOREHEAD)], generator=generator)
    bare = 1 - atlas.spread(np.asarray(coverage, np.float64)[:, None])[..., 0]
    invented = Layer((atlas.spread(base) + (grain * bare)[..., None]).astype(np.float32), skin.astype(np.float32))
    return underlay(with_mirror, invented, atlas, spreader, skin, pull=0.02).rgb


def _smooth_colours(
    atlas: Atlas,
    spreader: Spreader,
    seen: Layer,
    skin: Bool[np.ndarray, "t t"],
    coverage: Float[np.ndarray, "m"],
    occlusion: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3"]:
    """A colour for every vertex: what is seen, spread; far from it the mean skin or hair; hollows darker."""
    values, mass = atlas.gather(seen.rgb, np.where(skin, seen.weight**3, 0).astype(np.float32), len(coverage))
    prior = _typical_colours(values, mass, coverage)
    alike = 1 / (1 + (np.linalg.norm(values - prior, axis=1) / 0.15) ** 4)
    smooth = spreader.spread(values, alike * mass / (mass + 2.0), prior, pull=0.003 + 0.05 * coverage)
    hollow = np.clip(occlusion / max(float(np.percentile(occlusion, 70)), 1e-6), 0, 1)
    return smooth * (0.6 + 0.4 * hollow)[:, None]


def _typical_colours(
    values: Float[np.ndarray, "m 3"], mass: Float[np.ndarray, "m"], coverage: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3"]:
    """The person's mean colour of skin or hair, by what covers each vertex."""
    mean_skin = _robust_mean(values, mass * (1 - coverage), np.array([0.72, 0.55, 0.47]))
    mean_hair = _robust_mean(values, mass * coverage**2, 0.5 * mean_skin)
    return mean_skin * (1 - coverage[:, None]) + mean_hair * coverage[:, None]


def _without_strays(
    model: HeadModel,
    atlas: Atlas,
    spreader: Spreader,
    seen: Layer,
    skin: Bool[np.ndarray, "t t"],
    coverage: Float[np.ndarray, "m"],
) -> Layer:
    """Takes trust from half-trusted texels that look nothing like the skin around: collars, strands, rims of light.

    What the face shows well it keeps, highlights too: what makes it strange in colour also makes it this person's.
    """
    values, mass = atlas.gather(seen.rgb, np.where(skin, seen.weight**4, 0).astype(np.float32), len(coverage))
    prior = _typical_colours(values, mass, coverage)
    alike = 1 / (1 + (np.linalg.norm(values - prior, axis=1) / 0.25) ** 4)
    around = atlas.spread(spreader.spread(values, _LOOSELY * alike * mass / (mass + 20.0), prior, pull=1e-4))
    apart = seen.rgb - around
    strange = np.clip((np.abs(apart).max(-1) - 0.15) / 0.12, 0, 1)
    # On the neck a strange colour is a collar, at an ear it is hair or light from behind, however well it is seen.
    outside = np.maximum.reduce([model.masks[name] for name in ("neck", "ear_left", "ear_right")])
    face = 1 - atlas.spread(outside.astype(np.float64)[:, None])[..., 0]
    return Layer(seen.rgb, (seen.weight * (1 - strange * (1 - seen.weight * face))).astype(np.float32))


def _robust_mean(
    values: Float[np.ndarray, "m 3"], weight: Float[np.ndarray, "m"], otherwise: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """Weighted mean without the fifth of the weight that is darkest and the tenth that is brightest."""
    used = np.flatnonzero(weight > 0)
    if weight[used].sum() < 20:
        return otherwise
    order = used[np.argsort(values[used].sum(1), kind="stable")]
    share = np.cumsum(weight[order]) / weight[order].sum()
    kept = order[(share > 0.2) & (share < 0.9)]
    return np.average(values[kept], axis=0, weights=weight[kept])


def _landmark_texels(model: HeadModel, size: int) -> np.ndarray:
    """(column, row) of the texel nearest to each landmark."""
    landmarks = landmark_points(model, model.mean)
    dense = model.dense(model.mean)
    any_uv = np.zeros(len(dense), int)
    any_uv[model.dense_faces.ravel()] = model.uv_faces.ravel()
    nearest = cKDTree(dense).query(landmarks)[1]
    uv = model.uv[any_uv[nearest]]
    return np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], axis=1).astype(int)
