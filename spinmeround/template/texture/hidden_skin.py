"""Skin that no photo shows: continued from what is surely this person's skin, and nothing foreign with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from spinmeround.geometry import MILLIMETRE
from spinmeround.images import blurred
from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.head_model import landmark_points
from spinmeround.template.texture.fill import (
    Layer,
    blend_under,
    mix_in,
    synthesise_grain,
    tone_matched,
)
from spinmeround.template.texture.lips import seam_shadow
from spinmeround.template.texture.occluding_contour import border_change
from spinmeround.template.texture.skin_tone import (
    SkinCanvas,
    between,
    fraction_between,
    log_colour,
    unlikeness,
    usual_skin,
    weighted_quantile,
)

_CHEEKS_AND_FOREHEAD = (50, 280, 151, 205, 425)
"""Landmarks on large patches of plain skin."""
_CHIN_AND_JAW = (199, 136, 365)
"""Landmarks on patches of a beard, if there is any."""


@dataclass(frozen=True)
class _HiddenSettings:
    """Constants of hidden skin. Unlikeness is that of ``skin_tone``, weights and fractions are in [0, 1].

    Attributes:
        half_weight: summed texel weight at which the colour of a vertex counts half, texels.
        around_weight: weight of single vertices against their neighbours where a texel is compared with the skin
            around it: a few centimetres are averaged.
        around_prior: weight of the person's usual skin in that comparison.
        foreign: unlikeness to the skin around between which a texel comes to be something else.
        alien: unlikeness between which a texel comes to be something else even near eyes, nose and mouth.
        blob: standard deviation of the blur that a one-sided spot must outlast to be foreign, fraction of the texture's
            side: moles and freckles are smaller.
        twin: unlikeness of the mirrored place between which a spot comes to be on both sides, and this person's.
        well_seen: weights between which a texel is seen so well that what looks like a beard there is one: along the
            contour it may as well be a shadow or the background.
        rim: standard deviation by which what is foreign is widened: pixels at its border have mixed colours; fraction
            of the texture's side.
        rim_gain: factor on the blurred doubt, so that all of what was doubted goes.
        unseen: weight below which a texel is not seen, as far as the transition to what is seen is concerned.
        feather: width of that transition on cheeks, jaw and neck, fraction of the texture's side.
        fade_mm: photos gain their weight over this distance from the border of what they see, millimetres; ...
        edge: strength with which skin that faces the camera takes the tone further in, at the border, ...
        edge_mm: ... which ends between these distances from there, millimetres; ...
        min_patch: ... unseen patches smaller than this fraction of the largest, as in nostrils, have no such border.
        seen_prior_weight: weight of "no difference" when the mirror image takes the tone of what is seen.
        invented_prior_weight: the same for invented colours, whose tone has to match near their border only.
        skin_reach_mm: so far from what is seen the person's usual skin has won all but 1/e, millimetres.
        border_reach_mm: the same for the tone near the border of what is seen, ...
        min_share: ... which is where photos see less than this fraction of a vertex.
        lip_fraction: part of its weight taken away on lips, which continue their own colour.
        side_fraction: part of the way, in logarithms, from sure skin to that of cheeks, jaw and temples, which adjoin
            hidden skin, at which the colour lies that it tends to.
        beard_reach_mm: so far a beard, or a shadow, goes on beyond the border of what is seen until all but 1/e of it
            has faded, millimetres, where this face has one, ...
        shadow_reach_mm: ... and elsewhere.
        departure: unlikeness to continued skin at which what is no beard goes on by half: soft shadows do, hair and
            cloth do not.
        throat: factor on what a throat is unlike the skin of the face by: cloth is near.
        brighter: a throat that is brighter than the skin of the face by so much, in natural logarithms of sRGB, is as
            unlike it as another tint is: under the jaw falls less light, and a collar is there.
        ear_tint: factor on the usual colour at the ears, where blood shows more.
        neck_tint: the same at the neck, which has less blood.
        flush_rank: hidden skin is no redder than this fraction of the face, from the least red on: cheeks flush.
        ear_doubt: part of the say in the tone of skin that ears lose: light shines through their rims, which are all
            that most photos show of them.
        hair_ranks: part of the hair's weight, from dark to bright, of which the mean is taken.
        max_pores: greatest standard deviation of the grain of skin, fraction of its brightness: what are pores on
            bright skin is a rash on dark skin; ...
        max_hairs: ... and of that of a beard.
        min_hair_weight: that needs this summed weight, texels, ...
        hair_to_skin: ... or the hair is so bright relative to skin.
    """

    half_weight: float = 2.0
    around_weight: float = 0.03
    around_prior: float = 1e-3
    foreign: tuple[float, float] = (1.2, 2.2)
    alien: tuple[float, float] = (3.0, 5.0)
    blob: float = 0.005
    twin: tuple[float, float] = (0.5, 1.0)
    well_seen: tuple[float, float] = (0.5, 0.95)
    rim: float = 0.002
    rim_gain: float = 2.0
    unseen: float = 0.2
    feather: float = 0.015
    fade_mm: float = 10
    edge: float = 0.5
    edge_mm: tuple[float, float] = (4, 12)
    min_patch: float = 0.1
    seen_prior_weight: float = 1e-3
    invented_prior_weight: float = 0.02
    skin_reach_mm: float = 30
    border_reach_mm: float = 80
    min_share: float = 0.5
    lip_fraction: float = 0.95
    side_fraction: float = 0.5
    beard_reach_mm: float = 40
    shadow_reach_mm: float = 8
    departure: float = 2.0
    throat: float = 1.4
    brighter: float = 0.2
    ear_tint: tuple[float, float, float] = (1.01, 0.98, 0.98)
    neck_tint: tuple[float, float, float] = (0.985, 1.005, 1.0)
    flush_rank: float = 0.3
    ear_doubt: float = 0.8
    hair_ranks: tuple[float, float] = (0.2, 0.9)
    max_pores: float = 0.015
    max_hairs: float = 0.05
    min_hair_weight: float = 20
    hair_to_skin: float = 0.5


_HIDDEN = _HiddenSettings()
_TINY = 1e-6
"""Keeps divisions by weights finite."""
_FLUSH = np.array([1.0, -0.5, -0.5])
"""Blood makes skin redder: the logarithm of red less those of green and blue."""


@dataclass(frozen=True)
class _Tone:
    """What is known about the skin from what is seen.

    Attributes:
        usual: the person's usual colour on sure skin, sRGB.
        adjoining: the colour that hidden skin tends to, sRGB, see ``_HiddenSettings.side_fraction``.
        ears: that of ears, sRGB.
        likely: per dense vertex, how likely what is seen there is bare skin; lips are.
        beard: per dense vertex, how far what is unlike skin is a beard.
        beard_rgb: its colour, sRGB; that of skin if there is none.
    """

    usual: Float[np.ndarray, "3"]
    adjoining: Float[np.ndarray, "3"]
    ears: Float[np.ndarray, "3"]
    likely: Float[np.ndarray, "m"]
    beard: Float[np.ndarray, "m"]
    beard_rgb: Float[np.ndarray, "3"]


def complete_skin(
    canvas: SkinCanvas,
    seen: Layer,
    border: Float32[np.ndarray, "t t"],
    occlusion: Float[np.ndarray, "m 3"],
    *,
    rng: np.random.Generator,
) -> Layer:
    """Return skin everywhere: what is seen, under it its mirror image, under that the person's usual skin with grain.

    Args:
        seen: skin with the photo's light taken out.
        border: per texel, 1 next to what hides skin in the photo (hair, clothes), 0 far from it.
        occlusion: factor on sRGB colours at each dense vertex by which hollows get less light than the rest. What
            is seen has its own.
        rng: draws the grain.

    Returns:
        Colours without light; weights are those with which the photos show in them.
    """
    seen = _evened_at_border(canvas, _without_foreign(canvas, seen, border), border)
    atlas, membrane, inside = canvas.atlas, canvas.membrane, canvas.inside
    known = blend_under(seen, _mirrored(canvas, seen), atlas, membrane, inside, prior_weight=_HIDDEN.seen_prior_weight)
    colours, weight_sum = canvas.gather(known)
    tone = _tone_of(canvas, known, colours, weight_sum)
    base = _continued_skin(canvas, tone, colours, weight_sum, occlusion)
    texels, bare = _landmark_texels(canvas), 1 - canvas.hair_coverage
    pores = synthesise_grain(known, texels[list(_CHEEKS_AND_FOREHEAD)], max_deviation=_HIDDEN.max_pores, rng=rng)
    hairs = synthesise_grain(known, texels[list(_CHIN_AND_JAW)], max_deviation=_HIDDEN.max_hairs, rng=rng)
    bearded = tone.beard * fraction_between(base, tone.adjoining, tone.beard_rgb)
    grain = pores * canvas.spread(bare * (1 - bearded)) + hairs * canvas.spread(bare * bearded)
    invented = atlas.spread(base)
    invented += grain[..., None]
    skin_weight = (known.weight * canvas.spread(_continues(canvas, tone, colours))).astype(np.float32)
    below = Layer(invented, inside.astype(np.float32))
    moved = tone_matched(
        Layer(known.rgb, skin_weight), below, atlas, membrane, inside, prior_weight=_HIDDEN.invented_prior_weight
    )
    mix_in(known.rgb, known.weight, moved)
    return Layer(moved, seen.weight)


def _evened_at_border(canvas: SkinCanvas, seen: Layer, border: Float32[np.ndarray, "t t"]) -> Layer:
    """Give skin near the border of what is seen the tone of skin that is seen well, and fade it out there.

    Beards and features keep their own.
    """
    model, masks = canvas.model, canvas.model.masks
    colours, weight_sum = canvas.gather(seen)
    tone = _tone_of(canvas, seen, colours, weight_sum)
    _, whole = canvas.atlas.gather(seen.rgb[..., :1], canvas.inside.astype(np.float32), len(colours))
    share = weight_sum / np.maximum(whole, _TINY)
    other = np.maximum.reduce([masks[name] for name in ("lips", "lids", "cavity", "nostrils")])
    unseen = _large_patches(canvas, model.dense_vertices_of("skin") & (other < 0.5) & (share < _HIDDEN.min_share))
    if not unseen.any():
        return seen
    places = np.asarray(model.dense(model.mean), np.float64)
    distance_mm = cKDTree(places[unseen]).query(places)[0] / MILLIMETRE
    beard = tone.beard * fraction_between(colours, tone.adjoining, tone.beard_rgb)
    skin = (1 - beard) * (1 - canvas.haired) * (1 - other) * (1 - canvas.places.core_features)
    change = border_change(
        canvas.membrane,
        log_colour(colours),
        skin * share,
        distance_mm,
        twin=model.dense_mirror(),
        prior=log_colour(tone.adjoining),
        screen=canvas.screen(_HIDDEN.border_reach_mm),
    )
    kept = np.maximum.reduce([canvas.places.core_features, canvas.haired, tone.beard])
    faded = canvas.spread((1 - smooth_ramp(distance_mm, 0.0, _HIDDEN.fade_mm)) * (1 - kept)) * border
    # What faces the camera, and nothing hides, is as it is seen; its last centimetre is so by half.
    at_edge = _HIDDEN.edge * (1 - smooth_ramp(distance_mm, *_HIDDEN.edge_mm))
    strength = np.maximum(border, canvas.spread(at_edge))
    evened = seen.rgb * np.exp(canvas.atlas.spread(change * skin[:, None]) * strength[..., None])
    return Layer(evened, seen.weight * (1 - faded))


def _large_patches(canvas: SkinCanvas, chosen: Bool[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
    """Return the chosen vertices that lie in large connected patches."""
    index = np.flatnonzero(chosen)
    if not len(index):
        return chosen
    _, patch = connected_components(canvas.membrane.laplacian[index][:, index], directed=False)
    size = np.bincount(patch, minlength=1)
    large = np.zeros_like(chosen)
    large[index] = size[patch] > _HIDDEN.min_patch * size.max()
    return large


def _mirrored(canvas: SkinCanvas, seen: Layer) -> Layer:
    """Return what is seen as the other side of the head."""
    weight = canvas.atlas.mirrored(seen.weight)
    rgb = canvas.atlas.mirrored(seen.rgb * seen.weight[..., None])
    rgb /= np.maximum(weight, 1e-4)[..., None]
    return Layer(rgb, np.where(canvas.inside, weight, 0).astype(np.float32))


def _tone_of(
    canvas: SkinCanvas, layer: Layer, colours: Float[np.ndarray, "m 3"], weight_sum: Float[np.ndarray, "m"]
) -> _Tone:
    """Return what a layer, and its colours at the dense vertices, tell about the skin."""
    bare_sum = weight_sum * (1 - canvas.hair_coverage)
    usual = usual_skin(colours, bare_sum, canvas.places.sure)
    unlike = unlikeness(colours, usual)
    beard = canvas.beard(layer, unlike, bare_sum)
    hairs = bare_sum * canvas.places.beard_core * beard * unlike
    beard_rgb = np.average(colours, axis=0, weights=hairs) if hairs.sum() > 0 else usual
    likely = np.maximum((1 - canvas.hair_coverage) * (1 - beard) / (1 + unlike**4), canvas.model.masks["lips"])
    likely = likely * (1 - _HIDDEN.ear_doubt * canvas.ears)
    adjoining, ears = _adjoining_skin(canvas, usual, colours, bare_sum * likely)
    return _Tone(usual, adjoining, ears, likely, beard, beard_rgb)


def _adjoining_skin(
    canvas: SkinCanvas,
    usual: Float[np.ndarray, "3"],
    colours: Float[np.ndarray, "m 3"],
    bare_sum: Float[np.ndarray, "m"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return the colour that hidden skin tends to, between the sides of the face and sure skin; and that of ears.

    Highlights and blood make sure skin brighter and redder than what adjoins hidden skin. Ears are full of blood.

    Args:
        bare_sum: how much bare skin is seen at each vertex, texels.
    """
    masks = canvas.model.masks
    sides = masks["face"] * (1 - masks["lips"]) * (1 - canvas.places.features)
    if (bare_sum * sides).sum() <= 0:
        return usual, usual * _HIDDEN.ear_tint
    sure, side = log_colour(usual), log_colour(usual_skin(colours, bare_sum, sides))
    adjoining = sure + _HIDDEN.side_fraction * (side - sure)
    face = bare_sum * np.maximum(sides, canvas.places.sure)
    least = weighted_quantile(log_colour(colours) @ _FLUSH, face, _HIDDEN.flush_rank)
    pale = adjoining + min(least - adjoining @ _FLUSH, 0.0) * _FLUSH / (_FLUSH @ _FLUSH)
    return np.exp(pale), np.exp(adjoining) * _HIDDEN.ear_tint


