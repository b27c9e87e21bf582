"""Write a folder of posed views that nerfstudio can read: ``transforms.json`` with images, masks and normals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import invert_rigid
from spinmeround.io.atomic import atomic_folder, check_folder
from spinmeround.io.views.pictures_write import FOLDERS, stems_of, write_pictures
from spinmeround.types import Cameras, Views

FILE_NAME = "transforms.json"
GENERATOR = "spinmeround"
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes: OpenGL's +Y is up and its +Z points back at the viewer. Its own inverse."""


def check_views_folder(folder: Path | str) -> None:
    """Check, before minutes of work, that ``write_views`` can write to ``folder``.

    Raises:
        OutputError: it cannot; a folder with anything in it that ``write_views`` did not put there is refused.
    """
    check_folder(folder, may_replace=_is_ours)


def write_views(folder: Path | str, views: Views, *, test: Views | None = None) -> None:
    """Write views, and others held out for tests, as a folder; an earlier folder of views is replaced as a whole.

    ``transforms.json`` holds intrinsics in pixels and OpenGL camera-to-world transforms in head units. A frame has
    ``file_path`` (8-bit PNG, straight colour, white where alpha is 0), ``mask_path`` (8-bit alpha), ``normal_path``
    (16-bit PNG, (n + 1) / 2 in the world frame, grey 0.5 outside; left out when all normals are 0) and ``weight_path``
    (8 bits; left out when all weights are 1). With ``test``, ``train_filenames`` and ``test_filenames`` list the two.
    ``exact_cameras`` is there when the views say so. The same views give the same bytes.

    Raises:
        OutputError: the folder holds other files, or cannot be written.
        ResourceError: the disk is full.
        ValueError: names that are no plain file stems or occur twice, a skewed camera, or two image sizes.
    """
    groups = [views] if test is None else [views, test]
    names = stems_of(views, test)
    shared = _shared_intrinsics([group.cameras for group in groups])
    with atomic_folder(folder, may_replace=_is_ours) as unfinished:
        frames = []
        for group, stems in zip(groups, names, strict=True):
            for i, stem in enumerate(stems):
                pictures = write_pictures(unfinished, group, i, stem)
                own = {} if shared else _intrinsics(group.cameras, i)
                frames.append({**pictures, **own, "transform_matrix": _camera_to_world(group.cameras, i).tolist()})
        document: dict[str, Any] = {
            "generator": GENERATOR,
            "camera_model": "OPENCV",
            **shared,
            "w": views.cameras.width_px,
            "h": views.cameras.height_px,
            "normal_frame": "world",
            **({"exact_cameras": True} if views.exact_cameras else {}),
            "frames": frames,
        }
        if test is not None:
            train_names, test_names = ([f"images/{stem}.png" for stem in stems] for stems in names)
            # nerfstudio asks for all three as soon as there is one.
            document |= {"train_filenames": train_names, "val_filenames": test_names, "test_filenames": test_names}
        text = json.dumps(document, indent=1, allow_nan=False)
        (unfinished / FILE_NAME).write_text(text + "\n", encoding="utf-8", newline="\n")


def _intrinsics(cameras: Cameras, i: int) -> dict[str, float]:
    matrix = cameras.intrinsics_px[i]
    if matrix[0, 1] != 0 or matrix[1, 0] != 0:
        raise ValueError("transforms.json has no place for a camera with skew")
    return {
        "fl_x": float(matrix[0, 0]),
        "fl_y": float(matrix[1, 1]),
        "cx": float(matrix[0, 2]),
        "cy": float(matrix[1, 2]),
    }


def _shared_intrinsics(cameras: list[Cameras]) -> dict[str, float]:
    """Return the intrinsics all frames have in common; empty if they differ."""
    if len({(group.width_px, group.height_px) for group in cameras}) > 1:
        raise ValueError("training and test views differ in image size")
    each = [_intrinsics(group, i) for group in cameras for i in range(len(group))]
    return each[0] if all(one == each[0] for one in each) else {}


def _camera_to_world(cameras: Cameras, i: int) -> Float[np.ndarray, "4 4"]:
    world_from_opencv = invert_rigid(np.asarray(cameras.camera_from_world[i], np.float64))
    return world_from_opencv @ OPENCV_FROM_OPENGL + 0.0  # + 0.0 turns -0.0 to 0.0


def _is_ours(folder: Path) -> bool:
    """Check that all a folder holds was written by ``write_views``, so that no other files are lost."""
    if any(entry.name not in (*FOLDERS, FILE_NAME) for entry in folder.iterdir()):
        return False
    try:
        document = json.loads((folder / FILE_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(document, dict) or document.get("generator") != GENERATOR:
        return False
    frames = document.get("frames")
    listed = {str(path) for frame in frames or [] if isinstance(frame, dict) for path in frame.values()}
    return all(entry.relative_to(folder).as_posix() in listed for entry in folder.glob("*/*"))
