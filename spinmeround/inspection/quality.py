"""A word on the result: figures in [0, 1] for the photo and for the head, a verdict, and the reasons that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float
from skimage.color import deltaE_ciede2000, rgb2lab

from spinmeround.images import composite
from spinmeround.portrait.landmarks import (
    CHIN,
    FACE_TOP,
    LEFT_EYE_OUTER,
    RIGHT_EYE_OUTER,
    FaceMesh,
    fit_mesh,
)
from spinmeround.portrait.quality import PhotoMeasures, face_mask
from spinmeround.template.generator import TemplateHead
from spinmeround.types import Portrait, Views

Verdict = Literal["good", "fair", "poor"]

_COMPARED_PX = 320
"""Side of the pictures that photo and render are compared in: the landmark model sees a face at half that height."""
_COLOUR_BLUR = 0.03
"""Standard deviation of the blur before colours are compared, face heights: tone, not pores."""
_INSIDE = 0.5
_DIGITS = 2


@dataclass(frozen=True)
class Scale:
    """A figure from a measure: 0 at ``worst`` and beyond, 1 at ``best`` and beyond, even between them.

    Attributes:
        logarithmic: even in ratios, for sizes.
    """

    worst: float
    best: float
    logarithmic: bool = False

    def figure(self, value: float) -> float:
        """Return the figure of a measure."""
        worst, best = self.worst, self.best
        if self.logarithmic:
            value, worst, best = log(max(value, 1e-9)), log(worst), log(best)
        return min(max((value - worst) / (best - worst), 0.0), 1.0)


@dataclass(frozen=True)
class QualityScales:
    """Where the scales of the figures begin and end, and when a result is good or poor.

    Attributes:
        blur_px: one pixel, .6 mm of a face that fills its crop, is as sharp as cameras are; with 2.5 an edge is spread
            over 6 mm, and lids, lashes and the hairs of a brow are one.
        face_height_px: below 40 a photo is refused; a crop shows a face of 250 and more without enlarging it.
        light_stops: two are a portrait's usual light; at 7 of them the bright or the dark side of 8 bits is lost.
        clipped: fraction of cheeks and nose without colour; a glint on each is some hundredths.
        yaw_deg, pitch_deg: up to the best both cheeks are seen; at the worst the photo is refused. Models of faces tell
            pitch apart from the shape of a face only to about 10 degrees.
        covered: lashes, shadows of the nose and stubble are some hundredths of a face; sunglasses cover a fifth, and so
            does a hand or a microphone before the mouth.
        matte_doubt: soft edges of hair are 2 to 3 % of a head; an eighth of it is a wrong outline on a whole side.
        head_cut: face heights of the head along the border; a head is about one wide, with hair 1.2.
        landmark_share: mean error of landmarks, of the distance of the eyes: landmark models repeat to 1 %, 0.6 mm;
            4 % are 2.5 mm, another nose.
        skin_iou: overlap of bare skin and its outline in the fit.
        likeness_share: landmarks found in the render against the photo's, of the distance of the eyes' outer corners:
            1.5 % are 1.4 mm, which a model is off by between two pictures of one face; 6 % are another face.
        likeness_colour: CIEDE2000 of blurred colours; 4 are hardly seen side by side, 15 are another colour.
        likeness_iou: overlap of the head's outline with the matte, above the chin.
        hidden_skin, hidden_hair: fraction that no photo shows. One from the front leaves 80 % of the skin of head
            and neck, and 90 % of the hair, which is the usual case and no fault.
        good: a result is good if no figure is below this.
        poor: it is poor if one is below this, or ...
        poor_pair: ... if the mean of the two lowest is.
        told: a figure from here on is no reason.
    """

    blur_px: Scale = Scale(2.5, 0.9, logarithmic=True)
    face_height_px: Scale = Scale(40.0, 250.0, logarithmic=True)
    light_stops: Scale = Scale(7.0, 2.0)
    clipped: Scale = Scale(0.5, 0.05)
    yaw_deg: Scale = Scale(58.0, 15.0)
    pitch_deg: Scale = Scale(45.0, 20.0)
    covered: Scale = Scale(0.22, 0.04)
    matte_doubt: Scale = Scale(0.125, 0.03)
    head_cut: Scale = Scale(1.2, 0.05)
    landmark_share: Scale = Scale(0.04, 0.01)
    skin_iou: Scale = Scale(0.75, 0.95)
    likeness_share: Scale = Scale(0.06, 0.015)
    likeness_colour: Scale = Scale(15.0, 4.0)
    likeness_iou: Scale = Scale(0.75, 0.96)
    hidden_skin: Scale = Scale(1.0, 0.8)
    hidden_hair: Scale = Scale(1.0, 0.9)
    good: float = 0.4
    poor: float = 0.2
    poor_pair: float = 0.25
    told: float = 0.75


SCALES = QualityScales()


@dataclass(frozen=True)
class Likeness:
    """How far a picture of the head is from the photo.

    Attributes:
        landmark_share: mean distance of landmarks in distances of the eyes' outer corners; None if no face is found.
        colour: median CIEDE2000 of the face's blurred colours.
        outline_iou: intersection over union of head and matte above the chin.
    """

    landmark_share: float | None
    colour: float
    outline_iou: float


@dataclass(frozen=True)
class PhotoFit:
    """The head against one photo.

    Attributes:
        landmark_share: mean error of the fit's landmarks in distances of the eyes.
        skin_iou: overlap of the head's mask and the matte where that is bare skin.
    """

    landmark_share: float
    skin_iou: float
    likeness: Likeness


@dataclass(frozen=True)
class HeadMeasures:
    """A head that was fitted to photos.

    Attributes:
        fits: one for each photo.
        observed_skin, observed_hair: fractions that a photo shows; None for the hair of a bald head.
    """

    fits: tuple[PhotoFit, ...]
    observed_skin: float
    observed_hair: float | None


@dataclass(frozen=True)
class Quality:
    """What to think of a result.

    Attributes:
        figures: in [0, 1], 1 is good; None where nothing is known.
        reasons: at most two, the worst first; none if the verdict is good.
    """

    figures: Mapping[str, float | None]
    verdict: Verdict
    reasons: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return what the report holds."""
        figures = {name: None if value is None else round(value, _DIGITS) for name, value in self.figures.items()}
        return {"verdict": self.verdict, "reasons": list(self.reasons), **figures}

    @property
    def sentence(self) -> str:
        """One line for people."""
        return f"quality: {self.verdict}" + (f" ({'; '.join(self.reasons)})" if self.reasons else "")


