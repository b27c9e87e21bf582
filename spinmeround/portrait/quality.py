"""What a photo is worth for a head, as physical measures: blur, light, what covers the face, how sure the matte is.

Measures only; what is good enough is a matter of ``spinmeround.inspection.quality``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import CHIN, FACE_OVAL, FACE_TOP, FaceMesh
from spinmeround.portrait.matting import INSIDE
from spinmeround.types import Portrait

_GAMMA = 2.2
"""Nominal, of the photo; good enough for ratios of brightness."""
_LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Rec. 709 weights of linear red, green and blue in luminance."""
_TINY = 1e-6
_DIFFERENCE_VARIANCE = 1 / 3
"""Of the box of two pixels that central differences blur a gradient by, squared pixels."""
_BESIDE_WEIGHT = 0.5
"""Of the border beside the head, against that above it."""

_BROWS: tuple[tuple[int, ...], ...] = (
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)
_EYES: tuple[tuple[int, ...], ...] = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_LIPS: tuple[tuple[int, ...], ...] = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
)
_NOSTRILS: tuple[tuple[int, ...], ...] = ((98, 97, 2, 326, 327, 358, 275, 4, 45, 129),)
_BETWEEN_BROWS, _NOSE_BASE = 9, 2
_MIRRORED = ((33, 263), (133, 362), (61, 291), (234, 454), (172, 397), (127, 356), (205, 425), (105, 334))
"""Pairs of landmarks that a mirror swaps."""


@dataclass(frozen=True)
class _BlurSettings:
    """How the blur of edges is measured.

    Attributes:
        face_px: height of a face above which the photo is shrunk first: a crop shows no finer detail.
        margin: around the outlines of eyes and brows, face heights.
        narrow_px, wide_px: standard deviations of the two blurs whose gradients are compared.
        strongest: fraction of the pixels around eyes and brows that count as edges, those of the largest gradients.
        sharpest: quantile of the ratio of gradients at these edges: a lid's edge is sharp where a brow's is not.
        most_px: reported where the picture has no edge at all.
    """

    face_px: float = 295.0
    margin: float = 0.06
    narrow_px: float = 0.8
    wide_px: float = 2.0
    strongest: float = 0.15
    sharpest: float = 0.75
    most_px: float = 8.0


@dataclass(frozen=True)
class _LightSettings:
    """How light is measured on cheeks and nose.

    Attributes:
        burnt_out: value, sRGB, from which on a channel is clipped; two clipped ones leave no colour.
        black: luminance, linear, below which 8 bits have few steps left, and noise is in all of them.
        cells: the plane is fitted to the medians of so many cells along each side of cheeks and nose, so that moles,
            glints and glasses do not count.
        least_pixels: of a cell.
    """

    burnt_out: float = 0.985
    black: float = 0.025
    cells: int = 12
    least_pixels: int = 6


@dataclass(frozen=True)
class _CoverSettings:
    """What is not skin by colour.

    Attributes:
        toward_grey: fraction of the way in chromaticity from the person's skin to grey, beyond which a pixel that is no
            highlight is not skin.
        other_hue: distance in chromaticity from the skin, in distances of the skin to grey, that is another colour.
        least_chroma: distance of skin to grey below which the photo has no colour, and only light counts.
        black_stops: so much darker than the skin is no shadow any more.
        border: width of the border between skin and features that is left out, in face heights.
    """

    toward_grey: float = 0.6
    other_hue: float = 0.8
    least_chroma: float = 0.03
    black_stops: float = 4.0
    border: float = 0.02


_BLUR = _BlurSettings()
_LIGHT = _LightSettings()
_COVER = _CoverSettings()


