"""Photo to portrait: detect the face, check it, crop, matte, segment hair and clothes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

from spinmeround.errors import InputError, NoFaceError
from spinmeround.io.photo import Photo
from spinmeround.portrait import matting
from spinmeround.portrait.glasses import has_glasses, without_glasses
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import FaceMesh, find_faces
from spinmeround.portrait.matting import INSIDE, SelfieMatte, foreground_colours, person_prior
from spinmeround.portrait.pose import FACE_HEIGHT_CM, fit_head
from spinmeround.portrait.quality import PhotoMeasures, measure_photo
from spinmeround.portrait.segmentation import NetworkHair
from spinmeround.portrait.suitability import check_face
from spinmeround.protocols import HairModel, MatteModel
from spinmeround.types import FaceGeometry, HeadCrop, HeadFrame, Portrait

CROP_PX = 768
SIDE_IN_FACE_HEIGHTS = 2.6
_CROP_SCALES = (1.0, 1.35, 1.8)
"""Sides of the crop that are tried one after the other, until the hair fits in."""
_CENTRE_CM = np.array([0.0, 0.0, -3.0])
"""Middle of the crop in the head frame (see ``HeadFrame``): the skull's, behind the face."""
_CONTEXT_PX = 4
"""Pixels around a crop that Lanczos interpolation may read."""


@dataclass(frozen=True)
class _UprightSettings:
    """Largest roll of the head, degrees, of a photo taken as it is, and of one that was turned by quarters."""

    most_roll_deg: float = 60.0
    most_turned_roll_deg: float = 45.0


@dataclass(frozen=True)
class _CropSettings:
    """When a crop is too narrow, and what is noted.

    Attributes:
        upper: fraction of the crop's height whose sides hair may touch; further down long hair may leave it.
        most_touching: fraction of the crop's side that hair may touch before the crop is made wider.
        most_cut: the same of the photo's border before it is noted.
        crown_skull, crown_height: the top of the skull, in units of ``HeadMap``.
        least_crown: mean alpha of the crown below which the matte has missed it.
        small_face_px: height of a face below which it is noted.
    """

    upper: float = 0.7
    most_touching: float = 0.03
    most_cut: float = 0.02
    crown_skull: float = 0.75
    crown_height: float = 1.0
    least_crown: float = 0.7
    small_face_px: float = 120.0


_UPRIGHT = _UprightSettings()
_CROP = _CropSettings()


@dataclass(frozen=True)
class PortraitResult:
    """A portrait and how it came about.

    Attributes:
        faces_seen: faces in the photo.
        face_taken: which one, counted from 1, largest first.
        face_heights_px: hairline to chin of every face seen, pixels of the photo, largest first.
        measures: what the photo is worth.
        notes: what the user should know.
    """

    portrait: Portrait
    faces_seen: int
    face_taken: int
    face_heights_px: tuple[float, ...]
    presence: float
    measures: PhotoMeasures
    notes: tuple[str, ...] = ()


class _Models(NamedTuple):
    """The models that segment a portrait."""

    matte: MatteModel
    hair: HairModel


def make_portrait(
    photo: Photo,
    *,
    face: int | None = None,
    matte_model: MatteModel | None = None,
    hair_model: HairModel | None = None,
    remove_glasses: bool = False,
) -> PortraitResult:
    """Make the portrait of one person of a photo.

    Args:
        face: which one, counted from 1 in the order of size; default: the largest.
        matte_model: finds the person's pixels; default: ``SelfieMatte``.
        hair_model: segments them; default: ``NetworkHair``.
        remove_glasses: fill the frame of glasses with the skin beside it.

    Raises:
        NoFaceError: no usable face: none at all, cut by the border, turned away, or not a photo of a person.
        InputError: ``face`` is more than there are.
        WeightsError: a model file is not to be had.
    """
    turned, faces, notes = _upright(photo)
    if not faces:
        raise NoFaceError(
            f"{_name(photo)}: no face found; use a photo that shows a person's face from the front or up to 45° aside"
        )
    if face is not None and not 1 <= face <= len(faces):
        raise InputError(f"{_name(photo)}: face {face} was asked for; faces found: {len(faces)} (1 is the largest)")
    taken = 1 if face is None else face
    mesh = faces[taken - 1]
    if len(faces) > 1 and face is None:
        notes.append(f"{len(faces)} faces found; the largest was taken (--face 2 takes the next, by size)")
    frame = fit_head(mesh)
    notes += check_face(turned.rgb, mesh, frame, _name(photo))
    models = _Models(matte_model or SelfieMatte(), hair_model or NetworkHair())
    others = [other for other in faces if other is not mesh]
    portrait, measures, more = _crop_and_matte(turned, mesh, frame, others, models, remove_glasses=remove_glasses)
    heights = tuple(round(m.height_px, 1) for m in faces)
    return PortraitResult(portrait, len(faces), taken, heights, mesh.presence, measures, (*notes, *more))


