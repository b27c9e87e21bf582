"""Solvers on an equation whose solution is known, and against diffusers' own."""

from __future__ import annotations

import pytest
import torch

from spinmeround.diffusion.sampling.loop import integrate
from spinmeround.diffusion.sampling.schedules import edm_sigmas, thinned
from spinmeround.diffusion.sampling.solvers import make_solver

SPREAD = 0.5


def denoise(x, sigma):
    """The exact guess for clean latents drawn from a normal distribution of mean 1."""
    return 1 + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - 1)


def error(solver, steps) -> float:
    """Distance to the exact solution."""
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = edm_sigmas(steps).double()
    start = noise * (1 + sigmas[0] ** 2) ** 0.5
    exact = 1 + (start - 1) * SPREAD / (SPREAD**2 + sigmas[0] ** 2) ** 0.5
    return float((integrate(denoise, noise, sigmas, solver=solver) - exact).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("dpmpp-2m", 2), ("unipc", 3)])
def test_order(solver, order):
    """Halving the steps divides the error by two, by four, and with UniPC's corrector by eight."""
    ratio = error(solver, 100) / error(solver, 200)
    assert ratio == pytest.approx(2**order, rel=0.35)


def test_half_the_steps_are_enough():
    for solver in ("dpmpp-2m", "unipc"):
        assert error(solver, 25) < error("euler", 50)


@pytest.mark.parametrize("solver", ["dpmpp-2m", "unipc"])
def test_same_steps_as_diffusers(solver):
    """diffusers' schedulers on the same levels; theirs scale latents, which these guesses undo."""
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    kinds = {"dpmpp-2m": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
    theirs = kinds[solver](prediction_type="sample", solver_order=2, final_sigmas_type="zero", lower_order_final=True)
    sigmas = edm_sigmas(12)
    theirs.set_timesteps(12)
    theirs.sigmas = sigmas.clone()
    ours = make_solver(solver)
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    scaled = x / (1 + sigmas[0] ** 2) ** 0.5
    for i, timestep in enumerate(theirs.timesteps):
        clean = denoise(x, sigmas[i]) + 0.1 * torch.sin(3 * x / (1 + sigmas[i]))
        x = ours.step(x, clean, sigma=sigmas[i], sigma_next=sigmas[i + 1])
        scaled = theirs.step(clean, timestep, scaled, return_dict=False)[0]
        torch.testing.assert_close(scaled * (1 + sigmas[i + 1] ** 2) ** 0.5, x, rtol=2e-4, atol=2e-4)


def test_last_step_is_the_guess():
    for solver in ("euler", "dpmpp-2m", "unipc"):
        x, clean = torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2)
        end = make_solver(solver).step(x, clean, sigma=torch.tensor(0.5), sigma_next=torch.tensor(0.0))
        torch.testing.assert_close(end, clean)


def test_fewer_levels_keep_the_ends_and_all_between():
    sigmas = edm_sigmas(30)
    fewer = thinned(sigmas, dense=(0.01, 20.0))
    assert fewer[0] == sigmas[0]
    assert fewer[-1] == 0
    assert torch.equal(fewer[(fewer >= 0.01) & (fewer <= 20)], sigmas[(sigmas >= 0.01) & (sigmas <= 20)])
    assert torch.equal(fewer[fewer > 20], sigmas[sigmas > 20][::3])
    assert not ((fewer > 0) & (fewer < 0.01)).any()
    assert torch.equal(thinned(sigmas, dense=(0.0, float("inf"))), sigmas)
