"""The position regulariser: noise of single splats goes, what neighbours share stays."""

from __future__ import annotations

import torch

from spinmeround.recon.splats.position_regulariser import PositionRegulariser
from spinmeround.types import Splats


def plate(*, other_side: bool = False) -> Splats:
    """Discs on a square of 12 by 12 facing +Z, and as many a hair's breadth behind them facing -Z."""
    at = torch.linspace(-1, 1, 12)
    front = torch.cartesian_prod(at, at, torch.zeros(1))
    facing = torch.tensor([[1.0, 0, 0, 0]]).expand(len(front), 4)
    means, quats = front, facing
    if other_side:
        means = torch.cat([front, front - torch.tensor([0, 0, 0.01])])
        quats = torch.cat([facing, torch.tensor([[0.0, 1, 0, 0]]).expand(len(front), 4)])
    count = len(means)
    return Splats(means, torch.full((count, 3), 0.1), quats, torch.full((count,), 0.9), torch.zeros(count, 1, 3))


def after(start: Splats, moved: torch.Tensor, steps: int = 40) -> torch.Tensor:
    """Return how far means that were moved away still are after so many steps."""
    regulariser, means = PositionRegulariser(start), start.means + moved
    for _ in range(steps):
        regulariser.apply(means)
    return means - start.means


def test_noise_of_single_splats_goes_and_a_shift_of_all_stays() -> None:
    start = plate()
    noise = torch.randn(len(start), generator=torch.Generator().manual_seed(0))
    moved = torch.zeros(len(start), 3)
    moved[:, 2] = 1 + noise
    left = after(start, moved)[:, 2]
    assert abs(float(left.mean()) - 0.85) < 0.1
    assert float(left.std()) < 0.4 * float(noise.std())


def test_a_smooth_bend_is_hardly_taken_back() -> None:
    start = plate()
    moved = torch.zeros(len(start), 3)
    moved[:, 2] = 0.2 * torch.cos(1.5 * start.means[:, 0])
    left = after(start, moved)[:, 2]
    assert float((left * moved[:, 2]).sum() / (moved[:, 2] ** 2).sum()) > 0.8


def test_what_moves_along_the_surface_is_left_alone() -> None:
    start = plate()
    moved = torch.randn(len(start), 3, generator=torch.Generator().manual_seed(0))
    moved[:, 2] = 0
    assert torch.equal(after(start, moved, steps=1), start.means + moved - start.means)


def test_the_other_side_of_a_thin_part_is_no_neighbour() -> None:
    start = plate(other_side=True)
    half = len(start) // 2
    moved = torch.zeros(len(start), 3)
    moved[:half, 2] = 1.0
    left = after(start, moved)[:, 2]
    alone = after(plate(), moved[:half])[:, 2]
    torch.testing.assert_close(left[:half], alone)
    assert float(left[half:].abs().max()) == 0.0


def test_a_single_splat_is_only_moved_to_its_start() -> None:
    start = Splats(*(getattr(plate(), n)[:1] for n in ("means", "scales", "quats_wxyz", "opacities", "sh")))
    left = after(start, torch.tensor([[0.0, 0.0, 1.0]]), steps=1)
    assert 0.99 < float(left[0, 2]) < 1.0
