"""Hair strands to and from files: checks and the choice of the format. ``usd`` holds the formats themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io.atomic import atomic_files
from spinmeround.io.formats import check_available, find_format, find_readable
from spinmeround.io.usd.hair import points_used
from spinmeround.types import HairStrands

_BYTES_PER_POINT = 100
"""Of text; binary files take a third of it."""


def write_hair(path: Path | str, strands: HairStrands, *, metres_per_unit: float = METRES_PER_UNIT) -> None:
    """Write strands in the format of the suffix, in metres, +Y up and +Z to the front.

    ``.usdc`` and ``.usda`` are built in. A strand is written up to its last point before the first width of 0; what has
    no two such points is left out. The same strands give the same bytes.

    Args:
        metres_per_unit: factor from head units to metres.

    Raises:
        OutputError: an unknown suffix, or a place that cannot be written.
        MissingDependencyError: a package that the format needs is not installed.
        ResourceError: the disk is full.
        ValueError: no strands, or values that are not finite.
    """
    path = Path(path)
    wanted = find_format(path, "hair")
    check_available(wanted, path)
    fault = _fault(strands)
    if fault:
        raise ValueError(f"hair cannot be written: {fault}")
    with atomic_files(path, needs_bytes=strands.widths.size * _BYTES_PER_POINT) as unfinished:
        wanted.load_writer()(unfinished, strands, metres_per_unit=metres_per_unit)


def read_hair(path: Path | str, *, metres_per_unit: float = METRES_PER_UNIT) -> HairStrands:
    """Read what ``write_hair`` writes.

    Args:
        metres_per_unit: that of the writer; 1 keeps the units of the file.

    Raises:
        InputError: an unknown suffix, no such file, damaged, or not written as hair.
        MissingDependencyError: a package that the format needs is not installed.
    """
    path = Path(path)
    wanted = find_readable(path, "hair")
    check_available(wanted, path)
    strands = wanted.load_reader()(path)
    return replace(strands, points=strands.points / metres_per_unit, widths=strands.widths / metres_per_unit)


def _fault(strands: HairStrands) -> str:
    """Describe what is wrong with the values; empty if nothing is."""
    if not points_used(strands).any():
        return "no strand has two points"
    for name in ("points", "widths", "colours", "root_uv"):
        values = getattr(strands, name)
        bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        if bad:
            return f"{bad} of {len(values)} strands have {name} that are not finite numbers"
    return ""
