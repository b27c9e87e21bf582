"""Splats as binary glTF 2.0 with KHR_gaussian_splatting (Khronos, ratified 2026)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinmeround.images import srgb_to_linear
from spinmeround.io.gltf.buffer import Buffer, container
from spinmeround.io.gltf.scene import GAUSSIAN_SPLATTING
from spinmeround.io.splats.scaling import scaled
from spinmeround.types import SH_C0, Splats

_POINTS = 0


def write_splats_glb(path: Path, splats: Splats, *, metres_per_unit: float) -> None:
    """Write splats in metres, +Y up and +Z to the front.

    Programs that do not know the extension show coloured points.
    """
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "spinmeround"}, "scene": 0}
    buffer = Buffer()
    add_splats(document, buffer, splats, metres_per_unit=metres_per_unit)
    path.write_bytes(container(document, bytes(buffer.data)))


def add_splats(document: dict[str, Any], buffer: Buffer, splats: Splats, *, metres_per_unit: float) -> None:
    """Add a scene with splats to the JSON of a file and to its binary chunk.

    Scales are linear and opacities lie in [0, 1], as in memory; harmonics have INRIA's basis and signs, which are the
    extension's.
    """
    primitive = _primitive(buffer, scaled(splats, metres_per_unit))
    meshes, nodes = document.setdefault("meshes", []), document.setdefault("nodes", [])
    meshes.append({"name": "splats", "primitives": [primitive]})
    nodes.append({"name": "splats", "mesh": len(meshes) - 1})
    scenes = document.setdefault("scenes", [])
    for scene in scenes:
        scene.setdefault("name", "head")
    scenes.append({"name": "splats", "nodes": [len(nodes) - 1]})
    document.setdefault("extensionsUsed", []).append(GAUSSIAN_SPLATTING)
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }


def _primitive(buffer: Buffer, splats: Splats) -> dict[str, Any]:
    sh = splats.sh.numpy()
    quats_wxyz = torch.nn.functional.normalize(splats.quats_wxyz.double(), dim=1).numpy()
    seen_srgb = np.clip(0.5 + SH_C0 * sh[:, 0].astype(np.float64), 0, 1)
    opacities = splats.opacities.numpy()
    attributes = {
        "POSITION": buffer.add_vectors(splats.means.numpy(), limits=True),
        "COLOR_0": buffer.add_colours(np.column_stack([srgb_to_linear(seen_srgb), opacities])),
        f"{GAUSSIAN_SPLATTING}:ROTATION": buffer.add_vectors(quats_wxyz[:, [1, 2, 3, 0]]),
        f"{GAUSSIAN_SPLATTING}:SCALE": buffer.add_vectors(splats.scales.numpy()),
        f"{GAUSSIAN_SPLATTING}:OPACITY": buffer.add_numbers(opacities),
    }
    for name, coefficients in zip(harmonic_names(sh.shape[1]), np.moveaxis(sh, 1, 0), strict=True):
        attributes[name] = buffer.add_vectors(coefficients)
    described = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    return {"attributes": attributes, "mode": _POINTS, "extensions": {GAUSSIAN_SPLATTING: described}}


def harmonic_names(count: int) -> list[str]:
    """Return the attributes of the first ``count`` harmonics: 1, 4, 9 or 16 for degree 0, 1, 2 or 3."""
    degrees = range(round(count**0.5))
    return [f"{GAUSSIAN_SPLATTING}:SH_DEGREE_{d}_COEF_{k}" for d in degrees for k in range(2 * d + 1)]
