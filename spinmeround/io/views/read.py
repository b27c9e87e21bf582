"""Read folders of posed views, ours and other programs', and check them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.io.pictures import MAX_PIXELS, picture_size_px
from spinmeround.io.views.colmap_read import colmap_model, read_colmap_file
from spinmeround.io.views.frames import Frame, ViewFile, is_file, scaled_to_picture
from spinmeround.io.views.normal_frames import NormalFrame, rotate_to_world
from spinmeround.io.views.pictures_read import principal_px, read_pictures
from spinmeround.io.views.transforms_read import read_transforms_file
from spinmeround.io.views.transforms_write import FILE_NAME
from spinmeround.scratch import planes
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)

_MIN_FOV_DEG, _MAX_FOV_DEG = 0.01, 150.0
"""Fields of view: telescopes hardly have less than the first, and pinhole cameras stay well below the second."""


def read_views(
    folder: Path | str,
    *,
    size_px: int | None = None,
    normal_frame: NormalFrame | None = None,
    skip_missing: bool = False,
    check: Callable[[Views], None] | None = None,
) -> tuple[Views, Views | None]:
    """Read a folder of posed views: those to fit, and those held out, if any.

    The folder has a ``transforms.json`` in nerfstudio's or instant-ngp's dialect, or a COLMAP model: see
    docs/FOLDERS.md. The world's frame and unit are kept, except that an ``applied_transform`` is undone. Pictures with
    OpenCV distortion are undistorted. Normals are 8- or 16-bit PNG and end up in the world frame;
    those that turn away from their own cameras are refused.

    Args:
        size_px: longer side of the pictures wanted; they are resized and the intrinsics follow.
        normal_frame: the frame of the normals; None for the one the file declares.
        skip_missing: whether frames whose files are not all there are left out, with a warning.
        check: called with the views to fit before their normals are checked, and may raise: with wrong poses, correct
            normals look wrong.

    Raises:
        InputError: whatever is wrong with the file, its paths, poses, intrinsics or pictures, in one line.
        ResourceError: the views need more room than memory and disk have.
    """
    folder = Path(folder)
    file = _view_file(folder, skip_missing=skip_missing)
    if file.ignored:
        log.info("%s: %d frames are in neither list and are ignored", file.path, file.ignored)
    given = [*file.train, *(file.test or [])]
    sizes = [picture_size_px(folder / frame.files["file_path"]) for frame in given]
    frames = [_scaled(folder, frame, size) for frame, size in zip(given, sizes, strict=True)]
    resized = sum(frame is not before for frame, before in zip(frames, given, strict=True))
    if resized:
        log.info("%s: %d pictures are not of the size it states; intrinsics are scaled with them", file.path, resized)
    for frame, size in zip(frames, sizes, strict=True):
        _check_fov(f"{file.path}: {frame.files['file_path']}", frame.focal_px, size)
    width_px, height_px = _common_size(folder, sizes, size_px)
    views = _read(folder, frames, file.exact_cameras, sizes, width_px, height_px)
    if check is not None:
        check(views.part(slice(len(file.train))))
    rotate_to_world(
        file.path,
        views.normals_world,
        views.cameras,
        declared=file.normal_frame,
        names=views.names,
        asked=normal_frame,
        file_from_world=file.file_from_world,
    )
    if file.test is None:
        return views, None
    if {*(f.files["file_path"] for f in file.train)} & {*(f.files["file_path"] for f in file.test)}:
        log.warning(
            "%s: some frames are both fitted and held out: their metrics do not measure generalisation", file.path
        )
    return views.part(slice(len(file.train))), views.part(slice(len(file.train), None))


def files_of_views(folder: Path | str, *, skip_missing: bool = False) -> tuple[Path, ...]:
    """Return all files that ``read_views`` opens, so that no result overwrites one.

    Raises:
        InputError: as ``read_views``, as far as the file that describes the views goes.
    """
    folder = Path(folder)
    file = _view_file(folder, skip_missing=skip_missing)
    frames = [*file.train, *(file.test or [])]
    return (file.path, *(folder / name for frame in frames for name in frame.files.values()))


@dataclass(frozen=True)
class PosedPicture:
    """A camera of a folder of views.

    Attributes:
        path: the picture; None if it is not there.
        camera: one pinhole camera, without the distortion that the folder may state.
    """

    name: str
    path: Path | None
    camera: Cameras


def read_view_cameras(folder: Path | str) -> tuple[PosedPicture, ...]:
    """Read only the cameras of a folder of posed views, in the order of the file; pictures need not be there.

    Raises:
        InputError: whatever is wrong with the file, its paths, poses or intrinsics; a picture that is not there and
            whose size the file does not state.
    """
    folder = Path(folder)
    file = _view_file(folder, poses_only=True)
    frames = [*file.train, *(file.test or [])]
    return tuple(_posed_picture(folder, frame, name) for frame, name in zip(frames, _names(frames), strict=True))


def _posed_picture(folder: Path, frame: Frame, name: str) -> PosedPicture:
    path = folder / frame.files["file_path"]
    size = picture_size_px(path) if is_file(path) else frame.size_px
    if size is None:
        raise InputError(f"{path} is not there, and nothing tells its size: add the picture, or w and h to its frame")
    if is_file(path):
        frame = _scaled(folder, frame, size)
    _check_fov(str(path), frame.focal_px, size)
    camera = Cameras(frame.camera_from_world[None], _intrinsics(frame, size, *size)[None], *size)
    return PosedPicture(name, path if is_file(path) else None, camera)


def _view_file(folder: Path, *, skip_missing: bool = False, poses_only: bool = False) -> ViewFile:
    if (folder / FILE_NAME).is_file():
        return read_transforms_file(folder, skip_missing=skip_missing, poses_only=poses_only)
    model = colmap_model(folder)
    if model is not None:
        return read_colmap_file(folder, model, skip_missing=skip_missing, poses_only=poses_only)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise InputError(f"{folder} {what}: give a folder of posed views")
    raise InputError(
        f"no {FILE_NAME} in {folder}, and no COLMAP model (cameras and images, .bin or .txt): "
        "give a folder of posed views"
    )


def _scaled(folder: Path, frame: Frame, size: tuple[int, int]) -> Frame:
    scaled = scaled_to_picture(frame, size)
    if scaled is None:
        declared = "{} x {}".format(*frame.size_px or ())
        raise InputError(
            f"{folder / frame.files['file_path']}: {size[0]} x {size[1]} pixels, but its camera is of {declared}, "
            "another shape: intrinsics do not fit the picture"
        )
    return scaled


def _check_fov(where: str, focal_px: tuple[float, float], size_px: tuple[int, int]) -> None:
    for focal, size in zip(focal_px, size_px, strict=True):
        fov_deg = math.degrees(2 * math.atan(size / 2 / focal))
        if not _MIN_FOV_DEG < fov_deg < _MAX_FOV_DEG:
            raise InputError(
                f"{where}: a focal length of {focal:g} for {size} pixels is a field of view of {fov_deg:.3g} degrees; "
                "give it in pixels of the picture, not in millimetres or widths"
            )


def _common_size(folder: Path, sizes: list[tuple[int, int]], size_px: int | None) -> tuple[int, int]:
    if size_px is not None and size_px < 1:
        raise InputError(f"pictures of {size_px} pixels cannot be read: give the longer side, such as 512")
    wanted = set()
    for width, height in sizes:
        scale = 1 if size_px is None else size_px / max(width, height)
        wanted.add((max(1, round(width * scale)), max(1, round(height * scale))))
    if max(wanted)[0] * max(wanted)[1] > MAX_PIXELS:
        raise InputError(
            f"pictures of {' x '.join(map(str, max(wanted)))} pixels, more than the {MAX_PIXELS // 10**6} million "
            "allowed; read them at a smaller size"
        )
    if len(wanted) > 1:
        first, second = sorted(wanted)[:2]
        raise InputError(
            f"{folder}: pictures of {len(wanted)} sizes ({first[0]} x {first[1]}, {second[0]} x {second[1]}); "
            "all views of a folder must have one size or, when they are resized, one shape"
        )
    return wanted.pop()


def _read(
    folder: Path,
    frames: list[Frame],
    exact_cameras: bool,
    sizes: list[tuple[int, int]],
    width_px: int,
    height_px: int,
) -> Views:
    """Read all views, their normals still in the frame of the files."""
    shape = (len(frames), height_px, width_px)
    rgb, normals, alpha, weight = planes((*shape, 3), (*shape, 3), shape, shape)
    for i, frame in enumerate(frames):
        pictures = read_pictures(folder, frame, width_px, height_px)
        rgb[i], alpha[i], weight[i] = pictures.rgb, pictures.alpha, pictures.weight
        if "normal_path" in frame.files:  # zeros that nobody writes take no memory
            normals[i] = pictures.normals
    cameras = Cameras(
        np.stack([frame.camera_from_world for frame in frames]),
        np.stack([_intrinsics(f, size, width_px, height_px) for f, size in zip(frames, sizes, strict=True)]),
        width_px,
        height_px,
    )
    if (alpha == 1).all():
        log.warning("%s: neither masks nor alpha: the whole of each picture counts as head", folder)
    return Views(cameras, rgb, normals, alpha, weight, _names(frames), exact_cameras)


def _intrinsics(frame: Frame, size: tuple[int, int], width_px: int, height_px: int) -> Float[np.ndarray, "3 3"]:
    x, y = principal_px(frame, *size)
    matrix = np.array([[frame.focal_px[0], 0, x], [0, frame.focal_px[1], y], [0, 0, 1.0]])
    matrix[0] *= width_px / size[0]
    matrix[1] *= height_px / size[1]
    return matrix


def _names(frames: list[Frame]) -> tuple[str, ...]:
    """Return file stems, or whole paths if stems repeat."""
    paths = [Path(frame.files["file_path"]) for frame in frames]
    stems = {path: path.stem for path in paths}
    if len({stem.casefold() for stem in stems.values()}) < len(stems):
        stems = {path: "-".join(path.parts) for path in paths}
    return tuple(stems[path] for path in paths)
