"""What ``transforms.json`` says, understood and checked, before any picture is opened."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.geometry import invert_rigid
from spinmeround.io.transforms import FILE_NAME, OPENCV_FROM_OPENGL

NORMAL_FRAMES = ("world", "camera_opengl", "camera_opencv")
_MAX_JSON = 1 << 26
_RIGID = 1e-3
_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


@dataclass(frozen=True)
class Frame:
    """One view as the file describes it.

    Attributes:
        files: keys ``file_path``, ``mask_path``, ``normal_path``, ``weight_path``, as far as given; relative paths.
        size_px: width and height, if the file tells.
        focal_px: along x and y.
        principal_px: None stands for the middle of the picture.
        distortion: k1 k2 p1 p2 k3 of OpenCV's lens model; all 0 for a pinhole.
    """

    files: dict[str, str]
    camera_from_world: Float[np.ndarray, "4 4"]
    size_px: tuple[int, int] | None
    focal_px: tuple[float, float]
    principal_px: tuple[float | None, float | None]
    distortion: tuple[float, ...]


@dataclass(frozen=True)
class ViewFile:
    """The whole file. ``test`` is None when nothing is held out; ``normal_frame`` is None when none is declared."""

    train: list[Frame]
    test: list[Frame] | None
    ignored: int
    normal_frame: str | None


def read_view_file(folder: Path) -> ViewFile:
    """Parses ``folder/transforms.json``.

    Raises:
        InputError: absent, no JSON, no frames, a path that leaves the folder or names nothing, a pose that is not
            rigid, a lens that is no pinhole, numbers that are not finite.
    """
    path = folder / FILE_NAME
    document = _document(path)
    frames: dict[str, Frame] = {}
    for number, entry in enumerate(document["frames"]):
        frame = _Reader(path, document, entry, f"frame {number}").frame()
        name = frame.files["file_path"]
        if name in frames:
            raise InputError(f"{path}: two frames show {name}; remove one")
        frames[name] = frame
    missing = [name for frame in frames.values() for name in frame.files.values() if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{path}: names files that are not there: {', '.join(missing[:3])}{more}")
    train, test = _split(path, document, frames)
    normal_frame = document.get("normal_frame")
    if normal_frame is not None and normal_frame not in NORMAL_FRAMES:
        raise InputError(f"{path}: normal_frame is {normal_frame!r}; known are {', '.join(NORMAL_FRAMES)}")
    ignored = len(frames) - len({*train, *(test or [])})
    return ViewFile(
        [frames[n] for n in train], None if test is None else [frames[n] for n in test], ignored, normal_frame
    )


def _document(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise InputError(f"{path}: a number is {constant}; poses and intrinsics must be finite")

    try:
        if path.stat().st_size > _MAX_JSON:
            raise InputError(f"{path}: {path.stat().st_size >> 20} MB of JSON; a folder of views has no need of that")
        document = json.loads(path.read_bytes(), parse_constant=refuse)
    except (FileNotFoundError, NotADirectoryError) as error:
        what = f"{path.parent} is a file" if path.parent.is_file() else f"no {FILE_NAME} in {path.parent}"
        raise InputError(f"{what}: give a folder of posed views") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list) or not document["frames"]:
        raise InputError(f"{path}: has no list of frames")
    return document


def _split(path: Path, document: dict[str, Any], frames: dict[str, Frame]) -> tuple[list[str], list[str] | None]:
    lists: dict[str, list[str]] = {}
    for key in ("train_filenames", "test_filenames"):
        if key not in document:
            continue
        if not isinstance(document[key], list):
            raise InputError(f"{path}: {key} is no list")
        lists[key] = [_inside(path, key, name) for name in document[key]]
        unknown = [name for name in lists[key] if name not in frames]
        if unknown:
            raise InputError(f"{path}: {key} names {unknown[0]}, which is no frame's file_path")
    test = lists.get("test_filenames")
    train = lists.get("train_filenames", [name for name in frames if name not in (test or [])])
    if not train:
        raise InputError(f"{path}: no frames are left to fit; train_filenames is empty or test_filenames has them all")
    return train, test or None


def _inside(path: Path, where: str, name: object) -> str:
    """A relative path with forward slashes that stays in the folder; both kinds of slash are understood."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{path}: {where}: {str(name)[:80]!r} is no file name")
    parts: list[str] = []
    given = PureWindowsPath(name)
    for part in given.parts:
        if given.drive or given.root or (part == ".." and not parts):
            raise InputError(f"{path}: {where}: {name!r} leads out of the folder; put the file inside and name it so")
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


