"""The person's own skin: where it is painted, its usual colour from sure places, and what is unlike it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from spinmeround.geometry import MILLIMETRE
from spinmeround.images import blurred
from spinmeround.numerics import smooth_ramp
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import HeadModel, landmark_points
from spinmeround.template.texture.fill import Layer, MembraneSolver, screening_weight, window_of

_SURE = (50, 280, 101, 330, 117, 346, 205, 425, 36, 266, 151, 9, 4, 108, 337)
"""Landmarks on cheeks, nose and forehead: skin in everybody, whatever grows or is worn elsewhere."""
_BEARD_CORE = (152, 175, 199, 200, 164, 167, 393, 136, 365, 149, 378)
"""Landmarks where a beard or moustache grows if there is any: chin, upper lip, edge of the jaw."""
_FEATURES = (61, 291, 164, 0, 17, 4, 2, 48, 278, 168, 33, 133, 362, 263, 70, 107, 336, 300)
"""Landmarks on mouth, nose, eyes and brows."""
_BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
# fmt: off
_FEATURE_OUTLINES = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
    263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249,
    *_BROWS,
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375,
    168, 6, 197, 195, 5, 4, 2, 48, 278, 98, 327, 13, 14,
)
# fmt: on
"""Landmarks around eyes, brows, mouth and nose."""
_NOSE_BASE, _EAR_BASE, _CHIN, _EYE_CORNER = 2, 323, 152, 263
_MIN_COLOUR = 0.02
"""Darker colours are taken for this one, sRGB in [0, 1]: the logarithm of black has no bound."""


@dataclass(frozen=True)
class _ToneSettings:
    """Constants of what counts as the person's skin. Differences are natural logarithms of sRGB colours.

    Attributes:
        sure_radius_mm: patches around the landmarks on sure skin, millimetres.
        core_radius_mm: patches around the landmarks on a beard, millimetres.
        min_weight: sure skin needs this summed weight, or a colour that most people are near to is taken, texels.
        rounds: of reweighting; beards, glasses, shadows and highlights on a part of the patches lose their say.
        robust_scale: vertices that are unlike the median by so many times the tolerances count half.
        brightness: difference in brightness that is half-way to something else: soft shadows are within it.
        chroma: difference in colour without brightness that is half-way to something else.
        trust_power: power of the weights with which texels give their vertex its colour.
        haired: coverage by hair between which what is seen comes to be hair.
        features_mm: distances to mouth, nose, eyes and brows between which the centre of the face ends, millimetres.
        core_features_mm: distances to their outlines between which that ends where nothing else is, millimetres.
        brows_mm: distances to the brows between which their hairs end, millimetres.
        bearded: fraction of the beard's core that is unlike skin between which a face becomes bearded.
        core_unlike: unlikeness from which a place in the core is hair.
        hairs: standard deviation of the blur that hairs of a beard do not outlast, fraction of the texture's side.
        hairy: mean differences from that blur, natural logarithms, between which a dark chin comes to have a beard, ...
        sharp: ... and, on brows, between which a photo comes to be so sharp that this can be said.
        beard_edge_mm: the border of where beards grow is so soft, millimetres.
        beard_below_chin_mm: they grow down to here, from the chin to the lobes of the ears, millimetres below them.
        sideburn_mm: so far before the lobes they reach up to the eyes, millimetres.
    """

    sure_radius_mm: float = 9
    core_radius_mm: float = 6
    min_weight: float = 20
    rounds: int = 6
    robust_scale: float = 0.5
    brightness: float = 0.35
    chroma: float = 0.11
    trust_power: int = 3
    haired: tuple[float, float] = (0.3, 0.8)
    features_mm: tuple[float, float] = (24, 36)
    core_features_mm: tuple[float, float] = (5, 14)
    brows_mm: tuple[float, float] = (3.0, 7.0)
    bearded: tuple[float, float] = (0.25, 0.6)
    core_unlike: float = 1.0
    hairs: float = 0.002
    hairy: tuple[float, float] = (0.026, 0.038)
    sharp: tuple[float, float] = (0.012, 0.02)
    beard_edge_mm: float = 8
    beard_below_chin_mm: float = 25
    sideburn_mm: float = 30


_TONE = _ToneSettings()
_DEFAULT_SKIN_RGB = np.array([0.72, 0.55, 0.47])
"""Colour of skin where a photo shows too little of it, sRGB."""


@dataclass(frozen=True)
class SkinPlaces:
    """Where on the head skin is sure, and where a beard may grow, per dense vertex.

    Attributes:
        sure: 1 on patches of cheeks, nose and forehead, falling to 0 at their border.
        features: 1 around mouth, nose, eyes and brows, 0 elsewhere.
        core_features: the same, just around them.
        own: 1 there, where all that is seen is this person's, and above the eyes, where hair begins; 0 on cheeks, jaw
            and neck.
        brows: 1 on the brows.
        beard: 1 where a beard may grow, with a soft border.
        beard_core: vertices that are hair in all who have a beard.
    """

    sure: Float[np.ndarray, "m"]
    features: Float[np.ndarray, "m"]
    core_features: Float[np.ndarray, "m"]
    own: Float[np.ndarray, "m"]
    brows: Float[np.ndarray, "m"]
    beard: Float[np.ndarray, "m"]
    beard_core: Float[np.ndarray, "m"]

    @staticmethod
    def on(model: HeadModel) -> SkinPlaces:
        """Return the places on the dense vertices of the mean head."""
        dense = np.asarray(model.dense(model.mean), np.float64)
        landmarks = np.asarray(landmark_points(model, model.mean), np.float64)
        core = cKDTree(landmarks[list(_BEARD_CORE)]).query(dense)[0] < _TONE.core_radius_mm * MILLIMETRE
        near_sure = cKDTree(landmarks[list(_SURE)]).query(dense)[0] / (_TONE.sure_radius_mm * MILLIMETRE)
        nose, ear, chin, eye = landmarks[[_NOSE_BASE, _EAR_BASE, _CHIN, _EYE_CORNER]]
        edge, sideburn = _TONE.beard_edge_mm * MILLIMETRE, _TONE.sideburn_mm * MILLIMETRE
        auricle = dense[model.masks["ear_left"] > 0.5]
        lobe = auricle[auricle[:, 1].argmin()]
        aside = np.clip(np.abs(dense[:, 0]) / abs(ear[0]), 0, 1)
        upper = nose[1] + aside * (ear[1] - nose[1])
        at_sideburn = smooth_ramp(dense[:, 2] - lobe[2], 2 * sideburn, sideburn)
        upper += at_sideburn * (eye[1] - upper)
        beard = smooth_ramp(upper - dense[:, 1], -edge / 2, edge / 2)
        jaw = np.interp(dense[:, 2], [lobe[2], chin[2]], [lobe[1], chin[1]])
        lower = jaw - _TONE.beard_below_chin_mm * MILLIMETRE
        beard = beard * smooth_ramp(dense[:, 1] - lower, -edge, edge)
        beard = beard * smooth_ramp(dense[:, 2], lobe[2] - edge / 2, lobe[2] + edge / 2)
        beard = beard * (1 - np.maximum.reduce([model.masks[name] for name in ("lips", "ear_left", "ear_right")]))
        to_feature = cKDTree(landmarks[list(_FEATURES)]).query(dense)[0] / MILLIMETRE
        to_outline = cKDTree(landmarks[list(_FEATURE_OUTLINES)]).query(dense)[0] / MILLIMETRE
        to_brow = cKDTree(landmarks[list(_BROWS)]).query(dense)[0] / MILLIMETRE
        features = 1 - smooth_ramp(to_feature, *_TONE.features_mm)
        return SkinPlaces(
            sure=np.clip(1 - near_sure**2, 0, 1) * (1 - model.masks["lids"]),
            features=features,
            core_features=1 - smooth_ramp(to_outline, *_TONE.core_features_mm),
            brows=1 - smooth_ramp(to_brow, *_TONE.brows_mm),
            own=np.maximum(features, smooth_ramp(dense[:, 1] - eye[1], 0.0, edge)),
            beard=beard,
            beard_core=core.astype(np.float64),
        )


@dataclass(frozen=True)
class SkinCanvas:
    """Where the head's skin is painted.

    Attributes:
        inside: texels of skin.
        membrane: over the dense vertices of skin.
        hair_coverage: fraction of hair over each dense vertex.
        areas: of each dense vertex on the mean head, squared head units.
        places: where skin is sure, and where a beard may grow.
    """

    model: HeadModel
    atlas: Atlas
    inside: Bool[np.ndarray, "t t"]
    membrane: MembraneSolver
    hair_coverage: Float[np.ndarray, "m"]
    areas: Float[np.ndarray, "m"]
    places: SkinPlaces

    @property
    def ears(self) -> Float[np.ndarray, "m"]:
        """1 on both ears, 0 elsewhere, with a soft border."""
        return np.maximum(self.model.masks["ear_left"], self.model.masks["ear_right"])

    @property
    def haired(self) -> Float[np.ndarray, "m"]:
        """1 where hair hides the skin, 0 elsewhere and at its border, where both mix."""
        return smooth_ramp(self.hair_coverage, *_TONE.haired)

    def gather(self, layer: Layer) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m"]]:
        """Return the colours that a layer has at the dense vertices, and their summed weights."""
        weight = np.where(self.inside, layer.weight, 0).astype(np.float32, copy=False)
        trust = weight.copy()
        for _ in range(_TONE.trust_power - 1):
            trust *= weight
        return self.atlas.gather(layer.rgb, trust, len(self.hair_coverage))

    def beard(
        self, layer: Layer, unlike: Float[np.ndarray, "m"], weight_sum: Float[np.ndarray, "m"]
    ) -> Float[np.ndarray, "m"]:
        """Return, per dense vertex, how far what is unlike skin is a beard: it is where beards are, and has hairs.

        A shadow below the mouth and along the jaw is as dark, and smooth. A photo whose brows are smooth cannot tell.
        """
        beard = beardedness(unlike, weight_sum, self.places)
        if not beard.any():
            return beard
        brow = self._fine_contrast(layer, self.places.brows)
        core = self._fine_contrast(layer, self.places.beard_core * (unlike > _TONE.core_unlike))
        if brow is None or core is None:
            return beard
        sharp, hairy = smooth_ramp(np.array([brow]), *_TONE.sharp), smooth_ramp(np.array([core]), *_TONE.hairy)
        return beard * (1 - sharp * (1 - hairy))

    def _fine_contrast(self, layer: Layer, part: Float[np.ndarray, "m"]) -> float | None:
        """Return the mean difference of seen texels of a part from a blur that takes hairs away, natural logarithms.

        None if the part is not seen well.
        """
        used = self.inside & (layer.weight > 0.5) & (self.spread(part) > 0.5)
        if not used.any():
            return None
        window = window_of(used, blur_px=(blur_px := _TONE.hairs * self.atlas.size))
        brightness = log_colour(layer.rgb[window]).mean(-1).astype(np.float32)
        return float(np.abs(brightness - blurred(brightness, blur_px))[used[window]].mean())

    def screen(self, reach_mm: float | Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
        """Return the weight with which a prior has won all but 1/e at this distance from what is known."""
        return screening_weight(self.areas, np.asarray(reach_mm) * MILLIMETRE)

    def spread(
        self, values: Float[np.ndarray, "m"], window: tuple[slice, slice] = np.s_[:, :]
    ) -> Float32[np.ndarray, "h w"]:
        """Interpolate one value for each dense vertex over the texels, or over rows and columns of them."""
        return self.atlas.spread(np.asarray(values)[:, None], window)[..., 0]


def usual_skin(
    rgb: Float[np.ndarray, "m 3"], weight_sum: Float[np.ndarray, "m"], sure: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "3"]:
    """Return the person's usual colour of skin from sure places, sRGB.

    It is a reweighted mean around the median of the logarithms, so that less than half of the places may be in a
    shadow, in a highlight, behind glasses or under a beard.

    Args:
        rgb: colours seen at dense vertices.
        weight_sum: how much of each vertex is seen, texels.
        sure: of ``SkinPlaces``.
    """
    weight = sure * weight_sum
    if weight.sum() < _TONE.min_weight:
        return _DEFAULT_SKIN_RGB
    used = weight > 0
    logs, trust = log_colour(rgb[used]), weight[used]
    centre = np.array([weighted_median(logs[:, c], trust) for c in range(3)])
    for _ in range(_TONE.rounds):
        likely = trust / (1 + (_difference(logs - centre) / _TONE.robust_scale) ** 4)
        centre = np.average(logs, axis=0, weights=likely)
    return np.exp(centre)


def unlikeness(rgb: Float[np.ndarray, "*n 3"], reference: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "*n"]:
    """Return how unlike a reference skin colours are: 0 the same, 1 half-way to something else."""
    return _difference(log_colour(rgb) - log_colour(reference))


def beardedness(
    unlike: Float[np.ndarray, "m"], weight_sum: Float[np.ndarray, "m"], places: SkinPlaces
) -> Float[np.ndarray, "m"]:
    """Return, per dense vertex, how far what is unlike skin is a beard there: it belongs on the face.

    A face is bearded if chin, upper lip and jaw are, wherever they are seen.
    """
    weight = places.beard_core * weight_sum
    hairy = float(np.average(unlike > _TONE.core_unlike, weights=weight)) if weight.sum() > 0 else 0.0
    return places.beard * smooth_ramp(np.array([hairy]), *_TONE.bearded)


def between(
    rgb: Float[np.ndarray, "*n 3"], first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n 3"]:
    """Return the nearest colours, in logarithms, on the line between two: skin that more or less of a beard covers."""
    start, direction = log_colour(first), log_colour(second) - log_colour(first)
    return np.exp(start + fraction_between(rgb, first, second)[..., None] * direction)


def fraction_between(
    rgb: Float[np.ndarray, "*n 3"], first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n"]:
    """Return how far the nearest colours on the line between two, in logarithms, are from the first, in [0, 1]."""
    start, direction = log_colour(first), log_colour(second) - log_colour(first)
    along = (log_colour(rgb) - start) @ direction / max(float(direction @ direction), 1e-9)
    return np.clip(along, 0, 1)


def log_colour(rgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Return the natural logarithm of colours that are not darker than a bound."""
    return np.log(np.maximum(rgb, _MIN_COLOUR))


def _difference(log_ratio: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    brightness = log_ratio.mean(-1)
    chroma = np.sqrt(np.square(log_ratio - brightness[..., None]).sum(-1))
    return np.hypot(brightness / _TONE.brightness, chroma / _TONE.chroma)


def weighted_median(values: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"]) -> float:
    """Return the value below which half of the weight lies."""
    return weighted_quantile(values, weight, 0.5)


def weighted_quantile(values: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"], fraction: float) -> float:
    """Return the value below which a fraction of the weight lies."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, fraction * total[-1])])