def _name(photo: Photo) -> str:
    return str(photo.path) if photo.path is not None else "the photo"


def _upright(photo: Photo) -> tuple[Photo, list[FaceMesh], list[str]]:
    """Return the photo turned so that its face is upright, the faces found in it, and notes."""
    faces = find_faces(photo.rgb)
    if faces and abs(fit_head(faces[0]).angles_deg[2]) < _UPRIGHT.most_roll_deg:
        return photo, faces, []
    best = (photo, faces, [])
    for quarters in (1, 3, 2):
        turned = _turned(photo, quarters)
        found = find_faces(turned.rgb)
        if found and abs(fit_head(found[0]).angles_deg[2]) < _UPRIGHT.most_turned_roll_deg:
            return turned, found, [f"the photo was turned by {90 * quarters}° so that the face is upright"]
    return best


def _turned(photo: Photo, quarters: int) -> Photo:
    """Rotate counter-clockwise by quarters of a full turn."""
    height, width = photo.rgb.shape[:2]
    step = {1: [[0, 1, 0], [-1, 0, width]], 2: [[-1, 0, width], [0, -1, height]], 3: [[0, -1, height], [1, 0, 0]]}
    matrix = np.array([*step[quarters], [0, 0, 1]], np.float64)
    alpha = None if photo.alpha is None else np.ascontiguousarray(np.rot90(photo.alpha, quarters))
    rgb = np.ascontiguousarray(np.rot90(photo.rgb, quarters))
    return Photo(rgb, alpha, photo.path, matrix @ photo.photo_from_source, photo.notes)


def _crop_and_matte(
    photo: Photo,
    mesh: FaceMesh,
    frame: HeadFrame,
    others: list[FaceMesh],
    models: _Models,
    *,
    remove_glasses: bool,
) -> tuple[Portrait, PhotoMeasures, list[str]]:
    """Make the portrait, its measures, and notes.

    The crop is widened if the hair does not fit, or is so large that the matte missed it.
    """
    notes: list[str] = []
    for factor in _CROP_SCALES:
        crop_from_photo = place_crop(frame, factor)
        crop = _head_crop(photo, crop_from_photo, [(mesh, frame), *((other, fit_head(other)) for other in others)])
        alpha = models.matte.matte(crop)
        classes = models.hair.segment(crop, alpha)
        on_head = classes.hair if classes.headwear is None else np.maximum(classes.hair, classes.headwear)
        head = HeadMap.of(crop.face, picture_px=CROP_PX, side_px=matting.WORK_PX)
        if not (_fills_crop(on_head, crop.observed) or _crown_is_missing(alpha, head)):
            break
    if _cut_by_photo(on_head, crop.observed):
        notes.append("the hair reaches over the border of the photo; what lies beyond is made up")
    if mesh.height_px < _CROP.small_face_px:
        notes.append(f"the face is only {mesh.height_px:.0f} pixels high; 250 or more give a better head")
    rgb, more = _handle_glasses(crop, remove=remove_glasses)
    notes += more
    portrait = Portrait(
        rgb=rgb,
        alpha=alpha,
        hair=classes.hair,
        clothes=classes.clothes,
        headwear=np.zeros_like(alpha) if classes.headwear is None else classes.headwear,
        foreground=foreground_colours(rgb, alpha, on_head),
        observed=crop.observed,
        landmarks_px=crop.face.landmarks_px.astype(np.float32),
        blendshapes=mesh.blendshapes,
        head_pose_deg=frame.angles_deg,
        crop_from_source=crop_from_photo @ photo.photo_from_source,
    )
    # What another matte model thought is not known.
    person = person_prior(crop.rgb) if isinstance(models.matte, SelfieMatte) else None
    return portrait, measure_photo(photo.rgb, mesh, portrait, head=head, person=person), notes


def _handle_glasses(crop: HeadCrop, *, remove: bool) -> tuple[Float[np.ndarray, "s s 3"], list[str]]:
    """Return the crop's colours, without the frame of glasses if that is asked for, and notes."""
    if not has_glasses(crop.rgb, crop.face.landmarks_px):
        return crop.rgb, ["no glasses found to remove"] if remove else []
    if remove:
        return without_glasses(crop.rgb, crop.face.landmarks_px), ["glasses found; skin was filled in for their frame"]
    return crop.rgb, ["glasses found; their frame is painted on the face (--glasses remove fills in skin)"]


def place_crop(frame: HeadFrame, factor: float = 1.0) -> Float[np.ndarray, "3 3"]:
    """Return ``crop_from_photo`` of the square with the head, its hair, and the beginning of the shoulders."""
    side_px = SIDE_IN_FACE_HEIGHTS * FACE_HEIGHT_CM * frame.scale_px * factor
    corner = frame.project(_CENTRE_CM) - side_px / 2
    scale = CROP_PX / side_px
    return np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]], [0, 0, 1]])


