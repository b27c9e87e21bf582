"""Heads and folders that the viewer is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spinmeround.io import write_splats
from spinmeround.types import Splats


def sphere_splats(count: int = 3000) -> Splats:
    """Return a sphere of small splats, in head units, whose colours differ by place and by direction."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    sh = np.zeros((count, 4, 3))
    sh[:, 0] = normals * 0.8
    sh[:, 1:] = rng.normal(size=(count, 3, 3)) * 0.05
    quats = rng.normal(size=(count, 4))
    fields = (
        0.25 * normals,
        np.exp(rng.uniform(np.log(0.004), np.log(0.012), (count, 3))),
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        rng.uniform(0.3, 0.95, count),
        sh,
    )
    return Splats(*(torch.tensor(field, dtype=torch.float32) for field in fields))


@pytest.fixture(scope="session")
def splats_ply(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("splats") / "head.ply"
    write_splats(path, sphere_splats())
    return path
