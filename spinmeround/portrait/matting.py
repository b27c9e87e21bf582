"""Matting: the alpha matte of one person of a photo, without the people beside, and the person's own colours.

The person is what a person network sees on and near the head and trunk, what a hair network sees in one piece with
that, and the face. Closed-form matting (Levin et al., "A closed-form solution to natural image matting", TPAMI 2008)
settles the border, and the colours of the person alone are estimated where they are mixed with the background's
(Germer et al., "Fast multi-level foreground estimation", 2020); both by pymatting.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float, Integer
from scipy.ndimage import gaussian_filter

from spinmeround import weights
from spinmeround.portrait import tflite
from spinmeround.portrait.hair_segmentation import HairNetwork, at_two_scales, default_hair_network
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.pymatting_parts import cf_laplacian, estimate_foreground_ml
from spinmeround.types import HeadCrop, Licence

MODEL = "selfie_segmentation.tflite"
WORK_PX = 384
"""Labels are found at this size."""
INSIDE = 0.5
"""Coverage or probability above which a pixel is inside a mask."""

_ALPHA_PX = 512
"""Side of the picture that alpha is solved for: half the time of a whole crop, and strands come out all the same."""
_NETWORK_PX = 256
"""Side of the person network's input and output."""
_CROP_CM = 46.0
"""Nominal side of a crop: 2.6 faces of 17.66 cm; turns a radius in centimetres into pixels of the crop."""


@dataclass(frozen=True)
class _MatteSettings:
    """Settings of the matte.

    Attributes:
        own_alpha_iou: intersection over union with the matte found here from which on the photo's own transparency is
            taken for a matte of this one person, and is no mere frame around several things.
        near_cm: other people this far from the crop or nearer take part.
        neighbour_margin_cm: a pixel belongs to a neighbour if it is nearer to that head and trunk by this much.
        reach_cm: what is no hair belongs to the person so far from an average bare head, neck and trunk: a shadow on
            the wall and a raised arm lie farther out.
        hat_reach_cm: the same above the brows, where a hat may sit.
        hat_height: where that begins, in ``HeadMap.height``.
        hat_certainty: probability of a person from which on it may be a hat.
        beside_height: above it what is no hair must reach the face without a gap.
        ear: likelihood of an ear from which on it need not: hair may lie between.
        bridge_cm: half the width of bridges between regions that opening cuts.
        hole_discs: holes below this many squared bridge radii are filled.
        certain: probability of the person, or of hair, from which on a pixel inside the border is certain.
        certain_cm: so far inside the border pixels can be certain.
        undecided_cm: what lies farther from all certain pixels is none of the person, however wide it is.
        unknown_cm: so far outside it pixels are uncertain; single strands reach that far.
        flyaway: probability of hair from which on a pixel farther out is uncertain, too, ...
        flyaway_cm: ... up to this distance.
        beside_cm: the background up to this distance may shine through hair.
        wall_cm: background up to this distance from an average head and trunk tells the wall's colours.
        wall_colour: a colour is no wall's if less than this fraction of the wall has it.
        colour_bins, colour_blur_bins: of the histograms in Lab that say so, and their blur.
        colour_ratio, colour_floor: a pixel of hair is wall if its colour is so many times as usual there; rarer colours
            of hair count as this usual.
        inner_cm: so far inside the outline hair is hair.
        see_through_cm: so far inside a wall may be seen through hair.
        see_through_alpha: factor on the weight of such colours.
        expected_weight: weight of what the networks say at each pixel that is solved for, against the Laplacian.
        expected_cm: standard deviation of the blur of what they say.
    """

    own_alpha_iou: float = 0.93
    near_cm: float = 1.0
    neighbour_margin_cm: float = 1.5
    reach_cm: float = 1.5
    hat_reach_cm: float = 7.0
    hat_height: float = 0.8
    hat_certainty: float = 0.9
    beside_height: float = 0.1
    ear: float = 0.4
    bridge_cm: float = 0.3
    hole_discs: int = 4
    certain: float = 0.85
    certain_cm: float = 0.35
    undecided_cm: float = 0.8
    unknown_cm: float = 0.8
    flyaway: float = 0.05
    flyaway_cm: float = 1.6
    beside_cm: float = 4.0
    wall_cm: float = 8.0
    wall_colour: float = 1e-4
    colour_bins: int = 20
    colour_blur_bins: float = 0.8
    colour_ratio: float = 10.0
    colour_floor: float = 2e-5
    inner_cm: float = 1.5
    see_through_cm: float = 3.0
    see_through_alpha: float = 0.05
    expected_weight: float = 0.03
    expected_cm: float = 0.15


