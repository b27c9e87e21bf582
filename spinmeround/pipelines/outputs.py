"""Where the results go: everything that can be refused is refused before the first second of work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spinmeround.errors import OutputError
from spinmeround.io.atomic import check_file
from spinmeround.io.formats import Kind, files_written, output_kind
from spinmeround.io.transforms import check_views_folder
from spinmeround.io.usd import require_usd

PathLike = str | os.PathLike[str]

_NEEDS_BYTES = {"splats": 100 * 2**20, "mesh": 100 * 2**20, "other": 20 * 2**20}
"""Room each kind of output takes at most."""


@dataclass(frozen=True)
class Outputs:
    """The places one run writes to, all of them checked."""

    splats: tuple[Path, ...] = ()
    meshes: tuple[Path, ...] = ()
    views: Path | None = None
    report: Path | None = None
    preview: Path | None = None
    turntable: Path | None = None


def as_path(path: PathLike | None) -> Path | None:
    """A path, if there is one."""
    return None if path is None else Path(path)


def as_paths(paths: PathLike | Iterable[PathLike]) -> tuple[Path, ...]:
    """One path or several as a tuple."""
    if isinstance(paths, (str, os.PathLike)):
        return (Path(paths),)
    return tuple(Path(path) for path in paths)


def check_outputs(
    out: Sequence[Path],
    *,
    ply: Kind = "splats",
    views: Path | None = None,
    report: Path | None = None,
    preview: Path | None = None,
    turntable: Path | None = None,
    photos: Sequence[Path] = (),
) -> Outputs:
    """Sorts the places to write to by kind and asks of each whether it can be written.

    Args:
        photos: what is read, and so must stay.

    Raises:
        OutputError: an unknown extension, a folder that is not there or cannot be written, one place named twice, or
            the place of a photo.
        ResourceError: not enough disk.
        MissingDependencyError: a ``.usdz`` without usd-core.
    """
    kinds: dict[Path, Literal["splats", "mesh"]] = {path: output_kind(path, ply=ply) for path in out}
    for path in out:
        if path.suffix.lower() == ".usdz":
            require_usd(path)
    for path, suffixes in ((preview, (".png",)), (turntable, (".mp4",)), (report, (".json",))):
        if path is not None and path.suffix.lower() not in suffixes:
            raise OutputError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
    files = [*out, *(path for path in (report, preview, turntable) if path is not None)]
    _check_distinct([*files, *([views] if views is not None else [])])
    _check_photos_stay(photos, files, views)
    needs = {path.parent: 0 for path in files}
    for path in files:
        needs[path.parent] += _NEEDS_BYTES[kinds.get(path, "other")]
    for path in files:
        check_file(path, needs_bytes=needs[path.parent])
    if views is not None:
        check_views_folder(views)
    return Outputs(
        splats=tuple(path for path, kind in kinds.items() if kind == "splats"),
        meshes=tuple(path for path, kind in kinds.items() if kind == "mesh"),
        views=views,
        report=report,
        preview=preview,
        turntable=turntable,
    )


def _true_place(path: Path) -> Path:
    return Path(os.path.normcase(os.path.realpath(path)))


def _check_photos_stay(photos: Sequence[Path], files: Sequence[Path], views: Path | None) -> None:
    kept = {_true_place(photo) for photo in photos}
    for place in (place for path in files for place in files_written(path)):
        if _true_place(place) in kept:
            raise OutputError(f"{place} is a photo given: name another place for the result")
    if views is not None and any(photo.is_relative_to(_true_place(views)) for photo in kept):
        raise OutputError(f"{views} holds a photo given: name another folder for the views")


def _check_distinct(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        for place in files_written(path):
            if (key := _true_place(place)) in seen:
                raise OutputError(f"{place} would be written twice: give each result a name of its own")
            seen.add(key)
