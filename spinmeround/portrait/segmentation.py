"""Semantic segmentation of a portrait into hair, clothes, headwear and skin.

A network says where hair is; a place in the head's frame tells hair of the head from beard and brows. Skin and cloth
are told apart by what this one photo shows: each has a histogram of Lab colour and one of local contrast, learnt from
seeds that are nearly certain (cheeks; the chest) and again from their own posterior a few times, as in expectation
maximisation. Cloth on the head is headwear.

Heights are those of ``HeadMap.height``: 0 at the chin, 1 at the hairline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from spinmeround.portrait.hair_segmentation import HairNetwork, default_hair_network
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.matting import INSIDE, WORK_PX, joined_to_face, soften
from spinmeround.portrait.segmentation_settings import FEATURES, HEADWEAR, LEARNING, PRIOR, REGIONS
from spinmeround.types import HeadCrop, Licence, Segmentation

_TINY_SUM = 1e-9
"""Least divisor of a normalisation, against an empty class."""
_MAX_LOGIT = 40.0
"""Beyond it a sigmoid is 0 or 1 in float64 to within 1e-17, and the exponential could overflow."""
_THROAT_HALF_WIDTH_CM = 4.0
"""Half the width of the chin and of the throat below it: no hair of the head grows or hangs there."""


class NetworkHair:
    """``HairModel``: hair by a network; skin, clothes and headwear by colours learnt from the photo itself.

    Args:
        network: by default ``default_hair_network``.
    """

    def __init__(self, network: HairNetwork | None = None) -> None:
        self._network = network or default_hair_network()

    @property
    def licences(self) -> Sequence[Licence]:
        """Models the segmentation stands on."""
        return self._network.licences

    def segment(self, crop: HeadCrop, alpha: Float[np.ndarray, "s s"]) -> Segmentation:
        """Segment the person into hair, clothes and headwear; a beard and glasses count as skin."""
        head = HeadMap.of(crop.face, picture_px=len(crop.rgb), side_px=WORK_PX)
        return parse(crop, alpha, self._network.probability(crop), head)


def parse(
    crop: HeadCrop, alpha: Float[np.ndarray, "s s"], hair_probability: Float[np.ndarray, "s s"], head: HeadMap
) -> Segmentation:
    """Segment the person; what is neither hair nor clothes nor headwear is skin (a beard and glasses count as skin).

    Args:
        alpha: coverage of the person.
        hair_probability: of a network, beards included.
        head: geometry at ``WORK_PX``.
    """
    size = (WORK_PX, WORK_PX)
    small, matte, likely = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (crop.rgb, alpha, hair_probability)
    )
    person = matte > INSIDE
    features = _PixelFeatures.of(small, person, head)
    hair = _keep_rooted((likely > INSIDE) & person & ~_never_hair(head), head)
    hair = _with_missed_fringe(features, hair, head)
    skin, cloth = _skin_and_cloth(features, person & ~hair, head)
    headwear = _with_its_colours(features, _headwear(small, cloth > skin, person & ~hair, head), hair, head)
    hair = hair & ~headwear
    bare = person & ~hair & ~headwear
    # What hair parts from the face is hair of other colours, or an ear.
    hair |= bare & ~joined_to_face(bare, head) & (head.ear < REGIONS.ear)
    clothes = person & ~hair & ~headwear & ~_face_skin(skin, cloth, person & ~hair & ~headwear, small, head)
    soft, left = [], alpha
    nearest = _nearest_pixel(person)
    for mask, radius_cm in (
        (hair, REGIONS.hair_radius_cm),
        (headwear, REGIONS.clothes_radius_cm),
        (clothes, REGIONS.clothes_radius_cm),
    ):
        # Single strands beyond the border are of what they come from.
        mask = mask.ravel()[nearest].astype(np.float32)
        soft.append(np.minimum(soften(crop.rgb, crop.observed, mask, radius_cm), left))
        left = left - soft[-1]
    return Segmentation(hair=soft[0], headwear=soft[1], clothes=soft[2])


def _with_missed_fringe(
    features: _PixelFeatures, hair: Bool[np.ndarray, "w w"], head: HeadMap
) -> Bool[np.ndarray, "w w"]:
    """Return the hair with what is in one piece with it over the brows and has its colours rather than the skin's.

    Networks leave out shiny fringes. Where they see hair on little of the scalp, it is a hat's or a balding head's.
    """
    s = REGIONS
    scalp = features.person & (head.height > s.fringe_height) & ~head.features
    if not scalp.any() or hair[scalp].mean() < s.hairy_scalp:
        return hair
    like_hair = features.likelihood((hair & scalp).astype(np.float64))
    like_skin = features.likelihood(head.certain_skin.astype(np.float64))
    missed = scalp & ~hair & (like_hair > s.fringe_odds * like_skin)
    thin = max(1, round(s.bridge_cm * head.frame.scale_px))
    missed = cv2.morphologyEx(missed.astype(np.uint8), cv2.MORPH_OPEN, _disc(thin)) > 0
    _, labels = cv2.connectedComponents((hair | missed).astype(np.uint8))
    return hair | (missed & np.isin(labels, np.unique(labels[hair])))


def _nearest_pixel(mask: Bool[np.ndarray, "w w"]) -> Integer[np.ndarray, "w w"]:
    """Return the flat index of the pixel of a mask that is nearest to each pixel; its own where the mask is empty."""
    if not mask.any():
        return np.arange(mask.size).reshape(mask.shape)
    _, label = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(int(label.max()) + 1, np.int64)
    source[label[mask]] = np.flatnonzero(mask)
    return source[label]


def _never_hair(head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Return where hair of the head neither grows nor hangs: brows, eyes, mouth, beard and throat."""
    beard = (head.height < REGIONS.beard_height) & (np.abs(head.aside_cm) < _THROAT_HALF_WIDTH_CM)
    deep_in_cheek = (head.height < REGIONS.beard_height) & (head.depth_in_face_cm > REGIONS.beard_depth_cm)
    return head.features | beard | deep_in_cheek


