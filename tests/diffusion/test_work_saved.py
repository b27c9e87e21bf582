"""Better solvers are as near to the exact solution as the published one with less than half its work, in small.

``benchmarks/diffusion_work_saved.py`` measures the same on a larger model, trained for longer.
"""

from __future__ import annotations

import pytest
import torch
from diffusion_work_saved import EXACT, PUBLISHED, Sampler, distance, solve
from small_diffusion import SmallModel, rendered_heads

AZIMUTHS = (0.0, 120.0, 240.0)


@pytest.fixture(scope="module")
def trained():
    """A model of three views of 8 × 8 pixels after some seconds of training, and a head it was not shown."""
    *shown, unseen = rendered_heads(12, azimuths_deg=AZIMUTHS, size_px=8)
    torch.set_num_threads(1)  # again: numba, which renders, sets torch's threads as well as its own
    torch.set_flush_denormal(True)  # gradients this small would take several times as long
    model = SmallModel(azimuths_deg=AZIMUTHS, size=8)
    with torch.inference_mode(False), torch.enable_grad():
        losses = model.train(torch.stack(shown), steps=60)
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15]), "the model has learned nothing"
    yield model, unseen
    torch.set_flush_denormal(False)


@pytest.mark.slow
def test_half_the_work_is_enough(trained):
    model, unseen = trained
    exact = [solve(model, unseen, EXACT, seed=0)[0]]
    bar, published = distance(model, [unseen], PUBLISHED, exact=exact)
    assert bar > 1e-2, "there is nothing to gain"
    for sampler, fraction in (
        (Sampler("unipc", 25), 0.5),
        (Sampler("unipc", 28, True), 0.4),
        (Sampler("dpmpp-2m", 28, True), 0.4),
    ):
        off, passes = distance(model, [unseen], sampler, exact=exact)
        assert off <= 0.85 * bar, sampler
        assert passes <= fraction * published, sampler
