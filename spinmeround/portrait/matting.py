"""Matting: the alpha matte of one person of a photo, without the people beside.

A small segmentation network gives a prior. Colour models of this person and of this background (Rother et al.,
"GrabCut", SIGGRAPH 2004) decide the uncertain band. A guided filter makes the edge soft along the picture's own edge.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from spinmeround.portrait import tflite
from spinmeround.portrait.head_map import HeadMap
from spinmeround.types import HeadCrop

MODEL = "selfie_segmentation.tflite"
WORK_PX = 384
"""Labels are found at this size and made soft at the size of the crop."""
INSIDE = 0.5
"""Coverage or probability above which a pixel is inside a mask."""

_NETWORK_PX = 256
"""Side of the segmentation network's input and output."""
_CROP_CM = 46.0
"""Nominal side of a crop: 2.6 faces of 17.66 cm; turns a radius in centimetres into pixels of the crop."""


@dataclass(frozen=True)
class _MatteSettings:
    """Settings of the matte. Fractions are of the crop's side unless stated otherwise.

    Attributes:
        inner_low, inner_high: the square around the head in which the network runs a second time, at a larger scale.
        blend_margin: width of the border over which its result is blended in.
        own_alpha_iou: intersection over union with the matte found here from which on the photo's own transparency is
            taken for a matte of this one person, and is no mere frame around several things.
        near_cm: other people this far from the crop or nearer take part.
        neighbour_margin_cm: a pixel belongs to a neighbour if it is nearer to that head and trunk by this much.
        band_px: side of the kernel that keeps a band at the border of certain regions uncertain.
        certain_person, certain_background: prior beyond which a pixel is not uncertain.
        skull: ``HeadMap.skull`` inside which a head is expected, whatever its hair looks like.
        bridge_cm: half the width of bridges between regions that opening cuts.
        hole_discs: holes below this many squared bridge radii are filled.
        radius_cm: of the guided filter at the border of the person.
        epsilon: of the guided filter: variance of colour below which the picture has no edge.
        haze, contrast: the result is (soft - haze) / contrast: local affine models leave a haze of a few per cent on
            either side of the edge.
    """

    inner_low: float = 0.14
    inner_high: float = 0.86
    blend_margin: float = 0.09
    own_alpha_iou: float = 0.93
    near_cm: float = 1.0
    neighbour_margin_cm: float = 1.5
    band_px: int = 5
    certain_person: float = 0.95
    certain_background: float = 0.05
    skull: float = 0.75
    bridge_cm: float = 0.3
    hole_discs: int = 4
    radius_cm: float = 0.36
    epsilon: float = 1e-4
    haze: float = 0.06
    contrast: float = 0.88


@dataclass(frozen=True)
class _GrabCutSettings:
    """Settings of ``cv2.grabCut``.

    Attributes:
        rounds: of colour models and graph cut.
        least_pixels: of foreground and of background, below which no colour model is learnt.
        model_size: numbers of one colour model: five Gaussians of 13 parameters each.
    """

    rounds: int = 2
    least_pixels: int = 16
    model_size: int = 65


_MATTE = _MatteSettings()
_GRAB_CUT = _GrabCutSettings()


@functools.cache
def _model() -> tflite.TfliteModel:
    return tflite.load(MODEL)


class SelfieMatte:
    """``MatteModel``: MediaPipe's selfie segmentation, its uncertain band settled by colour."""

    def matte(self, crop: HeadCrop) -> Float[np.ndarray, "s s"]:
        """Return the alpha matte of the person; neighbours near the crop take part."""
        head, *neighbours = (
            HeadMap.of(face, picture_px=len(crop.rgb), side_px=WORK_PX) for face in (crop.face, *crop.neighbours)
        )
        near = [each for each in neighbours if each.distance_to_person_cm.min() < _MATTE.near_cm]
        return person_alpha(crop.rgb, crop.observed, head, near, crop.alpha)


def person_alpha(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    head: HeadMap,
    neighbours: Sequence[HeadMap],
    own_alpha: Float[np.ndarray, "s s"] | None = None,
) -> Float[np.ndarray, "s s"]:
    """Return the alpha matte of the person whose head is ``head``.

    Args:
        rgb: the crop, white outside ``observed``, which is a rectangle.
        head: the head's geometry at ``WORK_PX``; ``neighbours`` the same of every other face of the photo.
        own_alpha: the photo's own transparency. It is an upper bound, and the result if it cuts out just this person.
    """
    prior = np.where(observed, person_prior(rgb), 0).astype(np.float32)
    if own_alpha is not None:
        prior = np.minimum(prior, own_alpha)
    labels = _person_labels(rgb, observed, prior, head, _belongs_to_neighbour(head, neighbours))
    mask = _connected_to_face(labels.astype(np.float32), head)
    if own_alpha is not None and _is_same_person(own_alpha, mask):
        return own_alpha
    alpha = soften(rgb, observed, mask)
    return alpha if own_alpha is None else np.minimum(alpha, own_alpha)


