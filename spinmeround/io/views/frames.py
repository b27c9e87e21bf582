"""Posed frames as the file of a folder describes them, checked before any picture is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError

_RIGID_TOLERANCE = 1e-3
"""Largest entry of R Rᵀ - 1 that counts as rounding of a rotation R in the file."""
_EXACT_TOLERANCE = 1e-7
"""Below this a rotation is kept to the last bit."""


@dataclass(frozen=True)
class Frame:
    """One view as the file describes it.

    Attributes:
        files: keys ``file_path``, ``mask_path``, ``normal_path``, ``weight_path``, as far as given; relative paths.
        size_px: width and height, if the file has them.
        focal_px: along x and y.
        principal_px: None for the middle of the picture.
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
    """A whole folder.

    Attributes:
        path: the file, for messages.
        test: frames held out; None if there are none.
        ignored: how many frames are in neither list.
        normal_frame: None if none is declared.
        file_from_world: the rotation of ``applied_transform``, which is already undone in the poses; None without one.
        exact_cameras: whether the pictures were drawn from just these cameras.
    """

    path: Path
    train: list[Frame]
    test: list[Frame] | None
    ignored: int = 0
    normal_frame: str | None = None
    file_from_world: Float[np.ndarray, "3 3"] | None = None
    exact_cameras: bool = False


def path_inside_folder(path: Path, where: str, name: object) -> str:
    """Return a relative path with forward slashes that stays in the folder; both kinds of slash are accepted.

    Args:
        path: the file that names it, and ``where`` in it, for the message.

    Raises:
        InputError: anything else.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{path}: {where}: {str(name)[:80]!r} is no file name")
    parts: list[str] = []
    given = PureWindowsPath(name)
    for part in given.parts:
        if given.drive or given.root or (part == ".." and not parts):
            raise InputError(f"{path}: {where}: {name!r} leads out of the folder; put the file inside and name it so")
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def check_files(path: Path, folder: Path, names: list[str]) -> None:
    """Check that the files that ``path`` names are in ``folder``.

    Raises:
        InputError: some are not.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{path}: names files that are not there: {', '.join(missing[:3])}{more}")


def nearest_rigid(where: str, matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Return the transform itself or, if the file was rounded, the nearest rigid one.

    Args:
        where: what the matrix is, for the message.

    Raises:
        InputError: it is not finite, scales, shears, projects or mirrors.
    """
    if not (np.abs(matrix) < 1e9).all():
        raise InputError(f"{where} has numbers that are not finite")
    rotation = matrix[:3, :3]
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > _RIGID_TOLERANCE or np.abs(matrix[3] - (0, 0, 0, 1)).max() > _RIGID_TOLERANCE:
        raise InputError(f"{where} is not rigid: it scales, shears or projects; a camera may turn and move only")
    if np.linalg.det(rotation) < 0:
        raise InputError(f"{where} is left-handed (a mirror image); flip one axis, x right, y up, z back")
    clean = matrix.copy()
    if error > _EXACT_TOLERANCE:
        u, _, vt = np.linalg.svd(rotation)
        clean[:3, :3] = u @ vt
    clean[3] = (0, 0, 0, 1)
    return clean
