"""Read ``transforms.json``, in nerfstudio's and in instant-ngp's dialect, and check it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.geometry import invert_rigid
from spinmeround.io.pictures import picture_size_px
from spinmeround.io.views.frames import (
    Frame,
    ViewFile,
    frames_on_disk,
    is_file,
    is_shrunk,
    nearest_rigid,
    path_inside_folder,
    place_of_mask,
    place_of_picture,
)
from spinmeround.io.views.normal_frames import FRAMES
from spinmeround.io.views.transforms_write import FILE_NAME, OPENCV_FROM_OPENGL

_MAX_JSON_BYTES = 1 << 26
_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_FILES = ("file_path", "mask_path", "normal_path", "weight_path")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Suffixes that instant-ngp and NeRF's own scenes leave out of a ``file_path``."""


def read_transforms_file(folder: Path, *, skip_missing: bool = False, poses_only: bool = False) -> ViewFile:
    """Parse ``folder/transforms.json``.

    An ``applied_transform`` is undone: poses are in the world the capture had before.

    Args:
        poses_only: whether the files that frames name need not be there.

    Raises:
        InputError: absent, no JSON, no frames, a path that leaves the folder or names nothing, a pose that is not
            rigid, a camera that is no pinhole, numbers that are not finite.
    """
    path = folder / FILE_NAME
    document = _document(path)
    applied = _applied(path, document)
    readers: dict[str, _Reader] = {}
    for number, entry in enumerate(document["frames"]):
        reader = _Reader(path, document, entry, f"frame {number}", applied)
        name = reader.files()["file_path"]
        if name in readers:
            raise InputError(f"{path}: two frames show {name}; remove one")
        readers[name] = reader
    files = {name: reader.files() for name, reader in readers.items()}
    left = set(files) if poses_only else frames_on_disk(path, folder, files, skip_missing=skip_missing)
    train, test = _split(path, document, readers, left)
    frames = {name: readers[name].frame() for name in left}
    normal_frame = document.get("normal_frame")
    if normal_frame is not None and normal_frame not in FRAMES:
        raise InputError(f"{path}: normal_frame is {normal_frame!r}; known are {', '.join(FRAMES)}")
    return ViewFile(
        path,
        [frames[n] for n in train],
        None if test is None else [frames[n] for n in test],
        len(left) - len({*train, *(test or [])}),
        normal_frame,
        None if applied is None else applied.rotation,
        document.get("exact_cameras") is True,
    )


def _document(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise InputError(f"{path}: a number is {constant}; poses and intrinsics must be finite")

    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size >> 20} MB of JSON, more than the {_MAX_JSON_BYTES >> 20} MB allowed"
            )
        document = json.loads(path.read_bytes(), parse_constant=refuse)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list) or not document["frames"]:
        raise InputError(f"{path}: has no list of frames")
    return document


def _split(
    path: Path, document: dict[str, Any], names: Collection[str], left: set[str]
) -> tuple[list[str], list[str] | None]:
    """Return the names of the frames to fit and of those held out, of the ``left`` ones."""
    lists: dict[str, list[str]] = {}
    for key in ("train_filenames", "test_filenames"):
        if key not in document:
            continue
        if not isinstance(document[key], list):
            raise InputError(f"{path}: {key} is no list")
        lists[key] = [_with_suffix(path, path_inside_folder(path, key, name)) for name in document[key]]
        unknown = [name for name in lists[key] if name not in names]
        if unknown:
            raise InputError(f"{path}: {key} names {unknown[0]}, which is no frame's file_path")
        lists[key] = [name for name in lists[key] if name in left]
    held_out = set(lists.get("test_filenames", ()))
    test = lists.get("test_filenames")
    train = lists.get("train_filenames", [name for name in names if name in left and name not in held_out])
    if not train:
        raise InputError(f"{path}: no frames are left to fit; train_filenames is empty or test_filenames has them all")
    return train, test or None


def _with_suffix(path: Path, name: str) -> str:
    """Complete a name that leaves its suffix out; where there is no such picture, look among shrunk ones."""
    endings = ("",) if Path(name).suffix else _SUFFIXES
    places = (place_of_picture(path.parent, name + ending) for ending in endings)
    return next((place for place in places if is_file(path.parent / place)), name)


