"""Which file extension means what; the one place that decides it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from spinmeround.errors import OutputError

Kind = Literal["splats", "mesh"]

SPLAT_SUFFIXES = (".ply", ".spz", ".splat")
MESH_SUFFIXES = (".glb", ".obj", ".ply", ".usdz")
AVATAR_SUFFIXES = (".glb", ".vrm", ".usdz")
NORMAL_MAP_SUFFIXES = (".glb", ".vrm", ".usdz", ".obj")
ANIMATED_SUFFIXES = (".glb", ".usdz")
"""VRM 1.0 has no animations."""


def files_written(path: Path | str) -> tuple[Path, ...]:
    """All files that writing ``path`` may make: an ``.obj`` brings its material, texture and normal map along.

    The texture is not simply called after the mesh: ``me.png`` may well be the photo that ``me.obj`` is made from.
    The others have no spaces in their names, since many readers end a name at the first one.
    """
    path = Path(path)
    if path.suffix.lower() != ".obj":
        return (path,)
    stem = "_".join(path.stem.split())
    return path, *(path.with_name(stem + ending) for ending in (".mtl", "_albedo.png", "_normal.png"))


def output_kind(path: Path | str, *, ply: Kind = "splats") -> Kind:
    """What a file of this name will hold; upper and lower case are the same.

    Args:
        ply: what a ``.ply`` holds, the one extension that both kinds use.

    Raises:
        OutputError: an extension nobody here writes, with those that are.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".ply":
        return ply
    if suffix in SPLAT_SUFFIXES:
        return "splats"
    if suffix in (*MESH_SUFFIXES, *AVATAR_SUFFIXES):
        return "mesh"
    got = f"the extension {suffix!r}" if suffix else "a name without an extension"
    raise OutputError(
        f"{path}: cannot write {got}; known are .ply .spz .splat (splats) and .glb .obj .usdz (meshes), "
        "and .ply with --ply mesh"
    )
