"""The 3D Gaussian splatting PLY of Kerbl et al. 2023 (INRIA): log scales, logit opacities, channel-major SH."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.errors import InputError
from spinmeround.io.ply import Element, read_ply, write_ply
from spinmeround.io.splats.scaling import scaled
from spinmeround.types import Splats

_SCALES, _QUATS = [f"scale_{i}" for i in range(3)], [f"rot_{i}" for i in range(4)]
_MEANS, _DC = ["x", "y", "z"], [f"f_dc_{i}" for i in range(3)]
_SMALLEST_SCALE = 1e-30
"""Metres; keeps the logarithm of a scale of 0 finite."""
_OPACITY_MARGIN = 1e-12
"""Distance that opacities keep from 0 and 1, where their logit is infinite."""


def write_splat_ply(path: Path, splats: Splats, *, metres_per_unit: float) -> None:
    """Write every field as float32, in metres.

    The world's +Y stays up. Viewers that expect a COLMAP capture (y down) show the head upside down until it is
    rotated by 180 degrees about z there.
    """
    splats = scaled(splats, metres_per_unit)
    n, k = splats.sh.shape[:2]
    rest = [f"f_rest_{i}" for i in range(3 * (k - 1))]
    names = [*_MEANS, "nx", "ny", "nz", *_DC, *rest, "opacity", *_SCALES, *_QUATS]
    opacities = splats.opacities.double().clamp(_OPACITY_MARGIN, 1 - _OPACITY_MARGIN)
    columns = np.zeros((n, len(names)), "<f4")
    columns[:, :3] = splats.means.numpy()
    columns[:, 6:9] = splats.sh[:, 0].numpy()
    columns[:, 9 : 9 + len(rest)] = splats.sh[:, 1:].transpose(1, 2).reshape(n, -1).numpy()
    columns[:, -8] = torch.logit(opacities).numpy()
    columns[:, -7:-4] = splats.scales.double().clamp(min=_SMALLEST_SCALE).log().numpy()
    columns[:, -4:] = splats.quats_wxyz.numpy()
    rows = columns.view([(name, "<f4") for name in names])[:, 0]
    write_ply(path, {"vertex": rows})


def read_splat_ply(path: Path) -> Splats:
    """Read float properties in any order; unknown ones (normals, for instance) are ignored.

    Raises:
        InputError: not such a file.
    """
    elements = read_ply(path)
    if "chunk" in elements:
        raise InputError(
            f"{path}: a compressed splat PLY; unpack it first: npx @playcanvas/splat-transform {path.name} plain.ply"
        )
    vertex = elements.get("vertex", Element(0, {}))
    missing = [
        n for n in [*_MEANS, *_DC, "opacity", *_SCALES, *_QUATS] if not isinstance(vertex.columns.get(n), np.ndarray)
    ]
    if missing:
        kind = "a mesh" if "face" in elements else "a PLY without splats"
        raise InputError(f"{path}: {kind}: it has no {' '.join(missing[:4])}; not a 3D Gaussian splatting file")
    rest = [f"f_rest_{i}" for i in range(sum(name.startswith("f_rest_") for name in vertex.columns))]
    if len(rest) not in (0, 9, 24, 45) or not all(isinstance(vertex.columns.get(n), np.ndarray) for n in rest):
        raise InputError(f"{path}: {len(rest)} f_rest properties; SH of degree 0 to 3 has 0, 9, 24 or 45")

    def columns(*names: str) -> Float[Tensor, "n k"]:
        return torch.from_numpy(vertex.stacked(*names).astype(np.float64))

    dc, higher = columns(*_DC), columns(*rest).reshape(vertex.count, 3, len(rest) // 3).transpose(1, 2)
    return Splats(
        columns(*_MEANS),
        columns(*_SCALES).exp(),
        columns(*_QUATS),
        torch.sigmoid(columns("opacity")[:, 0]),
        torch.cat([dc[:, None], higher], dim=1),
    )
