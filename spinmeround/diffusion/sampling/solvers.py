"""Rules that follow the sampling equation from one noise level to the next, all on the same levels and in float32.

With x = clean + σ·noise and the network's guess of the clean latents D(x, σ), the equation is dx/dσ = (x − D) / σ. In
λ = −log σ it is linear but for D, which the second-order rules extrapolate from one step to the next.
"""

from __future__ import annotations

import math
from typing import Protocol, assert_never, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Solver

Latents = Float[Tensor, "v c h w"]


@runtime_checkable
class Rule(Protocol):
    """One solver on one run; it may remember earlier steps."""

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Latents at the next level.

        Args:
            x: latents at ``sigma``, as the last call returned them.
            clean: the network's guess for ``x``.
            sigma_next: less than ``sigma``; 0 at the end.
        """
        ...


def rule(solver: Solver) -> Rule:
    """A fresh rule."""
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
    """First order; the published sampler."""

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Latents at the next level."""
        return x + (sigma_next - sigma) * ((x - clean) / sigma)


class DpmPlusPlus2M:
    """DPM-Solver++(2M), Lu et al., arXiv 2211.01095, algorithm 2: the guess is extrapolated from the last two."""

    def __init__(self) -> None:
        self._before: tuple[Latents, Tensor] | None = None

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Latents at the next level."""
        guess = clean
        if sigma_next > 0 and self._before is not None:
            clean_before, sigma_before = self._before
            ratio = (sigma_before / sigma).log() / (sigma / sigma_next).log()
            guess = clean + (clean - clean_before) / (2 * ratio)
        self._before = clean, sigma
        return guess + (sigma_next / sigma) * (x - guess)


class UniPC:
    """UniPC of second order, Zhao et al., arXiv 2302.04867, with B(h) = e^h − 1 and guesses of the clean latents.

    Each guess serves twice: it corrects the step that led to it, to third order, then predicts the next one.
    """

    def __init__(self) -> None:
        self._cleans: list[Latents] = []
        self._sigmas: list[Tensor] = []
        self._x: Latents | None = None

    def step(self, x: Latents, clean: Latents, *, sigma: Tensor, sigma_next: Tensor) -> Latents:
        """Latents at the next level."""
        if self._x is not None:
            x = self._corrected(self._x, clean, sigma)
        self._cleans = [clean, *self._cleans][:2]
        self._sigmas = [sigma, *self._sigmas][:2]
        self._x = x
        return self._predicted(x, sigma_next)

    def _predicted(self, x: Latents, sigma_next: Tensor) -> Latents:
        clean, sigma = self._cleans[0], self._sigmas[0]
        share = sigma_next / sigma
        if len(self._cleans) == 1 or sigma_next == 0:
            return share * x + (1 - share) * clean
        slope = (self._cleans[1] - clean) / self._ratio(sigma_next)
        return share * x + (1 - share) * (clean + 0.5 * slope)

    def _corrected(self, x: Latents, clean_next: Latents, sigma_next: Tensor) -> Latents:
        clean, sigma = self._cleans[0], self._sigmas[0]
        share = sigma_next / sigma
        rise = clean_next - clean
        if len(self._cleans) == 1:
            return share * x + (1 - share) * (clean + 0.5 * rise)
        ratio = self._ratio(sigma_next)
        slope = (self._cleans[1] - clean) / ratio
        old, new = _corrector_weights(ratio, (sigma / sigma_next).log())
        return share * x + (1 - share) * (clean + old * slope + new * rise)

    def _ratio(self, sigma_next: Tensor) -> Tensor:
        """The last step in λ over the coming one, negative since it lies behind."""
        return (self._sigmas[0] / self._sigmas[1]).log() / (self._sigmas[0] / sigma_next).log()


def _corrector_weights(ratio: Tensor, h: Tensor) -> tuple[float, float]:
    """Weights of the slopes behind and ahead (equation 9 of the paper, solved for two)."""
    back, step = float(ratio), -float(h)
    base = math.expm1(step)
    first = base / step - 1
    second = 2 * (first / step - 0.5)
    old = (first - second) / (base * (1 - back))
    return old, first / base - old
