"""Scaling meshes from head units to the units of a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spinmeround.types import ColouredMesh, Mesh, TexturedMesh


def scaled(mesh: Mesh | ColouredMesh | TexturedMesh, factor: float) -> Mesh | ColouredMesh | TexturedMesh:
    """Return the mesh with float64 vertices multiplied by ``factor``."""
    return replace(mesh, vertices=np.asarray(mesh.vertices, np.float64) * factor)
