"""From pictures of synthetic people to what the hair network sees of them, kept in files so that training is quick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from hair_people import LabelledPhoto
from jaxtyping import Float, Integer

from spinmeround.portrait.hair_network import OUTPUT_PX, HairInputs, hair_inputs
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.landmarks import find_faces
from spinmeround.portrait.portrait import CROP_PX, place_crop
from spinmeround.portrait.pose import fit_head
from spinmeround.types import FaceGeometry

_SEEN_PX = 256
_CROPS = ((1.0, 0.75), (1.35, 0.15), (1.8, 0.1))
"""How much wider than usual crops are, and how often."""

_NEAR_BORDER, _BORDERS = 0.6, ((True, 0.33), (False, 0.3))
"""How often a side of the photo lies inside the crop; and by how much of it at most: left and right, top and bottom."""
_BLACK_BAR = 0.08
"""How often a black bar takes the place of what lies beyond."""


@dataclass(frozen=True)
class Samples:
    """Inputs and labels, one crop a row, memory-mapped halves.

    Attributes:
        labels: coverage by hair.
        person: number of the person each crop shows.
    """

    inputs: HairInputs
    labels: Float[np.ndarray, "n 128 128"]
    person: Integer[np.ndarray, "n"]


def write_samples(folder: Path, people: Sequence[int], *, views: int, draw: Callable[[int], LabelledPhoto]) -> Samples:
    """Draw people, crop each picture several times, and write what the network sees; faces not found are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    columns: list[np.memmap] = []
    shown: list[int] = []
    for count, person in enumerate(people):
        for values in _views(draw(person), views, np.random.default_rng([person, 8])):
            if not columns:
                columns = [
                    np.lib.format.open_memmap(
                        folder / f"{k}.npy", "w+", np.float16, (len(people) * views, *value.shape)
                    )
                    for k, value in enumerate(values)
                ]
            for column, value in zip(columns, values, strict=True):
                column[len(shown)] = value
            shown.append(person)
        if count % 20 == 19:
            print(f"{count + 1} of {len(people)} people, {len(shown)} crops", flush=True)
            np.save(folder / "person.npy", np.array(shown))
    np.save(folder / "person.npy", np.array(shown))
    return read_samples(folder)


def read_samples(folder: Path) -> Samples:
    """Open what ``write_samples`` wrote."""
    person = np.load(folder / "person.npy")
    *inputs, labels = (np.load(folder / f"{k}.npy", mmap_mode="r")[: len(person)] for k in range(6))
    return Samples(HairInputs(*inputs), labels, person)


def _views(photo: LabelledPhoto, views: int, rng: np.random.Generator) -> list[tuple[Float[np.ndarray, "..."], ...]]:
    faces = find_faces(photo.rgb)
    if not faces:
        return []
    frame = fit_head(faces[0])
    result = []
    for _ in range(views):
        factor = rng.choice([f for f, _ in _CROPS], p=[p for _, p in _CROPS]) * rng.uniform(0.93, 1.1)
        crop_from_photo = place_crop(frame, factor)
        crop_from_photo[:2, 2] += rng.normal(0, 0.02, 2) * CROP_PX
        crop_from_photo[:2] *= _SEEN_PX / CROP_PX
        rgb, hair = _warped(_redeveloped(photo.rgb, rng), photo.hair, crop_from_photo, rng)
        landmarks = faces[0].landmarks_px @ crop_from_photo[:2, :2].T + crop_from_photo[:2, 2]
        face = FaceGeometry(landmarks, frame.moved(crop_from_photo))
        head = HeadMap.of(face, picture_px=_SEEN_PX, side_px=OUTPUT_PX)
        mirrored = bool(rng.random() < 0.5)
        if mirrored:
            rgb, hair = np.ascontiguousarray(rgb[:, ::-1]), hair[:, ::-1]
        label = cv2.resize(hair, (OUTPUT_PX, OUTPUT_PX), interpolation=cv2.INTER_AREA)
        result.append((*hair_inputs(rgb, head, mirrored=mirrored), label))
    return result


def _redeveloped(rgb: Float[np.ndarray, "s s 3"], rng: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """Change brightness, tone and white balance a little."""
    changed = rgb ** np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.06, 3))
    return np.clip(changed, 0, 1).astype(np.float32)


def _warped(
    rgb: Float[np.ndarray, "s s 3"],
    hair: Float[np.ndarray, "s s"],
    crop_from_photo: Float[np.ndarray, "3 3"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "256 256 3"], Float[np.ndarray, "256 256"]]:
    """Cut the crop out, white beyond the photo, whose border is sometimes nearer than it was drawn."""
    shift = crop_from_photo[:2].copy()
    shift[:, 2] += shift[:, :2] @ [0.5, 0.5] - 0.5
    stacked = np.dstack([1 - rgb, hair]).astype(np.float32)
    warped = cv2.warpAffine(stacked, shift, (_SEEN_PX, _SEEN_PX), flags=cv2.INTER_LINEAR)
    for (across, most), bar in zip(_BORDERS * 2, rng.random(4) < _BLACK_BAR, strict=True):
        cut = int(_SEEN_PX * rng.uniform(0, most)) if rng.random() < _NEAR_BORDER else 0
        beyond = np.s_[:, :cut] if across else np.s_[:cut]
        warped[beyond] = [1, 1, 1, 0] if bar else 0
        warped = warped[::-1, ::-1]
    return np.ascontiguousarray(1 - warped[..., :3]), np.ascontiguousarray(warped[..., 3])
