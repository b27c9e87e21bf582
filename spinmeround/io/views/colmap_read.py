"""Read a COLMAP model, text or binary, and check it.

Follows the public description of COLMAP's output format. Its camera axes and its pixel convention are ours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.io.views.frames import (
    Frame,
    ViewFile,
    frames_on_disk,
    is_file,
    nearest_rigid,
    path_inside_folder,
    place_of_mask,
    place_of_picture,
)

MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", ".")
HELD_OUT_FILE = "test.txt"
"""Beside the model, one picture a line: where the authors of 3D Gaussian splatting list what they hold out."""

_MAX_BYTES = 1 << 31
_PARAMETERS = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
}
_MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE",
)  # fmt: skip
"""COLMAP's camera models, by their number in binary files."""
_BESIDE = {"normal_path": "normals", "weight_path": "weights"}


@dataclass(frozen=True)
class _Intrinsics:
    size_px: tuple[int, int]
    values: dict[str, float]


@dataclass(frozen=True)
class _Picture:
    name: str
    quat_wxyz: tuple[float, ...]
    translation: tuple[float, ...]
    camera: int


def colmap_model(folder: Path) -> Path | None:
    """Return the folder of the model, if there is one."""
    for place in MODEL_FOLDERS:
        for suffix in (".bin", ".txt"):
            if all((folder / place / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
                return folder / place
    return None


def read_colmap_file(folder: Path, model: Path, *, skip_missing: bool = False, poses_only: bool = False) -> ViewFile:
    """Parse cameras and pictures of a model; its points are not needed.

    Pictures lie in ``images``, in the folder itself or, shrunk, in ``images_2``, ``images_4`` or ``images_8``. Masks
    lie in ``masks``, named as COLMAP does (``a.jpg.png``), after the stem (``a.png``, ``a_mask.png``), or beside the
    picture; normals and weights in ``normals`` and ``weights``.

    Args:
        poses_only: whether the pictures and what lies beside them need not be there.

    Raises:
        InputError: cut short or damaged, no pictures, a path that leaves the folder or names nothing, a camera
            model with more than OpenCV's first four distortion coefficients.
    """
    suffix = ".bin" if (model / "cameras.bin").is_file() and (model / "images.bin").is_file() else ".txt"
    cameras_path, path = model / f"cameras{suffix}", model / f"images{suffix}"
    if suffix == ".bin":
        cameras, pictures = _binary_cameras(cameras_path), list(_binary_pictures(path))
    else:
        cameras, pictures = _text_cameras(cameras_path), list(_text_pictures(path))
    if not pictures:
        raise InputError(f"{path}: the model has no registered pictures")
    frames: dict[str, Frame] = {}
    for picture in pictures:
        if picture.name in frames:
            raise InputError(f"{path}: two entries for {picture.name}; remove one")
        frames[picture.name] = _frame(path, folder, cameras, picture)
    files = {name: frame.files for name, frame in frames.items()}
    left = set(files) if poses_only else frames_on_disk(path, folder, files, skip_missing=skip_missing)
    held_out = _held_out(model / HELD_OUT_FILE, frames)
    train = [frame for name, frame in frames.items() if name in left and name not in held_out]
    if not train:
        raise InputError(f"{model / HELD_OUT_FILE}: holds out all pictures; none are left to fit")
    return ViewFile(path, train, [frames[name] for name in held_out if name in left] or None)


def _frame(path: Path, folder: Path, cameras: dict[int, _Intrinsics], picture: _Picture) -> Frame:
    where = f"{path}: {picture.name}"
    name = path_inside_folder(path, "a picture", picture.name)
    if picture.camera not in cameras:
        raise InputError(f"{where}: its camera {picture.camera} is not in the model")
    intrinsics = cameras[picture.camera]
    values = intrinsics.values
    focal = values.get("fx", values.get("f", 0.0)), values.get("fy", values.get("f", 0.0))
    if min(focal) <= 0:
        raise InputError(f"{where}: a focal length of {focal[0]:g}, {focal[1]:g} pixels is none")
    files = {"file_path": place_of_picture(folder, f"images/{name}" if is_file(folder / "images" / name) else name)}
    if (mask := place_of_mask(folder, f"images/{name}")) is not None:
        files["mask_path"] = mask
    for key, place in _BESIDE.items():
        stem = name.removesuffix(Path(name).suffix)
        named = [f"{place}/{given}" for given in (f"{name}.png", f"{stem}.png") if is_file(folder / place / given)]
        files |= {key: named[0]} if named else {}
    distortion = tuple(values.get(key, 0.0) for key in ("k1", "k2", "p1", "p2", "k3"))
    return Frame(files, _pose(where, picture), intrinsics.size_px, focal, (values["cx"], values["cy"]), distortion)


def _pose(where: str, picture: _Picture) -> Float[np.ndarray, "4 4"]:
    quat = np.array(picture.quat_wxyz)
    if not 1e-6 < np.abs(quat).max() < 1e6:
        raise InputError(f"{where}: its quaternion is {picture.quat_wxyz}; it must be of unit length")
    w, x, y, z = quat / np.linalg.norm(quat)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = picture.translation
    return nearest_rigid(f"{where}: its pose", matrix)


def _intrinsics(path: Path, number: int, model: str, size: tuple[int, int], values: tuple[float, ...]) -> _Intrinsics:
    names = _PARAMETERS[model].split()
    if not 0 < size[0] < 1 << 20 or not 0 < size[1] < 1 << 20:
        raise InputError(f"{path}: camera {number}: a picture cannot be {size[0]} x {size[1]} pixels")
    if len(values) != len(names) or not all(abs(value) < 1e9 for value in values):
        raise InputError(f"{path}: camera {number}: {model} has {len(names)} finite parameters: {', '.join(names)}")
    return _Intrinsics(size, dict(zip(names, values, strict=True)))


def _known(path: Path, number: int, model: str) -> str:
    if model not in _PARAMETERS:
        raise InputError(
            f"{path}: camera {number} is of the model {model[:40]!r}; known are {', '.join(_PARAMETERS)}; undistort "
            "the pictures first, with COLMAP's image_undistorter for instance"
        )
    return model


def _held_out(path: Path, frames: dict[str, Frame]) -> list[str]:
    if not path.is_file():
        return []
    names = [line.strip() for line in _lines(path) if line.strip()]
    unknown = [name for name in names if name not in frames]
    if unknown:
        raise InputError(f"{path}: names {unknown[0][:80]!r}, which is no picture of the model")
    return list(dict.fromkeys(names))


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size >> 20} MB, more than a model of a head can have")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error


def _lines(path: Path) -> list[str]:
    try:
        return _bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file of COLMAP ({error})") from error


def _text_cameras(path: Path) -> dict[int, _Intrinsics]:
    cameras = {}
    for line in _lines(path):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            number, size, values = int(words[0]), (int(words[2]), int(words[3])), tuple(map(float, words[4:]))
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: no camera: {line[:80]!r}") from error
        cameras[number] = _intrinsics(path, number, _known(path, number, words[1]), size, values)
    return cameras


def _text_pictures(path: Path) -> Iterator[_Picture]:
    """Parse two lines a picture, of which the second, its points, may be empty."""
    lines = iter([line for line in _lines(path) if not line.startswith("#")])
    for line in lines:
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        try:
            numbers = [float(word) for word in words[1:8]]
            yield _Picture(words[9].strip(), tuple(numbers[:4]), tuple(numbers[4:]), int(words[8]))
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: no picture: {line[:80]!r}") from error
        next(lines, None)


class _Cursor:
    """Sequential reader of little-endian values that never reads beyond the end."""

    def __init__(self, path: Path) -> None:
        self._path, self._data, self._at = path, _bytes(path), 0

    def take(self, layout: str) -> tuple:
        self._need(struct.calcsize("<" + layout))
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def count(self, each: int) -> int:
        """Read how many entries follow, of at least ``each`` bytes."""
        (count,) = self.take("Q")
        self._need(count * each)
        return count

    def skip(self, size: int) -> None:
        self._need(size)
        self._at += size

    def text(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise self._cut()
        raw, self._at = self._data[self._at : end], end + 1
        return raw.decode("utf-8", errors="replace")

    def _need(self, size: int) -> None:
        if size > len(self._data) - self._at:
            raise self._cut()

    def _cut(self) -> InputError:
        return InputError(f"{self._path}: not a binary file of COLMAP, or cut short; copy or export it again")


def _binary_cameras(path: Path) -> dict[int, _Intrinsics]:
    cursor, cameras = _Cursor(path), {}
    for _ in range(cursor.count(24)):
        number, kind, width, height = cursor.take("IiQQ")
        model = _known(path, number, _MODELS[kind] if 0 <= kind < len(_MODELS) else f"number {kind}")
        values = cursor.take(f"{len(_PARAMETERS[model].split())}d")
        cameras[number] = _intrinsics(path, number, model, (width, height), values)
    return cameras


def _binary_pictures(path: Path) -> Iterator[_Picture]:
    cursor = _Cursor(path)
    for _ in range(cursor.count(73)):
        _, *pose, camera = cursor.take("I7dI")
        yield _Picture(cursor.text(), tuple(pose[:4]), tuple(pose[4:]), camera)
        cursor.skip(24 * cursor.count(24))
