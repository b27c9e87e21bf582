"""Posed frames as a folder's own file describes them, checked, before any picture is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError

_RIGID = 1e-3


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
    """A whole folder.

    Attributes:
        path: the file that told, for messages.
        test: None when nothing is held out.
        ignored: how many frames are in neither list.
        normal_frame: None when none is declared.
        file_from_world: rotation that the poses in the file had undergone and that was taken back; None for none.
    """

    path: Path
    train: list[Frame]
    test: list[Frame] | None
    ignored: int = 0
    normal_frame: str | None = None
    file_from_world: Float[np.ndarray, "3 3"] | None = None


def inside(path: Path, where: str, name: object) -> str:
    """A relative path with forward slashes that stays in the folder; both kinds of slash are understood.

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
    """Asks whether the files that ``path`` names are in ``folder``.

    Raises:
        InputError: some are not.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{path}: names files that are not there: {', '.join(missing[:3])}{more}")


def rigid(where: str, matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The transform itself, or, where the file was rounded, the nearest rigid one.

    Args:
        where: what the matrix is, for the message.

    Raises:
        InputError: it is not finite, scales, shears, projects or mirrors.
    """
    if not (np.abs(matrix) < 1e9).all():
        raise InputError(f"{where} has numbers that are not finite")
    turn = matrix[:3, :3]
    error = np.abs(turn @ turn.T - np.eye(3)).max()
    if error > _RIGID or np.abs(matrix[3] - (0, 0, 0, 1)).max() > _RIGID:
        raise InputError(f"{where} is not rigid: it scales, shears or projects; a camera may turn and move only")
    if np.linalg.det(turn) < 0:
        raise InputError(f"{where} is left-handed (a mirror image); flip one axis, x right, y up, z back")
    clean = matrix.copy()
    if error > 1e-7:
        u, _, vt = np.linalg.svd(turn)
        clean[:3, :3] = u @ vt
    clean[3] = (0, 0, 0, 1)
    return clean
