"""Hair, skin and clothes told apart, by colour and texture learnt from this one photo and by where they can be.

Each class has a histogram of Lab colour and one of local contrast, started from places that are nearly certain (cheeks;
above the hairline; the chest) and learnt again from its own result a few times; a spatial prior in the head's frame
keeps brows, beards and collars from becoming hair. A graph cut makes the border of the hair crisp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.matting import WORK_PX, grab_cut, soften

_ROUNDS = 4
_BAND_CM = 0.5
_BALD_SHARE = 0.26
"""If less than this share of where hair should be looks unlike skin, there is none."""
_COLOUR_BINS = 24
_CONTRAST_BINS = 20


@dataclass(frozen=True)
class Tissue:
    """Soft shares of the person's alpha."""

    hair: Float[np.ndarray, "s s"]
    clothes: Float[np.ndarray, "s s"]


def tell_apart(
    rgb: Float[np.ndarray, "s s 3"], observed: Bool[np.ndarray, "s s"], alpha: Float[np.ndarray, "s s"], head: HeadMap
) -> Tissue:
    """Hair and clothes of the person; what is neither is skin (a beard and glasses count as skin).

    Args:
        head: geometry at ``WORK_PX``.
    """
    size = (WORK_PX, WORK_PX)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    person = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) > 0.5
    look = _Look.of(small, person, head)
    shares = _posteriors(look, person, head)
    hair = _rooted(_crisp(small, person, shares[0], head), head)
    cloth = person & ~hair & ~_skin_of_the_face(shares, person & ~hair, small, head)
    soft_hair = np.minimum(soften(rgb, observed, hair.astype(np.float32), 0.3), alpha)
    soft_cloth = np.minimum(soften(rgb, observed, cloth.astype(np.float32), 0.2), alpha - soft_hair)
    return Tissue(soft_hair, np.maximum(soft_cloth, 0))


@dataclass(frozen=True)
class _Look:
    """What a pixel looks like, as histogram bins."""

    colour: Integer[np.ndarray, "w w"]
    contrast: Integer[np.ndarray, "w w"]
    person: Bool[np.ndarray, "w w"]

    @classmethod
    def of(cls, rgb: Float[np.ndarray, "w w 3"], person: Bool[np.ndarray, "w w"], head: HeadMap) -> _Look:
        smooth = cv2.bilateralFilter(rgb.astype(np.float32), 5, 0.08, 3)
        lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
        unit = (lab - [0, -25, -25]) / [100, 65, 72]
        bins = np.clip(unit * _COLOUR_BINS, 0, _COLOUR_BINS - 1).astype(int)
        colour = (bins[..., 0] * _COLOUR_BINS + bins[..., 1]) * _COLOUR_BINS + bins[..., 2]
        light = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2LAB)[..., 0] * 2.55
        contrast = _local_contrast(light, person, 0.28 * head.frame.scale_px)
        level = np.clip(np.log2(contrast + 0.7) * 3 + 2, 0, _CONTRAST_BINS - 1).astype(int)
        return cls(colour, level, person)

    def likelihood(self, weight: Float[np.ndarray, "w w"]) -> Float[np.ndarray, "w w"]:
        """How well each pixel fits the class that the weighted pixels belong to."""
        weight = np.where(self.person, weight, 0).ravel()
        shape = (_COLOUR_BINS,) * 3
        colour = np.bincount(self.colour.ravel(), weight, _COLOUR_BINS**3).reshape(shape)
        colour = gaussian_filter(colour, (1.6, 1.0, 1.0)).ravel()  # shading varies lightness most
        colour = colour / max(colour.sum(), 1e-9) + 1e-5
        contrast = gaussian_filter1d(np.bincount(self.contrast.ravel(), weight, _CONTRAST_BINS), 1.2)
        contrast = contrast / max(contrast.sum(), 1e-9) + 5e-3
        # Half the weight for contrast: neighbouring pixels share it, so it is no independent evidence.
        return colour[self.colour] * np.sqrt(contrast[self.contrast])

    def typicality(self, weight: Float[np.ndarray, "w w"]) -> Float[np.ndarray, "w w"]:
        """1 where a pixel looks as the weighted pixels mostly do, 0 where none of them looks like it."""
        fit = self.likelihood(weight)
        usual = np.quantile(fit[weight > 0.5], 0.2) if (weight > 0.5).any() else np.inf
        return np.clip(fit / usual, 0, 1)


def _local_contrast(
    light: Float[np.ndarray, "w w"], person: Bool[np.ndarray, "w w"], sigma_px: float
) -> Float[np.ndarray, "w w"]:
    """Standard deviation of the fine detail, measured inside the person only so that the outline does not count."""
    sigma = max(sigma_px, 1.0)
    inside = person.astype(np.float32)

    def mean(values: Float[np.ndarray, "w w"], spread: float) -> Float[np.ndarray, "w w"]:
        weight = cv2.GaussianBlur(inside, (0, 0), spread)
        return cv2.GaussianBlur((values * inside).astype(np.float32), (0, 0), spread) / np.maximum(weight, 1e-3)

    detail = light - mean(light, sigma)
    return np.sqrt(np.maximum(mean(detail * detail, 1.5 * sigma), 0))


