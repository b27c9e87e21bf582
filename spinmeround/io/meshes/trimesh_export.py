"""STL, 3MF and OFF by way of the package trimesh: the whole surface, without colours, in the world frame (+Y up).

STL names no unit and programs for 3D printing take it for millimetres, so STL and 3MF are in millimetres. OFF is in
metres, as all other files are.
"""

from __future__ import annotations

import io
import re
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from spinmeround.types import ColouredMesh, Mesh, TexturedMesh

_MILLIMETRES_PER_METRE = 1000.0
_DECIMALS_MM = 4
"""Digits of a millimetre in 3MF, which is text: a tenth of a micrometre, far below what printers resolve."""
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date a ZIP archive can hold."""


def write_stl(path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float) -> None:
    """Write binary STL, in millimetres."""
    path.write_bytes(_trimesh(mesh, metres_per_unit * _MILLIMETRES_PER_METRE).export(file_type="stl"))


def write_3mf(path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float) -> None:
    """Write 3MF (3D Manufacturing Format), in millimetres, which the file states.

    trimesh draws identifiers at random and stamps the archive with the time. Both are replaced, so that the same mesh
    gives the same bytes.
    """
    body = _trimesh(mesh, metres_per_unit * _MILLIMETRES_PER_METRE)
    body.vertices = np.round(body.vertices, _DECIMALS_MM)
    with zipfile.ZipFile(io.BytesIO(body.export(file_type="3mf"))) as drawn, zipfile.ZipFile(path, "w") as archive:
        for name in drawn.namelist():
            entry = zipfile.ZipInfo(name, _EARLIEST_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, _with_numbered_uuids(drawn.read(name)))


def write_off(path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float) -> None:
    """Write OFF (Object File Format) as text, in metres."""
    text = _trimesh(mesh, metres_per_unit).export(file_type="off")
    path.write_text(text, encoding="utf-8", newline="\n")


def _trimesh(mesh: Mesh | ColouredMesh | TexturedMesh, factor: float) -> Any:
    import trimesh

    return trimesh.Trimesh(np.asarray(mesh.vertices, np.float64) * factor, mesh.faces, process=False)


def _with_numbered_uuids(text: bytes) -> bytes:
    """Replace each UUID by one made from its position in the text."""
    positions = iter(range(len(text)))
    return _UUID.sub(lambda _: str(uuid.uuid5(uuid.NAMESPACE_OID, str(next(positions)))).encode(), text)
