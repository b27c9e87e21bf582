"""The face at rest: whole lips that meet, and no creases that only the photo's expression pressed into the skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from spinmeround.geometry import MILLIMETRE
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.lip_edges import LOWER_EDGE, UPPER_EDGE
from spinmeround.template.model.head_model import HeadModel, landmark_points
from spinmeround.template.texture.creases import without_creases
from spinmeround.template.texture.fill import Layer, MembraneSolver, colour_similarity, window_of
from spinmeround.template.texture.lighting import GAMMA
from spinmeround.template.texture.lips import lips_gap, redness
from spinmeround.template.texture.skin_tone import SkinCanvas, log_colour

_JAW = "jawOpen"


@dataclass(frozen=True)
class _LipsAtRestSettings:
    """Constants of lips at rest. Colours are sRGB in [0, 1], weights and fractions are in [0, 1].

    Distances are those to the line on which closed lips meet.

    Attributes:
        touching_mm: vertices of the two lips that are nearer to each other than this meet, millimetres.
        opened_mm: gaps between the lips between which what lies behind comes to show on them, millimetres.
        foreign_mm: distances between which what is unlike skin and lips stops being the open mouth's: landmarks are a
            millimetre or two wrong, and corners are in a shadow, millimetres.
        affected_mm: distances from which on nothing changes, millimetres.
        min_mask: texels with more than this of the lips, and with more weight, give the lips' colour.
        unseen: weights between which a texel changes from one that no photo saw to one that is seen.
        pale: redness relative to the lips' between which a texel changes from teeth to lip, ...
        pale_brightness: ... if it is not darker than this relative to the lips.
        dark: darkness, as natural logarithm of the brightness that is expected over that seen, between which a texel
            changes from lip or skin to the mouth's inside.
        dark_kept: so much of that darkness stays: closed mouths have a shadow in their corners, too, ...
        corner_mm: ... which ends between these distances, millimetres.
        bright: the same the other way round, for teeth.
        shadow_percentile: darker colours of a lip than this percentile are taken for shadow.
        two_colours: differences of the two lips, natural logarithms, between which they come to have two colours.
        min_redness: a lower redness of the lips is taken for this.
        blur: standard deviation of the transition, and by how much what goes is widened before, so that all of it goes;
            fraction of the texture's side.
        tolerance: colours so far from the usual one of lips, and of the skin around, count half: a border, or something
            else.
        half_weight: summed texel weight at which a vertex counts half, texels.
        prior_weight: weight of the usual colour against differences between neighbours.
        seam_mm: distances between which the model's mask of the lips begins to count: up to the first all is lip,
            millimetres.
        bulge_mm: radius by which lips bulge toward each other: half the height of their red, which is 8 to 10 mm
            (Farkas 1994), millimetres.
        shadow_depth: part of the shadow between lips, in logarithms, that is seen: it is that of an even sky, and the
            lamps of portraits are in front of the face and shine into the gap.
        min_darkness: brightness, over that expected, below which a lip is taken for this bright.
        scattering_mm: how far green light diffuses in skin (Jensen et al. 2001, "skin1"), which softens the shadow
            between lips, millimetres.
    """

    touching_mm: float = 1.0
    opened_mm: tuple[float, float] = (0.5, 1.5)
    foreign_mm: tuple[float, float] = (4.5, 9.0)
    affected_mm: tuple[float, float] = (8.0, 12.0)
    min_mask: float = 0.5
    unseen: tuple[float, float] = (0.0, 0.4)
    pale: tuple[float, float] = (0.5, 0.75)
    pale_brightness: tuple[float, float] = (0.8, 1.0)
    dark: tuple[float, float] = (0.12, 0.4)
    dark_kept: float = 0.25
    corner_mm: tuple[float, float] = (2.0, 5.0)
    bright: tuple[float, float] = (0.2, 0.4)
    shadow_percentile: float = 25
    two_colours: tuple[float, float] = (0.4, 0.8)
    min_redness: float = 0.05
    blur: float = 0.0025
    tolerance: tuple[float, float] = (0.1, 0.2)
    half_weight: float = 2
    prior_weight: float = 0.01
    seam_mm: tuple[float, float] = (0.2, 1.2)
    bulge_mm: float = 4.5
    shadow_depth: float = 0.35
    min_darkness: float = 0.05
    scattering_mm: float = 1.37


_LIPS = _LipsAtRestSettings()


def skin_at_rest(
    canvas: SkinCanvas, skin: Layer, posed: Float[np.ndarray, "n 3"], neutral: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "t t 3"]:
    """Return the colours of complete skin, without light, as they are when the face is at rest.

    Args:
        skin: colours without light, complete, and the weight with which photos show in them.
        posed: coarse vertices with the photo's expression.
        neutral: the same at rest.
    """
    upper = _upper_side(canvas.model)
    distance_mm = _distance_to_meeting_mm(canvas.model, upper)
    gap_mm = np.array([(lips_gap(canvas.model, posed) - lips_gap(canvas.model, neutral)) / MILLIMETRE])
    opened = float(smooth_ramp(gap_mm, *_LIPS.opened_mm)[0])
    lips = skin.rgb if opened == 0 else _whole_lips(canvas, skin, opened, upper, distance_mm)
    return without_creases(canvas, Layer(lips, skin.weight), posed, neutral, distance_mm)


def _whole_lips(
    canvas: SkinCanvas,
    skin: Layer,
    opened: float,
    upper: Bool[np.ndarray, "m"],
    distance_mm: Float[np.ndarray, "m"],
) -> Float32[np.ndarray, "t t 3"]:
    """Continue the colours of lips, and of the skin at their corners, over what showed in a mouth that was open.

    What is expected are two membranes, one through colours of the lips and one through those of the skin around, mixed
    by the model's mask of the lips. What is much darker (the mouth's inside, the shadow of a corner), brighter or paler
    (teeth), or was not seen is replaced by it. A lip below a moustache has the moustache's colour. Then lips get the
    shadow that they have where they touch, as far as they are not so dark already.

    Args:
        opened: how far the photo's mouth was open, in [0, 1].
        upper: dense vertices above the line on which lips meet; ``distance_mm``: how far they are from it.
    """
    model, atlas = canvas.model, canvas.atlas
    mask = _lip_mask(model, distance_mm)
    foreign = 1 - smooth_ramp(distance_mm, *_LIPS.foreign_mm)
    near = np.maximum(mask, foreign) * (1 - smooth_ramp(distance_mm, *_LIPS.affected_mm))
    values, weight_sum = canvas.gather(skin)
    expected = _expected_mouth(model, values, weight_sum, mask, upper, near > 0)
    if expected is None:
        return skin.rgb
    blur_px = _LIPS.blur * atlas.size
    window = window_of(canvas.spread(near) > 0, blur_px=blur_px, margin_px=round(blur_px))
    seen, weight = skin.rgb[window], skin.weight[window]
    foreign_map, lip_map, near_map = (canvas.spread(each, window) for each in (foreign, mask, mask * near))
    used, painted = foreign_map > 0, atlas.spread(expected, window)
    doubt = (1 - smooth_ramp(weight, *_LIPS.unseen)) * near_map
    rgb, ideal, by = seen[used], painted[used], foreign_map[used]
    doubt[used] = np.maximum(doubt[used], _foreign(rgb, ideal, lip_map[used]) * by)
    shadow = canvas.spread(1 - smooth_ramp(distance_mm, *_LIPS.corner_mm), window)[used] * weight[used]
    painted[used] *= np.exp(_LIPS.dark_kept * shadow * np.minimum(_brighter(rgb, ideal), 0))[:, None]
    around = np.ones((2 * round(blur_px) + 1,) * 2, np.uint8)
    doubt = cv2.GaussianBlur(cv2.dilate((doubt * opened).astype(np.float32), around), (0, 0), blur_px)
    doubt = (doubt * canvas.inside[window])[..., None]
    mixed = seen * (1 - doubt) + painted * doubt
    red = canvas.spread(model.masks["lips"], window) * canvas.inside[window]
    lips, contact = red > 0, atlas.spread(_contact_shadow(distance_mm, expected), window)
    mixed[lips] *= _missing_shadow(mixed[lips], painted[lips], contact[lips]) ** (opened * red[lips, None])
    whole = skin.rgb.copy()
    whole[window] = mixed
    return whole


def _missing_shadow(
    rgb: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"], contact: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Return the factor that brings lips down to their shadow; 1 where they are so dark already.

    Args:
        expected: colours without that shadow.
        contact: the factor of the shadow.
    """
    darkness = np.exp(np.minimum(_brighter(rgb, expected), 0))[:, None]
    return np.minimum(contact / np.maximum(darkness, _LIPS.min_darkness), 1) ** _LIPS.shadow_depth


