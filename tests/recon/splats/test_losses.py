"""Losses against torch's automatic differentiation of the same formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from spinmeround.recon.splats.losses import WINDOW_PX, structural_dissimilarity, weighted_l1, weighted_squared_error


def pictures(height=40, width=31, channels=3):
    rng = torch.Generator().manual_seed(0)
    smooth = torch.linspace(0, 1, width)[None, :, None].expand(height, width, channels)
    prediction = (0.7 * smooth + 0.3 * torch.rand(height, width, channels, generator=rng)).contiguous()
    target = (0.7 * smooth + 0.3 * torch.rand(height, width, channels, generator=rng)).contiguous()
    return prediction, target, torch.rand(height, width, generator=rng)


def plain_dissimilarity(x, y, weight):
    """SSIM by the book, in float64, differentiated by torch."""

    def mean(picture):
        padded = torch.nn.functional.pad(picture.permute(2, 0, 1)[None], [WINDOW_PX // 2] * 4)
        return torch.nn.functional.avg_pool2d(padded, WINDOW_PX, 1)[0].permute(1, 2, 0)

    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return ((1 - similarity).mean(-1) * weight).mean()


@pytest.mark.parametrize("shape", [(40, 31, 3), (101, 20, 3), (7, 50, 3), (16, 16, 1), (3, 3, 3)])
def test_value_and_gradient_match_the_plain_formula(shape):
    prediction, target, weight = pictures(*shape)
    prediction.requires_grad_()
    plain = prediction.detach().double().requires_grad_()
    ours = structural_dissimilarity(prediction, target, weight)
    theirs = plain_dissimilarity(plain, target.double(), weight.double())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
    (3 * ours).backward()
    (3 * theirs).backward()
    assert prediction.grad is not None and plain.grad is not None
    assert float((prediction.grad - plain.grad).norm() / plain.grad.norm()) < 1e-4


def test_equal_pictures_are_at_the_minimum():
    picture, _, weight = pictures()
    picture.requires_grad_()
    loss = structural_dissimilarity(picture, picture.detach().clone(), weight)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert picture.grad is not None and float(picture.grad.abs().max()) < 1e-6


def test_agrees_with_scikit_image_away_from_the_border():
    prediction, target, _ = pictures()
    inner = torch.zeros(40, 31)
    inner[WINDOW_PX:-WINDOW_PX, WINDOW_PX:-WINDOW_PX] = 1
    _, whole = structural_similarity(
        prediction.numpy(),
        target.numpy(),
        win_size=7,
        channel_axis=2,
        data_range=1.0,
        full=True,
        use_sample_covariance=False,
    )
    expected = (1 - whole.mean(-1))[inner.numpy() > 0].sum() / inner.numel()
    assert structural_dissimilarity(prediction, target, inner).item() == pytest.approx(expected, abs=1e-5)


def test_pixels_without_weight_do_not_pull():
    prediction, target, weight = pictures()
    weight[:, :15] = 0
    prediction.requires_grad_()
    (structural_dissimilarity(prediction, target, weight) + weighted_l1(prediction, target, weight)).backward()
    assert prediction.grad is not None
    reach = 15 - WINDOW_PX // 2
    assert not prediction.grad[:, :reach].any()
    assert prediction.grad[:, 16:].abs().min() > 0


def test_no_weight_at_all_is_no_loss():
    prediction, target, weight = pictures()
    prediction.requires_grad_()
    loss = structural_dissimilarity(prediction, target, 0 * weight) + weighted_l1(prediction, target, 0 * weight)
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad is not None and not prediction.grad.any()


def test_l1_pulls_as_hard_as_its_weight():
    prediction, target, weight = pictures()
    expected = np.mean(np.abs(prediction - target).numpy().mean(-1) * weight.numpy())
    assert weighted_l1(prediction, target, weight).item() == pytest.approx(expected, rel=1e-5)


def test_squares_settle_on_the_mean_and_absolute_differences_on_the_median():
    said = torch.tensor([0.0, 0.0, 0.9])
    everywhere = torch.ones(1, 1)

    def best(loss) -> float:
        tried = torch.linspace(0, 1, 101)
        costs = [sum(loss(t.view(1, 1, 1), s.view(1, 1, 1), everywhere) for s in said) for t in tried]
        return float(tried[int(torch.stack(costs).argmin())])

    assert best(weighted_squared_error) == pytest.approx(0.3, abs=0.01)
    assert best(weighted_l1) == pytest.approx(0.0)
    prediction, target, weight = pictures()
    expected = ((prediction - target) ** 2).mean(dim=2).mul(weight).mean()
    torch.testing.assert_close(weighted_squared_error(prediction, target, weight), expected)
