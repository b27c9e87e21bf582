"""Check whether a face can be used: refusals that can honestly be made from one picture, each in one line.

What one picture does not show is accepted: a painting with shading and noise, a coloured wax figure, a statue on a grey
photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.errors import NoFaceError
from spinmeround.portrait.landmarks import (
    BLENDSHAPE_NAMES,
    CHIN,
    FACE_OVAL,
    FACE_TOP,
    LEFT_IRIS,
    RIGHT_IRIS,
    FaceMesh,
    warp,
)
from spinmeround.types import HeadFrame

MIN_FACE_PX = 40
MAX_YAW_DEG = 58.0
MAX_PITCH_DEG = 45.0
_DOUBTFUL_YAW_DEG = 45.0
"""A larger yaw is noted: one side of the face is hardly seen."""
_GAMMA = 2.2
"""Nominal, of the photo; good enough for ratios of brightness."""
_LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights of linear red, green and blue in luminance."""
_SUBPIXEL_BITS = 4
"""Binary digits after the point in the corners that OpenCV fills polygons between."""


@dataclass(frozen=True)
class _BorderSettings:
    """Fractions of landmarks beyond the photo, of all and of the face oval, above which a face is cut by the border."""

    most_landmarks: float = 0.04
    most_oval: float = 0.2


@dataclass(frozen=True)
class _FlatSettings:
    """When the colours of a face are those of a drawing. Fractions are of the face's pixels.

    Attributes:
        most_common: of the commonest colour; ``most_burnt_out`` if that is white.
        few_colours, most_few: how many of the commonest colours together, and their largest fraction.
        range_quantiles, least_range: spread of grey levels (8 bits) above which ``most_few`` counts: a dark grey photo
            has few levels to choose from, which alone makes no drawing.
    """

    most_common: float = 0.3
    most_burnt_out: float = 0.5
    few_colours: int = 16
    most_few: float = 0.85
    range_quantiles: tuple[float, float] = (0.05, 0.95)
    least_range: float = 40.0


@dataclass(frozen=True)
class _ChromaSettings:
    """How the spread of chroma is measured: of the 95th percentile of its residuals, in Lab units.

    Attributes:
        patch_px: largest side of the face's picture.
        patch_faces: side of it in face heights.
        picture_px: side of the whole picture, shrunk.
        sigmas_in_side, least_blur_px: the side of the face's picture in standard deviations of the blur against grain.
        picture_blur_px: the same of the whole picture.
        target_light, least_light, gains: the face is brought to this median of linear light, by a gain within limits.
        quantile: of the residuals.
    """

    patch_px: int = 333
    patch_faces: float = 1.3
    picture_px: int = 128
    sigmas_in_side: float = 100.0
    least_blur_px: float = 0.6
    picture_blur_px: float = 1.0
    target_light: float = 0.25
    least_light: float = 1e-4
    gains: tuple[float, float] = (0.5, 8.0)
    quantile: float = 0.95


@dataclass(frozen=True)
class _EyeSettings:
    """How bright the iris is against the white of the eye.

    Attributes:
        iris, surround: scales of the contour of the iris: what is inside the first is iris, outside the second is not.
        least_pixels: of iris and of white; with no more an eye says nothing.
        white_quantile: brightness of the white.
        least_white: against division by 0.
        closed: score of the blink from which on an eye is closed.
    """

    iris: float = 0.6
    surround: float = 1.1
    least_pixels: int = 2
    white_quantile: float = 0.8
    least_white: float = 1e-6
    closed: float = 0.5


@dataclass(frozen=True)
class _StatueSettings:
    """When a face is that of a statue or a mask.

    Thresholds lie midway, on a log scale, between real photos (also grey, dark, noisy and small ones) and drawings,
    filtered photos and rendered statues.

    Attributes:
        blank_eye: brightness of the iris relative to the white of the eye from which on an eye is blank.
        coloured_picture: chroma spread (Lab units) above which the photo has colours at all.
        one_material: chroma spread below which a face is of one material.
        doubtful_material: the same if its eyes are blank.
    """

    blank_eye: float = 0.55
    coloured_picture: float = 5.0
    one_material: float = 1.6
    doubtful_material: float = 3.2


