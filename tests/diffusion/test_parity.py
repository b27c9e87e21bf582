"""The same numbers as the original code for the same weights, from rays to pictures.

Twice: against recordings of the original code, and against the model as ``statement`` has it on another configuration.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from spinmeround.diffusion.inputs import Sampling
from spinmeround.diffusion.model.pose_map import pose_map, pose_maps, pose_matrix
from spinmeround.diffusion.model.text import PUBLISHED_PROMPT, encode_prompt
from spinmeround.diffusion.model.unet import Samples
from spinmeround.diffusion.sampling import loop, schedules
from spinmeround.diffusion.sampling.cost import Meter
from spinmeround.diffusion.sampling.loop import PhotoNormals, integrate
from spinmeround.diffusion.sampling.run import seeded_noise
from spinmeround.diffusion.sampling.solvers import Euler
from tests.diffusion.golden import relative, three_angles

DRAWS = (
    "input_noise",
    "post_noise_image_for_normals",
    "normals_noise",
    "post_noise_image",
    "post_noise_normals",
    "post_noise_empty",
)


def silent(_fraction, _message):
    pass


def test_pose_maps_are_exact_but_for_the_last_bit_of_the_cpu(original):
    pose = original.arrays("pose")
    exact = 0
    for i, angles in enumerate(pose["angles"]):
        assert torch.equal(pose_matrix(angles), pose[f"M_{i}"])
        found, recorded = pose_map(angles)[::2, ::2], pose[f"map64s2_{i}"]
        exact += torch.equal(found, recorded)
        torch.testing.assert_close(found, recorded, atol=LAST_BIT_OF_RAYS, rtol=0)
    assert exact >= len(pose["angles"]) - 1
    small = [pose_map(angles, height=12, width=20) for angles in pose["angles"]]
    assert any(torch.equal(one, pose["map_h12w20"]) for one in small)


def test_rays_of_the_guided_step_are_exact(golden):
    step = golden.step
    height, width = step["cond_images_f32"].shape[-2:]
    rays = pose_maps(three_angles(step["angles"]), height=height, width=width)
    assert torch.equal(rays, step["cond_images_f32"][:, :144])


def test_noise_levels_are_exact_but_for_the_last_bit_of_the_cpu(original):
    recorded = original.arrays("schedule")
    made = {"edm": schedules.edm_sigmas, "ddpm": schedules.ddpm_sigmas}
    names = [key for key in recorded if re.fullmatch("(edm|ddpm)_[0-9]+", key)]
    assert {name.split("_")[0] for name in names} == set(made)
    for name in names:
        kind, steps = name.split("_")
        torch.testing.assert_close(made[kind](int(steps)), recorded[name], rtol=LAST_BIT, atol=0, msg=name)
    (levels,) = (v[:-1] for k, v in recorded.items() if k.startswith("edm") and len(v) == len(recorded["c_in"]) + 1)
    for scaling in ("c_skip", "c_out", "c_in", "c_noise"):
        found = getattr(schedules, scaling)(levels)
        torch.testing.assert_close(found, recorded[scaling], rtol=2 * LAST_BIT, atol=0, msg=scaling)


def test_token_ids_are_exact(golden, recorded):
    identity, prompt = golden.arrays("identity"), recorded.parts.prompt
    assert torch.equal(prompt.token_ids(), identity["input_ids"])
    assert torch.equal(prompt.empty_token_ids(), identity["input_ids_uncond"])
    assert prompt.id_word == int(identity["id_token"])


def test_token_ids_of_the_published_vocabulary_are_exact(original):
    identity = original.arrays("identity")
    assert torch.equal(PUBLISHED_PROMPT.token_ids()[0], identity["realvocab_ids"])
    assert torch.equal(PUBLISHED_PROMPT.empty_token_ids()[0], identity["realvocab_ids_uncond"])


def test_embeddings(golden, recorded):
    identity = golden.arrays("identity")
    embeddings = recorded.embeddings(identity["id_emb"])
    torch.testing.assert_close(embeddings.cond, identity["cond"], atol=1e-5, rtol=0)
    torch.testing.assert_close(embeddings.uncond, identity["uncond"], atol=1e-5, rtol=0)


def test_embeddings_of_a_mixed_batch(golden, recorded):
    identity, prompt = golden.arrays("identity"), recorded.parts.prompt
    faces = identity["id_emb"].expand(2, -1)
    expected = identity["mixed"]
    orders = [
        encode_prompt(recorded.parts.text_encoder, torch.cat(ids), identity=faces, id_word=prompt.id_word)
        for ids in ((prompt.token_ids(), prompt.empty_token_ids()), (prompt.empty_token_ids(), prompt.token_ids()))
    ]
    assert min(float((got - expected).abs().max()) for got in orders) <= 1e-5


def test_autoencoder(golden, recorded):
    vae = golden.arrays("vae")
    encoded = recorded.codec.encode(vae["image"], noise=vae["posterior_noise"])
    torch.testing.assert_close(encoded, vae["z_scaled"], atol=1e-5, rtol=0)
    torch.testing.assert_close(recorded.codec.decode(vae["z_in"]), vae["decoded"], atol=1e-5, rtol=0)


def test_unet(golden, recorded):
    recordings = golden.arrays("unet")
    names = [key.removesuffix("_frames") for key in recordings if key.endswith("_frames")]
    assert names
    for name in names:
        x, context, views = (recordings[f"{name}_{part}"] for part in ("x", "ctx", "frames"))
        rows, views = len(x), int(views)
        samples = Samples(context.float(), (1,) * rows, (views,) * (rows // views), (1,) * (rows // views))
        out = recorded.unet(x.float(), recordings[f"{name}_t"], samples)
        torch.testing.assert_close(out, recordings[f"{name}_out"], atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


LAST_BIT = torch.finfo(torch.float32).eps
"""Powers and logarithms in float32 differ so far between CPUs; two of them follow each other in the scalings."""
LAST_BIT_OF_RAYS = 4e-3
"""What the last bit of an inverted camera becomes in the sines of the highest octave."""


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Compute without oneDNN: without AVX-512 its float32 convolutions are off by 1.4e-4 here, torch's by 6e-6."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of settings for GPUs when the flag is restored
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def test_network_inside_the_guided_step(golden, recorded, request):
    """Recordings made on another machine are compared without oneDNN, those made here with it, as they were made."""
    made_elsewhere = request.node.callspec.params["golden"] == "original"
    with exact_convolutions() if made_elsewhere else nullcontext():
        for k in step_numbers(golden.step):
            assert golden.network_error(recorded, k) <= 1e-5


def test_guided_step(golden, recorded):
    step, sampled = golden.step, golden.sampled
    denoise = golden.guided(recorded)
    for k in step_numbers(step):
        x, (sigma, sigma_next) = step[f"x_{k}"][sampled], step[f"sigmas_{k}"]
        both = torch.cat(denoise.uncond_and_cond(x, sigma))
        assert relative(both, step[f"denoised_uc_c_{k}"][sampled.repeat(2)]) <= 1e-5
        after = Euler().step(x, denoise(x, sigma), sigma=sigma, sigma_next=sigma_next)
        assert relative(after, step[f"x_next_{k}"][sampled]) <= 1e-5


def test_whole_pipeline(golden, recorded, monkeypatch):
    """From a photo to latents and pictures, with the recorded draws."""
    monkeypatch.setattr(loop, "PHOTO_GUIDANCE", golden.photo_guidance)
    expected = golden.arrays("pipeline")
    draws = iter(DRAWS)
    angles, given = three_angles(expected["angles"]), int(expected["input_pos"])
    others = [i for i in range(len(angles)) if i != given]
    photo = expected["image_u8"].permute(2, 0, 1)[None].float() / 127.5 - 1
    run = recorded.run(
        expected["id_emb"],
        photos=photo,
        sampling=Sampling(
            steps=int(expected["num_steps"]),
            normals_steps=int(expected["normals_steps"]),
            guidance=float(expected["scale"]),
        ),
        noise=lambda shape: expected[next(draws)].reshape(shape),
        meter=Meter(1, silent),
    )

    normals = run.photo_normals(photo, torch.zeros(1, 3))
    torch.testing.assert_close(normals, expected["input_normals_f16"].float(), atol=1e-3, rtol=0)  # rounded to 16 bits
    known = run.photo_latents(photo, normals)
    torch.testing.assert_close(known, expected["z"], atol=1e-4, rtol=0)
    steps = []
    sampled = run.views(
        known,
        run.empty_latents(photo),
        known_angles_deg=angles[[given]],
        angles_deg=angles[others],
        after_step=lambda x, _clean: steps.append(x[:, :, ::2, ::2]),
    )
    for got, recording in zip(steps, expected["mv_x_steps_views"], strict=True):
        assert relative(got, recording[others]) <= 1e-4
    torch.testing.assert_close(sampled, expected["mv_latents"][others], atol=1e-4, rtol=0)

    latents = torch.empty_like(expected["mv_latents"])
    latents[given], latents[others] = known[0], sampled
    for got, recording in zip(run.decode(latents), (expected["samples_u8"], expected["normals_u8"]), strict=True):
        off = ((got[:, :, ::2, ::2].clamp(-1, 1) + 1) * 127.5).round() - recording
        assert off.abs().max() <= 1
        assert (off != 0).float().mean() <= 1e-3


def test_normals_of_the_photo_step_by_step(golden, recorded, monkeypatch):
    """The pass that finds them alone, where an error would show before it is decoded."""
    monkeypatch.setattr(loop, "PHOTO_GUIDANCE", golden.photo_guidance)
    expected = golden.arrays("pipeline")
    photo = expected["image_u8"].permute(2, 0, 1)[None].float() / 127.5 - 1
    latents = recorded.codec.encode(photo, noise=expected["post_noise_image_for_normals"])
    denoise = PhotoNormals(
        recorded.unet,
        photo=latents,
        rays=pose_maps(torch.zeros(1, 3), height=latents.shape[2], width=latents.shape[3]),
        cond=recorded.embeddings(expected["id_emb"]).cond,
    )
    steps = []
    sigmas = schedules.ddpm_sigmas(int(expected["normals_steps"]))

    def note(x, clean):
        steps.append((x, clean))

    integrate(denoise, expected["normals_noise"], sigmas, solver="euler", after_step=note)
    for (x, clean), x_recorded, clean_recorded in zip(
        steps, expected["normals_x_steps"], expected["normals_x0_steps"], strict=True
    ):
        assert relative(x, x_recorded) <= 1e-4
        assert relative(clean, clean_recorded) <= 1e-4


def test_a_seed_means_what_it_meant(golden):
    expected = golden.arrays("pipeline")
    noise = seeded_noise(int(expected["seed"]))
    for name in DRAWS:
        assert torch.equal(noise(tuple(expected[name].shape)), expected[name]), name


def step_numbers(step) -> range:
    return range(sum(key.startswith("sigmas_") for key in step))


def test_the_statement_is_the_original_code(original):
    """So that what is recorded of it can be trusted, and a mistake cannot be made twice in the same way."""
    from tests.diffusion.statement import Unet, Vae

    tensors = torch.load(original.folder / "spmr.ckpt", weights_only=True)["state_dict"]
    params = json.loads((original.folder / "config.json").read_text(encoding="utf-8"))["inference_config"]["model"][
        "params"
    ]
    recordings, vae = original.arrays("unet"), original.arrays("vae")
    look = params["network_config"]["params"]
    per_head = look.get("num_head_channels", -1)
    unet = Unet(tensors, heads=lambda width: look["num_heads"] if per_head == -1 else width // per_head)
    for name in (key.removesuffix("_frames") for key in recordings if key.endswith("_frames")):
        x, context = recordings[f"{name}_x"].float(), recordings[f"{name}_ctx"].float()
        out = unet(x, recordings[f"{name}_t"], context, views=int(recordings[f"{name}_frames"]))
        torch.testing.assert_close(out, recordings[f"{name}_out"], atol=1e-5, rtol=0)
    encoded = Vae(tensors, scale=params["scale_factor"]).encode(vae["image"], vae["posterior_noise"])
    torch.testing.assert_close(encoded, vae["z_scaled"], atol=1e-5, rtol=0)