@dataclass(frozen=True)
class PhotoMeasures:
    """One photo in physical terms.

    Attributes:
        blur_px: standard deviation of the blur of the sharpest edges of eyes and brows, pixels of the photo, or of the
            photo shrunk to what a crop shows.
        face_height_px: hairline to chin, pixels of the photo.
        light_stops: how far light falls off over the face, factors of two from its brightest to its darkest side.
        burnt_out, black: fractions of cheeks and nose that are clipped, or have hardly any light.
        yaw_deg, pitch_deg: of the head as the camera sees it.
        covered: fraction of the face, without eyes, brows, mouth and fringe, that is not skin by colour.
        matte_doubt: area where the networks contradict the matte or hesitate, as a fraction of the head's.
        head_cut: length of the photo's border above the head, and half of that beside it, that the head with its hair
            reaches, in face heights.
    """

    blur_px: float
    face_height_px: float
    light_stops: float
    burnt_out: float
    black: float
    yaw_deg: float
    pitch_deg: float
    covered: float
    matte_doubt: float | None
    head_cut: float


def measure_photo(
    rgb: Float[np.ndarray, "h w 3"],
    mesh: FaceMesh,
    portrait: Portrait,
    *,
    head: HeadMap,
    person: Float[np.ndarray, "s s"] | None = None,
) -> PhotoMeasures:
    """Measure a photo and what was found in it.

    Args:
        rgb: the upright photo.
        mesh: the person's face in the photo.
        head: the same in the portrait, at any resolution.
        person: probability of a person in the portrait by a network; without it nothing is said of the matte.
    """
    small = np.clip(cv2.resize(portrait.rgb, (head.side_px, head.side_px), interpolation=cv2.INTER_AREA), 0, 1)
    stops, burnt_out, black = measure_light(small, head)
    yaw, pitch, _ = (float(angle) for angle in portrait.head_pose_deg)
    return PhotoMeasures(
        blur_px=edge_blur_px(rgb, mesh.landmarks_px),
        face_height_px=mesh.height_px,
        light_stops=stops,
        burnt_out=burnt_out,
        black=black,
        yaw_deg=yaw,
        pitch_deg=pitch,
        covered=covered_fraction(small, portrait.hair, head),
        matte_doubt=None if person is None else matte_doubt(portrait, person),
        head_cut=head_on_border(portrait),
    )


def edge_blur_px(rgb: Float[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "478 2"]) -> float:
    """Return the blur of the sharpest edges of eyes and brows, as the standard deviation of a Gaussian in pixels.

    Blurring an edge of width ``b`` by ``s`` leaves a gradient in proportion to ``1 / sqrt(b^2 + s^2)``, so that two
    blurs tell ``b`` whatever the contrast (Zhuo and Sim, "Defocus map estimation from a single image", 2011). Lids and
    brows have sharp edges in every face, and skin, smooth or not, has no part in it.
    """
    s = _BLUR
    height = float(np.linalg.norm(landmarks_px[FACE_TOP] - landmarks_px[CHIN]))
    around = landmarks_px[[i for polygon in (*_EYES, *_BROWS) for i in polygon]]
    margin = s.margin * height
    low = np.maximum(np.floor(around.min(0) - margin).astype(int), 0)
    high = np.minimum(np.ceil(around.max(0) + margin).astype(int), rgb.shape[1::-1])
    if (high - low < 4).any():
        return s.most_px
    grey = (rgb[low[1] : high[1], low[0] : high[0]] @ np.full(3, 1 / 3)).astype(np.float32)
    if (scale := s.face_px / height) < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    narrow, wide = (_gradient(cv2.GaussianBlur(grey, (0, 0), sigma)) for sigma in (s.narrow_px, s.wide_px))
    strong = (wide >= np.quantile(wide, 1 - s.strongest)) & (wide > _TINY)
    crest = strong & (narrow >= cv2.dilate(narrow, np.ones((3, 3), np.uint8)) - _TINY)
    if not crest.any():
        return s.most_px
    ratio = float(np.quantile(narrow[crest] / wide[crest], s.sharpest)) ** 2
    if ratio <= 1:
        return s.most_px
    variance = (s.wide_px**2 - ratio * s.narrow_px**2) / (ratio - 1) - _DIFFERENCE_VARIANCE
    return float(np.clip(np.sqrt(max(variance, 0)), 0, s.most_px))