_BORDER = _BorderSettings()
_FLAT = _FlatSettings()
_CHROMA = _ChromaSettings()
_EYE = _EyeSettings()
_STATUE = _StatueSettings()

_EYES: tuple[tuple[int, ...], ...] = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_IRISES: tuple[tuple[int, ...], ...] = ((469, 470, 471, 472), (474, 475, 476, 477))


def check_face(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, frame: HeadFrame, name: str) -> list[str]:
    """Refuse a face that cannot be used; return notes about one that can, with reservations.

    Args:
        rgb: the upright photo.
        name: of the photo, for messages.

    Raises:
        NoFaceError: too small, cut by the border, turned so far that an eye is hidden, or not a photo of a person.
    """
    if mesh.height_px < MIN_FACE_PX:
        raise NoFaceError(f"{name}: the face is {mesh.height_px:.0f} pixels high; at least {MIN_FACE_PX} are needed")
    _check_border(rgb, mesh, name)
    yaw, pitch, _ = frame.angles_deg
    if abs(yaw) > MAX_YAW_DEG:
        raise NoFaceError(
            f"{name}: the face is turned aside by about {abs(yaw):.0f}°, one eye is hidden; use a photo within 45°"
        )
    if abs(pitch) > MAX_PITCH_DEG:
        raise NoFaceError(f"{name}: the face looks up or down by about {abs(pitch):.0f}°; use a photo within 30°")
    notes = []
    if abs(yaw) > _DOUBTFUL_YAW_DEG:
        notes.append(f"the face is turned aside by {abs(yaw):.0f}°; up to 45° gives a better head")
    return notes + _check_photo_of_person(rgb, mesh, name)


def _check_border(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, name: str) -> None:
    """Refuse a face that the border cuts: the landmark model extrapolates points beyond the picture.

    Raises:
        NoFaceError: too many landmarks lie beyond the border.
    """
    height, width = rgb.shape[:2]
    points = mesh.landmarks_px
    outside = (points < 0).any(1) | (points[:, 0] > width) | (points[:, 1] > height)
    if outside.mean() > _BORDER.most_landmarks or outside[list(FACE_OVAL)].mean() > _BORDER.most_oval:
        raise NoFaceError(f"{name}: the face is cut by the border of the photo; use one that shows all of it")


def _check_photo_of_person(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, name: str) -> list[str]:
    """Refuse drawings by their flat colours, statues by their one material and their blank eyes.

    Returns:
        Notes about a doubtful face.

    Raises:
        NoFaceError: it is no photo of a person.
    """
    if _is_flat(rgb, mesh):
        raise NoFaceError(
            f"{name}: the face is made of a few flat colours, as in a drawing, a GIF or a burnt-out photo; use a "
            "better one"
        )
    face, picture = _chroma_spread(rgb, mesh)
    iris, closed = _iris_brightness(rgb, mesh), _closed_eyes(mesh)
    blank = iris > _STATUE.blank_eye and not closed
    one_material = face < _STATUE.one_material or (face < _STATUE.doubtful_material and blank)
    if picture > _STATUE.coloured_picture and one_material:
        raise NoFaceError(
            f"{name}: the face has the colour of one material, as a statue or a mask has; use a photo of a person"
        )
    if blank and face < _STATUE.one_material:
        return [
            "the eyes are hardly darker than their surroundings; if this is no photo of a person, the head will show"
        ]
    return []


def _is_flat(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh) -> bool:
    """Check whether few colours make up the face, at the photo's own pixels."""
    low = np.maximum(mesh.box_px[:2].astype(int), 0)
    high = np.minimum(np.ceil(mesh.box_px[2:]).astype(int), rgb.shape[1::-1])
    patch = rgb[low[1] : high[1], low[0] : high[0]]
    inside = _fill(mesh.landmarks_px - low, (FACE_OVAL,), patch.shape[:2])
    levels = np.round(patch[inside] * 255).astype(np.int64)
    colours, counts = np.unique((levels[:, 0] * 256 + levels[:, 1]) * 256 + levels[:, 2], return_counts=True)
    most_common = counts.max() / counts.sum()
    burnt_out = colours[counts.argmax()] == 0xFFFFFF
    has_range = np.ptp(np.quantile(levels.mean(1), _FLAT.range_quantiles)) > _FLAT.least_range
    few = np.sort(counts)[-_FLAT.few_colours :].sum() / counts.sum()
    limit = _FLAT.most_burnt_out if burnt_out else _FLAT.most_common
    return bool(most_common > limit or (few > _FLAT.most_few and has_range))


