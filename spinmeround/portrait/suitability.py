"""Can this face be used? Refusals that can honestly be made from one picture, each in one line.

What cannot be told is let through: a painting with shading and noise, a coloured wax figure, a statue on a grey photo.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.errors import NoFaceError
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES, FACE_OVAL, LEFT_IRIS, RIGHT_IRIS, FaceMesh, warp
from spinmeround.portrait.pose import HeadFrame

MIN_FACE_PX = 40
MAX_YAW_DEG = 58.0
MAX_PITCH_DEG = 45.0
_MAX_SHARE_BEYOND = 0.04
_LOOK_PX = 333

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
    notes = [f"the face is turned aside by {abs(yaw):.0f}°; up to 45° gives a better head"] if abs(yaw) > 45 else []
    return notes + _check_alive(rgb, mesh, name)


def _check_border(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, name: str) -> None:
    """The landmark model guesses points beyond the picture; they are not there to be used."""
    height, width = rgb.shape[:2]
    points = mesh.landmarks_px
    outside = (points < 0).any(1) | (points[:, 0] > width) | (points[:, 1] > height)
    if outside.mean() > _MAX_SHARE_BEYOND or outside[list(FACE_OVAL)].mean() > 0.2:
        raise NoFaceError(f"{name}: the face is cut by the border of the photo; use one that shows all of it")


def _check_alive(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh, name: str) -> list[str]:
    """Tell drawings by their flat colours, statues by their one material and their blank eyes.

    Thresholds lie midway, on a log scale, between real photos (also grey, dark, noisy and small ones) and drawings,
    filtered photos and rendered statues.
    """
    if _is_flat(rgb, mesh):
        raise NoFaceError(
            f"{name}: the face is made of a few flat colours, as in a drawing, a GIF or a burnt-out photo; use a "
            "better one"
        )
    face, picture = _hue_variety(rgb, mesh)
    eyes, closed = _eye_contrast(rgb, mesh), _closed_eyes(mesh)
    blank = eyes > 0.55 and not closed
    if picture > 5 and (face < 1.6 or (face < 3.2 and blank)):
        raise NoFaceError(
            f"{name}: the face has the colour of one material, as a statue or a mask has; use a photo of a person"
        )
    if blank and face < 1.6:
        return [
            "the eyes are hardly darker than their surroundings; if this is no photo of a person, the head will show"
        ]
    return []


def _is_flat(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh) -> bool:
    """Whether few colours make up the face, at the photo's own pixels."""
    low = np.maximum(mesh.box_px[:2].astype(int), 0)
    high = np.minimum(np.ceil(mesh.box_px[2:]).astype(int), rgb.shape[1::-1])
    patch = rgb[low[1] : high[1], low[0] : high[0]]
    inside = _fill(mesh.landmarks_px - low, (FACE_OVAL,), patch.shape[:2])
    levels = np.round(patch[inside] * 255).astype(np.int64)
    colours, counts = np.unique((levels[:, 0] * 256 + levels[:, 1]) * 256 + levels[:, 2], return_counts=True)
    most_common = counts.max() / counts.sum()
    burnt_out = colours[counts.argmax()] == 0xFFFFFF
    # A dark grey photo has few levels to choose from; that alone makes no drawing.
    has_range = np.ptp(np.quantile(levels.mean(1), [0.05, 0.95])) > 40
    few = np.sort(counts)[-16:].sum() / counts.sum()
    return bool(most_common > (0.5 if burnt_out else 0.3) or (few > 0.85 and has_range))


def _hue_variety(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh) -> tuple[float, float]:
    """How far colours stray from a plain function of lightness, in the face and in the picture (Lab units, 95 %).

    A grey or toned photo has none anywhere, a statue none in its face, skin with lips and eyes always some.
    """
    face, points = _face_patch(rgb, mesh)
    face = cv2.GaussianBlur(face, (0, 0), max(face.shape[0] / 100, 0.6))
    inside = _fill(points, (FACE_OVAL,), face.shape[:2])
    bright = float(np.median(face[inside] ** 2.2))
    gain = np.clip(0.25 / max(bright, 1e-4), 0.5, 8) ** (1 / 2.2)
    small = cv2.resize(rgb, (128, 128), interpolation=cv2.INTER_AREA)
    picture = cv2.GaussianBlur(small, (0, 0), 1.0).reshape(-1, 3)
    return _stray(np.clip(face[inside] * gain, 0, 1)), _stray(picture)


def _stray(colours: Float[np.ndarray, "n 3"]) -> float:
    lab = cv2.cvtColor(colours[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    light = lab[:, 0] / 50 - 1
    basis = np.stack([np.ones_like(light), light, light**2], axis=1)
    rest = lab[:, 1:] - basis @ np.linalg.lstsq(basis, lab[:, 1:], rcond=None)[0]
    return float(np.quantile(np.linalg.norm(rest, axis=1), 0.95))


def _eye_contrast(rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh) -> float:
    """Light of the iris relative to the white of the eye: small in a living eye, near 1 in a blank one."""
    face, points = _face_patch(rgb, mesh)
    light = face.astype(np.float64) ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    ratios = []
    for centre, ring, eye in zip((RIGHT_IRIS, LEFT_IRIS), _IRISES, _EYES, strict=True):
        opening = _fill(points, (eye,), light.shape)
        iris, around = (
            _fill(points[centre] + (points[list(ring)] - points[centre]) * scale, (tuple(range(4)),), light.shape)
            for scale in (0.6, 1.1)
        )
        dark, white = light[iris & opening], light[opening & ~around]
        if len(dark) > 2 and len(white) > 2:
            ratios.append(np.median(dark) / max(np.quantile(white, 0.8), 1e-6))
    return float(np.mean(ratios)) if ratios else 0.0


def _closed_eyes(mesh: FaceMesh) -> bool:
    blinks = [mesh.blendshapes[BLENDSHAPE_NAMES.index(f"eyeBlink{side}")] for side in ("Left", "Right")]
    return bool(max(blinks) > 0.5)


def _face_patch(
    rgb: Float[np.ndarray, "h w 3"], mesh: FaceMesh
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "478 2"]]:
    """The face at its own size, at most ``_LOOK_PX``, and the landmarks in it."""
    side = 1.3 * mesh.height_px
    size = min(_LOOK_PX, round(side))
    corner = (mesh.landmarks_px[10] + mesh.landmarks_px[152]) / 2 - side / 2
    scale = side / size
    picture_from_patch = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
    patch = np.clip(warp(rgb, picture_from_patch, size), 0, 1).astype(np.float32)
    return patch, (mesh.landmarks_px - corner) / scale


def _fill(
    points_px: Float[np.ndarray, "n 2"], polygons: tuple[tuple[int, ...], ...], shape: tuple[int, ...]
) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        corners = np.round((points_px[list(polygon)] - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1, cv2.LINE_8, 4)
    return mask > 0
