"""The whole call on a tiny model: shapes, seeds, passes, precision, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinmeround.diffusion.inputs import ANCHORS, Conditioning, Sampling, ViewSampler
from spinmeround.diffusion.model import placement
from spinmeround.diffusion.model.placement import DevicePlacement
from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
from spinmeround.errors import InputError, ResourceError
from tests.diffusion import tiny

FAST = Sampling(steps=2, normals_steps=2)
SIZE = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("checkpoint"), tiny.tensors())


@pytest.fixture(scope="module")
def pipeline(files):
    return SpinMeRoundPipeline.from_single_file(files[0], config=files[1])


def conditioning(*poses, size: int = SIZE) -> Conditioning:
    draw = np.random.default_rng(0)
    identity = draw.standard_normal(512).astype(np.float32)
    rgb = draw.random((len(poses), size, size, 3)).astype(np.float32)
    return Conditioning(rgb, poses, identity / np.linalg.norm(identity))


FRONT = conditioning((0.0, 0.0))


def test_it_is_a_view_sampler(pipeline):
    assert isinstance(pipeline, ViewSampler)


def test_views_come_in_the_order_asked_for(pipeline):
    poses = [(90.0, 0.0), (0.0, 0.0), (30.0, 10.0), (-270.0, 0.0)]
    fractions = []
    got = pipeline(FRONT, poses, seed=3, sampling=FAST, progress=lambda fraction, _: fractions.append(fraction))
    assert got.rgb.shape == got.normals.shape == (4, SIZE, SIZE, 3)
    assert got.rgb.dtype == got.normals.dtype == np.float32
    assert got.poses == tuple(poses)
    for pictures in (got.rgb, got.normals, got.input_normals):
        assert 0 <= pictures.min() <= pictures.max() <= 1
    np.testing.assert_array_equal(got.rgb[1], FRONT.rgb[0])  # the photo's own view is the photo
    np.testing.assert_array_equal(got.normals[1], got.input_normals[0])
    np.testing.assert_array_equal(got.rgb[0], got.rgb[3])
    assert not np.array_equal(got.rgb[0], got.rgb[2])
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert got.unet_passes == 2 + 2 * (3 + 3)  # without and with the photo, for it and two new views


def test_a_seed_gives_the_same_views_and_another_others(pipeline):
    once, again, other = (pipeline(FRONT, [(60.0, 0.0)], seed=seed, sampling=FAST) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.rgb, again.rgb)
    np.testing.assert_array_equal(once.normals, again.normals)
    assert not np.array_equal(once.rgb, other.rgb)


def test_a_turn_goes_through_anchors_and_the_views_between(pipeline, monkeypatch):
    from spinmeround.diffusion.sampling.run import Run

    seen = []
    views = Run.views

    def watched(self, known, empty, **kwargs):
        seen.append((len(known), kwargs["angles_deg"].shape[0]))
        return views(self, known, empty, **kwargs)

    monkeypatch.setattr(Run, "views", watched)
    poses = [(22.5 * i, 0.0) for i in range(16)]
    got = pipeline(FRONT, poses, seed=0, sampling=FAST)
    assert seen == [(1, 7)] + [(3, 1)] * 8
    assert np.isfinite(got.rgb).all()
    alone = pipeline(FRONT, ANCHORS, seed=0, sampling=FAST)
    for pose, rgb in zip(ANCHORS, alone.rgb, strict=True):
        np.testing.assert_array_equal(rgb, got.rgb[poses.index((pose[0] % 360, 0.0))])


def test_several_photos_condition_every_view(pipeline):
    both = conditioning((0.0, 0.0), (40.0, 0.0))
    poses = [(-30.0, 0.0), (40.0, 0.0)]
    got = pipeline(both, poses, seed=0, sampling=FAST)
    assert got.input_normals.shape == (2, SIZE, SIZE, 3)
    np.testing.assert_array_equal(got.rgb[1], both.rgb[1])
    changed = replace(both, rgb=np.stack([both.rgb[0], 1 - both.rgb[1]]))
    assert not np.array_equal(pipeline(changed, poses, seed=0, sampling=FAST).rgb[0], got.rgb[0])


def test_who_it_is_matters(pipeline):
    other = replace(FRONT, identity=-FRONT.identity)
    one, two = (pipeline(c, [(60.0, 0.0)], seed=1, sampling=FAST).rgb for c in (FRONT, other))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("solver", ["euler", "dpmpp-2m", "unipc"])
def test_every_solver_runs(pipeline, solver):
    got = pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=replace(FAST, solver=solver, steps=4))
    assert np.isfinite(got.rgb).all()


def test_without_guidance_half_the_work(pipeline):
    got = pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=replace(FAST, guidance=1.0))
    assert got.unet_passes == 2 + 2 * 2
    limited = replace(FAST, steps=4, guidance_sigmas=(0.1, 50.0))
    with_interval = pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=limited).unet_passes
    whole = pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=replace(FAST, steps=4)).unet_passes
    assert with_interval < whole


def test_fewer_levels_less_work_and_every_pass_counted(pipeline):
    fractions = []
    sampling = replace(FAST, steps=10, dense_sigmas=(0.01, 20.0))
    got = pipeline(
        FRONT, [(60.0, 0.0)], seed=1, sampling=sampling, progress=lambda fraction, _: fractions.append(fraction)
    )
    assert got.unet_passes < 2 + 10 * 4
    assert fractions[-1] == 1


@pytest.mark.parametrize("change", [{"tiled_vae": True}, {"offload": True}])
def test_saving_memory_changes_little(files, pipeline, change):
    saving = SpinMeRoundPipeline.from_single_file(files[0], config=files[1], placement=DevicePlacement(**change))
    ours, plain = (p(FRONT, [(60.0, 0.0)], seed=1, sampling=FAST) for p in (saving, pipeline))
    np.testing.assert_allclose(ours.rgb, plain.rgb, atol=1e-5)


def test_half_precision_stays_near(files, pipeline):
    half = SpinMeRoundPipeline.from_single_file(
        files[0], config=files[1], placement=DevicePlacement(precision="bfloat16")
    )
    assert {p.dtype for p in half.parts.unet.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half.parts.vae.parameters()} == {torch.float32}
    ours, plain = (p(FRONT, [(60.0, 0.0)], seed=1, sampling=FAST) for p in (half, pipeline))
    assert 0 < np.abs(ours.rgb - plain.rgb).mean() < 0.05


def test_it_says_how_long_it_takes(pipeline, caplog):
    with caplog.at_level(logging.INFO, logger="spinmeround"):
        pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=FAST)
    (line,) = [r.getMessage() for r in caplog.records if "in all" in r.getMessage()]
    assert "s for a view and step here: about" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identity": np.ones(512, np.float32)}, r"length 22\.63, expected 1; divide"),
        ({"identity": np.full(512, np.nan, np.float32)}, "holds NaN"),
        ({"identity": np.ones(128, np.float32)}, r"shape \(128,\)"),
        ({"rgb": np.ones((1, 60, 64, 3), np.float32)}, "64 × 60 pixels"),
        ({"rgb": np.ones((2, 64, 64, 3), np.float32)}, "2 photos but 1 directions"),
        ({"rgb": np.full((1, 64, 64, 3), np.nan, np.float32)}, "not finite"),
        ({"rgb": np.ones((0, 64, 64, 3), np.float32), "poses": ()}, "no photo"),
    ],
)
def test_photos_and_faces_that_cannot_be_used(pipeline, change, words):
    with pytest.raises(InputError, match=words):
        pipeline(replace(FRONT, **change), [(60.0, 0.0)], seed=1, sampling=FAST)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "0 steps"),
        ({"normals_steps": 2000}, "2000 steps for normals"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"guidance_sigmas": (5.0, 1.0)}, "between sigmas 5"),
        ({"dense_sigmas": (5.0, 1.0)}, "every level between sigmas 5"),
        ({"views_at_once": 1}, "a pass needs 2"),
    ],
)
def test_settings_that_make_no_sense(pipeline, change, words):
    with pytest.raises(InputError, match=words):
        pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=replace(FAST, **change))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_says_what_to_lower(pipeline, monkeypatch, error):
    def fails(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(pipeline.codec, "encode", fails)
    with pytest.raises(ResourceError, match=r"than 8 \(views_at_once\), or .*bfloat16\), or .*\(offload, tiled_vae\)"):
        pipeline(FRONT, [(60.0, 0.0)], seed=1, sampling=FAST)


def test_too_little_memory_to_load_says_what_to_lower(files, monkeypatch):
    def fails(*_args, **_kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("spinmeround.diffusion.model.checkpoint.read_pickle", fails)
    with pytest.raises(ResourceError, match="diffusion model; try 16 bits for the network"):
        SpinMeRoundPipeline.from_single_file(files[0], config=files[1])
    lowest = DevicePlacement(precision="bfloat16", tiled_vae=True)
    with pytest.raises(ResourceError, match="diffusion model; close other programs"):
        SpinMeRoundPipeline.from_single_file(files[0], config=files[1], placement=lowest)


def test_other_errors_stay_what_they_are():
    with (
        pytest.raises(RuntimeError, match="shapes"),
        placement.out_of_memory_explained(DevicePlacement(), views_at_once=8),
    ):
        raise RuntimeError("shapes cannot be multiplied")