FIGURES = ("sharpness", "size", "light", "pose", "occlusion", "matte", "fit", "likeness", "hidden")
"""All figures: those of the photo, of the fit, and of what nobody saw."""
_BEST_PHOTO_COUNTS = ("sharpness", "size", "pose")
"""Of several photos each region is taken from the one that sees it best; what else is wrong in one shows on the
head."""


@dataclass(frozen=True)
class _Judged:
    """A figure, and what to say if it is low."""

    figure: float
    reason: str


def assess(
    photos: Sequence[PhotoMeasures], head: HeadMeasures | None = None, *, scales: QualityScales = SCALES
) -> Quality:
    """Judge a result by what is known of it.

    Args:
        photos: measures of each photo, at least one.
        head: measures of the head, if the prior fits one.
    """
    by_photo = [_judge_photo(each, scales) for each in photos]
    if head is not None:
        by_photo += [_judge_fit(each, scales) for each in head.fits] + [_judge_hidden(head, scales)]
    judged: dict[str, _Judged] = {}
    for name in FIGURES:
        found = [each[name] for each in by_photo if name in each]
        if found:
            pick = max if name in _BEST_PHOTO_COUNTS else min
            judged[name] = pick(found, key=lambda each: each.figure)
    return _verdict(judged, scales)


def _verdict(judged: Mapping[str, _Judged], scales: QualityScales) -> Quality:
    lowest = sorted(judged.values(), key=lambda each: each.figure)[:2]
    figures = {name: judged[name].figure if name in judged else None for name in FIGURES}
    if lowest[0].figure >= scales.good:
        return Quality(figures, "good")
    mean = sum(each.figure for each in lowest) / len(lowest)
    verdict: Verdict = "poor" if lowest[0].figure < scales.poor or mean < scales.poor_pair else "fair"
    return Quality(figures, verdict, tuple(each.reason for each in lowest if each.figure < scales.told))


def _worst(*judged: _Judged) -> _Judged:
    return min(judged, key=lambda each: each.figure)


def _judge_photo(photo: PhotoMeasures, scales: QualityScales) -> dict[str, _Judged]:
    """Return the figures of one photo."""
    s = scales
    matte = [_Judged(s.head_cut.figure(photo.head_cut), "the head or its hair reaches over the photo's border")]
    if photo.matte_doubt is not None:
        unclear = "it is not clear where the head ends and the background begins"
        matte.append(_Judged(s.matte_doubt.figure(photo.matte_doubt), unclear))
    turned = f"the face is turned aside by {abs(photo.yaw_deg):.0f} degrees"
    nods = f"the face looks {'up' if photo.pitch_deg > 0 else 'down'} by {abs(photo.pitch_deg):.0f} degrees"
    return {
        "sharpness": _Judged(s.blur_px.figure(photo.blur_px), "the photo is blurred"),
        "size": _Judged(
            s.face_height_px.figure(photo.face_height_px), f"the face is only {photo.face_height_px:.0f} pixels high"
        ),
        "light": _worst(
            _Judged(s.light_stops.figure(photo.light_stops), "the light comes from one side"),
            _Judged(s.clipped.figure(photo.burnt_out), "the face is overexposed"),
            _Judged(s.clipped.figure(photo.black), "the face is underexposed"),
        ),
        "pose": _worst(
            _Judged(s.yaw_deg.figure(abs(photo.yaw_deg)), turned),
            _Judged(s.pitch_deg.figure(abs(photo.pitch_deg)), nods),
        ),
        "occlusion": _Judged(s.covered.figure(photo.covered), "something covers part of the face"),
        "matte": _worst(*matte),
    }