def _is_same_person(own_alpha: Float[np.ndarray, "s s"], mask: Float[np.ndarray, "w w"]) -> bool:
    """Check whether the photo's own transparency cuts out this one person."""
    own = cv2.resize(own_alpha, mask.shape[::-1], interpolation=cv2.INTER_AREA) > INSIDE
    found = mask > INSIDE
    return bool((own & found).sum() > _MATTE.own_alpha_iou * max((own | found).sum(), 1))


def person_prior(rgb: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s"]:
    """Return the probability of a person by the segmentation network, at two scales, each with its mirror image."""
    side = rgb.shape[0]
    fused = _segment(rgb)
    low, high = round(side * _MATTE.inner_low), round(side * _MATTE.inner_high)
    inner = _segment(rgb[low:high, low:high])
    margin = round(side * _MATTE.blend_margin)
    weight = np.zeros_like(inner)
    weight[margin:-margin, margin:-margin] = 1
    weight = cv2.blur(weight, (margin, margin))
    centre = fused[low:high, low:high]
    centre += weight * (inner - centre)
    return fused


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


def _person_labels(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    prior: Float[np.ndarray, "s s"],
    head: HeadMap,
    theirs: Bool[np.ndarray, "w w"],
) -> Bool[np.ndarray, "w w"]:
    """Label the person at ``WORK_PX``. Only the observed rectangle takes part: white padding has no colour to learn.

    Args:
        prior: probability of a person.
        theirs: pixels of other people.
    """
    size = (WORK_PX, WORK_PX)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    prior = cv2.resize(prior, size, interpolation=cv2.INTER_AREA)
    seen = cv2.resize(observed.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    result = np.zeros((WORK_PX, WORK_PX), bool)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    kernel = np.ones((_MATTE.band_px, _MATTE.band_px), np.uint8)
    trimap = np.where(prior > INSIDE, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[(head.skull < _MATTE.skull) & (prior <= INSIDE)] = cv2.GC_PR_FGD
    trimap[cv2.erode((prior > _MATTE.certain_person).astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    possible = cv2.dilate((prior > _MATTE.certain_background).astype(np.uint8), kernel)
    trimap[(possible == 0) & (head.skull > _MATTE.skull)] = cv2.GC_BGD
    trimap[theirs] = cv2.GC_BGD
    trimap[cv2.erode(head.inside_face.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    result[window] = grab_cut(small[window], trimap[window])
    return result


def grab_cut(rgb: Float[np.ndarray, "h w 3"], trimap: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the foreground after two rounds of colour models and graph cut; certain pixels stay what they are.

    Args:
        trimap: ``cv2``'s labels ``GC_BGD``, ``GC_FGD``, ``GC_PR_BGD`` and ``GC_PR_FGD``.
    """
    foreground = (trimap == cv2.GC_FGD).sum() + (trimap == cv2.GC_PR_FGD).sum()
    if min(foreground, trimap.size - foreground) < _GRAB_CUT.least_pixels:
        return np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    labels = trimap.copy()
    cv2.setRNGSeed(0)
    eight_bit = (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    models = np.zeros((1, _GRAB_CUT.model_size)), np.zeros((1, _GRAB_CUT.model_size))
    no_rectangle = (0, 0, 0, 0)
    cv2.grabCut(eight_bit, labels, no_rectangle, *models, _GRAB_CUT.rounds, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _connected_to_face(alpha: Float[np.ndarray, "w w"], head: HeadMap) -> Float[np.ndarray, "w w"]:
    """Keep what is connected to the face once thin bridges are cut; fill small holes."""
    thin = max(1, round(_MATTE.bridge_cm * head.frame.scale_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thin + 1, 2 * thin + 1))
    solid = alpha > INSIDE
    opened = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    face = head.inside_face & solid
    _, labels = cv2.connectedComponents((opened | face).astype(np.uint8))
    areas_in_face = np.bincount(labels[face], minlength=2)
    areas_in_face[0] = 0
    core = (labels == areas_in_face.argmax()).astype(np.uint8)
    # Fine strands that opening removed come back where they touch the core.
    near = cv2.dilate(core, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * thin + 1, 4 * thin + 1)))
    whole = ((near > 0) & solid) | (core > 0)
    return _fill_small_holes(whole, _MATTE.hole_discs * thin * thin).astype(np.float32)


def _fill_small_holes(mask: Bool[np.ndarray, "n n"], area_px: int) -> Bool[np.ndarray, "n n"]:
    """Fill the holes below that area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    return mask | np.isin(labels, np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < area_px))


def soften(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    mask: Float[np.ndarray, "w w"],
    radius_cm: float = _MATTE.radius_cm,
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
    soft = guided_filter(rgb[window], large[window], radius_px, _MATTE.epsilon)
    result[window] = np.clip((soft - _MATTE.haze) / _MATTE.contrast, 0, 1)
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