def _ramp(value: Float[np.ndarray, "w w"], width: float) -> Float[np.ndarray, "w w"]:
    """Smooth step from 0 to 1 around 0."""
    return 1 / (1 + np.exp(-np.clip(value / width, -40, 40)))


def _spatial_prior(
    head: HeadMap, no_hair: Float[np.ndarray, "w w"]
) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """How likely hair, skin and clothes are at each place, before looking at the photo."""
    height, depth, aside = head.height, head.depth_in_face_cm, np.abs(head.aside_cm)
    inner = np.maximum(depth, 0)
    forehead = _ramp(height - 0.62, 0.05)
    in_face = forehead * (0.18 + 0.5 * np.exp(-inner)) + (1 - forehead) * 0.3 * np.exp(-inner / 0.5) + 0.002
    in_face = np.where(((height < 0.35) & (aside < 4)) | head.features, 0.0005, in_face)

    bald = _ramp(1.05 - head.skull, 0.04)
    above = (0.35 + 0.5 * _ramp(height - 1.12, 0.05)) * bald + 0.97 * (1 - bald)
    beside = np.clip((0.5 + 0.22 * _ramp(height - 0.35, 0.05)) - 0.45 * head.ear, 0.02, 1)
    falling = 0.6 * _ramp(aside - 4.5, 0.8) * np.exp(-np.maximum(-height - 0.2, 0) / 0.7) + 0.01
    low, high = _ramp(0.12 - height, 0.06), _ramp(height - 0.95, 0.05)
    around = high * above + (1 - high) * ((1 - low) * beside + low * falling)

    # No hair of the head hangs in front of the throat.
    around = np.where((aside < 4) & (height < 0), 0.0005, around)
    inside = _ramp(depth, 0.15)
    hair = (inside * in_face + (1 - inside) * around) * (1 - 0.97 * no_hair)
    collar = 0.3 * _ramp(aside - 9, 0.5) * _ramp(0.35 - height, 0.05)
    chest = 0.75 * _ramp(-0.22 - height, 0.10) + 0.02 * (height < 0.2) + 0.004
    clothes = np.where(head.inside_face, 0.002, np.maximum(chest, collar))
    clothes = np.minimum(clothes, 0.95 * (1 - hair))
    skin = np.clip(1 - hair - clothes, 0.002, 1) * np.where(height > 0.95, 0.9 * bald + 0.02, 1)
    return hair, skin, clothes


