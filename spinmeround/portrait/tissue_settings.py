"""Settings of the segmentation in ``tissue``, by step: features, spatial prior, seeds, learning, regions.

Heights are those of ``HeadMap.height``: 0 at the chin, 1 at the hairline.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureSettings:
    """How a pixel becomes histogram bins of colour and of local contrast.

    Attributes:
        bilateral_diameter_px, bilateral_sigma_colour, bilateral_sigma_px: smoothing before colours are binned, so that
            grain does not spread a class over many bins.
        lab_min, lab_range: part of the Lab space that the bins divide; skin and hair lie well inside it.
        colour_bins: along each axis of Lab.
        colour_sigma_bins: blur of the colour histogram along L, a, b; shading varies lightness most.
        colour_floor, contrast_floor: added to each normalised bin, so that no pixel is impossible for a class.
        contrast_sigma_cm: scale below which detail counts as contrast (single locks of hair).
        contrast_window: standard deviation of the window of the contrast, in units of ``contrast_sigma_cm``.
        lightness_levels: 8-bit levels in one unit of Lab lightness.
        noise_levels: added to the contrast before the logarithm: below it is the camera's noise.
        bins_per_octave, first_bin: of the logarithm to base 2 of the contrast in levels.
        contrast_bins: in all.
        contrast_sigma_bins: blur of the contrast histogram.
        least_weight: mean of the blurred person mask below which a pixel has no neighbours to be compared with.
        typical_quantile: of the likelihoods of a class's own pixels; from there on a pixel is typical of it.
    """

    bilateral_diameter_px: int = 5
    bilateral_sigma_colour: float = 0.08
    bilateral_sigma_px: float = 3.0
    lab_min: tuple[float, float, float] = (0.0, -25.0, -25.0)
    lab_range: tuple[float, float, float] = (100.0, 65.0, 72.0)
    colour_bins: int = 24
    colour_sigma_bins: tuple[float, float, float] = (1.6, 1.0, 1.0)
    colour_floor: float = 1e-5
    contrast_sigma_cm: float = 0.28
    contrast_window: float = 1.5
    lightness_levels: float = 2.55
    noise_levels: float = 0.7
    bins_per_octave: float = 3.0
    first_bin: float = 2.0
    contrast_bins: int = 20
    contrast_sigma_bins: float = 1.2
    contrast_floor: float = 5e-3
    least_weight: float = 1e-3
    typical_quantile: float = 0.2


@dataclass(frozen=True)
class PriorSettings:
    """Prior probabilities of the classes by place. ``*_height`` in heights, ``*_width`` is the width of a sigmoid.

    Attributes:
        height_width: of the sigmoids along the height, unless another is given.
        impossible: of hair on brows, eyes, mouth, beard and throat; not 0, so that a product of odds stays finite.
        forehead_height: the forehead begins there.
        hair_on_forehead: deep inside the forehead; ``fringe`` is added at the face oval and falls by 1/e a centimetre.
        hair_on_cheek, cheek_decay_cm: at the face oval below the forehead, and how fast it falls inward.
        hair_in_face: least value inside the face.
        beard_height: below it, and less than half a chin's width aside, hair is beard.
        oval_width_cm: over which the prior inside the face goes over into the one around it.
        bald_skull: ``HeadMap.skull`` of the silhouette of a bald head; outside it, what is above the face is hair.
        hair_above_skull: there.
        hair_on_scalp, crown_gain, crown_height: on the scalp above the face; the gain is added at the crown.
        top_height: from the hairline on ``above the face`` holds.
        hair_at_temples, temple_gain, temple_height: beside the face; the gain is added from the temples up.
        ear_loss: taken away where an ear is likely.
        least_beside: least value beside the face.
        jaw_height, jaw_width: below the jaw hair only falls.
        falling_hair, falling_aside_cm, falling_width_cm: to the sides of the neck.
        falling_from_height, falling_decay: how far down it reaches: 1/e every ``falling_decay`` heights.
        least_falling: least value there.
        bald_loss: fraction of the prior of hair that is taken away where the head is bald.
        collar, collar_aside_cm, collar_width_cm, collar_height: clothes beside the neck.
        chest, chest_height, chest_width: clothes below the neck.
        throat_clothes, throat_height: clothes below the chin, where a collar may stand.
        least_clothes: elsewhere.
        clothes_on_face: inside the face oval.
        most_clothes: fraction of what hair leaves.
        least_skin: anywhere.
        skin_above_face, least_skin_above_face: above the hairline, for a bald head and for one with hair.
    """

    height_width: float = 0.05
    impossible: float = 0.0005

    forehead_height: float = 0.62
    hair_on_forehead: float = 0.18
    fringe: float = 0.5
    hair_on_cheek: float = 0.3
    cheek_decay_cm: float = 0.5
    hair_in_face: float = 0.002
    beard_height: float = 0.35
    oval_width_cm: float = 0.15

    bald_skull: float = 1.05
    bald_skull_width: float = 0.04
    hair_above_skull: float = 0.97
    hair_on_scalp: float = 0.35
    crown_gain: float = 0.5
    crown_height: float = 1.12
    top_height: float = 0.95
    hair_at_temples: float = 0.5
    temple_gain: float = 0.22
    temple_height: float = 0.35
    ear_loss: float = 0.45
    least_beside: float = 0.02
    jaw_height: float = 0.12
    jaw_width: float = 0.06
    falling_hair: float = 0.6
    falling_aside_cm: float = 4.5
    falling_width_cm: float = 0.8
    falling_from_height: float = 0.2
    falling_decay: float = 0.7
    least_falling: float = 0.01
    bald_loss: float = 0.97

    collar: float = 0.3
    collar_aside_cm: float = 9.0
    collar_width_cm: float = 0.5
    collar_height: float = 0.35
    chest: float = 0.75
    chest_height: float = -0.22
    chest_width: float = 0.10
    throat_clothes: float = 0.02
    throat_height: float = 0.2
    least_clothes: float = 0.004
    clothes_on_face: float = 0.002
    most_clothes: float = 0.95
    least_skin: float = 0.002
    skin_above_face: float = 0.9
    least_skin_above_face: float = 0.02


@dataclass(frozen=True)
class SeedSettings:
    """Pixels that start a class, and the test for baldness.

    Attributes:
        erosion_px: side of the kernel that takes the uncertain border off the person.
        chest_height: below it clothes are learnt.
        crown_height, crown_ramp: hair is learnt above the face from there on, fully ``crown_ramp`` higher.
        side_heights: lowest and highest of the hair that is learnt beside the face.
        most_ear: likelihood of an ear up to which a place beside the face may teach hair.
        side_gap_cm: distance to the face oval from which on it may.
        split_height: between the crown and the sides, where each is found bald for itself.
        least_hair: fraction of a seed region that must look unlike the cheeks for hair to be there.
        hair_width: of the sigmoid around ``least_hair``.
        bald_crown_gain: added to ``least_hair`` for the sides of a bald crown: shadows and ears there make up half of
            what is unlike the cheeks; a fringe of hair is nearly all of it.
    """

    erosion_px: int = 5
    chest_height: float = -0.5
    crown_height: float = 1.05
    crown_ramp: float = 0.15
    side_heights: tuple[float, float] = (0.45, 0.95)
    most_ear: float = 0.3
    side_gap_cm: float = 0.8
    split_height: float = 0.95
    least_hair: float = 0.26
    hair_width: float = 0.03
    bald_crown_gain: float = 0.42


@dataclass(frozen=True)
class LearningSettings:
    """The rounds in which posteriors teach the histograms.

    Attributes:
        rounds: of learning; the posteriors have settled by then.
        smoothing_cm, least_smoothing_px: standard deviation of the blur of the posteriors, so that neighbours agree.
        flat_clothes: likelihood of clothes of unknown colour, as a fraction of the median likelihood of hair.
        usual_likelihood: that median where there is no person.
        hair_seed_weight, skin_seed_weight: of the seeds, beside the squared posteriors.
        clothes_height: below it clothes are learnt again.
    """

    rounds: int = 4
    smoothing_cm: float = 0.12
    least_smoothing_px: float = 0.5
    flat_clothes: float = 0.005
    usual_likelihood: float = 1e-6
    hair_seed_weight: float = 0.3
    skin_seed_weight: float = 2.0
    clothes_height: float = -0.15


@dataclass(frozen=True)
class RegionSettings:
    """Which connected regions belong to hair and to the skin of the face.

    Attributes:
        band_cm: how far the graph cut may move the border of the hair.
        near_band: dilations by the band around the hair that the graph cut looks at.
        bridge_cm: half the width of bridges that opening cuts.
        strip_cm: half the width of strips beside the jaw that are a lit or shaded cheek, not hair.
        jaw_height: below it such strips are looked for.
        scalp_height, scalp_depth_cm: where hair roots: above the middle of the face and not deep inside it.
        root_cm2, part_cm2: least area of roots, and of a part without any.
        braid_height, braid_gap_cm: a part without roots is hair if it reaches above the first and is nearer to
            rooted hair than the second, the height of an ear: a braid, not a white collar.
        shadow_height: above it, in front of the neck, what is darker than the cheeks is the chin's shadow.
        chin_height: below it what looks like hair without roots is a white collar or a dark shirt.
        bare_height: above it all that is not hair is skin.
        hair_radius_cm, clothes_radius_cm: of the filter that softens the masks.
    """

    band_cm: float = 0.5
    near_band: int = 3
    bridge_cm: float = 0.25
    strip_cm: float = 0.45
    jaw_height: float = 0.35
    scalp_height: float = 0.5
    scalp_depth_cm: float = 0.5
    root_cm2: float = 1.5
    part_cm2: float = 3.0
    braid_height: float = 0.2
    braid_gap_cm: float = 3.5
    shadow_height: float = -0.3
    chin_height: float = 0.1
    bare_height: float = 0.4
    hair_radius_cm: float = 0.3
    clothes_radius_cm: float = 0.2


FEATURES = FeatureSettings()
PRIOR = PriorSettings()
SEEDS = SeedSettings()
LEARNING = LearningSettings()
REGIONS = RegionSettings()