def _keep_rooted(hair: Bool[np.ndarray, "w w"], head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Keep the regions of hair that are connected to the scalp once thin bridges are cut, and what lies near them.

    A region without roots is kept if it begins within an ear's height of such hair: a braid, not somebody else's hair.
    """
    s, cm2 = REGIONS, head.frame.scale_px**2
    thin = max(1, round(s.bridge_cm * head.frame.scale_px))
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


def _cloth_prior(head: HeadMap) -> Float[np.ndarray, "w w"]:
    """Return the prior probability of cloth rather than skin where there is no hair."""
    p, height = PRIOR, head.height
    beside_neck = _sigmoid(np.abs(head.aside_cm) - p.collar_aside_cm, p.collar_width_cm)
    collar = p.collar * beside_neck * _sigmoid(p.collar_height - height, p.height_width)
    chest = p.chest * _sigmoid(p.chest_height - height, p.chest_width)
    chest = chest + p.throat_clothes * (height < p.throat_height) + p.least_clothes
    above = p.hat * _sigmoid(height - p.hat_height, p.height_width) * _sigmoid(-head.depth_in_face_cm, p.oval_width_cm)
    around = np.maximum(np.maximum(chest, collar), above)
    on_brow = p.hat_on_brow * _sigmoid(height - p.hat_height, p.height_width) + p.clothes_on_face
    return np.where(head.inside_face, on_brow, around)


def _skin_and_cloth(
    features: _PixelFeatures, bare: Bool[np.ndarray, "w w"], head: HeadMap
) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """Return the posterior probabilities of skin and of cloth after some rounds of learning.

    Args:
        bare: the person without hair.
    """
    s = LEARNING
    prior = _cloth_prior(head)
    skin_seed = (head.certain_skin & bare).astype(np.float64)
    skin = features.likelihood(skin_seed)
    # Cloth may not be in the picture at all: the chest teaches its colour only where it is no skin.
    usual = float(np.median(skin[skin_seed > 0])) if skin_seed.any() else _TINY_SUM
    flat = np.full(skin.shape, s.flat_cloth * usual)
    chest = bare & (head.height < s.chest_height) & (skin < flat)
    cloth = np.maximum(flat, features.likelihood(chest.astype(np.float64)))
    sigma_px = max(s.smoothing_cm * head.frame.scale_px, s.least_smoothing_px)
    is_skin = is_cloth = prior
    for _ in range(s.rounds):
        joint = skin * (1 - prior), cloth * prior
        evidence = joint[0] + joint[1]
        is_skin, is_cloth = (cv2.GaussianBlur(one / evidence, (0, 0), sigma_px) for one in joint)
        # The mouth teaches no skin: teeth are as white as a collar.
        weight = np.where(head.features, 0, is_skin**2 * (1 + s.skin_seed_weight * skin_seed)) * bare
        skin, cloth = features.likelihood(weight), np.maximum(flat, features.likelihood(is_cloth**2 * bare))
    return is_skin, is_cloth


def _headwear(
    rgb: Float[np.ndarray, "w w 3"],
    cloth: Bool[np.ndarray, "w w"],
    bare: Bool[np.ndarray, "w w"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """Return the headwear: cloth in one piece that covers much of the bare scalp, and is not of the skin's colour.

    Args:
        cloth: pixels more likely cloth than skin.
        bare: the person without hair.
    """
    s, cm2 = HEADWEAR, head.frame.scale_px**2
    crown = bare & (head.height > s.crown_height) & ~head.features
    nothing = np.zeros(bare.shape, bool)
    if crown.sum() < s.least_cm2 * cm2:
        return nothing
    thin = max(1, round(REGIONS.bridge_cm * head.frame.scale_px))
    closed = cv2.morphologyEx((cloth & bare).astype(np.uint8), cv2.MORPH_CLOSE, _disc(thin)) > 0
    opened = cv2.morphologyEx((closed & bare).astype(np.uint8), cv2.MORPH_OPEN, _disc(thin))
    count, labels = cv2.connectedComponents((opened > 0).astype(np.uint8) * (head.height > s.lowest_height))
    areas = np.bincount(labels[crown], minlength=count)
    areas[0] = 0
    largest = labels == areas.argmax()
    if areas.max() < max(s.least_fraction * crown.sum(), s.least_cm2 * cm2):
        return nothing
    lab = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2LAB)
    difference = np.abs(np.median(lab[largest], axis=0) - np.median(lab[head.certain_skin], axis=0))
    if difference[0] < s.least_lightness and np.hypot(*difference[1:]) < s.least_chroma:
        return nothing
    grown = cv2.dilate(largest.astype(np.uint8), _disc(2 * thin)) > 0
    # What is above it and no hair is the same hat: a badge, a fold, a stripe.
    return _filled(largest | (grown & closed & bare & (head.height > s.crown_height)) & ~head.inside_face, head) & bare


def _with_its_colours(
    features: _PixelFeatures, headwear: Bool[np.ndarray, "w w"], hair: Bool[np.ndarray, "w w"], head: HeadMap
) -> Bool[np.ndarray, "w w"]:
    """Return headwear with what borders on it in its own colours, such as the brim of a cap beside the face."""
    s, scale = HEADWEAR, head.frame.scale_px
    if not headwear.any():
        return headwear
    own, skin = (features.likelihood(each.astype(np.float64)) for each in (headwear, head.certain_skin))
    # What was taken for hair may itself be the brim, and teach the wrong colour.
    others = hair & (own < s.own_colour * skin)
    others = np.maximum(features.likelihood(others.astype(np.float64)), skin)
    near = cv2.dilate(headwear.astype(np.uint8), _disc(round(s.reach_cm * scale))) > 0
    alike = near & features.person & (own > s.own_colour * others) & ~head.features & (head.height > s.lowest_height)
    thin = max(1, round(REGIONS.bridge_cm * scale))
    # The underside of a brim is in the shadow, and as dark as hair.
    closed = cv2.morphologyEx((headwear | alike).astype(np.uint8), cv2.MORPH_CLOSE, _disc(3 * thin))
    closed &= (headwear | ~head.features) & features.person
    whole = cv2.morphologyEx(closed, cv2.MORPH_OPEN, _disc(thin)) | headwear
    _, labels = cv2.connectedComponents(whole)
    return _filled(np.isin(labels, np.unique(labels[headwear])), head) & features.person


def _filled(mask: Bool[np.ndarray, "w w"], head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Return a mask without holes, but for the one that a scarf leaves for the face."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, cv2.FILLED) > 0
    _, holes = cv2.connectedComponents((whole & ~mask).astype(np.uint8))
    return whole & ~np.isin(holes, np.setdiff1d(holes[head.certain_skin], [0]))


def _disc(radius_px: int) -> UInt8[np.ndarray, "k k"]:
    """Structuring element for morphology."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1)).astype(np.uint8)


def _face_skin(
    skin: Float[np.ndarray, "w w"],
    cloth: Float[np.ndarray, "w w"],
    bare: Bool[np.ndarray, "w w"],
    rgb: Float[np.ndarray, "w w 3"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """Return what looks like skin and is connected to the face; a hand is not.

    Args:
        bare: the person without hair and headwear.
    """
    s = REGIONS
    brightness = rgb.mean(-1)
    # In front of the neck, what is darker than the cheeks is the chin's shadow.
    dark = brightness < np.median(brightness[head.certain_skin])
    shadow = (np.abs(head.aside_cm) < _THROAT_HALF_WIDTH_CM) & (head.height > s.shadow_height) & dark
    skin_like = (skin > cloth) | (shadow & (head.height > s.beard_end_height))
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