def _without_foreign(canvas: SkinCanvas, seen: Layer, border: Float32[np.ndarray, "t t"]) -> Layer:
    """Take the weight from texels that do not belong on this person's skin.

    Foreign is what looks unlike the skin around it where something else is near or usual: at the border of hair
    and clothes (rims of hair, collars, earrings), on neck and ears, where the weight is low; and larger
    spots on one side of the face only (hands, microphones, curls). Beards stay, and so does the centre of the face.
    """
    colours, weight_sum = canvas.gather(seen)
    tone, masks = _tone_of(canvas, seen, colours, weight_sum), canvas.model.masks
    # The throat is compared with the skin of the face: a collar that is taken for skin would excuse itself.
    confidence = _HIDDEN.around_weight * tone.likely * weight_sum / (weight_sum + _HIDDEN.half_weight)
    prior = np.broadcast_to(tone.adjoining, colours.shape)
    smooth = canvas.membrane.interpolate(
        colours, confidence * (1 - masks["neck"]), prior, prior_weight=_HIDDEN.around_prior
    )
    around, used = canvas.atlas.spread(smooth), canvas.inside & (seen.weight > 0)
    unlike = np.zeros(used.shape, np.float32)
    unlike[used] = unlikeness(seen.rgb[used], around[used])
    throat = used & (canvas.spread(masks["neck"]) > 0.5)
    unlike[throat] = np.maximum(_HIDDEN.throat * unlike[throat], _glare(seen.rgb[throat], around[throat]))
    size = canvas.atlas.size
    large = blurred(unlike, _HIDDEN.blob * size)
    twin_weight, twin = canvas.atlas.mirrored(seen.weight), canvas.atlas.mirrored(large)
    one_sided = smooth_ramp(large, *_HIDDEN.foreign) * (1 - smooth_ramp(twin, *_HIDDEN.twin)) * twin_weight
    aside = 1 - canvas.spread(canvas.places.own)
    # Nothing of this person is so unlike skin but eyes, brows, lips and hair.
    alien = smooth_ramp(unlike, *_HIDDEN.alien) * (1 - canvas.spread(canvas.places.core_features))
    aside = np.maximum(aside, alien)
    on_face = seen.weight * (1 - canvas.spread(np.maximum(masks["neck"], canvas.ears)))
    suspect = np.maximum(1 - on_face, border * aside)
    doubt = np.maximum(smooth_ramp(unlike, *_HIDDEN.foreign) * suspect, one_sided * aside)
    beard = canvas.spread(tone.beard) * smooth_ramp(seen.weight, *_HIDDEN.well_seen)
    hairs = used & (beard > 0)
    bearded_skin = between(seen.rgb[hairs], tone.usual, tone.beard_rgb)
    unlike_beard = unlikeness(seen.rgb[hairs], bearded_skin)
    unlike_beard = np.maximum(unlike_beard, throat[hairs] * _glare(seen.rgb[hairs], bearded_skin))
    beard[hairs] *= 1 - smooth_ramp(unlike_beard, *_HIDDEN.foreign)
    doubt *= (1 - beard) * (1 - canvas.spread(canvas.hair_coverage)) * used
    doubt = np.clip(_HIDDEN.rim_gain * blurred(doubt.astype(np.float32), _HIDDEN.rim * size), 0, 1)
    weight = seen.weight * (1 - doubt)
    unseen = canvas.inside & (weight < _HIDDEN.unseen)
    from_unseen = cv2.distanceTransform((~unseen).astype(np.uint8), cv2.DIST_L2, 5) / (_HIDDEN.feather * size)
    kept = canvas.spread(np.maximum(canvas.places.own, tone.beard))
    feathered = np.minimum(weight, np.maximum(smooth_ramp(from_unseen, 0.0, 1.0), kept))
    return Layer(seen.rgb, feathered.astype(np.float32))


