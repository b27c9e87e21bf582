"""Builds the zip of the Blender extension; the same sources give the same bytes. Imports the standard library only.

python tools/build_blender.py [--out dist]
"""

from __future__ import annotations

import argparse
import tomllib
import zipfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "blender"
_SUFFIXES = (".py", ".toml")
_LICENCE = "LICENSE"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first date that a zip can hold."""


def build(folder: Path, sources: Path = SOURCES) -> Path:
    """Write the zip into a folder, as Blender's own builder names it, and return its path.

    Files are stored, not compressed, since the bytes of compressed ones differ between versions of zlib.
    """
    manifest = tomllib.loads((sources / "blender_manifest.toml").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest['id']}-{manifest['version']}.zip"
    unfinished = path.with_name(f".{path.name}.unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for file in packed_files(sources):
            entry = zipfile.ZipInfo(file.relative_to(sources).as_posix(), _EARLIEST)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, file.read_bytes())
    unfinished.replace(path)
    return path


def packed_files(sources: Path = SOURCES) -> list[Path]:
    """Return the files that belong into the zip, in its order."""
    found = [path for path in sources.rglob("*") if path.suffix in _SUFFIXES or path.name == _LICENCE]
    return sorted(found, key=lambda path: path.relative_to(sources).as_posix())


def main() -> None:
    """Read the arguments, build, and print the path of the zip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the zip (default: dist)")
    print(build(parser.parse_args().out))


if __name__ == "__main__":
    main()