@dataclass(frozen=True)
class _Applied:
    """``applied_transform``: the similarity from the capture's world to that of the file."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def undone(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        before = world_from_camera.copy()
        before[:3, :3] = self.rotation.T @ world_from_camera[:3, :3]
        before[:3, 3] = self.rotation.T @ (world_from_camera[:3, 3] - self.translation) / self.scale
        return before


def _applied(path: Path, document: dict[str, Any]) -> _Applied | None:
    where = f"{path}: applied_transform"
    if document.get("applied_transform") is None:
        return None
    matrix = _matrix(where, document["applied_transform"])
    determinant = np.linalg.det(matrix[:3, :3])
    if not determinant > 1e-12:
        raise InputError(f"{where} mirrors or flattens space; it may turn, move and scale only")
    scale = float(np.cbrt(determinant))
    matrix[:3, :3] /= scale
    clean = nearest_rigid(where, matrix)
    return _Applied(scale, clean[:3, :3], clean[:3, 3])


def _matrix(where: str, given: object) -> Float[np.ndarray, "4 4"]:
    try:
        matrix = np.array(given, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where} is no 4 x 4 matrix of numbers") from error
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        raise InputError(f"{where} is no 4 x 4 matrix of numbers")
    if not (np.abs(matrix) < 1e9).all():
        raise InputError(f"{where} has numbers that are not finite")
    return matrix


@dataclass(frozen=True)
class _Reader:
    """Reader of one frame; keys that a frame does not have are taken from the top of the file."""

    path: Path
    document: dict[str, Any]
    entry: Any
    where: str
    applied: _Applied | None

    def files(self) -> dict[str, str]:
        if not isinstance(self.entry, dict):
            raise InputError(f"{self.path}: {self.where} is not an object")
        files = {
            k: path_inside_folder(self.path, self.where, self.entry[k]) for k in _FILES if self.entry.get(k) is not None
        }
        if "file_path" not in files:
            raise InputError(f"{self.path}: {self.where} has no file_path")
        files["file_path"] = _with_suffix(self.path, files["file_path"])
        if "mask_path" not in files and (mask := place_of_mask(self.path.parent, files["file_path"])) is not None:
            files["mask_path"] = mask
        return files

    def frame(self) -> Frame:
        """Return the frame. The picture's size is read if the file has a field of view but no size."""
        principal, files = (self._number("cx"), self._number("cy")), self.files()
        if self._size() is None and self._number("fl_x") is not None and is_shrunk(files["file_path"]):
            raise InputError(
                f"{self.path}: {self.where}: there is only {files['file_path']}, and without w and h intrinsics are "
                "not known; state them"
            )
        return Frame(files, self._pose(), self._size(), self._focal(), principal, self._distortion())

    def _number(self, key: str) -> float | None:
        value = self.entry.get(key, self.document.get(key))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
            raise InputError(f"{self.path}: {self.where}: {key} is {str(value)[:40]!r}, not a sensible number")
        return float(value)

    def _size(self) -> tuple[int, int] | None:
        width, height = self._number("w"), self._number("h")
        if width is None or height is None:
            return None
        if width != int(width) or height != int(height) or width < 1 or height < 1:
            raise InputError(f"{self.path}: {self.where}: a picture cannot be {width:g} x {height:g} pixels")
        return int(width), int(height)

    def _focal(self) -> tuple[float, float]:
        focal_x, focal_y = self._number("fl_x"), self._number("fl_y")
        if focal_x is None:
            focal_x = self._focal_of_fov("camera_angle_x", "x_fov", axis=0)
        if focal_y is None:
            focal_y = self._focal_of_fov("camera_angle_y", "y_fov", axis=1)
        focal_y = focal_x if focal_y is None else focal_y
        if focal_x is None or focal_y is None:
            raise InputError(
                f"{self.path}: {self.where} has no focal length (fl_x, in pixels) and no camera_angle_x (in radians)"
            )
        if focal_x <= 0 or focal_y <= 0:
            raise InputError(f"{self.path}: {self.where}: a focal length of {focal_x:g}, {focal_y:g} pixels is none")
        return focal_x, focal_y

    def _focal_of_fov(self, radians: str, degrees: str, *, axis: int) -> float | None:
        """Compute the focal length from the field of view along an axis, pixels."""
        angle, angle_deg = self._number(radians), self._number(degrees)
        if angle is None and angle_deg is not None:
            angle = math.radians(angle_deg)
        if angle is None:
            return None
        if not 0 < angle < math.pi:
            raise InputError(
                f"{self.path}: {self.where}: no pinhole has a field of view of {math.degrees(angle):g} degrees"
            )
        size = self._size() or picture_size_px(self.path.parent / self.files()["file_path"])
        return size[axis] / 2 / math.tan(angle / 2)

    def _distortion(self) -> tuple[float, ...]:
        model = self.entry.get("camera_model", self.document.get("camera_model", "OPENCV"))
        if self.entry.get("is_fisheye", self.document.get("is_fisheye")):
            model = "fisheye"
        if model not in _PINHOLES:
            raise InputError(
                f"{self.path}: camera_model {str(model)[:40]!r} is no pinhole; undistort the pictures first, "
                "with COLMAP's image_undistorter for instance"
            )
        for key in ("k4", "k5", "k6"):
            if self._number(key):
                raise InputError(f"{self.path}: {self.where}: {key} is not 0; undistort the pictures first")
        return tuple(self._number(key) or 0.0 for key in ("k1", "k2", "p1", "p2", "k3"))

    def _pose(self) -> Float[np.ndarray, "4 4"]:
        """Convert OpenGL camera-to-world to OpenCV ``camera_from_world``; undo rounding in the file."""
        where = f"{self.path}: {self.where}: transform_matrix"
        world_from_camera = nearest_rigid(where, _matrix(where, self.entry.get("transform_matrix")))
        if self.applied is not None:
            world_from_camera = self.applied.undone(world_from_camera)
        return invert_rigid(world_from_camera @ OPENCV_FROM_OPENGL)