@dataclass(frozen=True)
class _SoftenSettings:
    """Settings of ``soften``.

    Attributes:
        epsilon: variance of colour below which the picture has no edge.
        haze, contrast: the result is (soft - haze) / contrast: local affine models leave a haze of a few per cent on
            either side of the edge.
    """

    epsilon: float = 1e-4
    haze: float = 0.06
    contrast: float = 0.88


_MATTE = _MatteSettings()
_SOFTEN = _SoftenSettings()


@functools.cache
def _model() -> tflite.TfliteModel:
    return tflite.load(MODEL)


class SelfieMatte:
    """``MatteModel``: MediaPipe's selfie segmentation, united with a hair network and the face.

    Args:
        hair: by default ``default_hair_network``.
    """

    def __init__(self, hair: HairNetwork | None = None) -> None:
        self._hair = hair or default_hair_network()

    @property
    def licences(self) -> Sequence[Licence]:
        """Models the matte stands on."""
        return (Licence("model", MODEL, weights.entry(MODEL).licence), *self._hair.licences)

    def matte(self, crop: HeadCrop) -> Float[np.ndarray, "s s"]:
        """Return the alpha matte of the person; neighbours near the crop take part.

        The photo's own transparency is an upper bound, and the result if it cuts out just this person.
        """
        head, *neighbours = (
            HeadMap.of(face, picture_px=len(crop.rgb), side_px=WORK_PX) for face in (crop.face, *crop.neighbours)
        )
        near = [each for each in neighbours if each.distance_to_person_cm.min() < _MATTE.near_cm]
        person, hair = (
            np.where(crop.observed, each, 0).astype(np.float32)
            for each in (person_prior(crop.rgb), self._hair.probability(crop))
        )
        if crop.alpha is not None:
            person, hair = np.minimum(person, crop.alpha), np.minimum(hair, crop.alpha)
        mask = _person_mask(crop.rgb, person, hair, head, _belongs_to_neighbour(head, near))
        if crop.alpha is not None and _is_same_person(crop.alpha, mask):
            return crop.alpha
        alpha = closed_form_alpha(crop.rgb, crop.observed, mask, person=person, hair=hair)
        return alpha if crop.alpha is None else np.minimum(alpha, crop.alpha)


def _is_same_person(own_alpha: Float[np.ndarray, "s s"], mask: Bool[np.ndarray, "w w"]) -> bool:
    """Check whether the photo's own transparency cuts out this one person."""
    own = cv2.resize(own_alpha, mask.shape[::-1], interpolation=cv2.INTER_AREA) > INSIDE
    return bool((own & mask).sum() > _MATTE.own_alpha_iou * max((own | mask).sum(), 1))


