"""Where the results go: everything that can be refused is refused before the first second of work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spinmeround.errors import InputError, OutputError
from spinmeround.io.atomic import check_file
from spinmeround.io.formats import Kind, files_written, output_kind
from spinmeround.io.usd.write import require_usd
from spinmeround.io.views.transforms_write import check_views_folder

PathLike = str | os.PathLike[str]

_NEEDS_BYTES = {"splats": 100 * 2**20, "mesh": 100 * 2**20, "other": 20 * 2**20}
"""Room each kind of output takes at most."""
_HEIGHTS_M = (1e-3, 1e3)
"""From the head of an ant to millimetres taken for metres."""


@dataclass(frozen=True)
class Outputs:
    """The places one run writes to, all of them checked."""

    splats: tuple[Path, ...] = ()
    meshes: tuple[Path, ...] = ()
    views: Path | None = None
    report: Path | None = None
    preview: Path | None = None
    turntable: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All places but that of the views."""
        named = (self.report, self.preview, self.turntable)
        return (*self.splats, *self.meshes, *(path for path in named if path is not None))


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
    inputs: Sequence[Path] = (),
    height_m: float | None = None,
) -> Outputs:
    """Sorts the places to write to by kind and asks of each whether it can be written.

    Args:
        inputs: what is read, and so must stay.
        height_m: what a head is to measure.

    Raises:
        OutputError: an unknown extension, a folder that is not there or cannot be written, one place named twice, or
            the place of something that is read.
        InputError: a height that is no head's in any unit.
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
    _check_height(height_m)
    files = [*out, *(path for path in (report, preview, turntable) if path is not None)]
    _check_distinct([*files, *([views] if views is not None else [])])
    check_inputs_stay(inputs, files, views)
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


def check_inputs_stay(inputs: Sequence[Path], files: Sequence[Path], views: Path | None = None) -> None:
    """Asks whether results leave what they are made from where it is.

    Raises:
        OutputError: a file, or the folder of views, would take its place.
    """
    kept = {_true_place(path) for path in inputs}
    for place in (place for path in files for place in files_written(path)):
        if _true_place(place) in kept:
            raise OutputError(f"{place} is what the head is made from: name another place for the result")
    if views is not None and any(path.is_relative_to(_true_place(views)) for path in kept):
        raise OutputError(f"{views} holds what the head is made from: name another folder for the views")


def _check_height(height_m: float | None) -> None:
    if height_m is None:
        return
    low, high = _HEIGHTS_M
    if not low <= height_m <= high:
        raise InputError(f"a head {height_m:g} m high is none: give metres from {low:g} to {high:g}; 0.23 is usual")


def _check_distinct(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        for place in files_written(path):
            if (key := _true_place(place)) in seen:
                raise OutputError(f"{place} would be written twice: give each result a name of its own")
            seen.add(key)