def _judge_fit(head: PhotoFit, scales: QualityScales) -> dict[str, _Judged]:
    """Return the figures of the head against one photo."""
    s, like = scales, head.likeness
    share = 0.0 if like.landmark_share is None else s.likeness_share.figure(like.landmark_share)
    features = "no face is found in the head's picture" if like.landmark_share is None else "the features sit elsewhere"
    return {
        "fit": _worst(
            _Judged(s.landmark_share.figure(head.landmark_share), "the head could not follow the face's features"),
            _Judged(s.skin_iou.figure(head.skin_iou), "the head could not follow the face's outline"),
        ),
        "likeness": _worst(
            _Judged(share, features + " than in the photo" * (like.landmark_share is not None)),
            _Judged(s.likeness_colour.figure(like.colour), "the face's colours are not those of the photo"),
            _Judged(s.likeness_iou.figure(like.outline_iou), "hair and outline are not those of the photo"),
        ),
    }


def _judge_hidden(head: HeadMeasures, scales: QualityScales) -> dict[str, _Judged]:
    """Return the figure of what no photo shows."""
    parts = [("skin", head.observed_skin, scales.hidden_skin)]
    if head.observed_hair is not None:
        parts.append(("hair", head.observed_hair, scales.hidden_hair))
    return {
        "hidden": _worst(
            *(
                _Judged(scale.figure(1 - share), f"{1 - share:.0%} of the {part} is made up, no photo shows it")
                for part, share, scale in parts
            )
        )
    }


def measure_head(head: TemplateHead, portraits: Sequence[Portrait]) -> HeadMeasures:
    """Measure a fitted head against the photos it was fitted to.

    Args:
        portraits: one for each photo, in the order of the fit.
    """
    fits = tuple(
        PhotoFit(
            fitted.landmark_error_iod,
            fitted.silhouette_iou,
            measure_likeness(head.as_photographed(index, size_px=_COMPARED_PX), portrait),
        )
        for index, (fitted, portrait) in enumerate(zip(head.head.photos, portraits, strict=True))
    )
    return HeadMeasures(
        fits, float(head.skin.observed.mean()), head.hair.texture.observed_fraction if head.hair else None
    )


def measure_likeness(view: Views, portrait: Portrait) -> Likeness:
    """Compare a picture of the head from the photo's own camera, with its expression, with the photo.

    Args:
        view: one view of the whole portrait square.
    """
    side = view.cameras.width_px
    points = portrait.landmarks_px * (side / portrait.rgb.shape[1])
    photo, alpha, clothes = (
        cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA)
        for each in (portrait.foreground, portrait.alpha, portrait.clothes)
    )
    seen = cv2.resize(portrait.observed.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) > _INSIDE
    drawn = composite(view.rgb, view.alpha)[0].astype(np.float32)
    above_chin = (np.arange(side) + 0.5 < points[CHIN, 1])[:, None] & seen
    ours, theirs = (view.alpha[0] > _INSIDE) & above_chin, (alpha - clothes > _INSIDE) & above_chin
    face = face_mask(points, side) & seen & (view.alpha[0] > _INSIDE)
    return Likeness(
        _landmark_share(drawn, portrait, points),
        _colour_difference(drawn, photo, points)[face].mean().item() if face.any() else float("inf"),
        float((ours & theirs).sum() / max((ours | theirs).sum(), 1)),
    )


def _landmark_share(
    drawn: Float[np.ndarray, "s s 3"], portrait: Portrait, points: Float[np.ndarray, "478 2"]
) -> float | None:
    """Return the mean distance of landmarks in the picture to those of the photo, in distances of the eyes."""
    start = FaceMesh(points.astype(np.float32), np.zeros(len(points), np.float32), portrait.blendshapes, 1.0)
    found = fit_mesh(drawn, start)
    if found is None:
        return None
    eyes = float(np.linalg.norm(points[LEFT_EYE_OUTER] - points[RIGHT_EYE_OUTER]))
    return float(np.linalg.norm(found.landmarks_px - points, axis=1).mean() / max(eyes, 1.0))


def _colour_difference(
    drawn: Float[np.ndarray, "s s 3"], photo: Float[np.ndarray, "s s 3"], points: Float[np.ndarray, "478 2"]
) -> Float[np.ndarray, "s s"]:
    """Return CIEDE2000 of the blurred pictures."""
    sigma = max(_COLOUR_BLUR * float(np.linalg.norm(points[FACE_TOP] - points[CHIN])), 0.5)
    lab = [rgb2lab(np.clip(cv2.GaussianBlur(each, (0, 0), sigma), 0, 1)) for each in (drawn, photo)]
    return deltaE_ciede2000(*lab)
