"""The whole call in float16, on a CUDA GPU if there is one: near float32 on the CPU, and the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.diffusion.model.placement import DevicePlacement
from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
from spinmeround.diffusion.sampling import loop
from tests.diffusion import tiny
from tests.diffusion.test_pipeline import FAST, FRONT, SIZE

POSES = [(60.0, 0.0), (-60.0, 20.0)]
NEAR, FAR = 0.012, 0.1
"""Mean differences of pictures in [0, 1]: float16 was seen to make 0.004 of it on a CPU, another seed makes 0.14."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("checkpoint"), tiny.tensors())


@pytest.fixture
def painted(files, monkeypatch):
    """Paints with a placement; the guidance toward the photo is a mean over latents, and these are few."""
    monkeypatch.setattr(loop, "PHOTO_GUIDANCE", 1e5 * (SIZE / 512) ** 2)

    def paint(placement: DevicePlacement, *, seed: int = 1):
        pipeline = SpinMeRoundPipeline.from_single_file(files[0], config=files[1], placement=placement)
        return pipeline, pipeline(FRONT, POSES, seed=seed, sampling=FAST)

    return paint


@pytest.fixture
def cuda() -> str:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return "cuda"


def differences(one, other) -> list[float]:
    return [float(np.abs(getattr(one, n) - getattr(other, n)).mean()) for n in ("rgb", "normals", "input_normals")]


def devices(*networks: torch.nn.Module) -> set[str]:
    return {parameter.device.type for network in networks for parameter in network.parameters()}


def test_float16_stays_near_float32(painted):
    _, exact = painted(DevicePlacement())
    pipeline, half = painted(DevicePlacement(precision="float16"))
    _, other = painted(DevicePlacement(), seed=2)
    assert {p.dtype for p in pipeline.parts.unet.parameters()} == {torch.float16}
    assert 0 < max(differences(half, exact)) < NEAR
    assert min(differences(other, exact)[:2]) > FAR


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_a_gpu_paints_what_the_cpu_paints(painted, cuda, precision):
    """Noise is drawn on the CPU, so a seed means the same; convolutions round to TF32 there even in float32."""
    _, exact = painted(DevicePlacement())
    pipeline, ours = painted(DevicePlacement(device=cuda, precision=precision))
    parts = pipeline.parts
    assert devices(parts.unet, parts.vae, parts.text_encoder) == {"cuda"}
    assert {p.dtype for p in parts.unet.parameters()} == {getattr(torch, precision)}
    assert {p.dtype for p in (*parts.vae.parameters(), *parts.text_encoder.parameters())} == {torch.float32}
    assert ours.rgb.dtype == ours.normals.dtype == np.float32
    assert max(differences(ours, exact)) < (8 * NEAR if precision == "bfloat16" else NEAR)
    assert ours.unet_passes == exact.unet_passes


@pytest.mark.gpu
def test_a_seed_repeats_to_the_bit_on_a_gpu(painted, cuda):
    (_, once), (_, again) = (painted(DevicePlacement(device=cuda, precision="float16")) for _ in range(2))
    np.testing.assert_array_equal(once.rgb, again.rgb)
    np.testing.assert_array_equal(once.normals, again.normals)


@pytest.mark.gpu
def test_offloaded_networks_paint_the_same_and_leave_the_gpu(painted, cuda):
    _, resident = painted(DevicePlacement(device=cuda, precision="float16"))
    pipeline, offloaded = painted(DevicePlacement(device=cuda, precision="float16", offload=True))
    assert devices(pipeline.parts.unet, pipeline.parts.vae, pipeline.parts.text_encoder) == {"cpu"}
    np.testing.assert_allclose(offloaded.rgb, resident.rgb, atol=1e-6)
    np.testing.assert_allclose(offloaded.normals, resident.normals, atol=1e-6)
