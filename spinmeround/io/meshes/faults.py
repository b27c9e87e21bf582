"""What may be wrong with the values of a mesh, whichever format it comes from or goes to."""

from __future__ import annotations

import numpy as np

from spinmeround.types import ColouredMesh, Mesh, TexturedMesh

LARGEST_COORDINATE = 1e12
"""What is larger is damage, and overflows when squared in float32."""


def mesh_fault(mesh: Mesh | ColouredMesh | TexturedMesh) -> str:
    """Describe what is wrong with the values of a mesh; empty if nothing is."""
    pairs = [("vertices", mesh.vertices, mesh.faces)]
    if isinstance(mesh, TexturedMesh):
        pairs.append(("texture coordinates", mesh.uv, mesh.uv_faces))
        if not np.isfinite(mesh.albedo).all():
            return "some texels are not finite numbers"
    for name, points, faces in pairs:
        if len(points) == 0 or len(faces) == 0:
            return "no triangles in it"
        bad = int((~(np.abs(points) < LARGEST_COORDINATE)).any(axis=1).sum())
        if bad:
            return f"{bad} of {len(points)} {name} are not finite numbers"
        if faces.min() < 0 or faces.max() >= len(points):
            return f"faces refer to {name} {faces.min()} to {faces.max()}, of {len(points)}"
    return ""
