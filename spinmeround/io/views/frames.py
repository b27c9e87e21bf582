"""Posed frames as the file of a folder describes them, checked before any picture is opened."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError

log = logging.getLogger(__name__)

_SHRUNK_FOLDERS = ("images_2", "images_4", "images_8")
"""Beside ``images``: where 3D Gaussian splatting's scripts and nerfstudio put pictures of a half and less."""
_MASK_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_ROUNDING = 0.01
"""Of a side: what differs by more was cropped, not scaled."""
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


def scaled_to_picture(frame: Frame, size_px: tuple[int, int]) -> Frame | None:
    """Return the frame as its picture shows it, which may be larger or smaller than declared by one factor.

    Returns:
        None if width and height differ by two factors, by more than a pixel's rounding.
    """
    if frame.size_px is None or frame.size_px == size_px:
        return frame
    if not same_shape(frame.size_px, size_px):
        return None
    ratio = size_px[0] / frame.size_px[0], size_px[1] / frame.size_px[1]
    x, y = frame.principal_px
    return replace(
        frame,
        size_px=size_px,
        focal_px=(frame.focal_px[0] * ratio[0], frame.focal_px[1] * ratio[1]),
        principal_px=(None if x is None else x * ratio[0], None if y is None else y * ratio[1]),
    )


def same_shape(first_px: tuple[int, ...], second_px: tuple[int, ...]) -> bool:
    """Check whether one size is the other times one factor, up to a pixel's rounding."""
    factor = max(second_px) / max(first_px)
    tolerance = [min(max(1.0, factor), _ROUNDING * side) for side in second_px]
    return all(abs(a * factor - b) <= most for a, b, most in zip(first_px, second_px, tolerance, strict=True))


def place_of_picture(folder: Path, name: str) -> str:
    """Return where a picture lies: as named, in ``images``, or in a folder of shrunk ones where only those are."""
    inner = name.removeprefix("images/")
    for place in (name, f"images/{inner}", *(f"{shrunk}/{inner}" for shrunk in _SHRUNK_FOLDERS)):
        if is_file(folder / place):
            return place
    return name


def is_shrunk(name: str) -> bool:
    """Check whether a picture lies in a folder of shrunk ones."""
    return name.startswith(tuple(f"{folder}/" for folder in _SHRUNK_FOLDERS))


def place_of_mask(folder: Path, name: str) -> str | None:
    """Return the mask of a picture by the usual names: in ``masks`` or beside it, with or without ``_mask``."""
    inner = name.split("/", 1)[1] if "/" in name else name
    stem, inner_stem = name.removesuffix(Path(name).suffix), inner.removesuffix(Path(inner).suffix)
    endings = (*_MASK_SUFFIXES, *(f"_mask{suffix}" for suffix in _MASK_SUFFIXES))
    named = [f"masks/{base}{ending}" for base in (inner, inner_stem) for ending in endings]
    marks = [f"{mark}{suffix}" for mark in ("_mask", ".mask") for suffix in _MASK_SUFFIXES]
    beside = [f"{base}{mark}" for base in (stem, name) for mark in marks]
    return next((place for place in (*named, *beside) if is_file(folder / place)), None)


def is_file(path: Path) -> bool:
    """Check whether a file is there; a name that is too long for the system is of none."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


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


def frames_on_disk(path: Path, folder: Path, files: Mapping[str, Mapping[str, str]], *, skip_missing: bool) -> set[str]:
    """Return the frames whose files are all in ``folder``.

    Args:
        files: of each frame, all that ``path`` names for it.
        skip_missing: whether the others are left out with a warning.

    Raises:
        InputError: some files are not there and may not be skipped, or no frame is left.
    """
    missing = {frame: [name for name in named.values() if not is_file(folder / name)] for frame, named in files.items()}
    absent = [name[:80] for names in missing.values() for name in names]
    if not absent:
        return set(files)
    left = {frame for frame, names in missing.items() if not names}
    more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    what = f"{path}: names files that are not there: {', '.join(absent[:3])}{more}"
    if not skip_missing or not left:
        raise InputError(what if not left else f"{what}; add --skip-missing to go on without their frames")
    log.warning("%s; %d of %d frames are left out", what, len(files) - len(left), len(files))
    return left


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
