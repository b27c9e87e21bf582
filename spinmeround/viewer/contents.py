"""What is shown: files of heads with those they name, and cameras of folders of views."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.errors import InputError
from spinmeround.geometry import METRES_PER_UNIT

if TYPE_CHECKING:
    from spinmeround.io.views.read import PosedPicture

SUFFIXES = (".ply", ".spz", ".splat", ".glb", ".vrm", ".obj", ".stl")
"""What the viewer shows, in lower case."""
_GZIP = b"\x1f\x8b"
_MAX_TEXT_BYTES = 1 << 26
"""Of an .obj's materials, and of the part of an .obj that may name them."""
_LIBRARY = re.compile(rb"^mtllib[ \t]+(.+?)\s*$", re.MULTILINE)
_PICTURE = re.compile(rb"^\s*(?:map_\w+|bump|disp|norm|map_Bump)[ \t]+(.+?)\s*$", re.MULTILINE | re.IGNORECASE)

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tga", ".gif")


@dataclass(frozen=True)
class ShownFile:
    """A file under the name that the page knows it by."""

    name: str
    path: Path


@dataclass(frozen=True)
class Shown:
    """All that one page shows."""

    title: str
    files: tuple[ShownFile, ...]
    views: tuple[PosedPicture, ...] = ()


@contextmanager
def gathered(paths: Sequence[Path | str]) -> Iterator[Shown]:
    """Gather what is to be shown; what the browser could not read is converted into a temporary folder.

    Args:
        paths: files of heads, and folders of posed views.

    Raises:
        InputError: a path that is not there, a file of another kind, two files of one name, a damaged folder of views.
    """
    paths = [Path(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="spmr-view-") as folder:
        files: dict[str, ShownFile] = {}
        views: list[PosedPicture] = []
        for path in paths:
            if path.is_dir():
                views.extend(_views(path))
                continue
            for file in (_readable(path, Path(folder)), *_companions(path)):
                if files.setdefault(file.name, file).path != file.path:
                    raise InputError(f"two files are called {file.name}: {files[file.name].path} and {file.path}")
        yield Shown(", ".join(path.name or str(path.resolve()) for path in paths), tuple(files.values()), tuple(views))


def camera_json(view: PosedPicture) -> dict[str, object]:
    """Return a camera as the page takes it, in metres: ``PhotoCamera`` of the viewer."""
    camera_from_world = view.camera.camera_from_world[0].copy()
    camera_from_world[:3, 3] *= METRES_PER_UNIT
    return {
        "name": view.name,
        "width_px": view.camera.width_px,
        "height_px": view.camera.height_px,
        "intrinsics_px": view.camera.intrinsics_px[0].tolist(),
        "camera_from_world": camera_from_world.tolist(),
    }


def _views(folder: Path) -> tuple[PosedPicture, ...]:
    from spinmeround.io import read_view_cameras

    return read_view_cameras(folder)


def _readable(path: Path, folder: Path) -> ShownFile:
    """Return the file, or what it becomes: an .spz that the browser does not know as one that it does."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: cannot be shown; known are {' '.join(SUFFIXES)} and folders of views")
    if not path.is_file():
        raise InputError(f"{path} is not there")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; export it again")
    if path.suffix.lower() == ".spz" and not _starts_with(path, _GZIP):
        return ShownFile(path.name, as_spz(path, folder))
    return ShownFile(path.name, path)


def as_spz(path: Path, folder: Path) -> Path:
    """Write splats as .spz of version 2 into a folder, in the units of their file, and return that file."""
    from spinmeround.io import read_splats, write_splats

    made = folder / f"{path.name}.spz"
    write_splats(made, read_splats(path, metres_per_unit=1), metres_per_unit=1)
    return made


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _companions(path: Path) -> Iterator[ShownFile]:
    """Yield materials and pictures of an .obj that lie in its folder; what it names elsewhere is left out."""
    if path.suffix.lower() != ".obj":
        return
    for library in _named(path, _LIBRARY, (".mtl",)):
        yield ShownFile(library.name, library)
        yield from (ShownFile(picture.name, picture) for picture in _named(library, _PICTURE, _PICTURE_SUFFIXES))


def _named(path: Path, pattern: re.Pattern[bytes], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of some kinds that a text names, as a whole or by their last word, in its folder or below.

    Whoever made the text may have named any file of whoever shows it.
    """
    folder = path.resolve().parent
    with path.open("rb") as file:
        text = file.read(_MAX_TEXT_BYTES)
    found: dict[Path, None] = {}
    for match in pattern.finditer(text):
        words = match[1].decode("utf-8", errors="replace")
        for name in (words, words.split()[-1]):
            try:
                place = (folder / name.replace("\\", "/")).resolve()
                inside = place.suffix.lower() in suffixes and place.is_relative_to(folder) and place.is_file()
            except (OSError, ValueError):
                continue
            if inside:
                found[place] = None
                break
    yield from found