@dataclass(frozen=True)
class _Reader:
    """Reads one frame; what a frame does not say, the top of the file says for all."""

    path: Path
    document: dict[str, Any]
    entry: Any
    where: str

    def frame(self) -> Frame:
        if not isinstance(self.entry, dict):
            raise InputError(f"{self.path}: {self.where} is no object")
        keys = ("file_path", "mask_path", "normal_path", "weight_path")
        files = {k: _inside(self.path, self.where, self.entry[k]) for k in keys if self.entry.get(k) is not None}
        if "file_path" not in files:
            raise InputError(f"{self.path}: {self.where} has no file_path")
        return Frame(
            files, self._pose(), self._size(), self._focal(), (self._number("cx"), self._number("cy")), self._lens()
        )

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
        angle, size = self._number("camera_angle_x"), self._size()
        if focal_x is None and angle is not None and size is not None and 0 < angle < math.pi:
            focal_x = size[0] / 2 / math.tan(angle / 2)
        if focal_x is None:
            raise InputError(f"{self.path}: {self.where} has no focal length (fl_x, in pixels)")
        focal_y = focal_x if focal_y is None else focal_y
        if focal_x <= 0 or focal_y <= 0:
            raise InputError(f"{self.path}: {self.where}: a focal length of {focal_x:g}, {focal_y:g} pixels is none")
        return focal_x, focal_y

    def _lens(self) -> tuple[float, ...]:
        model = self.entry.get("camera_model", self.document.get("camera_model", "OPENCV"))
        if model not in _PINHOLES:
            raise InputError(
                f"{self.path}: camera_model {str(model)[:40]!r} is no pinhole; undistort the pictures first, "
                "with COLMAP's image_undistorter for instance"
            )
        if self._number("k4"):
            raise InputError(f"{self.path}: {self.where}: k4 is not 0; undistort the pictures first")
        return tuple(self._number(key) or 0.0 for key in ("k1", "k2", "p1", "p2", "k3"))

    def _pose(self) -> Float[np.ndarray, "4 4"]:
        """OpenGL camera-to-world to OpenCV ``camera_from_world``; rounding in the file is evened out."""
        where = f"{self.path}: {self.where}: transform_matrix"
        try:
            matrix = np.array(self.entry.get("transform_matrix"), np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where} is no 4 x 4 matrix of numbers") from error
        if matrix.shape == (3, 4):
            matrix = np.vstack([matrix, [0, 0, 0, 1]])
        if matrix.shape != (4, 4):
            raise InputError(f"{where} is no 4 x 4 matrix of numbers")
        if not (np.abs(matrix) < 1e9).all():
            raise InputError(f"{where} has numbers that are not finite")
        turn = matrix[:3, :3]
        error = np.abs(turn @ turn.T - np.eye(3)).max()
        if error > _RIGID or np.abs(matrix[3] - (0, 0, 0, 1)).max() > _RIGID:
            raise InputError(f"{where} is not rigid: it scales, shears or projects; a camera may turn and move only")
        if np.linalg.det(turn) < 0:
            raise InputError(f"{where} is left-handed (a mirror image); flip one axis, x right, y up, z back")
        if error > 1e-7:
            u, _, vt = np.linalg.svd(turn)
            matrix[:3, :3] = u @ vt
        matrix[3] = (0, 0, 0, 1)
        return invert_rigid(matrix @ OPENCV_FROM_OPENGL)
