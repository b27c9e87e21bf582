"""Semantic segmentation of a portrait into hair, skin and clothes.

The model is learnt from this one photo. Each class has a histogram of Lab colour and one of local contrast. They start
from seeds that are nearly certain (cheeks; above the hairline; the chest) and are learnt again from their own posterior
a few times, as in expectation maximisation. A spatial prior in the head's frame keeps brows, beards and collars from
becoming hair. A graph cut (Rother et al., "GrabCut", SIGGRAPH 2004) then moves the border of the hair to an edge of the
picture.

Heights are those of ``HeadMap.height``: 0 at the chin, 1 at the hairline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.matting import INSIDE, WORK_PX, grab_cut, soften
from spinmeround.portrait.tissue_settings import FEATURES, LEARNING, PRIOR, REGIONS, SEEDS
from spinmeround.types import HeadCrop, Segmentation

_TINY_SUM = 1e-9
"""Least divisor of a normalisation, against an empty class."""
_MAX_LOGIT = 40.0
"""Beyond it a sigmoid is 0 or 1 in float64 to within 1e-17, and the exponential could overflow."""
_THROAT_HALF_WIDTH_CM = 4.0
"""Half the width of the chin and of the throat below it: no hair of the head grows or hangs there."""


class HistogramHair:
    """``HairModel``: colour and local contrast learnt from the photo itself."""

    def segment(self, crop: HeadCrop, alpha: Float[np.ndarray, "s s"]) -> Segmentation:
        """Segment the person into hair and clothes; a beard and glasses count as skin."""
        head = HeadMap.of(crop.face, picture_px=len(crop.rgb), side_px=WORK_PX)
        return parse(crop.rgb, crop.observed, alpha, head)


class _ByClass(NamedTuple):
    """One value by pixel for each class."""

    hair: Float[np.ndarray, "w w"]
    skin: Float[np.ndarray, "w w"]
    clothes: Float[np.ndarray, "w w"]


def parse(
    rgb: Float[np.ndarray, "s s 3"], observed: Bool[np.ndarray, "s s"], alpha: Float[np.ndarray, "s s"], head: HeadMap
) -> Segmentation:
    """Segment the person into hair and clothes; what is neither is skin (a beard and glasses count as skin).

    Args:
        rgb: the crop, white outside ``observed``, which is a rectangle.
        alpha: coverage of the person.
        head: geometry at ``WORK_PX``.
    """
    size = (WORK_PX, WORK_PX)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    person = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) > INSIDE
    posterior = _posteriors(_PixelFeatures.of(small, person, head), person, head)
    hair = _keep_rooted(_refine_border(small, person, posterior.hair, head), head)
    clothes = person & ~hair & ~_face_skin(posterior, person & ~hair, small, head)
    soft_hair = np.minimum(soften(rgb, observed, hair.astype(np.float32), REGIONS.hair_radius_cm), alpha)
    soft_clothes = np.minimum(
        soften(rgb, observed, clothes.astype(np.float32), REGIONS.clothes_radius_cm), alpha - soft_hair
    )
    return Segmentation(soft_hair, np.maximum(soft_clothes, 0))


@dataclass(frozen=True)
class _PixelFeatures:
    """Colour and local contrast of each pixel as histogram bins."""

    colour_bin: Integer[np.ndarray, "w w"]
    contrast_bin: Integer[np.ndarray, "w w"]
    person: Bool[np.ndarray, "w w"]

    @classmethod
    def of(cls, rgb: Float[np.ndarray, "w w 3"], person: Bool[np.ndarray, "w w"], head: HeadMap) -> _PixelFeatures:
        """Compute the bins of a picture."""
        f, n = FEATURES, FEATURES.colour_bins
        smooth = cv2.bilateralFilter(
            rgb.astype(np.float32), f.bilateral_diameter_px, f.bilateral_sigma_colour, f.bilateral_sigma_px
        )
        lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
        unit = (lab - np.array(f.lab_min)) / np.array(f.lab_range)
        bins = np.clip(unit * n, 0, n - 1).astype(int)
        colour = (bins[..., 0] * n + bins[..., 1]) * n + bins[..., 2]
        lightness = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2LAB)[..., 0] * f.lightness_levels
        contrast = _local_contrast(lightness, person, f.contrast_sigma_cm * head.frame.scale_px)
        octave = np.log2(contrast + f.noise_levels)
        contrast_bin = np.clip(octave * f.bins_per_octave + f.first_bin, 0, f.contrast_bins - 1).astype(int)
        return cls(colour, contrast_bin, person)

    def likelihood(self, weight: Float[np.ndarray, "w w"]) -> Float[np.ndarray, "w w"]:
        """Return the likelihood of each pixel under the class whose members ``weight`` gives."""
        f = FEATURES
        weight = np.where(self.person, weight, 0).ravel()
        shape = (f.colour_bins,) * 3
        colour = np.bincount(self.colour_bin.ravel(), weight, f.colour_bins**3).reshape(shape)
        colour = gaussian_filter(colour, f.colour_sigma_bins).ravel()
        colour = colour / max(colour.sum(), _TINY_SUM) + f.colour_floor
        counts = np.bincount(self.contrast_bin.ravel(), weight, f.contrast_bins)
        contrast = gaussian_filter1d(counts, f.contrast_sigma_bins)
        contrast = contrast / max(contrast.sum(), _TINY_SUM) + f.contrast_floor
        # Half the weight for contrast: neighbouring pixels share it, so it is no independent evidence.
        return colour[self.colour_bin] * np.sqrt(contrast[self.contrast_bin])

    def typicality(self, weight: Float[np.ndarray, "w w"]) -> Float[np.ndarray, "w w"]:
        """Return the likelihood relative to that of the class's own pixels: 1 if typical, 0 if like none of them."""
        likelihood, members = self.likelihood(weight), weight > INSIDE
        usual = np.quantile(likelihood[members], FEATURES.typical_quantile) if members.any() else np.inf
        return np.clip(likelihood / usual, 0, 1)


