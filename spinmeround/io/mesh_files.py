"""Meshes to and from files: units, checks and the choice of the format. The formats themselves are next door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spinmeround.errors import InputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io.atomic import atomic_files
from spinmeround.io.formats import check_available, find_format, find_readable
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh


def metres_per_unit(mesh: Mesh | TexturedMesh, *, height_m: float | None = None) -> float:
    """The factor from head units to metres that makes a mesh ``height_m`` high; the nominal one for None.

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
    path: Path | str, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float = METRES_PER_UNIT
) -> None:
    """Writes ``.glb``, ``.obj`` or ``.ply``, by the extension, in the world frame and in metres.

    The frame is that of glTF (+Y up, front +Z), so nothing is turned. Vertex normals are written along, smooth across
    the seams of the texture. The same mesh gives the same bytes.

    * ``.glb``: one file with the texture as PNG inside.
    * ``.obj``: three files, ``head.obj``, ``head.mtl`` and ``head_albedo.png``.
    * ``.ply``: one file, no texture: each vertex has its colour or the texture's mean around it, and seams are closed.
    * ``.usdz``: one file with the texture as JPEG inside.

    Args:
        mesh: colours of vertices go into a ``.ply`` only.
        metres_per_unit: factor from head units to metres.

    Raises:
        OutputError: an unknown extension, or a place that cannot be written.
        ResourceError: the disk is full.
        MissingDependencyError: a ``.usdz`` without usd-core.
        ValueError: an empty mesh, indices out of range, or values that are not finite.
    """
    path = Path(path)
    wanted = find_format(path, "mesh")
    check_available(wanted, path)
    fault = _fault(mesh)
    if fault:
        raise ValueError(f"the mesh cannot be written: {fault}")
    with atomic_files(path) as unfinished:
        wanted.load_writer()(unfinished, mesh, metres_per_unit=metres_per_unit)


def read_mesh(path: Path | str, *, metres_per_unit: float = METRES_PER_UNIT) -> Mesh | TexturedMesh:
    """Reads what ``write_mesh`` writes, avatars at rest, and other programs' files of meshes.

    The frame of the file is kept. Polygons are cut into triangles; vertices that a format had to split along the seams
    of the texture are joined again. The parts of a ``.glb`` come together as one mesh, and so do their
    textures. Colours of vertices are left aside.

    Args:
        metres_per_unit: that of the writer; 1 keeps the units of the file.

    Raises:
        InputError: no such file, an unknown extension, or a file that is damaged, cut short or holds no such mesh.
    """
    path = Path(path)
    mesh = find_readable(path, "mesh").load_reader()(path)
    fault = _fault(mesh)
    if fault:
        raise InputError(f"{path}: {fault}; export it again")
    return replace(mesh, vertices=mesh.vertices / metres_per_unit)


def _fault(mesh: Mesh | ColouredMesh | TexturedMesh) -> str:
    """What is wrong with the values, in words, or nothing."""
    pairs = [("vertices", mesh.vertices, mesh.faces)]
    if isinstance(mesh, TexturedMesh):
        pairs.append(("texture coordinates", mesh.uv, mesh.uv_faces))
        if not np.isfinite(mesh.albedo).all():
            return "some texels are not finite numbers"
    for name, points, faces in pairs:
        if len(points) == 0 or len(faces) == 0:
            return "no triangles in it"
        bad = int((~(np.abs(points) < 1e12)).any(axis=1).sum())
        if bad:
            return f"{bad} of {len(points)} {name} are not finite numbers"
        if faces.min() < 0 or faces.max() >= len(points):
            return f"faces ask for {name} {faces.min()} to {faces.max()}, of {len(points)}"
    return ""
