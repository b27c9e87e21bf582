"""Settings of the segmentation in ``segmentation``, by step: features, spatial prior, learning, regions, headwear.

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


@dataclass(frozen=True)
class PriorSettings:
    """Prior probabilities of cloth by place. ``*_height`` in heights, ``*_width`` is the width of a sigmoid.

    Attributes:
        height_width: of the sigmoids along the height, unless another is given.
        collar, collar_aside_cm, collar_width_cm, collar_height: clothes beside the neck.
        chest, chest_height, chest_width: clothes below the neck.
        throat_clothes, throat_height: clothes below the chin, where a collar may stand.
        least_clothes: elsewhere.
        hat, hat_height: headwear above the brows, outside the face oval.
        hat_on_brow: the same inside it.
        oval_width_cm: over which the one goes over into the other.
        clothes_on_face: inside the face oval.
    """

    height_width: float = 0.05
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
    hat: float = 0.4
    hat_height: float = 0.85
    hat_on_brow: float = 0.2
    oval_width_cm: float = 0.15
    clothes_on_face: float = 0.002


@dataclass(frozen=True)
class LearningSettings:
    """The rounds in which posteriors teach the histograms.

    Attributes:
        rounds: of learning; the posteriors have settled by then.
        smoothing_cm, least_smoothing_px: standard deviation of the blur of the posteriors, so that neighbours agree.
        flat_cloth: likelihood of cloth of unknown colour, as a fraction of the median likelihood of sure skin.
        chest_height: below it clothes are learnt.
        skin_seed_weight: of the seed, beside the squared posterior.
    """

    rounds: int = 4
    smoothing_cm: float = 0.12
    least_smoothing_px: float = 0.5
    flat_cloth: float = 0.02
    chest_height: float = -0.5
    skin_seed_weight: float = 2.0


@dataclass(frozen=True)
class RegionSettings:
    """Which connected regions belong to hair and to the skin of the face.

    Attributes:
        bridge_cm: half the width of bridges that opening cuts.
        beard_height: below it, and less than half a chin's width aside or deep inside the cheek, hair is beard.
        beard_depth_cm: distance inside the face oval from which on hair on the lower cheek is beard.
        beard_end_height: a beard hangs down to there.
        ear: likelihood of an ear from which on what is parted from the face is no hair.
        fringe_height: above it a fringe hangs.
        hairy_scalp: fraction of what is above it that is seen as hair, from which on a fringe may have been missed.
        fringe_odds: a fringe's colours are so many times as usual in the hair as in skin.
        scalp_height, scalp_depth_cm: where hair roots: above the middle of the face and not deep inside it.
        root_cm2, part_cm2: least area of roots, and of a part without any.
        braid_height, braid_gap_cm: a part without roots is hair if it reaches above the first and is nearer to
            rooted hair than the second, the height of an ear: a braid, not somebody else's hair.
        shadow_height: above it, in front of the neck, what is darker than the cheeks is the chin's shadow.
        bare_height: above it all that is neither hair nor headwear is skin.
        hair_radius_cm, clothes_radius_cm: of the filter that softens the masks.
    """

    bridge_cm: float = 0.25
    beard_height: float = 0.35
    beard_depth_cm: float = 1.0
    beard_end_height: float = -0.3
    ear: float = 0.4
    fringe_height: float = 0.8
    hairy_scalp: float = 0.4
    fringe_odds: float = 3.0
    scalp_height: float = 0.5
    scalp_depth_cm: float = 0.5
    root_cm2: float = 1.5
    part_cm2: float = 3.0
    braid_height: float = 0.2
    braid_gap_cm: float = 3.5
    shadow_height: float = -0.3
    bare_height: float = 0.4
    hair_radius_cm: float = 0.3
    clothes_radius_cm: float = 0.2


@dataclass(frozen=True)
class HeadwearSettings:
    """When cloth on the head is headwear.

    Attributes:
        crown_height: above it headwear sits.
        lowest_height: so far down a scarf around the face can hang.
        least_cm2: least area above the brows.
        least_fraction: of what is bare above the brows, which headwear covers at least; a highlight on a bald head is
            smaller.
        least_lightness, least_chroma: difference from the median colour of the cheeks in Lab, one of which headwear
            has: a bald head has neither.
        reach_cm: so far from it its brim, or a fold in another light, may lie.
        own_colour: how much likelier than hair or skin such a pixel's colour is to be the headwear's.
    """

    crown_height: float = 0.9
    lowest_height: float = 0.0
    least_cm2: float = 12.0
    least_fraction: float = 0.35
    least_lightness: float = 18.0
    least_chroma: float = 12.0
    reach_cm: float = 3.0
    own_colour: float = 2.0


FEATURES = FeatureSettings()
PRIOR = PriorSettings()
LEARNING = LearningSettings()
REGIONS = RegionSettings()
HEADWEAR = HeadwearSettings()