def _gradient(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    rows, columns = np.gradient(grey)
    return np.hypot(rows, columns)


def measure_light(rgb: Float[np.ndarray, "w w 3"], head: HeadMap) -> tuple[float, float, float]:
    """Return how far light falls off over the face in stops, and the fractions of it that are burnt out and black.

    The fall-off is that of the plane that fits the logarithm of luminance over cheeks and nose, but for what covers
    them.

    Args:
        rgb: the portrait at the size of ``head``.
    """
    s, sure = _LIGHT, head.certain_skin
    if not sure.any():
        return 0.0, 0.0, 0.0
    linear = rgb.astype(np.float64) ** _GAMMA
    burnt_out = float((np.sort(rgb[sure], axis=1)[:, 1] > s.burnt_out).mean())
    black = float((linear[sure] @ _LUMA < s.black).mean())
    skin = sure & ~_not_skin(linear, sure)
    luminance = linear[skin] @ _LUMA
    rows, columns = np.nonzero(skin)
    place = np.stack([columns, rows], axis=1).astype(np.float64)
    if len(place) < s.least_pixels:
        return 0.0, burnt_out, black
    place = (place - place.min(0)) / np.maximum(np.ptp(place, axis=0), 1.0)
    cell = np.floor(place * s.cells).astype(int) @ [1, 2 * s.cells]
    names, counts = np.unique(cell, return_counts=True)
    stops = np.log2(np.maximum(luminance, _TINY))
    cells = [cell == name for name in names[counts >= s.least_pixels]]
    if len(cells) < 3:  # no plane
        return 0.0, burnt_out, black
    values = np.array([np.median(stops[each]) for each in cells])
    basis = np.array([[*place[each].mean(0), 1.0] for each in cells])
    slope = np.linalg.lstsq(basis, values, rcond=None)[0][:2]
    return float(np.hypot(*slope)), burnt_out, black


def covered_fraction(rgb: Float[np.ndarray, "w w 3"], hair: Float[np.ndarray, "s s"], head: HeadMap) -> float:
    """Return the fraction of the face that is not skin by colour: hair, glasses, a microphone, a scarf.

    Colour is chromaticity, which shadows keep. Hair over the forehead is a fringe, and what is symmetrical below the
    nose is a beard; neither covers a face.

    Args:
        rgb: the portrait at the size of ``head``.
        hair: share of hair in the portrait.
    """
    points, linear = head.landmarks_px, rgb.astype(np.float64) ** _GAMMA
    axis = points[CHIN] - points[FACE_TOP]
    height_px = max(float(np.linalg.norm(axis)), _TINY)
    border = max(1, round(_COVER.border * height_px))
    inner = cv2.erode(head.inside_face.astype(np.uint8), _disc(border)) > 0
    features = _fill(points, (*_EYES, *_BROWS, *_LIPS, *_NOSTRILS), linear.shape[:2])
    counts = inner & ~(cv2.dilate(features.astype(np.uint8), _disc(border)) > 0)
    y, x = np.mgrid[: linear.shape[0], : linear.shape[1]] + 0.5
    along = np.stack([x, y], axis=-1) @ (axis / height_px)
    fringe = cv2.resize(hair, linear.shape[1::-1], interpolation=cv2.INTER_AREA) > INSIDE
    counts &= ~(fringe & (along < points[_BETWEEN_BROWS] @ axis / height_px))
    reference = head.certain_skin & counts
    if not reference.any():
        return 0.0
    strange = _not_skin(linear, reference) & counts
    below_nose = along > points[_NOSE_BASE] @ axis / height_px
    grown = cv2.dilate(strange.astype(np.uint8), _disc(border))
    mirrored = cv2.warpAffine(grown, _mirror(points), linear.shape[1::-1], flags=cv2.INTER_NEAREST) > 0
    strange &= ~(below_nose & mirrored)
    strange = cv2.morphologyEx(strange.astype(np.uint8), cv2.MORPH_OPEN, _disc(1)) > 0
    return float(strange.sum() / max(counts.sum(), 1))


def _not_skin(linear: Float[np.ndarray, "w w 3"], reference: Bool[np.ndarray, "w w"]) -> Bool[np.ndarray, "w w"]:
    """Return the pixels whose colour is not that of the skin of ``reference`` in any light."""
    s = _COVER
    luminance = linear @ _LUMA
    chromaticity = linear[..., :2] / np.maximum(linear.sum(-1, keepdims=True), _TINY)
    skin, light = np.median(chromaticity[reference], axis=0), np.median(luminance[reference])
    to_grey = 1 / 3 - skin
    chroma = float(np.hypot(*to_grey))
    black = luminance < light * 2**-s.black_stops
    if chroma < s.least_chroma:
        return black
    offset = chromaticity - skin
    greyish = (offset @ to_grey / chroma**2 > s.toward_grey) & (luminance < light)
    other = np.hypot(*np.moveaxis(offset, -1, 0)) > s.other_hue * chroma
    towards_light = (offset @ to_grey > 0) & (luminance >= light)  # a highlight has the light's colour
    return black | greyish | (other & ~towards_light)


def _mirror(points: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "2 3"]:
    """Return the affine map that takes one side of the face to the other, by least squares."""
    pairs = np.array([*_MIRRORED, *(pair[::-1] for pair in _MIRRORED)])
    basis = np.column_stack([points[pairs[:, 0]] - 0.5, np.ones(len(pairs))])
    return np.linalg.lstsq(basis, points[pairs[:, 1]] - 0.5, rcond=None)[0].T


def matte_doubt(portrait: Portrait, person: Float[np.ndarray, "s s"]) -> float:
    """Return where the person network contradicts the matte or hesitates, above the chin, as a fraction of the head.

    What is hair by the hair network is doubtful only by half: person networks often leave out curls and flyaways.
    """
    chin = int(np.clip(portrait.landmarks_px[CHIN, 1], 1, len(portrait.alpha)))
    alpha, hair, seen = portrait.alpha[:chin], portrait.hair[:chin], portrait.observed[:chin]
    difference = np.abs(alpha - person[:chin]) * (1 - 0.5 * hair) * seen
    return float(difference.sum() / max(alpha.sum(), 1.0))


def head_on_border(portrait: Portrait) -> float:
    """Return how much of the photo's border is head, hair or headwear, in face heights.

    Beside the head, down to the chin, it counts by half: hair that hangs there is missed less than a crown.
    """
    seen, points = portrait.observed, portrait.landmarks_px
    head = portrait.alpha - portrait.clothes > INSIDE
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return 0.0
    beside = slice(rows[0], max(int(points[CHIN, 1]), rows[0] + 1))
    length = 0.0
    if rows[0] > 0:  # else the crop ends here, and the photo goes on
        length += head[rows[0]].sum()
    if columns[0] > 0:
        length += _BESIDE_WEIGHT * head[beside, columns[0]].sum()
    if columns[-1] < head.shape[1] - 1:
        length += _BESIDE_WEIGHT * head[beside, columns[-1]].sum()
    return float(length / max(np.linalg.norm(points[FACE_TOP] - points[CHIN]), 1.0))


def face_mask(points_px: Float[np.ndarray, "478 2"], side_px: int) -> Bool[np.ndarray, "s s"]:
    """Rasterize the face oval of landmarks in a square picture."""
    return _fill(points_px, (FACE_OVAL,), (side_px, side_px))


def _fill(
    points_px: Float[np.ndarray, "478 2"], polygons: tuple[tuple[int, ...], ...], shape: tuple[int, ...]
) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(points_px[list(polygon)] - 0.5).astype(np.int32)], 1)
    return mask > 0


def _disc(radius_px: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
