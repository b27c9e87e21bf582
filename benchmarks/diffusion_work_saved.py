"""How much of the published sampler's work do better solvers save, at the same distance to the exact solution?

    python benchmarks/diffusion_work_saved.py [--quick]

A small multi-view model is trained on rendered heads for some minutes (see small_diffusion.py). Its sampling equation
is solved with 400 Euler steps of the published schedule, which stands for the exact solution; then with 50, which is
the published sampler; then each other solver is given more and more steps until it is at least as near, evaluated at
all noise levels or at fewer (``Sampling.dense_sigmas``). The work is counted in UNet passes, one per step and view
for each half of the guidance. The heads sampled are none it was trained on.

400 Euler steps are themselves off by an eighth of what 50 are, in the same direction: they flatter Euler.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from small_diffusion import SmallModel, rendered_heads
from tables import Figure, print_figures, print_table
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
        thinned: whether the network is evaluated at fewer of the levels.
    """

    solver: Solver
    steps: int
    thinned: bool = False

    def sigmas(self, size: int) -> Tensor:
        """Return its noise levels for pictures of a size."""
        low, high = _DENSE if self.thinned else (0.0, float("inf"))
        return schedules.thinned(schedules.edm_sigmas(self.steps), dense=(low, high * size / _DENSE_SIZE))


PUBLISHED, EXACT = Sampler("euler", 50), Sampler("euler", 400)


@torch.inference_mode()
def solve(model: SmallModel, head: Tensor, sampler: Sampler, *, seed: int) -> tuple[Tensor, int]:
    """Sample the other views of a head; return them and the UNet passes they took."""
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
    """Root mean square distance to the exact solutions, and the UNet passes for one head."""
    square, passes = 0.0, 0
    for seed, (head, solution) in enumerate(zip(heads, exact, strict=True)):
        found, passes = solve(model, head, sampler, seed=seed)
        square += float(((found - solution) ** 2).mean())
    return (square / len(heads)) ** 0.5, passes


def measure(*, quick: bool) -> list[Figure]:
    """All figures."""
    azimuths = (0.0, 90.0, 180.0, 270.0) if quick else tuple(45.0 * i for i in range(8))
    heads = rendered_heads(24 if quick else 60, azimuths_deg=azimuths, size_px=_SIZE)
    # Work this small gains nothing from threads, and loses much when they wait for each other. Said after numba has
    # rendered, which sets torch's threads as well as its own.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients this small would take several times as long
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
            note = f"UNet passes for the distance of {PUBLISHED.steps} Euler steps, as a fraction of theirs"
            figures.append(Figure(f"work of {name}", saved, _BAR, note=note))
    print_table(
        ("solver", "levels", "steps", "distance", "UNet passes"), rows, title=f"distance to {EXACT.steps} Euler steps"
    )
    return figures


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="four views instead of eight, trained for less than a minute"
    )
    print_figures(measure(quick=parser.parse_args().quick), title="work saved")


if __name__ == "__main__":
    main()
