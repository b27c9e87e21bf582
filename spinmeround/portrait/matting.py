"""Who is the person: a soft matte of one head and its body, without the neighbours.

A small network gives a first guess; colour models of this person and of this background (Rother et al., "GrabCut",
SIGGRAPH 2004) settle the uncertain band; a guided filter makes the edge soft where the picture's own edge is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from spinmeround.portrait import tflite
from spinmeround.portrait.head_map import HeadMap

MODEL = "selfie_segmentation.tflite"
WORK_PX = 384
"""Labels are found at this size and made soft at the size of the crop."""

_RADIUS_CM = 0.36


@functools.cache
def _model() -> tflite.TfliteModel:
    return tflite.load(MODEL)


def person_alpha(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    head: HeadMap,
    neighbours: Sequence[HeadMap],
    own_alpha: Float[np.ndarray, "s s"] | None = None,
) -> Float[np.ndarray, "s s"]:
    """Soft coverage of the person whose head is ``head``.

    Args:
        rgb: the crop, white outside ``observed``, which is a rectangle.
        head: the head's geometry at ``WORK_PX``; ``neighbours`` the same of every other face of the photo.
        own_alpha: the photo's own transparency, an upper bound; where it is a matte of just this person, the answer.
    """
    prior = np.where(observed, person_prior(rgb), 0).astype(np.float32)
    if own_alpha is not None:
        prior = np.minimum(prior, own_alpha)
    labels = _cut(rgb, observed, prior, head, _belongs_to_neighbour(head, neighbours))
    mask = _connected(labels.astype(np.float32), head)
    if own_alpha is not None and _agree(own_alpha, mask):
        return own_alpha
    alpha = soften(rgb, observed, mask)
    return alpha if own_alpha is None else np.minimum(alpha, own_alpha)


def _agree(own_alpha: Float[np.ndarray, "s s"], mask: Float[np.ndarray, "w w"]) -> bool:
    """Whether the photo's own transparency cuts out this one person, and is no mere frame around several things."""
    own = cv2.resize(own_alpha, mask.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
    ours = mask > 0.5
    return bool((own & ours).sum() > 0.93 * max((own | ours).sum(), 1))


def person_prior(rgb: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s"]:
    """First guess of coverage by the segmentation network, at two scales, each with its mirror image."""
    side = rgb.shape[0]
    fused = _segment(rgb)
    low, high = round(side * 0.14), round(side * 0.86)
    inner = _segment(rgb[low:high, low:high])
    margin = round(side * 0.09)
    weight = np.zeros_like(inner)
    weight[margin:-margin, margin:-margin] = 1
    weight = cv2.blur(weight, (margin, margin))
    part = fused[low:high, low:high]
    part += weight * (inner - part)
    return fused


def _segment(rgb: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s"]:
    small = cv2.resize(rgb, (256, 256), interpolation=cv2.INTER_AREA)
    run = _model()
    straight = run(small)[(1, 256, 256, 1)][0, ..., 0]
    mirrored = run(small[:, ::-1])[(1, 256, 256, 1)][0, :, ::-1, 0]
    mean = (straight + mirrored) / 2
    return cv2.resize(mean, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _belongs_to_neighbour(head: HeadMap, neighbours: Sequence[HeadMap]) -> Bool[np.ndarray, "w w"]:
    """Pixels clearly nearer to another person's head and trunk than to this one's."""
    mine = head.distance_to_person_cm
    result = np.zeros(mine.shape, bool)
    for other in neighbours:
        theirs = other.distance_to_person_cm * (other.frame.scale_px / head.frame.scale_px)
        behind = other.frame.scale_px < head.frame.scale_px
        result |= (theirs < mine - 1.5) | (other.inside_face & ~(behind & head.inside_face))
    return result & ~head.inside_face


def _cut(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    prior: Float[np.ndarray, "s s"],
    head: HeadMap,
    theirs: Bool[np.ndarray, "w w"],
) -> Bool[np.ndarray, "w w"]:
    """Person or not at ``WORK_PX``. Only the observed rectangle takes part: white padding has no colour to learn."""
    size = (WORK_PX, WORK_PX)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    guess = cv2.resize(prior, size, interpolation=cv2.INTER_AREA)
    seen = cv2.resize(observed.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    result = np.zeros((WORK_PX, WORK_PX), bool)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    kernel = np.ones((5, 5), np.uint8)
    trimap = np.where(guess > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[(head.skull < 0.75) & (guess <= 0.5)] = cv2.GC_PR_FGD  # a head has a top, whatever its hair looks like
    trimap[cv2.erode((guess > 0.95).astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    trimap[(cv2.dilate((guess > 0.05).astype(np.uint8), kernel) == 0) & (head.skull > 0.75)] = cv2.GC_BGD
    trimap[theirs] = cv2.GC_BGD
    trimap[cv2.erode(head.inside_face.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    result[window] = grab_cut(small[window], trimap[window])
    return result


def grab_cut(rgb: Float[np.ndarray, "h w 3"], trimap: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Foreground after two rounds of colour models and graph cut; certain pixels stay what they are."""
    sure, maybe = (trimap == cv2.GC_FGD).sum(), (trimap == cv2.GC_PR_FGD).sum()
    if sure + maybe < 16 or (trimap.size - sure - maybe) < 16:
        return np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    labels = trimap.copy()
    cv2.setRNGSeed(0)
    eight_bit = (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(eight_bit, labels, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)  # the rectangle is not used
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _connected(alpha: Float[np.ndarray, "w w"], head: HeadMap) -> Float[np.ndarray, "w w"]:
    """Keep what hangs together with the face once bridges thinner than about 6 mm are cut; fill small holes."""
    thin = max(1, round(0.3 * head.frame.scale_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thin + 1, 2 * thin + 1))
    solid = alpha > 0.5
    opened = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    face = head.inside_face & solid
    _, parts = cv2.connectedComponents((opened | face).astype(np.uint8))
    votes = np.bincount(parts[face], minlength=2)
    votes[0] = 0
    core = (parts == votes.argmax()).astype(np.uint8)
    # Fine strands that opening removed come back where they touch the core.
    near = cv2.dilate(core, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * thin + 1, 4 * thin + 1)))
    whole = ((near > 0) & solid) | (core > 0)
    return _without_small_holes(whole, 4 * thin * thin).astype(np.float32)


def _without_small_holes(mask: Bool[np.ndarray, "n n"], area: int) -> Bool[np.ndarray, "n n"]:
    _, parts, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    return mask | np.isin(parts, np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < area))


def soften(
    rgb: Float[np.ndarray, "s s 3"],
    observed: Bool[np.ndarray, "s s"],
    mask: Float[np.ndarray, "w w"],
    radius_cm: float = _RADIUS_CM,
) -> Float[np.ndarray, "s s"]:
    """A hard mask at ``WORK_PX`` to a soft one at the crop's size that follows the edges of the picture.

    The border of the photo is continued on both sides of it, so that it leaves no edge in the mask.
    """
    side = rgb.shape[0]
    rows, columns = np.flatnonzero(observed.any(1)), np.flatnonzero(observed.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    large = cv2.resize(_continued(mask, window, side), (side, side), interpolation=cv2.INTER_LINEAR)
    radius = max(1, round(radius_cm * side / 46))
    result = np.zeros((side, side), np.float32)
    soft = guided_filter(rgb[window], large[window], radius, 1e-4)
    # Contrast: local affine models leave a haze of a few per cent on either side of the edge.
    result[window] = np.clip((soft - 0.06) / 0.88, 0, 1)
    return result


def _continued(mask: Float[np.ndarray, "w w"], window: tuple[slice, slice], side: int) -> Float[np.ndarray, "w w"]:
    """The mask with its values at the border of the observed ``window`` of the crop carried on outward."""
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
    """Edge-aware smoothing: locally, the result is an affine function of the guide's colour.

    Method: He, Sun, Tang, "Guided Image Filtering" (TPAMI 2013), colour guide. Range is not kept: clip the result.
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
