"""Write a folder of posed views as a COLMAP text model with its pictures, masks and normals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from spinmeround.io.atomic import atomic_folder, check_folder
from spinmeround.io.views.colmap_read import HELD_OUT_FILE
from spinmeround.io.views.pictures_write import FOLDERS, stems_of, write_pictures
from spinmeround.types import Cameras, Views

MODEL_FOLDER = "sparse/0"
_SIGNATURE = "# written by spinmeround"
_HEADS = {
    "cameras.txt": "# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]",
    "images.txt": "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; and a line of points, here empty",
    "points3D.txt": "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]; none",
}


def check_colmap_folder(folder: Path | str) -> None:
    """Check, before minutes of work, that ``write_colmap`` can write to ``folder``.

    Raises:
        OutputError: it cannot; a folder with anything in it that ``write_colmap`` did not put there is refused.
    """
    check_folder(folder, may_replace=_is_ours)


def write_colmap(folder: Path | str, views: Views, *, test: Views | None = None) -> None:
    """Write views, and others held out for tests, as a folder; an earlier one of ours is replaced as a whole.

    ``sparse/0`` holds ``cameras.txt`` (PINHOLE), ``images.txt`` and ``points3D.txt``, which has no points; the world
    stays ours, in head units. Pictures are those of ``write_views``, masks ``masks/STEM.png``. With ``test``, the
    model has both kinds and ``sparse/0/test.txt`` names those held out. The same views give the same bytes.

    Raises:
        OutputError: the folder holds other files, or cannot be written.
        ResourceError: the disk is full.
        ValueError: names that are no plain file stems or occur twice, or a skewed camera.
    """
    groups = [views] if test is None else [views, test]
    names = stems_of(views, test)
    intrinsics = _distinct_intrinsics([group.cameras for group in groups])
    with atomic_folder(folder, may_replace=_is_ours) as unfinished:
        lines = []
        for group, stems in zip(groups, names, strict=True):
            for i, stem in enumerate(stems):
                write_pictures(unfinished, group, i, stem)
                camera = 1 + intrinsics.index(_intrinsics(group.cameras, i))
                lines += [f"{len(lines) // 2 + 1} {_pose(group.cameras, i)} {camera} {stem}.png", ""]
        model = unfinished / MODEL_FOLDER
        model.mkdir(parents=True)
        _write(model / "cameras.txt", [f"{1 + i} {camera}" for i, camera in enumerate(intrinsics)])
        _write(model / "images.txt", lines)
        _write(model / "points3D.txt", [])
        if test is not None:
            listed = "".join(f"{stem}.png\n" for stem in names[1])
            (model / HELD_OUT_FILE).write_text(listed, encoding="utf-8", newline="\n")


def _write(path: Path, lines: list[str]) -> None:
    text = "\n".join([_SIGNATURE, _HEADS[path.name], *lines])
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _intrinsics(cameras: Cameras, i: int) -> str:
    """Format a camera's model and parameters as a line of ``cameras.txt``."""
    matrix = cameras.intrinsics_px[i]
    if matrix[0, 1] != 0 or matrix[1, 0] != 0:
        raise ValueError("a COLMAP model has no place for a camera with skew")
    numbers = _numbers(matrix[[0, 1, 0, 1], [0, 1, 2, 2]])
    return f"PINHOLE {cameras.width_px} {cameras.height_px} {numbers}"


def _distinct_intrinsics(groups: list[Cameras]) -> list[str]:
    """Return the distinct lines in the order of the views."""
    return list(dict.fromkeys(_intrinsics(cameras, i) for cameras in groups for i in range(len(cameras))))


def _pose(cameras: Cameras, i: int) -> str:
    camera_from_world = np.asarray(cameras.camera_from_world[i], np.float64)
    x, y, z, w = Rotation.from_matrix(camera_from_world[:3, :3]).as_quat(canonical=True)
    return _numbers(np.array([w, x, y, z, *camera_from_world[:3, 3]]))


def _numbers(values: Float[np.ndarray, "n"]) -> str:
    return " ".join(repr(float(value) + 0.0) for value in values)


def _is_ours(folder: Path) -> bool:
    """Check that all a folder holds was written by ``write_colmap``, so that no other files are lost."""
    model = folder / MODEL_FOLDER
    if any(entry.name not in (*FOLDERS, "sparse") for entry in folder.iterdir()) or not model.is_dir():
        return False
    if any(entry != model for entry in model.parent.iterdir()):
        return False
    if any(entry.name not in (*_HEADS, HELD_OUT_FILE) for entry in model.iterdir()):
        return False
    try:
        text = (model / "images.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    named = {line.split(maxsplit=9)[-1] for line in text.splitlines()[2:] if line}
    pictures = [entry for place in FOLDERS for entry in (folder / place).glob("*")]
    return text.startswith(_SIGNATURE) and all(entry.name in named for entry in pictures)
