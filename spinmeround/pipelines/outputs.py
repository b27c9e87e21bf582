"""Where the results go: everything that can be refused is refused before the first second of work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spinmeround.errors import InputError, OutputError
from spinmeround.io.atomic import check_file
from spinmeround.io.formats import (
    GlbContents,
    OutputKind,
    check_available,
    files_written,
    find_format,
    formats,
    output_kinds,
)
from spinmeround.io.views.transforms_write import check_views_folder
from spinmeround.pipelines.settings import RunSettings

PathLike = str | os.PathLike[str]

_NEEDS_BYTES = {"splats": 100 * 2**20, "mesh": 100 * 2**20, "hair": 100 * 2**20, "other": 20 * 2**20}
"""Room each kind of output takes at most."""
_HEIGHTS_M = (1e-3, 1e3)
"""From the head of an ant to millimetres taken for metres."""


@dataclass(frozen=True)
class OutputOptions:
    """What a run writes beside its results, and what is in them.

    Attributes:
        ply: what a ``.ply`` holds.
        glb: what a ``.glb`` holds; ``both`` are scenes of their own in one file.
        views: folder for the views of stage one.
        report: JSON file: choices and why, times, memory, fit errors, licences.
        preview: PNG contact sheet.
        turntable: MP4 video of one turn.
        hair: the hair as strands, a file that ``io.formats`` has for hair. Only of a head made from photos by a prior
            that offers strands, as the template does; of a head without hair none is written.
        strict: whether a result that is poor by the report's ``quality`` is an error, before anything but the report is
            written; what is fitted to a folder of views has no such verdict.
    """

    ply: OutputKind = "splats"
    glb: GlbContents = "avatar"
    views: PathLike | None = None
    report: PathLike | None = None
    preview: PathLike | None = None
    turntable: PathLike | None = None
    hair: PathLike | None = None
    strict: bool = False


@dataclass(frozen=True)
class Outputs:
    """The places one run writes to, all of them checked.

    Attributes:
        splats: files that hold splats; those that are among the meshes too hold both.
        lods: which of the meshes hold a coarser level of detail, and which.
        strict: whether a poor result is an error.
    """

    splats: tuple[Path, ...] = ()
    meshes: tuple[Path, ...] = ()
    views: Path | None = None
    report: Path | None = None
    preview: Path | None = None
    turntable: Path | None = None
    hair: Path | None = None
    lods: Mapping[Path, int] = field(default_factory=dict)
    strict: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All places but that of the views."""
        named = (self.report, self.preview, self.turntable, self.hair)
        results = dict.fromkeys((*self.splats, *self.meshes))
        return (*results, *(path for path in named if path is not None))


def as_path(path: PathLike | None) -> Path | None:
    """Return a path, if there is one."""
    return None if path is None else Path(path)


def as_paths(paths: PathLike | Iterable[PathLike]) -> tuple[Path, ...]:
    """Return one path or several as a tuple."""
    if isinstance(paths, (str, os.PathLike)):
        return (Path(paths),)
    return tuple(Path(path) for path in paths)


def check_outputs(
    out: Sequence[Path], options: OutputOptions, settings: RunSettings, *, inputs: Sequence[Path] = ()
) -> Outputs:
    """Sort the places to write to by kind and check that each can be written.

    Args:
        inputs: what is read, and so must stay.

    Raises:
        OutputError: an unknown extension, a folder that is not there or cannot be written, one place named twice, or
            the place of something that is read.
        InputError: a height that is no head's in any unit.
        ResourceError: not enough disk.
        MissingDependencyError: a format whose package is not installed.
    """
    kinds = {path: output_kinds(path, ply=options.ply, glb=options.glb) for path in out}
    lods = settings.mesh.level_files(path for path, held in kinds.items() if "mesh" in held)
    kinds |= dict.fromkeys(lods, ("mesh",))
    for path, held in kinds.items():
        for known in (known for kind in held for known in formats(holds=kind)):
            if known.suffix == path.suffix.lower():
                check_available(known, path)
    views, report = as_path(options.views), as_path(options.report)
    preview, turntable = as_path(options.preview), as_path(options.turntable)
    for path, suffix in ((preview, ".png"), (turntable, ".mp4"), (report, ".json")):
        if path is not None and path.suffix.lower() != suffix:
            raise OutputError(f"{path}: expected a name that ends in {suffix}")
    hair = as_path(options.hair)
    if hair is not None:
        check_available(find_format(hair, "hair"), hair)
    _check_height(settings.height_m)
    files = [*out, *lods, *(path for path in (report, preview, turntable, hair) if path is not None)]
    _check_distinct([*files, *([views] if views is not None else [])])
    check_inputs_stay(inputs, files, views)
    needs = {path.parent: 0 for path in files}
    for path in files:
        held = ("hair",) if path == hair else kinds.get(path, ("other",))
        needs[path.parent] += sum(_NEEDS_BYTES[kind] for kind in held)
    for path in files:
        check_file(path, needs_bytes=needs[path.parent])
    if views is not None:
        check_views_folder(views)
    return Outputs(
        splats=tuple(path for path, held in kinds.items() if "splats" in held),
        meshes=tuple(path for path, held in kinds.items() if "mesh" in held),
        views=views,
        report=report,
        preview=preview,
        turntable=turntable,
        hair=hair,
        lods=lods,
        strict=options.strict,
    )


def check_hair_source(outputs: Outputs, settings: RunSettings, *, with_prior: bool) -> None:
    """Check that strands, where they are asked for, may come from the prior; of one from outside that is not known yet.

    Raises:
        OutputError: the head is not made from photos, or by a prior that draws nothing but pictures.
    """
    if outputs.hair is None:
        return
    if not with_prior:
        raise OutputError(f"{outputs.hair}: hair strands come from photos only; leave them out", settings=("hair",))
    if settings.prior == "diffusion":
        raise OutputError(
            f"{outputs.hair}: hair strands come from the template, and the prior is diffusion; leave one of them out",
            settings=("hair", "prior"),
        )


def _true_place(path: Path) -> Path:
    return Path(os.path.normcase(os.path.realpath(path)))


def check_inputs_stay(inputs: Sequence[Path], files: Sequence[Path], views: Path | None = None) -> None:
    """Check that results leave what they are made from where it is.

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
        raise InputError(
            f"a head {height_m:g} m high is none: give metres from {low:g} to {high:g}; 0.23 is usual",
            settings=("height_m",),
        )


def _check_distinct(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        for place in files_written(path):
            if (key := _true_place(place)) in seen:
                raise OutputError(f"{place} would be written twice: give each result a name of its own")
            seen.add(key)
