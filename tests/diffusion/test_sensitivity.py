"""The parity tests notice: faults planted one by one move the recorded numbers by far more than the tests allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from spinmeround.diffusion.model.unet import MultiViewAttention
from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.loop import Guidance, GuidedViews
from tests.diffusion.golden import Golden, relative

ALLOWED = 1e-5
"""What ``test_parity`` allows."""


def error(golden: Golden, pipeline: SpinMeRoundPipeline, denoise: GuidedViews) -> float:
    """Largest error of the network, and of the clean latents before and after guidance, which magnifies it."""
    step, sampled, scale = golden.step, golden.sampled, float(golden.step["scale"])
    errors = [golden.network_error(pipeline, 1)]
    for k in range(sum(key.startswith("sigmas_") for key in step)):
        x, sigma = step[f"x_{k}"][sampled], step[f"sigmas_{k}"][0]
        both = step[f"denoised_uc_c_{k}"][sampled.repeat(2)]
        uncond, cond = both.chunk(2)
        errors.append(relative(torch.cat(denoise.uncond_and_cond(x, sigma)), both))
        errors.append(relative(denoise(x, sigma), uncond + scale * (cond - uncond)) / (2 * scale - 1))
    return max(errors)


def set_multi_view(pipeline: SpinMeRoundPipeline, multi_view: Callable[[str, bool], bool]) -> None:
    """Change which layers have multi-view attention."""
    unet = pipeline.parts.unet
    old = unet.attn_processors
    unet.set_attn_processor(
        {name: MultiViewAttention(name, multi_view=multi_view(name, old[name].multi_view)) for name in old}
    )


def level_0_joint(golden, pipeline, _patch):
    set_multi_view(pipeline, lambda name, on: on or ".attn1." in name)
    return golden.guided(pipeline)


def level_0_joint_on_the_way_down(golden, pipeline, _patch):
    set_multi_view(pipeline, lambda name, on: on or (".attn1." in name and name.startswith("down_blocks.0.")))
    return golden.guided(pipeline)


def middle_not_joint(golden, pipeline, _patch):
    set_multi_view(pipeline, lambda name, on: on and not name.startswith("mid_block"))
    return golden.guided(pipeline)


def last_joint_level_not_joint(golden, pipeline, _patch):
    last = f"up_blocks.{len(pipeline.parts.unet.up_blocks) - 2}."
    set_multi_view(pipeline, lambda name, on: on and not name.startswith(last))
    return golden.guided(pipeline)


def pose_kept_where_there_is_no_photo(golden, pipeline, _patch):
    denoise = golden.guided(pipeline)
    denoise._guided_rays[0, :144] = golden.step["cond_images_f32"][~golden.sampled][0, :144]
    return denoise


def mask_kept_where_there_is_no_photo(golden, pipeline, _patch):
    denoise = golden.guided(pipeline)
    denoise._guided_rays[0, 144] = 1
    return denoise


def empty_picture_of_no_latents(golden, pipeline, _patch):
    return golden.guided(pipeline, empty=torch.zeros_like(golden.step["empty"]))


def empty_picture_is_the_photo(golden, pipeline, _patch):
    return golden.guided(pipeline, empty=golden.step["gt_z"])


def empty_picture_is_white(golden, pipeline, _patch):
    empty = golden.step["empty"]
    codec = pipeline.codec
    white = torch.ones(1, 3, empty.shape[2] * codec.downscale, empty.shape[3] * codec.downscale)
    latents = codec.encode(white, noise=torch.zeros_like(empty[:, : codec.channels])).repeat(1, 2, 1, 1)
    return golden.guided(pipeline, empty=latents)


def noise_level_is_an_integer(golden, pipeline, patch):
    exact = schedules.c_noise
    patch.setattr(schedules, "c_noise", lambda sigma: exact(sigma).round())
    return golden.guided(pipeline)


def group_norm_with_another_epsilon(golden, pipeline, _patch):
    changed = 0
    for module in pipeline.parts.unet.modules():
        if isinstance(module, torch.nn.GroupNorm) and module.eps == 1e-6:
            module.eps = 1e-5
            changed += 1
    assert changed
    return golden.guided(pipeline)


def guidance_the_wrong_way_round(golden, pipeline, patch):
    exact = GuidedViews.uncond_and_cond
    patch.setattr(GuidedViews, "uncond_and_cond", lambda *args: exact(*args)[::-1])
    return golden.guided(pipeline)


def guidance_of_another_scale(golden, pipeline, _patch):
    denoise = golden.guided(pipeline)
    denoise._guidance = Guidance(float(golden.step["scale"]) * 1.001)
    return denoise


FAULTS = (
    level_0_joint,
    level_0_joint_on_the_way_down,
    middle_not_joint,
    last_joint_level_not_joint,
    pose_kept_where_there_is_no_photo,
    mask_kept_where_there_is_no_photo,
    empty_picture_of_no_latents,
    empty_picture_is_the_photo,
    empty_picture_is_white,
    noise_level_is_an_integer,
    group_norm_with_another_epsilon,
    guidance_the_wrong_way_round,
    guidance_of_another_scale,
)


def test_without_a_fault(golden, recorded):
    assert error(golden, recorded, golden.guided(recorded)) <= ALLOWED


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(golden, fault, monkeypatch):
    pipeline = golden.pipeline()
    assert error(golden, pipeline, fault(golden, pipeline, monkeypatch)) > ALLOWED