def _local_contrast(
    lightness: Float[np.ndarray, "w w"], person: Bool[np.ndarray, "w w"], sigma_px: float
) -> Float[np.ndarray, "w w"]:
    """Return the standard deviation of fine detail, over the person only so that the silhouette does not count."""
    sigma = max(sigma_px, 1.0)
    inside = person.astype(np.float32)

    def mean(values: Float[np.ndarray, "w w"], spread: float) -> Float[np.ndarray, "w w"]:
        weight = cv2.GaussianBlur(inside, (0, 0), spread)
        total = cv2.GaussianBlur((values * inside).astype(np.float32), (0, 0), spread)
        return total / np.maximum(weight, FEATURES.least_weight)

    detail = lightness - mean(lightness, sigma)
    return np.sqrt(np.maximum(mean(detail * detail, FEATURES.contrast_window * sigma), 0))


def _sigmoid(value: Float[np.ndarray, "w w"], width: float) -> Float[np.ndarray, "w w"]:
    """Logistic step from 0 to 1 around 0."""
    return 1 / (1 + np.exp(-np.clip(value / width, -_MAX_LOGIT, _MAX_LOGIT)))


def _spatial_prior(head: HeadMap, bald: Float[np.ndarray, "w w"]) -> _ByClass:
    """Return the prior probabilities of the classes at each place.

    Args:
        bald: probability that the head is bald there.
    """
    p, height = PRIOR, head.height
    on_skull = _sigmoid(p.bald_skull - head.skull, p.bald_skull_width)
    inside = _sigmoid(head.depth_in_face_cm, p.oval_width_cm)
    hair = inside * _hair_prior_in_face(head) + (1 - inside) * _hair_prior_around_face(head, on_skull)
    hair = hair * (1 - p.bald_loss * bald)
    clothes = np.minimum(_clothes_prior(head), p.most_clothes * (1 - hair))
    above_face = p.skin_above_face * on_skull + p.least_skin_above_face
    skin = np.clip(1 - hair - clothes, p.least_skin, 1) * np.where(height > p.top_height, above_face, 1)
    return _ByClass(hair, skin, clothes)