def _chroma_spread(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh) -> tuple[float, float]:
    """Return how far colours depart from a plain function of lightness, in the face and in the picture (Lab units).

    A grey or toned photo has no spread anywhere, a statue none in its face, skin with lips and eyes always some.
    """
    s = _CHROMA
    face, points = _face_patch(rgb, mesh)
    face = cv2.GaussianBlur(face, (0, 0), max(face.shape[0] / s.sigmas_in_side, s.least_blur_px))
    inside = _fill(points, (FACE_OVAL,), face.shape[:2])
    light = float(np.median(face[inside] ** _GAMMA))
    gain = np.clip(s.target_light / max(light, s.least_light), *s.gains) ** (1 / _GAMMA)
    small = cv2.resize(rgb, (s.picture_px, s.picture_px), interpolation=cv2.INTER_AREA)
    picture = cv2.GaussianBlur(small, (0, 0), s.picture_blur_px).reshape(-1, 3)
    return _chroma_residual(np.clip(face[inside] * gain, 0, 1)), _chroma_residual(picture)


def _chroma_residual(colours: Float[np.ndarray, "n 3"]) -> float:
    """Return a high quantile of the distance in (a, b) to the least-squares parabola over lightness."""
    lab = cv2.cvtColor(colours[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    lightness = lab[:, 0] / 50 - 1  # from [0, 100] to [-1, 1]
    basis = np.stack([np.ones_like(lightness), lightness, lightness**2], axis=1)
    residual = lab[:, 1:] - basis @ np.linalg.lstsq(basis, lab[:, 1:], rcond=None)[0]
    return float(np.quantile(np.linalg.norm(residual, axis=1), _CHROMA.quantile))


def _iris_brightness(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh) -> float:
    """Return the luminance of the iris relative to the white: small in a living eye, near 1 in a blank one."""
    face, points = _face_patch(rgb, mesh)
    light = face.astype(np.float64) ** _GAMMA @ np.array(_LUMA)
    ratios = []
    for centre, ring, eye in zip((RIGHT_IRIS, LEFT_IRIS), _IRISES, _EYES, strict=True):
        opening = _fill(points, (eye,), light.shape)
        iris, around = (
            _fill(points[centre] + (points[list(ring)] - points[centre]) * scale, (tuple(range(4)),), light.shape)
            for scale in (_EYE.iris, _EYE.surround)
        )
        dark, white = light[iris & opening], light[opening & ~around]
        if min(len(dark), len(white)) > _EYE.least_pixels:
            ratios.append(np.median(dark) / max(np.quantile(white, _EYE.white_quantile), _EYE.least_white))
    return float(np.mean(ratios)) if ratios else 0.0


def _closed_eyes(mesh: FaceMesh) -> bool:
    blinks = [mesh.blendshapes[BLENDSHAPE_NAMES.index(f"eyeBlink{side}")] for side in ("Left", "Right")]
    return bool(max(blinks) > _EYE.closed)


def _face_patch(
    rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "478 2"]]:
    """Cut out the face at its own size or smaller; return it and the landmarks in it."""
    side = _CHROMA.patch_faces * mesh.height_px
    size = min(_CHROMA.patch_px, round(side))
    corner = (mesh.landmarks_px[FACE_TOP] + mesh.landmarks_px[CHIN]) / 2 - side / 2
    scale = side / size
    picture_from_patch = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
    patch = np.clip(warp(rgb, picture_from_patch, size), 0, 1).astype(np.float32)
    return patch, (mesh.landmarks_px - corner) / scale


def _fill(
    points_px: Float[np.ndarray, "n 2"], polygons: tuple[tuple[int, ...], ...], shape: tuple[int, ...]
) -> Bool[np.ndarray, "h w"]:
    """Rasterize polygons of points."""
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        corners = np.round((points_px[list(polygon)] - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1, cv2.LINE_8, _SUBPIXEL_BITS)
    return mask > 0
