"""Write the pictures of views, the same for every layout of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinmeround.images import normals_to_rgb, to_uint8
from spinmeround.io.pictures import encode_png
from spinmeround.types import Views

FOLDERS = ("images", "masks", "normals", "weights")


def write_pictures(folder: Path, views: Views, i: int, stem: str) -> dict[str, str]:
    """Write one view's pictures to the four folders; normals that are all 0 and weights that are all 1 are left out.

    Returns:
        keys ``file_path``, ``mask_path``, ``normal_path``, ``weight_path`` and paths relative to ``folder``.
    """
    alpha = views.alpha[i]
    normals = np.rint(normals_to_rgb(views.normals_world[i], np.ones_like(alpha)) * 65535)
    pictures = {
        "file_path": ("images", to_uint8(np.where(alpha[..., None] > 0, views.rgb[i], 1))),
        "mask_path": ("masks", to_uint8(alpha)),
    }
    if views.normals_world.any():
        pictures["normal_path"] = ("normals", normals.astype(np.uint16))
    if (views.weight != 1).any():
        pictures["weight_path"] = ("weights", to_uint8(views.weight[i]))
    for place, picture in pictures.values():
        (folder / place).mkdir(exist_ok=True)
        (folder / place / f"{stem}.png").write_bytes(encode_png(picture))
    return {key: f"{place}/{stem}.png" for key, (place, _) in pictures.items()}


def stems_of(views: Views, test: Views | None) -> list[list[str]]:
    """Return the file stems of the views, and of those held out.

    Raises:
        ValueError: names that are no plain file stems or occur twice.
    """
    groups = [("train" if test is not None else "", views), *([("test", test)] if test is not None else [])]
    stems = [_names(group, prefix) for prefix, group in groups]
    names = [name for group in stems for name in group]
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError("two views have the same name, and so the same file")
    for name in names:
        if not name or name != name.strip(" .") or any(c in '/\\:*?"<>|' or ord(c) < 32 for c in name):
            raise ValueError(f"{name!r} is not a plain file stem")
    return stems


def _names(views: Views, prefix: str) -> list[str]:
    if views.names:
        return list(views.names)
    return [f"{prefix}_{i:03d}" if prefix else f"{i:03d}" for i in range(len(views))]