def _contact_shadow(distance_mm: Float[np.ndarray, "n"], rgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the factor on sRGB colours by which closed lips are darker toward the line on which they meet.

    Lips are taken for two equal cylinders that touch. Under an even sky a point sees of it what the horizons of its own
    lip and of the other leave (Nusselt's analogue). From the other lip it gets the light that this reflects once: what
    is reflected more often comes from deeper down, where it is dark.

    Args:
        distance_mm: along the lip, from that line.
        rgb: colours of the lips.
    """
    softened_mm = np.hypot(distance_mm[:, None], _LIPS.scattering_mm)
    angle = np.minimum(softened_mm / _LIPS.bulge_mm, np.pi / 2)
    across, up = np.sin(angle), 1 - np.cos(angle)
    to_other = np.hypot(across, up + 1)
    horizon = np.arctan2(-(up + 1), -across) + np.arcsin(np.minimum(1 / to_other, 1))
    sky = (1 - np.sin(horizon - (angle - np.pi / 2))) / 2
    reflectance = np.clip(rgb, 0, 1) ** GAMMA
    return (sky * (1 + reflectance * (1 - sky))) ** (1 / GAMMA)


def _expected_mouth(
    model: HeadModel,
    values: Float[np.ndarray, "m 3"],
    weight_sum: Float[np.ndarray, "m"],
    mask: Float[np.ndarray, "m"],
    upper: Bool[np.ndarray, "m"],
    near: Bool[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3"] | None:
    """Return the colours of lips and of skin around them at the dense vertices; None if no lip is seen.

    Args:
        values: colours at the dense vertices.
        weight_sum: how much of each is seen, texels.
        mask: of the lips.
        near: vertices around the mouth.
    """
    confidence = weight_sum / (weight_sum + _LIPS.half_weight) * near
    lip = (mask > _LIPS.min_mask) & (confidence > _LIPS.min_mask)
    bare = (mask < 1 - _LIPS.min_mask) & (confidence > _LIPS.min_mask)
    if not (lip & upper).any() or not (lip & ~upper).any() or not bare.any():
        return None
    upper_rgb, lower_rgb = _usual_lips(values[lip & upper], values[lip & ~upper])
    usual_lip = np.where(upper[:, None], upper_rgb, lower_rgb)
    usual_skin_rgb = np.broadcast_to(np.median(values[bare], axis=0), values.shape)
    membrane = MembraneSolver.on_faces(model.dense_faces[near[model.dense_faces].all(1)], len(near))
    fields = [
        membrane.interpolate(
            values,
            confidence * part**2 * colour_similarity(values, usual, tolerance),
            usual,
            prior_weight=_LIPS.prior_weight,
        )
        for part, usual, tolerance in zip((mask, 1 - mask), (usual_lip, usual_skin_rgb), _LIPS.tolerance, strict=True)
    ]
    return fields[0] * mask[:, None] + fields[1] * (1 - mask)[:, None]


def _usual_lips(
    upper: Float[np.ndarray, "n 3"], lower: Float[np.ndarray, "k 3"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return the usual colour of each lip from the colours seen there.

    It is the median of the redder half of what is not in the shadow of the mouth's inside. Both lips of a person have
    nearly one colour, so that they take their mean; a lip that is much darker is under a moustache.
    """
    usual = []
    for lip in (upper, lower):
        brightness = lip.mean(-1)
        lit = lip[brightness >= np.percentile(brightness, _LIPS.shadow_percentile)]
        red = redness(lit)
        usual.append(np.median(lit[red >= np.median(red)], axis=0))
    apart = np.abs(log_colour(usual[0]) - log_colour(usual[1])).max(keepdims=True)
    shared = 1 - smooth_ramp(apart, *_LIPS.two_colours)
    mean = (usual[0] + usual[1]) / 2
    return usual[0] + shared * (mean - usual[0]), usual[1] + shared * (mean - usual[1])


def _foreign(
    rgb: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"], lip: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Return how much of each colour is of teeth or of the mouth's inside, in [0, 1]; 0 for expected ones.

    Args:
        lip: how far each place is a lip: teeth get onto nothing else.
    """
    brighter = _brighter(rgb, expected)
    red = redness(rgb) / np.maximum(redness(expected), _LIPS.min_redness)
    pale = (1 - smooth_ramp(red, *_LIPS.pale)) * smooth_ramp(np.exp(brighter), *_LIPS.pale_brightness)
    teeth = np.maximum(pale, smooth_ramp(brighter, *_LIPS.bright)) * lip
    return np.maximum(teeth, smooth_ramp(-brighter, *_LIPS.dark))


def _brighter(rgb: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return how much brighter colours are than expected ones, natural logarithms."""
    return log_colour(rgb).mean(-1) - log_colour(expected).mean(-1)


def _lip_mask(model: HeadModel, distance_mm: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Return the model's mask of the lips, whole up to where they meet and behind that."""
    return np.maximum(model.masks["lips"].astype(np.float64), 1 - smooth_ramp(distance_mm, *_LIPS.seam_mm))


def _upper_side(model: HeadModel) -> Bool[np.ndarray, "m"]:
    """Return the dense vertices above the line on which lips meet: the jaw moves them less than that line nearby."""
    jaw = np.linalg.norm(model.expression_basis[model.expression_names.index(_JAW)], axis=1)[:, None]
    edges = np.concatenate([UPPER_EDGE, LOWER_EDGE])
    between = landmark_points(model, jaw, edges).reshape(2, -1).mean(0)
    dense = np.asarray(model.dense(model.mean), np.float64)
    nearest = cKDTree(landmark_points(model, model.mean, edges)).query(dense)[1] % len(UPPER_EDGE)
    return (model.subdivision @ jaw)[:, 0] < between[nearest]


def _distance_to_meeting_mm(model: HeadModel, upper: Bool[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Return the distance of each dense vertex to where closed lips meet; infinite off the skin."""
    dense = np.asarray(model.dense(model.mean), np.float64)
    skin = model.dense_vertices_of("skin")
    lips = skin & (model.masks["lips"] > 0)
    sides = np.flatnonzero(lips & upper), np.flatnonzero(lips & ~upper)
    touching = [
        one[cKDTree(dense[other]).query(dense[one])[0] < _LIPS.touching_mm * MILLIMETRE]
        for one, other in (sides, sides[::-1])
    ]
    distance_mm = np.full(len(dense), np.inf)
    distance_mm[skin] = cKDTree(dense[np.concatenate(touching)]).query(dense[skin])[0] / MILLIMETRE
    return distance_mm