def _glare(rgb: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return how unlike a throat colours are for being brighter than what is expected there."""
    return (log_colour(rgb) - log_colour(expected)).mean(-1) / _HIDDEN.brighter


def _continued_skin(
    canvas: SkinCanvas,
    tone: _Tone,
    colours: Float[np.ndarray, "m 3"],
    weight_sum: Float[np.ndarray, "m"],
    occlusion: Float[np.ndarray, "m 3"],
) -> Float[np.ndarray, "m 3"]:
    """Return a colour for every vertex: bare skin continued, far from it the usual one, and hair under hair.

    Skin is continued in logarithms by a screened membrane, whose reach is a length on the surface. What the seen skin
    differs by from it, as beards and shadows do, fades out over a shorter one.
    """
    masks = canvas.model.masks
    prior = log_colour(tone.adjoining)
    prior = prior + canvas.ears[:, None] * (log_colour(tone.ears) - prior)
    prior += masks["neck"][:, None] * np.log(_HIDDEN.neck_tint)
    logs, seen = log_colour(colours), weight_sum / (weight_sum + _HIDDEN.half_weight)
    screen = canvas.screen(_HIDDEN.skin_reach_mm) * (1 - _HIDDEN.lip_fraction * masks["lips"])
    skin = canvas.membrane.interpolate(logs, tone.likely * seen, prior, prior_weight=screen)
    reach_mm = _HIDDEN.shadow_reach_mm + tone.beard * (_HIDDEN.beard_reach_mm - _HIDDEN.shadow_reach_mm)
    departure = canvas.membrane.interpolate(
        logs - skin, _continues(canvas, tone, colours) * seen, np.zeros_like(logs), prior_weight=canvas.screen(reach_mm)
    )
    smooth = np.exp(skin + departure) * occlusion * seam_shadow(canvas.model)[:, None]
    under_hair = canvas.haired[:, None]
    return smooth * (1 - under_hair) + _hair_colour(canvas, tone, colours, weight_sum) * under_hair


def _continues(canvas: SkinCanvas, tone: _Tone, colours: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m"]:
    """Return, per dense vertex, how far what is seen there goes on beyond its border: skin, shadows and beards do."""
    soft = 1 / (1 + (unlikeness(colours, tone.usual) / _HIDDEN.departure) ** 4)
    bare = (1 - canvas.hair_coverage) * (1 - _HIDDEN.ear_doubt * canvas.ears)
    return np.maximum(bare * np.maximum(soft, tone.beard), canvas.model.masks["lips"])


def _hair_colour(
    canvas: SkinCanvas, tone: _Tone, colours: Float[np.ndarray, "m 3"], weight_sum: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "3"]:
    """Return the mean colour of hair, without its shadows and highlights."""
    weight = weight_sum * canvas.hair_coverage**2
    used = np.flatnonzero(weight > 0)
    if weight[used].sum() < _HIDDEN.min_hair_weight:
        return _HIDDEN.hair_to_skin * tone.usual
    order = used[np.argsort(colours[used].sum(1), kind="stable")]
    rank = np.cumsum(weight[order]) / weight[order].sum()
    darkest, brightest = _HIDDEN.hair_ranks
    kept = order[(rank > darkest) & (rank < brightest)]
    return np.average(colours[kept], axis=0, weights=weight[kept])


def _landmark_texels(canvas: SkinCanvas) -> np.ndarray:
    """Return (column, row) of the texel nearest to each landmark."""
    model, size = canvas.model, canvas.atlas.size
    landmarks = landmark_points(model, model.mean)
    dense = model.dense(model.mean)
    any_uv = np.zeros(len(dense), int)
    any_uv[model.dense_faces.ravel()] = model.uv_faces.ravel()
    nearest = cKDTree(dense).query(landmarks)[1]
    uv = model.uv[any_uv[nearest]]
    return np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], axis=1).astype(int)
