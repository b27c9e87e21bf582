"""The 32-byte ``.splat`` record of antimatter15's viewer: position, linear scale, 8-bit colour, opacity, quaternion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spinmeround.errors import InputError
from spinmeround.io.splats.scaling import scaled
from spinmeround.types import SH_C0, Splats

_RECORD = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def write_splat(path: Path, splats: Splats, *, metres_per_unit: float) -> None:
    """Write one record per splat, in metres.

    Lost are SH above degree 0, colour outside [0, 1], and all but 8 bits of colour, opacity and quaternion.
    """
    splats = scaled(splats, metres_per_unit)
    rows = np.zeros(len(splats), _RECORD)
    rows["means"] = splats.means.numpy()
    rows["scales"] = splats.scales.numpy()
    rows["rgba"][:, :3] = _byte(splats.sh[:, 0].double().numpy() * SH_C0 * 255 + 127.5)
    rows["rgba"][:, 3] = _byte(splats.opacities.double().numpy() * 255)
    rows["quats"] = _byte(splats.quats_wxyz.double().numpy() * 128 + 128)
    path.write_bytes(rows.view(np.uint8).data)  # tofile would not say that the disk is full


def read_splat(path: Path) -> Splats:
    """Read all records; the SH are of degree 0.

    Raises:
        InputError: the file's size is no multiple of a record's.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if not data or len(data) % _RECORD.itemsize:
        raise InputError(f"{path}: {len(data)} bytes are no whole number of 32-byte records; copy or export it again")
    rows = np.frombuffer(data, _RECORD)
    return Splats(
        torch.from_numpy(rows["means"].astype(np.float64)),
        torch.from_numpy(rows["scales"].astype(np.float64)),
        torch.from_numpy(rows["quats"] / 128.0 - 1),
        torch.from_numpy(rows["rgba"][:, 3] / 255.0),
        torch.from_numpy((rows["rgba"][:, None, :3] / 255.0 - 0.5) / SH_C0),
    )


def _byte(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