def _hair_prior_in_face(head: HeadMap) -> Float[np.ndarray, "w w"]:
    p, height = PRIOR, head.height
    inner_cm = np.maximum(head.depth_in_face_cm, 0)
    forehead = _sigmoid(height - p.forehead_height, p.height_width)
    on_forehead = forehead * (p.hair_on_forehead + p.fringe * np.exp(-inner_cm))
    on_cheek = (1 - forehead) * p.hair_on_cheek * np.exp(-inner_cm / p.cheek_decay_cm)
    beard = (height < p.beard_height) & (np.abs(head.aside_cm) < _THROAT_HALF_WIDTH_CM)
    return np.where(beard | head.features, p.impossible, on_forehead + on_cheek + p.hair_in_face)


def _hair_prior_around_face(head: HeadMap, on_skull: Float[np.ndarray, "w w"]) -> Float[np.ndarray, "w w"]:
    """Return the prior of hair above, beside and below the face, blended by height.

    Args:
        on_skull: 1 inside the silhouette of a bald head.
    """
    p, height, aside_cm = PRIOR, head.height, np.abs(head.aside_cm)
    on_scalp = p.hair_on_scalp + p.crown_gain * _sigmoid(height - p.crown_height, p.height_width)
    above = on_scalp * on_skull + p.hair_above_skull * (1 - on_skull)
    temples = p.hair_at_temples + p.temple_gain * _sigmoid(height - p.temple_height, p.height_width)
    beside = np.clip(temples - p.ear_loss * head.ear, p.least_beside, 1)
    decay = np.exp(-np.maximum(-height - p.falling_from_height, 0) / p.falling_decay)
    falling = p.falling_hair * _sigmoid(aside_cm - p.falling_aside_cm, p.falling_width_cm) * decay + p.least_falling
    low = _sigmoid(p.jaw_height - height, p.jaw_width)
    high = _sigmoid(height - p.top_height, p.height_width)
    around = high * above + (1 - high) * ((1 - low) * beside + low * falling)
    # No hair of the head hangs in front of the throat.
    return np.where((aside_cm < _THROAT_HALF_WIDTH_CM) & (height < 0), p.impossible, around)


def _clothes_prior(head: HeadMap) -> Float[np.ndarray, "w w"]:
    p, height = PRIOR, head.height
    beside_neck = _sigmoid(np.abs(head.aside_cm) - p.collar_aside_cm, p.collar_width_cm)
    collar = p.collar * beside_neck * _sigmoid(p.collar_height - height, p.height_width)
    chest = p.chest * _sigmoid(p.chest_height - height, p.chest_width)
    chest = chest + p.throat_clothes * (height < p.throat_height) + p.least_clothes
    return np.where(head.inside_face, p.clothes_on_face, np.maximum(chest, collar))


