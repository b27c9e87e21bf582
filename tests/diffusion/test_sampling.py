"""Fast against plain, and the laws of guidance and noise."""

from __future__ import annotations

import copy

import pytest
import torch

from spinmeround.diffusion.model import networks
from spinmeround.diffusion.model.pose_map import pose_maps
from spinmeround.diffusion.model.unet import MultiViewUNet, Samples
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.loop import (
    ConditioningViews,
    Embeddings,
    Guidance,
    GuidedViews,
    PhotoNormals,
    integrate,
)
from tests.diffusion import statement, tiny

DEEP = copy.deepcopy(tiny.CONFIG)
DEEP["model"]["params"]["network_config"]["params"] |= {
    "model_channels": 64,
    "channel_mult": [1, 1, 2, 2],
    "attention_resolutions": [4, 2, 1],
    "num_res_blocks": 2,
    "num_heads": -1,
    "num_head_channels": 32,
}
CONFIGS = {
    "three levels": (tiny.CONFIG, lambda _width: 2),
    "four levels, heads of one width": (DEEP, lambda width: width // 32),
}


@pytest.fixture(scope="module", params=CONFIGS)
def fast_and_plain(request, tmp_path_factory):
    """One checkpoint's UNet twice: as the package builds it and as ``statement`` reads it."""
    config, heads = CONFIGS[request.param]
    tensors = tiny.tensors(config)
    file, look = tiny.write(tmp_path_factory.mktemp("checkpoint"), tensors, config)
    parts = networks.from_single_file(file, config=look, dtype=torch.float32, unet_dtype=torch.float32)
    return MultiViewUNet(parts.unet), statement.Unet(tensors, heads=heads)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    file, look = tiny.write(tmp_path_factory.mktemp("checkpoint"), tiny.tensors())
    return networks.from_single_file(file, config=look, dtype=torch.float32, unet_dtype=torch.float32)


def scene(views: int, given: list[int], *, height: int = 8, width: int = 16, seed: int = 0):
    """Everything a guided step takes, drawn at random, with elevations and a picture that is not square."""
    draw = torch.Generator().manual_seed(seed)
    angles = torch.rand(views, 3, generator=draw) * torch.tensor([40.0, 360.0, 10.0])
    return {
        "x": torch.randn(views, 8, height, width, generator=draw) * 4,
        "clean": torch.randn(len(given), 8, height, width, generator=draw),
        "empty": torch.randn(1, 8, height, width, generator=draw),
        "rays": pose_maps(angles, height=height, width=width),
        "cond": torch.randn(1, 77, 512, generator=draw),
        "uncond": torch.randn(1, 77, 512, generator=draw),
    }


def guided(unet, s, given, *, guidance) -> tuple[GuidedViews, list[int]]:
    others = [i for i in range(len(s["x"])) if i not in given]
    known = ConditioningViews(s["clean"], s["rays"][given], s["empty"])
    embeddings = Embeddings(s["cond"], s["uncond"])
    return GuidedViews(unet, known=known, rays=s["rays"][others], embeddings=embeddings, guidance=guidance), others


@pytest.mark.parametrize(("views", "given"), [(5, [2]), (2, [0]), (6, [1, 3, 4]), (4, [0, 3])])
@pytest.mark.parametrize("sigma", [0.002, 3.7, 700.0])
def test_nothing_is_lost_by_skipping_work(fast_and_plain, views, given, sigma):
    """Rows dropped, equal rows merged, keys and values kept: all against the plain step."""
    s, sigma = scene(views, given), torch.tensor(sigma)
    fast, plain = fast_and_plain
    expected = statement.guided_step(plain, sigma=sigma, given=given, scale=3.5, **s)["guided"]
    denoise, others = guided(fast, s, given, guidance=Guidance(3.5))
    for _ in range(2):  # the second time with remembered keys and values
        torch.testing.assert_close(denoise(s["x"][others], sigma), expected[others], atol=2e-5, rtol=1e-5)


def test_views_of_a_sample_see_each_other_and_no_others(small):
    unet = MultiViewUNet(copy.deepcopy(small.unet))
    draw = torch.Generator().manual_seed(1)
    x, level = torch.randn(6, 153, 8, 8, generator=draw), torch.zeros(6)
    tokens = torch.randn(2, 77, 512, generator=draw)
    before = unet(x, level, Samples(tokens, (3, 3), (3, 3), (1, 1)))
    x[1] += 1
    moved = (unet(x, level, Samples(tokens, (3, 3), (3, 3), (1, 1))) - before).flatten(1).abs().amax(1)
    assert (moved[:3] > 1e-5).all()
    assert (moved[3:] == 0).all()


def test_order_of_views_does_not_matter(small):
    s, sigma = scene(5, [0]), torch.tensor(2.0)
    unet = MultiViewUNet(copy.deepcopy(small.unet))
    denoise, others = guided(unet, s, [0], guidance=Guidance(3.5))
    straight = denoise(s["x"][others], sigma)
    turned = {**s, "rays": s["rays"][[0, 4, 3, 2, 1]]}
    denoise, _ = guided(unet, turned, [0], guidance=Guidance(3.5))
    torch.testing.assert_close(denoise(s["x"][[4, 3, 2, 1]], sigma), straight.flip(0), atol=2e-5, rtol=1e-5)


def test_guidance_of_one_and_outside_its_interval_is_the_conditional_prediction(small):
    s, sigma = scene(4, [1]), torch.tensor(2.0)
    unet = MultiViewUNet(copy.deepcopy(small.unet))
    both, others = guided(unet, s, [1], guidance=Guidance(3.5))
    cond = both.uncond_and_cond(s["x"][others], sigma)[1]
    for guidance in (Guidance(1.0), Guidance(3.5, (2.5, 100.0)), Guidance(3.5, (0.0, 1.5))):
        one, _ = guided(unet, s, [1], guidance=guidance)
        torch.testing.assert_close(one(s["x"][others], sigma), cond, atol=2e-5, rtol=1e-5)
        assert one.rows(sigma) == 4
        assert both.rows(sigma) == 8


def test_photo_guides_by_the_gradient_of_the_mean_square(small):
    draw = torch.Generator().manual_seed(2)
    photo = torch.randn(1, 4, 8, 8, generator=draw)
    rays, cond = pose_maps(torch.zeros(1, 3), height=8, width=8), torch.randn(1, 77, 512, generator=draw)
    unet = MultiViewUNet(copy.deepcopy(small.unet))
    x, sigma = torch.randn(1, 8, 8, 8, generator=draw), torch.tensor(1.5)
    seen = torch.cat([x / (sigma**2 + 1) ** 0.5, rays, torch.ones(1, 1, 8, 8)], dim=1)
    out = unet(seen, (sigma.log() / 4)[None], Samples(cond, (1,), (1,), (1,)))
    with torch.inference_mode(False), torch.enable_grad():
        free = (x / (sigma**2 + 1) - out * sigma / (sigma**2 + 1) ** 0.5).clone().requires_grad_()
        error = torch.cat([(free[:, :4] - photo.clone()) ** 2, torch.zeros(1, 4, 8, 8)], dim=1)
        (gradient,) = torch.autograd.grad(error.mean(), free)
    expected = free.detach() - 100_000 * gradient
    got = PhotoNormals(unet, photo=photo, rays=rays, cond=cond)(x, sigma)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-3)


def test_state_stays_in_float32_in_any_precision(small):
    s = scene(3, [0], width=8)
    unet = MultiViewUNet(copy.deepcopy(small.unet).to(torch.bfloat16))
    denoise, others = guided(unet, s, [0], guidance=Guidance(3.5))
    got = integrate(denoise, s["x"][others], schedules.edm_sigmas(3), solver="euler")
    exact, _ = guided(MultiViewUNet(copy.deepcopy(small.unet)), s, [0], guidance=Guidance(3.5))
    expected = integrate(exact, s["x"][others], schedules.edm_sigmas(3), solver="euler")
    assert got.dtype == torch.float32
    assert 0 < (got - expected).std() / expected.std() < 0.1
