"""The small model that the benchmark of the solvers is measured on."""

from __future__ import annotations

import pytest
import torch
from small_diffusion import SmallModel, rendered_heads

AZIMUTHS = (0.0, 120.0, 240.0)


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    *train, _ = rendered_heads(8, azimuths_deg=AZIMUTHS, size_px=8)
    model = SmallModel(azimuths_deg=AZIMUTHS, size=8)
    with torch.inference_mode(False), torch.enable_grad():
        losses = model.train(torch.stack(train), steps=60)
    return losses


def test_the_small_model_learns(trained):
    losses = trained
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15])
