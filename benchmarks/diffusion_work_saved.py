"""UNet passes that better solvers save at the published sampler's distance to the exact solution.

    python benchmarks/diffusion_work_saved.py [--quick]

A small multi-view model is trained on rendered heads for some minutes (see small_diffusion.py). Its sampling ODE is
solved with 400 Euler steps of the published schedule, as a reference for the exact solution, and with 50, which is the
published sampler. Each other solver gets more and more steps until it is at least as close to the reference, with the
network evaluated at all noise levels or at fewer (``Sampling.dense_sigmas``). The work is counted in UNet passes, one
per step and view for each half of the guidance. The heads sampled are not in the training set.

The error of 400 Euler steps is an eighth of that of 50, in the same direction: the reference is biased toward Euler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from command_line import benchmark_parser, run
from small_diffusion import SmallModel, rendered_heads
from tables import Figure, print_table
from torch import Tensor

from spinmeround.diffusion.inputs import Solver
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.loop import Guidance, integrate

_BAR = 0.5
_GUIDANCE = 3.5
_SIZE = 16
_TRIED = (20, 22, 24, 26, 28, 30, 35, 40, 50)
_DENSE = (0.01, 80.0)
_DENSE_SIZE = 64


@dataclass(frozen=True)
class Sampler:
    """One way to sample.

    Attributes:
        thinned: whether the network is evaluated at fewer noise levels.
    """

    solver: Solver
    steps: int
    thinned: bool = False

    def sigmas(self, size: int) -> Tensor:
        """Return the noise levels for pictures of ``size`` pixels."""
        low, high = _DENSE if self.thinned else (0.0, float("inf"))
        return schedules.thinned(schedules.edm_sigmas(self.steps), dense=(low, high * size / _DENSE_SIZE))


PUBLISHED, EXACT = Sampler("euler", 50), Sampler("euler", 400)


@torch.inference_mode()
def solve(model: SmallModel, head: Tensor, sampler: Sampler, *, seed: int) -> tuple[Tensor, int]:
    """Return the sampled views of a head, and the UNet passes they took."""
    denoise = model.guided(head, guidance=Guidance(_GUIDANCE))
    passes = 0

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal passes
        passes += denoise.rows(sigma)
        return denoise(x, sigma)

    noise = torch.randn(1, *head.shape[1:], generator=torch.Generator().manual_seed(seed))
    start = noise.expand(len(head) - 1, -1, -1, -1)
    return integrate(counted, start, sampler.sigmas(head.shape[-1]), solver=sampler.solver), passes


def distance(
    model: SmallModel, heads: Sequence[Tensor], sampler: Sampler, *, exact: Sequence[Tensor]
) -> tuple[float, int]:
    """Return the root mean square distance to the exact solutions, and the UNet passes for one head."""
    square, passes = 0.0, 0
    for seed, (head, solution) in enumerate(zip(heads, exact, strict=True)):
        found, passes = solve(model, head, sampler, seed=seed)
        square += float(((found - solution) ** 2).mean())
    return (square / len(heads)) ** 0.5, passes


def measure(*, quick: bool) -> list[Figure]:
    """Measure each solver at all and at fewer noise levels."""
    azimuths = (0.0, 90.0, 180.0, 270.0) if quick else tuple(45.0 * i for i in range(8))
    heads = rendered_heads(24 if quick else 60, azimuths_deg=azimuths, size_px=_SIZE)
    # One thread: tensors this small gain nothing from more. Set after numba has rendered, which sets torch's threads.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # denormal gradients would take several times as long
    unseen = heads[-1:] if quick else heads[-2:]
    model = SmallModel(azimuths_deg=azimuths, size=_SIZE)
    losses = model.train(heads[: -len(unseen)], steps=120 if quick else 400)
    print(f"loss {sum(losses[:50]) / 50:.3f} at first, {sum(losses[-50:]) / 50:.3f} at last", flush=True)
    exact = [solve(model, head, EXACT, seed=i)[0] for i, head in enumerate(unseen)]
    bar, published = distance(model, unseen, PUBLISHED, exact=exact)
    rows, figures = [["euler", "all", str(PUBLISHED.steps), f"{bar:.4f}", str(published)]], []
    for thinned in (False, True):
        for solver in ("dpmpp-2m", "unipc"):
            name = f"{solver}, fewer levels" if thinned else solver
            saved = float("inf")
            for steps in _TRIED:
                off, passes = distance(model, unseen, Sampler(solver, steps, thinned), exact=exact)
                rows.append([solver, "fewer" if thinned else "all", str(steps), f"{off:.4f}", str(passes)])
                if off <= bar:
                    saved = passes / published
                    break
            note = f"UNet passes for the distance of {PUBLISHED.steps} Euler steps, relative to theirs"
            figures.append(Figure(f"work of {name}", saved, _BAR, note=note))
    print_table(
        ("solver", "levels", "steps", "distance", "UNet passes"), rows, title=f"distance to {EXACT.steps} Euler steps"
    )
    return figures


def main() -> None:
    """Print the figures."""
    run(
        measure,
        benchmark_parser(__doc__, quick="four views instead of eight, trained for less than a minute"),
        title="work saved",
    )


if __name__ == "__main__":
    main()
