"""Steps of the splat optimiser are those of Adam as torch has it."""

from __future__ import annotations

import torch

from spinmeround.recon.splats.optimizer import _ADAM_BETAS, _ADAM_EPSILON, _Adam


def test_steps_are_those_of_torch():
    start = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    empty = torch.zeros(7, 0, 3, requires_grad=True)
    adam = _Adam([(ours, 0.1), (empty, 0.1)])
    reference = torch.optim.Adam([theirs], lr=0.1, betas=_ADAM_BETAS, eps=_ADAM_EPSILON)
    for factor in (1.0, 0.5, 0.25):
        reference.param_groups[0]["lr"] = 0.1 * factor
        reference.zero_grad()
        for values in (ours, theirs):
            ((values - 1) ** 4).sum().backward()
        adam.step(factor)
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours.grad is None
