"""How much of the published sampler's work do better solvers save, at the same distance to the exact solution?

    python benchmarks/diffusion_work_saved.py [--quick]

A small multi-view model is trained on rendered heads for some minutes (see small_diffusion.py). Its sampling equation
is solved with 400 Euler steps of the published schedule, which stands for the exact solution; then with 50, which is
the published sampler; then each other solver is given more and more steps until it is at least as near. The work is
counted in UNet passes, one per step and view for each half of the guidance. The heads sampled are none it was trained
on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from small_diffusion import SmallModel, rendered_heads
from tables import Figure, print_figures, print_table
from torch import Tensor

from spinmeround.diffusion import schedules
from spinmeround.diffusion.model_views import Solver
from spinmeround.diffusion.sampling import Guidance, integrate

_BAR = 0.5
_GUIDANCE = 3.5
_PUBLISHED_STEPS, _EXACT_STEPS = 50, 400
_TRIED = (8, 12, 16, 20, 25, 30, 40, 50)


@torch.inference_mode()
def solve(model: SmallModel, head: Tensor, *, solver: Solver, steps: int, seed: int) -> tuple[Tensor, int]:
    """The other views of a head, and the UNet passes they took."""
    denoise = model.guided(head, guidance=Guidance(_GUIDANCE))
    passes = 0

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal passes
        passes += denoise.rows(sigma)
        return denoise(x, sigma)

    noise = torch.randn(1, *head.shape[1:], generator=torch.Generator().manual_seed(seed))
    start = noise.expand(len(head) - 1, -1, -1, -1)
    return integrate(counted, start, schedules.edm_sigmas(steps), solver=solver), passes


def distances(
    model: SmallModel, heads: Sequence[Tensor], *, solver: Solver, steps: int, exact: Sequence[Tensor]
) -> tuple[float, int]:
    """Root mean square distance to the exact solutions, and the UNet passes for one head."""
    square, passes = 0.0, 0
    for seed, (head, solution) in enumerate(zip(heads, exact, strict=True)):
        found, passes = solve(model, head, solver=solver, steps=steps, seed=seed)
        square += float(((found - solution) ** 2).mean())
    return (square / len(heads)) ** 0.5, passes


def measure(*, quick: bool) -> list[Figure]:
    """All figures."""
    torch.set_num_threads(1)  # work this small gains nothing from threads, and loses much when they wait for each other
    azimuths = (0.0, 90.0, 180.0, 270.0) if quick else tuple(45.0 * i for i in range(8))
    size = 16 if quick else 32
    heads = rendered_heads(24 if quick else 60, azimuths_deg=azimuths, size_px=size)
    *train, one, two = heads
    model = SmallModel(azimuths_deg=azimuths, size=size)
    losses = model.train(torch.stack(train), steps=150 if quick else 800)
    print(f"loss {sum(losses[:50]) / 50:.3f} at first, {sum(losses[-50:]) / 50:.3f} at last", flush=True)
    unseen = (one, two)
    exact = [solve(model, head, solver="euler", steps=_EXACT_STEPS, seed=i)[0] for i, head in enumerate(unseen)]
    bar, published = distances(model, unseen, solver="euler", steps=_PUBLISHED_STEPS, exact=exact)
    rows, figures = [["euler", str(_PUBLISHED_STEPS), f"{bar:.4f}", str(published)]], []
    for solver in ("dpmpp-2m", "unipc"):
        saved = float("inf")
        for steps in _TRIED:
            distance, passes = distances(model, unseen, solver=solver, steps=steps, exact=exact)
            rows.append([solver, str(steps), f"{distance:.4f}", str(passes)])
            if distance <= bar:
                saved = passes / published
                break
        note = f"UNet passes for the distance of {_PUBLISHED_STEPS} Euler steps, as a share of theirs"
        figures.append(Figure(f"work of {solver}", saved, _BAR, note=note))
    print_table(("solver", "steps", "distance", "UNet passes"), rows, title=f"distance to {_EXACT_STEPS} Euler steps")
    return figures


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four views of 16², trained for less than a minute")
    print_figures(measure(quick=parser.parse_args().quick), title="work saved")


if __name__ == "__main__":
    main()
