"""Writes a small head: the mean head as splats and as an avatar, in a second or two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spinmeround.io import write_avatar, write_splats
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.generator import TemplateHead
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Splats

_SPLATS = 12_000
_SPREAD = 0.004
"""Standard deviation of a splat, head units: they close the surface."""
_SKIN = np.array([0.75, 0.58, 0.48], np.float32)
_SH_DC = 0.28209479


def write_prepared_head(folder: Path) -> None:
    """Write ``head.ply`` (splats) and ``head.glb`` (an avatar whose photo showed it smiling)."""
    model = load_head_model()
    mean = model.mean.astype(np.float64)
    smile = np.where(np.char.startswith(np.array(model.expression_names), "mouthSmile"), 0.75, 0.0)
    photo = FittedPhoto(orbit_cameras([0.0], [0.0], size_px=64), smile, 0 * mean, 1.0, 0.01, 0.99)
    fitted = FittedHead(model, np.zeros(len(model.shape_names)), 0 * mean, mean, (photo,))
    skin = SkinTexture(np.tile(_SKIN, (64, 64, 1)), np.zeros((64, 64), np.float32))
    head = TemplateHead(model, fitted, skin, None, np.zeros(model.subdivision.shape[0]), {})
    write_avatar(folder / "head.glb", head.avatar(lod=2, texture_px=64))
    write_splats(folder / "head.ply", _splats_on(model.dense(mean)))


def _splats_on(vertices: np.ndarray) -> Splats:
    chosen = np.random.default_rng(0).choice(len(vertices), min(_SPLATS, len(vertices)), replace=False)
    means = torch.tensor(vertices[np.sort(chosen)], dtype=torch.float32)
    count = len(means)
    # Lighter above: a picture of it is not one flat colour.
    light = (0.8 + 0.4 * (means[:, 1:2] - means[:, 1].min()) / np.ptp(vertices[:, 1])).clamp(0, 1.2)
    colours = (torch.tensor(_SKIN) * light).clamp(0, 1)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return Splats(
        means, torch.full((count, 3), _SPREAD), quats, torch.full((count,), 0.95), ((colours - 0.5) / _SH_DC)[:, None]
    )