def cut_crop(
    photo: Photo, crop_from_photo: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "s s 3"], Bool[np.ndarray, "s s"], Float[np.ndarray, "s s"] | None]:
    """Cut out colour (white beyond the photo), the mask of the photo, and the photo's own alpha if it has one."""
    rgb = 1 - warp_crop(1 - photo.rgb, crop_from_photo)
    height, width = photo.rgb.shape[:2]
    corners = np.array([[0, 0, 1], [width, height, 1]]) @ crop_from_photo[:2].T
    low, high = np.ceil(corners.min(0) - 0.5), np.floor(corners.max(0) - 0.5)
    x, y = np.arange(CROP_PX), np.arange(CROP_PX)
    observed = ((y >= low[1]) & (y <= high[1]))[:, None] & ((x >= low[0]) & (x <= high[0]))[None]
    alpha = None
    if photo.alpha is not None:
        alpha_rgb = photo.alpha[..., None].repeat(3, axis=2)
        alpha = np.clip(warp_crop(alpha_rgb, crop_from_photo, growing=cv2.INTER_LINEAR)[..., 0], 0, 1) * observed
    return np.where(observed[..., None], np.clip(rgb, 0, 1), np.float32(1)), observed, alpha


def warp_crop(
    image: Float[np.ndarray, "h w 3"], crop_from_photo: Float[np.ndarray, "3 3"], growing: int = cv2.INTER_LANCZOS4
) -> Float[np.ndarray, "s s 3"]:
    """Scale and shift: area averaging when shrinking, Lanczos when growing; the border's colour is replicated.

    Args:
        growing: OpenCV's interpolation when growing.
    """
    scale = crop_from_photo[0, 0]
    low = np.floor(-crop_from_photo[:2, 2] / scale).astype(int) - _CONTEXT_PX
    high = np.ceil((CROP_PX - crop_from_photo[:2, 2]) / scale).astype(int) + _CONTEXT_PX
    low, high = np.maximum(low, 0), np.minimum(high, image.shape[1::-1])
    patch = image[low[1] : high[1], low[0] : high[0]]
    ratio = np.ones(2)
    if scale < 1:
        size = [max(1, round(n * scale)) for n in patch.shape[1::-1]]
        ratio = np.array(size) / patch.shape[1::-1]
        patch = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    linear = np.diag(scale / ratio)
    shift = crop_from_photo[:2, 2] + scale * low
    shift = shift + linear @ np.full(2, 0.5) - 0.5  # OpenCV counts from pixel centres
    matrix = np.column_stack([linear, shift])
    flags = growing if scale > 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(patch, matrix, (CROP_PX, CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _head_crop(
    photo: Photo, crop_from_photo: Float[np.ndarray, "3 3"], faces: Sequence[tuple[FaceMesh, HeadFrame]]
) -> HeadCrop:
    """Cut the crop out of the photo and bring all faces, the person's first, into its pixels."""
    rgb, observed, own_alpha = cut_crop(photo, crop_from_photo)
    person, *neighbours = (
        FaceGeometry(
            mesh.landmarks_px @ crop_from_photo[:2, :2].T + crop_from_photo[:2, 2], frame.moved(crop_from_photo)
        )
        for mesh, frame in faces
    )
    return HeadCrop(rgb, observed, own_alpha, person, tuple(neighbours))


def _fills_crop(hair: Float[np.ndarray, "s s"], observed: Bool[np.ndarray, "s s"]) -> bool:
    """Check whether hair touches the top or a side of the crop where the photo goes on."""
    upper = slice(0, round(_CROP.upper * CROP_PX))
    edges = [(hair[0], observed[0]), (hair[upper, 0], observed[upper, 0]), (hair[upper, -1], observed[upper, -1])]
    return any(bool(((mask > INSIDE) & seen).sum() > _CROP.most_touching * CROP_PX) for mask, seen in edges)


def _crown_is_missing(alpha: Float[np.ndarray, "s s"], head: HeadMap) -> bool:
    """Check whether the matte leaves out the top of the skull."""
    person = cv2.resize(alpha, (head.side_px, head.side_px), interpolation=cv2.INTER_AREA)
    crown = (head.skull < _CROP.crown_skull) & (head.height > _CROP.crown_height)
    return bool(crown.any() and person[crown].mean() < _CROP.least_crown)


def _cut_by_photo(hair: Float[np.ndarray, "s s"], observed: Bool[np.ndarray, "s s"]) -> bool:
    """Check whether hair touches the photo's border above or beside the head."""
    rows, columns = np.flatnonzero(observed.any(1)), np.flatnonzero(observed.any(0))
    top, left, right = rows[0], columns[0], columns[-1]
    touches = 0
    touches += (hair[top] > INSIDE).sum() if top > 0 else 0
    touches += (hair[:, left] > INSIDE).sum() if left > 0 else 0
    touches += (hair[:, right] > INSIDE).sum() if right < CROP_PX - 1 else 0
    return bool(touches > _CROP.most_cut * CROP_PX)
