"""Solvers of the sampling equation, from one noise level to the next, all on the same levels and in float32.

With x = clean + σ·noise and the network's prediction of the clean latents D(x, σ), the equation is
dx/dσ = (x − D) / σ. In λ = −log σ it is linear but for D, which the second-order solvers extrapolate from one step to
the next.
"""

from __future__ import annotations

import math
from typing import Protocol, assert_never, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Solver

Latents = Float[Tensor, "v c h w"]


@runtime_checkable
class OdeSolver(Protocol):
    """A solver in one run; multistep solvers keep earlier steps."""

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Return the latents at the next level.

        Args:
            x: latents at ``sigma``, as the last call returned them.
            clean: the network's prediction for ``x``.
            sigma_next: less than ``sigma``; 0 at the end.
        """
        ...


def make_solver(solver: Solver) -> OdeSolver:
    """Make a solver for one run."""
    match solver:
        case "euler":
            return Euler()
        case "dpmpp-2m":
            return DpmPlusPlus2M()
        case "unipc":
            return UniPC()
        case _:
            assert_never(solver)


class Euler:
    """Euler's method, of first order; the published sampler."""

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Return the latents at the next level."""
        return x + (sigma_next - sigma) * ((x - clean) / sigma)


class DpmPlusPlus2M:
    """DPM-Solver++(2M), Lu et al., arXiv 2211.01095, algorithm 2: the prediction is extrapolated from the last two."""

    def __init__(self) -> None:
        self._previous: tuple[Latents, Tensor] | None = None

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Return the latents at the next level."""
        extrapolated = clean
        if sigma_next > 0 and self._previous is not None:
            clean_previous, sigma_previous = self._previous
            ratio = (sigma_previous / sigma).log() / (sigma / sigma_next).log()
            extrapolated = clean + (clean - clean_previous) / (2 * ratio)
        self._previous = clean, sigma
        return extrapolated + (sigma_next / sigma) * (x - extrapolated)


class UniPC:
    """UniPC of second order, Zhao et al., arXiv 2302.04867, with B(h) = e^h − 1 and predictions of the clean latents.

    Each evaluation of the network serves twice: it corrects the step that led to it, to third order, then predicts the
    next one.
    """

    def __init__(self) -> None:
        self._cleans: list[Latents] = []
        self._sigmas: list[Tensor] = []
        self._x: Latents | None = None

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Return the latents at the next level."""
        if self._x is not None:
            x = self._correct(self._x, clean, sigma)
        self._cleans = [clean, *self._cleans][:2]
        self._sigmas = [sigma, *self._sigmas][:2]
        self._x = x
        return self._predict(x, sigma_next)

    def _predict(self, x: Latents, sigma_next: Tensor) -> Latents:
        """Predictor: the step to ``sigma_next``."""
        clean, sigma = self._cleans[0], self._sigmas[0]
        x_weight = sigma_next / sigma
        if len(self._cleans) == 1 or sigma_next == 0:
            return x_weight * x + (1 - x_weight) * clean
        slope = (self._cleans[1] - clean) / self._ratio(sigma_next)
        return x_weight * x + (1 - x_weight) * (clean + 0.5 * slope)

    def _correct(self, x: Latents, clean_next: Latents, sigma_next: Tensor) -> Latents:
        """Corrector: the last step again, with the prediction at its end."""
        clean, sigma = self._cleans[0], self._sigmas[0]
        x_weight = sigma_next / sigma
        rise = clean_next - clean
        if len(self._cleans) == 1:
            return x_weight * x + (1 - x_weight) * (clean + 0.5 * rise)
        ratio = self._ratio(sigma_next)
        slope = (self._cleans[1] - clean) / ratio
        old, new = _corrector_weights(ratio, (sigma / sigma_next).log())
        return x_weight * x + (1 - x_weight) * (clean + old * slope + new * rise)

    def _ratio(self, sigma_next: Tensor) -> Tensor:
        """Return the last step in λ over the coming one, negative since it lies behind."""
        return (self._sigmas[0] / self._sigmas[1]).log() / (self._sigmas[0] / sigma_next).log()


def _corrector_weights(ratio: Tensor, h: Tensor) -> tuple[float, float]:
    """Return the weights of the slopes behind and ahead (equation 9 of the paper, solved for two)."""
    back, step = float(ratio), -float(h)
    base = math.expm1(step)
    first = base / step - 1
    second = 2 * (first / step - 0.5)
    old = (first - second) / (base * (1 - back))
    return old, first / base - old
