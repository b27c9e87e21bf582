"""Decimation of a mesh to a face budget, and its UV atlas."""

from __future__ import annotations

from dataclasses import dataclass

import fast_simplification
import numpy as np
from jaxtyping import Float, Integer

from spinmeround.errors import MissingDependencyError
from spinmeround.geometry import face_normals
from spinmeround.types import Mesh

_EXPECTED_FILL = 0.65
"""Fraction of the texture that charts are expected to cover; sets the texels per unit length."""
_PADDING_TEXELS = 4
"""Between charts."""


@dataclass(frozen=True)
class Atlas:
    """UV layout of a mesh.

    Attributes:
        uv: in [0, 1], origin at the bottom-left; charts do not overlap.
        uv_faces: indices into ``uv``, one triangle per face of the mesh, in its order.
    """

    uv: Float[np.ndarray, "t 2"]
    uv_faces: Integer[np.ndarray, "f 3"]


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """Decimate a mesh by quadrics to a number of faces; return it as it is if it has no more."""
    if len(mesh.faces) <= faces:
        return mesh
    points, triangles = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=faces
    )
    return Mesh(points.astype(np.float64), triangles.astype(np.int64))


def unwrap(mesh: Mesh, size_px: int) -> Atlas:
    """Cut a mesh into charts, flatten and pack them with xatlas for a square texture of ``size_px``.

    Raises:
        MissingDependencyError: xatlas is not installed (some platforms have no wheel).
    """
    try:
        import xatlas
    except ImportError as error:
        raise MissingDependencyError(
            f"a textured mesh needs xatlas, which failed to import ({error}); run: pip install xatlas"
        ) from error
    area = np.linalg.norm(face_normals(mesh.vertices, mesh.faces), axis=1).sum() / 2
    layout = xatlas.Atlas()
    layout.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.padding = _PADDING_TEXELS
    packing.bilinear = True
    packing.texels_per_unit = float(np.sqrt(_EXPECTED_FILL / area)) * size_px
    layout.generate(xatlas.ChartOptions(), packing)
    _, uv_faces, uv = layout[0]
    # xatlas scales each axis to [0, 1] by itself; one common scale keeps the charts' shape.
    extent = np.array([layout.width, layout.height], np.float64)
    return Atlas(np.clip(uv * extent / extent.max(), 0.0, 1.0), uv_faces.astype(np.int64))
