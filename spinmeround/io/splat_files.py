"""Splats to and from files: checks and the choice of the format. ``splats`` holds the formats themselves."""

from __future__ import annotations

from pathlib import Path

import torch

from spinmeround.errors import InputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io.atomic import atomic_files
from spinmeround.io.formats import check_available, find_format, find_readable
from spinmeround.io.splats.faults import splats_fault, writable
from spinmeround.io.splats.scaling import scaled
from spinmeround.types import Splats


def write_splats(path: Path | str, splats: Splats, *, metres_per_unit: float = METRES_PER_UNIT) -> None:
    """Write splats in the format of the suffix, in the world frame and in metres.

    ``.ply`` (INRIA), ``.spz`` (version 2), ``.splat`` and ``.glb`` (KHR_gaussian_splatting) are built in.
    Splats and meshes of one head have one size. Standard deviations are scaled with the positions. The same splats give
    the same bytes.

    Args:
        metres_per_unit: factor from head units to metres; ``mesh_files.metres_per_unit`` gives that of a head of
            known height.

    Raises:
        OutputError: an unknown suffix, or a place that cannot be written.
        ResourceError: the disk is full.
        ValueError: no splats, or values that are not finite or out of their range.
    """
    path = Path(path)
    wanted = find_format(path, "splats")
    check_available(wanted, path)
    splats = writable(splats)
    bytes_per_splat = 4 * (14 + 3 * splats.sh.shape[1])
    with atomic_files(path, needs_bytes=len(splats) * bytes_per_splat) as unfinished:
        wanted.load_writer()(unfinished, splats, metres_per_unit=metres_per_unit)


def read_splats(path: Path | str, *, metres_per_unit: float = METRES_PER_UNIT) -> Splats:
    """Read ``.ply``, ``.spz``, ``.splat`` and ``.glb``, also those of other programs; float32 tensors on the CPU.

    The frame of the file is kept: a COLMAP capture comes out with y down. What a ``.glb`` holds beside is ignored.

    Args:
        metres_per_unit: that of the writer; 1 keeps the units of the file.

    Raises:
        InputError: no such file, an unknown suffix, or a file that is damaged, cut short or holds no finite values.
    """
    path = Path(path)
    splats = find_readable(path, "splats").load_reader()(path)
    length = torch.linalg.norm(splats.quats_wxyz, dim=1, keepdim=True)
    normalised = Splats(splats.means, splats.scales, splats.quats_wxyz / length, splats.opacities, splats.sh)
    fault = splats_fault(normalised)
    if fault:
        raise InputError(f"{path}: {fault}; export it again")
    return scaled(normalised, 1 / metres_per_unit)