def _posteriors(features: _PixelFeatures, person: Bool[np.ndarray, "w w"], head: HeadMap) -> _ByClass:
    """Return the posterior probabilities of the classes, which add up to 1, after some rounds of learning."""
    s = LEARNING
    core = cv2.erode(person.astype(np.uint8), np.ones((SEEDS.erosion_px,) * 2, np.uint8)) > 0
    skin_seed = head.certain_skin.astype(np.float64)
    hair_seed, bald = _hair_seed(features, core, skin_seed, head)
    clothes_seed = (core & (head.height < SEEDS.chest_height)).astype(np.float64)
    prior = _spatial_prior(head, bald)
    hair, skin = features.likelihood(hair_seed), features.likelihood(skin_seed)
    # Clothes may not be in the picture at all: the chest teaches their colour only where it is neither hair nor skin.
    usual = float(np.median(hair[core]) if core.any() else s.usual_likelihood)
    flat = np.full(hair.shape, s.flat_clothes * usual)
    clothes_seed = clothes_seed * flat / (flat + hair + skin)
    likelihoods = (hair, skin, np.maximum(flat, features.likelihood(clothes_seed)))
    sigma_px = max(s.smoothing_cm * head.frame.scale_px, s.least_smoothing_px)
    posterior = prior
    for _ in range(s.rounds):
        joint = [likelihood * place for likelihood, place in zip(likelihoods, prior, strict=True)]
        evidence = joint[0] + joint[1] + joint[2]
        posterior = _ByClass(*(cv2.GaussianBlur(one / evidence, (0, 0), sigma_px) for one in joint))
        hair, skin, clothes = posterior
        # The mouth teaches no skin: teeth are as white as a collar.
        skin_weight = np.where(head.features, 0, skin**2 * (1 + s.skin_seed_weight * skin_seed))
        likelihoods = (
            features.likelihood(hair**2 + s.hair_seed_weight * hair_seed * hair),
            features.likelihood(skin_weight),
            np.maximum(flat, features.likelihood(clothes**2 * (head.height < s.clothes_height))),
        )
    return posterior


def _hair_seed(
    features: _PixelFeatures, core: Bool[np.ndarray, "w w"], skin_seed: Float[np.ndarray, "w w"], head: HeadMap
) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """Return the weights of pixels that are nearly certainly hair, and the probability that the head is bald there.

    What looks like the skin of the cheeks teaches nothing about hair; if little else is left, the head is bald there.
    The crown is decided first, then the sides.
    """
    s = SEEDS
    skin_like = features.typicality(skin_seed)
    lowest, highest = s.side_heights
    above = np.where(core & ~head.inside_face, np.clip((head.height - s.crown_height) / s.crown_ramp, 0, 1), 0.0)
    beside = (head.height > lowest) & (head.height < highest) & (head.ear < s.most_ear)
    beside = beside & (head.depth_in_face_cm < -s.side_gap_cm) & core
    bald = np.zeros(core.shape)
    seeds = np.zeros(core.shape)
    least_hair = s.least_hair
    for seed, from_split in (
        (above, head.height - s.split_height),
        (beside.astype(np.float64), s.split_height - head.height),
    ):
        unlike_skin = seed * (1 - skin_like) ** 2
        fraction = unlike_skin.sum() / max(seed.sum(), _TINY_SUM)
        bald_here = 1 / (1 + np.exp((fraction - least_hair) / s.hair_width)) if seed.sum() > 0 else 0.0
        seeds = np.maximum(seeds, unlike_skin * (1 - bald_here))
        bald = np.maximum(bald, bald_here * _sigmoid(from_split, PRIOR.height_width))
        least_hair += s.bald_crown_gain * bald_here
    return seeds, bald