def person_prior(rgb: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s"]:
    """Return the probability of a person by the segmentation network, at two scales, each with its mirror image."""
    return at_two_scales(rgb, _segment)


def _segment(rgb: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s"]:
    """Run the network on a square picture and on its mirror image, and return the mean."""
    small = cv2.resize(rgb, (_NETWORK_PX, _NETWORK_PX), interpolation=cv2.INTER_AREA)
    run, shape = _model(), (1, _NETWORK_PX, _NETWORK_PX, 1)
    straight = run(small)[shape][0, ..., 0]
    mirrored = run(small[:, ::-1])[shape][0, :, ::-1, 0]
    mean = (straight + mirrored) / 2
    return cv2.resize(mean, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _belongs_to_neighbour(head: HeadMap, neighbours: Sequence[HeadMap]) -> Bool[np.ndarray, "w w"]:
    """Return the pixels that are clearly nearer to another person's head and trunk than to this one's."""
    mine = head.distance_to_person_cm
    result = np.zeros(mine.shape, bool)
    for other in neighbours:
        theirs = other.distance_to_person_cm * (other.frame.scale_px / head.frame.scale_px)
        behind = other.frame.scale_px < head.frame.scale_px
        result |= (theirs < mine - _MATTE.neighbour_margin_cm) | (other.inside_face & ~(behind & head.inside_face))
    return result & ~head.inside_face


def _person_mask(
    rgb: Float[np.ndarray, "s s 3"],
    person: Float[np.ndarray, "s s"],
    hair: Float[np.ndarray, "s s"],
    head: HeadMap,
    theirs: Bool[np.ndarray, "w w"],
) -> Bool[np.ndarray, "w w"]:
    """Return the person at ``WORK_PX``: one region with the face.

    Args:
        rgb: the crop.
        person, hair: probabilities by the networks.
        theirs: pixels of other people.
    """
    person, hair = (cv2.resize(each, (WORK_PX, WORK_PX), interpolation=cv2.INTER_AREA) for each in (person, hair))
    near = (head.distance_to_person_cm < _MATTE.reach_cm) | (head.ear > _MATTE.ear)
    may_be_hat = (head.height > _MATTE.hat_height) & (person > _MATTE.hat_certainty)
    near |= may_be_hat & (head.distance_to_person_cm < _MATTE.hat_reach_cm)
    is_hair = hair > INSIDE
    bare = (person > INSIDE) & near & ~is_hair
    unlike_wall = _unlike_wall(rgb, bare, person, head)
    bare = joined_to_face(bare, head) | (bare & (head.ear > _MATTE.ear))
    # What no network is certain of is a soft border if it is narrow, and something else behind the head if it is wide.
    certain = (np.maximum(person, hair) > _MATTE.certain) | head.inside_face
    decided = _distance_cm(~certain, head.frame.scale_px) < _MATTE.undecided_cm
    # Clothes are another matter: they are wide, often uncertain, and nothing else.
    bare &= decided | (head.height < _MATTE.beside_height)
    return _connected_to_face(((bare | (is_hair & decided) | unlike_wall) & ~theirs) | head.inside_face, head)


def _unlike_wall(
    rgb: Float[np.ndarray, "s s 3"],
    bare: Bool[np.ndarray, "w w"],
    person: Float[np.ndarray, "w w"],
    head: HeadMap,
) -> Bool[np.ndarray, "w w"]:
    """Return what is near the head and has no colour of the background: dyed hair, say, that the network missed."""
    s = _MATTE
    beside = (person < INSIDE) & (head.distance_to_person_cm < s.wall_cm)
    if not beside.any():
        return np.zeros_like(bare)
    index = _colour_index(cv2.resize(rgb, (WORK_PX, WORK_PX), interpolation=cv2.INTER_AREA))
    usual = gaussian_filter(_colour_histogram(index, beside), s.colour_blur_bins).ravel()[index]
    return bare & (head.distance_to_person_cm < s.reach_cm) & (usual < s.wall_colour)


def joined_to_face(bare: Bool[np.ndarray, "w w"], head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Drop what is beside or above the head without being hair and without reaching the face: a wall, a stranger."""
    beside = head.height > _MATTE.beside_height
    _, labels = cv2.connectedComponents(((bare | head.inside_face) & beside).astype(np.uint8), connectivity=4)
    in_face = np.unique(labels[head.inside_face & beside])
    return bare & (~beside | np.isin(labels, in_face[in_face > 0]))


def closed_form_alpha(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    mask: Bool[np.ndarray, "w w"],
    *,
    person: Float[np.ndarray, "s s"],
    hair: Float[np.ndarray, "s s"],
) -> Float[np.ndarray, "s s"]:
    """Return soft coverage around the border of a mask.

    Args:
        observed: the rectangle that the photo covers; beyond it the result is 0.
        mask: the person at ``WORK_PX``.
        person, hair: probabilities, which say where the mask is certain.
    """
    s, size = _MATTE, (_ALPHA_PX, _ALPHA_PX)
    rows, columns = np.flatnonzero(observed.any(1)), np.flatnonzero(observed.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    whole = cv2.resize(_extended(mask.astype(np.float32), window, len(rgb)), size, interpolation=cv2.INTER_LINEAR)
    inside, px = whole > INSIDE, _ALPHA_PX / _CROP_CM
    small, sure, hair = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (rgb, np.maximum(person, hair), hair)
    )
    depth, distance = _distance_cm(inside, px), _distance_cm(~inside, px)
    trimap = np.full(inside.shape, 0.5)
    trimap[(depth > s.certain_cm) & (sure > s.certain)] = 1
    trimap[distance > np.where(hair > s.flyaway, s.flyaway_cm, s.unknown_cm)] = 0
    ratio = _ALPHA_PX / len(rgb)
    part = tuple(slice(int(np.ceil(each[0] * ratio)), int((each[-1] + 1) * ratio)) for each in (rows, columns))
    alpha = inside.astype(np.float32)
    expected = cv2.GaussianBlur(np.where(inside, sure, 0), (0, 0), s.expected_cm * px)
    alpha[part] = _solve_matting(small[part], trimap[part], expected[part])
    soft = cv2.resize(alpha, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(observed, np.clip(soft, 0, 1), np.float32(0))


def _distance_cm(mask: Bool[np.ndarray, "h w"], px_per_cm: float) -> Float[np.ndarray, "h w"]:
    """Return how far each pixel of a mask lies from the nearest pixel outside; 0 outside."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / px_per_cm


def _colour_index(rgb: Float[np.ndarray, "h w 3"]) -> Integer[np.ndarray, "h w"]:
    """Return the bin of each pixel in a histogram over Lab."""
    bins = _MATTE.colour_bins
    lab = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2LAB)
    cell = np.clip((lab - [0, -60, -60]) / [100, 120, 120] * bins, 0, bins - 1).astype(int)
    return (cell[..., 0] * bins + cell[..., 1]) * bins + cell[..., 2]


def _colour_histogram(index: Integer[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "b b b"]:
    """Return the fraction of a region in each bin."""
    bins = _MATTE.colour_bins
    return np.bincount(index[region], minlength=bins**3).reshape((bins,) * 3) / max(region.sum(), 1)


def _looks_like(
    rgb: Float[np.ndarray, "h w 3"], first: Bool[np.ndarray, "h w"], *, rather_than: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels whose colour is far more usual in the first region: a wall seen through hair."""
    s, index = _MATTE, _colour_index(rgb)
    usual = [
        gaussian_filter(_colour_histogram(index, region), s.colour_blur_bins).ravel()[index]
        for region in (first, rather_than)
    ]
    return usual[0] > s.colour_ratio * np.maximum(usual[1], s.colour_floor)


def _solve_matting(
    rgb: Float[np.ndarray, "h w 3"], trimap: Float[np.ndarray, "h w"], expected: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Solve for alpha where the trimap has neither 0 nor 1, directly: conjugate gradients may not converge.

    Args:
        expected: what decides where colours do not.
    """
    known = (trimap == 0) | (trimap == 1)
    alpha = trimap.ravel().copy()
    if known.all() or not known.any():
        return trimap
    laplacian = cf_laplacian()(rgb.astype(np.float64), is_known=known.ravel()).tocsr()[~known.ravel()]
    inner, border = laplacian[:, ~known.ravel()], laplacian[:, known.ravel()]
    system = (inner + _MATTE.expected_weight * sp.identity(inner.shape[0])).tocsc()
    right = _MATTE.expected_weight * expected[~known] - border @ alpha[known.ravel()]
    factor = spla.splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0)
    alpha[~known.ravel()] = factor.solve(right)
    return np.clip(alpha, 0, 1).reshape(trimap.shape)


def foreground_colours(
    rgb: Float[np.ndarray, "s s 3"], alpha: Float[np.ndarray, "s s"], hair: Float[np.ndarray, "s s"]
) -> Float[np.ndarray, "s s 3"]:
    """Return the person's own colours: without the background's where a pixel holds both, continued outside.

    What is called hair and has the colour of the wall beside it is wall seen through hair: it tells no colour of hair.
    """
    s, px = _MATTE, len(rgb) / _CROP_CM
    depth, distance = _distance_cm(alpha > INSIDE, px), _distance_cm(alpha <= INSIDE, px)
    is_hair = hair > INSIDE
    beside = (distance > s.unknown_cm) & (distance < s.beside_cm)
    inner = is_hair & (depth > s.inner_cm)
    if inner.any() and beside.any():
        wall = is_hair & (depth < s.see_through_cm) & _looks_like(rgb, beside, rather_than=inner)
        alpha = np.where(wall, s.see_through_alpha, 1) * alpha
    return np.clip(estimate_foreground_ml()(rgb.astype(np.float64), alpha.astype(np.float64)), 0, 1).astype(np.float32)


def _connected_to_face(solid: Bool[np.ndarray, "w w"], head: HeadMap) -> Bool[np.ndarray, "w w"]:
    """Keep what is connected to the face once thin bridges are cut; fill small holes."""
    thin = max(1, round(_MATTE.bridge_cm * head.frame.scale_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thin + 1, 2 * thin + 1))
    opened = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    face = head.inside_face & solid
    _, labels = cv2.connectedComponents((opened | face).astype(np.uint8))
    areas_in_face = np.bincount(labels[face], minlength=2)
    areas_in_face[0] = 0
    core = (labels == areas_in_face.argmax()).astype(np.uint8)
    # Fine strands that opening removed come back where they touch the core.
    near = cv2.dilate(core, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * thin + 1, 4 * thin + 1)))
    whole = ((near > 0) & solid) | (core > 0)
    return _fill_small_holes(whole, _MATTE.hole_discs * thin * thin)


def _fill_small_holes(mask: Bool[np.ndarray, "n n"], area_px: int) -> Bool[np.ndarray, "n n"]:
    """Fill the holes below that area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    return mask | np.isin(labels, np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < area_px))


def soften(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    mask: Float[np.ndarray, "w w"],
    radius_cm: float,
) -> Float[np.ndarray, "s s"]:
    """Turn a hard mask at ``WORK_PX`` into a soft one at the crop's size that follows the edges of the picture.

    The mask is continued beyond the border of the photo, so that this border is no edge in it.

    Args:
        rgb: the crop; ``observed`` is the rectangle that the photo covers.
        radius_cm: of the guided filter.
    """
    side = rgb.shape[0]
    rows, columns = np.flatnonzero(observed.any(1)), np.flatnonzero(observed.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    large = cv2.resize(_extended(mask, window, side), (side, side), interpolation=cv2.INTER_LINEAR)
    radius_px = max(1, round(radius_cm * side / _CROP_CM))
    result = np.zeros((side, side), np.float32)
    soft = guided_filter(rgb[window], large[window], radius_px, _SOFTEN.epsilon)
    result[window] = np.clip((soft - _SOFTEN.haze) / _SOFTEN.contrast, 0, 1)
    return result


def _extended(mask: Float[np.ndarray, "w w"], window: tuple[slice, slice], side: int) -> Float[np.ndarray, "w w"]:
    """Replicate the values at the border of the observed ``window`` of the crop outward.

    Args:
        side: of the crop, in pixels.
    """
    ratio = side / mask.shape[0]
    inner = [(int(np.ceil(s.start / ratio)), int(s.stop // ratio)) for s in window]
    if any(stop - start < 2 for start, stop in inner):
        return mask
    (top, bottom), (left, right) = inner
    rest = ((top, mask.shape[0] - bottom), (left, mask.shape[1] - right))
    return np.pad(mask[top:bottom, left:right], rest, mode="edge")


def guided_filter(
    guide: Float[np.ndarray, "h w 3"], value: Float[np.ndarray, "h w"], radius_px: int, epsilon: float
) -> Float[np.ndarray, "h w"]:
    """Smooth ``value`` along the edges of ``guide``: locally, the result is an affine function of the guide's colour.

    Method: He, Sun, Tang, "Guided Image Filtering" (TPAMI 2013), colour guide. Range is not kept: clip the result.

    Args:
        epsilon: regulariser, a variance of the guide; edges below its root are smoothed away.
    """
    size = (2 * radius_px + 1,) * 2

    def box(image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "h w *c"]:
        return cv2.blur(image, size, borderType=cv2.BORDER_REFLECT)

    mean_i, mean_p = box(guide), box(value)
    c0, c1, c2 = np.moveaxis(box(guide * value[..., None]) - mean_i * mean_p[..., None], -1, 0)
    r, g, b = np.moveaxis(guide, -1, 0)
    mr, mg, mb = np.moveaxis(mean_i, -1, 0)
    rr, rg, rb = box(r * r) - mr * mr + epsilon, box(r * g) - mr * mg, box(r * b) - mr * mb
    gg, gb, bb = box(g * g) - mg * mg + epsilon, box(g * b) - mg * mb, box(b * b) - mb * mb + epsilon
    # Inverse of the symmetric 3x3 covariance by cofactors.
    irr, irg, irb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    igg, igb, ibb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * irr + rg * irg + rb * irb
    slope = np.stack(
        [irr * c0 + irg * c1 + irb * c2, irg * c0 + igg * c1 + igb * c2, irb * c0 + igb * c1 + ibb * c2], axis=-1
    )
    slope /= np.maximum(determinant, 1e-16)[..., None]
    offset = mean_p - (slope * mean_i).sum(-1)
    return (box(slope) * guide).sum(-1) + box(offset)
