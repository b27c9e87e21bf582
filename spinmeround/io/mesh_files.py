"""Meshes to and from files: checks and the choice of the format. ``meshes``, ``gltf`` and ``usd`` hold the formats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spinmeround.errors import InputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io.atomic import atomic_files
from spinmeround.io.formats import check_available, find_format, find_readable
from spinmeround.io.meshes.faults import mesh_fault
from spinmeround.io.splats.faults import splats_beside
from spinmeround.types import ColouredMesh, Mesh, Splats, TexturedMesh


def metres_per_unit(mesh: Mesh | TexturedMesh, *, height_m: float | None = None) -> float:
    """Return the factor from head units to metres that makes a mesh ``height_m`` high; the nominal one for None.

    Raises:
        InputError: a height that is no positive number.
    """
    if height_m is None:
        return METRES_PER_UNIT
    height = float(np.ptp(np.asarray(mesh.vertices, np.float64)[:, 1]))
    if not (np.isfinite(height_m) and height_m > 0 and height > 0):
        raise InputError(
            f"a mesh {height} units high cannot be made {height_m} m high: give a height in metres, such as 0.23"
        )
    return height_m / height


def write_mesh(
    path: Path | str,
    mesh: Mesh | ColouredMesh | TexturedMesh,
    *,
    metres_per_unit: float = METRES_PER_UNIT,
    splats: Splats | None = None,
) -> None:
    """Write a mesh in the format of the suffix; ``spinmeround.io.formats`` has the table of formats.

    The frame is that of glTF (+Y up, front +Z), so nothing is rotated. Formats that hold normals get smooth vertex
    normals, also across the seams of the texture. The same mesh gives the same bytes.

    Args:
        mesh: vertex colours are written to ``.ply`` only, which also turns a texture into vertex colours.
        metres_per_unit: factor from head units to metres.
        splats: of the same head, for formats that hold them beside a mesh, as ``.glb`` does in a scene of their own.

    Raises:
        OutputError: an unknown suffix, splats for a format that does not hold them, or a place that cannot be written.
        ResourceError: the disk is full.
        MissingDependencyError: a package that the format needs is not installed.
        ValueError: an empty mesh, indices out of range, or values that are not finite.
    """
    path = Path(path)
    wanted = find_format(path, "mesh")
    check_available(wanted, path)
    fault = mesh_fault(mesh)
    if fault:
        raise ValueError(f"the mesh cannot be written: {fault}")
    beside = splats_beside(path, wanted, splats)
    with atomic_files(path) as unfinished:
        wanted.load_writer()(unfinished, mesh, metres_per_unit=metres_per_unit, **beside)


def read_mesh(path: Path | str, *, metres_per_unit: float = METRES_PER_UNIT) -> Mesh | TexturedMesh:
    """Read ``.glb``, ``.vrm`` (avatars at rest), ``.obj`` and ``.ply``, also those of other programs.

    The frame of the file is kept. Polygons are triangulated; vertices that a format had to split along the seams of
    the texture are merged again. The parts of a ``.glb`` become one mesh with one texture. Vertex colours are ignored.

    Args:
        metres_per_unit: that of the writer; 1 keeps the units of the file.

    Raises:
        InputError: no such file, an unknown suffix, or a file that is damaged, cut short or holds no such mesh.
    """
    path = Path(path)
    mesh = find_readable(path, "mesh").load_reader()(path)
    fault = mesh_fault(mesh)
    if fault:
        raise InputError(f"{path}: {fault}; export it again")
    return replace(mesh, vertices=mesh.vertices / metres_per_unit)