def _refine_border(
    rgb: Float[np.ndarray, "w w 3"],
    person: Bool[np.ndarray, "w w"],
    hair: Float[np.ndarray, "w w"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """Return the hair mask after a graph cut that may move its border within a band, to an edge of the picture."""
    throat = (np.abs(head.aside_cm) < _THROAT_HALF_WIDTH_CM) & (head.height < 0)
    never = head.features | throat
    guess = ((hair > INSIDE) & person & ~never).astype(np.uint8)
    disc = _disc(max(1, round(REGIONS.band_cm * head.frame.scale_px)))
    certain_hair, maybe_hair = cv2.erode(guess, disc) > 0, cv2.dilate(guess, disc) > 0
    trimap = np.where(guess > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[certain_hair] = cv2.GC_FGD
    trimap[~maybe_hair | ~person | never] = cv2.GC_BGD
    # What is far from the border would only teach the graph cut irrelevant colours.
    near = cv2.dilate(guess, disc, iterations=REGIONS.near_band) > 0
    plain = np.where((person & near)[..., None], rgb, np.median(rgb[head.certain_skin], axis=0))
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    cut = np.zeros(person.shape, bool)
    if len(rows):
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        cut[window] = grab_cut(plain[window].astype(np.float32), trimap[window])
    return cut & person


def _keep_rooted(hair: Bool[np.ndarray, "w w"], head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Keep the regions of hair that are connected to the scalp once thin bridges are cut, and what lies near them.

    A region without roots is kept if it begins within an ear's height of such hair: a braid, not a white collar. Beside
    the jaw a strip narrower than a finger is a lit or shaded cheek.
    """
    s, cm2 = REGIONS, head.frame.scale_px**2
    thin, strip = (max(1, round(cm * head.frame.scale_px)) for cm in (s.bridge_cm, s.strip_cm))
    wide = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, _disc(strip))
    hair = hair & ((head.height > s.jaw_height) | (cv2.dilate(wide, _disc(thin)) > 0))
    solid = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, _disc(thin))
    count, labels = cv2.connectedComponents(solid)
    scalp = (head.height > s.scalp_height) & (head.depth_in_face_cm < s.scalp_depth_cm)
    root_areas = np.bincount(labels[scalp & (solid > 0)], minlength=count)
    root_areas[0] = 0
    kept = np.isin(labels, np.flatnonzero(root_areas > s.root_cm2 * cm2)).astype(np.uint8)
    if not kept.any():
        return kept > 0
    gap_cm = cv2.distanceTransform(1 - kept, cv2.DIST_L2, cv2.DIST_MASK_5) / head.frame.scale_px
    for label in range(1, count):
        region = labels == label
        reaches_up = head.height[region].max() > s.braid_height
        is_braid = root_areas[label] == 0 and reaches_up and gap_cm[region].min() < s.braid_gap_cm
        if is_braid and region.sum() > s.part_cm2 * cm2:
            kept |= region.astype(np.uint8)
    return (hair & (cv2.dilate(kept, _disc(2 * thin)) > 0)) | (kept > 0)


def _disc(radius_px: int) -> UInt8[np.ndarray, "k k"]:
    """Structuring element for morphology."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1)).astype(np.uint8)


def _face_skin(
    posterior: _ByClass,
    bare: Bool[np.ndarray, "w w"],
    rgb: Float[np.ndarray, "w w 3"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """Return what looks like skin and is connected to the face; a hand is not.

    Args:
        bare: the person without hair.
    """
    s, (hair, skin, clothes) = REGIONS, posterior
    brightness = rgb.mean(-1)
    # Below the chin, what looked like hair but had no root is a white collar or a dark shirt; in front of the neck it
    # is the chin's shadow, beside the face an ear.
    dark = brightness < np.median(brightness[head.certain_skin])
    shadow = (np.abs(head.aside_cm) < _THROAT_HALF_WIDTH_CM) & (head.height > s.shadow_height) & dark
    below_chin = (head.height < s.chin_height) & ~shadow
    skin_like = np.where(below_chin, skin > clothes + hair, skin + hair > clothes)
    thin = max(1, round(s.bridge_cm * head.frame.scale_px))
    candidates = (bare & (skin_like | head.inside_face)).astype(np.uint8)
    opened = cv2.morphologyEx(candidates, cv2.MORPH_OPEN, _disc(thin)) > 0
    solid = (opened | (head.inside_face & bare)).astype(np.uint8)
    count, labels = cv2.connectedComponents(solid)
    areas_in_face = np.bincount(labels[head.inside_face & (solid > 0)], minlength=count)
    areas_in_face[0] = 0
    face = (labels == areas_in_face.argmax()).astype(np.uint8)
    near = cv2.dilate(face, _disc(thin + 1)) > 0
    return (bare & near & (candidates > 0)) | (face > 0) | (bare & (head.height > s.bare_height))