def _posteriors(
    look: _Look, person: Bool[np.ndarray, "w w"], head: HeadMap
) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """Hair, skin, clothes; they add up to 1."""
    core = cv2.erode(person.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    skin_seed = head.certain_skin.astype(np.float64)
    hair_seed, no_hair = _hair_seed(look, core, skin_seed, head)
    clothes_seed = (core & (head.height < -0.5)).astype(np.float64)
    prior = _spatial_prior(head, no_hair)
    hair, skin = look.likelihood(hair_seed), look.likelihood(skin_seed)
    # Clothes may not be in the picture at all: the chest teaches their colour only where it is neither hair nor skin.
    flat = np.full(hair.shape, 0.005 * float(np.median(hair[core]) if core.any() else 1e-6))
    clothes_seed = clothes_seed * flat / (flat + hair + skin)
    fits = (hair, skin, np.maximum(flat, look.likelihood(clothes_seed)))
    shares = prior
    for _ in range(_ROUNDS):
        weighted = [fit * place for fit, place in zip(fits, prior, strict=True)]
        total = weighted[0] + weighted[1] + weighted[2]
        blur = 0.12 * head.frame.scale_px
        shares = tuple(cv2.GaussianBlur(w / total, (0, 0), max(blur, 0.5)) for w in weighted)
        hair, skin, clothes = shares
        fits = (
            look.likelihood(hair**2 + 0.3 * hair_seed * hair),
            look.likelihood(
                np.where(head.features, 0, skin**2 * (1 + 2 * skin_seed))
            ),  # teeth are as white as a collar
            np.maximum(flat, look.likelihood(clothes**2 * (head.height < -0.15))),
        )
    return shares[0], shares[1], shares[2]


def _hair_seed(
    look: _Look, core: Bool[np.ndarray, "w w"], skin_seed: Float[np.ndarray, "w w"], head: HeadMap
) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """Places that are nearly certainly hair, and how sure it is that a place which often has hair is bald.

    What looks like the skin of the cheeks teaches nothing about hair; if little else is left, the head is bald there.
    """
    typical = look.typicality(skin_seed)
    above = np.where(core & ~head.inside_face, np.clip((head.height - 1.05) / 0.15, 0, 1), 0.0)
    beside = (head.height > 0.45) & (head.height < 0.95) & (head.ear < 0.3) & (head.depth_in_face_cm < -0.8) & core
    no_hair = np.zeros(core.shape)
    seeds = np.zeros(core.shape)
    needed = _BALD_SHARE
    for seed, upper in ((above, True), (beside.astype(np.float64), False)):
        left = seed * (1 - typical) ** 2
        share = left.sum() / max(seed.sum(), 1e-9)
        bald = 1 / (1 + np.exp((share - needed) / 0.03)) if seed.sum() > 0 else 0.0
        seeds = np.maximum(seeds, left * (1 - bald))
        no_hair = np.maximum(no_hair, bald * _ramp(head.height - 0.95 if upper else 0.95 - head.height, 0.05))
        # Below a bald crown shadows and ears make up half of what is unlike the cheeks; a fringe of hair, nearly all.
        needed += 0.42 * bald
    return seeds, no_hair


def _crisp(
    rgb: Float[np.ndarray, "w w 3"],
    person: Bool[np.ndarray, "w w"],
    hair: Float[np.ndarray, "w w"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """Hair or not: a graph cut may move the border by half a centimetre, to where the picture has an edge."""
    never = head.features | ((np.abs(head.aside_cm) < 4) & (head.height < 0))
    guess = ((hair > 0.5) & person & ~never).astype(np.uint8)
    reach = max(1, round(_BAND_CM * head.frame.scale_px))
    disc = _disc(reach)
    certain_hair, maybe_hair = cv2.erode(guess, disc) > 0, cv2.dilate(guess, disc) > 0
    trimap = np.where(guess > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[certain_hair] = cv2.GC_FGD
    trimap[~maybe_hair | ~person | never] = cv2.GC_BGD
    # What is far from the border would only teach the graph cut irrelevant colours.
    near = cv2.dilate(guess, disc, iterations=3) > 0
    plain = np.where((person & near)[..., None], rgb, np.median(rgb[head.certain_skin], axis=0))
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    cut = np.zeros(person.shape, bool)
    if len(rows):
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        cut[window] = grab_cut(plain[window].astype(np.float32), trimap[window])
    return cut & person


def _rooted(hair: Bool[np.ndarray, "w w"], head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Parts that reach above the middle of the face outside it, once bridges thinner than about 5 mm are cut.

    A part below an ear counts if it begins within an ear's height of such hair: a braid, not a white collar. Beside the
    jaw a strip narrower than a finger is a lit or shaded cheek.
    """
    thin, strip = (max(1, round(cm * head.frame.scale_px)) for cm in (0.25, 0.45))
    wide = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, _disc(strip))
    hair = hair & ((head.height > 0.35) | (cv2.dilate(wide, _disc(thin)) > 0))
    solid = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, _disc(thin))
    count, parts = cv2.connectedComponents(solid)
    root = (head.height > 0.5) & (head.depth_in_face_cm < 0.5)
    votes = np.bincount(parts[root & (solid > 0)], minlength=count)
    votes[0] = 0
    kept = np.isin(parts, np.flatnonzero(votes > 1.5 * head.frame.scale_px**2)).astype(np.uint8)
    if not kept.any():
        return kept > 0
    gap_cm = cv2.distanceTransform(1 - kept, cv2.DIST_L2, 5) / head.frame.scale_px
    for part in range(1, count):
        place = parts == part
        begins_high = votes[part] == 0 and head.height[place].max() > 0.2 and gap_cm[place].min() < 3.5
        if begins_high and place.sum() > 3 * head.frame.scale_px**2:
            kept |= place.astype(np.uint8)
    return (hair & (cv2.dilate(kept, _disc(2 * thin)) > 0)) | (kept > 0)


def _disc(radius_px: int) -> UInt8[np.ndarray, "k k"]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1)).astype(np.uint8)


def _skin_of_the_face(
    shares: tuple[Float[np.ndarray, "w w"], ...],
    bare: Bool[np.ndarray, "w w"],
    rgb: Float[np.ndarray, "w w 3"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """What is not hair and looks like skin, as far as it hangs together with the face; a hand does not."""
    hair, skin, clothes = shares
    light = rgb.mean(-1)
    # Below the chin, what looked like hair but had no root is a white collar or a dark shirt; in front of the neck it
    # is the chin's shadow, beside the face an ear.
    shadow = (np.abs(head.aside_cm) < 4) & (head.height > -0.3) & (light < np.median(light[head.certain_skin]))
    looks = np.where((head.height < 0.1) & ~shadow, skin > clothes + hair, skin + hair > clothes)
    thin = max(1, round(0.25 * head.frame.scale_px))
    candidates = (bare & (looks | head.inside_face)).astype(np.uint8)
    opened = cv2.morphologyEx(candidates, cv2.MORPH_OPEN, _disc(thin)) > 0
    solid = (opened | (head.inside_face & bare)).astype(np.uint8)
    count, parts = cv2.connectedComponents(solid)
    votes = np.bincount(parts[head.inside_face & (solid > 0)], minlength=count)
    votes[0] = 0
    face = (parts == votes.argmax()).astype(np.uint8)
    near = cv2.dilate(face, _disc(thin + 1)) > 0
    return (bare & near & (candidates > 0)) | (face > 0) | (bare & (head.height > 0.4))
