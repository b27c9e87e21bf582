"""Reads folders of posed views in nerfstudio's layout, ours and other programs', without trusting them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import psutil
from jaxtyping import Float

from spinmeround.errors import InputError, ResourceError
from spinmeround.geometry import pixel_rays_world
from spinmeround.io.pictures import picture_size_px
from spinmeround.io.transforms import FILE_NAME, OPENCV_FROM_OPENGL
from spinmeround.io.view_frames import NORMAL_FRAMES, Frame, ViewFile, read_view_file
from spinmeround.io.view_pictures import principal_px, read_pictures
from spinmeround.types import Cameras, Views

_log = logging.getLogger(__name__)
_BYTES_PER_PIXEL = 32
_FACING_STEP_PX = 4


def read_views(folder: Path | str, *, size_px: int | None = None) -> tuple[Views, Views | None]:
    """Reads a folder of posed views: those to fit, and those held out (``test_filenames``), if any.

    Poses are OpenGL camera-to-world in the file and OpenCV ``camera_from_world`` in the result; the world's frame and
    unit are kept as they are. Lenses with OpenCV distortion are undistorted. Normals are 8- or 16-bit PNG; the file's
    ``normal_frame`` tells whether they are in the frame of the ``world`` or of the camera (``camera_opengl``: +Y up, +Z
    toward the viewer; ``camera_opencv``). Normals that turn away from their own cameras are refused.

    Args:
        size_px: longer side of the pictures wanted; they are resized and the intrinsics follow.

    Raises:
        InputError: whatever is wrong with the file, its paths, poses, intrinsics or pictures, in one line.
        ResourceError: the views need more memory than there is.
    """
    folder = Path(folder)
    file = read_view_file(folder)
    if file.ignored:
        _log.info("%s: %d frames are in neither list and are left aside", folder / FILE_NAME, file.ignored)
    frames = [*file.train, *(file.test or [])]
    sizes = [_size_on_disk(folder, frame) for frame in frames]
    width_px, height_px = _common_size(folder, sizes, size_px)
    _check_memory(folder, len(frames), width_px, height_px)
    views = _read(folder, file, sizes, width_px, height_px)
    if file.test is None:
        return views, None
    if {*(f.files["file_path"] for f in file.train)} & {*(f.files["file_path"] for f in file.test)}:
        _log.warning("%s: some frames are both fitted and held out: figures for them mean little", folder / FILE_NAME)
    return _part(views, 0, len(file.train)), _part(views, len(file.train), len(frames))


def _size_on_disk(folder: Path, frame: Frame) -> tuple[int, int]:
    path = folder / frame.files["file_path"]
    size = picture_size_px(path)
    if frame.size_px is not None and frame.size_px != size:
        told = f"{frame.size_px[0]} x {frame.size_px[1]}"
        raise InputError(
            f"{path}: {size[0]} x {size[1]} pixels, but {FILE_NAME} says {told}; intrinsics do not fit the picture"
        )
    return size


def _common_size(folder: Path, sizes: list[tuple[int, int]], size_px: int | None) -> tuple[int, int]:
    if size_px is not None and size_px < 1:
        raise InputError(f"pictures of {size_px} pixels make no sense: give the longer side, such as 512")
    wanted = set()
    for width, height in sizes:
        scale = 1 if size_px is None else size_px / max(width, height)
        wanted.add((max(1, round(width * scale)), max(1, round(height * scale))))
    if len(wanted) > 1:
        first, second = sorted(wanted)[:2]
        raise InputError(
            f"{folder}: pictures of {len(wanted)} sizes ({first[0]} x {first[1]}, {second[0]} x {second[1]}); "
            "all views of a folder must have one size or, when they are resized, one shape"
        )
    return wanted.pop()


def _check_memory(folder: Path, count: int, width_px: int, height_px: int) -> None:
    # One more view in full is in the making while the last is read.
    needed = (count + 4) * width_px * height_px * _BYTES_PER_PIXEL
    available = psutil.virtual_memory().available
    if needed > available:
        fits = int(max(width_px, height_px) * (available / needed) ** 0.5)
        raise ResourceError(
            f"{folder}: {count} views of {width_px} x {height_px} pixels need {needed / 2**30:.1f} GB of memory and "
            f"{available / 2**30:.1f} are free; read them at {fits} pixels or less"
        )


def _read(folder: Path, file: ViewFile, sizes: list[tuple[int, int]], width_px: int, height_px: int) -> Views:
    frames = [*file.train, *(file.test or [])]
    shape = (len(frames), height_px, width_px)
    rgb, normals = np.empty((*shape, 3), np.float32), np.empty((*shape, 3), np.float32)
    alpha, weight = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for i, frame in enumerate(frames):
        pictures = read_pictures(folder, frame, width_px, height_px)
        rgb[i], normals[i], alpha[i], weight[i] = pictures.rgb, pictures.normals, pictures.alpha, pictures.weight
    cameras = Cameras(
        np.stack([frame.camera_from_world for frame in frames]),
        np.stack([_intrinsics(f, size, width_px, height_px) for f, size in zip(frames, sizes, strict=True)]),
        width_px,
        height_px,
    )
    if (alpha == 1).all():
        _log.warning("%s: neither masks nor alpha: the whole of each picture counts as head", folder)
    _turn_to_world(folder / FILE_NAME, normals, cameras, file.normal_frame)
    return Views(cameras, rgb, normals, alpha, weight, _names(frames))


def _intrinsics(frame: Frame, size: tuple[int, int], width_px: int, height_px: int) -> Float[np.ndarray, "3 3"]:
    x, y = principal_px(frame, *size)
    matrix = np.array([[frame.focal_px[0], 0, x], [0, frame.focal_px[1], y], [0, 0, 1.0]])
    matrix[0] *= width_px / size[0]
    matrix[1] *= height_px / size[1]
    return matrix


def _names(frames: list[Frame]) -> tuple[str, ...]:
    """File stems, or whole paths where stems repeat."""
    paths = [Path(frame.files["file_path"]) for frame in frames]
    stems = {path: path.stem for path in paths}
    if len({stem.casefold() for stem in stems.values()}) < len(stems):
        stems = {path: "-".join(path.parts) for path in paths}
    return tuple(stems[path] for path in paths)


def _part(views: Views, start: int, stop: int) -> Views:
    cameras = views.cameras
    part = slice(start, stop)
    return Views(
        Cameras(cameras.camera_from_world[part], cameras.intrinsics_px[part], cameras.width_px, cameras.height_px),
        views.rgb[part],
        views.normals_world[part],
        views.alpha[part],
        views.weight[part],
        views.names[part],
    )


def _turn_to_world(path: Path, normals: Float[np.ndarray, "v h w 3"], cameras: Cameras, declared: str | None) -> None:
    """Brings normals to the world frame, in place, after asking whether they can be in the frame they claim.

    What a camera sees faces it. Over a turn around a head nearly all normals do so in the right frame, and about half
    in a wrong one.
    """
    if not normals.any():
        return
    facing = _facing(normals, cameras)
    best = max(NORMAL_FRAMES, key=lambda frame: facing[frame])
    told = ", ".join(f"{frame} {share:.0%}" for frame, share in facing.items())
    if declared is None and (best == "world" or facing["world"] > facing[best] - 0.02):
        _log.info("%s: no normal_frame; taken for world (normals that face their cameras: %s)", path, told)
        declared = "world"
    if declared is None:
        raise InputError(
            f'{path}: has normals but no normal_frame, and they do not look like world normals; say "normal_frame": '
            f'"{best}" if that is right (normals that face their cameras: {told})'
        )
    if facing[declared] < 0.75 and facing[best] > 0.9:
        raise InputError(
            f'{path}: normal_frame is "{declared}", but its normals turn away from their cameras; is it "{best}"? '
            f"(normals that face their cameras: {told})"
        )
    for i, camera_from_world in enumerate(cameras.camera_from_world):
        turn = _opencv_from(declared, camera_from_world)
        if declared != "world":
            normals[i] = normals[i] @ (camera_from_world[:3, :3].T @ turn).T.astype(np.float32)


def _opencv_from(frame: str, camera_from_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 3"]:
    match frame:
        case "world":
            return camera_from_world[:3, :3]
        case "camera_opengl":
            return OPENCV_FROM_OPENGL[:3, :3]
        case _:
            return np.eye(3)


def _facing(normals: Float[np.ndarray, "v h w 3"], cameras: Cameras) -> dict[str, float]:
    """Share of the normals that face their camera, for each frame they could be in."""
    seen, total = dict.fromkeys(NORMAL_FRAMES, 0), 0
    step = slice(None, None, _FACING_STEP_PX)
    for i, camera_from_world in enumerate(cameras.camera_from_world):
        rays = pixel_rays_world(np.eye(4), cameras.intrinsics_px[i], cameras.width_px, cameras.height_px)[step, step]
        these = normals[i, step, step]
        valid = these.any(axis=-1)
        total += int(valid.sum())
        for frame in NORMAL_FRAMES:
            turned = these[valid] @ _opencv_from(frame, camera_from_world).T
            seen[frame] += int(((turned * rays[valid]).sum(axis=-1) < 0).sum())
    return {frame: seen[frame] / max(total, 1) for frame in NORMAL_FRAMES}
